"""
The events of the path, read and written: storage notifications, chunk jobs, document events.

Sources: https://cloud.google.com/storage/docs/pubsub-notifications (attributes and body),
https://cloud.google.com/eventarc/docs/cloudevents (storage CloudEvents). Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from shared.errors import Malformed
from shared.runtime.tracing import OBJECT_METADATA
from shared.values import DocumentEvent, EmbedJob, FillJob, ObjectEvent, ObjectVersion, storable

MESSAGE_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
JOB_VERSION = 1
# See docs/document-event.schema.json; raised when a field changes its meaning or is removed.
DOCUMENT_EVENT_VERSION = 1
# https://docs.cloud.google.com/storage/docs/buckets#naming
_MAX_BUCKET_CHARACTERS = 222
# Of keys and values: https://docs.cloud.google.com/storage/quotas#objects
_MAX_METADATA_BYTES = 8 * 1024
# An MD5 as base64 has 24.
_MAX_MD5_CHARACTERS = 24

_Kind = Literal["finalized", "deleted", "metadata_updated"]

# An archived generation is no longer the live one: for us it is gone.
_KINDS: dict[str, _Kind] = {
    "OBJECT_FINALIZE": "finalized",
    "OBJECT_DELETE": "deleted",
    "OBJECT_ARCHIVE": "deleted",
    "OBJECT_METADATA_UPDATE": "metadata_updated",
    "google.cloud.storage.object.v1.finalized": "finalized",
    "google.cloud.storage.object.v1.deleted": "deleted",
    "google.cloud.storage.object.v1.archived": "deleted",
    "google.cloud.storage.object.v1.metadataUpdated": "metadata_updated",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A Pub/Sub message as a push delivers it."""

    data: bytes
    attributes: dict[str, str]
    message_id: str
    subscription: str


def read_message(data: object) -> Message:
    """
    Return the Pub/Sub message in the *data* of a messagePublished CloudEvent.

    Raises:
        Malformed: *data* is not such a message.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("message"), Mapping):
        raise Malformed("the event carries no Pub/Sub message")
    message = data["message"]
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise Malformed("the message's attributes are not an object")
    encoded = message.get("data") or ""
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Malformed("the message's data is not base64") from error
    return Message(
        data=body,
        attributes={str(key): str(value) for key, value in attributes.items()},
        message_id=str(message.get("messageId") or message.get("message_id") or ""),
        subscription=str(data.get("subscription") or ""),
    )


def read_object_event(event_type: str, data: object) -> ObjectEvent | None:
    """
    Return what a CloudEvent of either shape says about an object, None for a kind not handled.

    Args:
        event_type: messagePublished (our own push subscription) or a storage event (Eventarc).

    Raises:
        Malformed: Neither shape, or a field that the work needs is missing or wrong.
    """
    if event_type == MESSAGE_PUBLISHED:
        return read_notification(read_message(data))
    kind = _KINDS.get(event_type)
    if kind is None:
        raise Malformed(f"unknown event type {event_type[:100]!r}")
    if not isinstance(data, Mapping):
        raise Malformed("the event carries no object resource")
    return ObjectEvent(kind=kind, object=_read_resource(data, {}))


def read_notification(message: Message) -> ObjectEvent | None:
    """
    Return what a storage notification says, None for a kind of event that is not handled.

    The attributes win over the body, and an event without a body (payload format NONE) is enough.

    Raises:
        Malformed: It is not a storage notification.
    """
    event_type = message.attributes.get("eventType", "")
    if not event_type:
        raise Malformed("the message has no attribute eventType")
    kind = _KINDS.get(event_type)
    if kind is None:
        return None
    successor = message.attributes.get("overwrittenByGeneration")
    return ObjectEvent(
        kind=kind,
        object=_read_resource(_read_json(message.data), message.attributes),
        overwritten_by=_read_int(successor, "overwrittenByGeneration") if successor else None,
    )


def _read_json(data: bytes) -> Mapping[str, Any]:
    if not data.strip():
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed("the message's data is not JSON") from error
    if not isinstance(body, Mapping):
        raise Malformed("the message's data is not a JSON object")
    return body


def _read_resource(body: Mapping[str, Any], attributes: Mapping[str, str]) -> ObjectVersion:
    bucket = attributes.get("bucketId") or body.get("bucket")
    name = attributes.get("objectId") or body.get("name")
    if not isinstance(bucket, str) or not isinstance(name, str) or not bucket or not name:
        raise Malformed("the event names no bucket or no object")
    if name in (".", "..") or "\0" in name or len(name.encode("utf-8", "surrogatepass")) > 1024:
        # https://cloud.google.com/storage/docs/objects#naming
        raise Malformed("the event's object name cannot be one")
    if "\0" in bucket or len(bucket) > _MAX_BUCKET_CHARACTERS:
        raise Malformed("the event's bucket name cannot be one")
    try:
        (bucket + name).encode()
    except UnicodeEncodeError as error:
        raise Malformed("the event's object name is not Unicode text") from error
    return ObjectVersion(
        bucket=bucket,
        name=name,
        generation=_read_int(
            attributes.get("objectGeneration") or body.get("generation"), "generation"
        ),
        metageneration=_read_int(body.get("metageneration") or 0, "metageneration"),
        size=_read_int(body.get("size") or 0, "size"),
        content_type=_clean(body.get("contentType")),
        metadata=_read_metadata(body.get("metadata")),
        updated=_read_time(body.get("updated")),
        md5=_clean(body.get("md5Hash"))[:_MAX_MD5_CHARACTERS],
    )


def _read_metadata(metadata: object) -> dict[str, str]:
    """
    Return custom metadata, {"readers": ...} of no caller where it is more than an object can have.

    What is indexed has the bucket's own; this decides who sees that a document failed.
    """
    if not isinstance(metadata, Mapping):
        return {}
    found = {
        _clean(key): _clean(value) for key, value in metadata.items() if key != OBJECT_METADATA
    }
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > (
        _MAX_METADATA_BYTES
    ):
        return {"readers": "(metadata too large)"}
    return found


def _clean(value: object) -> str:
    return "" if value is None else storable(str(value))


def _read_int(value: object, name: str) -> int:
    """Return *value*, which is a string in Eventarc's form and a number in others."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise Malformed(f"the event's {name} is missing or not a number")
    try:
        number = int(value)
    except ValueError as error:
        raise Malformed(f"the event's {name} is not a number") from error
    if not 0 <= number < 2**63:
        raise Malformed(f"the event's {name} is out of range")
    return number


def _read_time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else None


def read_job(message: Message) -> EmbedJob | FillJob:
    """
    Return the job in a chunk-jobs message.

    Raises:
        Malformed: No job, or one of a later version (an older release is still running: the
            sweeper publishes its batch again).
    """
    body = _read_json(message.data)
    if body.get("version") != JOB_VERSION:
        raise Malformed(f"the job's version is not {JOB_VERSION}")
    if body.get("kind") == "fill":
        return FillJob(
            model_id=_read_int(body.get("model_id"), "model_id"),
            build_id=_read_int(body.get("build_id"), "build_id"),
            first=_read_int(body.get("first"), "first"),
            last=_read_int(body.get("last"), "last"),
        )
    return EmbedJob(
        build_id=_read_int(body.get("build_id"), "build_id"),
        batch_number=_read_int(body.get("batch_number"), "batch_number"),
    )


def write_job(job: EmbedJob | FillJob) -> bytes:
    """Return the message data of *job*."""
    kind = {"kind": "fill"} if isinstance(job, FillJob) else {}
    return json.dumps({"version": JOB_VERSION, **kind, **asdict(job)}).encode()


def write_notification(event: ObjectEvent) -> tuple[bytes, dict[str, str]]:
    """Return data and attributes of a notification that says *event*, as Storage would send it."""
    version = event.object
    event_type = {
        "finalized": "OBJECT_FINALIZE",
        "deleted": "OBJECT_DELETE",
        "metadata_updated": "OBJECT_METADATA_UPDATE",
    }[event.kind]
    body: dict[str, Any] = {
        "kind": "storage#object",
        "bucket": version.bucket,
        "name": version.name,
        "generation": str(version.generation),
        "metageneration": str(version.metageneration),
        "size": str(version.size),
        "contentType": version.content_type,
        "metadata": version.metadata,
    }
    if version.md5:
        body["md5Hash"] = version.md5
    if version.updated:
        body["updated"] = version.updated.isoformat()
    attributes = {
        "eventType": event_type,
        "payloadFormat": "JSON_API_V1",
        "bucketId": version.bucket,
        "objectId": version.name,
        "objectGeneration": str(version.generation),
    }
    if event.overwritten_by is not None:
        attributes["overwrittenByGeneration"] = str(event.overwritten_by)
    return json.dumps(body).encode(), attributes


def write_document_event(event: DocumentEvent) -> tuple[bytes, dict[str, str]]:
    """Return data and attributes of the message that says *event*."""
    body = {
        "version": DOCUMENT_EVENT_VERSION,
        "event_id": str(event.id),
        "sequence": event.sequence,
        "time": event.time.isoformat(),
        "state": event.state,
        "document_id": str(event.document_id),
        "name": event.name,
        "uri": f"gs://{event.bucket}/{event.name}",
        "collection": event.collection,
        "generation": event.generation,
        "answering_generation": event.answering_generation,
        "content_type": event.content_type,
        "size": event.size,
        "chunks": event.chunks,
        "pages": event.pages,
        "pages_without_text": event.pages_without_text,
        "reason": {"code": event.reason_code, "message": event.reason}
        if event.reason_code
        else None,
    }
    # Subscriptions filter by these, and consumers need them before they read the body.
    attributes = ("version", "event_id", "sequence", "state", "document_id", "collection")
    return (
        json.dumps(body, ensure_ascii=False).encode(),
        {name: str(body[name]) for name in attributes},
    )
