"""Ingest: a storage event in; chunks staged in Postgres and embed jobs on Pub/Sub out."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import functions_framework
from cloudevents.http import CloudEvent
from pydantic import Field

from shared import store
from shared.bucket import DocumentBucket, describe_too_large
from shared.embedding.tokenizer import TOKENIZER_FILE, ModelInfo, read_model_info
from shared.errors import (
    KaydangError,
    Malformed,
    ObjectGone,
    RejectedByDatabase,
    Transient,
    Unreadable,
)
from shared.language import detect_language, search_config, searchable_text
from shared.messaging.events import read_object_event
from shared.messaging.publisher import Publisher
from shared.runtime.logs import get_logger, set_up_logs
from shared.runtime.push_authentication import accept_pushes_without_data, admit_pushes
from shared.runtime.server import serve_whole_requests
from shared.runtime.startup import once, warm_after_fork
from shared.runtime.tracing import set_up_tracing, span, traced
from shared.settings import (
    DatabaseSettings,
    EventSettings,
    GeminiSettings,
    LogSettings,
    ModelSettings,
    PushSettings,
    RetrySettings,
    load,
)
from shared.values import EmbedJob, ObjectEvent, ObjectVersion

from .confinement import hide_memory
from .ocr import PageReader
from .sandbox import ParsedDocument, ParseLimits, check_confinement, parse_document, start_parser

# Raise it when the parser or the chunker makes other chunks of the same bytes: it is a part of the
# hash that every build carries.
_PIPELINE_VERSION = 2


class Settings(
    DatabaseSettings, EventSettings, ModelSettings, RetrySettings, GeminiSettings, LogSettings
):
    """What one document may cost, beside where everything is."""

    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pages: int = Field(default=10_000, ge=1)
    max_decompressed_bytes: int = Field(default=256 * 2**20, ge=1)
    max_cells: int = Field(default=2_000_000, ge=1)
    max_chunks: int = Field(default=200_000, ge=1)
    max_text_chars: int = Field(default=128 * 2**20, ge=1)
    parse_timeout_seconds: float = Field(default=300, gt=0, le=540)
    parse_memory_bytes: int = Field(default=2**30, ge=256 * 2**20)
    parse_concurrency: int = Field(default=0, ge=0, le=64, description="0: one a core")
    chunks_per_job: int = Field(default=64, ge=1, le=1000)
    ocr_page_budget: int = Field(default=0, ge=0, le=1000, description="0: no OCR")
    allow_unconfined_parser: bool = Field(
        default=False, description="parse where the system cannot contain it, as macOS cannot"
    )

    @property
    def reads_pictures(self) -> bool:
        """Whether pages without text are read by Gemini."""
        return self.gemini_configured and self.ocr_page_budget > 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What lives as long as the process."""

    settings: Settings
    pool: store.Pool
    bucket: DocumentBucket
    publisher: Publisher
    model: ModelInfo
    tokenizer: Path
    pages: PageReader | None
    parsing: threading.BoundedSemaphore

    @property
    def config_hash(self) -> str:
        """Return what identifies the way in which a document becomes chunks."""
        return hashlib.sha256(f"{_PIPELINE_VERSION} {self.model.digest}".encode()).hexdigest()[:16]


# Before the framework forks: its worker, which reads documents, inherits it.
hide_memory()
set_up_logs(load(Settings))
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


def handle(event: ObjectEvent, resources: Resources) -> None:
    """
    Bring the index to where *event* says the bucket is.

    Raises:
        Transient: Another try may help.
    """
    version = event.object
    if version.bucket != resources.settings.documents_bucket:
        _log.error("event of another bucket ignored", bucket=version.bucket)
    elif version.is_placeholder:
        _log.debug("folder placeholder ignored")
    elif event.kind == "deleted":
        if (event.overwritten_by or 0) > version.generation:
            # Nothing is gone, and the newer generation has an event of its own.
            _log.debug("delete of an overwrite passed over", generation=version.generation)
        else:
            _delete(version, resources)
    else:
        _index(version, resources)
        if event.kind == "metadata_updated":
            # Only now there surely is a build to record it on: an older event may have made it.
            with store.connect(resources.pool) as connection:
                store.record_metadata(connection, version)


def _index(version: ObjectVersion, resources: Resources) -> None:
    settings = resources.settings
    # A place is had before the lease: a lease held while waiting would be a lie.
    with resources.parsing:
        with store.connect(resources.pool) as connection:
            begun = store.begin_build(
                connection,
                version,
                config_hash=resources.config_hash,
                lease_seconds=settings.lease_seconds,
                max_attempts=settings.max_attempts,
            )
        if isinstance(begun, list):
            resources.publisher.publish_jobs(begun)
            return
        try:
            with _lease_kept_alive(begun, resources):
                jobs = _stage(begun, version, resources)
        except ObjectGone:
            _log.info("generation gone while parsing", build=begun.build_id)
            _release(begun, "the generation was no longer in the bucket", resources)
            _follow_bucket(version, resources)
            return
        except (Unreadable, RejectedByDatabase) as error:
            _log.warning("document failed", build=begun.build_id, code=error.code)
            with store.connect(resources.pool) as connection:
                store.fail_build(connection, begun, code=error.code, reason=error.message)
            return
        except Exception as error:
            _release(begun, _describe(error), resources)
            raise
    resources.publisher.publish_jobs(jobs)
    _log.info("document staged", build=begun.build_id, jobs=len(jobs))


def _stage(lease: store.BuildLease, version: ObjectVersion, resources: Resources) -> list[EmbedJob]:
    settings = resources.settings
    if version.size > settings.max_file_bytes:
        raise Unreadable("too_large", describe_too_large(settings.max_file_bytes))
    with tempfile.NamedTemporaryFile(prefix="document-") as file:
        with span("download", {"bytes": version.size}):
            resources.bucket.download(version, file.file, max_bytes=settings.max_file_bytes)
            file.flush()
        with ExitStack() as open_until_staged:
            with span("parse"):
                parsed = open_until_staged.enter_context(
                    _parse(Path(file.name), version, resources)
                )
                language = detect_language(parsed.sample)
            with span("stage"), store.connect(resources.pool) as connection:
                return store.stage_build(
                    connection,
                    lease,
                    document=store.StagedDocument(
                        title=parsed.title,
                        language=language,
                        content_type=parsed.content_type,
                        pages=parsed.pages,
                        pages_without_text=parsed.pages_without_text,
                    ),
                    chunks=(
                        (chunk, searchable_text(chunk.text, language=language))
                        for chunk in parsed.chunks()
                    ),
                    text_segments=parsed.text_segments(),
                    search_config=search_config(language),
                    batch_size=settings.chunks_per_job,
                )


def _parse(path: Path, version: ObjectVersion, resources: Resources) -> ParsedDocument:
    settings = resources.settings
    return parse_document(
        path,
        name=version.name,
        content_type=version.content_type or None,
        limits=ParseLimits(
            max_pages=settings.max_pages,
            max_decompressed_bytes=settings.max_decompressed_bytes,
            max_cells=settings.max_cells,
            max_chunks=settings.max_chunks,
            max_text_chars=settings.max_text_chars,
            timeout_seconds=settings.parse_timeout_seconds,
            memory_bytes=settings.parse_memory_bytes,
        ),
        tokenizer=resources.tokenizer,
        max_tokens=resources.model.max_tokens,
        ocr=resources.pages.read_page if resources.pages is not None else None,
        ocr_page_budget=settings.ocr_page_budget,
        allow_unconfined=settings.allow_unconfined_parser,
    )


def _delete(version: ObjectVersion, resources: Resources) -> None:
    """Handle a delete that may be an overwrite's: only a look tells the two apart."""
    current = resources.bucket.look(version.name)
    if current is None:
        with store.connect(resources.pool) as connection:
            store.record_gone(connection, version)
        _log.info("document deleted", generation=version.generation)
    elif current.generation > version.generation:
        _record_newer(current, resources)


def _follow_bucket(version: ObjectVersion, resources: Resources) -> None:
    """
    Go where the bucket went while *version* was being read.

    Raises:
        Transient: The bucket shows the generation that it did not give.
    """
    current = resources.bucket.look(version.name)
    if current is None:
        with store.connect(resources.pool) as connection:
            store.record_gone(connection, version)
    elif current.generation > version.generation:
        _record_newer(current, resources)
    else:
        raise Transient("the bucket lists a generation that it does not give")


def _record_newer(current: ObjectVersion, resources: Resources) -> None:
    """Queue a generation whose own event may have been lost; the old one answers meanwhile."""
    with store.connect(resources.pool) as connection:
        waiting = store.record_newer(connection, current)
    if waiting:
        resources.publisher.publish_finalized([current])


def _release(lease: store.BuildLease, error: str, resources: Resources) -> None:
    try:
        with store.connect(resources.pool) as connection:
            store.release_build(connection, lease, error=error)
    except KaydangError as failure:
        # The lease runs out by itself; the first error is the one to raise.
        _log.warning("lease not released", build=lease.build_id, error=_describe(failure))


def _describe(error: Exception) -> str:
    """Return what may stand in a log and on a document: never text of the document."""
    known = isinstance(error, KaydangError)
    return f"{type(error).__name__}: {error}" if known else type(error).__name__


@contextmanager
def _lease_kept_alive(lease: store.BuildLease, resources: Resources) -> Iterator[None]:
    def extend() -> None:
        with store.connect(resources.pool) as connection:
            store.extend_lease(connection, lease, lease_seconds=resources.settings.lease_seconds)

    over = threading.Event()
    every_seconds = resources.settings.lease_seconds / 3
    thread = threading.Thread(
        target=partial(_repeat, extend, over, every_seconds=every_seconds), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _repeat(action: Callable[[], None], over: threading.Event, *, every_seconds: float) -> None:
    while not over.wait(every_seconds):
        try:
            action()
        except KaydangError as error:
            # Without it the lease may run out, and another instance repeats the work: harmless.
            _log.warning("lease not extended", error=_describe(error))


def _make_page_reader(settings: Settings) -> PageReader:
    return PageReader(
        api_key=settings.gemini_api_key.get_secret_value(),
        project=settings.google_cloud_project,
        location=settings.google_cloud_location,
        base_url=settings.google_gemini_base_url,
        model=settings.gemini_model,
        page_timeout_seconds=settings.gemini_timeout_seconds,
        read_timeout_seconds=settings.gemini_read_timeout_seconds,
    )


@once
def _open_pool() -> store.Pool:
    return store.open_pool(load(Settings))


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
        model=model,
        tokenizer=folder / TOKENIZER_FILE,
        pages=_make_page_reader(settings) if settings.reads_pictures else None,
        parsing=threading.BoundedSemaphore(
            settings.parse_concurrency or len(os.sched_getaffinity(0))
        ),
    )


def _warm_up() -> None:
    start_parser()
    detect_language("Which language is this sentence written in?")
    _open_resources()


warm_after_fork(_warm_up)
