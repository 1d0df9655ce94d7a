"""The stage that orders passages by a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .journal import Journal
from .query import Query, Retrieval


@dataclass(frozen=True, slots=True)
class Reranker:
    """
    A model that scores passages against a question.

    Attributes:
        candidates: How many passages the search finds for it to choose from.
        score: Return a score for each text, in their order; higher is better.
    """

    candidates: int
    score: Callable[[str, Sequence[str]], Sequence[float]]


def candidates_for(query: Query, reranker: Reranker | None) -> int:
    """Return how many passages to search for so that *reranker* has a choice."""
    return query.limit if reranker is None else max(query.limit, reranker.candidates)


def rerank(
    retrieval: Retrieval, *, query: Query, reranker: Reranker | None, journal: Journal
) -> Retrieval:
    """Return *retrieval* with its best passages by *reranker*; unchanged where there is none."""
    if reranker is None or not retrieval.passages:
        return retrieval
    with journal.stage("rerank", {"candidates": len(retrieval.passages)}):
        texts = ["\n".join(filter(None, (p.header, p.text))) for p in retrieval.passages]
        scores = reranker.score(retrieval.question, texts)
        # Sorting is stable: equals keep the order of the search.
        order = sorted(range(len(texts)), key=lambda place: -scores[place])[: query.limit]
    journal.explain(rerank=[{"found_at": place + 1, "score": scores[place]} for place in order])
    return replace(retrieval, passages=[retrieval.passages[place] for place in order])
