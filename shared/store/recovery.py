"""
Work that is started again by the operator (retry, re-index) or by the sweeper.

Rule 7 (re-index raises the epoch; the old build answers until the flip) and rule 8 (work without a
live lease is published again) are kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.store.connection import Connection, fetch_one
from shared.store.document_lock import lock_document, read_build, read_version, touch
from shared.store.documents import delete_older_builds
from shared.values import EmbedJob, ObjectVersion

# After this time a message is published again even if the queue is moving.
_QUEUED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class StalledWork:
    """Work without a lease, to be published again."""

    objects: list[ObjectVersion]
    jobs: list[EmbedJob]


def requeue_document(connection: Connection, document_id: UUID) -> ObjectVersion | None:
    """
    Give a failed document a fresh start.

    Returns:
        The generation to publish, None if the document has not failed.
    """
    with connection.transaction():
        owner = lock_document(connection, id=document_id)
        if owner is None:
            return None
        build = read_build(
            connection, owner.id, generation=owner.seen_generation, epoch=owner.epoch
        )
        if build is None or build.state != "failed":
            return None
        # A new id, so that whatever an old worker still has of the failed build no longer matches.
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
        touch(connection, owner.id)
        return read_version(connection, queued[0])


def forget_old(connection: Connection, *, days: int) -> int:
    """
    Delete dead letters, rows of deleted documents and other leftovers older than *days*.

    Returns:
        How many dead letters and documents; at most 10,000 of each go at a time.
    """
    return int(fetch_one(connection, "SELECT forget_old(%(days)s)", {"days": days})[0])


def refresh_document_counts(connection: Connection) -> None:
    """Refresh the stored document counts if there are too many to count for each question."""
    with connection.transaction():
        connection.execute("SELECT refresh_document_counts()")


def reindex_document(connection: Connection, document_id: UUID) -> ObjectVersion | None:
    """
    Queue a new build of a document's present generation; the old one answers until it is ready.

    Returns:
        The generation to publish, None if the document is deleted.
    """
    with connection.transaction():
        owner = lock_document(connection, id=document_id)
        if owner is None or owner.seen_generation <= owner.dead_generation:
            return None
        build = read_build(
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
        delete_older_builds(connection, owner, build.generation, owner.epoch + 1)
        return read_version(connection, queued[0])


def claim_stalled(
    connection: Connection, *, unleased_seconds: int, pause_seconds: int, limit: int
) -> StalledWork:
    """
    Return work without a lease, oldest first, and record it as published now.

    Args:
        unleased_seconds: How long a message may be under way without a lease, while no
            other of its kind is being worked on.
        pause_seconds: The least time between two messages for one piece of work.
    """
    # While others of its kind are leased, work without a lease is in a long queue rather than
    # lost, and publishing it again would only make the queue longer.
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
        return StalledWork(
            objects=[read_version(connection, row[0]) for row in builds],
            jobs=[EmbedJob(*row) for row in batches],
        )
