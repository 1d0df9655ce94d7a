"""
Chunk jobs: embed one batch of a build, or texts for a model that does not answer yet.

Rule 4 of the protocol, outside the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from shared import store
from shared.embedding.embedder import TextEmbedder
from shared.errors import Misconfigured, RejectedByDatabase, RejectedByModel, Transient
from shared.runtime.logs import get_logger
from shared.runtime.slots import WorkSlots
from shared.runtime.tracing import span
from shared.settings import RetrySettings
from shared.values import EmbedJob, FillJob

# Each failed attempt means that another worker has taken a batch.
_LOOKS = 100

_log = get_logger("embed_worker")


@dataclass(frozen=True, slots=True)
class Resources:
    """
    The dependencies of embedding, which live as long as the process.

    Attributes:
        announce: Publishes events of documents; None if none are published.
        find_embedder: Returns the model of a digest, or raises Misconfigured.
        batch_slots: As many as may be held at once.
    """

    settings: RetrySettings
    pool: store.Pool
    announce: store.Publish | None
    find_embedder: Callable[[str], TextEmbedder]
    batch_slots: WorkSlots


def embed_batch(job: EmbedJob | None, resources: Resources) -> None:
    """
    Embed one batch and store it; with its last batch a document begins to answer.

    Args:
        job: Whose turn is used; None for a batch that no worker has tried.

    Raises:
        Transient: Another try may help.
    """
    _take_turn(job, resources)
    store.announce(resources.pool, resources.announce)


def _take_turn(job: EmbedJob | None, resources: Resources) -> None:
    alone = False
    for _ in range(_LOOKS):
        # A slot is acquired before the lease, so that no lease is held while waiting.
        with resources.batch_slots.hold(alone=alone):
            with span("lease"), store.connect(resources.pool) as connection:
                turn = store.find_turn(connection, job)
                if turn is None:
                    return
                if turn.suspect and not alone:
                    alone = True
                    continue
                lease = _lease(turn.job, connection, resources)
            if lease is not None:
                _embed(lease, resources)
                return
    raise Transient("other workers were faster each time")


def _lease(
    job: EmbedJob, connection: store.Connection, resources: Resources
) -> tuple[store.BatchLease, TextEmbedder] | None:
    settings = resources.settings
    model = store.serving_model(connection)
    if model is None:
        raise Misconfigured(store.NO_MODEL)
    # Before the lease: a worker without this model must not use up the batch's attempts.
    embedder = resources.find_embedder(model.digest)
    lease = store.lease_batch(
        connection,
        job,
        model_id=model.id,
        lease_seconds=settings.lease_seconds,
        max_attempts=settings.max_attempts,
        announce=resources.announce is not None,
    )
    return None if lease is None else (lease, embedder)


def _embed(leased: tuple[store.BatchLease, TextEmbedder], resources: Resources) -> None:
    lease, embedder = leased
    try:
        with span("embed", {"build": lease.job.build_id, "chunks": len(lease.texts)}):
            started = time.perf_counter()
            embeddings = embedder.embed_documents(lease.texts)
            seconds = time.perf_counter() - started
        with span("finish"), store.connect(resources.pool) as connection:
            ready = store.finish_batch(
                connection,
                lease,
                embeddings,
                announce=resources.announce is not None,
            )
    except (RejectedByDatabase, RejectedByModel) as error:
        _log.error("batch refused for good", build=lease.job.build_id, reason=error.message)
        with store.connect(resources.pool) as connection:
            store.fail_batch(
                connection,
                lease,
                code="embedding_failed",
                reason=error.message,
                announce=resources.announce is not None,
            )
        return
    except Exception as error:
        store.give_back(resources.pool, store.release_batch, lease, error=error)
        raise
    _log.info(
        "batch embedded",
        build=lease.job.build_id,
        chunks=len(lease.texts),
        ready=ready,
        seconds=round(seconds, 3),
    )


def fill_model(job: FillJob, resources: Resources) -> None:
    """
    Embed stored texts for a model that does not answer yet.

    A document that waits comes first: a model is filled by as many jobs as there are batches.
    There is no lease: doing it twice changes nothing, and the operator's next `model fill` finds
    lost work.

    Raises:
        Transient: Another try may help.
    """
    embed_batch(None, resources)
    with resources.batch_slots.hold(alone=False):
        with store.connect(resources.pool) as connection:
            model = store.find_model(connection, job.model_id)
            unfilled = store.read_unfilled(connection, job) if model is not None else []
        if model is None or not unfilled:
            return
        embedder = resources.find_embedder(model.digest)
        embeddings = embedder.embed_documents([text for _, text in unfilled])
        with store.connect(resources.pool) as connection:
            store.fill(connection, job, [ordinal for ordinal, _ in unfilled], embeddings)
    _log.info("model filled", model=job.model_id, build=job.build_id, chunks=len(unfilled))
