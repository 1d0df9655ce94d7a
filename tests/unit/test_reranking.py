"""The stage between search and answer that orders passages anew by a model of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from functions.query.answering.journal import Journal
from functions.query.answering.query import Query, Retrieval
from functions.query.answering.ranking_api import RankingApi
from functions.query.answering.reranking import Reranker, candidates_for, make_reranker, rerank
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


Answer = Callable[[dict[str, Any]], tuple[int, Any]]


@pytest.fixture
def ranking_service() -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve what state["answer"] says, and keep the last request."""
    state: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state["path"], state["body"] = self.path, body
            state["project"] = self.headers["X-Goog-User-Project"]
            status, answer = state["answer"](body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    thread.join()
    server.server_close()


def vertex(url: str, *, deadline_seconds: float = 10.0) -> Reranker:
    api = RankingApi(project="books", url=url, session=requests.Session())
    return Reranker(score=api.score, deadline_seconds=deadline_seconds, calls=ThreadPoolExecutor(2))


def test_rerank_when_vertex_scores(ranking_service: tuple[str, dict[str, Any]]) -> None:
    """All passages go in one request; the scores come back in any order."""
    url, state = ranking_service
    state["answer"] = lambda body: (
        200,
        {
            "records": [
                {"id": record["id"], "score": float("tower" in record["content"].lower())}
                for record in reversed(body["records"])
            ]
        },
    )
    ranked = rerank(FOUND, query=QUERY, reranker=vertex(url), journal=Journal())
    assert ranked.passages == [FOUND.passages[1], FOUND.passages[2]]
    assert ranked.not_reranked == ""
    assert state["path"] == (
        "/v1/projects/books/locations/global/rankingConfigs/default_ranking_config:rank"
    )
    assert (state["body"]["query"], state["project"]) == (QUERY.question, "books")


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (503, {}, "answered 503"),
        (200, {"records": [{"id": "0", "score": 1}]}, "without scores"),
        (200, ["?"], "without scores"),
    ],
)
def test_rerank_when_vertex_fails(
    ranking_service: tuple[str, dict[str, Any]], status: int, answer: object, reason: str
) -> None:
    """The order of the search stands, as many passages as asked for, and the reason is told."""
    url, state = ranking_service
    state["answer"] = lambda _body: (status, answer)
    journal = Journal()
    ranked = rerank(FOUND, query=QUERY, reranker=vertex(url), journal=journal)
    assert ranked.passages == FOUND.passages[:2]
    assert reason in ranked.not_reranked
    assert reason in journal.explanation["rerank"]["failed"]
    assert journal.timings.keys() == {"rerank"}


def test_rerank_when_vertex_is_slow(ranking_service: tuple[str, dict[str, Any]]) -> None:
    """An answer after the deadline is not waited for."""
    url, state = ranking_service
    done = threading.Event()
    state["answer"] = lambda _body: (503 if done.wait(30) else 504, {})
    reranker = vertex(url, deadline_seconds=0.05)
    ranked = rerank(FOUND, query=QUERY, reranker=reranker, journal=Journal())
    assert "within 0.05 s" in ranked.not_reranked
    done.set()


def test_reranker_when_none_is_set() -> None:
    """The setting's default makes none."""
    assert make_reranker("none", project="") is None
