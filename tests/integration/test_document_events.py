"""What happened to documents is written with the flip, and published until Pub/Sub has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import psycopg
import pytest

from shared import store
from shared.errors import PublishFailed
from shared.messaging.events import write_document_event
from shared.store import Connection, Pool
from shared.store.outbox import claim_events
from shared.values import Chunk, DocumentEvent, ObjectVersion

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs/document-event.schema.json").read_text()
)


def version(generation: int) -> ObjectVersion:
    return ObjectVersion(
        bucket="docs", name="law/report.txt", generation=generation, size=10, md5="same"
    )


def begin(connection: Connection, generation: int, **options: Any) -> store.BuildStart:
    wanted: dict[str, Any] = {"config_hash": "x", "lease_seconds": 60, "max_attempts": 2}
    return store.begin_build(connection, version(generation), announce=True, **(wanted | options))


def make_ready(connection: Connection, generation: int, *, announce: bool = True) -> None:
    lease = begin(connection, generation).lease
    assert lease is not None
    jobs = store.stage_build(
        connection,
        lease,
        document=store.StagedDocument("A report", "en", "text/plain", 3, [2]),
        chunks=[
            (
                Chunk(
                    ordinal=0,
                    text="The secret text.",
                    heading="",
                    header="",
                    page=1,
                    char_start=0,
                    char_end=16,
                    tokens=3,
                ),
                f"The secret text {generation}.",
            )
        ],
        text_segments=[(0, "The secret text.")],
        search_config="english",
        batch_size=8,
        announce=announce,
    )
    if not jobs:  # its embedding was copied from the generation before
        return
    batch = store.lease_batch(connection, jobs[0], model_id=1, lease_seconds=60, max_attempts=2)
    assert batch is not None
    store.finish_batch(connection, batch, np.eye(1, 384, dtype=np.float32), announce=announce)


def claimed(connection: Connection) -> list[DocumentEvent]:
    return claim_events(connection, limit=100)


def facts(events: Sequence[DocumentEvent]) -> list[tuple[Any, ...]]:
    return [
        (event.state, event.generation, event.answering_generation, event.reason_code)
        for event in events
    ]


def test_each_flip_writes_one_event(connection: Connection) -> None:
    """Ready, overwritten by what cannot be read, ready again, gone: nothing more, in this order."""
    make_ready(connection, 1)
    lease = begin(connection, 2).lease
    assert lease is not None
    store.fail_build(
        connection, lease, code="encrypted", reason="Remove the password.", announce=True
    )
    make_ready(connection, 3)
    for _ in range(2):
        store.record_gone(connection, version(3), announce=True)
    events = claimed(connection)
    assert facts(events) == [
        ("ready", 1, 1, None),
        ("failed", 2, None, "encrypted"),
        ("ready", 3, 3, None),
        ("gone", 3, None, None),
    ]
    assert len({event.document_id for event in events}) == 1
    assert {event.collection for event in events} == {"law"}
    assert (events[0].chunks, events[0].pages, events[0].pages_without_text) == (1, 3, 1)


def test_nothing_is_written_where_no_one_is_told(connection: Connection) -> None:
    """Without DOCUMENT_EVENTS_TOPIC the outbox stays empty."""
    make_ready(connection, 1, announce=False)
    store.record_gone(connection, version(1))
    assert claimed(connection) == []


def test_the_same_bytes_again_are_ready_again(connection: Connection) -> None:
    """A consumer that waits for the new generation of an unchanged file hears of it."""
    make_ready(connection, 1)
    connection.execute("UPDATE builds SET pages_without_text = '{}'")
    begin(connection, 2)
    assert facts(claimed(connection)) == [("ready", 1, 1, None), ("ready", 2, 2, None)]


def test_a_failed_reindex_leaves_the_old_text_answering(connection: Connection) -> None:
    """The event says both: it failed, and this generation answers on."""
    make_ready(connection, 1)
    row = connection.execute("SELECT id FROM documents").fetchone()
    assert row is not None
    store.reindex_document(connection, row[0])
    for _ in range(2):
        lease = begin(connection, 1).lease
        assert lease is not None
        store.release_build(connection, lease, error="no memory")
    begin(connection, 1)
    assert facts(claimed(connection))[1:] == [("failed", 1, 1, "attempts_exhausted")]


def test_an_object_never_seen_is_not_told_to_be_gone(connection: Connection) -> None:
    """A delete that comes before its upload's event concerns no one."""
    store.record_gone(connection, version(7), announce=True)
    assert claimed(connection) == []


def test_two_publishers_do_not_publish_the_same(worker_pool: Pool, connection: Connection) -> None:
    """While one has an event, another does not get it."""
    make_ready(connection, 1)
    told: list[DocumentEvent] = []

    def publish(events: Sequence[DocumentEvent]) -> None:
        told.extend(events)
        assert store.publish_waiting(worker_pool, lambda others: told.extend(others)) == 0

    assert store.publish_waiting(worker_pool, publish) == 1
    assert len(told) == 1
    assert store.publish_waiting(worker_pool, publish) == 0


def test_an_event_that_was_not_taken_comes_again_as_itself(
    worker_pool: Pool, connection: Connection
) -> None:
    """A failed publish fails no work; after the lease the event has the id it had."""
    make_ready(connection, 1)
    tried: list[DocumentEvent] = []

    def refuse(events: Sequence[DocumentEvent]) -> None:
        tried.extend(events)
        raise PublishFailed("503")

    store.announce(worker_pool, refuse)
    connection.execute("UPDATE document_events SET lease_until = clock_timestamp()")
    told: list[DocumentEvent] = []
    store.announce(worker_pool, told.extend)
    assert told == tried
    assert claimed(connection) == []


def test_an_event_that_could_not_be_published_for_a_week_goes(connection: Connection) -> None:
    """A topic that was deleted does not fill the database."""
    make_ready(connection, 1)
    assert store.drop_old_events(connection) == 0
    connection.execute("UPDATE document_events SET occurred = now() - interval '8 days'")
    assert store.drop_old_events(connection) == 1


def test_a_message_is_as_its_schema_says_and_holds_no_text(connection: Connection) -> None:
    """The three states fit docs/document-event.schema.json; attributes are for filters."""
    make_ready(connection, 1)
    lease = begin(connection, 2).lease
    assert lease is not None
    store.fail_build(connection, lease, code="empty", reason="It is empty.", announce=True)
    store.record_gone(connection, version(2), announce=True)
    checker = jsonschema.Draft202012Validator(
        SCHEMA | {"additionalProperties": False},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )
    for event in claimed(connection):
        data, attributes = write_document_event(event)
        body = json.loads(data)
        checker.validate(body)
        assert attributes == {
            "version": "1",
            "event_id": str(event.id),
            "sequence": str(event.sequence),
            "state": event.state,
            "document_id": str(event.document_id),
            "collection": "law",
        }
        assert b"secret" not in data


def test_readers_cannot_see_the_outbox(reader: Connection) -> None:
    """It names documents of every collection."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT * FROM document_events")
