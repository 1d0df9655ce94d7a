"""The stage between search and answer that orders passages anew by a model of its own."""

from __future__ import annotations

from collections.abc import Sequence

from functions.query.answering.journal import Journal
from functions.query.answering.query import Query, Retrieval
from functions.query.answering.reranking import Reranker, candidates_for, rerank
from tests.unit.test_citing import hit

QUERY = Query(question="How high is it?", limit=2)
FOUND = Retrieval(QUERY.question, [hit("The bridge."), hit("The tower, 300 m."), hit("A tower.")])


def count_towers(_question: str, texts: Sequence[str]) -> list[float]:
    return [float("tower" in text) for text in texts]


def test_rerank_when_a_model_scores() -> None:
    """The best scores come first, equals as they were found, and no more than were asked for."""
    journal = Journal()
    reranker = Reranker(candidates=20, score=count_towers)
    ranked = rerank(FOUND, query=QUERY, reranker=reranker, journal=journal)
    assert ranked.passages == [FOUND.passages[1], FOUND.passages[2]]
    assert journal.timings.keys() == {"rerank"}
    assert [entry["found_at"] for entry in journal.explanation["rerank"]] == [2, 3]
    assert candidates_for(QUERY, reranker) == 20


def test_rerank_when_there_is_no_model() -> None:
    """The order of the search stands, and no stage is timed."""
    journal = Journal()
    assert rerank(FOUND, query=QUERY, reranker=None, journal=journal) is FOUND
    assert journal.timings == {}
    assert candidates_for(QUERY, None) == 2
