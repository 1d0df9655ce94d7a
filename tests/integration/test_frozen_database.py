"""A database that is stopped in the middle (SIGSTOP): connections stay, and nothing answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from functions.query.settings import QuerySettings
from shared.embedding.embedder import Embedder
from shared.search.statement import SearchResult, search
from shared.store import Connection, Pool, connect, open_pool
from tests.support.asking import index_document, make_client
from tests.support.emulators import wait_until
from tests.support.freezing import frozen

QUESTION = {"question": "When was the bridge over the river opened?"}


@pytest.fixture
def server(owner: Connection) -> int:
    """Return the process of the server that the test's database lives in."""
    row = owner.execute("SELECT pg_read_file('postmaster.pid', 0, 20)").fetchone()
    assert row is not None
    return int(row[0].split()[0])


@pytest.fixture
def settings(query_url: str, model_dir: Path) -> QuerySettings:
    return QuerySettings.model_validate(
        {
            "database_url": make_conninfo(query_url, connect_timeout=1),
            "model_dir": model_dir,
            "database_answer_timeout_seconds": 1,
        }
    )


@pytest.fixture
def impatient_pool(settings: QuerySettings) -> Iterator[Pool]:
    """Open a pool as the query function does."""
    with open_pool(settings, answer_seconds=settings.database_answer_timeout_seconds) as opened:
        yield opened


def test_worker_when_the_database_is_frozen(
    connection: Connection, server: int, settings: QuerySettings
) -> None:
    """One statement of ingest or the embed worker waits so long, then its message comes again."""
    with open_pool(settings, statement_seconds=1) as pool:
        with (
            connect(pool) as borrowed,
            frozen(server),
            pytest.raises(psycopg.OperationalError),
        ):
            borrowed.execute("SELECT 1")
        with connect(pool) as borrowed:
            assert borrowed.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_question_when_the_database_is_frozen(
    connection: Connection,
    server: int,
    settings: QuerySettings,
    impatient_pool: Pool,
    model_dir: Path,
    moment: str,
) -> None:
    """It is answered 503 with Retry-After while nothing answers, and by 200 soon after that."""
    embedder = Embedder(model_dir, threads=1)
    index_document(connection, embedder, "a.txt", ["The bridge over the river opened in 1911."])
    with ExitStack() as stack:

        def freeze() -> None:
            stack.enter_context(frozen(server))

        prepare: list[Callable[[], None]] = []

        def search_after_all(borrowed: Connection, **asked: Any) -> SearchResult:
            for once in prepare:
                once()
            prepare.clear()
            return search(borrowed, **asked)

        client = make_client(
            settings, pool=impatient_pool, embedder=embedder, search=search_after_all
        )
        # On a busy machine a second may be too little for a new connection.
        wait_until(lambda: client.post("/query", json=QUESTION).status_code == 200, seconds=30)
        if moment == "before":
            freeze()
        else:
            prepare.append(freeze)
        response = client.post("/query", json=QUESTION)
        assert response.status_code == 503
        assert response.get_json()["code"] == "database_unavailable"
        assert int(response.headers["Retry-After"]) > 0
    wait_until(lambda: client.post("/query", json=QUESTION).status_code == 200, seconds=30)
