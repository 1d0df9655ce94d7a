"""A database that is stopped in the middle (SIGSTOP): connections stay, and nothing answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from functions.query.settings import QuerySettings
from shared.embedding.embedder import Embedder
from shared.search.statement import SearchResult, search
from shared.store import Connection, Pool, open_pool
from tests.support.asking import index_document, make_client
from tests.support.emulators import ROOT, wait_until
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


# What a function asks of the database by the pool that it opens itself; a line of input, a step.
_FUNCTION = """
import importlib, sys
from shared import store
store.STATEMENT_TIMEOUT_SECONDS = 1
pool = importlib.import_module(sys.argv[1])._open_pool()

def say(what):
    print(what, flush=True)
    sys.stdin.readline()

with store.connect(pool):
    say("connected")
try:
    with store.connect(pool) as connection:
        connection.execute("SELECT 1")
except store.connection.DatabaseUnavailable as error:
    say(error)
with store.connect(pool) as connection:
    say(connection.execute("SELECT 'answered'").fetchone()[0])
"""


def test_functions_when_the_database_is_frozen(
    worker_url: str, server: int, model_dir: Path, tmp_path: Path
) -> None:
    """Ingest and embed_worker wait so long for one statement, then their message comes again."""
    variables = {
        "DATABASE_URL": worker_url,
        "MODEL_DIR": str(model_dir),
        "DOCUMENTS_BUCKET": "docs",
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PYTHONPATH": str(ROOT),
    }
    with ExitStack() as stack:
        functions = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _FUNCTION, f"functions.{name}.main"],
                    env={**os.environ, **variables},
                    cwd=tmp_path,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in ("ingest", "embed_worker")
        ]
        for function in functions:
            stack.callback(function.kill)

        def said() -> list[str]:
            return [one.stdout.readline().strip() for one in functions if one.stdout]

        def go_on() -> None:
            for one in functions:
                assert one.stdin
                print(file=one.stdin, flush=True)

        assert said() == ["connected"] * 2
        with frozen(server):
            go_on()
            assert said() == ["no answer in time"] * 2
        go_on()
        assert said() == ["answered"] * 2


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
