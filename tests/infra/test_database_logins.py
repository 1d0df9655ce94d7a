"""What Cloud SQL gives a deployment to work with, rebuilt on a plain PostgreSQL."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from admin import migrate
from shared.errors import Misconfigured
from shared.settings import load

# The user's name of a service account on Cloud SQL holds @ and dots.
_MIGRATE, _WORKER, _QUERY = (f"{name}@demo-proj.iam" for name in ("migrate", "ingest", "query"))


@pytest.fixture
def cloud_sql_url(postgres_url: str) -> str:
    """Make a database whose migrating login only is a member of the role that may make roles."""
    name = "cloud_sql"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        # CREATE EXTENSION vector is a superuser's here; on Cloud SQL cloudsqlsuperuser may.
        if "cloudsqlsuperuser" not in known:
            connection.execute("CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEROLE SUPERUSER")
        for login in (_MIGRATE, _WORKER, _QUERY):
            if login not in known:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'token'").format(sql.Identifier(login))
                )
        connection.execute(
            sql.SQL("GRANT cloudsqlsuperuser TO {}").format(sql.Identifier(_MIGRATE))
        )
    return urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))


def _as(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(
        parts._replace(netloc=f"{login.replace('@', '%40')}:token@{parts.hostname}:{parts.port}")
    )


def _migrate(monkeypatch: pytest.MonkeyPatch, url: str, **variables: str) -> tuple[int, str]:
    monkeypatch.setenv("DATABASE_URL", _as(url, _MIGRATE))
    monkeypatch.delenv("MODEL_DIR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load.cache_clear()
    result = CliRunner().invoke(migrate.main, [])
    load.cache_clear()
    return result.exit_code, result.output


def test_the_migration_job_works_as_cloud_sql_lets_it(
    monkeypatch: pytest.MonkeyPatch, cloud_sql_url: str
) -> None:
    """It becomes the owner role, makes the schema, grants the group roles; twice does no harm."""
    variables = {
        "DATABASE_OWNER_ROLE": "cloudsqlsuperuser",
        "DATABASE_ROLE_MEMBERS": f"kaydang_query={_QUERY};kaydang_worker={_WORKER}",
    }
    for _ in range(2):
        code, output = _migrate(monkeypatch, cloud_sql_url, **variables)
        assert code == 0, output
    with psycopg.connect(_as(cloud_sql_url, _WORKER)) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)
    with psycopg.connect(_as(cloud_sql_url, _QUERY)) as connection:
        assert connection.execute("SELECT count(*) FROM live_chunks").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM collection_grants")


def test_membership_alone_is_not_enough(
    monkeypatch: pytest.MonkeyPatch, cloud_sql_url: str
) -> None:
    """Without DATABASE_OWNER_ROLE the login may make neither extension nor role."""
    code, output = _migrate(
        monkeypatch, cloud_sql_url, DATABASE_OWNER_ROLE="", DATABASE_ROLE_MEMBERS=""
    )
    assert code == 1
    assert "InsufficientPrivilege" in output


def test_members_are_read_by_role() -> None:
    """Logins of one role are separated by commas, roles by semicolons."""
    assert migrate.read_role_members("a=x@p.iam,y; b=z ;") == {"a": ["x@p.iam", "y"], "b": ["z"]}


@pytest.mark.parametrize("text", ["kaydang_query", "=x", "kaydang_query=", "a=x;b"])
def test_a_role_without_logins_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(Misconfigured, match="ROLE=LOGIN"):
        migrate.read_role_members(text)
