"""The stage that writes the answer: Gemini where there is one, else sentences of the passages."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from functools import partial

from shared.embedding.reader import Reader
from shared.errors import EmbeddingUnavailable, GenerationUnavailable, RejectedByModel
from shared.gemini.requests import Usage
from shared.runtime.logs import get_logger
from shared.runtime.tracing import span
from shared.values import Hit

from .choosing import Choosing
from .citations import Citation, attribute, cite, cite_part, place_marks
from .composition import compose
from .extractive import Extract, extract
from .generation import Gemini
from .journal import Journal
from .missing import find_near_words, find_unknown
from .prompt import AnswerReader, make_prompt
from .query import EXTRACTIVE, Answer, Refusal, Retrieval, Token
from .refusal import refusal_text
from .sanitizer import AnswerCleaner
from .sentence_vectors import SentenceVectors
from .units import Unit

# Parts of the passages that the trace tells of.
_EXPLAINED = 60

logger = get_logger(__name__)


def write_answer(
    retrieval: Retrieval,
    *,
    gemini: Gemini | None,
    unavailable: GenerationUnavailable | None,
    whole: bool,
    prompt_max_characters: int,
    choosing: Choosing,
    reader: Reader | None = None,
    sentences: SentenceVectors | None = None,
    journal: Journal,
) -> Iterator[Token | Answer]:
    """
    Yield the answer in pieces and, last, whole.

    Where Gemini fails, the whole answer is the extractive one and names the failure; what was
    yielded before it is void.

    Args:
        unavailable: Why Gemini is not asked although it is configured.
        whole: The pieces are not shown, so that Gemini may be tried again after the first.
    """
    started = time.perf_counter()
    if retrieval.refusal is not None:
        steps = _refuse(retrieval, model=EXTRACTIVE if gemini is None else gemini.model)
    elif gemini is None:
        steps = _show(
            _extract(
                retrieval,
                choosing=choosing,
                reader=reader,
                sentences=sentences,
                usage=Usage(),
                failure=unavailable,
                journal=journal,
            )
        )
    else:
        steps = _generate(
            retrieval,
            gemini=gemini,
            whole=whole,
            prompt_max_characters=prompt_max_characters,
            choosing=choosing,
            reader=reader,
            sentences=sentences,
            journal=journal,
        )
    for step in steps:
        if isinstance(step, Answer):
            journal.record("generate", since=started)
        yield step


def _refuse(retrieval: Retrieval, *, model: str) -> Iterator[Token | Answer]:
    text = refusal_text(
        retrieval.languages, retrieval.refusal, passages_in_others=retrieval.found_in_others
    )
    return _show(Answer(text, grounded=False, model=model, citations=[], usage=Usage()))


def _show(answer: Answer) -> Iterator[Token | Answer]:
    yield Token(answer.text)
    yield answer


def _generate(
    retrieval: Retrieval,
    *,
    gemini: Gemini,
    whole: bool,
    prompt_max_characters: int,
    choosing: Choosing,
    reader: Reader | None = None,
    sentences: SentenceVectors | None = None,
    journal: Journal,
) -> Iterator[Token | Answer]:
    spent: list[Usage] = []
    try:
        yield from _ask_gemini(
            retrieval,
            gemini=gemini,
            whole=whole,
            spent=spent,
            prompt_max_characters=prompt_max_characters,
            journal=journal,
        )
    except GenerationUnavailable as error:
        yield _extract(
            retrieval,
            choosing=choosing,
            reader=reader,
            sentences=sentences,
            usage=sum(spent, Usage()),
            failure=error,
            journal=journal,
        )


def _ask_gemini(
    retrieval: Retrieval,
    *,
    gemini: Gemini,
    whole: bool,
    spent: list[Usage],
    prompt_max_characters: int,
    journal: Journal,
) -> Iterator[Token | Answer]:
    with span("prompt") as note:
        prompt = make_prompt(
            retrieval.question,
            retrieval.passages,
            boundary=secrets.token_hex(12),
            max_characters=prompt_max_characters,
        )
        note({"passages": prompt.passages})
    journal.explain(prompt={"characters": len(prompt.text), "passages": prompt.passages})
    shown = retrieval.passages[: prompt.passages]
    reader = AnswerReader()
    cleaner = AnswerCleaner([_readable(passage) for passage in shown])
    pieces: list[str] = []
    for part in gemini.stream(prompt, whole=whole):
        if isinstance(part, Usage):
            spent.append(part)
        elif piece := cleaner.feed(reader.feed(part)):
            pieces.append(piece)
            yield Token(piece)
    if rest := cleaner.feed(reader.finish()) + cleaner.finish():
        pieces.append(rest)
        yield Token(rest)
    streamed = "".join(pieces)
    if reader.refused_in_silence:
        streamed = refusal_text(
            retrieval.languages,
            Refusal("not_found", "the model found no answer"),
            passages_in_others=retrieval.found_in_others,
        )
        yield Token(streamed)
    elif not reader.is_whole or not streamed.strip():
        code = "cut" if streamed.strip() else "empty"
        raise GenerationUnavailable(code, "Gemini's reply ended before its answer did")
    quotes = attribute(reader.quotes, shown)
    text = streamed if reader.refused else place_marks(streamed, quotes, shown)
    citations = [] if reader.refused else cite(text, quotes, shown, question=retrieval.question)
    grounded = any(citation.carries for citation in citations)
    if text.startswith(streamed) and text != streamed:
        yield Token(text[len(streamed) :])
    journal.explain(
        quotes={
            "given": len(quotes),
            "verified": sum(citation.verified for citation in citations),
        }
    )
    yield Answer(
        text,
        grounded=grounded,
        model=gemini.model,
        citations=citations,
        usage=sum(spent, Usage()),
    )


def _readable(passage: Hit) -> str:
    """Return all of a passage that the model was shown."""
    return "\n".join((passage.name, passage.heading, passage.header, passage.text))


def _extract(
    retrieval: Retrieval,
    *,
    choosing: Choosing,
    reader: Reader | None = None,
    sentences: SentenceVectors | None = None,
    usage: Usage,
    failure: GenerationUnavailable | None,
    journal: Journal,
) -> Answer:
    embedder = retrieval.embedder
    choose = partial(
        extract,
        retrieval.question,
        retrieval.passages,
        asked=retrieval.asked,
        analysis=retrieval.analysis,
        unrelated_similarity=0.0 if embedder is None else embedder.info.unrelated_similarity,
        multilingual=embedder is not None and embedder.info.multilingual,
        choosing=choosing,
        reader=None if reader is None else reader.read,
    )
    try:
        extracted = (
            choose(embed=None)
            if embedder is None or retrieval.not_embedded
            else choose(
                embed=embedder.embed_documents,
                embed_sentences=None
                if sentences is None
                else partial(
                    sentences.embed,
                    embed=embedder.embed_documents,
                    model_digest=embedder.info.digest,
                ),
                # Only what is taken out of a question brings it near to other languages.
                embed_question=embedder.embed_query if embedder.info.multilingual else None,
            )
        )
    except (EmbeddingUnavailable, RejectedByModel) as error:
        logger.warning("sentences not embedded", error=str(error))
        extracted = choose(embed=None)
    _explain(extracted, journal)
    if not extracted.answers:
        unknown = find_unknown(retrieval.question, retrieval.analysis)
        near = find_near_words(unknown, retrieval.passages)
        refusal = Refusal("not_found", "no part answers", tuple(unknown), tuple(near))
        return Answer(
            refusal_text(
                retrieval.languages, refusal, passages_in_others=retrieval.found_in_others
            ),
            grounded=False,
            model=EXTRACTIVE,
            citations=[],
            usage=usage,
            failure=failure,
        )
    return Answer(
        compose(extracted.units, retrieval.passages),
        grounded=True,
        model=EXTRACTIVE,
        citations=[_cite_unit(unit, retrieval.passages) for unit in extracted.units],
        usage=usage,
        failure=failure,
    )


def _explain(extracted: Extract, journal: Journal) -> None:
    journal.explain(
        extract={
            "answers": extracted.answers,
            "parts": [
                {
                    "question": part.text,
                    "confidence": round(part.confidence, 3),
                    "signs": {name: round(value, 4) for name, value in part.signs.items()},
                    "candidates": [
                        {
                            "number": each.unit.number,
                            "start": each.unit.start,
                            "end": each.unit.end,
                            "kind": each.unit.kind,
                            "chosen": each.unit in part.chosen,
                            "score": round(each.score, 3),
                            "features": {
                                name: round(value, 4) for name, value in each.features.items()
                            },
                        }
                        for each in part.ranked[:_EXPLAINED]
                    ],
                }
                for part in extracted.parts
            ],
        }
    )


def _cite_unit(unit: Unit, passages: Sequence[Hit]) -> Citation:
    return cite_part(passages[unit.number - 1], unit.start, unit.end, number=unit.number)
