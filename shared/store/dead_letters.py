"""Messages that Pub/Sub gave up on, and the documents they mark failed (rule 6)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.store.connection import Connection
from shared.store.document_lock import is_obsolete, lock_build, lock_or_insert_document
from shared.store.documents import (
    drop_if_overtaken,
    record_exhaustion,
    record_seen,
)
from shared.values import EmbedJob, ObjectVersion, storable

# What Pub/Sub allows: https://docs.cloud.google.com/pubsub/quotas#resource_limits
_MAX_ATTRIBUTES = 100
_MAX_KEY_CHARACTERS = 256
_MAX_VALUE_CHARACTERS = 1024
# An index holds it.
_MAX_ID_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that Pub/Sub gave up on."""

    id: int
    message_id: str
    data: bytes
    attributes: dict[str, str]


def record_dead_letter(
    connection: Connection,
    *,
    message_id: str,
    subscription: str,
    data: bytes,
    attributes: dict[str, str],
) -> None:
    """Keep a message that Pub/Sub gave up on, once; what cannot be stored of it is left out."""
    connection.execute(
        """
        INSERT INTO dead_letters (message_id, subscription, data, attributes)
        VALUES (%(message_id)s, %(subscription)s, %(data)s, %(attributes)s)
        ON CONFLICT (message_id) DO NOTHING
        """,
        {
            "message_id": storable(message_id)[:_MAX_ID_CHARACTERS],
            "subscription": storable(subscription)[:_MAX_VALUE_CHARACTERS],
            "data": data,
            "attributes": Jsonb(
                {
                    storable(key)[:_MAX_KEY_CHARACTERS]: storable(value)[:_MAX_VALUE_CHARACTERS]
                    for key, value in islice(attributes.items(), _MAX_ATTRIBUTES)
                }
            ),
        },
    )


def list_dead_letters(connection: Connection) -> list[DeadLetter]:
    """Return the dead letters that have not been replayed, oldest first."""
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(
            """
            SELECT id, message_id, data, attributes
            FROM dead_letters
            WHERE replayed IS NULL
            ORDER BY id
            """
        ).fetchall()


def mark_replayed(connection: Connection, dead_letter_id: int) -> None:
    """Note that a dead letter has been published again."""
    connection.execute(
        "UPDATE dead_letters SET replayed = clock_timestamp() WHERE id = %(id)s",
        {"id": dead_letter_id},
    )


def record_dead_object(
    connection: Connection, version: ObjectVersion, *, announce: bool = False
) -> None:
    """
    Mark a generation failed whose event Pub/Sub gave up on, unless it is done or in work.

    A document that is there keeps answering where the generation is new to it: only the bucket can
    tell whether it exists, and the reconciler looks there.
    """
    with connection.transaction():
        document = lock_or_insert_document(connection, version)
        if is_obsolete(document, version.generation):
            return
        if document.dead_generation < document.seen_generation < version.generation:
            return
        build = record_seen(connection, document, version, config_hash="")
        if build.state in ("queued", "parsing") and not build.leased:
            record_exhaustion(
                connection, document, build, build.attempts, build.last_error, announce=announce
            )


def record_dead_job(connection: Connection, job: EmbedJob, *, announce: bool = False) -> None:
    """Mark a document failed one of whose batches Pub/Sub has given up on, unless it is in work."""
    with connection.transaction():
        owner, build = lock_build(connection, job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return
        if drop_if_overtaken(connection, owner, build):
            return
        batch = connection.execute(
            """
            SELECT attempts, last_error
            FROM batches
            WHERE build_id = %(build_id)s AND number = %(number)s AND NOT done
                AND (lease_until IS NULL OR lease_until <= clock_timestamp())
            """,
            {"build_id": job.build_id, "number": job.batch_number},
        ).fetchone()
        if batch is not None:
            record_exhaustion(connection, owner, build, *batch, announce=announce)
