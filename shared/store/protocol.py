"""
The database protocol: how a document's generations become builds, and a build the answer.

At any moment a document answers from exactly one whole build or from none. What makes it so:
the document's row is locked before anything about it is decided and read again in the next
statement; attempts are counted by taking a lease, in a commit of its own before the work; the
last batch and the flip are one transaction. Duplicates, reordering, delay and a crash between any
two statements then change nothing in the end (docs/decisions.md, "Why this protocol?").

Every function is one transaction on an autocommit connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from shared.store.connection import Connection
from shared.store.models import lock_serving_model
from shared.values import Chunk, EmbedJob, ObjectVersion, join_embedded_text

# Rows sent to the server at a time while a build is staged: bounds memory on both sides.
_ROWS_AT_A_TIME = 500
# Of batches that are made again after a switch of models, where there were none before.
_BATCH_SIZE = 64
# A message that waits in a moving queue for longer is published again nevertheless.
_QUEUED_SECONDS = 3600

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildLease:
    """The right to parse one generation, for as long as the lease lives."""

    build_id: int
    document_id: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class BatchLease:
    """The right to embed one batch, and the texts in it by ordinal."""

    job: EmbedJob
    document_id: UUID
    model_id: int
    attempts: int
    ordinals: list[int]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class StagedDocument:
    """What parsing found out about a document as a whole."""

    title: str
    language: str
    content_type: str
    pages: int | None
    pages_without_text: list[int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that nobody holds: to be published again."""

    objects: list[ObjectVersion]
    jobs: list[EmbedJob]


@dataclass(frozen=True, slots=True)
class _Document:
    id: UUID
    seen_generation: int
    dead_generation: int
    epoch: int
    active_build: int | None
    active_generation: int | None


@dataclass(frozen=True, slots=True)
class _Build:
    id: int
    document_id: UUID
    generation: int
    epoch: int
    state: str
    attempts: int
    leased: bool
    last_error: str | None


# --- object events -------------------------------------------------------------------------------


def begin_build(
    connection: Connection,
    version: ObjectVersion,
    *,
    config_hash: str,
    lease_seconds: int,
    max_attempts: int,
) -> BuildLease | list[EmbedJob]:
    """
    Record that *version* was finalized, and take the lease of its build if there is work.

    Returns:
        The lease, or the jobs to publish again: those of a build whose chunks are staged but not
        all embedded (heals a crash between commit and publish). An empty list means that nothing
        is left to do: the generation is obsolete, done, failed, or in another's hands.
    """
    with connection.transaction():
        document = _lock_or_insert_document(connection, version)
        if _is_obsolete(document, version.generation):
            return []
        build = _record_seen(connection, document, version, config_hash=config_hash)
        if build.state == "embedding":
            return _unfinished_jobs(connection, build.id)
        if build.state == "queued" and _take_over(connection, document, build, config_hash):
            return []
        if build.state in ("ready", "failed") or build.leased:
            return []
        if build.attempts >= max_attempts:
            _fail(connection, document, build, *_exhausted(build.attempts, build.last_error))
            return []
        connection.execute(
            """
            UPDATE builds
            SET state = 'parsing',
                attempts = attempts + 1,
                config_hash = %(config_hash)s,
                lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
            WHERE id = %(id)s
            """,
            {"id": build.id, "config_hash": config_hash, "lease_seconds": lease_seconds},
        )
        return BuildLease(build.id, document.id, build.attempts + 1)


def record_newer(connection: Connection, version: ObjectVersion) -> bool:
    """
    Record that *version* exists, with a queued build, in one transaction.

    Returns:
        Whether there is something to publish: an event of *version* has yet to be worked on.
    """
    with connection.transaction():
        document = _lock_or_insert_document(connection, version)
        if _is_obsolete(document, version.generation):
            return False
        build = _record_seen(connection, document, version, config_hash="")
        return build.state == "queued"


def record_gone(connection: Connection, version: ObjectVersion) -> None:
    """
    Record that *version* and all before it are gone: they answer no more and never come back.

    The caller has looked: no object of this name is in the bucket.
    """
    with connection.transaction():
        document = _lock_or_insert_document(connection, version)
        connection.execute(
            """
            UPDATE documents
            SET dead_generation = greatest(dead_generation, %(generation)s),
                active_build = CASE WHEN active_generation > %(generation)s THEN active_build END,
                active_generation =
                    CASE WHEN active_generation > %(generation)s THEN active_generation END,
                updated = clock_timestamp()
            WHERE id = %(id)s
            """,
            {"id": document.id, "generation": version.generation},
        )
        connection.execute(
            "DELETE FROM builds WHERE document_id = %(id)s AND generation <= %(generation)s",
            {"id": document.id, "generation": version.generation},
        )


def record_metadata(connection: Connection, version: ObjectVersion) -> None:
    """Record newer metadata of a generation that is already known; its text stays as it is."""
    with connection.transaction():
        document = _lock_document(connection, bucket=version.bucket, name=version.name)
        if document is None:
            return
        changed = connection.execute(
            """
            UPDATE builds
            SET metageneration = %(metageneration)s,
                collection = %(collection)s,
                content_type = coalesce(nullif(builds.content_type, ''), %(content_type)s),
                metadata = %(metadata)s,
                object_updated = %(object_updated)s
            WHERE document_id = %(document_id)s
                AND generation = %(generation)s
                AND metageneration < %(metageneration)s
            RETURNING id
            """,
            {"document_id": document.id, **_attributes(version)},
        ).fetchall()
        if document.active_build is not None and (document.active_build,) in changed:
            _describe_document(connection, document.active_build)


# --- parsing -------------------------------------------------------------------------------------


def extend_lease(connection: Connection, lease: BuildLease, *, lease_seconds: int) -> None:
    """Say that the holder of *lease* is still at work."""
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
    search_config: str,
    batch_size: int,
) -> list[EmbedJob]:
    """
    Store the chunks of a parsed document, and the batches in which they are to be embedded.

    A chunk whose text was embedded before, in any document, gets that embedding and joins no
    batch; a build without batches is ready at once.

    Args:
        chunks: Each chunk with the text that its tsvector is made of.
        text_segments: The extracted text in pieces, each with its first character's offset.
        search_config: A Postgres text search configuration.

    Returns:
        The jobs to publish; empty where a newer generation or a delete came first.

    Raises:
        ValueError: There are no chunks; the caller records that as a failure.
    """
    with connection.transaction():
        owner, build = _lock_build(connection, lease.build_id)
        if owner is None or build is None or build.state != "parsing":
            return _unfinished_jobs(connection, lease.build_id)
        if _drop_if_overtaken(connection, owner, build):
            return []
        chunk_count, batch_sizes = _insert_chunks(
            connection,
            build.id,
            chunks=chunks,
            search_config=search_config,
            batch_size=batch_size,
        )
        if not chunk_count:
            raise ValueError("a document without chunks cannot be staged")
        _insert_text(connection, build.id, text_segments)
        connection.cursor().executemany(
            "INSERT INTO batches (build_id, number, size) VALUES (%s, %s, %s)",
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
                "chunk_count": chunk_count,
            },
        )
        _touch(connection, owner.id)
        if not batch_sizes and not _queue_missing(connection, build.id):
            _flip(connection, owner, build)
        return [EmbedJob(build.id, number) for number in range(len(batch_sizes))]


def fail_build(connection: Connection, lease: BuildLease, *, code: str, reason: str) -> None:
    """
    Record that the generation cannot be indexed, unless it was overtaken or taken over meanwhile.

    An older generation stops answering: the bucket no longer holds that text.
    """
    with connection.transaction():
        owner, build = _lock_build(connection, lease.build_id)
        if owner is None or build is None or build.attempts != lease.attempts:
            return
        if build.state != "parsing" or _drop_if_overtaken(connection, owner, build):
            return
        _fail(connection, owner, build, code, reason)


# --- embedding -----------------------------------------------------------------------------------


def lease_batch(
    connection: Connection,
    job: EmbedJob,
    *,
    model_id: int,
    lease_seconds: int,
    max_attempts: int,
) -> BatchLease | None:
    """
    Take the lease of a batch and read its texts.

    Args:
        model_id: The model that the caller embeds with; texts that have its embedding are left
            out.

    Returns:
        None where there is nothing to do: the batch is done, in another's hands, or its build is
        gone or failed.
    """
    with connection.transaction():
        owner, build = _lock_build(connection, job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return None
        if _drop_if_overtaken(connection, owner, build):
            return None
        batch = connection.execute(
            """
            SELECT attempts, last_error, coalesce(lease_until > clock_timestamp(), false)
            FROM batches
            WHERE build_id = %(build_id)s AND number = %(number)s AND NOT done
            """,
            {"build_id": job.build_id, "number": job.batch_number},
        ).fetchone()
        if batch is None:
            return None
        attempts, last_error, leased = batch
        if leased:
            return None
        if attempts >= max_attempts:
            _fail(connection, owner, build, *_exhausted(attempts, last_error))
            return None
        connection.execute(
            """
            UPDATE batches
            SET attempts = attempts + 1,
                lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
            WHERE build_id = %(build_id)s AND number = %(number)s
            """,
            {
                "build_id": job.build_id,
                "number": job.batch_number,
                "lease_seconds": lease_seconds,
            },
        )
        rows = connection.execute(
            """
            SELECT ordinal, heading, header, text
            FROM chunks
            WHERE build_id = %(build_id)s
                AND batch_number = %(number)s
                AND NOT EXISTS (
                    SELECT FROM embeddings
                    WHERE embeddings.build_id = chunks.build_id
                        AND embeddings.ordinal = chunks.ordinal
                        AND embeddings.model_id = %(model_id)s
                )
            ORDER BY ordinal
            """,
            {"build_id": job.build_id, "number": job.batch_number, "model_id": model_id},
        ).fetchall()
        return BatchLease(
            job=job,
            document_id=owner.id,
            model_id=model_id,
            attempts=attempts + 1,
            ordinals=[row[0] for row in rows],
            texts=[join_embedded_text(heading=row[1], header=row[2], text=row[3]) for row in rows],
        )


def release_batch(connection: Connection, lease: BatchLease, *, error: str) -> None:
    """End *lease* after a try that failed, so that the next delivery may take it at once."""
    connection.execute(
        """
        UPDATE batches
        SET lease_until = clock_timestamp(), last_error = %(error)s
        WHERE build_id = %(build_id)s AND number = %(number)s
            AND attempts = %(attempts)s AND NOT done
        """,
        {
            "build_id": lease.job.build_id,
            "number": lease.job.batch_number,
            "attempts": lease.attempts,
            "error": error[:500],
        },
    )


def finish_batch(
    connection: Connection, lease: BatchLease, embeddings: NDArray[np.float32]
) -> bool:
    """
    Store the embeddings of a batch; the last batch makes the build the one that answers.

    Args:
        embeddings: Shape (chunks of the batch, dimension), unit length, in the lease's order.

    Returns:
        Whether this batch completed the document.
    """
    with connection.transaction():
        owner, build = _lock_build(connection, lease.job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return False
        if _drop_if_overtaken(connection, owner, build):
            return False
        done = connection.execute(
            """
            UPDATE batches
            SET done = true, lease_until = NULL
            WHERE build_id = %(build_id)s AND number = %(number)s AND NOT done
            """,
            {"build_id": build.id, "number": lease.job.batch_number},
        )
        if not done.rowcount:
            return False
        # Not by COPY: PostgreSQL refuses it where row-level security holds for the role.
        connection.cursor().executemany(
            """
            INSERT INTO embeddings (model_id, build_id, ordinal, embedding)
            VALUES (%(model_id)s, %(build_id)s, %(ordinal)s, %(embedding)s)
            """,
            [
                {
                    "model_id": lease.model_id,
                    "build_id": build.id,
                    "ordinal": ordinal,
                    "embedding": HalfVector(embedding),
                }
                for ordinal, embedding in zip(lease.ordinals, embeddings, strict=True)
            ],
        )
        if _unfinished_jobs(connection, build.id, limit=1) or _queue_missing(connection, build.id):
            return False
        _flip(connection, owner, build)
        return True


def fail_batch(connection: Connection, lease: BatchLease, *, code: str, reason: str) -> None:
    """Record that a batch, and so its document, cannot be embedded, unless it was taken over."""
    with connection.transaction():
        owner, build = _lock_build(connection, lease.job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return
        if _drop_if_overtaken(connection, owner, build):
            return
        held = connection.execute(
            """
            SELECT 1 FROM batches
            WHERE build_id = %(build_id)s AND number = %(number)s
                AND attempts = %(attempts)s AND NOT done
            """,
            {
                "build_id": build.id,
                "number": lease.job.batch_number,
                "attempts": lease.attempts,
            },
        ).fetchone()
        if held is not None:
            _fail(connection, owner, build, code, reason)


# --- dead letters, operator, sweeper -------------------------------------------------------------


def record_dead_object(connection: Connection, version: ObjectVersion) -> None:
    """Mark a generation failed whose event Pub/Sub gave up on, unless it is done or in work."""
    with connection.transaction():
        document = _lock_or_insert_document(connection, version)
        if _is_obsolete(document, version.generation):
            return
        build = _record_seen(connection, document, version, config_hash="")
        if build.state in ("queued", "parsing") and not build.leased:
            _fail(connection, document, build, *_exhausted(build.attempts, build.last_error))


def record_dead_job(connection: Connection, job: EmbedJob) -> None:
    """Mark a document failed one of whose batches Pub/Sub has given up on, unless it is in work."""
    with connection.transaction():
        owner, build = _lock_build(connection, job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return
        if _drop_if_overtaken(connection, owner, build):
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
            _fail(connection, owner, build, *_exhausted(*batch))


def requeue_document(connection: Connection, document_id: UUID) -> ObjectVersion | None:
    """
    Give a failed document a fresh start.

    Returns:
        The generation to publish, None where the document has not failed.
    """
    with connection.transaction():
        owner = _lock_document(connection, id=document_id)
        if owner is None:
            return None
        build = _read_build(
            connection, owner.id, generation=owner.seen_generation, epoch=owner.epoch
        )
        if build is None or build.state != "failed":
            return None
        # Under a new id: what an old worker still holds of the failed build fits nothing any more.
        queued = connection.execute(
            """
            UPDATE builds
            SET id = DEFAULT, state = 'queued', attempts = 0, lease_until = NULL,
                last_error = NULL, reason_code = NULL, reason = NULL, finished = NULL,
                published = clock_timestamp()
            WHERE id = %(id)s
            RETURNING id
            """,
            {"id": build.id},
        ).fetchone()
        assert queued is not None, "UPDATE ... RETURNING of an existing row"  # noqa: S101
        _touch(connection, owner.id)
        return _read_version(connection, queued[0])


def reindex_document(connection: Connection, document_id: UUID) -> ObjectVersion | None:
    """
    Queue a new build of a document's present generation; the old one answers until it is ready.

    Returns:
        The generation to publish, None where the document is deleted.
    """
    with connection.transaction():
        owner = _lock_document(connection, id=document_id)
        if owner is None or owner.seen_generation <= owner.dead_generation:
            return None
        build = _read_build(
            connection, owner.id, generation=owner.seen_generation, epoch=owner.epoch
        )
        if build is None:
            return None
        connection.execute(
            """
            UPDATE documents
            SET epoch = epoch + 1, updated = clock_timestamp()
            WHERE id = %(id)s
            """,
            {"id": owner.id},
        )
        queued = connection.execute(
            """
            INSERT INTO builds (document_id, generation, epoch, metageneration, collection,
                                content_type, size, metadata, object_updated, fingerprint)
            SELECT document_id, generation, epoch + 1, metageneration, collection,
                   content_type, size, metadata, object_updated, fingerprint
            FROM builds
            WHERE id = %(id)s
            RETURNING id
            """,
            {"id": build.id},
        ).fetchone()
        assert queued is not None, "INSERT ... RETURNING of an existing row"  # noqa: S101
        _delete_older_builds(connection, owner, build.generation, owner.epoch + 1)
        return _read_version(connection, queued[0])


def take_waiting(
    connection: Connection, *, unleased_seconds: int, pause_seconds: int, limit: int
) -> Waiting:
    """
    Return the work that nobody holds, oldest first, and note that it is published now.

    Args:
        unleased_seconds: How long a message that nobody has taken up may be under way, while no
            other of its kind is being worked on.
        pause_seconds: The least time between two messages for one piece of work.
    """
    # While others of its kind are held, what nobody has taken up is in a long queue rather than
    # lost; to publish it again and again would make the queue longer still.
    waiting = """
        lease_until < clock_timestamp()
            AND published < clock_timestamp() - make_interval(secs => %(pause_seconds)s)
        OR lease_until IS NULL
            AND published < clock_timestamp() - make_interval(secs => %(unleased_seconds)s)
            AND (
                published < clock_timestamp() - make_interval(secs => %(queued_seconds)s)
                OR NOT EXISTS (
                    SELECT FROM {table} AS held
                    WHERE {unfinished} AND held.lease_until > clock_timestamp()
                )
            )
    """
    waiting_builds = waiting.format(table="builds", unfinished="state IN ('queued', 'parsing')")
    waiting_batches = waiting.format(table="batches", unfinished="NOT done")
    parameters = {
        "unleased_seconds": unleased_seconds,
        "queued_seconds": max(unleased_seconds, _QUEUED_SECONDS),
        "pause_seconds": pause_seconds,
        "limit": limit,
    }
    with connection.transaction():
        builds = connection.execute(
            f"""
            UPDATE builds
            SET published = clock_timestamp()
            WHERE id IN (
                SELECT id FROM builds
                WHERE state IN ('queued', 'parsing') AND ({waiting_builds})
                ORDER BY published
                LIMIT %(limit)s
                FOR UPDATE SKIP LOCKED
            )
            RETURNING id
            """,  # noqa: S608 - the constant above
            parameters,
        ).fetchall()
        batches = connection.execute(
            f"""
            UPDATE batches
            SET published = clock_timestamp()
            WHERE (build_id, number) IN (
                SELECT build_id, number FROM batches
                WHERE NOT done AND ({waiting_batches})
                ORDER BY published
                LIMIT %(limit)s
                FOR UPDATE SKIP LOCKED
            )
            RETURNING build_id, number
            """,  # noqa: S608 - the constant above
            parameters,
        ).fetchall()
        return Waiting(
            objects=[_read_version(connection, row[0]) for row in builds],
            jobs=[EmbedJob(*row) for row in batches],
        )


# --- the steps that several of them share --------------------------------------------------------


def _lock_or_insert_document(connection: Connection, version: ObjectVersion) -> _Document:
    connection.execute(
        """
        INSERT INTO documents (bucket, name, collection, content_type, size, metadata,
                               object_updated)
        VALUES (%(bucket)s, %(name)s, %(collection)s, %(content_type)s, %(size)s, %(metadata)s,
                %(object_updated)s)
        ON CONFLICT (bucket, name) DO NOTHING
        """,
        {"bucket": version.bucket, "name": version.name, **_attributes(version)},
    )
    document = _lock_document(connection, bucket=version.bucket, name=version.name)
    assert document is not None, "rows of documents are never deleted"  # noqa: S101
    return document


def _lock_document(
    connection: Connection,
    *,
    id: UUID | None = None,
    bucket: str | None = None,
    name: str | None = None,
) -> _Document | None:
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
    with connection.cursor(row_factory=class_row(_Document)) as cursor:
        return cursor.execute(
            """
            SELECT id, seen_generation, dead_generation, epoch, active_build, active_generation
            FROM documents
            WHERE id = %(id)s
            """,
            {"id": locked[0]},
        ).fetchone()


def _lock_build(connection: Connection, build_id: int) -> tuple[_Document | None, _Build | None]:
    """Lock the document of a build, then read both; the build is None where it is gone."""
    row = connection.execute(
        "SELECT document_id FROM builds WHERE id = %(id)s", {"id": build_id}
    ).fetchone()
    if row is None:
        return None, None
    document = _lock_document(connection, id=row[0])
    with connection.cursor(row_factory=class_row(_Build)) as cursor:
        build = cursor.execute(
            f"SELECT {_BUILD_COLUMNS} FROM builds WHERE id = %(id)s",  # noqa: S608 - constant
            {"id": build_id},
        ).fetchone()
    return document, build


_BUILD_COLUMNS = """
    id, document_id, generation, epoch, state, attempts, last_error,
    coalesce(lease_until > clock_timestamp(), false) AS leased
"""


def _read_build(
    connection: Connection, document_id: UUID, *, generation: int, epoch: int
) -> _Build | None:
    with connection.cursor(row_factory=class_row(_Build)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_BUILD_COLUMNS} FROM builds
            WHERE document_id = %(document_id)s AND generation = %(generation)s
                AND epoch = %(epoch)s
            """,  # noqa: S608 - constant
            {"document_id": document_id, "generation": generation, "epoch": epoch},
        ).fetchone()


def _read_version(connection: Connection, build_id: int) -> ObjectVersion:
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


def _is_obsolete(document: _Document, generation: int) -> bool:
    return generation <= document.dead_generation or generation < document.seen_generation


def _record_seen(
    connection: Connection, document: _Document, version: ObjectVersion, *, config_hash: str
) -> _Build:
    """Raise the highest generation seen to *version*'s, and return its build, queued if new."""
    connection.execute(
        """
        UPDATE documents
        SET seen_generation = %(generation)s, updated = clock_timestamp()
        WHERE id = %(id)s AND seen_generation < %(generation)s
        """,
        {"id": document.id, "generation": version.generation},
    )
    connection.execute(
        """
        INSERT INTO builds (document_id, generation, epoch, config_hash, metageneration,
                            collection, content_type, size, metadata, object_updated,
                            fingerprint)
        VALUES (%(document_id)s, %(generation)s, %(epoch)s, %(config_hash)s, %(metageneration)s,
                %(collection)s, %(content_type)s, %(size)s, %(metadata)s, %(object_updated)s,
                %(fingerprint)s)
        ON CONFLICT (document_id, generation, epoch) DO NOTHING
        """,
        {
            "document_id": document.id,
            "epoch": document.epoch,
            "config_hash": config_hash,
            **_attributes(version),
        },
    )
    _delete_older_builds(connection, document, version.generation, document.epoch)
    build = _read_build(
        connection, document.id, generation=version.generation, epoch=document.epoch
    )
    assert build is not None, "inserted above, under the document's lock"  # noqa: S101
    return build


def _attributes(version: ObjectVersion) -> dict[str, Any]:
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


def _take_over(
    connection: Connection, document: _Document, queued: _Build, config_hash: str
) -> bool:
    """
    Let the build that answers stand for a new generation of the same bytes, if it can.

    The queued build, which no worker has had yet, goes; the text answers on without a gap. Not
    where pages had no text: they are the reason why such a document is uploaded again.
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
    _describe_document(connection, document.active_build)
    return True


def _delete_older_builds(
    connection: Connection, document: _Document, generation: int, epoch: int
) -> None:
    """Delete the builds before (generation, epoch), all but the one that answers."""
    connection.execute(
        """
        DELETE FROM builds
        WHERE document_id = %(document_id)s
            AND (generation, epoch) < (%(generation)s, %(epoch)s)
            AND id IS DISTINCT FROM %(active_build)s
        """,
        {
            "document_id": document.id,
            "generation": generation,
            "epoch": epoch,
            "active_build": document.active_build,
        },
    )


def _drop_if_overtaken(connection: Connection, document: _Document, build: _Build) -> bool:
    """Delete *build* where a newer generation, a re-index or a delete has come first."""
    overtaken = build.generation <= document.dead_generation or (
        (build.generation, build.epoch) < (document.seen_generation, document.epoch)
    )
    if overtaken and build.id != document.active_build:
        connection.execute("DELETE FROM builds WHERE id = %(id)s", {"id": build.id})
    return overtaken


def _unfinished_jobs(
    connection: Connection, build_id: int, *, limit: int | None = None
) -> list[EmbedJob]:
    rows = connection.execute(
        """
        SELECT build_id, number FROM batches
        WHERE build_id = %(build_id)s AND NOT done
        ORDER BY number
        LIMIT %(limit)s
        """,
        {"build_id": build_id, "limit": limit},
    ).fetchall()
    return [EmbedJob(*row) for row in rows]


def _queue_missing(connection: Connection, build_id: int) -> bool:
    """
    Queue what has no embedding of the model that answers now: it was switched meanwhile.

    The model cannot be switched between this look and the end of the transaction.

    Returns:
        Whether there was anything; the sweeper publishes the new batches.
    """
    lock_serving_model(connection, shared=True)
    missing = [
        row[0]
        for row in connection.execute(
            """
            SELECT chunks.ordinal
            FROM chunks
            WHERE chunks.build_id = %(build_id)s
                AND NOT EXISTS (
                    SELECT FROM embeddings
                    WHERE embeddings.build_id = chunks.build_id
                        AND embeddings.ordinal = chunks.ordinal
                        AND embeddings.model_id = (SELECT model_id FROM active_model)
                )
            ORDER BY chunks.ordinal
            """,
            {"build_id": build_id},
        ).fetchall()
    ]
    if not missing:
        return False
    first = connection.execute(
        """
        SELECT coalesce(max(number) + 1, 0), coalesce(max(size), %(size)s)
        FROM batches
        WHERE build_id = %(build_id)s
        """,
        {"build_id": build_id, "size": _BATCH_SIZE},
    ).fetchone()
    assert first is not None, "an aggregate has one row"  # noqa: S101
    number, size = first
    for start in range(0, len(missing), size):
        batch = missing[start : start + size]
        values = {"build_id": build_id, "number": number, "size": len(batch), "ordinals": batch}
        connection.execute(
            """
            UPDATE chunks
            SET batch_number = %(number)s
            WHERE build_id = %(build_id)s AND ordinal = ANY (%(ordinals)s)
            """,
            values,
        )
        connection.execute(
            """
            INSERT INTO batches (build_id, number, size, published)
            VALUES (%(build_id)s, %(number)s, %(size)s, '-infinity')
            """,
            values,
        )
        number += 1
    return True


def _insert_chunks(
    connection: Connection,
    build_id: int,
    *,
    chunks: Iterable[tuple[Chunk, str]],
    search_config: str,
    batch_size: int,
) -> tuple[int, list[int]]:
    """Insert chunks, copying embeddings that exist; return their count and the batches' sizes."""
    chunk_count = 0
    to_embed = 0
    for page in _pages(chunks):
        ordinals = [chunk.ordinal for chunk, _ in page]
        hashes = [chunk.content_hash for chunk, _ in page]
        copied = _copy_embeddings(connection, build_id, ordinals, hashes)
        batch_numbers: list[int | None] = []
        for ordinal in ordinals:
            batch_numbers.append(None if ordinal in copied else to_embed // batch_size)
            to_embed += ordinal not in copied
        connection.execute(
            """
            INSERT INTO chunks (build_id, ordinal, batch_number, text, heading, header, page,
                                char_start, char_end, source, content_hash, search)
            SELECT %(build_id)s, ordinal, batch_number, text, heading, header, page,
                   char_start, char_end, source, content_hash,
                   to_tsvector(%(search_config)s::regconfig, searchable)
            FROM unnest(
                %(ordinals)s::integer[], %(batch_numbers)s::integer[], %(texts)s::text[],
                %(headings)s::text[], %(headers)s::text[], %(pages)s::integer[],
                %(starts)s::integer[], %(ends)s::integer[], %(sources)s::text[],
                %(hashes)s::bytea[], %(searchable)s::text[]
            ) AS page_of_chunks (ordinal, batch_number, text, heading, header, page,
                                 char_start, char_end, source, content_hash, searchable)
            """,
            {
                "build_id": build_id,
                "search_config": search_config,
                "ordinals": ordinals,
                "batch_numbers": batch_numbers,
                "texts": [chunk.text for chunk, _ in page],
                "headings": [chunk.heading for chunk, _ in page],
                "headers": [chunk.header for chunk, _ in page],
                "pages": [chunk.page for chunk, _ in page],
                "starts": [chunk.char_start for chunk, _ in page],
                "ends": [chunk.char_end for chunk, _ in page],
                "sources": [chunk.source for chunk, _ in page],
                "hashes": hashes,
                "searchable": [searchable for _, searchable in page],
            },
        )
        chunk_count += len(page)
    full, rest = divmod(to_embed, batch_size)
    return chunk_count, [batch_size] * full + ([rest] if rest else [])


def _copy_embeddings(
    connection: Connection, build_id: int, ordinals: Sequence[int], hashes: Sequence[bytes]
) -> set[int]:
    """Copy the embeddings that equal texts have already; return the ordinals so served."""
    # Planned for the tables of this moment: a plan that was kept from when they filled a page or
    # two reads all embeddings for every chunk, until the next automatic ANALYZE.
    rows = connection.execute(
        """
        INSERT INTO embeddings (model_id, build_id, ordinal, embedding)
        SELECT known.model_id, %(build_id)s, wanted.ordinal, known.embedding
        FROM unnest(%(ordinals)s::integer[], %(hashes)s::bytea[]) AS wanted (ordinal, content_hash)
        CROSS JOIN LATERAL (
            SELECT embeddings.model_id, embeddings.embedding
            FROM chunks
            JOIN embeddings ON embeddings.build_id = chunks.build_id
                AND embeddings.ordinal = chunks.ordinal
                AND embeddings.model_id = (SELECT model_id FROM active_model)
            WHERE chunks.content_hash = wanted.content_hash
            LIMIT 1
        ) AS known
        RETURNING ordinal
        """,
        {"build_id": build_id, "ordinals": list(ordinals), "hashes": list(hashes)},
        prepare=False,
    ).fetchall()
    return {row[0] for row in rows}


def _insert_text(
    connection: Connection, build_id: int, segments: Iterable[tuple[int, str]]
) -> None:
    for page in _pages(enumerate(segments)):
        connection.cursor().executemany(
            """
            INSERT INTO texts (build_id, segment, char_start, text)
            VALUES (%(build_id)s, %(segment)s, %(char_start)s, %(text)s)
            """,
            [
                {"build_id": build_id, "segment": segment, "char_start": char_start, "text": text}
                for segment, (char_start, text) in page
            ],
        )


def _pages(rows: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(rows)
    while page := list(islice(iterator, _ROWS_AT_A_TIME)):
        yield page


def _flip(connection: Connection, document: _Document, build: _Build) -> None:
    """Make *build* the one that answers, and delete the others before it."""
    connection.execute(
        """
        UPDATE builds
        SET state = 'ready', finished = clock_timestamp(), lease_until = NULL, last_error = NULL
        WHERE id = %(id)s
        """,
        {"id": build.id},
    )
    _describe_document(connection, build.id)
    connection.execute(
        """
        DELETE FROM builds
        WHERE document_id = %(document_id)s
            AND (generation, epoch) < (%(generation)s, %(epoch)s)
        """,
        {"document_id": document.id, "generation": build.generation, "epoch": build.epoch},
    )


def _describe_document(connection: Connection, build_id: int) -> None:
    """Point the document at *build_id* and copy what filters and citations say of it."""
    connection.execute(
        """
        UPDATE documents
        SET active_build = builds.id,
            active_generation = builds.generation,
            collection = builds.collection,
            content_type = builds.content_type,
            size = builds.size,
            metadata = builds.metadata,
            object_updated = builds.object_updated,
            title = builds.title,
            language = builds.language,
            updated = clock_timestamp()
        FROM builds
        WHERE builds.id = %(id)s AND documents.id = builds.document_id
        """,
        {"id": build_id},
    )


def _fail(
    connection: Connection, document: _Document, build: _Build, code: str, reason: str
) -> None:
    """Record the failure of the current generation and retract an older generation's build."""
    connection.execute(
        """
        UPDATE builds
        SET state = 'failed', reason_code = %(code)s, reason = %(reason)s, lease_until = NULL,
            chunk_count = NULL, finished = clock_timestamp()
        WHERE id = %(id)s
        """,
        {"id": build.id, "code": code, "reason": reason},
    )
    for table in ("chunks", "embeddings", "batches", "texts"):
        connection.execute(
            f"DELETE FROM {table} WHERE build_id = %(id)s",  # noqa: S608 - constants above
            {"id": build.id},
        )
    if document.active_generation is not None and document.active_generation < build.generation:
        connection.execute(
            """
            UPDATE documents
            SET active_build = NULL, active_generation = NULL
            WHERE id = %(id)s
            """,
            {"id": document.id},
        )
        connection.execute("DELETE FROM builds WHERE id = %(id)s", {"id": document.active_build})
    _touch(connection, document.id)


def _exhausted(attempts: int, last_error: str | None) -> tuple[str, str]:
    """Return the reason code and the reason of work that was tried often enough."""
    last = f" The last error was: {last_error}" if last_error else ""
    return "attempts_exhausted", (
        f"Indexing was tried {attempts} times and did not succeed; it is not tried again by"
        f" itself. Mend the cause, then run: python -m admin retry.{last}"
    )


def _touch(connection: Connection, document_id: UUID) -> None:
    connection.execute(
        "UPDATE documents SET updated = clock_timestamp() WHERE id = %(id)s", {"id": document_id}
    )
