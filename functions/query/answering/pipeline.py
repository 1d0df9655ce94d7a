"""
A question from start to end; nothing here knows HTTP.

Each stage is a function that adds to what is known (query.py), and writes its time and its
decisions into the journal. Timings, trace, metrics and log are read from there, so a new stage
needs its module, a line here, its dependency and its settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from pydantic import TypeAdapter, ValidationError

from shared.embedding.reader import Reader
from shared.errors import DatabaseUnavailable, GenerationUnavailable
from shared.gemini.requests import Usage
from shared.runtime.logs import get_logger
from shared.runtime.startup import once
from shared.store import Outcome
from shared.values import Filter, Hit

from ..quotas.answer_cache import CacheSlot
from .answerability import decide
from .choosing import Choosing
from .citations import Citation
from .computing import compute
from .context import expand_context
from .dependencies import AnsweringDependencies
from .generation import Gemini
from .journal import Journal
from .query import Answer, Query, Retrieval, RewrittenQuery, Token
from .reranking import candidates_for, rerank
from .research import research
from .retrieving import find, find_absent
from .rewriting import finds_more, rewrite
from .writing import write_answer

logger = get_logger(__name__)

# Characters of all passages of an answer, with their surroundings under the same heading.
CONTEXT_CHARACTERS = 12_000
# Of all passages in the prompt: about 12,000 tokens, which every Gemini reads in a second or two.
PROMPT_CHARACTERS = 48_000


def find_passages(
    query: Query, *, dependencies: AnsweringDependencies, journal: Journal
) -> Retrieval:
    """
    Return the passages for *query*, without an answer.

    Raises:
        DatabaseUnavailable: The database is away.
        Misconfigured: The model that answers is not loaded in this process.
        ModelSwitched: The model that answers was switched twice meanwhile.
    """
    needs_gemini = query.turns or query.effort != "low"
    gemini, _ = _choose_writer(dependencies) if needs_gemini else (None, None)
    rewritten = rewrite(query, gemini=gemini, journal=journal)
    retrieval, usage = _find(query, rewritten, dependencies, journal, gemini=gemini)
    _count_tokens(dependencies, rewritten.usage + usage)
    _explain_ranks(retrieval, journal)
    _count_stages(dependencies, journal)
    return retrieval


def answer_question(
    query: Query, *, dependencies: AnsweringDependencies, journal: Journal, whole: bool
) -> Iterator[Retrieval | Token | Answer]:
    """
    Yield the passages for *query*, then the answer in pieces, then the whole answer.

    Args:
        whole: The pieces are not shown, so that Gemini may be tried again after the first.

    Raises:
        DatabaseUnavailable, Misconfigured, ModelSwitched: As find_passages, before the passages.
    """
    retrieval: Retrieval | None = None
    for step in _answer(query, dependencies=dependencies, journal=journal, whole=whole):
        if isinstance(step, Retrieval):
            retrieval = step
        elif isinstance(step, Answer) and retrieval is not None:
            _keep_question(step, retrieval, dependencies)
        yield step


def _answer(
    query: Query, *, dependencies: AnsweringDependencies, journal: Journal, whole: bool
) -> Iterator[Retrieval | Token | Answer]:
    gemini, unavailable = _choose_writer(dependencies)
    rewritten = rewrite(query, gemini=gemini, journal=journal)
    kept, slot = _look_up(query, rewritten, dependencies, gemini=gemini)
    if kept is not None:
        yield from _repeat(kept, rewritten, dependencies)
        return
    retrieval, usage = _find(query, rewritten, dependencies, journal, gemini=gemini)
    rewritten = replace(rewritten, usage=rewritten.usage + usage)
    retrieval, computed, usage = compute(
        retrieval, query=query, pool=dependencies.pool, gemini=gemini, journal=journal
    )
    rewritten = replace(rewritten, usage=rewritten.usage + usage)
    if computed is not None:
        yield from _show_computed(
            retrieval, computed, rewritten, unavailable, dependencies, journal
        )
        return
    retrieval = expand_context(
        retrieval,
        query=query,
        pool=dependencies.pool,
        max_characters=CONTEXT_CHARACTERS,
        journal=journal,
    )
    retrieval = decide(
        retrieval,
        floors=dependencies.floors,
        extractive=gemini is None,
        find_absent=partial(find_absent, query=query, retriever=dependencies.retriever),
        journal=journal,
    )
    _explain_ranks(retrieval, journal)
    yield retrieval
    for step in write_answer(
        retrieval,
        gemini=gemini,
        unavailable=unavailable,
        whole=whole,
        prompt_max_characters=PROMPT_CHARACTERS,
        choosing=_find_choosing(retrieval, dependencies),
        reader=_find_reader(retrieval, dependencies),
        sentences=dependencies.sentences,
        journal=journal,
    ):
        if isinstance(step, Token):
            yield step
            continue
        answer = replace(step, usage=rewritten.usage + step.usage)
        _count(answer, dependencies, journal)
        _log(answer, retrieval, journal)
        if slot is not None and answer.failure is None:
            _keep(answer, retrieval, dependencies, slot)
        yield answer


def _show_computed(
    retrieval: Retrieval,
    answer: Answer,
    rewritten: RewrittenQuery,
    unavailable: GenerationUnavailable | None,
    dependencies: AnsweringDependencies,
    journal: Journal,
) -> Iterator[Retrieval | Token | Answer]:
    answer = replace(answer, usage=rewritten.usage, failure=unavailable)
    _explain_ranks(retrieval, journal)
    yield retrieval
    yield Token(answer.text)
    _count(answer, dependencies, journal)
    _log(answer, retrieval, journal)
    yield answer


def _find(
    query: Query,
    rewritten: RewrittenQuery,
    dependencies: AnsweringDependencies,
    journal: Journal,
    *,
    gemini: Gemini | None,
) -> tuple[Retrieval, Usage]:
    candidates = candidates_for(query, dependencies.reranker)

    def find_for(rewritten: RewrittenQuery) -> Retrieval:
        return find(
            query,
            rewritten,
            retriever=dependencies.retriever,
            candidates=candidates,
            journal=journal,
        )

    retrieval = find_for(rewritten)
    if rewritten.rewritten_by == "rule":
        retrieval = replace(retrieval, asked=query.question)
        alone = find_for(RewrittenQuery(query.question))
        if finds_more(alone.passages, than=retrieval.passages):
            retrieval = alone
        else:
            journal.explain(question=retrieval.question, rewritten_by="rule")
    retrieval = rerank(retrieval, query=query, reranker=dependencies.reranker, journal=journal)
    return research(retrieval, query=query, find=find_for, gemini=gemini, journal=journal)


def _find_choosing(retrieval: Retrieval, dependencies: AnsweringDependencies) -> Choosing:
    """Return the weights fitted for the model that found the passages."""
    digest = "" if retrieval.embedder is None else retrieval.embedder.info.digest
    return dependencies.choosing.get(digest, Choosing())


def _find_reader(retrieval: Retrieval, dependencies: AnsweringDependencies) -> Reader | None:
    """Return the reader that was made of the model that found the passages."""
    if dependencies.readers is None or retrieval.embedder is None:
        return None
    return dependencies.readers.find(retrieval.embedder.info.digest)


def _choose_writer(
    dependencies: AnsweringDependencies,
) -> tuple[Gemini | None, GenerationUnavailable | None]:
    """Return Gemini, or the reason why it must not be asked although it is configured."""
    if dependencies.gemini is not None and dependencies.budget is not None:
        try:
            dependencies.budget.check()
        except GenerationUnavailable as error:
            return None, error
    return dependencies.gemini, None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the cache holds of an answer."""

    question: str
    passages: list[Hit]
    text: str
    grounded: bool
    model: str
    citations: list[Citation]


@once
def _adapter() -> TypeAdapter[_Kept]:
    return TypeAdapter(_Kept)


@once
def _filter_adapter() -> TypeAdapter[Filter]:
    return TypeAdapter(Filter)


def _look_up(
    query: Query,
    rewritten: RewrittenQuery,
    dependencies: AnsweringDependencies,
    *,
    gemini: Gemini | None,
) -> tuple[_Kept | None, CacheSlot | None]:
    """Return what the cache holds for the question, and where its answer would be kept."""
    if dependencies.cache is None or gemini is None:
        return None, None
    key = {
        "question": rewritten.question,
        "limit": query.limit,
        "filter": _filter_adapter().dump_python(query.filter, mode="json"),
        "per_document": query.per_document,
        "mode": query.mode,
        "effort": query.effort,
        "model": gemini.model,
    }
    kept, slot = dependencies.cache.read(key, principals=query.principals)
    try:
        return (None if kept is None else _adapter().validate_python(kept)), slot
    except ValidationError:
        return None, slot  # kept by another release


def _repeat(
    kept: _Kept, rewritten: RewrittenQuery, dependencies: AnsweringDependencies
) -> Iterator[Retrieval | Token | Answer]:
    _count_tokens(dependencies, rewritten.usage)
    if dependencies.metrics is not None:
        dependencies.metrics.count_cached()
    logger.info("answered from the cache", grounded=kept.grounded)
    yield Retrieval(kept.question, kept.passages)
    yield Token(kept.text)
    yield Answer(
        kept.text,
        grounded=kept.grounded,
        model=kept.model,
        citations=kept.citations,
        usage=rewritten.usage,
        cached=True,
    )


def _keep(
    answer: Answer, retrieval: Retrieval, dependencies: AnsweringDependencies, slot: CacheSlot
) -> None:
    if dependencies.cache is None:
        return
    kept = _Kept(
        question=retrieval.question,
        passages=retrieval.passages,
        text=answer.text,
        grounded=answer.grounded,
        model=answer.model,
        citations=answer.citations,
    )
    try:
        dependencies.cache.keep(_adapter().dump_python(kept, mode="json"), slot=slot)
    except DatabaseUnavailable as error:
        logger.warning("answer not kept", error=str(error))


def _keep_question(
    answer: Answer, retrieval: Retrieval, dependencies: AnsweringDependencies
) -> None:
    if dependencies.questions is None:
        return
    outcome: Outcome = "answered"
    if not answer.grounded:
        outcome = "ungrounded" if retrieval.refusal is None else "refused"
    dependencies.questions.keep(answer.id, question=retrieval.question, outcome=outcome)


def _count(answer: Answer, dependencies: AnsweringDependencies, journal: Journal) -> None:
    _count_tokens(dependencies, answer.usage)
    _count_stages(dependencies, journal)
    if dependencies.metrics is not None:
        dependencies.metrics.count_answer(
            grounded=answer.grounded,
            failure=None if answer.failure is None else answer.failure.code,
        )


def _count_stages(dependencies: AnsweringDependencies, journal: Journal) -> None:
    if dependencies.metrics is not None:
        dependencies.metrics.count_stages(journal.timings)


def _count_tokens(dependencies: AnsweringDependencies, usage: Usage) -> None:
    if dependencies.metrics is not None:
        dependencies.metrics.count_tokens(
            prompt=usage.prompt_tokens, answer=usage.answer_tokens, thinking=usage.thinking_tokens
        )
    if dependencies.budget is None:
        return
    try:
        dependencies.budget.count(tokens=usage.total_tokens, calls=usage.calls)
    except DatabaseUnavailable as error:
        # The answer exists and is paid for, so a failed count does not withdraw it.
        logger.warning("tokens not counted", tokens=usage.total_tokens, error=str(error))


def _log(answer: Answer, retrieval: Retrieval, journal: Journal) -> None:
    logger.info(
        "answered",
        passages=len(retrieval.passages),
        citations=len(answer.citations),
        verified=sum(citation.verified for citation in answer.citations),
        grounded=answer.grounded,
        model=answer.model,
        failure=None if answer.failure is None else answer.failure.code,
        tokens=answer.usage.total_tokens,
        **{f"{stage}_ms": milliseconds for stage, milliseconds in journal.timings.items()},
    )


def _explain_ranks(retrieval: Retrieval, journal: Journal) -> None:
    journal.explain(
        passages=len(retrieval.passages),
        ranks=[
            {
                "number": number,
                "score": hit.score,
                "similarity": hit.similarity,
                "vector_rank": hit.vector_rank,
                "text_rank": hit.text_rank,
                "parts": hit.parts,
            }
            for number, hit in enumerate(retrieval.passages, 1)
        ],
    )
