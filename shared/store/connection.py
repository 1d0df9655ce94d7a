"""Connections to Postgres: a small pool, bounded waits, and errors in our own words."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from shared.errors import DatabaseUnavailable, RejectedByDatabase
from shared.settings import DatabaseSettings

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

# A server that is alive ends a statement itself, and the connection stays.
_GRACE_SECONDS = 1.0

# https://cloud.google.com/sql/docs/postgres/iam-authentication#auth-proxy-manual
_IAM_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"


class _NoAnswer(psycopg.OperationalError):
    """The server said nothing for as long as it was waited for."""


class _LentConnection(Connection):
    """
    Waits for the server only so long, all that is asked while it is lent taken together.

    A server that is stopped (SIGSTOP, a disk that does not answer) takes what it is sent and says
    nothing: neither its own timeouts nor TCP's end that.

    Attributes:
        remaining_seconds: Of all waits together.
        statement_seconds: The longest single wait.
    """

    remaining_seconds = math.inf
    statement_seconds = math.inf

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as psycopg does; close the connection when the time is over."""
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
            # No one reads what the server says at last.
            self.close()
            raise _NoAnswer from error
        finally:
            self.remaining_seconds -= time.monotonic() - begun


Pool = ConnectionPool[_LentConnection]


def connection_arguments(
    settings: DatabaseSettings, *, answer_seconds: float = math.inf
) -> dict[str, Any]:
    """
    Return psycopg's arguments for a new connection: every wait in it is bounded by the server.

    With IAM authentication the password is a token fetched now, which is why the pool asks again
    for every connection (a token lives for an hour).
    """
    timeouts = {
        "lock_timeout": settings.database_lock_timeout_seconds,
        # Nobody waits longer for it.
        "statement_timeout": min(settings.database_statement_timeout_seconds, answer_seconds),
        "idle_in_transaction_session_timeout": settings.database_statement_timeout_seconds,
    }
    arguments: dict[str, Any] = {
        "autocommit": True,
        "connect_timeout": settings.database_connect_timeout_seconds,
        "application_name": "kaydangpt",
        # A peer that vanished (failover, firewall) is noticed within about 30 s, not two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": " ".join(f"-c {name}={seconds}s" for name, seconds in timeouts.items())
        # All statements are short: compiling one takes longer than running it.
        + " -c timezone=UTC -c jit=off",
    }
    if settings.database_iam_auth:
        arguments["password"] = _fetch_token()
    return arguments


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
    connect_seconds = settings.database_connect_timeout_seconds

    def set_up(connection: _LentConnection) -> None:
        connection.remaining_seconds = connect_seconds
        register_vector(connection)

    def lend(connection: _LentConnection) -> None:
        connection.remaining_seconds = connect_seconds
        if _has_news(connection):
            ConnectionPool.check_connection(connection)
        connection.remaining_seconds = answer_seconds + _GRACE_SECONDS
        connection.statement_seconds = statement_seconds + _GRACE_SECONDS

    return ConnectionPool(
        settings.database_url.get_secret_value(),
        connection_class=_LentConnection,
        kwargs=lambda: connection_arguments(settings, answer_seconds=answer_seconds),
        min_size=0,
        max_size=settings.database_pool_size,
        timeout=connect_seconds * 2,
        max_lifetime=30 * 60,
        max_idle=5 * 60,
        reconnect_timeout=30,
        configure=set_up,
        check=lend,
        open=True,
        name="kaydangpt",
    )


def _has_news(connection: Connection) -> bool:
    """
    Return whether the server has sent something since the connection was last used.

    Unasked it hardly says more than that it ends the connection; a look at the socket tells, where
    a question of whether it is still there would cost every borrower a round trip.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def connect(pool: Pool) -> Iterator[Connection]:
    """
    Lend a connection (autocommit) and translate what goes wrong on it.

    Raises:
        RejectedByDatabase: A value does not fit its column; no other try will make it.
        DatabaseUnavailable: Anything else that the database says: a restart, a lock not had in
            time, a deadlock, a missing table while a migration is still to come.
    """
    with translated_errors(), pool.connection() as connection:
        yield connection


def fetch_one(
    connection: Connection,
    statement: LiteralString | sql.Composed,
    values: Mapping[str, Any] | None = None,
) -> Any:
    """Return the row of a *statement* that has one in any case: an aggregate, say."""
    row = connection.execute(statement, values).fetchone()
    assert row is not None, "the statement has one row in any case"  # noqa: S101
    return row


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise our own errors for psycopg's; never with values of the row in the message."""
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
    return f"{type(error).__name__}: {error.diag.message_primary or 'no connection'}"
