"""What the query function keeps between requests: rate limits, tokens used, answers to repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from shared.store.connection import Connection, fetch_one


def take_turn(connection: Connection, *, subject: bytes, per_minute: int) -> timedelta | None:
    """
    Count a request of *subject*, and return how long it must wait, None where it may pass.

    A subject may use its minute's requests at once; they come back evenly. A request that must
    wait is not counted.
    """
    arguments = {
        "subject": subject,
        "interval": timedelta(minutes=1) / per_minute,
        "burst": timedelta(minutes=1),
    }
    taken = connection.execute(
        """
        INSERT INTO rate_limits (subject, full_at)
        VALUES (%(subject)s, now() + %(interval)s)
        ON CONFLICT (subject) DO UPDATE
        SET full_at = greatest(rate_limits.full_at, now()) + %(interval)s
        WHERE greatest(rate_limits.full_at, now()) + %(interval)s <= now() + %(burst)s
        RETURNING true
        """,
        arguments,
    ).fetchone()
    if taken is not None:
        return None
    row = connection.execute(
        """
        SELECT greatest(full_at + %(interval)s - %(burst)s - now(), interval '0')
        FROM rate_limits
        WHERE subject = %(subject)s
        """,
        arguments,
    ).fetchone()
    wait: timedelta = row[0] if row is not None else timedelta(0)
    return wait


def forget_idle_subjects(connection: Connection) -> None:
    """Delete the subjects that have their whole burst again."""
    connection.execute("DELETE FROM rate_limits WHERE full_at < now()")


def tokens_used_today(connection: Connection) -> int:
    """Return the tokens used since midnight, UTC."""
    row = connection.execute(
        "SELECT tokens FROM token_usage WHERE day = (now() AT TIME ZONE 'UTC')::date"
    ).fetchone()
    return 0 if row is None else row[0]


def count_tokens(connection: Connection, *, tokens: int, calls: int) -> None:
    """Add what a request used to the day's tokens."""
    connection.execute(
        """
        INSERT INTO token_usage (day, tokens, calls)
        VALUES ((now() AT TIME ZONE 'UTC')::date, %(tokens)s, %(calls)s)
        ON CONFLICT (day) DO UPDATE
        SET tokens = token_usage.tokens + excluded.tokens,
            calls = token_usage.calls + excluded.calls
        """,
        {"tokens": tokens, "calls": calls},
    )


def index_version(connection: Connection) -> int:
    """Return a number that grows with every commit that changes what documents answer."""
    version: int
    (version,) = fetch_one(connection, "SELECT version FROM index_state")
    return version


def read_answer(connection: Connection, *, key: bytes, max_age: timedelta) -> dict[str, Any] | None:
    """Return the answer kept under *key*, None where the documents have changed since."""
    row = connection.execute(
        """
        SELECT answer
        FROM cached_answers
        JOIN index_state USING (version)
        WHERE key = %(key)s
            AND created > now() - %(max_age)s
        """,
        {"key": key, "max_age": max_age},
    ).fetchone()
    return None if row is None else row[0]


def keep_answer(
    connection: Connection,
    *,
    key: bytes,
    version: int,
    rights: str,
    answer: dict[str, Any],
    max_age: timedelta,
) -> None:
    """
    Keep *answer* under *key*, and drop what can be of no more use.

    Args:
        rights: caller_rights() of the reader, from before the search.
        version: index_version() from before the search: an answer of documents that changed
            meanwhile is kept under a number that is already past.
    """
    connection.execute(
        """
        INSERT INTO cached_answers (key, version, rights, answer)
        VALUES (%(key)s, %(version)s, %(rights)s, %(answer)s)
        ON CONFLICT (key) DO UPDATE
        SET version = excluded.version,
            answer = excluded.answer,
            created = now()
        """,
        {"key": key, "version": version, "rights": rights, "answer": Jsonb(answer)},
    )
    connection.execute(
        "SELECT forget_answers(%(version)s, %(max_age)s)",
        {"version": version, "max_age": max_age},
    )
