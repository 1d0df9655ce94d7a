"""Answers of Gemini, given again while no document has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from shared.store import Connection, Pool, caller_rights, reading
from shared.store.connection import fetch_one


@dataclass(frozen=True, slots=True)
class CacheSlot:
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
    ) -> tuple[dict[str, Any] | None, CacheSlot]:
        """
        Return the answer kept for *request*, if any, and the slot to keep a new one in.

        Args:
            request: All that decides the answer but the documents, as JSON can hold it.
            principals: Who asks: an answer is given again to those alone who see the same.
        """
        with reading(self._pool, principals) as connection:
            # First: what changes after it, the rights of callers too, makes the slot useless.
            version = _index_version(connection)
            rights = caller_rights(connection)
            key = _key(request, rights=rights)
            slot = CacheSlot(tuple(principals), rights=rights, key=key, version=version)
            answer = _read_answer(connection, key=slot.key, max_age=self._max_age)
        return answer, slot

    def keep(self, answer: dict[str, Any], *, slot: CacheSlot) -> None:
        """Keep *answer* in the slot that read() gave."""
        with reading(self._pool, slot.principals) as connection:
            _keep_answer(
                connection,
                key=slot.key,
                version=slot.version,
                rights=slot.rights,
                answer=answer,
                max_age=self._max_age,
            )


def _key(request: dict[str, Any], *, rights: str) -> bytes:
    return hashlib.sha256(json.dumps([rights, request], sort_keys=True).encode()).digest()


def _index_version(connection: Connection) -> int:
    """Return a number that grows with every commit that changes what documents answer."""
    version: int
    (version,) = fetch_one(connection, "SELECT version FROM index_state")
    return version


def _read_answer(
    connection: Connection, *, key: bytes, max_age: timedelta
) -> dict[str, Any] | None:
    """Return the answer kept under *key*, None if the documents have changed since."""
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


def _keep_answer(
    connection: Connection,
    *,
    key: bytes,
    version: int,
    rights: str,
    answer: dict[str, Any],
    max_age: timedelta,
) -> None:
    """
    Cache *answer* under *key* and evict stale entries.

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
