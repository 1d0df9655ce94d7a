"""
The outbox: what happened to documents, from the flip until Pub/Sub has it.

A row is written in the transaction of the flip, so none is lost and none is made up; a publisher
claims it by a lease and deletes it afterwards. One that dies in between leaves it to the next, who
publishes it again under the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.rows import class_row

from shared.store.connection import Connection
from shared.values import DocumentEvent

# As long as Pub/Sub keeps a message by default: an older event is of no use.
# https://cloud.google.com/pubsub/docs/subscription-properties#message_retention_duration
_KEPT_DAYS = 7
# Longer than a publisher waits for Pub/Sub.
_LEASE_SECONDS = 60


def write_ended(connection: Connection, build_id: int) -> None:
    """Write that the document of a build, which is ready or failed by now, is that."""
    connection.execute(
        """
        INSERT INTO document_events (state, document_id, bucket, name, collection, generation,
                                     answering_generation, content_type, size, chunks, pages,
                                     pages_without_text, reason_code, reason)
        SELECT builds.state, documents.id, documents.bucket, documents.name, builds.collection,
               builds.generation, documents.active_generation, builds.content_type, builds.size,
               coalesce(builds.chunk_count, 0), builds.pages,
               cardinality(builds.pages_without_text), builds.reason_code, builds.reason
        FROM builds
        JOIN documents ON documents.id = builds.document_id
        WHERE builds.id = %(build_id)s
        """,
        {"build_id": build_id},
    )


def write_gone(connection: Connection, document_id: UUID) -> None:
    """Write that a document is gone from the bucket."""
    connection.execute(
        """
        INSERT INTO document_events (state, document_id, bucket, name, collection, generation,
                                     content_type, size, chunks, pages_without_text)
        SELECT 'gone', id, bucket, name, coalesce(latest_collection, collection), dead_generation,
               content_type, size, 0, 0
        FROM documents
        WHERE id = %(document_id)s
        """,
        {"document_id": document_id},
    )


def claim_events(connection: Connection, *, limit: int) -> list[DocumentEvent]:
    """Return the oldest events that no other publisher holds, and hold them for a minute."""
    with connection.cursor(row_factory=class_row(DocumentEvent)) as cursor:
        events = cursor.execute(
            """
            UPDATE document_events
            SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
            WHERE id IN (
                SELECT id FROM document_events
                WHERE lease_until IS NULL OR lease_until <= clock_timestamp()
                ORDER BY sequence
                LIMIT %(limit)s
                FOR UPDATE SKIP LOCKED
            )
            RETURNING id, sequence, occurred AS time, state, document_id, bucket, name, collection,
                      generation, answering_generation, content_type, size, chunks, pages,
                      pages_without_text, reason_code, reason
            """,
            {"lease_seconds": _LEASE_SECONDS, "limit": limit},
        ).fetchall()
    return sorted(events, key=lambda event: event.sequence)


def delete_events(connection: Connection, events: Sequence[DocumentEvent]) -> None:
    """Delete events that were published."""
    connection.execute(
        "DELETE FROM document_events WHERE id = ANY (%(ids)s)",
        {"ids": [event.id for event in events]},
    )


def drop_old_events(connection: Connection) -> int:
    """Delete the events that could not be published for a week, and return how many there were."""
    return connection.execute(
        """
        DELETE FROM document_events
        WHERE occurred < clock_timestamp() - make_interval(days => %(days)s)
        """,
        {"days": _KEPT_DAYS},
    ).rowcount
