"""Tokens a day that all instances together may pay for."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.errors import GenerationUnavailable
from shared.store import Connection, Pool, connect


class TokenBudget:
    """
    Stops paying when the day's tokens are used up.

    Requests that run at the same time are counted when they end: the budget can be passed by
    what is under way.
    """

    def __init__(self, pool: Pool, *, tokens_per_day: int) -> None:
        self._pool = pool
        self._tokens_per_day = tokens_per_day

    def check(self) -> None:
        """
        Pass while there is budget left.

        Raises:
            GenerationUnavailable: There is none.
            DatabaseUnavailable: The tokens used so far are not known.
        """
        with connect(self._pool) as connection:
            used = _tokens_used_today(connection)
        if used >= self._tokens_per_day:
            now = datetime.now(UTC)
            left = 24 - now.hour - now.minute / 60
            raise GenerationUnavailable(
                "budget",
                f"today's budget of {self._tokens_per_day:,} tokens is used up; a new one begins in"
                f" {left:.1f} h (DAILY_TOKEN_BUDGET)",
            )

    def count(self, *, tokens: int, calls: int) -> None:
        """Add what was used."""
        if tokens:
            with connect(self._pool) as connection:
                _count_tokens(connection, tokens=tokens, calls=calls)


def _tokens_used_today(connection: Connection) -> int:
    """Return the tokens used since midnight, UTC."""
    row = connection.execute(
        "SELECT tokens FROM token_usage WHERE day = (now() AT TIME ZONE 'UTC')::date"
    ).fetchone()
    return 0 if row is None else row[0]


def _count_tokens(connection: Connection, *, tokens: int, calls: int) -> None:
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
