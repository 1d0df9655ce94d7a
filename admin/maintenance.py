"""Maintenance commands: sweep, reconcile, dead-letters, index, doctor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass

import click
from rich.progress import track

from admin.documents import apply
from admin.lexeme_statistics import refresh_statistics
from admin.reconciliation import find_differences
from admin.terminal import (
    Settings,
    dry_run_option,
    end_at_signal,
    every_option,
    json_option,
    one_sentence,
    print_counts,
    print_json,
    print_table,
    progress,
    repeat,
    shown,
)
from admin.vector_index import create_vector_index
from shared import store
from shared.bucket import DocumentBucket
from shared.messaging.publisher import DocumentEventPublisher, Publisher
from shared.runtime.logs import get_logger, set_up_logs
from shared.settings import load

_log = get_logger("admin")


@click.command()
@every_option
@click.option(
    "--unleased",
    "unleased_seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Seconds after which an unclaimed message counts as lost.",
)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--keep-days",
    type=click.IntRange(min=32),
    default=90,
    show_default=True,
    help="Days until dead letters, ratings and rows of deleted documents are removed.",
)
@dry_run_option
@json_option
def sweep(
    *,
    every_seconds: float | None,
    unleased_seconds: int,
    limit: int,
    keep_days: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish stalled work again: what crashes and lost messages left behind."""
    if dry_run:
        if every_seconds is not None:
            raise click.UsageError("--dry-run looks once: leave out --every")
        with (
            one_sentence(),
            store.open_pool(load(Settings)) as pool,
            store.connect(pool) as connection,
            # The very statements of a sweep, undone.
            connection.transaction(force_rollback=True),
        ):
            stalled = store.claim_stalled(
                connection, unleased_seconds=unleased_seconds, pause_seconds=10, limit=limit
            )
            would = {
                "documents would be published": len(stalled.objects),
                "batches would be published": len(stalled.jobs),
                "rows would be removed": store.forget_old(connection, days=keep_days),
                "events would be dropped": store.drop_old_events(connection),
            }
        print_counts(would, as_json=as_json)
        return
    with one_sentence():
        settings = load(Settings)
        sweeper = open_sweeper(
            settings, unleased_seconds=unleased_seconds, limit=limit, keep_days=keep_days
        )
        if every_seconds is not None:
            set_up_logs(settings)
            keep_sweeping(sweeper, every_seconds=every_seconds, over=end_at_signal())
            return
        with sweeper as once:
            swept = once()
    set_up_logs(settings)
    swept.log_dropped()
    # Log-based metrics are made of it: infra/terraform/metrics.tf.
    _log.info("backlog", **asdict(swept.backlog))
    print_counts(swept.counts, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep published, the events it had to drop, and the backlog it found."""

    counts: dict[str, int]
    dropped: int
    backlog: store.Backlog

    def log_dropped(self) -> None:
        """Log what is lost."""
        if self.dropped:
            _log.error("document events could not be published for a week", dropped=self.dropped)


@contextmanager
def open_sweeper(
    settings: Settings, *, unleased_seconds: int = 60, limit: int = 1000, keep_days: int = 90
) -> Iterator[Callable[[], Swept]]:
    """Yield what sweeps once."""
    publisher = Publisher(settings)
    documents = DocumentEventPublisher(settings) if settings.announces_documents else None
    with store.open_pool(settings) as pool:

        def once() -> Swept:
            with store.connect(pool) as connection:
                stalled = store.claim_stalled(
                    connection, unleased_seconds=unleased_seconds, pause_seconds=10, limit=limit
                )
                refresh_statistics(connection)
                store.refresh_document_counts(connection)
                store.forget_old(connection, days=keep_days)
                backlog = store.read_backlog(connection)
                dropped = store.drop_old_events(connection)
            publisher.publish_finalized(stalled.objects)
            publisher.publish_jobs(stalled.jobs)
            events = store.publish_waiting(pool, documents.publish) if documents else 0
            counts = {
                "documents": len(stalled.objects),
                "batches": len(stalled.jobs),
                "events": events,
            }
            return Swept(counts, dropped, backlog)

        yield once


def keep_sweeping(
    sweeper: AbstractContextManager[Callable[[], Swept]],
    *,
    every_seconds: float,
    over: threading.Event,
) -> None:
    """Sweep again and again until *over* is set, and log what was found."""
    with sweeper as once:

        def action() -> None:
            swept = once()
            swept.log_dropped()
            if any(swept.counts.values()):
                _log.info("swept", **swept.counts)

        repeat(action, every_seconds=every_seconds, over=over)


@click.command()
@click.option(
    "--check", "--dry-run", is_flag=True, help="Only compare; exit 1 if index and bucket differ."
)
@every_option
@json_option
def reconcile(*, check: bool, every_seconds: float | None, as_json: bool) -> None:
    """
    Compare the index with the bucket and publish what is missing on either side.

    A run continues where the last one was interrupted; --check always compares everything.
    """
    if check and every_seconds is not None:
        raise click.UsageError("--check looks once: leave out --every")
    with one_sentence():
        settings = load(Settings)
        if every_seconds is not None:
            set_up_logs(settings)
            keep_reconciling(
                open_reconciler(settings), every_seconds=every_seconds, over=end_at_signal()
            )
            return
        with open_reconciler(settings, check=check, shows=check and not as_json) as once:
            counts = once()
    print_counts(counts, as_json=as_json)
    if check and any(counts.values()):
        raise SystemExit(1)


@contextmanager
def open_reconciler(
    settings: Settings, *, check: bool = False, shows: bool = False
) -> Iterator[Callable[[], dict[str, int]]]:
    """
    Yield what compares index and bucket once and returns the number of each kind of difference.

    Args:
        check: Publish nothing.
        shows: Print each difference.
    """
    bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
    publisher = Publisher(settings)
    with store.open_pool(settings) as pool:

        def once() -> dict[str, int]:
            counts = {"not_indexed": 0, "not_deleted": 0, "unfinished": 0}
            with store.connect(pool) as connection:
                start = "" if check else store.read_position(connection, bucket=bucket.name)
            for page, position in find_differences(
                lambda: store.connect(pool), bucket, start=start
            ):
                for difference in page:
                    counts[difference.kind] += 1
                    if shows:
                        click.echo(f"{difference.kind}: {shown(difference.name).plain}")
                if not check:
                    publisher.publish_events(item.event for item in page if item.event)
                    with store.connect(pool) as connection:
                        store.note_position(connection, position, bucket=bucket.name)
            return counts

        yield once


def keep_reconciling(
    reconciler: AbstractContextManager[Callable[[], dict[str, int]]],
    *,
    every_seconds: float,
    over: threading.Event,
) -> None:
    """Compare again and again until *over* is set, and log what was found."""
    with reconciler as once:

        def action() -> None:
            counts = once()
            if any(counts.values()):
                _log.info("reconciled", **counts)

        repeat(action, every_seconds=every_seconds, over=over)


@click.group("dead-letters")
def dead_letters() -> None:
    """List or replay the messages that Pub/Sub gave up on."""


@dead_letters.command("list")
@json_option
def list_dead_letters(*, as_json: bool) -> None:
    """List the dead letters that are not replayed yet, oldest first."""
    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        letters = store.list_dead_letters(connection)
    if as_json:
        print_json(
            [
                {"id": each.id, "message_id": each.message_id, "attributes": each.attributes}
                for each in letters
            ]
        )
        return
    rows = [
        (
            str(each.id),
            each.message_id,
            ", ".join(f"{name}={value}" for name, value in sorted(each.attributes.items())),
        )
        for each in letters
    ]
    print_table(("id", "message", "attributes"), rows, empty="no dead letters")


@dead_letters.command("replay")
@dry_run_option
@json_option
def replay(*, dry_run: bool, as_json: bool) -> None:
    """Publish every dead letter again, and give the documents they failed a fresh start."""
    with one_sentence():
        settings = load(Settings)
        publisher = Publisher(settings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            letters = store.list_dead_letters(connection)
            ids = store.find_documents(connection, state="failed", reason="attempts_exhausted")
            if dry_run:
                counts = {"would be replayed": len(letters), "would be retried": len(ids)}
                print_counts(counts, as_json=as_json)
                return
            versions = apply(connection, ids, store.requeue_document)
            publisher.publish_finalized(versions)
            for letter in track(letters, "replaying", console=progress, transient=True):
                publisher.republish(letter.data, letter.attributes)
                store.mark_replayed(connection, letter.id)
    print_counts({"replayed": len(letters), "retried": len(versions)}, as_json=as_json)


@click.command()
@dry_run_option
@json_option
def index(*, dry_run: bool, as_json: bool) -> None:
    """Build the vector index if it is useful; otherwise say so."""
    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        said = create_vector_index(connection, dry_run=dry_run)
    if as_json:
        print_json({"message": said})
    else:
        click.echo(said)


@click.command()
@click.option(
    "--gemini/--no-gemini",
    default=True,
    show_default=True,
    help="Ask Gemini for one token, which reveals a retired model or a missing permission.",
)
@click.option("--probe", is_flag=True, help="Upload a document, ask about it, delete it.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    help="Seconds that the probe may take.",
)
@json_option
def doctor(*, gemini: bool, probe: bool, timeout_seconds: float, as_json: bool) -> None:
    """Check the whole deployment and report what is wrong; exit 1 if anything is."""
    # Only this command needs it.
    from admin.doctor import Settings as DoctorSettings
    from admin.doctor import examine

    findings = []

    with one_sentence():
        settings = load(DoctorSettings)
        # What the clients log, the findings say.
        set_up_logs(settings.model_copy(update={"log_level": "ERROR"}))
        for finding in examine(
            settings, gemini=gemini, probe_seconds=timeout_seconds if probe else None
        ):
            findings.append(finding)
            if not as_json:
                _print_finding(finding.check, finding.state, finding.message)
    faults = sum(finding.state == "fault" for finding in findings)
    if as_json:
        print_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        click.echo(f"{faults} faults" if faults else "no fault")
    if faults:
        raise SystemExit(1)


def _print_finding(check: str, state: str, message: str) -> None:
    colours = {"ok": "green", "fault": "red"}
    click.echo(f"{click.style(f'{state:14}', fg=colours.get(state, 'yellow'))}{check}: {message}")
