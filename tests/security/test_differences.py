"""Closed documents change no answer of any endpoint to a caller who may not read them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from functions.query.settings import QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client

_KEY = {"Authorization": "Bearer stranger-key"}
_MCP = {"MCP-Protocol-Version": "2025-11-25", "Accept": "application/json, text/event-stream"}
_OPEN = "The lighthouse keeper of Skagen earns 4100 euros a month and lives in the tower."
_CLOSED = [
    "The zeppelin hangar of Skagen stores 900 cylinders of helium, code HX-2281.",
    "The lighthouse keeper of Skagen was dismissed; the zeppelin captain replaces him.",
]
# Words that only closed documents hold, misspelt ones, identifiers, names and plain words.
_QUESTIONS = [
    "How much does the lighthouse keeper earn?",
    "Who is the zeppelin captain?",
    "What is stored under HX-2281?",
    "What is stored under HX-2282?",
    "Where is the zepelin hangar?",
]
# When and how fast an answer was given, and its random name.
_VOLATILE = ("timings", "answer_id", "created", "trace_id")


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value


def _requests() -> list[tuple[str, str, Any]]:
    asked: list[tuple[str, str, Any]] = []
    for question in _QUESTIONS:
        body = {"question": question, "trace": True}
        asked += [
            ("POST", "/query", body),
            ("POST", "/query", {"question": question, "effort": "medium"}),
            *(
                ("POST", "/retrieve", {"question": question, "limit": 20, "mode": mode})
                for mode in ("fused", "vector", "text")
            ),
            ("POST", "/query", body | {"filter": {"collection": "vault"}}),
            ("POST", "/query", body | {"filter": {"prefix": "vault/"}}),
            (
                "POST",
                "/v1/chat/completions",
                {"model": "kaydangpt", "messages": [{"role": "user", "content": question}]},
            ),
            *(("POST", "/mcp", _call(tool, arguments)) for tool, arguments in _tools(question)),
        ]
    paths = [
        "/documents",
        "/documents?search=zeppelin",
        "/documents?prefix=vault",
        "/documents?state=queued",
        "/documents?state=failed",
        "/documents?sort=size",
        "/collections",
        "/facets",
        "/facets?collection=vault",
        "/suggestions",
        "/v1/models",
        "/v1/models/kaydangpt:vault",
        "/readyz",
    ]
    return asked + [("GET", path, None) for path in paths]


def _tools(question: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("search", {"query": question}),
        ("ask", {"question": question}),
        ("list_documents", {"search": "zeppelin"}),
    ]


def _call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    parameters = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def client(database_url: str, model_dir: Path, pool: Pool, embedder: Embedder) -> FlaskClient:
    digest = hashlib.sha256(b"stranger-key").hexdigest()
    fields: dict[str, Any] = {"database_url": database_url, "model_dir": model_dir}
    settings = QuerySettings(**fields, api_keys=[f"stranger={digest}"], rate_limit_per_minute=6000)
    return make_client(settings, pool=pool, embedder=embedder)


@pytest.fixture
def ask_all(client: FlaskClient) -> Callable[[], dict[str, Any]]:
    """Return what asks every endpoint, and returns the answers by what was asked."""

    def ask() -> dict[str, Any]:
        answers = {}
        for method, path, body in _requests():
            response = client.open(path, method=method, json=body, headers=_KEY | _MCP)
            assert response.status_code < 500, (path, body, response.get_data(as_text=True))
            text = re.sub("chatcmpl-[0-9a-zA-Z-]+", "chatcmpl", response.get_data(as_text=True))
            answers[f"{method} {path} {json.dumps(body)}"] = (
                response.status_code,
                _steady(json.loads(text)),
            )
        return answers

    return ask


def _index_closed(connection: Connection, embedder: Embedder) -> None:
    paragraphs = [f"{text} Part {number}." for number in range(10) for text in _CLOSED]
    for name in ("vault/zeppelin.txt", "vault/hangar.txt"):
        index_document(connection, embedder, name, paragraphs, metadata={"captain": "Ida"})
    index_document(
        connection, embedder, "lighthouse/annex.txt", paragraphs, metadata={"readers": "ann@a.org"}
    )


def test_closed_documents_change_no_answer(
    connection: Connection,
    embedder: Embedder,
    client: FlaskClient,
    ask_all: Callable[[], dict[str, Any]],
) -> None:
    """Neither documents that come into a closed collection, nor the closing of one, are noticed."""

    def noticed() -> dict[str, Any]:
        after = ask_all()
        return {
            asked: (before[asked], after[asked])
            for asked in before
            if before[asked] != after[asked]
        }

    index_document(connection, embedder, "lighthouse/keeper.txt", [_OPEN])
    store.set_collection(connection, "vault", closed=True)
    before = ask_all()
    assert {status for status, _ in before.values()} == {200, 404}
    found = [asked for asked, answer in before.items() if "4100" in json.dumps(answer)]
    assert {asked.split()[1] for asked in found} >= {
        *("/query", "/retrieve", "/mcp", "/v1/chat/completions")
    }
    _index_closed(connection, embedder)
    assert noticed() == {}
    store.set_collection(connection, "vault", closed=False)
    listed = client.get("/collections", headers=_KEY).get_json()["collections"]
    assert {each["name"] for each in listed} == {"lighthouse", "vault"}
    store.set_collection(connection, "vault", closed=True)
    assert noticed() == {}
