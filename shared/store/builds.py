"""
Builds: one attempt to index one generation, from its finalize event to its staged chunks.

Rule 1 (what a finalize event leaves to do), rule 2 (the lease under which it is parsed) and rule 3
(chunks and batches are staged in one transaction) are kept here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.store.batches import queue_missing, unpublished_jobs
from shared.store.chunks import insert_chunks, insert_text
from shared.store.connection import Connection
from shared.store.document_lock import (
    Build,
    Document,
    is_obsolete,
    lock_build,
    lock_or_insert_document,
    touch,
)
from shared.store.documents import (
    describe_document,
    drop_if_overtaken,
    flip,
    record_exhaustion,
    record_failure,
    record_seen,
)
from shared.store.outbox import write_ended
from shared.store.tables import insert_tables
from shared.tables import Row, Table
from shared.values import Chunk, EmbedJob, ObjectVersion


@dataclass(frozen=True, slots=True)
class BuildLease:
    """The right to parse one generation, for as long as the lease lives."""

    build_id: int
    document_id: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class BuildStart:
    """
    The work that a finalize event leaves; nothing if no field is set.

    Attributes:
        lease: The generation is to be parsed, by the holder of this lease.
        jobs: Its chunks are staged but not all embedded: publish these jobs again, which heals a
            crash between commit and publish.
        obsolete: A higher generation was seen, or the generation is known to be gone. Only the
            bucket can tell whether that is true.
    """

    lease: BuildLease | None = None
    obsolete: bool = False
    jobs: list[EmbedJob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StagedDocument:
    """
    What parsing found about the whole document.

    Attributes:
        notices: What was left out of it, for its owner.
        figures: What the descriptions of its pictures took; None if they are left alone.
    """

    title: str
    language: str
    content_type: str
    pages: int | None
    pages_without_text: list[int]
    notices: list[str] = field(default_factory=list)
    figures: dict[str, Any] | None = None


def is_suspect_build(connection: Connection, version: ObjectVersion) -> bool:
    """Return whether the last worker of a generation died while parsing it."""
    return (
        connection.execute(
            """
            SELECT 1
            FROM documents
            JOIN builds ON builds.document_id = documents.id
                AND builds.epoch = documents.epoch
            WHERE documents.bucket = %(bucket)s
                AND documents.name = %(name)s
                AND builds.generation = %(generation)s
                AND builds.state = 'parsing'
                AND builds.last_error IS NULL
                AND builds.lease_until <= clock_timestamp()
            """,
            {"bucket": version.bucket, "name": version.name, "generation": version.generation},
        ).fetchone()
        is not None
    )


def begin_build(
    connection: Connection,
    version: ObjectVersion,
    *,
    config_hash: str,
    lease_seconds: int,
    max_attempts: int,
    announce: bool = False,
) -> BuildStart:
    """
    Record that *version* was finalized, and lease its build if there is work.

    Nothing is left to do where the generation is done, failed, or leased by another.
    """
    with connection.transaction():
        document = lock_or_insert_document(connection, version)
        if is_obsolete(document, version.generation):
            return BuildStart(obsolete=True)
        build = record_seen(connection, document, version, config_hash=config_hash)
        if build.state == "embedding":
            return BuildStart(jobs=unpublished_jobs(connection, build.id))
        if build.state == "queued" and _reuse_unchanged_build(
            connection, document, build, config_hash, announce=announce
        ):
            return BuildStart()
        if build.state in ("ready", "failed") or build.leased:
            return BuildStart()
        if build.attempts >= max_attempts:
            record_exhaustion(
                connection, document, build, build.attempts, build.last_error, announce=announce
            )
            return BuildStart()
        connection.execute(
            """
            UPDATE builds
            SET state = 'parsing',
                attempts = attempts + 1,
                last_error = NULL,
                config_hash = %(config_hash)s,
                lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
            WHERE id = %(id)s
            """,
            {"id": build.id, "config_hash": config_hash, "lease_seconds": lease_seconds},
        )
        return BuildStart(lease=BuildLease(build.id, document.id, build.attempts + 1))


def extend_lease(connection: Connection, lease: BuildLease, *, lease_seconds: int) -> None:
    """Extend *lease* while its holder is at work."""
    connection.execute(
        """
        UPDATE builds
        SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
        WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'parsing'
        """,
        {"id": lease.build_id, "attempts": lease.attempts, "lease_seconds": lease_seconds},
    )


def release_build(connection: Connection, lease: BuildLease, *, error: str) -> None:
    """End *lease* after a try that failed, so that the next delivery may take it at once."""
    connection.execute(
        """
        UPDATE builds
        SET lease_until = clock_timestamp(), last_error = %(error)s
        WHERE id = %(id)s AND attempts = %(attempts)s AND state = 'parsing'
        """,
        {"id": lease.build_id, "attempts": lease.attempts, "error": error[:500]},
    )


def stage_build(
    connection: Connection,
    lease: BuildLease,
    *,
    document: StagedDocument,
    chunks: Iterable[tuple[Chunk, str]],
    text_segments: Iterable[tuple[int, str]],
    tables: Iterable[tuple[Table, Iterable[Row]]] = (),
    search_config: str,
    batch_size: int,
    announce: bool = False,
) -> list[EmbedJob]:
    """
    Store the chunks of a parsed document, and the batches in which they are to be embedded.

    A chunk whose text was embedded before, in any document, gets that embedding and joins no
    batch; a build without batches is ready at once.

    Args:
        chunks: Each chunk with the text that its tsvector is made of.
        text_segments: The extracted text in pieces, each with its first character's offset.
        tables: The tables of the document, the rows of each in order.
        search_config: A Postgres text search configuration.

    Returns:
        The jobs to publish; empty if a newer generation or a delete came first.

    Raises:
        ValueError: There are no chunks; the caller records that as a failure.
    """
    with connection.transaction():
        owner, build = lock_build(connection, lease.build_id)
        if owner is None or build is None or build.state != "parsing":
            return unpublished_jobs(connection, lease.build_id)
        if drop_if_overtaken(connection, owner, build):
            return []
        chunk_count, batch_sizes = insert_chunks(
            connection,
            build.id,
            collection=build.collection,
            chunks=chunks,
            search_config=search_config,
            batch_size=batch_size,
        )
        if not chunk_count:
            raise ValueError("a document without chunks cannot be staged")
        insert_text(connection, build.id, text_segments)
        insert_tables(connection, build.id, tables)
        connection.cursor().executemany(
            """
            INSERT INTO batches (build_id, number, size, published)
            VALUES (%s, %s, %s, '-infinity')
            """,
            [(build.id, number, size) for number, size in enumerate(batch_sizes)],
        )
        connection.execute(
            """
            UPDATE builds
            SET state = 'embedding',
                title = %(title)s,
                language = %(language)s,
                content_type = %(content_type)s,
                pages = %(pages)s,
                pages_without_text = %(pages_without_text)s,
                notices = %(notices)s,
                figures = %(figures)s,
                chunk_count = %(chunk_count)s,
                lease_until = NULL
            WHERE id = %(id)s
            """,
            {
                "id": build.id,
                "title": document.title,
                "language": document.language,
                "content_type": document.content_type,
                "pages": document.pages,
                "pages_without_text": document.pages_without_text,
                "notices": document.notices,
                "figures": None if document.figures is None else Jsonb(document.figures),
                "chunk_count": chunk_count,
            },
        )
        touch(connection, owner.id)
        if not batch_sizes and not queue_missing(connection, build.id):
            flip(connection, owner, build, announce=announce)
        return [EmbedJob(build.id, number) for number in range(len(batch_sizes))]


def fail_build(
    connection: Connection,
    lease: BuildLease,
    *,
    code: str,
    reason: str,
    announce: bool = False,
) -> None:
    """
    Record that the generation cannot be indexed, unless a newer one or another worker came first.

    An older generation stops answering: the bucket no longer holds that text.
    """
    with connection.transaction():
        owner, build = lock_build(connection, lease.build_id)
        if owner is None or build is None or build.attempts != lease.attempts:
            return
        if build.state != "parsing" or drop_if_overtaken(connection, owner, build):
            return
        record_failure(connection, owner, build, code=code, reason=reason, announce=announce)


def _reuse_unchanged_build(
    connection: Connection,
    document: Document,
    queued: Build,
    config_hash: str,
    *,
    announce: bool,
) -> bool:
    """
    Reuse the serving build for a new generation with the same bytes, if possible.

    The queued build, which no worker has had yet, goes; the text answers on without a gap. Not
    where pages had no text or pictures no description: they are the reason why such a document is
    uploaded again.
    """
    version = connection.execute(
        """
        DELETE FROM builds AS queued
        USING builds AS answering
        WHERE queued.id = %(id)s
            AND answering.id = %(active_build)s
            AND answering.state = 'ready'
            AND answering.generation < queued.generation
            AND answering.epoch = queued.epoch
            AND answering.config_hash = %(config_hash)s
            AND answering.pages_without_text = '{}'
            AND answering.notices = '{}'
            AND answering.fingerprint = queued.fingerprint
            AND queued.fingerprint <> ''
            AND queued.attempts = 0
        RETURNING queued.generation, queued.metageneration, queued.collection, queued.size,
                  queued.metadata, queued.object_updated
        """,
        {"id": queued.id, "active_build": document.active_build, "config_hash": config_hash},
    ).fetchone()
    if version is None:
        return False
    connection.execute(
        """
        UPDATE builds
        SET generation = %s, metageneration = %s, collection = %s, size = %s, metadata = %s,
            object_updated = %s, finished = clock_timestamp()
        WHERE id = %s
        """,
        (*version[:4], Jsonb(version[4]), version[5], document.active_build),
    )
    assert document.active_build is not None, "it was found above"  # noqa: S101
    describe_document(connection, document.active_build)
    if announce:
        write_ended(connection, document.active_build)
    return True
