"""The query function's HTTP interface on a real Postgres; Gemini is a stand-in."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from functions.query.answering.generation import Gemini
from functions.query.answering.reranking import Reranker
from functions.query.http.keep_alive import keep_alive
from functions.query.http.problems import PROBLEM_TYPES
from functions.query.settings import MAX_REQUEST_BYTES, QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.errors import RankingUnavailable
from shared.store import Connection, Pool, open_pool
from shared.values import ObjectVersion
from tests.support import gemini_stand_in as stand_ins
from tests.support.asking import index_document, make_client, open_gemini
from tests.support.gemini_stand_in import GeminiStandIn, answering, gemini_stand_in

TOWERS = [
    "The Eiffel Tower stands in Paris. It was finished in 1889 by the company of Gustave Eiffel.",
    "The Brandenburg Gate stands in Berlin. It was built by Carl Gotthard Langhans.",
]
QUESTION = {"question": "When was the Eiffel Tower finished?"}

_STATES = ("queued", "indexing", "ready", "failed", "deleted")

MakeClient = Callable[..., FlaskClient]


@pytest.fixture(scope="session")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def client_with(database_url: str, model_dir: Path, pool: Pool, embedder: Embedder) -> MakeClient:
    """Return a maker of clients whose service has the settings given."""

    def make(*, gemini: Gemini | None = None, **settings: Any) -> FlaskClient:
        fields: dict[str, Any] = {"database_url": database_url, "model_dir": model_dir}
        return make_client(
            QuerySettings(**fields | settings), pool=pool, embedder=embedder, gemini=gemini
        )

    return make


@pytest.fixture
def client(client_with: MakeClient) -> FlaskClient:
    return client_with()


@pytest.fixture
def towers(connection: Connection, embedder: Embedder) -> str:
    """Index a document and return its extracted text."""
    return index_document(connection, embedder, "guides/towers.txt", TOWERS)


@pytest.fixture
def stand_in() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as running:
        yield running


@pytest.fixture
def gemini(stand_in: GeminiStandIn) -> Iterator[Gemini]:
    with open_gemini(stand_in.url, gemini_timeout_seconds=2.0) as opened:
        yield opened


def body_of(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.get_data(as_text=True)
    body = response.get_json()
    assert isinstance(body, dict)
    return body


def problem_of(response: TestResponse, status: int) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    body = body_of(response, status)
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def events_of(response: TestResponse) -> list[tuple[str, dict[str, Any]]]:
    assert response.status_code == 200, response.get_data(as_text=True)
    assert response.content_type == "text/event-stream"
    events = []
    for block in response.get_data(as_text=True).strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def stream(client: FlaskClient, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    return events_of(
        client.post("/query", json=QUESTION | body, headers={"Accept": "text/event-stream"})
    )


def test_query_when_documents_answer(client: FlaskClient, towers: str) -> None:
    """Without Gemini the answer is made of sentences, each with its place in the document."""
    body = body_of(client.post("/query", json=QUESTION))
    assert body["model"] == "extractive"
    assert body["grounded"] is True
    assert "1889" in body["answer"]
    for citation in body["citations"]:
        assert citation["verified"] is True
        assert towers[citation["char_start"] : citation["char_end"]] == citation["quote"]
        assert f"[{citation['number']}]" in body["answer"]
    stages = ("embed", "retrieve", "expand", "generate", "total")
    assert set(body["timings"]) == {f"{stage}_ms" for stage in stages}


def test_query_when_there_are_no_documents(client: FlaskClient) -> None:
    """Nothing found is said, not guessed."""
    body = body_of(client.post("/query", json=QUESTION))
    assert body["grounded"] is False
    assert body["citations"] == []
    assert body["passages"] == []


def test_query_when_nothing_is_found_asks_no_model(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """Gemini is not asked about nothing."""
    body = body_of(client_with(gemini=gemini).post("/query", json=QUESTION))
    assert body["grounded"] is False
    assert stand_in.requests == []


def test_query_when_question_is_vietnamese(client: FlaskClient) -> None:
    """The refusal speaks the language of the question."""
    body = body_of(client.post("/query", json={"question": "Ai là người được bầu ở Hà Nội?"}))
    assert body["answer"] == "Các tài liệu không trả lời câu hỏi này."


@pytest.mark.usefixtures("towers")
def test_query_when_gemini_answers(client_with: MakeClient, gemini: Gemini) -> None:
    """Gemini's answer carries its model's name and its tokens."""
    body = body_of(client_with(gemini=gemini).post("/query", json=QUESTION))
    assert body["model"] == "gemini-3.5-flash-lite"
    assert body["usage"]["total_tokens"] == 120
    assert [citation["verified"] for citation in body["citations"]] == [True]


@pytest.mark.usefixtures("towers")
def test_stream_when_gemini_answers(client_with: MakeClient, gemini: Gemini) -> None:
    """Passages come first, then tokens, then citations, then the end."""
    events = stream(client_with(gemini=gemini))
    names = [name for name, _ in events]
    assert names[0] == "passages"
    assert names[-2:] == ["citations", "done"]
    assert set(names[1:-2]) == {"token"}
    tokens = "".join(data["text"] for name, data in events if name == "token")
    assert tokens == events[-1][1]["answer"]
    assert events[-2][1]["citations"][0]["verified"] is True


@pytest.mark.usefixtures("towers")
@pytest.mark.parametrize(
    ("scenario", "status", "code"),
    [
        (stand_ins.UNAVAILABLE, 502, "gemini_unavailable"),
        (stand_ins.QUOTA_EXHAUSTED, 502, "gemini_quota_exhausted"),
        (stand_ins.BLOCKED, 502, "gemini_blocked"),
        (stand_ins.EMPTY, 502, "gemini_empty"),
        (stand_ins.HANG, 504, "gemini_timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_query_when_gemini_fails(
    client_with: MakeClient,
    gemini: Gemini,
    stand_in: GeminiStandIn,
    scenario: stand_ins.Scenario,
    status: int,
    code: str,
) -> None:
    """The problem carries the passages and the extractive answer."""
    stand_in.plan(scenario)
    problem = problem_of(client_with(gemini=gemini).post("/query", json=QUESTION), status)
    assert problem["code"] == code
    assert problem["passages"]
    assert problem["model"] == "extractive"
    assert "1889" in problem["answer"]
    assert all(citation["verified"] for citation in problem["citations"])


@pytest.mark.usefixtures("towers")
def test_stream_when_gemini_is_cut(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """The stream ends with an error that carries the extractive answer."""
    stand_in.plan(stand_ins.CUT)
    events = stream(client_with(gemini=gemini))
    assert [name for name, _ in events if name != "token"] == ["passages", "citations", "error"]
    assert events[-1][1]["code"] == "gemini_unavailable"
    assert "1889" in events[-1][1]["answer"]


@pytest.mark.usefixtures("towers")
def test_query_when_traced(client: FlaskClient) -> None:
    """The trace says what each step did."""
    trace = body_of(client.post("/query", json=QUESTION | {"trace": True}))["trace"]
    assert trace["question"] == QUESTION["question"]
    assert trace["rewritten_by"] == "none"
    assert trace["gate"] == {"refused": False, "reason": None}
    assert trace["ranks"][0]["number"] == 1


@pytest.mark.usefixtures("towers")
def test_query_when_it_follows_up(client: FlaskClient) -> None:
    """A question that points back is searched for with the question it points to."""
    history = [
        {"role": "user", "content": "Where does the Brandenburg Gate stand?"},
        {"role": "assistant", "content": "In Berlin [1]."},
    ]
    body = body_of(
        client.post("/query", json={"question": "Who built it?", "history": history, "trace": True})
    )
    assert body["trace"]["rewritten_by"] == "rule"
    assert "Langhans" in body["answer"]


@pytest.mark.usefixtures("towers")
def test_query_when_gemini_rewrites(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """Where Gemini is, it makes a follow-up question stand alone."""
    rewritten = "Who built the Brandenburg Gate?"
    stand_in.plan(
        stand_ins.Scenario(pieces=[json.dumps({"question": rewritten})]), stand_ins.ANSWERS
    )
    history = [{"role": "user", "content": "Where does the Brandenburg Gate stand?"}]
    asked = {"question": "Who built it?", "history": history, "trace": True}
    body = body_of(client_with(gemini=gemini).post("/query", json=asked))
    assert body["trace"]["question"] == rewritten
    assert body["trace"]["rewritten_by"] == "gemini"
    assert body["usage"]["calls"] == 2


@pytest.mark.usefixtures("towers")
def test_cache_when_asked_twice(
    client_with: MakeClient,
    gemini: Gemini,
    stand_in: GeminiStandIn,
    connection: Connection,
    embedder: Embedder,
) -> None:
    """An answer is given again until a document changes; the copy costs nothing."""
    client = client_with(gemini=gemini, answer_cache_seconds=600)
    first = body_of(client.post("/query", json=QUESTION))
    second = body_of(client.post("/query", json=QUESTION))
    assert len(stand_in.requests) == 1
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["usage"]["total_tokens"] == 0
    same = ("answer", "citations", "passages", "model", "grounded")
    assert [first[name] for name in same] == [second[name] for name in same]
    events = stream(client)
    assert [name for name, _ in events] == ["passages", "token", "citations", "done"]
    assert len(stand_in.requests) == 1
    body_of(client.post("/query", json=QUESTION | {"filter": {"prefix": "guides/"}}))
    assert len(stand_in.requests) == 2
    index_document(connection, embedder, "other.txt", ["Something else."])
    assert body_of(client.post("/query", json=QUESTION))["cached"] is False


@pytest.mark.usefixtures("towers")
def test_cache_when_a_document_is_deleted(
    client_with: MakeClient, gemini: Gemini, connection: Connection
) -> None:
    """What is deleted is not given again from the cache."""
    client = client_with(gemini=gemini, answer_cache_seconds=600)
    body_of(client.post("/query", json=QUESTION))
    store.record_gone(connection, ObjectVersion("documents", "guides/towers.txt", 1))
    assert body_of(client.post("/query", json=QUESTION))["passages"] == []


@pytest.mark.usefixtures("towers")
def test_cache_when_gemini_fails(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """A failure is not kept."""
    client = client_with(gemini=gemini, answer_cache_seconds=600)
    stand_in.plan(stand_ins.UNAVAILABLE, stand_ins.ANSWERS)
    problem_of(client.post("/query", json=QUESTION), 502)
    assert body_of(client.post("/query", json=QUESTION))["model"] == "gemini-3.5-flash-lite"


@pytest.mark.usefixtures("towers")
def test_budget_when_used_up(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """Past the day's tokens Gemini is not asked; the answer is extractive and says why."""
    client = client_with(gemini=gemini, daily_token_budget=150)
    for _ in range(2):
        assert body_of(client.post("/query", json=QUESTION))["degraded"] is None
    third = body_of(client.post("/query", json=QUESTION))
    assert third["degraded"]["code"] == "budget"
    assert third["model"] == "extractive"
    assert len(stand_in.requests) == 2


@pytest.mark.usefixtures("towers")
def test_answer_when_the_model_is_retired(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """Questions are answered with extracts, and each answer says which model to set."""
    stand_in.plan(stand_ins.RETIRED)
    body = body_of(client_with(gemini=gemini).post("/query", json=QUESTION))
    assert body["degraded"]["code"] == "model_missing"
    assert gemini.model in body["degraded"]["message"]
    assert body["model"] == "extractive"
    assert body["citations"][0]["verified"]


def test_rate_limit_when_passed(client_with: MakeClient) -> None:
    """Every instance counts in the same place, and says when the next request is taken."""
    clients = [client_with(rate_limit_per_minute=3) for _ in range(2)]
    statuses = [clients[turn % 2].post("/retrieve", json=QUESTION).status_code for turn in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = clients[0].post("/retrieve", json=QUESTION)
    assert problem_of(refused, 429)["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert clients[0].get("/documents").status_code == 200


def test_rate_limit_when_reading(client_with: MakeClient) -> None:
    """Ten times as many requests may only read, whatever they read; probes are not counted."""
    client = client_with(rate_limit_per_minute=1)
    paths = ["/documents", f"/documents/{uuid4()}", "/none"] * 3
    assert {client.get(path).status_code for path in paths} == {200, 404}
    assert client.get("/documents").status_code == 200
    refused = problem_of(client.get("/documents"), 429)
    assert refused["code"] == "rate_limited"
    assert client.get("/healthz").status_code == 200
    assert client.post("/retrieve", json=QUESTION).status_code == 200


def test_rate_limit_when_behind_a_proxy(client_with: MakeClient) -> None:
    """The address is what the trusted proxy saw, not what the client claims."""
    client = client_with(rate_limit_per_minute=1, trusted_proxies=1)

    def status(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return client.post("/retrieve", json=QUESTION, headers=headers).status_code

    assert status("1.1.1.1, 9.9.9.9") == 200
    assert status("2.2.2.2, 9.9.9.9") == 429
    assert status("1.1.1.1, 8.8.8.8") == 200


def test_retrieve_when_documents_match(client: FlaskClient, towers: str) -> None:
    """A passage is the characters of the extracted text that its offsets name."""
    body = body_of(client.post("/retrieve", json=QUESTION | {"limit": 1}))
    (passage,) = body["passages"]
    assert passage["number"] == 1
    assert passage["name"] == "guides/towers.txt"
    assert passage["uri"] == "gs://documents/guides/towers.txt"
    assert towers[passage["char_start"] : passage["char_end"]] == passage["text"]
    assert set(body["timings"]) == {"embed_ms", "retrieve_ms", "total_ms"}


@pytest.mark.usefixtures("towers")
def test_retrieve_when_filtered(client: FlaskClient) -> None:
    """A filter that no document passes leaves nothing."""
    for conditions in ({"prefix": "other/"}, {"collection": "none"}, {"metadata": {"a": "b"}}):
        body = body_of(client.post("/retrieve", json=QUESTION | {"filter": conditions}))
        assert body["passages"] == []
    body = body_of(client.post("/retrieve", json=QUESTION | {"filter": {"prefix": "guides/"}}))
    assert body["passages"]


@pytest.mark.usefixtures("towers")
def test_documents_when_listed(
    client: FlaskClient, connection: Connection, embedder: Embedder
) -> None:
    """Documents come by name, a page at a time."""
    index_document(connection, embedder, "guides/zoo.txt", ["Animals live there."])
    first = body_of(client.get("/documents?limit=1&prefix=guides/"))
    assert [document["name"] for document in first["documents"]] == ["guides/towers.txt"]
    second = body_of(client.get("/documents", query_string={"limit": 1, "cursor": first["next"]}))
    assert [document["name"] for document in second["documents"]] == ["guides/zoo.txt"]
    assert second["next"] is None
    document = first["documents"][0]
    assert document["state"] == "ready"
    assert document["reason"] is None
    assert document["chunks"] == document["chunks_embedded"] == 2
    assert body_of(client.get(f"/documents/{document['id']}")) == document


def names_of(body: dict[str, Any]) -> list[str]:
    return [document["name"] for document in body["documents"]]


def put(
    connection: Connection,
    name: str,
    *,
    size: int = 1,
    metadata: dict[str, str] | None = None,
    failed: bool = False,
) -> None:
    """Record a document that is indexing, or that failed."""
    version = ObjectVersion(
        "documents", name, 1, size=size, content_type="text/plain", metadata=metadata or {}
    )
    lease = store.begin_build(
        connection, version, config_hash="test", lease_seconds=60, max_attempts=10
    ).lease
    assert lease is not None
    if failed:
        store.fail_build(connection, lease, code="encrypted", reason="It needs a password.")


@pytest.fixture
def shelf(connection: Connection) -> None:
    put(connection, "b/Small Report.txt", size=1, metadata={"year": "2024", "team": "red"})
    put(connection, "a/large_report.txt", size=300, metadata={"year": "2025", "team": "red"})
    put(connection, "c/Übersicht.txt", size=20, failed=True)


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sort=name", ["a/large_report.txt", "b/Small Report.txt", "c/Übersicht.txt"]),
        ("sort=name&order=desc", ["c/Übersicht.txt", "b/Small Report.txt", "a/large_report.txt"]),
        ("sort=updated", ["c/Übersicht.txt", "a/large_report.txt", "b/Small Report.txt"]),
        ("sort=size", ["a/large_report.txt", "c/Übersicht.txt", "b/Small Report.txt"]),
        ("sort=size&order=asc", ["b/Small Report.txt", "c/Übersicht.txt", "a/large_report.txt"]),
        ("sort=state", ["c/Übersicht.txt", "a/large_report.txt", "b/Small Report.txt"]),
        ("search=REPORT", ["a/large_report.txt", "b/Small Report.txt"]),
        ("search=small report", ["b/Small Report.txt"]),
        ("search=ge_rep", ["a/large_report.txt"]),
        ("search=%25", []),
        ("search=überSICHT", ["c/Übersicht.txt"]),
        ("search=rt", ["a/large_report.txt", "b/Small Report.txt"]),
        ("state=failed", ["c/Übersicht.txt"]),
        ("state=failed&state=indexing&search=txt&prefix=b/", ["b/Small Report.txt"]),
        ("collection=a&collection=c", ["a/large_report.txt", "c/Übersicht.txt"]),
        ("metadata=team:red&metadata=year:2025", ["a/large_report.txt"]),
        ("content_type=text/*&collection=b", ["b/Small Report.txt"]),
        ("content_type=text", []),
    ],
)
def test_documents_when_chosen_and_sorted(
    client: FlaskClient, query: str, names: list[str]
) -> None:
    """Each order and condition shows its documents, page by page, and how many there are."""
    assert names_of(body_of(client.get(f"/documents?{query}"))) == names
    paged, following = [], ""
    for _ in range(len(names) + 1):
        page = body_of(client.get(f"/documents?{query}&limit=1&cursor={following}"))
        assert (page["total"], page["total_is_exact"]) == (len(names), True)
        paged += names_of(page)
        following = page["next"] or ""
        if not following:
            break
    assert paged == names


@pytest.mark.usefixtures("shelf")
def test_cursor_when_it_is_of_another_list(client: FlaskClient) -> None:
    """A cursor is refused if it belongs to another list or was made up."""
    cursor = body_of(client.get("/documents?limit=1"))["next"]
    for query in (f"sort=size&cursor={cursor}", f"order=desc&cursor={cursor}", "cursor=name"):
        problem = problem_of(client.get(f"/documents?{query}"), 400)
        assert problem["errors"][0]["field"] == "cursor"


@pytest.mark.usefixtures("shelf", "towers")
def test_collections_when_listed(client: FlaskClient) -> None:
    """Each collection counts its documents by state."""
    collections = body_of(client.get("/collections"))["collections"]
    assert [(each["name"], each["states"]) for each in collections] == [
        ("a", {"indexing": 1}),
        ("b", {"indexing": 1}),
        ("c", {"failed": 1}),
        ("guides", {"ready": 1}),
    ]
    assert collections[0]["size"] == 300


@pytest.mark.usefixtures("shelf", "towers")
def test_facets_when_documents_are_chosen(client: FlaskClient) -> None:
    """The values of the chosen documents are counted, the most common first."""
    body = body_of(client.get("/facets?search=report"))
    assert (body["documents"], body["is_complete"]) == (2, True)
    assert body["metadata"] == [
        {
            "key": "team",
            "documents": 2,
            "distinct": 1,
            "values": [{"value": "red", "documents": 2}],
        },
        {
            "key": "year",
            "documents": 2,
            "distinct": 2,
            "values": [{"value": "2024", "documents": 1}, {"value": "2025", "documents": 1}],
        },
    ]
    everything = body_of(client.get("/facets?values=1"))
    assert everything["state"]["values"] == [{"value": "indexing", "documents": 2}]
    assert everything["state"]["distinct"] == 3


def test_state_when_a_document_comes_and_goes(
    client: FlaskClient, connection: Connection, embedder: Embedder
) -> None:
    """The list shows each state as it is entered, and counts what is deleted no more."""

    def states() -> list[str]:
        found = body_of(client.get("/documents?state=" + "&state=".join(_STATES)))
        return [document["state"] for document in found["documents"]]

    version = ObjectVersion("documents", "a.txt", 1)
    store.record_newer(connection, version)
    assert states() == ["queued"]
    index_document(connection, embedder, "a.txt", ["Some text."])
    assert states() == ["ready"]
    store.record_newer(connection, ObjectVersion("documents", "a.txt", 2))
    assert states() == ["queued"]
    store.record_gone(connection, ObjectVersion("documents", "a.txt", 2))
    assert states() == ["deleted"]
    assert body_of(client.get("/documents"))["total"] == 0
    assert body_of(client.get("/collections"))["collections"] == []


def test_document_when_it_failed(client: FlaskClient, connection: Connection) -> None:
    """A failed document says why."""
    lease = store.begin_build(
        connection,
        ObjectVersion("documents", "locked.pdf", 1),
        config_hash="test",
        lease_seconds=60,
        max_attempts=10,
    ).lease
    assert lease is not None
    store.fail_build(connection, lease, code="encrypted", reason="It needs a password.")
    (document,) = body_of(client.get("/documents?state=failed"))["documents"]
    assert document["reason"] == {"code": "encrypted", "message": "It needs a password."}
    problem = problem_of(client.get(f"/documents/{document['id']}/text"), 404)
    assert problem["code"] == "not_answering"


def test_text_when_a_citation_is_opened(client: FlaskClient, towers: str) -> None:
    """The quoted characters come with their surroundings, and where they begin in them."""
    citation = body_of(client.post("/query", json=QUESTION))["citations"][0]
    start, end = citation["char_start"], citation["char_end"]
    body = body_of(
        client.get(
            f"/documents/{citation['document_id']}/text",
            query_string={"char_start": start, "char_end": end, "context": 20},
        )
    )
    shift = body["char_start"]
    quoted = body["text"][body["highlight_start"] - shift : body["highlight_end"] - shift]
    assert quoted == citation["quote"]
    assert body["text"] == towers[max(0, start - 20) : end + 20]


def test_document_when_unknown(client: FlaskClient) -> None:
    """An id that is no document's is not found."""
    assert problem_of(client.get(f"/documents/{uuid4()}"), 404)["code"] == "unknown_document"
    assert problem_of(client.get(f"/documents/{UUID(int=0)}/text"), 404)


def test_changes_when_uploads_are_off(client: FlaskClient) -> None:
    """A service that may not write says so."""
    for response in (
        client.post("/documents", json={"name": "a.txt", "size": 1}),
        client.delete(f"/documents/{uuid4()}"),
        client.post(f"/documents/{uuid4()}/retry"),
    ):
        assert problem_of(response, 403)["code"] == "uploads_disabled"


def nested(depth: int) -> dict[str, Any]:
    """Return a filter in a filter, so many deep."""
    value: dict[str, Any] = {"name": "x"}
    for _ in range(depth):
        value = {"and": [value]}
    return value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": ""}, "question"),
        ({"question": " \n\t"}, "question"),
        ({"question": "\u0000"}, "question"),
        ({"question": "x" * 4001}, "question"),
        ({"question": 5}, "question"),
        ({"question": None}, "question"),
        ({"question": "x", "limit": 0}, "limit"),
        ({"question": "x", "limit": 101}, "limit"),
        ({"question": "x", "limit": "5"}, "limit"),
        ({"question": "x", "limit": True}, "limit"),
        ({"question": "x", "limit": 1e400}, "limit"),
        ({"question": "x", "filter": {"colection": "a"}}, "filter.colection"),
        ({"question": "x", "filter": {"updated_from": "yesterday"}}, "filter.updated_from"),
        ({"question": "x", "filter": {"updated_to": 5}}, "filter.updated_to"),
        ({"question": "x", "filter": {"metadata": {"a": [1]}}}, "filter.metadata.a.any_of.0"),
        (
            {"question": "x", "filter": {"metadata": {"a": {"gt": "b"}}}},
            "filter.metadata.a.gt",
        ),
        ({"question": "x", "filter": {"metadata": {"a b": "c"}}}, "filter.metadata.a b"),
        ({"question": "x", "filter": {"collection": {"gt": "b"}}}, "filter.collection.gt"),
        ({"question": "x", "filter": {"and": [{"name": 5}]}}, "filter.and.0.name.any_of.0"),
        ({"question": "x", "filter": nested(6)}, "filter"),
        ({"question": "x", "filter": nested(300)}, "filter"),
        ({"question": "x", "filter": {"or": [{"or": [{"name": "x"}] * 33}] * 2}}, "filter"),
        ({"question": "x", "filter": {"and": [{"name": {"any_of": ["x"] * 100}}] * 6}}, "filter"),
        ({"question": "x", "filter": {"prefix": "a\u0000"}}, "filter.prefix"),
        ({"question": "x", "history": [{"role": "system", "content": ""}]}, "history.0.role"),
        ({"question": "x", "mode": "best"}, "mode"),
    ],
)
def test_query_when_a_field_is_wrong(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    """The problem names the field at fault."""
    problem = problem_of(client.post("/query", json=body), 400)
    assert any(fault["field"].startswith(field) for fault in problem["errors"])
    assert field in problem["detail"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'"{}"', b"null", b"\xff", b'{"question": "\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "list", "string", "null", "not utf-8", "surrogate", "deep"],
)
def test_query_when_body_is_no_object(client: FlaskClient, data: bytes) -> None:
    """What is no JSON object of text is refused, never an error of ours."""
    response = client.post("/query", data=data, content_type="application/json")
    problem_of(response, 400)


def test_query_when_text_is_decomposed(client: FlaskClient) -> None:
    """Questions are composed (NFC), and control characters are spaces."""
    asked = {"question": "Que\u0301\u0000 es?", "trace": True}
    assert body_of(client.post("/query", json=asked))["trace"]["question"] == "Qué  es?"


def test_request_when_not_json(client: FlaskClient) -> None:
    """Another type, or a compressed body, is refused by name."""
    problem_of(client.post("/query", data="question=x"), 415)
    compressed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    problem_of(client.post("/query", data=b"x", headers=compressed), 415)


def test_request_when_too_large(client_with: MakeClient) -> None:
    """A body over the limit is refused before it is read."""
    client = client_with()
    problem_of(client.post("/query", json={"question": "x" * MAX_REQUEST_BYTES}), 413)


def test_request_when_path_or_method_is_wrong(client: FlaskClient) -> None:
    """Unknown paths and methods are problems too, the latter with what is allowed."""
    problem_of(client.get("/nothing"), 404)
    response = client.get("/query")
    problem_of(response, 405)
    assert "POST" in response.headers["Allow"]
    problem_of(client.get("/documents/not-an-id"), 400)
    problem_of(client.get("/documents?limit=0"), 400)
    problem_of(client.get("/documents?stat=ready"), 400)
    assert "Disallow: /" in client.get("/robots.txt").get_data(as_text=True)
    with client.get("/favicon.ico") as icon:
        assert icon.content_type.startswith("image/svg+xml")


def test_request_when_the_database_is_away(
    client_with: MakeClient, model_dir: Path, embedder: Embedder
) -> None:
    """Without its database the service is there, but not ready, and says when to come back."""
    settings = QuerySettings(
        database_url="postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1",  # type: ignore[arg-type] # pydantic converts it
        model_dir=model_dir,
    )
    with open_pool(settings) as pool:
        client = make_client(settings, pool=pool, embedder=embedder)
        assert body_of(client.get("/healthz")) == {"status": "ok"}
        for response in (client.post("/query", json=QUESTION), client.get("/readyz")):
            assert problem_of(response, 503)["code"] == "database_unavailable"
            assert int(response.headers["Retry-After"]) > 0


def test_keys_when_set(client_with: MakeClient) -> None:
    """One of the keys opens everything but the page, the probes and the description."""
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in ("first", "second")]
    client = client_with(api_keys=digests)
    response = client.get("/documents")
    problem_of(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    problem_of(client.get("/documents", headers={"Authorization": "Bearer wrong"}), 401)
    problem_of(client.get("/documents", headers={"X-API-Key": ""}), 401)
    problem_of(client.get("/documents", headers={"X-API-Key": digests[0]}), 401)
    for headers in ({"Authorization": "Bearer first"}, {"X-API-Key": "second"}):
        assert client.get("/documents", headers=headers).status_code == 200
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_paths_when_versioned(client: FlaskClient) -> None:
    """What is there is there under /v1 too, and a problem's type says what its code means."""
    asked = {"question": "When?"}
    for prefix in ("", "/v1"):
        assert client.post(f"{prefix}/query", json=asked).status_code == 200
        assert client.get(f"{prefix}/documents").status_code == 200
        problem = problem_of(client.post(f"{prefix}/query", json={}), 400)
        assert problem["type"] == "/problems/invalid_field"
        assert problem["errors"] == [{"field": "question", "message": "is missing"}]
        meant = body_of(client.get(prefix + problem["type"]))
        assert meant["code"] == "invalid_field"
    problem_of(client.get("/v1/"), 404)
    problem_of(client.get("/problems/nothing"), 404)


def test_document_when_a_browser_goes_to_it(client_with: MakeClient, towers: str) -> None:
    """A citation's address shows the page to a person, without a key; a program gets JSON."""
    assert towers
    digest = hashlib.sha256(b"key").hexdigest()
    client = client_with(api_keys=[digest])
    key = {"X-API-Key": "key"}
    (document,) = body_of(client.get("/documents", headers=key))["documents"]
    path = f"/documents/{document['id']}"
    with client.get(path, headers={"Accept": "text/html,*/*;q=0.8"}) as page:
        assert page.content_type.startswith("text/html")
        assert "towers" not in page.get_data(as_text=True)
    problem_of(client.get(path), 401)
    assert body_of(client.get(path, headers=key))["name"] == "guides/towers.txt"


def test_problem_types_when_compared_with_the_guide() -> None:
    """The guide tells of each code that has an address, and no other."""
    guide = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    table = guide[guide.index("| status | `code` |") :].split("\n\n")[0]
    told = {
        code for line in table.splitlines() for code in re.findall(r"`(\w+)`", line.split("|")[2])
    }
    assert told - {"code"} == set(PROBLEM_TYPES)


def test_stream_when_it_is_silent() -> None:
    """A comment comes while there is nothing to say; a failure is raised when it is read."""
    go_on = threading.Event()

    def events() -> Iterator[str]:
        yield "first"
        assert go_on.wait(30)
        yield "second"
        raise ValueError("third")

    stream = keep_alive(events(), seconds=0.02)
    assert next(stream) == "first"
    assert next(stream).startswith(":")
    go_on.set()
    assert next(each for each in stream if not each.startswith(":")) == "second"
    with pytest.raises(ValueError, match="third"):
        list(stream)


def test_stream_when_its_reader_goes() -> None:
    """What makes the events is closed when their reader is gone."""
    ended = threading.Event()

    def events() -> Iterator[str]:
        try:
            while True:
                yield "again"
        finally:
            ended.set()

    stream = keep_alive(events())
    assert next(stream) == "again"
    stream.close()
    assert ended.wait(30)


def test_hosts_when_set(client_with: MakeClient) -> None:
    """Another host's name is refused, but for probes."""
    client = client_with(allowed_hosts=["docs.example", ".wild.example"])
    assert client.get("/documents", headers={"Host": "docs.example:8080"}).status_code == 200
    assert client.get("/documents", headers={"Host": "a.wild.example"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "10.0.0.1"}).status_code == 200
    for host in ("evil.example", "docs.example.evil", "notwild.example"):
        problem_of(client.get("/documents", headers={"Host": host}), 421)


def test_origins_when_set(client_with: MakeClient) -> None:
    """Only listed origins may read answers in a browser."""
    client = client_with(cors_allowed_origins=["https://docs.example"])
    preflight = {"Access-Control-Request-Method": "POST"}
    allowed = client.options("/query", headers=preflight | {"Origin": "https://docs.example"})
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://docs.example"
    assert "Content-Type" in allowed.headers["Access-Control-Allow-Headers"]
    refused = client.options("/query", headers=preflight | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in refused.headers
    answered = client.get("/healthz", headers={"Origin": "https://docs.example"})
    assert answered.headers["Access-Control-Allow-Origin"] == "https://docs.example"
    assert "Origin" in answered.headers["Vary"]


def test_headers_when_anything_is_answered(client: FlaskClient) -> None:
    """Every response, errors too, forbids scripts of others, framing and sniffing."""
    for response in (client.get("/healthz"), client.get("/nothing")):
        policy = response.headers["Content-Security-Policy"]
        for directive in (
            "default-src 'none'",
            "script-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ):
            assert directive in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"


def test_ready_when_model_and_database_fit(client: FlaskClient) -> None:
    """Readiness names the models that answer."""
    body = body_of(client.get("/readyz"))
    assert body["status"] == "ready"
    assert body["model"] == "extractive"
    assert body["dimension"] == 384


def test_answer_when_slow_reader_streams(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn, towers: str
) -> None:
    """The first event is there before Gemini has said anything."""
    assert towers
    stand_in.plan(stand_ins.HANG)
    response = client_with(gemini=gemini).post(
        "/query", json=QUESTION, headers={"Accept": "text/event-stream"}, buffered=False
    )
    started = time.monotonic()
    first = next(response.iter_encoded())
    assert time.monotonic() - started < 0.5
    assert first.startswith(b"event: passages")
    response.close()


@pytest.mark.usefixtures("towers")
def test_answer_when_gemini_makes_up_a_quote(
    client_with: MakeClient, gemini: Gemini, stand_in: GeminiStandIn
) -> None:
    """A quote that does not stand in its passage leaves the server as not verified."""
    stand_in.plan(answering("It was 1990 [1].", [(1, "finished in 1990")]))
    (citation,) = body_of(client_with(gemini=gemini).post("/query", json=QUESTION))["citations"]
    assert citation["verified"] is False
    assert citation["char_start"] is None


@pytest.mark.usefixtures("towers")
@pytest.mark.parametrize(
    ("question", "begin"),
    [
        ("Wer malte denn die xyzzy?", "Kein Dokument auf Deutsch"),
        ("O que é o xyzzy e quem decide?", "Nenhum documento em português"),
        ("Qual è il xyzzy per la consegna e dove?", "Nessun documento in italiano"),
        ("Quel est le xyzzy de la livraison ?", "Aucun document en français"),
        ("¿Cuál es el xyzzy de los pedidos?", "Ningún documento en español"),
        ("Xyzzy nghĩa là gì vậy?", "Không có tài liệu tiếng Việt"),
        ("Who painted the xyzzy?", "The documents"),
    ],
)
def test_query_when_it_is_refused(client: FlaskClient, question: str, begin: str) -> None:
    """The refusal is in the language of the question, though no document is in it."""
    body = body_of(client.post("/query", json={"question": question}))
    assert body["grounded"] is False
    assert body["answer"].startswith(begin)


@pytest.mark.usefixtures("towers")
def test_query_when_passages_are_reranked(
    database_url: str, model_dir: Path, pool: Pool, embedder: Embedder
) -> None:
    """A reranker chooses among more passages than were asked for; its time and scores are told."""
    client = make_client(
        QuerySettings(database_url=SecretStr(database_url), model_dir=model_dir),
        pool=pool,
        embedder=embedder,
        reranker=Reranker(
            candidates=20,
            score=lambda _question, texts: [float("Berlin" in text) for text in texts],
        ),
    )
    body = body_of(client.post("/query", json=QUESTION | {"limit": 1, "trace": True}))
    assert ["Berlin" in passage["text"] for passage in body["passages"]] == [True]
    assert body["timings"]["rerank_ms"] >= 0
    assert body["trace"]["rerank"][0]["score"] == 1


@pytest.mark.usefixtures("towers")
def test_replies_when_the_reranker_fails(
    database_url: str, model_dir: Path, pool: Pool, embedder: Embedder
) -> None:
    """Both ways to ask answer with the order of the search, and say what they did without."""

    def fail(_question: str, _texts: object) -> list[float]:
        raise RankingUnavailable("the ranking API answered 503")

    client = make_client(
        QuerySettings(database_url=SecretStr(database_url), model_dir=model_dir),
        pool=pool,
        embedder=embedder,
        reranker=Reranker(score=fail),
    )
    for path in ("/query", "/retrieve"):
        body = body_of(client.post(path, json=QUESTION | {"limit": 1}))
        assert "Eiffel" in body["passages"][0]["text"]
        assert body["degraded"] == {
            "code": "not_reranked",
            "message": "the ranking API answered 503",
        }


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/query", {"question": " \n "}, "question: contains no text"),
        (
            "/query",
            {"question": "x", "filter": {"metadata": {"a b": 1}}},
            "filter.metadata.a b: may have letters, digits, dots, hyphens and underscores",
        ),
        (
            "/query",
            {"question": "x", "filter": {"updated": {"gte": "yesterday"}}},
            (
                "filter.updated.gte: give a date, as in 2026-01-31, or a date and time with its"
                " offset, as in 2026-01-31T12:00:00Z"
            ),
        ),
        (
            "/documents",
            {"name": "..", "size": 1},
            "name: cannot be an object's name: it is empty, only dots, or has line breaks",
        ),
        (
            "/documents",
            {"name": "a", "size": 1, "content_type": "text"},
            "content_type: is not a content type, such as text/plain",
        ),
        ("/feedback", {"answer_id": "x", "rating": "up"}, "answer_id: is not an answer_id of"),
        ("/chat/completions", {"messages": [], "model": None}, "messages: must not be empty"),
        (
            "/chat/completions",
            {"messages": [{"role": "user", "content": "x"}], "n": 2},
            "n: must be 1",
        ),
    ],
)
def test_faults_when_described(
    client: FlaskClient, path: str, body: dict[str, Any], message: str
) -> None:
    """A fault says what is wrong, so that its reader can mend it without a manual."""
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert message in response.get_json()["detail"]
