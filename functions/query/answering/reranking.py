"""The stage that orders passages by a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import RankingUnavailable
from shared.runtime.logs import get_logger

from .journal import Journal
from .query import Query, Retrieval

_VERTEX = "vertex"
# What the search finds for the model to choose from.
_CANDIDATES = 30
# A service that takes longer costs more than its order is worth.
_DEADLINE_SECONDS = 0.3
# Calls at once: each request of the service waits for one, and ends its wait at the deadline.
_CALLS = 16

logger = get_logger(__name__)

Score = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Reranker:
    """
    A model that scores passages against a question.

    Attributes:
        score: Return a score for each text, in their order; higher is better. It may raise
            RankingUnavailable.
        candidates: How many passages the search finds for it to choose from.
        deadline_seconds: How long it is waited for; None for a model of this process.
        calls: What runs it while the stage waits; None if that does not end.
    """

    score: Score
    candidates: int = _CANDIDATES
    deadline_seconds: float | None = None
    calls: Executor | None = None


def make_reranker(setting: str, *, project: str) -> Reranker | None:
    """
    Return the reranker of RERANKER: none, vertex, vertex:MODEL or the folder of a cross-encoder.

    Raises:
        ModelUnavailable: The folder holds none.
    """
    if setting == "none":
        return None
    if setting.partition(":")[0] == _VERTEX:
        from .ranking_api import DEFAULT_MODEL, RankingApi

        api = RankingApi(project=project, model=setting.partition(":")[2] or DEFAULT_MODEL)
        return Reranker(
            score=api.score,
            deadline_seconds=_DEADLINE_SECONDS,
            calls=ThreadPoolExecutor(_CALLS, thread_name_prefix="rank"),
        )
    from shared.embedding.cross_encoder import CrossEncoder

    return Reranker(score=CrossEncoder(Path(setting)).score)


def candidates_for(query: Query, reranker: Reranker | None) -> int:
    """Return how many passages to search for so that *reranker* has a choice."""
    return query.limit if reranker is None else max(query.limit, reranker.candidates)


def rerank(
    retrieval: Retrieval, *, query: Query, reranker: Reranker | None, journal: Journal
) -> Retrieval:
    """
    Return *retrieval* with its best passages by *reranker*; unchanged where there is none.

    Where the reranker gives no scores in time, the order of the search stands, and the retrieval
    says so.
    """
    if reranker is None or not retrieval.passages:
        return retrieval
    with journal.stage("rerank", {"candidates": len(retrieval.passages)}):
        texts = ["\n".join(filter(None, (p.header, p.text))) for p in retrieval.passages]
        try:
            scores = _score(reranker, retrieval.question, texts)
        except RankingUnavailable as error:
            logger.warning("passages not reranked", error=str(error))
            journal.explain(rerank={"failed": str(error)})
            passages = retrieval.passages[: query.limit]
            return replace(retrieval, passages=passages, not_reranked=str(error))
        # Sorting is stable: equals keep the order of the search.
        order = sorted(range(len(texts)), key=lambda place: -scores[place])[: query.limit]
    journal.explain(rerank=[{"found_at": place + 1, "score": scores[place]} for place in order])
    return replace(retrieval, passages=[retrieval.passages[place] for place in order])


def _score(reranker: Reranker, question: str, texts: Sequence[str]) -> Sequence[float]:
    if reranker.calls is None:
        return reranker.score(question, texts)
    call = reranker.calls.submit(copy_context().run, reranker.score, question, texts)
    try:
        return call.result(timeout=reranker.deadline_seconds)
    except FutureTimeoutError as error:
        call.cancel()
        raise RankingUnavailable(
            f"the reranker gave no scores within {reranker.deadline_seconds} s"
        ) from error
