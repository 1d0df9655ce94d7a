"""The query function's HTTP interface on a real Postgres, without Gemini."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from functions.query.settings import QuerySettings
from shared.embedding import Embedder
from shared.store import Connection, Pool
from tests.asking import index_document, make_client

TOWER = [
    "The Eiffel Tower stands in Paris. It was finished in 1889 by the company of Gustave Eiffel.",
    "The Brandenburg Gate stands in Berlin. It was built by Carl Gotthard Langhans.",
]


@pytest.fixture(scope="session")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


@pytest.fixture
def settings(database_url: str, model_dir: Path) -> QuerySettings:
    return QuerySettings(database_url=database_url, model_dir=model_dir)


@pytest.fixture
def client(settings: QuerySettings, pool: Pool, embedder: Embedder) -> FlaskClient:
    return make_client(settings, pool=pool, embedder=embedder)


def test_query_when_documents_answer(
    client: FlaskClient, connection: Connection, embedder: Embedder
) -> None:
    """Without Gemini the answer is made of sentences, each with its place in the document."""
    text = index_document(connection, embedder, "towers.txt", TOWER)
    response = client.post("/query", json={"question": "When was the Eiffel Tower finished?"})
    assert response.status_code == 200, response.json
    body = response.json
    assert body["model"] == "extractive"
    assert body["grounded"] is True
    assert "1889" in body["answer"]
    for citation in body["citations"]:
        assert citation["verified"] is True
        assert text[citation["char_start"] : citation["char_end"]] == citation["quote"]
        assert f"[{citation['number']}]" in body["answer"]
