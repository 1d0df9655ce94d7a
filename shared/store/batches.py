"""
Batches: leased, embedded, finished; the last one makes its build the one that answers.

Rule 4: attempts are counted by the lease, in a commit of its own before the work; the last batch
and the flip are one transaction. A job is a turn at the queue: it goes to the document that is
least far, so that a long one does not hold up those behind it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from shared.store.connection import Connection
from shared.store.document_lock import lock_build
from shared.store.documents import drop_if_overtaken, flip, record_exhaustion, record_failure
from shared.store.models import lock_serving_model
from shared.values import EmbedJob, join_embedded_text

# Of batches that are made again after a switch of models, where there were none before.
_BATCH_SIZE = 64
# A job that was published this long ago, and that no worker holds, may be published again.
_PUBLISHED_SECONDS = 60
# One in this many batches waits for its own job.
_TURNS = 4
_ANY_NUMBER = 2**31 - 1
_PAUSE = "interval '10 s'"
_WAITS = "NOT done AND (lease_until IS NULL OR lease_until <= clock_timestamp())"
_SUSPECT = "attempts > 0 AND last_error IS NULL"


@dataclass(frozen=True, slots=True)
class BatchLease:
    """The right to embed one batch, and its texts by ordinal."""

    job: EmbedJob
    document_id: UUID
    model_id: int
    attempts: int
    ordinals: list[int]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Turn:
    """
    The batch that a job is used for.

    Attributes:
        suspect: Its last worker died while embedding it, perhaps because of it.
    """

    job: EmbedJob
    suspect: bool


def find_turn(connection: Connection, job: EmbedJob | None) -> Turn | None:
    """
    Return the batch that *job* embeds.

    That is the one of the lowest number that no worker has tried: documents take turns, whichever
    came first. A batch that was tried before waits for its own job; so does one in four, which
    keeps a long document moving while short ones keep coming. A job whose own batch is done, or
    held, does another's: each job does one batch for as long as any waits, so none is left without.

    Args:
        job: None if only a batch that no worker has tried will do.

    Returns:
        None if nothing waits; as the look holds no lock, its batch may be gone by the lease.
    """
    own = (
        job
        and connection.execute(
            f"""
        SELECT attempts, {_SUSPECT} FROM batches
        WHERE build_id = %(build_id)s AND number = %(number)s AND {_WAITS}
        """,  # noqa: S608 - constants
            {"build_id": job.build_id, "number": job.batch_number},
        ).fetchone()
    )
    if job and own and (own[0] or job.batch_number % _TURNS == _TURNS - 1):
        return Turn(job, own[1])
    if own or job is None:
        tried = "attempts = 0"
    else:
        # A batch that just failed has a job of its own, which is delivered again later.
        tried = f"(last_error IS NULL OR lease_until < clock_timestamp() - {_PAUSE})"
    row = connection.execute(
        f"""
        SELECT build_id, number, {_SUSPECT} FROM batches
        WHERE {_WAITS} AND {tried} AND number < %(number)s
        ORDER BY number, build_id
        LIMIT 1
        """,  # noqa: S608 - constants
        {"number": job.batch_number if job and own else _ANY_NUMBER},
    ).fetchone()
    if row is not None:
        return Turn(EmbedJob(row[0], row[1]), row[2])
    return Turn(job, own[1]) if job and own else None


def lease_batch(
    connection: Connection,
    job: EmbedJob,
    *,
    model_id: int,
    lease_seconds: int,
    max_attempts: int,
    announce: bool = False,
) -> BatchLease | None:
    """
    Take the lease of a batch and read its texts.

    Args:
        model_id: The model that the caller embeds with; texts that have its embedding are left
            out.

    Returns:
        None if there is nothing to do: the batch is done, in another's hands, or its build is
        gone or failed.
    """
    with connection.transaction():
        owner, build = lock_build(connection, job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return None
        if drop_if_overtaken(connection, owner, build):
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
            record_exhaustion(connection, owner, build, attempts, last_error, announce=announce)
            return None
        connection.execute(
            """
            UPDATE batches
            SET attempts = attempts + 1,
                last_error = NULL,
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
    connection: Connection,
    lease: BatchLease,
    embeddings: NDArray[np.float32],
    *,
    announce: bool = False,
) -> bool:
    """
    Store the embeddings of a batch; the last batch makes the build the one that answers.

    Args:
        embeddings: Shape (chunks of the batch, dimension), unit length, in the lease's order.

    Returns:
        Whether this batch completed the document.
    """
    with connection.transaction():
        owner, build = lock_build(connection, lease.job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return False
        if drop_if_overtaken(connection, owner, build):
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
        if not _is_finished(connection, build.id) or queue_missing(connection, build.id):
            return False
        flip(connection, owner, build, announce=announce)
        return True


def fail_batch(
    connection: Connection,
    lease: BatchLease,
    *,
    code: str,
    reason: str,
    announce: bool = False,
) -> None:
    """Record that a batch and its document cannot be embedded, unless another worker took over."""
    with connection.transaction():
        owner, build = lock_build(connection, lease.job.build_id)
        if owner is None or build is None or build.state != "embedding":
            return
        if drop_if_overtaken(connection, owner, build):
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
            record_failure(connection, owner, build, code=code, reason=reason, announce=announce)


def unpublished_jobs(connection: Connection, build_id: int) -> list[EmbedJob]:
    """
    Return the jobs of a build that were not published, as far as is known, or long ago.

    Not those in a worker's hands, nor those published lately: each duplicate of a document's event
    would publish all of its batches again.
    """
    rows = connection.execute(
        """
        SELECT build_id, number FROM batches
        WHERE build_id = %(build_id)s
            AND NOT done
            AND (lease_until IS NULL OR lease_until <= clock_timestamp())
            AND published < clock_timestamp() - make_interval(secs => %(seconds)s)
        ORDER BY number
        """,
        {"build_id": build_id, "seconds": _PUBLISHED_SECONDS},
    ).fetchall()
    return [EmbedJob(*row) for row in rows]


def note_published(connection: Connection, jobs: Collection[EmbedJob]) -> None:
    """Record that these *jobs* of one build were published just now."""
    if jobs:
        connection.execute(
            """
            UPDATE batches
            SET published = clock_timestamp()
            WHERE build_id = ANY (%(build_ids)s) AND number = ANY (%(numbers)s) AND NOT done
            """,
            {
                "build_ids": list({job.build_id for job in jobs}),
                "numbers": [job.batch_number for job in jobs],
            },
        )


def _is_finished(connection: Connection, build_id: int) -> bool:
    return (
        connection.execute(
            "SELECT 1 FROM batches WHERE build_id = %(build_id)s AND NOT done LIMIT 1",
            {"build_id": build_id},
        ).fetchone()
        is None
    )


def queue_missing(connection: Connection, build_id: int) -> bool:
    """
    Queue the chunks without an embedding of the serving model, which was switched meanwhile.

    The model cannot be switched between this check and the end of the transaction.

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
