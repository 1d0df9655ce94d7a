"""What the attacks on the HTTP interface share: an application over a database of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from functions.query.settings import QuerySettings
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client

OPEN_TEXT = "The bridge over the river was opened in 1943."
SECRET_TEXT = "The vault's code word is xyzzyplugh."


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    """Return the model, on one processor."""
    return Embedder(model_dir, threads=1)


@pytest.fixture
def client(
    database_url: str, model_dir: Path, pool: Pool, connection: Connection, embedder: Embedder
) -> FlaskClient:
    """Return a client of an application with a document to find and one that no filter names."""
    index_document(connection, embedder, "open/a.txt", [OPEN_TEXT])
    index_document(connection, embedder, "secret/b.txt", [SECRET_TEXT])
    fields = {"database_url": database_url, "model_dir": model_dir}
    return make_client(QuerySettings.model_validate(fields), pool=pool, embedder=embedder)
