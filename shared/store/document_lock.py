"""
The lock on a document, and what is read under it.

Every rule of the protocol locks the document's row first and reads in the next statement, so that
it sees what the previous holder of the lock has committed. Order of locks: document before build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.errors import DatabaseUnavailable
from shared.store.connection import Connection
from shared.values import ObjectVersion


@dataclass(frozen=True, slots=True)
class Document:
    id: UUID
    seen_generation: int
    dead_generation: int
    epoch: int
    active_build: int | None
    active_generation: int | None


@dataclass(frozen=True, slots=True)
class Build:
    id: int
    document_id: UUID
    generation: int
    epoch: int
    state: str
    attempts: int
    leased: bool
    last_error: str | None
    collection: str


def lock_or_insert_document(connection: Connection, version: ObjectVersion) -> Document:
    connection.execute(
        """
        INSERT INTO documents (bucket, name, collection, content_type, size, metadata,
                               object_updated)
        VALUES (%(bucket)s, %(name)s, %(collection)s, %(content_type)s, %(size)s, %(metadata)s,
                %(object_updated)s)
        ON CONFLICT (bucket, name) DO NOTHING
        """,
        {"bucket": version.bucket, "name": version.name, **version_columns(version)},
    )
    document = lock_document(connection, bucket=version.bucket, name=version.name)
    if document is None:
        raise DatabaseUnavailable("the sweeper forgot this document at the same moment")
    return document


@dataclass(frozen=True, slots=True)
class KnownGenerations:
    """The highest generations of a document that are recorded as seen and as gone."""

    seen: int
    dead: int


def read_generations(connection: Connection, version: ObjectVersion) -> KnownGenerations:
    """Return what is recorded about the generations of an object, without a lock."""
    with connection.cursor(row_factory=class_row(KnownGenerations)) as cursor:
        known = cursor.execute(
            """
            SELECT seen_generation AS seen, dead_generation AS dead
            FROM documents
            WHERE bucket = %(bucket)s AND name = %(name)s
            """,
            {"bucket": version.bucket, "name": version.name},
        ).fetchone()
    return known or KnownGenerations(seen=0, dead=0)


def lock_document(
    connection: Connection,
    *,
    id: UUID | None = None,
    bucket: str | None = None,
    name: str | None = None,
) -> Document | None:
    """Lock a document, by id or by name, and read it in the next statement."""
    locked = connection.execute(
        """
        SELECT id FROM documents
        WHERE id = %(id)s OR (bucket = %(bucket)s AND name = %(name)s)
        FOR UPDATE
        """,
        {"id": id, "bucket": bucket, "name": name},
    ).fetchone()
    if locked is None:
        return None
    with connection.cursor(row_factory=class_row(Document)) as cursor:
        return cursor.execute(
            """
            SELECT id, seen_generation, dead_generation, epoch, active_build, active_generation
            FROM documents
            WHERE id = %(id)s
            """,
            {"id": locked[0]},
        ).fetchone()


def lock_build(connection: Connection, build_id: int) -> tuple[Document | None, Build | None]:
    """Lock the document of a build, then read both; the build is None if it is gone."""
    row = connection.execute(
        "SELECT document_id FROM builds WHERE id = %(id)s", {"id": build_id}
    ).fetchone()
    if row is None:
        return None, None
    document = lock_document(connection, id=row[0])
    with connection.cursor(row_factory=class_row(Build)) as cursor:
        build = cursor.execute(
            f"SELECT {_BUILD_COLUMNS} FROM builds WHERE id = %(id)s",  # noqa: S608 - constant
            {"id": build_id},
        ).fetchone()
    return document, build


_BUILD_COLUMNS = """
    id, document_id, generation, epoch, state, attempts, last_error, collection,
    coalesce(lease_until > clock_timestamp(), false) AS leased
"""


def read_build(
    connection: Connection, document_id: UUID, *, generation: int, epoch: int
) -> Build | None:
    with connection.cursor(row_factory=class_row(Build)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_BUILD_COLUMNS} FROM builds
            WHERE document_id = %(document_id)s AND generation = %(generation)s
                AND epoch = %(epoch)s
            """,  # noqa: S608 - constant
            {"document_id": document_id, "generation": generation, "epoch": epoch},
        ).fetchone()


def read_version(connection: Connection, build_id: int) -> ObjectVersion:
    with connection.cursor(row_factory=class_row(ObjectVersion)) as cursor:
        version = cursor.execute(
            """
            SELECT documents.bucket, documents.name, builds.generation, builds.metageneration,
                   builds.size, builds.content_type, builds.metadata,
                   builds.object_updated AS updated, split_part(builds.fingerprint, ' ', 1) AS md5
            FROM builds
            JOIN documents ON documents.id = builds.document_id
            WHERE builds.id = %(id)s
            """,
            {"id": build_id},
        ).fetchone()
    assert version is not None, "read in the transaction that holds the row"  # noqa: S101
    return version


def version_columns(version: ObjectVersion) -> dict[str, Any]:
    return {
        "generation": version.generation,
        "metageneration": version.metageneration,
        "collection": version.collection,
        "content_type": version.content_type,
        "size": version.size,
        "metadata": Jsonb(version.metadata),
        "object_updated": version.updated,
        "fingerprint": f"{version.md5} {version.content_type}" if version.md5 else "",
    }


def is_obsolete(document: Document, generation: int) -> bool:
    return generation <= document.dead_generation or generation < document.seen_generation


def touch(connection: Connection, document_id: UUID) -> None:
    connection.execute(
        "UPDATE documents SET updated = clock_timestamp() WHERE id = %(id)s", {"id": document_id}
    )
