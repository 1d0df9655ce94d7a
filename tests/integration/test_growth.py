"""What grows is found by an index, counted once, and has an end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any
from uuid import UUID

from admin.reconciliation import find_differences
from shared import store
from shared.store import Connection
from shared.values import ObjectVersion

MANY = 60_000


def fill(owner: Connection, number: int = MANY) -> None:
    """Make documents that are ready, every thousandth of them failed."""
    owner.execute(
        """
        INSERT INTO documents (bucket, name, seen_generation)
        SELECT 'docs', 'folder/' || lpad(number::text, 8, '0'), 1
        FROM generate_series(1, %(number)s) AS number
        """,
        {"number": number},
    )
    owner.execute(
        """
        INSERT INTO builds (document_id, generation, epoch, state, reason_code)
        SELECT id, 1, 0,
               CASE WHEN name LIKE '%%000' THEN 'failed' ELSE 'ready' END,
               CASE WHEN name LIKE '%%000' THEN 'encrypted' END
        FROM documents
        """
    )
    owner.execute("ANALYZE documents, builds")


def test_pages_of_many_documents(
    owner: Connection, connection: Connection, reader: Connection
) -> None:
    """A page is read in the order of an index; its cost does not grow with what is behind it."""
    fill(owner)
    for options in (
        {},
        {"after": ("folder/00030000", UUID(int=2**128 - 1))},
        {"order": "updated", "descending": True},
        {"order": "size"},
        {"order": "state"},
        {"selection": store.Selection(prefix="folder/0003")},
        {"selection": store.Selection(search="R/00045123")},
        {"selection": store.Selection(states=["failed"])},
    ):
        rows = rows_read(reader, options)
        assert rows < 5000, options
    behind = ("folder/00030000", UUID(int=2**128 - 1))
    page, cursor = store.list_documents(reader, after=behind, limit=2)
    assert [document.name for document in page] == ["folder/00030001", "folder/00030002"]
    assert cursor == ("folder/00030002", page[-1].id)
    failed, _ = store.list_documents(reader, store.Selection(states=["failed"]), limit=100)
    assert len(failed) == MANY // 1000
    # Counted by the sweeper from here on.
    assert store.count_documents(reader) == {"ready": MANY - 60, "failed": 60}
    store.refresh_document_counts(connection)
    connection.execute("DELETE FROM builds WHERE state = 'failed'")
    assert store.count_documents(reader) == {"ready": MANY - 60, "failed": 60}
    store.refresh_document_counts(connection)
    assert store.count_documents(reader) == {"ready": MANY - 60, "queued": 60}


class ListedNames:
    """A bucket that lists so many names, and says from where to where it was asked."""

    name = "docs"

    def __init__(self, number: int) -> None:
        self.names = [f"folder/{one:08}" for one in range(1, number + 1)]
        self.asked: list[tuple[str, str]] = []

    def list(self, *, start: str = "", end: str = "") -> Iterator[ObjectVersion]:
        """Yield the names, in their order."""
        self.asked.append((start, end))
        for name in self.names[bisect_left(self.names, start) :]:
            if end and name >= end:
                return
            yield ObjectVersion("docs", name, 1)


def test_comparison_when_it_was_cut_off(owner: Connection, connection: Connection) -> None:
    """It goes on where it was, finds each difference once, and lists each part once."""
    fill(owner, 5_000)
    bucket = ListedNames(5_000)
    bucket.names = [name for name in bucket.names if not name.endswith("500")]
    bucket.names += ["folder/99999999"]
    found: list[str] = []
    position = ""
    for cut_after in (1, 2, 100):
        comparison = find_differences(lambda: nullcontext(connection), bucket, start=position)
        for page, after in islice(comparison, cut_after):
            found += [difference.name for difference in page]
            store.note_position(connection, after, bucket="docs")
        position = store.read_position(connection, bucket="docs")
    assert position == ""
    gone = [f"folder/{one:08}" for one in range(500, 5_000, 1000)]
    assert found == [gone[0], *gone, "folder/99999999"]
    starts = [start for start, _ in bucket.asked]
    assert len(starts) == 6
    assert starts == sorted(starts)


def rows_read(connection: Connection, options: dict[str, Any]) -> float:
    """Return how many rows of documents and builds a page reads."""

    def read() -> int:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            """
            SELECT sum(seq_tup_read + idx_tup_fetch)
            FROM pg_stat_user_tables
            WHERE relname IN ('documents', 'builds')
            """
        ).fetchone()
        assert row is not None
        return int(row[0])

    before = read()
    store.list_documents(connection, limit=50, **options)
    return read() - before


def test_old_leftovers_are_forgotten(connection: Connection) -> None:
    """Dead letters and rows of deleted documents go; what is younger or answers stays."""
    for name, age in (("old.txt", 100), ("young.txt", 10)):
        store.record_gone(connection, ObjectVersion("docs", name, 1))
        store.record_dead_letter(
            connection, message_id=name, subscription="s", data=b"", attributes={}
        )
        connection.execute(
            "UPDATE documents SET updated = now() - make_interval(days => %s) WHERE name = %s",
            [age, name],
        )
        connection.execute(
            "UPDATE dead_letters SET received = now() - make_interval(days => %s)"
            " WHERE message_id = %s",
            [age, name],
        )
    store.record_newer(connection, ObjectVersion("docs", "living.txt", 1))
    connection.execute(
        "UPDATE documents SET updated = now() - interval '100 days' WHERE name = 'living.txt'"
    )
    assert store.forget_old(connection, days=90) == 2
    names = connection.execute("SELECT name FROM documents ORDER BY name").fetchall()
    assert names == [("living.txt",), ("young.txt",)]
    assert [letter.message_id for letter in store.list_dead_letters(connection)] == ["young.txt"]
