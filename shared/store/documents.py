"""
Documents and their generations: seen, gone, answering, failed.

Rule 5 (a delete looks at the object first), rule 6 (a failure is recorded under the document's lock
and retracts an older generation), and the flip of rule 4 are kept here. With *announce* each of
these turns is written to the outbox in its own transaction.
"""

from __future__ import annotations

from shared.store.connection import Connection
from shared.store.document_lock import (
    Build,
    Document,
    KnownGenerations,
    is_obsolete,
    lock_document,
    lock_or_insert_document,
    read_build,
    touch,
    version_columns,
)
from shared.store.outbox import write_ended, write_gone
from shared.values import ObjectVersion


def record_newer(connection: Connection, version: ObjectVersion) -> bool:
    """
    Record that *version* exists, with a queued build, in one transaction.

    Returns:
        Whether there is something to publish: an event of *version* has yet to be worked on.
    """
    with connection.transaction():
        document = lock_or_insert_document(connection, version)
        if is_obsolete(document, version.generation):
            return False
        build = record_seen(connection, document, version, config_hash="")
        return build.state == "queued"


def record_live(connection: Connection, version: ObjectVersion, *, known: KnownGenerations) -> bool:
    """
    Record that *version* is live although higher generations were seen or it seemed to be gone.

    An event may have been forged or mistaken, and a folder of a bucket with a hierarchical
    namespace that is renamed and renamed back keeps its generations: the bucket is right.

    Args:
        known: What was recorded before the bucket was looked at. Where it has changed since,
            another event knows more, and nothing is done.

    Returns:
        Whether there is something to publish: an event of *version* has yet to be worked on.
    """
    with connection.transaction():
        document = lock_document(connection, bucket=version.bucket, name=version.name)
        if document is None:
            return False
        if (document.seen_generation, document.dead_generation) != (known.seen, known.dead):
            return False
        connection.execute(
            """
            UPDATE documents
            SET seen_generation = %(generation)s,
                dead_generation = least(dead_generation, %(generation)s - 1),
                active_build = CASE WHEN active_generation <= %(generation)s THEN active_build END,
                active_generation =
                    CASE WHEN active_generation <= %(generation)s THEN active_generation END,
                updated = clock_timestamp()
            WHERE id = %(id)s
            """,
            {"id": document.id, "generation": version.generation},
        )
        connection.execute(
            "DELETE FROM builds WHERE document_id = %(id)s AND generation > %(generation)s",
            {"id": document.id, "generation": version.generation},
        )
        document = lock_document(connection, id=document.id)
        assert document is not None, "it is locked above"  # noqa: S101
        build = record_seen(connection, document, version, config_hash="")
        return build.state == "queued"


def record_refused(
    connection: Connection,
    version: ObjectVersion,
    *,
    code: str,
    reason: str,
    announce: bool = False,
) -> None:
    """Record as failed a generation of which the database can store only the name."""
    bare = ObjectVersion(version.bucket, version.name, version.generation)
    with connection.transaction():
        document = lock_or_insert_document(connection, bare)
        if is_obsolete(document, bare.generation):
            return
        build = record_seen(connection, document, bare, config_hash="")
        if build.state in ("queued", "parsing") and not build.leased:
            record_failure(connection, document, build, code=code, reason=reason, announce=announce)


def record_gone(
    connection: Connection,
    version: ObjectVersion,
    *,
    known: KnownGenerations | None = None,
    announce: bool = False,
) -> bool:
    """
    Record that *version* and all generations before it are gone for good.

    The caller has checked that no object of this name is in the bucket.

    Args:
        known: What was recorded before the look; None if nothing can have come since. An upload
            that came since may have a lower generation than *version*, which may be forged.

    Returns:
        Whether it was recorded: not where another event has come since the look.
    """
    with connection.transaction():
        document = lock_or_insert_document(connection, version)
        if known is not None and (
            document.seen_generation != known.seen or document.dead_generation < known.dead
        ):
            return False
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
        was_there = document.dead_generation < document.seen_generation
        if announce and was_there and document.seen_generation <= version.generation:
            write_gone(connection, document.id)
        return True


def record_metadata(connection: Connection, version: ObjectVersion) -> None:
    """Record newer metadata of a known generation; its text does not change."""
    with connection.transaction():
        document = lock_document(connection, bucket=version.bucket, name=version.name)
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
            {"document_id": document.id, **version_columns(version)},
        ).fetchall()
        if document.active_build is not None and (document.active_build,) in changed:
            describe_document(connection, document.active_build)


def record_seen(
    connection: Connection, document: Document, version: ObjectVersion, *, config_hash: str
) -> Build:
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
            **version_columns(version),
        },
    )
    delete_older_builds(connection, document, version.generation, document.epoch)
    build = read_build(connection, document.id, generation=version.generation, epoch=document.epoch)
    assert build is not None, "inserted above, under the document's lock"  # noqa: S101
    return build


def delete_older_builds(
    connection: Connection, document: Document, generation: int, epoch: int
) -> None:
    """Delete the builds before (generation, epoch), except the one that answers."""
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


def drop_if_overtaken(connection: Connection, document: Document, build: Build) -> bool:
    """Delete *build* where a newer generation, a re-index or a delete has come first."""
    overtaken = build.generation <= document.dead_generation or (
        (build.generation, build.epoch) < (document.seen_generation, document.epoch)
    )
    if overtaken and build.id != document.active_build:
        connection.execute("DELETE FROM builds WHERE id = %(id)s", {"id": build.id})
    return overtaken


def flip(connection: Connection, document: Document, build: Build, *, announce: bool) -> None:
    """Make *build* the one that answers, and delete the others before it."""
    connection.execute(
        """
        UPDATE builds
        SET state = 'ready', finished = clock_timestamp(), lease_until = NULL, last_error = NULL
        WHERE id = %(id)s
        """,
        {"id": build.id},
    )
    describe_document(connection, build.id)
    connection.execute(
        """
        DELETE FROM builds
        WHERE document_id = %(document_id)s
            AND (generation, epoch) < (%(generation)s, %(epoch)s)
        """,
        {"document_id": document.id, "generation": build.generation, "epoch": build.epoch},
    )
    if announce:
        write_ended(connection, build.id)


def describe_document(connection: Connection, build_id: int) -> None:
    """Point the document at *build_id* and copy the fields that filters and citations use."""
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


def record_failure(
    connection: Connection,
    document: Document,
    build: Build,
    *,
    code: str,
    reason: str,
    announce: bool,
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
    touch(connection, document.id)
    if announce:
        write_ended(connection, build.id)


def record_exhaustion(
    connection: Connection,
    document: Document,
    build: Build,
    attempts: int,
    last_error: str | None,
    *,
    announce: bool,
) -> None:
    """Record that the current generation used up its attempts; see record_failure."""
    last = (
        f" The last error was: {last_error}"
        if last_error
        else " The worker died each time; it may need more memory."
    )
    reason = (
        f"Indexing failed {attempts} times and is not tried again automatically. Fix the cause,"
        f" then run: kaydangpt retry.{last}"
    )
    record_failure(
        connection, document, build, code="attempts_exhausted", reason=reason, announce=announce
    )
