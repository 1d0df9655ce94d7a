"""Limits that hold across instances: requests a minute, tokens a day, and answers given again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from shared.errors import GenerationUnavailable
from shared.store import Pool, caller_rights, connect, reading

from .storage import (
    count_tokens,
    forget_idle_subjects,
    index_version,
    keep_answer,
    read_answer,
    take_turn,
    tokens_used_today,
)

_FORGET_EVERY = 500


class RateLimiter:
    """Counts the requests of keys and addresses; neither is stored, only a hash of it."""

    def __init__(self, pool: Pool, *, per_minute: int) -> None:
        self._pool = pool
        self._per_minute = per_minute
        self._requests = count(1)

    def wait_seconds(self, *subjects: str) -> int | None:
        """
        Return how long to wait, None where the request may pass.

        Raises:
            DatabaseUnavailable: Nothing can be counted.
        """
        with connect(self._pool) as connection:
            for subject in subjects:
                digest = hashlib.sha256(subject.encode("utf-8", "replace")).digest()
                wait = take_turn(connection, subject=digest, per_minute=self._per_minute)
                if wait is not None:
                    return max(1, math.ceil(wait.total_seconds()))
            if next(self._requests) % _FORGET_EVERY == 0:
                forget_idle_subjects(connection)
        return None


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
            DatabaseUnavailable: Nobody knows.
        """
        with connect(self._pool) as connection:
            used = tokens_used_today(connection)
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
                count_tokens(connection, tokens=tokens, calls=calls)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is kept: for whom, under which key, and for which state of the documents."""

    principals: tuple[str, ...]
    rights: str
    key: bytes
    version: int


class AnswerCache:
    """Answers of Gemini, given again while no document has changed."""

    def __init__(self, pool: Pool, *, max_age_seconds: int) -> None:
        self._pool = pool
        self._max_age = timedelta(seconds=max_age_seconds)

    def read(
        self, request: dict[str, Any], *, principals: Sequence[str]
    ) -> tuple[dict[str, Any] | None, Place]:
        """
        Return the answer kept for *request*, if any, and the place to keep a new one in.

        Args:
            request: All that decides the answer but the documents, as JSON can hold it.
            principals: Who asks: an answer is given again to those alone who see the same.
        """
        with reading(self._pool, principals) as connection:
            # First: what changes after it, the rights of callers too, makes the place useless.
            version = index_version(connection)
            rights = caller_rights(connection)
            key = _key(request, rights=rights)
            place = Place(tuple(principals), rights=rights, key=key, version=version)
            answer = read_answer(connection, key=place.key, max_age=self._max_age)
        return answer, place

    def keep(self, answer: dict[str, Any], *, place: Place) -> None:
        """Keep *answer* in the place that read() gave."""
        with reading(self._pool, place.principals) as connection:
            keep_answer(
                connection,
                key=place.key,
                version=place.version,
                rights=place.rights,
                answer=answer,
                max_age=self._max_age,
            )


def _key(request: dict[str, Any], *, rights: str) -> bytes:
    return hashlib.sha256(json.dumps([rights, request], sort_keys=True).encode()).digest()
