"""Pending work and its age: counts only (migration 0005)."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from shared.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    How much is where.

    Attributes:
        documents: How many are in each state; a state without any is left out.
        batches_waiting: Of chunks that are not embedded.
        builds_waiting: Generations that are not parsed.
        dead_letters: Those that have not been replayed.
    """

    documents: dict[str, int]
    batches_waiting: int
    oldest_batch_seconds: float
    builds_waiting: int
    oldest_build_seconds: float
    dead_letters: int


def read_backlog(connection: Connection) -> Backlog:
    """Return the backlog of all collections, whatever the caller may read."""
    with connection.cursor(row_factory=class_row(Backlog)) as cursor:
        row = cursor.execute(
            """
            SELECT documents,
                   batches_waiting,
                   oldest_batch_seconds,
                   builds_waiting,
                   oldest_build_seconds,
                   dead_letters
            FROM backlog()
            """
        ).fetchone()
    assert row is not None, "the function returns one row"  # noqa: S101
    return row
