"""The client says what the API document says, and keeps calm when a service does not answer."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra import client_types
from kaydangpt_client import Client, ProblemError, Unreachable
from kaydangpt_client.streams import read_events
from kaydangpt_client.version import VERSION
from shared.version import VERSION as RELEASE

ACCEPTED = {"id": "a", "state": "accepted"}
BUSY = {"type": "/problems/overloaded", "status": 503, "code": "overloaded", "detail": "Later."}
AWAY = BUSY | {"code": "storage_unavailable"}

Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the API document."""
    return client_types.read_document()


def test_types_are_those_of_the_document(document: dict[str, Any]) -> None:
    """Run `python -m infra.client_types` after a change of the interface."""
    written = client_types.format_code(client_types.write_types(document))
    assert client_types.FILE.read_text() == written


@pytest.mark.parametrize(
    ("method", "operation"), [("documents", "list_documents"), ("facets", "count_facets")]
)
def test_conditions_are_those_of_the_document(
    document: dict[str, Any], method: str, operation: str
) -> None:
    """A list can be narrowed by all that the service narrows it by; pages are the client's own."""
    (described,) = [
        route
        for path in document["paths"].values()
        for route in path.values()
        if route["operationId"] == operation
    ]
    known = {parameter["name"] for parameter in described["parameters"]} - {"cursor"}
    assert set(inspect.signature(getattr(Client, method)).parameters) - {"self"} == known


@pytest.mark.parametrize("method", ["ask", "stream", "retrieve"])
def test_a_question_has_the_fields_of_the_document(document: dict[str, Any], method: str) -> None:
    """Nothing that a question may say is out of reach."""
    known = set(document["components"]["schemas"]["QueryRequest"]["properties"])
    assert set(inspect.signature(getattr(Client, method)).parameters) - {"self"} == known


def test_the_client_belongs_to_this_release() -> None:
    """Its version is installed alone, so it stands in a file of its own."""
    assert VERSION == RELEASE


@contextmanager
def serving(answer: Callable[[str, str, int], Reply]) -> Iterator[tuple[str, list[Any]]]:
    """Serve what *answer* says to method, path and the number of requests before."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, headers, body = answer(self.command, self.path, len(seen))
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_json(body: Any, status: int = 200, **headers: str) -> Reply:
    data = json.dumps(body).encode()
    return status, {"Content-Length": str(len(data)), **headers}, data


def test_a_busy_service_is_asked_again_when_it_says() -> None:
    """429 and 503 are waited out; the last one is the caller's."""
    later = {"Retry-After": "0"}

    def answer(_method: str, _path: str, before: int) -> Reply:
        return as_json(BUSY, 503, **later) if before < 2 else as_json({"collections": []})

    with serving(answer) as (url, seen), Client(url, retries=2) as client:
        assert client.collections() == []
    assert len(seen) == 3
    with (
        serving(answer) as (url, seen),
        Client(url, retries=1) as client,
        pytest.raises(ProblemError) as raised,
    ):
        client.collections()
    assert (raised.value.code, raised.value.type) == ("overloaded", "/problems/overloaded")
    assert len(seen) == 2


def test_a_pause_that_is_too_long_is_the_callers() -> None:
    """A client does not sleep for minutes."""

    def answer(_method: str, _path: str, _before: int) -> Reply:
        return as_json(BUSY, 503, **{"Retry-After": "600"})

    with (
        serving(answer) as (url, seen),
        Client(url) as client,
        pytest.raises(ProblemError) as raised,
    ):
        client.collections()
    assert raised.value.retry_after_seconds == 600
    assert len(seen) == 1


def test_what_may_have_been_done_is_not_done_twice() -> None:
    """A retry of a document that the bucket may have taken is not sent again by itself."""

    def away(_method: str, _path: str, _before: int) -> Reply:
        return as_json(AWAY, 503, **{"Retry-After": "0"})

    def busy(_method: str, _path: str, before: int) -> Reply:
        return as_json(BUSY, 503, **{"Retry-After": "0"}) if before == 0 else as_json(ACCEPTED)

    with serving(away) as (url, seen), Client(url) as client:
        with pytest.raises(ProblemError, match="storage_unavailable"):
            client.retry("a")
        assert len(seen) == 1
    with serving(busy) as (url, seen), Client(url) as client:
        assert client.delete("a") == ACCEPTED
        assert [request[:2] for request in seen] == [("DELETE", "/v1/documents/a")] * 2


def test_the_bucket_does_not_see_the_credential() -> None:
    """It goes to the service alone."""
    address: list[str] = []

    def answer(method: str, _path: str, _before: int) -> Reply:
        if method == "PUT":
            return as_json({})
        target = {"method": "PUT", "upload_url": f"{address[0]}/upload", "headers": {}}
        return as_json(target | {"uri": "gs://documents/a.txt"}, 201)

    with serving(answer) as (url, seen), Client(url, token="secret") as client:
        address.append(url)
        assert client.upload(b"text", name="a.txt") == "gs://documents/a.txt"
    begun, sent = seen
    assert begun[2]["Authorization"] == "Bearer secret"
    assert json.loads(begun[3]) == {"name": "a.txt", "size": 4, "content_type": "text/plain"}
    assert "Authorization" not in sent[2]
    assert sent[3] == b"text"


def test_a_stream_that_fails_raises_the_problem() -> None:
    """The error event holds the answer in the place of what was yielded."""
    events = (
        b": keep-alive\n\n"
        b'event: passages\ndata: {"passages": []}\n\n'
        b'event: token\ndata: {"text": "Half an"}\n\n'
        b'event: error\ndata: {"code": "gemini_cut", "status": 502, "detail": "It stopped.",'
        b' "answer": "A sentence."}\n\n'
    )

    def answer(_method: str, _path: str, _before: int) -> Reply:
        return 200, {"Content-Type": "text/event-stream"}, events

    heard: list[str] = []
    with (
        serving(answer) as (url, _),
        Client(url) as client,
        pytest.raises(ProblemError) as raised,
        client.stream("Why?") as stream,
    ):
        heard.extend(stream)
    assert raised.value.problem["answer"] == "A sentence."


def test_a_stream_that_ends_early_is_no_answer() -> None:
    """Half an answer is none."""

    def answer(_method: str, _path: str, _before: int) -> Reply:
        return 200, {}, b'event: token\ndata: {"text": "Half an"}\n\n'

    with (
        serving(answer) as (url, _),
        Client(url) as client,
        pytest.raises(Unreachable, match="ended before"),
        client.stream("Why?") as stream,
    ):
        list(stream)


def test_gemini_failed_and_sentences_answer() -> None:
    """The problem is an answer as well."""
    failed = {"code": "gemini_unavailable", "status": 502, "answer": "A sentence. [1]"}

    def answer(_method: str, _path: str, _before: int) -> Reply:
        return as_json(
            failed | {"degraded": {"code": "gemini_unavailable", "message": "Away."}}, 502
        )

    with serving(answer) as (url, _), Client(url) as client:
        answered = client.ask("Why?")
    assert answered["answer"] == "A sentence. [1]"
    assert answered["degraded"] == {"code": "gemini_unavailable", "message": "Away."}


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[1]", b""])
def test_an_answer_of_a_proxy_is_told_as_it_is(body: bytes) -> None:
    """What stands before the service answers in its own words."""

    def answer(_method: str, _path: str, _before: int) -> Reply:
        return 502, {"Content-Length": str(len(body))}, body

    with (
        serving(answer) as (url, _),
        Client(url) as client,
        pytest.raises(ProblemError, match="502: Bad Gateway"),
    ):
        client.ready()


def test_no_one_listens() -> None:
    """One sentence names the address."""
    with (
        Client("http://127.0.0.1:9", retries=0) as client,
        pytest.raises(Unreachable, match=":9 does not answer"),
    ):
        client.ready()


def test_events_are_read_as_the_standard_says() -> None:
    """Comments, data of several lines, no space after the colon."""
    lines = [b":x", b"", b"event:a", b'data:{"b":', b"data: 1}", b"", b'data: "c"', b""]
    assert list(read_events(iter(lines))) == [("a", {"b": 1}), ("message", "c")]
