"""Connections to PostgreSQL: a small pool, bounded waits, and our own errors."""

from __future__ import annotations

import math
import re
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from shared.errors import DatabaseUnavailable, Misconfigured, RejectedByDatabase
from shared.runtime.logs import get_logger
from shared.settings import DatabaseSettings
from shared.store.connection_faults import describe_connection_fault

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]
T = TypeVar("T")

_PARAMETER = re.compile(rb"%(?:\((\w+)\)s|%)")
# The statements that are run for each question, in their forms.
_STATEMENTS_KEPT = 256

# A server that is alive ends a statement itself, and the connection stays.
_GRACE_SECONDS = 1.0

# https://cloud.google.com/sql/docs/postgres/iam-authentication#auth-proxy-manual
_IAM_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


class _NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class _LentConnection(Connection):
    """
    Bounds the total time that a borrower waits for the server.

    A stopped server (SIGSTOP, a hanging disk) accepts data and never answers; neither its own
    timeouts nor TCP's end that.

    Attributes:
        remaining_seconds: Of all waits together.
        statement_seconds: The longest single wait.
    """

    remaining_seconds = math.inf
    statement_seconds = math.inf

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does, and close the connection when the time is up."""
        seconds = min(self.remaining_seconds, self.statement_seconds)
        if timeout is not None:
            seconds = min(seconds, timeout)
        begun = time.monotonic()
        try:
            return super().wait(gen, interval, max(0.0, seconds))
        except psycopg.OperationalError as error:
            busy = self.pgconn.transaction_status == TransactionStatus.ACTIVE
            if not busy or time.monotonic() - begun < seconds:
                raise
            # The server's last words are not read.
            self.close()
            raise _NoAnswer from error
        finally:
            self.remaining_seconds -= time.monotonic() - begun


class Pool(ConnectionPool[_LentConnection]):
    """
    A pool that remembers why it has no connection, and whether its database is usable.

    Attributes:
        failure: What the last attempt to connect said; None if it succeeded.
        unfit: Why the database cannot be used; None if it can.
        is_checked: Whether the server was found fit.
        has_pooler: Whether something between drops the startup options.
    """

    failure: psycopg.Error | None = None
    unfit: Misconfigured | None = None
    is_checked = False
    has_pooler = False


CONNECT_TIMEOUT_SECONDS = 5
# The longest statement of the protocol stages some thousand chunks in a second or two.
STATEMENT_TIMEOUT_SECONDS = 60
# A lock is held for the length of one such statement.
LOCK_TIMEOUT_SECONDS = 10

# https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md: iterative scans, sparsevec's casts.
NEEDED_PGVECTOR = (0, 8)
# Views with their reader's rights (security_invoker), on which row-level security stands.
NEEDED_POSTGRES = 15

_log = get_logger("database")


def connection_arguments(
    settings: DatabaseSettings, *, answer_seconds: float = math.inf
) -> dict[str, Any]:
    """
    Return psycopg's arguments for a new connection, with server-side limits on every wait.

    With IAM authentication the password is a token fetched now, which is why the pool asks again
    for every connection (a token lives for an hour).
    """
    timeouts = {
        "lock_timeout": LOCK_TIMEOUT_SECONDS,
        # No borrower waits longer for it.
        "statement_timeout": min(STATEMENT_TIMEOUT_SECONDS, answer_seconds),
        "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT_SECONDS,
    }
    arguments: dict[str, Any] = {
        "autocommit": True,
        "connect_timeout": connect_seconds(settings),
        "application_name": "kaydangpt",
        # A peer that vanished (failover, firewall) is noticed within about 30 s, not two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": " ".join(f"-c {name}={seconds}s" for name, seconds in timeouts.items())
        # All statements are short: compiling one takes longer than running it.
        + " -c timezone=UTC -c jit=off "
        + str(url_parameters(settings).get("options") or ""),
    }
    if settings.database_iam_auth:
        arguments["password"] = _fetch_token()
    return arguments


def connection_string(settings: DatabaseSettings) -> str:
    """
    Return DATABASE_URL.

    Raises:
        Misconfigured: It is another library's form of a URL.
    """
    # A secret that was made from a file ends with its line end.
    url = settings.database_url.get_secret_value().strip()
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in ("postgresql", "postgres"):
        raise Misconfigured(
            f"DATABASE_URL begins with {scheme[:40]}://, which is another library's form: write"
            " postgresql://"
        )
    return url


def url_parameters(settings: DatabaseSettings) -> dict[str, Any]:
    """Return what DATABASE_URL says by libpq's names; nothing if it cannot be read."""
    try:
        return conninfo_to_dict(connection_string(settings))
    except psycopg.Error:
        return {}  # connecting says what is wrong


def connect_seconds(settings: DatabaseSettings) -> int:
    """Return how long one attempt to connect may take: DATABASE_URL's connect_timeout, or 5."""
    given = str(url_parameters(settings).get("connect_timeout") or "")
    return max(1, int(given)) if given.isdecimal() else CONNECT_TIMEOUT_SECONDS


def connect_once(settings: DatabaseSettings, **options: Any) -> psycopg.Connection[Any]:
    """
    Return a connection outside any pool.

    Raises:
        psycopg.Error: There is none; translated_errors() says why.
        Misconfigured: DATABASE_URL is another library's form of a URL.
    """
    arguments = connection_arguments(settings) | options
    return psycopg.connect(connection_string(settings), **arguments)


def check_server(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the server and its pgvector are new enough, and that pgvector is found.

    Raises:
        Misconfigured: As check_version; or pgvector is in a schema outside the search_path.
    """
    check_version(connection)
    row = connection.execute(
        """
        SELECT extnamespace::regnamespace::text
        FROM pg_extension
        WHERE extname = 'vector' AND to_regtype('vector') IS NULL
        """
    ).fetchone()
    if row is not None:
        raise Misconfigured(
            f"the extension vector is in the schema {row[0]}, which is not in the search_path of"
            " this login: run kaydangpt migrate, which adds it to the database's, or"
            f" ALTER ROLE ... SET search_path = public, {row[0]}"
        )


def check_version(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the server and its pgvector are new enough.

    Raises:
        Misconfigured: They are not, or pgvector is not there; the message names the versions.
    """
    version = connection.info.server_version // 10_000
    if version < NEEDED_POSTGRES:
        raise Misconfigured(
            f"PostgreSQL {NEEDED_POSTGRES} or newer is needed; this server is PostgreSQL {version}"
        )
    row = connection.execute(
        """
        SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
               (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
        """
    ).fetchone()
    installed, available = row if row is not None else (None, None)
    needed = ".".join(map(str, NEEDED_PGVECTOR))
    found = installed or available
    if found is None:
        raise Misconfigured(
            f"pgvector {needed} or newer is needed; this server has no extension vector. Install"
            " the package of pgvector for this PostgreSQL (https://github.com/pgvector/pgvector)"
        )
    if tuple(int(part) for part in found.split(".")[:2]) < NEEDED_PGVECTOR:
        where = "server" if installed is None else "database"
        update = ", then run: ALTER EXTENSION vector UPDATE" if installed is not None else ""
        raise Misconfigured(
            f"pgvector {needed} or newer is needed; this {where} has {found}. Install a newer"
            f" package on the server{update}"
        )


def _fetch_token() -> str:
    # Only Cloud SQL with IAM needs it, and its import costs a cold start 50 ms.
    import google.auth
    import google.auth.transport.requests

    credentials, _project = google.auth.default(scopes=[_IAM_SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    return str(credentials.token)


def open_pool(
    settings: DatabaseSettings,
    *,
    answer_seconds: float = math.inf,
    statement_seconds: float = math.inf,
) -> Pool:
    """
    Return a pool that connects when it is first used.

    It keeps no idle minimum: with one of four and every backend killed, the first request waited
    for the whole pool timeout; with none it recovers at once (docs/decisions.md).

    Args:
        answer_seconds: How long a borrower of a connection waits for the server, in all.
        statement_seconds: How long a borrower waits for one statement.
    """
    wait_seconds = connect_seconds(settings)

    class Remembering(_LentConnection):
        @classmethod
        def connect(cls, *args: Any, **options: Any) -> Self:
            try:
                connection = super().connect(*args, **options)
            except psycopg.Error as error:
                pool.failure = error
                raise
            pool.failure = None
            return connection

    def set_up(connection: _LentConnection) -> None:
        connection.remaining_seconds = wait_seconds
        if not pool.is_checked:
            _check(connection, pool)
        if pool.has_pooler:
            # It may pass each transaction to another server process, where nothing is prepared.
            connection.prepare_threshold = None
        if pool.unfit is None:
            register_vector(connection)

    def lend(connection: _LentConnection) -> None:
        connection.remaining_seconds = wait_seconds
        if _has_pending_input(connection):
            ConnectionPool.check_connection(connection)
        connection.remaining_seconds = answer_seconds + _GRACE_SECONDS
        connection.statement_seconds = statement_seconds + _GRACE_SECONDS

    pool = Pool(
        connection_string(settings),
        connection_class=Remembering,
        kwargs=lambda: connection_arguments(settings, answer_seconds=answer_seconds),
        min_size=0,
        max_size=settings.database_pool_size,
        timeout=wait_seconds * 2,
        max_lifetime=30 * 60,
        max_idle=5 * 60,
        reconnect_timeout=30,
        configure=set_up,
        check=lend,
        open=False,
        name="kaydangpt",
    )
    pool.open()
    return pool


def _check(connection: Connection, pool: Pool) -> None:
    """Check the server once, and record in *pool* why it cannot be used."""
    pool.unfit = None
    try:
        check_server(connection)
    except Misconfigured as error:
        pool.unfit = error
        return
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'jit'").fetchone()
    pool.has_pooler = row != ("off",)
    if pool.has_pooler:
        _log.warning(
            "a pooler drops this service's startup options: statements are not prepared, and only"
            " the client bounds their time"
        )
    pool.is_checked = True


def _has_pending_input(connection: Connection) -> bool:
    """
    Return whether the server has sent something since the connection was last used.

    An idle server sends something only when it closes the connection. Looking at the socket is
    free; asking the server would cost every borrower a round trip.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def connect(pool: Pool) -> Iterator[Connection]:
    """
    Lend a connection (autocommit) and translate its errors.

    Raises:
        RejectedByDatabase: A value does not fit its column; no other try will make it.
        DatabaseUnavailable: Anything else that the database says: a restart, a lock not had in
            time, a deadlock, a missing table while a migration is still to come.
        Misconfigured: The server or its pgvector is too old.
    """
    try:
        with translated_errors(), pool.connection() as connection:
            if pool.unfit is not None:
                # The next connection is checked again.
                connection.close()
                raise pool.unfit
            yield connection
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, PoolTimeout) and pool.failure is not None:
            raise DatabaseUnavailable(describe_connection_fault(pool.failure)) from error
        raise


def fetch_one(
    connection: Connection,
    statement: LiteralString | sql.Composed,
    values: Mapping[str, Any] | None = None,
) -> Any:
    """Return the row of a *statement* that always has one, such as an aggregate."""
    row = connection.execute(statement, values).fetchone()
    assert row is not None, "the statement has one row in any case"  # noqa: S101
    return row


def execute_prepared(connection: Connection, statement: bytes, values: Mapping[str, Any]) -> Cursor:
    """
    Run a long *statement* that is run for each question, prepared by the server.

    psycopg looks for the parameters of a statement beyond 4 kB each time; here that is done once.
    """
    numbered, names = _number_parameters(statement)
    cursor = psycopg.RawCursor(connection)
    return cursor.execute(numbered, [values[name] for name in names], prepare=True)


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _number_parameters(statement: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return *statement* with $1 for its first %(name)s, and the names in the order of numbers."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return b"%"
        return b"$%d" % numbers.setdefault(match[1].decode(), len(numbers) + 1)

    numbered = _PARAMETER.sub(number, statement)
    return numbered, tuple(numbers)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise our own errors for psycopg's, without values of the row in the message."""
    try:
        yield
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise RejectedByDatabase(_describe(error)) from error
    except psycopg.Error as error:
        raise DatabaseUnavailable(_describe(error)) from error


def _describe(error: psycopg.Error) -> str:
    if isinstance(error, _NoAnswer):
        return "no answer in time"
    # The primary message names tables and columns; detail and context may quote the row.
    if error.diag.message_primary:
        return f"{type(error).__name__}: {error.diag.message_primary}"
    return describe_connection_fault(error)
