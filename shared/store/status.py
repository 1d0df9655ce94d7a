"""What readers and operators see of a document: state, reason, text; and counts of all."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from shared.boxes import Mark, find_marks
from shared.store.connection import Connection, fetch_one
from shared.values import DocumentState, DocumentStatus

STATUS_COLUMNS = """
    id, bucket, name, collection, title, language, generation, answering_generation, state,
    reason_code, reason, pages, pages_without_text, chunks, chunks_embedded, attempts, size,
    content_type, metadata, updated, notices, figures
"""
# No quote is longer.
_MARKED_CHUNKS = 50
_HEADED_CHUNKS = 40


@dataclass(frozen=True, slots=True)
class KnownObject:
    """What the database believes about one object of the bucket."""

    name: str
    generation: int
    state: DocumentState


def get_document(connection: Connection, document_id: UUID) -> DocumentStatus | None:
    """Return one document, None if there never was one with this id."""
    with connection.cursor(row_factory=class_row(DocumentStatus)) as rows:
        return rows.execute(
            f"SELECT {STATUS_COLUMNS} FROM document_status WHERE id = %(id)s",  # noqa: S608
            {"id": document_id},
        ).fetchone()


def read_text(
    connection: Connection,
    *,
    document_id: UUID,
    generation: int | None = None,
    char_start: int,
    char_end: int,
) -> str | None:
    """
    Return the characters [char_start:char_end) of the text that answers.

    Args:
        generation: The generation the offsets speak of; None for the one that answers now.

    Returns:
        None if the document does not answer, or not from this generation any more. Shorter
        than asked for where the text ends.
    """
    rows = connection.execute(
        """
        SELECT char_start, text
        FROM live_texts
        WHERE document_id = %(document_id)s
            AND (%(generation)s::bigint IS NULL OR generation = %(generation)s)
            AND (
                segment = 0
                OR char_start < %(char_end)s
                AND char_start >= (
                    SELECT max(char_start)
                    FROM live_texts
                    WHERE document_id = %(document_id)s AND char_start <= %(char_start)s
                )
            )
        ORDER BY segment
        """,
        {
            "document_id": document_id,
            "generation": generation,
            "char_start": char_start,
            "char_end": char_end,
        },
    ).fetchall()
    if not rows:
        return None
    return "".join(
        text[max(0, char_start - start) : max(0, char_end - start)] for start, text in rows
    )


def read_marks(
    connection: Connection, *, document_id: UUID, generation: int, char_start: int, char_end: int
) -> list[Mark]:
    """
    Return where on its pages the characters [char_start:char_end) of a text that answers stand.

    Returns:
        A rectangle a line, in the order of the text; none if it is not known, or if another
        generation answers by now.
    """
    rows = connection.execute(
        """
        SELECT char_start, boxes
        FROM live_boxes
        WHERE document_id = %(document_id)s
            AND char_start < %(char_end)s
            AND char_end > %(char_start)s
            AND EXISTS (
                SELECT FROM live_texts
                WHERE document_id = %(document_id)s AND generation = %(generation)s
            )
        ORDER BY ordinal
        LIMIT %(limit)s
        """,
        {
            "document_id": document_id,
            "generation": generation,
            "char_start": char_start,
            "char_end": char_end,
            "limit": _MARKED_CHUNKS,
        },
    ).fetchall()
    return [
        mark
        for start, boxes in rows
        for mark in find_marks(boxes, start=char_start - start, end=char_end - start)
    ]


def read_link_secret(connection: Connection) -> bytes:
    """Return what links to originals are signed with."""
    secret: bytes = fetch_one(connection, "SELECT secret FROM link_secret")[0]
    return secret


def list_headings(connection: Connection, *, documents: int) -> list[tuple[UUID, str]]:
    """Return the first headings of the documents that changed last, in reading order."""
    rows: list[tuple[UUID, str]] = connection.execute(
        """
        SELECT recent.id, chunks.heading
        FROM (
            SELECT id, active_build
            FROM documents
            WHERE active_build IS NOT NULL
            ORDER BY updated DESC
            LIMIT %(documents)s
        ) AS recent
        JOIN chunks ON chunks.build_id = recent.active_build
        WHERE chunks.ordinal < %(chunks)s
            AND chunks.heading <> ''
        ORDER BY recent.id, chunks.ordinal
        """,
        {"documents": documents, "chunks": _HEADED_CHUNKS},
    ).fetchall()
    return rows


def count_documents(connection: Connection) -> dict[DocumentState, int]:
    """
    Return how many documents are in each state; a state without any is left out.

    With many documents the counts are those of the last sweep (migration 0010).
    """
    counts: dict[DocumentState, int] = fetch_one(connection, "SELECT documents FROM backlog()")[0]
    return counts


def read_known_objects(
    connection: Connection, *, bucket: str, start: str, limit: int
) -> list[KnownObject]:
    """
    Return what is known of a bucket's objects, by the bytes of their names, as Storage lists them.

    Args:
        start: The first name that may be among them.
    """
    with connection.cursor(row_factory=class_row(KnownObject)) as cursor:
        return cursor.execute(
            """
            SELECT name, generation, state
            FROM document_status
            WHERE bucket = %(bucket)s AND name COLLATE "C" >= %(start)s
            ORDER BY name COLLATE "C"
            LIMIT %(limit)s
            """,
            {"bucket": bucket, "start": start, "limit": limit},
        ).fetchall()


def read_position(connection: Connection, *, bucket: str) -> str:
    """Return the name from which the comparison of *bucket* goes on, "" for the first one."""
    row = connection.execute(
        "SELECT position FROM reconciliations WHERE bucket = %(bucket)s", {"bucket": bucket}
    ).fetchone()
    return str(row[0]) if row is not None else ""


def note_position(connection: Connection, position: str, *, bucket: str) -> None:
    """Record that all names before *position* are compared; "" if the comparison has ended."""
    connection.execute(
        """
        INSERT INTO reconciliations (bucket, position)
        VALUES (%(bucket)s, %(position)s)
        ON CONFLICT (bucket) DO UPDATE
        SET position = excluded.position, updated = clock_timestamp()
        """,
        {"bucket": bucket, "position": position},
    )


def find_documents(
    connection: Connection,
    *,
    name: str | None = None,
    collection: str | None = None,
    state: DocumentState | None = None,
    reason: str | None = None,
) -> list[UUID]:
    """
    Return the ids of the documents that fit everything that is given, deleted ones never.

    Args:
        reason: A reason code.
    """
    rows = connection.execute(
        """
        SELECT status.id
        FROM document_status AS status
        WHERE status.state <> 'deleted'
            AND (%(name)s::text IS NULL OR status.name = %(name)s)
            AND (%(collection)s::text IS NULL OR status.collection = %(collection)s)
            AND (%(state)s::text IS NULL OR status.state = %(state)s)
            AND (%(reason)s::text IS NULL OR status.reason_code = %(reason)s)
        ORDER BY status.name
        """,
        {
            "name": name,
            "collection": collection,
            "state": state,
            "reason": reason,
        },
    )
    return [row[0] for row in rows.fetchall()]
