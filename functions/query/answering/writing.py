"""The stage that writes the answer: Gemini where there is one, else sentences of the passages."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.runtime.tracing import span

from .citations import Citation, cite, marked_numbers
from .extractive import extract
from .generation import Gemini
from .journal import Journal
from .prompt import AnswerReader, make_prompt
from .query import EXTRACTIVE, Answer, Retrieval, Token
from .refusal import refusal_text
from .sanitizer import AnswerCleaner


def write_answer(
    retrieval: Retrieval,
    *,
    gemini: Gemini | None,
    unavailable: GenerationUnavailable | None,
    whole: bool,
    prompt_max_characters: int,
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
        steps = _show(_extract(retrieval, usage=Usage(), failure=unavailable, journal=journal))
    else:
        steps = _generate(
            retrieval,
            gemini=gemini,
            whole=whole,
            prompt_max_characters=prompt_max_characters,
            journal=journal,
        )
    for step in steps:
        if isinstance(step, Answer):
            journal.record("generate", since=started)
        yield step


def _refuse(retrieval: Retrieval, *, model: str) -> Iterator[Token | Answer]:
    text = refusal_text(retrieval.languages)
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
        yield _extract(retrieval, usage=sum(spent, Usage()), failure=error, journal=journal)


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
    cleaner = AnswerCleaner(passages=prompt.passages)
    pieces: list[str] = []
    for part in gemini.stream(prompt, whole=whole):
        if isinstance(part, Usage):
            spent.append(part)
        elif piece := cleaner.feed(reader.feed(part)):
            pieces.append(piece)
            yield Token(piece)
    if rest := cleaner.finish():
        pieces.append(rest)
        yield Token(rest)
    text = "".join(pieces)
    if not reader.is_whole or not text.strip():
        raise GenerationUnavailable("empty", "Gemini's answer held no text to show")
    grounded = not reader.refused and bool(marked_numbers(text, passages=len(shown)))
    citations = cite(text, reader.quotes, shown) if grounded else []
    journal.explain(
        quotes={
            "given": len(reader.quotes),
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


def _extract(
    retrieval: Retrieval,
    *,
    usage: Usage,
    failure: GenerationUnavailable | None,
    journal: Journal,
) -> Answer:
    extracted = extract(retrieval.question, retrieval.passages)
    journal.explain(coverage=round(extracted.coverage, 3))
    citations: list[Citation] = []
    parts: list[str] = []
    for sentence in extracted.sentences:
        passage = retrieval.passages[sentence.number - 1]
        quote = passage.text[sentence.start : sentence.end]
        cleaner = AnswerCleaner(passages=0)
        shown = " ".join((cleaner.feed(quote) + cleaner.finish()).split())
        parts.append(f"{shown} [{sentence.number}]")
        citations.append(
            Citation(
                number=sentence.number,
                quote=quote,
                verified=True,
                char_start=passage.char_start + sentence.start,
                char_end=passage.char_start + sentence.end,
            )
        )
    return Answer(
        " ".join(parts) or refusal_text(retrieval.languages),
        grounded=bool(parts),
        model=EXTRACTIVE,
        citations=citations,
        usage=usage,
        failure=failure,
    )
