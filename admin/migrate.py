"""
Apply the numbered SQL files of shared/migrations, each once, in one transaction each.

Two runs at once wait for each other (advisory lock); a file that was changed after it was applied
is refused by its checksum. With MODEL_DIR set, that model is registered too, so that the first
deployment knows whose vectors answer. DATABASE_ROLE_MEMBERS grants the group roles to the logins
that the deployment made: kaydang_worker=LOGIN,LOGIN;kaydang_query=LOGIN.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import click
import psycopg
import stamina
from psycopg import sql
from pydantic import Field

from admin.rights import (
    adapt_search_path,
    extend_functions,
    make_roles,
    record_rights,
    repair_rights,
)
from shared import store
from shared.errors import KaydangError, Misconfigured
from shared.settings import DatabaseSettings, load
from shared.store.connection import (
    check_version,
    connect_once,
    connect_seconds,
    fetch_one,
    translated_errors,
)

_MIGRATIONS = Path(__file__).parents[1] / "shared" / "migrations"
# Any constant does; this one spells "kaydang" in the lock tables of a curious operator.
_LOCK = int.from_bytes(b"kaydang")
# Checksums of earlier forms of a migration that have the same effect.
_EARLIER_FORMS = {
    # It made the group roles itself.
    1: {"51da6234be7611a9a8a6effda8455d84409212478d0f19423d78bbba7f3c3424"},
}
# Of one migration: rebuilding an index over millions of chunks takes minutes.
_MIGRATION_SECONDS = 3600
_WAIT_INITIAL_SECONDS = 0.5
_WAIT_MAX_SECONDS = 5.0


class Settings(DatabaseSettings):
    """
    The database, and the model to register.

    DATABASE_OWNER_ROLE is the role to work as where the login only is a member of it: on Cloud SQL
    cloudsqlsuperuser may make roles, and membership alone does not pass that on.
    """

    model_dir: Path | None = None
    database_owner_role: str = Field(default="", pattern=r"^[a-z_][a-z0-9_]*$|^$")
    database_role_members: str = ""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the statements."""
        return hashlib.sha256(self.statements.encode()).hexdigest()

    def was_applied_as(self, checksum: str) -> bool:
        """Return whether *checksum* is this migration's, or that of a form with the same effect."""
        return checksum == self.checksum or checksum in _EARLIER_FORMS.get(self.number, ())


def read_migrations(folder: Path = _MIGRATIONS) -> list[Migration]:
    """
    Return the migrations of *folder* in their order.

    Raises:
        Misconfigured: A number is missing or given twice.
    """
    migrations = [
        Migration(int(path.name[:4]), path.stem, path.read_text("utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise Misconfigured(f"migrations are not numbered 1, 2, 3, ...: {numbers}")
    return migrations


def apply_migrations(connection: store.Connection, migrations: list[Migration]) -> list[Migration]:
    """
    Apply what is missing and return it, the rights of a restored database included.

    Raises:
        Misconfigured: The server is too old, or an applied migration's file has changed since.
    """
    check_version(connection)
    extension_schema = adapt_search_path(connection)
    connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        make_roles(connection)
        if repaired := repair_rights(connection):
            click.echo(f"restored {repaired} missing rights")
        connection.execute(
            """
            CREATE TABLE IF NOT EXISTS migrations (
                number integer PRIMARY KEY,
                name text NOT NULL,
                checksum text NOT NULL,
                applied timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        known: dict[int, str] = dict(
            connection.execute("SELECT number, checksum FROM migrations").fetchall()
        )
        applied = []
        for migration in migrations:
            if migration.number in known:
                if not migration.was_applied_as(known[migration.number]):
                    raise Misconfigured(
                        f"migration {migration.name} was changed after it was applied:"
                        " restore it and write the change as a new migration"
                    )
                continue
            with connection.transaction():
                # A table with rows whose constraints are yet to be checked takes no index.
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                connection.execute(migration.statements.encode())
                connection.execute(
                    "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
                    [migration.number, migration.name, migration.checksum],
                )
            applied.append(migration)
        if extension_schema is not None:
            extend_functions(connection, extension_schema)
        record_rights(connection)
        return applied
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def read_role_members(text: str) -> dict[str, list[str]]:
    """
    Return the logins of each group role, from ROLE=LOGIN,LOGIN;ROLE=LOGIN.

    Raises:
        Misconfigured: A part has no role or no login.
    """
    members: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        role, _, logins = part.partition("=")
        members[role] = [login.strip() for login in logins.split(",") if login.strip()]
        if not role or not members[role]:
            raise Misconfigured(
                f"DATABASE_ROLE_MEMBERS is ROLE=LOGIN,LOGIN;ROLE=LOGIN, not {part!r}"
            )
    return members


def grant_roles(connection: store.Connection, members: dict[str, list[str]]) -> None:
    """Make each login a member of its role; one that is stays one."""
    for role, logins in members.items():
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(
                sql.Identifier(role), sql.SQL(", ").join(map(sql.Identifier, logins))
            )
        )


def find_missing(connection: store.Connection, migrations: list[Migration]) -> list[Migration]:
    """Return the migrations that are yet to be applied."""
    (is_made,) = fetch_one(connection, "SELECT to_regclass('migrations') IS NOT NULL", {})
    known: set[int] = set()
    if is_made:
        known = {number for (number,) in connection.execute("SELECT number FROM migrations")}
    return [migration for migration in migrations if migration.number not in known]


def migrate(settings: Settings) -> None:
    """Apply what is missing, grant roles, register the model, and say so on standard output."""
    members = read_role_members(settings.database_role_members)
    with translated_errors(), _connect(settings) as connection:
        for migration in apply_migrations(connection, read_migrations()):
            click.echo(f"applied {migration.name}")
        grant_roles(connection, members)
        for role, logins in members.items():
            click.echo(f"{role}: {', '.join(logins)}")
        if settings.model_dir is None:
            return
        # Imported here: the image that migrates has no onnxruntime, which the embedder imports.
        from shared.embedding.tokenizer import read_model_info

        info = read_model_info(settings.model_dir)
        model = store.register_model(
            connection, name=info.name, dimension=info.dimension, digest=info.digest
        )
        click.echo(f"model {model.id}: {model.name}, dimension {model.dimension}")


def _connect(settings: Settings) -> store.Connection:
    """
    Connect, and try again for as long as a pool would wait.

    A new job on Cloud Run has no network for up to 80 s, and a new grant to log in takes a minute
    to be known: connect_timeout=60 in DATABASE_URL waits for both.
    """
    options = f"-c statement_timeout={_MIGRATION_SECONDS}s -c timezone=UTC"
    if settings.database_owner_role:
        options += f" -c role={settings.database_owner_role}"
    for attempt in stamina.retry_context(
        on=psycopg.OperationalError,
        attempts=None,
        timeout=connect_seconds(settings) * 2,
        wait_initial=_WAIT_INITIAL_SECONDS,
        wait_max=_WAIT_MAX_SECONDS,
    ):
        with attempt:
            # A token as password lives for an hour, so each try fetches its own.
            return connect_once(settings, options=options)
    raise AssertionError  # the last attempt raises


@click.command(help=__doc__)
@click.option("--dry-run", is_flag=True, help="Say what would be applied, and change nothing.")
def main(*, dry_run: bool) -> None:
    """Run the migrations from the command line."""
    try:
        settings: Settings = load(Settings)
        if not dry_run:
            migrate(settings)
            return
        with translated_errors(), _connect(settings) as connection:
            missing = find_missing(connection, read_migrations())
        for migration in missing:
            click.echo(f"would be applied: {migration.name}")
        if not missing:
            click.echo("all migrations are applied")
    except KaydangError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
