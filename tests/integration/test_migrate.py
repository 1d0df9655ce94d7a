"""Migrations are applied once, in order, and never silently changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from admin.migrate import Migration, Settings, apply_migrations, migrate, read_migrations
from shared.errors import Misconfigured
from tests.faults.proxies import TcpProxy


@pytest.fixture
def empty_database_url(postgres_url: str, database_url: str) -> str:
    """Return a database of which the first migration knows nothing."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return database_url


def run(url: str, migrations: list[Migration]) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [migration.name for migration in apply_migrations(connection, migrations)]


def test_two_runs_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    """Two instances of a deployment may start the job at the same moment."""
    migrations = read_migrations()
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda _: run(empty_database_url, migrations), range(2)))
    assert sorted(runs, key=len) == [[], [migration.name for migration in migrations]]


def test_changed_migration_is_refused(database_url: str) -> None:
    """The tables in production must be those that the files describe."""
    first, *rest = read_migrations()
    changed = Migration(first.number, first.name, first.statements + "-- changed")
    with pytest.raises(Misconfigured, match=first.name):
        run(database_url, [changed, *rest])


def test_failed_migration_leaves_nothing(empty_database_url: str) -> None:
    """Half a migration would be neither the old schema nor the new."""
    broken = Migration(1, "0001_broken", "CREATE TABLE half (id int); SELECT 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(empty_database_url, [broken])
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_missing_number_is_refused(tmp_path: Path) -> None:
    """Two branches that both added number 3 are told so before anything is applied."""
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_b.sql").write_text("SELECT 1")
    with pytest.raises(Misconfigured, match="numbered"):
        read_migrations(tmp_path)


def test_query_role_reads_alone(database_url: str) -> None:
    """The function that faces the users can neither write nor read what no answer shows."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE kaydang_query")
        for view in ("live_chunks", "live_embeddings", "live_texts", "document_status"):
            connection.execute(f"SELECT * FROM {view} LIMIT 1")
        for statement in (
            "SELECT content_hash FROM chunks",
            "SELECT * FROM dead_letters",
            "SELECT * FROM collection_grants",
            "INSERT INTO collection_grants VALUES ('key:mine', '*')",
            "DELETE FROM documents",
            "UPDATE builds SET state = 'ready'",
            "CREATE TABLE mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_migration_waits_for_a_network_that_comes_late(database_url: str) -> None:
    """A job on Cloud Run starts before its connections arrive anywhere."""
    where = conninfo_to_dict(database_url)
    proxy = TcpProxy(int(where["port"] or 5432))
    proxy.refuse()
    url = make_conninfo(database_url, port=proxy.port)
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(
            migrate, Settings(database_url=SecretStr(url), database_connect_timeout_seconds=30)
        )
        assert not wait([job], timeout=1).done
        proxy.carry()
        job.result(timeout=30)
    proxy.stop()
