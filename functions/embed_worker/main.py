"""Embed worker: one batch of chunks in, vectors in Postgres out; and the end of dead letters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import functions_framework
from cloudevents.http import CloudEvent
from pydantic import Field

from shared import store
from shared.embedding.embedder import Embedder, Embedders, Runtime
from shared.errors import KaydangError, Malformed, Misconfigured, RejectedByDatabase
from shared.messaging.events import Message, read_job, read_message, read_notification
from shared.runtime.logs import get_logger, set_up_logs
from shared.runtime.push_authentication import accept_pushes_without_data, admit_pushes
from shared.runtime.server import serve_whole_requests
from shared.runtime.startup import once, warm_after_fork
from shared.runtime.tracing import set_up_tracing, span, traced
from shared.settings import (
    DatabaseSettings,
    LogSettings,
    ModelSettings,
    PushSettings,
    RetrySettings,
    load,
)
from shared.values import EmbedJob, FillJob


class Settings(DatabaseSettings, ModelSettings, RetrySettings, LogSettings):
    """
    How many batches one instance holds at once: some embed while another is read or stored.

    EMBEDDING_RUNTIME=torch embeds on a GPU where there is one; it takes a float32 export.
    """

    embedding_runtime: Runtime = "onnxruntime"
    batches_at_once: int = Field(default=3, ge=1, le=16)


@dataclass(frozen=True, slots=True)
class Resources:
    """
    What lives as long as the process.

    *find_embedder* returns the model of a digest, or raises Misconfigured.
    """

    settings: Settings
    pool: store.Pool
    find_embedder: Callable[[str], Embedder]
    holding: threading.BoundedSemaphore


set_up_logs(load(Settings))
admit_pushes(load(PushSettings))
accept_pushes_without_data()
serve_whole_requests()
set_up_tracing("embed-worker")
_log = get_logger("embed_worker")


@functions_framework.cloud_event
@traced("embed_chunks")
def embed_chunks(event: CloudEvent) -> None:
    """
    Handle one chunk job: returning acknowledges it, raising asks for it again.

    Raises:
        Transient: Another try may help.
        Misconfigured: An operator must act; the job waits for that.
    """
    try:
        job = read_job(read_message(event.data))
    except Malformed as error:
        _log.error("job refused for good", reason=error.message)
        return
    if isinstance(job, FillJob):
        fill_model(job, _open_resources())
    else:
        embed_batch(job, _open_resources())


def embed_batch(job: EmbedJob, resources: Resources) -> None:
    """
    Embed one batch and store it; the last one of a document lets it answer.

    Raises:
        Transient: Another try may help.
    """
    settings = resources.settings
    # A place is had before the lease: a lease held while waiting would be a lie.
    with resources.holding:
        with span("lease"), store.connect(resources.pool) as connection:
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
            )
        if lease is None:
            return
        try:
            with span("embed", {"chunks": len(lease.texts)}):
                started = time.perf_counter()
                embeddings = embedder.embed_documents(lease.texts)
                seconds = time.perf_counter() - started
            with span("finish"), store.connect(resources.pool) as connection:
                ready = store.finish_batch(connection, lease, embeddings)
        except RejectedByDatabase as error:
            _log.error("batch refused by the database", build=job.build_id, reason=error.message)
            with store.connect(resources.pool) as connection:
                store.fail_batch(connection, lease, code="embedding_failed", reason=error.message)
            return
        except Exception as error:
            _release(lease, error, resources)
            raise
    _log.info(
        "batch embedded",
        build=job.build_id,
        chunks=len(lease.texts),
        ready=ready,
        seconds=round(seconds, 3),
    )


def fill_model(job: FillJob, resources: Resources) -> None:
    """
    Embed stored texts for a model that does not answer yet.

    Without a lease: doing it twice wastes work and changes nothing, and what is lost the operator's
    next `model fill` finds.

    Raises:
        Transient: Another try may help.
    """
    with resources.holding:
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


def _release(lease: store.BatchLease, error: Exception, resources: Resources) -> None:
    known = isinstance(error, KaydangError)
    try:
        with store.connect(resources.pool) as connection:
            store.release_batch(
                connection,
                lease,
                error=f"{type(error).__name__}: {error}" if known else type(error).__name__,
            )
    except KaydangError as failure:
        # The lease runs out by itself; the first error is the one to raise.
        _log.warning("lease not released", build=lease.job.build_id, error=str(failure))


@functions_framework.cloud_event
@traced("record_dead_letter")
def record_dead_letter(event: CloudEvent) -> None:
    """
    Keep a message that Pub/Sub gave up on, and mark its document failed.

    Raises:
        Transient: Another try may help.
    """
    try:
        message = read_message(event.data)
    except Malformed as error:
        _log.error("dead letter refused for good", reason=error.message)
        return
    keep_dead_letter(message, _open_pool())


def keep_dead_letter(message: Message, pool: store.Pool) -> None:
    """
    Keep a dead letter for the operator, and mark its document failed.

    Raises:
        Transient: Another try may help.
    """
    with store.connect(pool) as connection:
        store.record_dead_letter(
            connection,
            message_id=message.message_id,
            subscription=message.attributes.get(
                # https://cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts
                "CloudPubSubDeadLetterSourceSubscription",
                message.subscription,
            ),
            data=message.data,
            attributes=message.attributes,
        )
        _log.error("dead letter", message_id=message.message_id)
        _mark_failed(connection, message)


def _mark_failed(connection: store.Connection, message: Message) -> None:
    try:
        if "eventType" in message.attributes:
            event = read_notification(message)
            # A delete that was lost is no failure of a document: the reconciler sees to it.
            if event is not None and event.kind != "deleted":
                store.record_dead_object(connection, event.object)
        else:
            job = read_job(message)
            # A fill that was lost is no failure of a document: `model fill` finds it again.
            if isinstance(job, EmbedJob):
                store.record_dead_job(connection, job)
    except Malformed as error:
        _log.error("dead letter names no document", reason=error.message)


@once
def _open_pool() -> store.Pool:
    return store.open_pool(load(Settings))


@once
def _open_resources() -> Resources:
    settings = load(Settings)
    embedders = Embedders(
        [settings.model_dir, settings.other_model_dir],
        threads=settings.embedding_threads,
        runtime=settings.embedding_runtime,
    )
    return Resources(
        settings=settings,
        pool=_open_pool(),
        find_embedder=embedders.find,
        holding=threading.BoundedSemaphore(settings.batches_at_once),
    )


def _warm_up() -> None:
    resources = _open_resources()
    with store.connect(resources.pool) as connection:
        if model := store.serving_model(connection):
            resources.find_embedder(model.digest)


warm_after_fork(_warm_up)
