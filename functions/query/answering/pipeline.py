"""A question from start to end: stand alone, embed, search, and answer with what was found."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.embedding.embedder import Embedder
from shared.errors import GenerationUnavailable, Misconfigured
from shared.gemini.requests import Usage
from shared.runtime.tracing import span
from shared.store import NO_MODEL, Pool, RegisteredModel, reading, serving_model
from shared.values import Filter, Hit

from .citations import Citation, cite, marked_numbers
from .context import expand
from .extractive import extract
from .generation import Gemini
from .prompt import AnswerReader, make_prompt, make_rewriting_prompt, read_rewriting
from .refusal import refusal_text
from .rewriting import is_sound_rewriting, stand_alone
from .sanitizer import AnswerCleaner

EXTRACTIVE = "extractive"

# shared.search.statement.search, and gate.refuse: why the passages cannot answer, or None.
Search = Callable[..., list[Hit]]
Refuse = Callable[[Sequence[Hit]], str | None]
# The model of a digest; raises Misconfigured where this process has it not.
FindEmbedder = Callable[[str], Embedder]


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A question as it came.

    Attributes:
        turns: (role, content) of the conversation before it, oldest first.
        per_document: How many passages of one document at most; None takes the search's own rule.
        principals: Who asks; what none of them may read is not there.
    """

    question: str
    limit: int
    filter: Filter
    turns: list[tuple[str, str]]
    per_document: int | None
    mode: Literal["fused", "vector", "text"]
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandAlone:
    """A question that needs no conversation to be understood, and what making it so took."""

    question: str
    rewritten_by: Literal["none", "rule", "gemini"]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Found:
    """
    The passages for a question; number n is passages[n - 1].

    Attributes:
        question: The question as it was searched for.
        refusal: Why the passages cannot answer it; None where they may.
        embed_ms, retrieve_ms: Until the question was embedded, and from then to the passages.
    """

    question: str
    passages: list[Hit]
    refusal: str | None
    usage: Usage
    embed_ms: float
    retrieve_ms: float
    trace: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer, cleaned."""

    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """
    A whole answer.

    Attributes:
        failure: Why it is extractive although Gemini was asked.
    """

    answer: str
    grounded: bool
    model: str
    citations: list[Citation]
    usage: Usage
    generate_ms: float
    trace: dict[str, Any] = field(default_factory=dict)
    failure: GenerationUnavailable | None = None


@dataclass(slots=True)
class Serving:
    """
    The model whose vectors answer, as it was last seen; a search says when it is another by now.

    Attributes:
        model: None where it has to be looked up.
    """

    model: RegisteredModel | None = None

    def find(self, pool: Pool) -> RegisteredModel:
        """
        Return the model.

        Raises:
            DatabaseUnavailable: The database is away.
            Misconfigured: There is no model yet.
        """
        model = self.model
        if model is None:
            with reading(pool, ()) as connection:
                model = serving_model(connection)
            if model is None:
                raise Misconfigured(NO_MODEL)
            self.model = model
        return model


def make_stand_alone(asked: Asked, *, gemini: Gemini | None) -> StandAlone:
    """Return the question of *asked*, with what it means of the conversation before it."""
    if not asked.turns:
        return StandAlone(asked.question, "none", Usage())
    usage = Usage()
    if gemini is not None:
        boundary = secrets.token_hex(8)
        prompt = make_rewriting_prompt(asked.question, asked.turns, boundary=boundary)
        try:
            text, usage = gemini.rewrite(prompt)
        except GenerationUnavailable:
            text = ""  # the rule below serves, and the answer itself will name the failure
        rewritten = read_rewriting(text)
        earlier = [content for _role, content in asked.turns]
        if rewritten is not None and is_sound_rewriting(
            rewritten, question=asked.question, earlier=earlier
        ):
            return StandAlone(rewritten, "gemini", usage)
    earlier_questions = [content for role, content in asked.turns if role == "user" and content]
    question = stand_alone(asked.question, earlier_questions)
    return StandAlone(question, "none" if question == asked.question else "rule", usage)


def find(
    asked: Asked,
    alone: StandAlone,
    *,
    pool: Pool,
    serving: Serving,
    find_embedder: FindEmbedder,
    embedding_threads: Executor,
    search: Search,
    refuse: Refuse,
    context_characters: int,
) -> Found:
    """
    Return the passages for *asked*, best first.

    Args:
        embedding_threads: Embed the question while the database looks at its words.
        context_characters: Passages grow by what stands around them, up to so many characters in
            all; 0 leaves them as they were found.

    Raises:
        DatabaseUnavailable: The database is away.
        Misconfigured: This process has not the model that answers.
        ModelSwitched: Another model began to answer in between; a second try will know it.
    """
    question = alone.question
    options = {} if asked.per_document is None else {"per_document": asked.per_document}
    model = serving.find(pool)
    embedder = find_embedder(model.digest)
    started = embedded = time.perf_counter()

    def embed() -> NDArray[np.float32]:
        nonlocal embedded
        with span("embed"):
            embedding = embedder.embed_query(question)
        embedded = time.perf_counter()
        return embedding

    embedding = embedding_threads.submit(copy_context().run, embed)
    with (
        reading(pool, asked.principals) as connection,
        span("search", {"limit": asked.limit, "mode": asked.mode}) as note,
    ):
        hits = search(
            connection,
            question=question,
            embedding=embedding,
            model_digest=model.digest,
            limit=asked.limit,
            filter=asked.filter,
            mode=asked.mode,
            **options,
        )
        refusal = refuse(hits) if hits else "nothing was found"
        passages = hits
        if context_characters:
            passages = expand(connection, hits, max_characters=context_characters)
        note({"hits": len(hits), "refused": refusal is not None})
    retrieved = time.perf_counter()
    return Found(
        question=question,
        passages=passages,
        refusal=refusal,
        usage=alone.usage,
        embed_ms=_milliseconds(embedded - started),
        retrieve_ms=_milliseconds(retrieved - embedded),
        trace={
            "question": question,
            "rewritten_by": alone.rewritten_by,
            "mode": asked.mode,
            "hits": len(hits),
            "passages": len(passages),
            "vector_leg": sum(hit.vector_rank is not None for hit in hits),
            "text_leg": sum(hit.text_rank is not None for hit in hits),
            "gate": {"refused": refusal is not None, "reason": refusal},
        },
    )


def answer(
    found: Found,
    *,
    gemini: Gemini | None,
    whole: bool,
    prompt_max_characters: int,
    unavailable: GenerationUnavailable | None = None,
) -> Iterator[Token | Answered]:
    """
    Yield the answer in pieces and, last, whole.

    Where Gemini fails, the whole answer is the extractive one and names the failure; what was
    yielded before it is void.

    Args:
        whole: The pieces are not shown, so that Gemini may be tried again after the first.
        unavailable: Why Gemini is not asked although it could be.
    """
    started = time.perf_counter()
    trace: dict[str, Any] = {}
    if found.refusal is not None:
        text = refusal_text(found.question)
        yield Token(text)
        yield Answered(
            answer=text,
            grounded=False,
            model=EXTRACTIVE if gemini is None else gemini.model,
            citations=[],
            usage=found.usage,
            generate_ms=_milliseconds(time.perf_counter() - started),
            trace=trace,
        )
        return
    if gemini is None:
        extracted = _answer_extractively(
            found, started=started, trace=trace, usage=found.usage, failure=unavailable
        )
        yield Token(extracted.answer)
        yield extracted
        return
    spent = [found.usage]
    try:
        yield from _generate(
            found,
            gemini=gemini,
            whole=whole,
            spent=spent,
            prompt_max_characters=prompt_max_characters,
            started=started,
            trace=trace,
        )
    except GenerationUnavailable as error:
        yield _answer_extractively(
            found, started=started, trace=trace, usage=sum(spent, Usage()), failure=error
        )


def _generate(
    found: Found,
    *,
    gemini: Gemini,
    whole: bool,
    spent: list[Usage],
    prompt_max_characters: int,
    started: float,
    trace: dict[str, Any],
) -> Iterator[Token | Answered]:
    with span("prompt") as note:
        prompt = make_prompt(
            found.question,
            found.passages,
            boundary=secrets.token_hex(12),
            max_characters=prompt_max_characters,
        )
        note({"passages": prompt.passages})
    trace["prompt"] = {"characters": len(prompt.text), "passages": prompt.passages}
    shown = found.passages[: prompt.passages]
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
    trace["quotes"] = {
        "given": len(reader.quotes),
        "verified": sum(citation.verified for citation in citations),
    }
    yield Answered(
        answer=text,
        grounded=grounded,
        model=gemini.model,
        citations=citations,
        usage=sum(spent, Usage()),
        generate_ms=_milliseconds(time.perf_counter() - started),
        trace=trace,
    )


def _answer_extractively(
    found: Found,
    *,
    started: float,
    trace: dict[str, Any],
    usage: Usage,
    failure: GenerationUnavailable | None,
) -> Answered:
    extracted = extract(found.question, found.passages)
    trace["coverage"] = round(extracted.coverage, 3)
    citations: list[Citation] = []
    parts: list[str] = []
    for sentence in extracted.sentences:
        passage = found.passages[sentence.number - 1]
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
    return Answered(
        answer=" ".join(parts) or refusal_text(found.question),
        grounded=bool(parts),
        model=EXTRACTIVE,
        citations=citations,
        usage=usage,
        generate_ms=_milliseconds(time.perf_counter() - started),
        trace=trace,
        failure=failure,
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
