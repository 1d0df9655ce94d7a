"""Admission: what comes beyond the places is refused at once, and places come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import EnvironBuilder, TestResponse

from functions.query.http.concurrency import SPARE_THREADS
from functions.query.settings import QuerySettings
from local.system import ROOT
from shared.embedding.embedder import Embedder
from shared.search.statement import SearchResult
from shared.store import Pool
from tests.support.asking import make_client

QUESTION = {"question": "What is the gate code?"}


class Gate:
    """A search that says when it has begun, and waits to be let go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def search(self, *_arguments: Any, **_options: Any) -> SearchResult:
        self.begun.release()
        assert self.open.wait(60)
        return SearchResult([], None)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def client(
    gate: Gate, pool: Pool, embedder: Embedder, database_url: str, model_dir: Path
) -> FlaskClient:
    settings = QuerySettings(
        database_url=SecretStr(database_url), model_dir=model_dir, max_concurrent_requests=1
    )
    return make_client(settings, pool=pool, embedder=embedder, search=gate.search)


def ask_beside(client: FlaskClient, gate: Gate) -> tuple[threading.Thread, list[TestResponse]]:
    """Ask in a thread; return when the question has its place."""
    answers: list[TestResponse] = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/query", json=QUESTION)))
    thread.start()
    assert gate.begun.acquire(timeout=60)
    return thread, answers


def test_refusal_when_all_places_are_taken(client: FlaskClient, gate: Gate) -> None:
    """A question beyond the places gets 503 with Retry-After while the others still work."""
    thread, answers = ask_beside(client, gate)
    refused = client.post("/query", json=QUESTION)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    gate.open.set()
    thread.join()
    assert [answer.status_code for answer in answers] == [200]


def test_probe_when_all_places_are_taken(client: FlaskClient, gate: Gate) -> None:
    """An overloaded service is alive: its probes and its page are answered."""
    thread, _ = ask_beside(client, gate)
    assert client.get("/healthz").status_code == 200
    with client.get("/") as page:
        assert page.status_code == 200
    gate.open.set()
    thread.join()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_place_when_an_answer_is_read(client: FlaskClient, gate: Gate, accept: str) -> None:
    """An answer gives its place back, a streamed one when it has been read to its end."""
    gate.open.set()
    for _ in range(3):
        answer = client.post("/query", json=QUESTION, headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.get_data()


def test_place_when_a_request_is_wrong(client: FlaskClient, gate: Gate) -> None:
    """A request that is refused for its own fault gives its place back as well."""
    gate.open.set()
    for _ in range(3):
        assert client.post("/query", json={"question": 7}).status_code == 400


def test_place_when_a_stream_is_left(client: FlaskClient, gate: Gate) -> None:
    """A reader who goes away gives his place back."""
    gate.open.set()
    left = client.post("/query", json=QUESTION, headers={"Accept": "text/event-stream"})
    assert client.post("/query", json=QUESTION).status_code == 503
    left.close()
    assert client.post("/query", json=QUESTION).status_code == 200


def test_place_when_a_stream_is_never_begun(client: FlaskClient, gate: Gate) -> None:
    """So does one who goes away before the first part was asked for."""
    gate.open.set()
    asked = EnvironBuilder(
        method="POST", path="/query", json=QUESTION, headers=[("Accept", "text/event-stream")]
    )

    def begin(*_: Any) -> Callable[[bytes], object]:
        return lambda _: None

    parts: Any = client.application.wsgi_app(asked.get_environ(), begin)
    assert client.post("/query", json=QUESTION).status_code == 503
    parts.close()
    assert client.post("/query", json=QUESTION).status_code == 200


def test_threads_when_the_function_is_loaded(database_url: str, model_dir: Path) -> None:
    """The server reads THREADS after it has loaded the function: some threads only refuse."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import os, functions.query.main; print(os.environ['THREADS'])"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
            "MODEL_DIR": str(model_dir),
            "MAX_CONCURRENT_REQUESTS": "5",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(loaded.stdout) == 5 + SPARE_THREADS
