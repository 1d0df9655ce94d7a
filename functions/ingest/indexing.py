"""
Indexing: bring the index to the state of the bucket that a storage event announces.

Rules 1, 2 and 5 of the protocol, as far as they concern the bucket; those that concern the
database are kept in shared/store.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from shared import store
from shared.bucket import DocumentBucket, describe_too_large
from shared.embedding.tokenizer import ModelInfo
from shared.errors import NotPermitted, ObjectGone, RejectedByDatabase, Transient, Unreadable
from shared.language import detect_language, search_config, searchable_text
from shared.messaging.publisher import Publisher
from shared.runtime.logs import get_logger
from shared.runtime.slots import WorkSlots
from shared.runtime.tracing import span
from shared.values import EmbedJob, ObjectEvent, ObjectVersion

from .figures import DocumentFigures, FigureBudget, FigureReader, make_notices
from .lease import lease_kept_alive
from .numerals import decimal_mark
from .ocr import PageReader
from .sandbox import ParsedDocument, parse_document
from .settings import Settings

# Raise it when the same bytes make other chunks or other words to search: it is a part of the hash
# that every build carries.
_PIPELINE_VERSION = 11

_LOOKS = 3
_REFUSED = (
    "The database cannot store the object's name, content type or metadata: {}. Shorten them and"
    " upload it again."
)

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Resources:
    """
    The dependencies of indexing; they live as long as the process.

    Attributes:
        announce: Publishes events of documents; None if none are published.
        pages: Reads pages without text; None if they stay without.
        figures: Describes pictures inside documents; None if they are left alone.
        parse_slots: As many as may be parsed at once.
    """

    settings: Settings
    pool: store.Pool
    bucket: DocumentBucket
    publisher: Publisher
    announce: store.Publish | None
    model: ModelInfo
    tokenizer: Path
    pages: PageReader | None
    figures: FigureReader | None
    parse_slots: WorkSlots

    @property
    def config_hash(self) -> str:
        """Return a hash that identifies how documents become chunks."""
        way = f"{_PIPELINE_VERSION} {self.model.digest}"
        if self.figures is not None:
            way += f" {self.figures.model} {self.settings.figure_budget}"
        return hashlib.sha256(way.encode()).hexdigest()[:16]


def handle(event: ObjectEvent, resources: Resources) -> None:
    """
    Bring the index to the state of the bucket that *event* announces.

    An event is only a hint about an object. Collection and readers, which decide who may read the
    text, are read from the bucket.

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
            # Nothing is lost: the newer generation has its own event.
            _log.debug("delete of an overwrite passed over", generation=version.generation)
        else:
            _delete(version, resources)
    else:
        _follow(version, resources)
    store.announce(resources.pool, resources.announce)


def _follow(version: ObjectVersion, resources: Resources) -> None:
    """Index *version* as the bucket describes it, or what the bucket holds instead."""
    try:
        current = resources.bucket.look(version.name)
    except NotPermitted:
        # The download says whether this object or the bucket is closed, and no text gets in.
        _index(version, resources)
        return
    if current is None or current.generation != version.generation:
        _follow_bucket(version, resources, not_found=True)
        return
    _index(current, resources)
    # Only now is there certainly a build to record it on; an older event may have created it.
    with store.connect(resources.pool) as connection:
        store.record_metadata(connection, current)


def _index(version: ObjectVersion, resources: Resources) -> None:
    settings = resources.settings
    with store.connect(resources.pool) as connection:
        suspect = store.is_suspect_build(connection, version)
    # A slot is acquired before the lease, so that no lease is held while waiting.
    with resources.parse_slots.hold(alone=suspect):
        try:
            with store.connect(resources.pool) as connection:
                start = store.begin_build(
                    connection,
                    version,
                    config_hash=resources.config_hash,
                    lease_seconds=settings.lease_seconds,
                    max_attempts=settings.max_attempts,
                    announce=resources.announce is not None,
                )
        except RejectedByDatabase as error:
            _log.error("object refused by the database", code=error.code, reason=error.message)
            with store.connect(resources.pool) as connection:
                store.record_refused(
                    connection,
                    version,
                    code=error.code,
                    reason=_REFUSED.format(error.message),
                    announce=resources.announce is not None,
                )
            return
        lease = start.lease
        if start.obsolete:
            _follow_bucket(version, resources)
        if lease is None:
            _publish(start.jobs, resources)
            return
        try:
            with lease_kept_alive(lease, resources.pool, lease_seconds=settings.lease_seconds):
                jobs = _stage(lease, version, resources)
        except ObjectGone:
            _log.info("generation gone while parsing", build=lease.build_id)
            store.give_back(
                resources.pool,
                store.release_build,
                lease,
                error="the generation was no longer in the bucket",
            )
            _follow_bucket(version, resources, not_found=True)
            return
        except (Unreadable, RejectedByDatabase) as error:
            _log.warning("document failed", build=lease.build_id, code=error.code)
            with store.connect(resources.pool) as connection:
                store.fail_build(
                    connection,
                    lease,
                    code=error.code,
                    reason=error.message,
                    announce=resources.announce is not None,
                )
            return
        except Exception as error:
            store.give_back(resources.pool, store.release_build, lease, error=error)
            raise
    _publish(jobs, resources)
    _log.info("document staged", build=lease.build_id, jobs=len(jobs))


def _publish(jobs: list[EmbedJob], resources: Resources) -> None:
    """Publish *jobs*, and record that afterwards: unrecorded jobs are published again."""
    if jobs:
        resources.publisher.publish_jobs(jobs)
        with store.connect(resources.pool) as connection:
            store.note_published(connection, jobs)


def _stage(lease: store.BuildLease, version: ObjectVersion, resources: Resources) -> list[EmbedJob]:
    settings = resources.settings
    if version.size > settings.max_file_bytes:
        raise Unreadable("too_large", describe_too_large(settings.max_file_bytes))
    with tempfile.NamedTemporaryFile(prefix="document-") as file:
        with span("download", {"bytes": version.size}):
            resources.bucket.download(version, file.file, max_bytes=settings.max_file_bytes)
            file.flush()
        figures = _document_figures(lease, resources)
        with ExitStack() as open_until_staged:
            with span("parse"):
                parsed = open_until_staged.enter_context(
                    _parse(Path(file.name), version, resources, figures)
                )
                _log_figures(lease, parsed, figures)
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
                        notices=make_notices(parsed.figures_left_out),
                        figures=None if figures is None else asdict(figures.cost),
                    ),
                    chunks=(
                        (
                            chunk,
                            searchable_text(chunk.text, language=language, name=version.name),
                        )
                        for chunk in parsed.chunks()
                    ),
                    text_segments=parsed.text_segments(),
                    tables=parsed.tables(
                        decimal=decimal_mark(language, content_type=parsed.content_type)
                    ),
                    search_config=search_config(language),
                    batch_size=settings.chunks_per_job,
                    announce=resources.announce is not None,
                )


def _document_figures(lease: store.BuildLease, resources: Resources) -> DocumentFigures | None:
    if resources.figures is None:
        return None
    settings = resources.settings
    return DocumentFigures(
        resources.figures,
        resources.pool,
        build_id=lease.build_id,
        budget=FigureBudget(
            pictures=settings.figure_budget,
            bytes=settings.figure_budget_bytes,
            tokens=settings.figure_budget_tokens,
        ),
        gives_up=lease.attempts >= settings.max_attempts,
    )


def _log_figures(
    lease: store.BuildLease, parsed: ParsedDocument, figures: DocumentFigures | None
) -> None:
    if figures is not None and (figures.cost.described or parsed.figures_left_out):
        _log.info(
            "figures described",
            build=lease.build_id,
            left_out=len(parsed.figures_left_out),
            tokens=figures.cost.tokens,
            **asdict(figures.cost),
        )


def _parse(
    path: Path, version: ObjectVersion, resources: Resources, figures: DocumentFigures | None
) -> ParsedDocument:
    settings = resources.settings
    return parse_document(
        path,
        name=version.name,
        content_type=version.content_type or None,
        limits=settings.parse_limits,
        tokenizer=resources.tokenizer,
        max_tokens=resources.model.max_tokens,
        ocr=resources.pages.read_page if resources.pages is not None else None,
        ocr_page_budget=settings.ocr_page_budget,
        describe_figure=figures.describe if figures is not None else None,
        allow_unconfined=settings.allow_unconfined_parser,
    )


def _delete(version: ObjectVersion, resources: Resources) -> None:
    """Handle a delete that may mean an overwrite; only the bucket tells the two apart."""
    with store.connect(resources.pool) as connection:
        known = store.read_generations(connection, version)
    current = resources.bucket.look(version.name)
    if current is None:
        _record_gone(version, known, resources)
        _log.info("document deleted", generation=version.generation)
    elif current.generation > version.generation:
        _record_newer(current, resources)


def _follow_bucket(
    version: ObjectVersion, resources: Resources, *, not_found: bool = False
) -> None:
    """
    Follow the bucket: *version* is older than recorded, or was not found there.

    Args:
        not_found: The bucket did not give *version*.

    Raises:
        Transient: The bucket shows the generation that it did not give.
    """
    with store.connect(resources.pool) as connection:
        # Before the look: what is recorded meanwhile is newer than what the look finds.
        known = store.read_generations(connection, version)
    current = resources.bucket.look(version.name)
    if current is None:
        if not_found:
            _record_gone(version, known, resources)
    elif not_found and current.generation == version.generation:
        raise Transient("Cloud Storage lists this generation but returns 404 for it")
    elif current.generation > max(known.seen, known.dead):
        _record_newer(current, resources)
    elif current.generation < known.seen or current.generation <= known.dead:
        _log.warning(
            "the bucket holds an older generation than was recorded",
            generation=current.generation,
            recorded=max(known.seen, known.dead),
        )
        with store.connect(resources.pool) as connection:
            waiting = store.record_live(connection, current, known=known)
        if waiting:
            resources.publisher.publish_finalized([current])


def _record_gone(
    version: ObjectVersion, known: store.KnownGenerations, resources: Resources
) -> None:
    for _ in range(_LOOKS):
        with store.connect(resources.pool) as connection:
            if store.record_gone(
                connection,
                version,
                known=known,
                announce=resources.announce is not None,
            ):
                return
            # Another event of this object came since the look: look again.
            known = store.read_generations(connection, version)
        if resources.bucket.look(version.name) is not None:
            return  # the live object's own event has come or will come
    raise Transient("other events of this object keep coming while the bucket is looked at")


def _record_newer(current: ObjectVersion, resources: Resources) -> None:
    """Queue a generation whose own event may have been lost; the old one answers meanwhile."""
    with store.connect(resources.pool) as connection:
        waiting = store.record_newer(connection, current)
    if waiting:
        resources.publisher.publish_finalized([current])
