"""The embedding model is switched between the statements of one question, on a real Postgres."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from pydantic import SecretStr

from functions.query.settings import QuerySettings
from local.system import wait_until
from shared import store
from shared.embedding.embedder import Embedder
from shared.search.statement import SearchResult, search
from shared.store import Connection, Pool
from tests.support.asking import index_document, make_client

TOWERS = [
    "The Eiffel Tower stands in Paris and was finished in 1889.",
    "The Brandenburg Gate stands in Berlin and was built by Langhans.",
    "The Fernsehturm stands in Berlin and was opened in 1969.",
]
QUESTION = "When was the Eiffel Tower finished?"


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    return Embedder(model_dir, threads=1)


class ShortEmbedder(Embedder):
    """Gives the first dimensions of the vectors alone, as models of nested dimensions do."""

    def __init__(self, folder: Path, *, dimension: int) -> None:
        super().__init__(folder, threads=1)
        self._whole = Embedder(folder, threads=1)
        self.info = replace(self.info, dimension=dimension)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._shorten(self._whole.embed_documents(texts))

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._shorten(self._whole.embed_query(text))

    def _shorten(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        short = vectors[..., : self.info.dimension]
        shorter: NDArray[np.float32] = short / np.linalg.norm(short, axis=-1, keepdims=True)
        return shorter


@pytest.fixture(scope="module", params=[384, 128])
def other_embedder(
    request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Embedder:
    """Return another model: the default one with prompts before its texts, whole and shortened."""
    folder = tmp_path_factory.mktemp("other-model")
    for file in model_dir.iterdir():
        (folder / file.name).symlink_to(file)
    description = json.loads((model_dir / "model.json").read_text())
    description |= {
        "name": "prompted",
        "digest": description["digest"][::-1],
        "prompts": {"document": "passage: ", "query": "a question about towers: "},
    }
    (folder / "model.json").unlink()
    (folder / "model.json").write_text(json.dumps(description))
    return ShortEmbedder(folder, dimension=request.param)


@pytest.fixture
def other_model(
    owner: Connection, connection: Connection, embedder: Embedder, other_embedder: Embedder
) -> int:
    """Index the towers, let the other model embed them as well, and return its id."""
    index_document(connection, embedder, "towers.txt", TOWERS)
    info = other_embedder.info
    model = store.register_model(
        owner, name=info.name, dimension=info.dimension, digest=info.digest
    )
    for job in store.plan_filling(connection, model_id=model.id, size=100):
        ordinals, texts = zip(*store.read_unfilled(connection, job), strict=True)
        store.fill(connection, job, list(ordinals), other_embedder.embed_documents(texts))
    return model.id


@pytest.fixture
def client(
    database_url: str, model_dir: Path, pool: Pool, embedder: Embedder, other_embedder: Embedder
) -> FlaskClient:
    settings = QuerySettings(database_url=SecretStr(database_url), model_dir=model_dir)
    return make_client(settings, pool=pool, embedder=embedder, others=[other_embedder])


def retrieve(client: FlaskClient, mode: str) -> list[dict[str, Any]]:
    response = client.post("/retrieve", json={"question": QUESTION, "mode": mode})
    assert response.status_code == 200, response.get_data(as_text=True)
    passages: list[dict[str, Any]] = response.get_json()["passages"]
    return passages


@pytest.mark.parametrize("mode", ["fused", "vector"])
def test_question_when_model_is_switched_while_it_is_searched(
    owner: Connection, database_url: str, client: FlaskClient, other_model: int, mode: str
) -> None:
    """It is answered by the new model, as if it had been asked after the switch."""
    before = retrieve(client, mode)
    with (
        ThreadPoolExecutor(1) as asking,
        psycopg.connect(database_url, autocommit=True) as watching,
        owner.transaction(),
    ):
        owner.execute("LOCK TABLE embeddings IN ACCESS EXCLUSIVE MODE")
        asked = asking.submit(retrieve, client, mode)
        # By now the old model has embedded the question, and the search asks for its vectors.
        wait_until(
            lambda: watching.execute(
                """
                SELECT pid
                FROM pg_locks
                JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE datname = current_database() AND NOT granted
                """
            ).fetchone(),
            what="the search is held",
            timeout_seconds=10,
            pause=0.005,
        )
        assert store.switch_model(owner, other_model) == 0
    passages = asked.result()
    assert [passage["name"] for passage in passages] == ["towers.txt"] * len(TOWERS)
    assert passages == retrieve(client, mode)
    assert passages != before


def test_question_when_model_is_switched_there_and_back_while_it_is_searched(
    owner: Connection,
    database_url: str,
    model_dir: Path,
    pool: Pool,
    embedder: Embedder,
    other_embedder: Embedder,
    other_model: int,
) -> None:
    """It is refused for a moment, with a code of its own, and answered when it is asked again."""
    to_come = [other_model, 1]

    def search_after_switch(borrowed: Connection, **asked: Any) -> SearchResult:
        if to_come:
            assert store.switch_model(owner, to_come.pop(0)) == 0
        return search(borrowed, **asked)

    client = make_client(
        QuerySettings(database_url=SecretStr(database_url), model_dir=model_dir),
        pool=pool,
        embedder=embedder,
        others=[other_embedder],
        search=search_after_switch,
    )
    refused = client.post("/retrieve", json={"question": QUESTION})
    assert refused.status_code == 503
    assert refused.get_json()["code"] == "model_switched"
    assert int(refused.headers["Retry-After"]) > 0
    assert len(retrieve(client, "vector")) == len(TOWERS)
