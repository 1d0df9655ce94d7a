"""Ingest: a storage event in; chunks staged in Postgres and embed jobs on Pub/Sub out."""

from __future__ import annotations

import os

import functions_framework
from cloudevents.http import CloudEvent

from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.tokenizer import TOKENIZER_FILE, read_model_info
from shared.errors import Malformed
from shared.language import detect_language
from shared.messaging.events import read_object_event
from shared.messaging.publisher import DocumentEventPublisher, Publisher
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

from .confinement import hide_memory
from .figures import FigureReader
from .indexing import Resources, handle
from .ocr import PageReader
from .sandbox import check_confinement, start_parser
from .settings import Settings

# Before the framework forks: its worker, which reads documents, inherits it.
hide_memory()
set_up_logs(load(Settings))
answer_probes(lambda: _check_database())
admit_hosts(load(HostSettings))
admit_pushes(load(PushSettings))
accept_pushes_without_data()
serve_whole_requests()
set_up_tracing("ingest")
_log = get_logger("ingest")


@functions_framework.cloud_event
@traced("ingest")
def ingest(event: CloudEvent) -> None:
    """
    Handle one storage event: returning acknowledges it, raising asks for it again.

    Raises:
        Transient: Another try may help.
        Misconfigured: An operator must act; the event waits for that.
    """
    try:
        object_event = read_object_event(event["type"], event.data)
    except Malformed as error:
        _log.error("event refused for good", reason=error.message)
        return
    if object_event is not None:
        handle(object_event, _open_resources())


@once
def _open_pool() -> store.Pool:
    return store.open_pool(load(Settings), statement_seconds=store.STATEMENT_TIMEOUT_SECONDS)


def _check_database() -> None:
    with store.connect(_open_pool()) as connection:
        connection.execute("SELECT 1")


@once
def _open_resources() -> Resources:
    settings = load(Settings)
    check_confinement(allow_unconfined=settings.allow_unconfined_parser)
    pool = _open_pool()
    folders = {
        read_model_info(folder).digest: folder
        for folder in (settings.model_dir, settings.other_model_dir)
        if folder is not None
    }
    with store.connect(pool) as connection:
        folder = folders[store.check_model(connection, folders)]
    model = read_model_info(folder)
    return Resources(
        settings=settings,
        pool=pool,
        bucket=DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project),
        publisher=Publisher(settings),
        announce=DocumentEventPublisher(settings).publish if settings.announces_documents else None,
        model=model,
        tokenizer=folder / TOKENIZER_FILE,
        pages=PageReader(settings) if settings.reads_pictures else None,
        figures=FigureReader(settings) if settings.describes_figures else None,
        parse_slots=WorkSlots(len(os.sched_getaffinity(0))),
    )


def _warm_up() -> None:
    start_parser()
    detect_language("Which language is this sentence written in?")
    _open_resources()


warm_after_fork(_warm_up)
