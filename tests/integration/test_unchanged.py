"""A new generation of the bytes that answer already, on a real Postgres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared import store
from shared.store import BuildStart, Connection
from shared.values import Chunk, ObjectVersion

DIMENSION = 384
FIRST = ObjectVersion(
    bucket="docs", name="report.txt", generation=1, size=10, content_type="text/plain", md5="one=="
)
TEXT = "It is written here."


def begin(
    connection: Connection, version: ObjectVersion, *, config_hash: str = "test"
) -> BuildStart:
    return store.begin_build(
        connection, version, config_hash=config_hash, lease_seconds=60, max_attempts=10
    )


@pytest.fixture
def ready(connection: Connection) -> Connection:
    """Let the first generation answer."""
    lease = begin(connection, FIRST).lease
    assert lease is not None
    chunk = Chunk(
        ordinal=0, text=TEXT, heading="", header="", page=1, char_start=0, char_end=19, tokens=5
    )
    (job,) = store.stage_build(
        connection,
        lease,
        document=store.StagedDocument(
            title="", language="en", content_type="text/markdown", pages=1, pages_without_text=[]
        ),
        chunks=[(chunk, TEXT)],
        text_segments=[(0, TEXT)],
        search_config="simple",
        batch_size=2,
    )
    batch = store.lease_batch(connection, job, model_id=1, lease_seconds=60, max_attempts=10)
    assert batch is not None
    vectors = np.full((1, DIMENSION), DIMENSION**-0.5, dtype=np.float32)
    assert store.finish_batch(connection, batch, vectors)
    return connection


def answering(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT generation, text FROM live_chunks").fetchall()


def test_unchanged_bytes_answer_at_once(ready: Connection) -> None:
    """The build that answers takes the new generation's place; nothing is left to do."""
    newer = replace(FIRST, generation=2, metageneration=1, metadata={"collection": "legal"})
    assert begin(ready, newer) == BuildStart()
    assert answering(ready) == [(2, TEXT)]
    assert ready.execute("SELECT generation, collection FROM builds").fetchall() == [(2, "legal")]
    assert ready.execute("SELECT collection, content_type FROM documents").fetchall() == [
        ("legal", "text/markdown")
    ]


def test_late_events_of_the_first_generation_change_nothing(ready: Connection) -> None:
    """Its finalize is obsolete, and its delete takes nothing of the generation that answers."""
    begin(ready, replace(FIRST, generation=2))
    assert begin(ready, FIRST) == BuildStart(obsolete=True)
    store.record_gone(ready, FIRST)
    assert answering(ready) == [(2, TEXT)]
    store.record_gone(ready, replace(FIRST, generation=2))
    assert answering(ready) == []


@pytest.mark.parametrize(
    ("changed", "config_hash"),
    [
        (replace(FIRST, generation=2, md5="two=="), "test"),
        (replace(FIRST, generation=2, md5=""), "test"),
        (replace(FIRST, generation=2, content_type="text/html"), "test"),
        (replace(FIRST, generation=2), "a later parser"),
    ],
)
def test_anything_else_is_parsed(
    ready: Connection, changed: ObjectVersion, config_hash: str
) -> None:
    """Other bytes, an unknown checksum, another type or another parser: the old text answers on."""
    assert begin(ready, changed, config_hash=config_hash).lease is not None
    assert answering(ready) == [(1, TEXT)]


def test_pages_without_text_are_parsed_again(ready: Connection) -> None:
    """They are the reason why the same bytes are uploaded once more: OCR may be on now."""
    ready.execute("UPDATE builds SET pages_without_text = '{1}'")
    assert begin(ready, replace(FIRST, generation=2)).lease is not None


def test_reindex_parses_unchanged_bytes(ready: Connection) -> None:
    """Who asks for a re-index gets one."""
    row = ready.execute("SELECT id FROM documents").fetchone()
    assert row is not None
    queued = store.reindex_document(ready, row[0])
    assert queued is not None
    assert queued.md5 == FIRST.md5
    assert begin(ready, queued).lease is not None
