"""Embed worker: a batch of chunks in, vectors in Postgres out; and the recorder of dead letters."""

from __future__ import annotations

import os

import functions_framework
from cloudevents.http import CloudEvent

from shared import store
from shared.embedding.embedders import Embedders
from shared.errors import Malformed
from shared.messaging.events import read_job, read_message
from shared.runtime.hosts import admit_hosts
from shared.runtime.logs import get_logger, set_up_logs
from shared.runtime.push_authentication import (
    accept_pushes_without_data,
    admit_pushes,
    answer_probes,
)
from shared.runtime.server import serve_whole_requests
from shared.runtime.slots import WorkSlots
from shared.runtime.startup import once, warm_after_fork
from shared.runtime.tracing import set_up_tracing, traced
from shared.settings import HostSettings, PushSettings, load
from shared.values import FillJob

from .dead_letters import keep_dead_letter
from .embedding_jobs import Resources, embed_batch, fill_model
from .settings import Settings

# One process holds so many: some embed while another is read or stored.
_BATCHES_AT_ONCE = 3

set_up_logs(load(Settings))
answer_probes(lambda: _check_database())
admit_hosts(load(HostSettings))
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
    keep_dead_letter(message, _open_pool(), announce=_open_announcer())


@once
def _open_pool() -> store.Pool:
    return store.open_pool(load(Settings), statement_seconds=store.STATEMENT_TIMEOUT_SECONDS)


@once
def _open_announcer() -> store.Publish | None:
    settings = load(Settings)
    if not settings.announces_documents:
        return None
    # Nothing else here publishes, and the client's import is half of a cold start.
    from shared.messaging.publisher import DocumentEventPublisher

    return DocumentEventPublisher(settings).publish


def _check_database() -> None:
    with store.connect(_open_pool()) as connection:
        connection.execute("SELECT 1")


@once
def _open_resources() -> Resources:
    settings = load(Settings)
    embedders = Embedders(
        [settings.model_dir, settings.other_model_dir],
        device=settings.embedding_device,
        count_tokens=lambda tokens: _log.info("tokens embedded", tokens=tokens),
    )
    return Resources(
        settings=settings,
        pool=_open_pool(),
        announce=_open_announcer(),
        find_embedder=embedders.find,
        batch_slots=WorkSlots(_BATCHES_AT_ONCE),
    )


def _warm_up() -> None:
    # The recorder of dead letters embeds nothing: the model would take memory for no use.
    if os.environ["FUNCTION_TARGET"] == record_dead_letter.__name__:
        _check_database()
        return
    resources = _open_resources()
    with store.connect(resources.pool) as connection:
        if model := store.serving_model(connection):
            resources.find_embedder(model.digest)


warm_after_fork(_warm_up)
