"""Events of every shape are read alike, and nothing malformed gets through."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.messaging.events import (
    DOCUMENT_EVENT_VERSION,
    MESSAGE_PUBLISHED,
    Message,
    read_job,
    read_message,
    read_notification,
    read_object_event,
    write_job,
    write_notification,
)
from shared.values import EmbedJob, FillJob, ObjectEvent, ObjectVersion

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "tests" / "events"


def recorded(name: str) -> Any:
    return json.loads((EVENTS / name).read_text("utf-8"))


def test_notification_is_read_as_storage_sends_it() -> None:
    """Attributes and body of a recorded OBJECT_FINALIZE."""
    event = read_object_event(MESSAGE_PUBLISHED, recorded("storage_finalize.json"))
    assert event == ObjectEvent(
        kind="finalized",
        object=ObjectVersion(
            bucket="documents",
            name="handbook/tư vấn.pdf",
            generation=1793525412123456,
            metageneration=1,
            size=5234,
            content_type="application/pdf",
            metadata={"department": "sales"},
            updated=datetime(2026, 11, 1, 9, 30, 12, 120000, tzinfo=UTC),
        ),
    )


def test_notification_without_a_body_is_enough() -> None:
    """Payload format NONE carries everything the protocol needs in its attributes."""
    event = read_object_event(MESSAGE_PUBLISHED, recorded("storage_delete_no_body.json"))
    assert event is not None
    assert (event.kind, event.object.name) == ("deleted", "handbook/old.pdf")
    assert event.object.generation == 1793525412123456
    assert event.overwritten_by == 1793525412999999


def test_eventarc_form_says_the_same() -> None:
    """Generation, size and metageneration are strings there."""
    event = read_object_event(
        "google.cloud.storage.object.v1.finalized", recorded("eventarc_finalized.json")
    )
    assert event is not None
    assert (event.object.generation, event.object.size) == (1793525412123456, 12)


def test_events_that_concern_nobody_are_passed_over() -> None:
    """An unknown kind of notification is no fault."""
    message = Message(b"", {"eventType": "OBJECT_NEWS", "bucketId": "b", "objectId": "o"}, "1", "")
    assert read_notification(message) is None


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"eventType": "OBJECT_FINALIZE"},
        {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "o"},
        {"eventType": "OBJECT_FINALIZE", "bucketId": "b", "objectId": "o", "objectGeneration": "x"},
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b",
            "objectId": "o",
            "objectGeneration": "-1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b",
            "objectId": "o" * 1025,
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b",
            "objectId": "..",
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b",
            "objectId": "o\0",
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b" * 223,
            "objectId": "o",
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "b\0",
            "objectId": "o",
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "\ud800",
            "objectId": "o",
            "objectGeneration": "1",
        },
        {
            "eventType": "OBJECT_DELETE",
            "bucketId": "b",
            "objectId": "o",
            "objectGeneration": "1",
            "overwrittenByGeneration": "x",
        },
    ],
)
def test_notification_that_lacks_something_is_malformed(attributes: dict[str, str]) -> None:
    """Another try cannot help, so it must not be taken for a passing fault."""
    with pytest.raises(Malformed):
        read_notification(Message(b"", attributes, "1", ""))


def test_notification_whose_fields_are_at_their_bounds() -> None:
    """The longest name is one, and what no work needs may be missing or nonsense."""
    attributes = {
        **{"eventType": "OBJECT_FINALIZE", "bucketId": "b" * 222, "objectGeneration": "1"},
        "objectId": "é" * 512,
    }
    attributes["objectGeneration"] = str(2**63 - 1)
    body: dict[str, Any] = {"updated": "yesterday", "md5Hash": "m" * 25, "metadata": {}}
    body["metadata"] = {"kéy": "x" * (8192 - 4)}
    event = read_notification(Message(json.dumps(body).encode(), attributes, "1", ""))
    assert event is not None
    assert (event.object.metadata, event.object.md5) == (body["metadata"], "m" * 24)
    assert (event.object.name, event.object.size, event.object.updated) == ("é" * 512, 0, None)
    assert event.object.generation == 2**63 - 1
    body["metadata"]["kéy"] += "x"
    event = read_notification(Message(json.dumps(body).encode(), attributes, "1", ""))
    assert event is not None
    # Cut short, it could lose who may read; readers of this name do not exist.
    assert event.object.metadata == {"readers": "(metadata too large)"}
    attributes["objectGeneration"] = str(2**63)
    with pytest.raises(Malformed, match="generation is out of range"):
        read_notification(Message(b"", attributes, "1", ""))


@pytest.mark.parametrize("wrong", [{"bucket": 5}, {"name": ["a"]}, {"bucket": None}, {"name": ""}])
def test_object_without_a_name_is_malformed(wrong: dict[str, Any]) -> None:
    """What stands for the bucket or the name must be a text."""
    body = {"bucket": "b", "name": "o", "generation": "1"} | wrong
    with pytest.raises(Malformed, match="no bucket or no object"):
        read_object_event("google.cloud.storage.object.v1.finalized", body)


@pytest.mark.parametrize(
    ("fields", "id"), [({"messageId": "7"}, "7"), ({"message_id": "8"}, "8"), ({}, "")]
)
def test_message_id_in_either_spelling(fields: dict[str, str], id: str) -> None:
    """Pub/Sub sends both; dead letters are kept once by it."""
    message = read_message({"message": {"data": "", **fields}, "subscription": "jobs"})
    assert (message.message_id, message.subscription) == (id, "jobs")


@pytest.mark.parametrize(
    "data",
    [None, [], "text", {}, {"message": 1}, {"message": {"data": "%%%"}}, {"message": {"data": 7}}],
)
def test_push_that_is_no_message_is_malformed(data: object) -> None:
    """Whatever is posted to the function ends as a clear refusal."""
    with pytest.raises(Malformed):
        read_message(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_no_event_raises_anything_but_malformed(body: object, attributes: dict[str, str]) -> None:
    """The entry point decides on Malformed alone."""
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    data = {"message": {"data": encoded, "attributes": {"eventType": "OBJECT_DELETE"} | attributes}}
    for event_type in (MESSAGE_PUBLISHED, "google.cloud.storage.object.v1.finalized"):
        with suppress(Malformed):
            read_object_event(event_type, data if event_type == MESSAGE_PUBLISHED else body)


@pytest.mark.parametrize("overwritten_by", [None, 8])
def test_notification_survives_the_way_there_and_back(overwritten_by: int | None) -> None:
    """What the reconciler publishes is read like Storage's own."""
    event = ObjectEvent(
        kind="finalized" if overwritten_by is None else "deleted",
        overwritten_by=overwritten_by,
        object=ObjectVersion(
            bucket="documents",
            name="a/b ç.txt",
            generation=7,
            metageneration=2,
            size=3,
            content_type="text/plain",
            metadata={"collection": "x"},
            updated=datetime(2026, 1, 2, tzinfo=UTC),
            md5="1B2M2Y8AsgTpgAmY7PhCfg==",
        ),
    )
    data, attributes = write_notification(event)
    assert read_notification(Message(data, attributes, "1", "")) == event


def test_version_of_document_events_is_the_one_described() -> None:
    """Consumers read it before anything else."""
    schema = json.loads((ROOT / "docs" / "document-event.schema.json").read_text("utf-8"))
    assert schema["properties"]["version"]["const"] == DOCUMENT_EVENT_VERSION


@pytest.mark.parametrize(
    "job",
    [EmbedJob(build_id=5, batch_number=3), FillJob(model_id=2, build_id=5, first=0, last=63)],
)
def test_job_survives_the_way_there_and_back(job: EmbedJob | FillJob) -> None:
    """A job is a few numbers and a version."""
    assert read_job(Message(write_job(job), {}, "1", "")) == job


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"no json",
        b'{"version": 2, "build_id": 1, "batch_number": 0}',
        b'{"version": 1, "build_id": true, "batch_number": 0}',
        b'{"version": 1, "build_id": 1}',
        b'{"version": 1, "kind": "fill", "build_id": 1, "batch_number": 0}',
    ],
)
def test_job_of_another_form_is_malformed(data: bytes) -> None:
    """A later release's job is left to the sweeper, which publishes its batch again."""
    with pytest.raises(Malformed):
        read_job(Message(data, {}, "1", ""))


@pytest.mark.parametrize(
    ("name", "metadata", "collection"),
    [
        ("a.txt", {}, "default"),
        ("legal/2024/a.txt", {}, "legal"),
        ("legal/a.txt", {"collection": "public"}, "public"),
        ("/a.txt", {}, "default"),
    ],
)
def test_collection_is_the_metadata_or_the_first_folder(
    name: str, metadata: dict[str, str], collection: str
) -> None:
    """A document belongs to one collection, decided by its uploader."""
    version = ObjectVersion(bucket="b", name=name, generation=1, metadata=metadata)
    assert version.collection == collection


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "a/Thumbs.db", "~$plan.docx", "a/._b.pdf", ".~lock.b.odt#", "c_$folder$", "d/"],
)
def test_object_when_junk(name: str) -> None:
    """What programs leave in folders is no document, on the event path as in the uploader."""
    assert ObjectVersion(bucket="b", name=name, generation=1).is_placeholder


@pytest.mark.parametrize("name", ["store.txt", "thumbs.txt", "desktop.ini.md", "a_folder$", ".env"])
def test_object_when_meant(name: str) -> None:
    """A name that only looks a little like junk is a document's."""
    assert not ObjectVersion(bucket="b", name=name, generation=1).is_placeholder


def test_collection_when_written_on_a_mac() -> None:
    """A folder's name in either composition is the same collection."""
    version = ObjectVersion(bucket="b", name="Bu\u0308ro/a.txt", generation=1)
    assert version.collection == "B\u00fcro"
