"""Requests a minute by key and address, counted for all instances together."""

from __future__ import annotations

import hashlib
import math
from datetime import timedelta
from itertools import count

from shared.store import Connection, Pool, connect

_FORGET_EVERY = 500
# A page that shows documents asks often, and a look costs a fraction of a question.
_READS_A_REQUEST = 10


class RateLimiter:
    """Counts the requests of keys and addresses; neither is stored, only a hash of it."""

    def __init__(self, pool: Pool, *, per_minute: int) -> None:
        self._pool = pool
        self._per_minute = per_minute
        self._requests = count(1)

    def wait_seconds(self, *subjects: str, reads: bool = False) -> int | None:
        """
        Return how long to wait, None if the request may pass.

        Args:
            reads: Whether it only reads: such requests are counted apart, and ten times as many of
                them may pass.

        Raises:
            DatabaseUnavailable: Nothing can be counted.
        """
        per_minute = self._per_minute * (_READS_A_REQUEST if reads else 1)
        with connect(self._pool) as connection:
            for subject in subjects:
                counted = f"reads of {subject}" if reads else subject
                digest = hashlib.sha256(counted.encode("utf-8", "replace")).digest()
                wait = _acquire(connection, subject=digest, per_minute=per_minute)
                if wait is not None:
                    return max(1, math.ceil(wait.total_seconds()))
            if next(self._requests) % _FORGET_EVERY == 0:
                _forget_idle_subjects(connection)
        return None


def _acquire(connection: Connection, *, subject: bytes, per_minute: int) -> timedelta | None:
    """
    Count a request of *subject*, and return how long it must wait, None if it may pass.

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


def _forget_idle_subjects(connection: Connection) -> None:
    """Delete the subjects that have their whole burst again."""
    connection.execute("DELETE FROM rate_limits WHERE full_at < now()")
