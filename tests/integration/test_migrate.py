"""Migrations are applied once, in order, and never silently changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import stamina
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from admin.database import has_tables
from admin.migrate import Migration, Settings, apply_migrations, migrate, read_migrations
from shared.errors import DatabaseUnavailable, Misconfigured
from shared.store import connect, open_pool
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


def test_migrations_of_a_filled_index(empty_database_url: str) -> None:
    """An upgrade finds documents: a change of their rows and an index go together."""
    migrations = read_migrations()
    run(empty_database_url, migrations[:10])
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            """
            WITH document AS (
                INSERT INTO documents (bucket, name, seen_generation) VALUES ('b', 'a.txt', 1)
                RETURNING id
            ),
            build AS (
                INSERT INTO builds (document_id, generation, epoch, state, size)
                SELECT id, 1, 0, 'ready', 7 FROM document
                RETURNING id
            )
            SELECT id FROM build
            """
        )
        connection.execute("UPDATE documents SET active_build = (SELECT id FROM builds)")
    assert len(run(empty_database_url, migrations)) == len(migrations) - 10
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute("SELECT state, latest_size FROM documents").fetchone()
    assert row == ("ready", 7)


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
    url = make_conninfo(database_url, port=proxy.port, connect_timeout=30)
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(migrate, Settings(database_url=SecretStr(url)))
        assert not wait([job], timeout=1).done
        proxy.carry()
        job.result(timeout=30)
    proxy.stop()


def restored_rights(url: str) -> dict[str, set[tuple[object, ...]]]:
    """Return the policies and grants that the catalogue shows."""
    statements = {
        "policies": "SELECT tablename, policyname, roles::text, cmd, qual FROM pg_policies",
        "tables": """
            SELECT grantee, table_name, privilege_type
            FROM information_schema.role_table_grants WHERE grantee LIKE 'kaydang%'
        """,
        "columns": """
            SELECT grantee, table_name, column_name, privilege_type
            FROM information_schema.column_privileges WHERE grantee LIKE 'kaydang%'
        """,
        "functions": """
            SELECT grantee, routine_name
            FROM information_schema.routine_privileges
            WHERE routine_schema = 'public' AND grantee LIKE ANY (ARRAY['kaydang%', 'PUBLIC'])
        """,
    }
    with psycopg.connect(url) as connection:
        return {
            what: set(connection.execute(statement.encode()).fetchall())
            for what, statement in statements.items()
        }


def test_rights_when_a_dump_was_restored_elsewhere(database_url: str) -> None:
    """A dump holds no roles, so a restore drops every right that names one; migrate gives them."""
    before = restored_rights(database_url)
    assert before["policies"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for table, policy in connection.execute(
            "SELECT tablename, policyname FROM pg_policies"
        ).fetchall():
            connection.execute(f'DROP POLICY "{policy}" ON "{table}"')
        connection.execute(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM kaydang_worker, kaydang_query"
        )
        connection.execute(
            "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM kaydang_worker, kaydang_query"
        )
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.column_privileges"
            " WHERE grantee = 'kaydang_query'"
        ).fetchall():
            connection.execute(f'REVOKE ALL ("{column}") ON "{table}" FROM kaydang_query')
        connection.execute("GRANT EXECUTE ON FUNCTION forget_answers TO PUBLIC")
    assert restored_rights(database_url) != before
    assert run(database_url, read_migrations()) == []
    assert restored_rights(database_url) == before


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_old_pgvector_is_refused(database_url: str, command: str) -> None:
    """Both versions are named: nothing is set up that fails at the third question."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    settings = Settings(database_url=SecretStr(database_url))
    with pytest.raises(Misconfigured, match=r"0\.8 or newer.*0\.7\.4"):
        migrate(settings) if command == "migrate" else has_tables(settings)


def test_pool_when_pgvector_is_old(database_url: str) -> None:
    """A function says so at its start, and works as soon as the extension is updated."""
    version = "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
    with (
        psycopg.connect(database_url, autocommit=True) as owner,
        open_pool(Settings(database_url=SecretStr(database_url))) as pool,
    ):
        owner.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
        with pytest.raises(Misconfigured, match=r"0\.7\.4"), connect(pool):
            pass
        owner.execute(f"UPDATE pg_extension SET extversion = {version} WHERE extname = 'vector'")
        # The pool may have opened another connection meanwhile, which found the old one.
        with suppress(Misconfigured), connect(pool):
            pass
        with connect(pool) as connection:
            assert connection.execute("SELECT '[1,2]'::vector").fetchone() is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"password": "hunter2"}, r"password authentication failed for user \"postgres\""),
        ({"dbname": "no_such_db"}, r"\"no_such_db\" does not exist"),
        ({"sslmode": "require"}, r"does not support SSL"),
        ({"port": 1}, r"refused.*port 1"),
        ({"user": "nobody_here", "password": "hunter2"}, r"nobody_here"),
        ({"host": "no-such-host.invalid"}, r"no-such-host"),
    ],
)
def test_connection_that_fails(database_url: str, change: dict[str, str], match: str) -> None:
    """What the server or its client said is told with what to do, the password never."""
    url = make_conninfo(database_url, **change, connect_timeout=1)
    settings = Settings(database_url=SecretStr(url))
    secret = conninfo_to_dict(url)["password"]
    for attempt in (migrate, has_tables, open_and_connect):
        # The migration tries again; without the waits between.
        with (
            stamina.set_testing(True, attempts=2),
            pytest.raises(DatabaseUnavailable, match=match) as failure,
        ):
            attempt(settings)
        assert str(secret) not in str(failure.value)


def open_and_connect(settings: Settings) -> None:
    with open_pool(settings) as pool, connect(pool):
        pass


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql://u:hunter2@hunter2@127.0.0.1:1/d", "%40"),
        ("postgresql://127.0.0.1:hunter2/x@127.0.0.1:1/d", "%2F"),
        ("postgresql://u:hunter2@127.0.0.1:99999/d", "no host and port"),
        ("postgresql://u:hunter2@127.0.0.1:1/d?sslmode=hunter2", "gives sslmode a value"),
        ("postgresql://u:hunter2%zz@127.0.0.1:1/d", "not a connection string"),
        ("host=127.0.0.1 password='hunter2", "not a connection string"),
        (" postgresql://u:hunter2@127.0.0.1:1/d\n", "refused: nothing listens at port 1"),
    ],
)
def test_url_that_is_misread(url: str, match: str) -> None:
    """What libpq takes for a host or a port may be a part of the password."""
    settings = Settings(database_url=SecretStr(url))
    with pytest.raises(DatabaseUnavailable, match=match) as failure:
        has_tables(settings)
    assert "hunter2" not in str(failure.value)


def test_url_of_another_library(database_url: str) -> None:
    """SQLAlchemy's form is the usual one to be copied here."""
    url = database_url.replace("postgresql:", "postgresql+psycopg:")
    settings = Settings(database_url=SecretStr(url))
    for attempt in (migrate, has_tables, open_and_connect):
        with pytest.raises(Misconfigured, match=r"postgresql\+psycopg://.*write postgresql://"):
            attempt(settings)


def test_owner_who_may_not_make_roles(empty_database_url: str) -> None:
    """The roles and the extension are made by the server's administrator."""
    name = conninfo_to_dict(empty_database_url)["dbname"]
    owner_url = make_conninfo(empty_database_url, user="plain_owner", password="test")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'test' NOCREATEROLE")
        try:
            connection.execute(f'ALTER DATABASE "{name}" OWNER TO plain_owner')
            connection.execute("ALTER SCHEMA public OWNER TO plain_owner")
            connection.execute("CREATE EXTENSION vector")
            migrate(Settings(database_url=SecretStr(owner_url)))
            migrate(Settings(database_url=SecretStr(owner_url)))
            count = connection.execute("SELECT count(*) FROM migrations").fetchone()
            assert count == (len(read_migrations()),)
        finally:
            connection.execute("REASSIGN OWNED BY plain_owner TO postgres")
            connection.execute("DROP OWNED BY plain_owner")
            connection.execute("DROP ROLE plain_owner")


def test_schema_other_than_public_is_refused(empty_database_url: str) -> None:
    """Before anything is made; the tables would stand where no function looks."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA kb")
        connection.execute("SET search_path = kb, public")
        with pytest.raises(Misconfigured, match="kb comes first in this login's search_path"):
            apply_migrations(connection, read_migrations())
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname IN ('kb', 'public')"
        ).fetchone() == (0,)


def test_extension_in_a_schema_of_its_own(empty_database_url: str) -> None:
    """The database and its functions find pgvector there."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    settings = Settings(database_url=SecretStr(empty_database_url))
    migrate(settings)
    with open_pool(settings) as pool, connect(pool) as connection:
        connection.execute(
            "SELECT * FROM best_chunks_matching('word'::tsquery, '{}/5'::sparsevec, 'word', 1, 5)"
        )
