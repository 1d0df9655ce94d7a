"""
Operate a deployment: what is indexed, what failed and why, and how to heal it.

Reads the same environment variables as the functions (locally: `make admin ARGS="status"`).
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shared import store
from shared.bucket import DocumentBucket
from shared.errors import KaydangError
from shared.logs import get_logger, set_up_logs
from shared.migrate import Settings as MigrationSettings
from shared.migrate import migrate
from shared.models import DocumentState, DocumentStatus, ObjectVersion
from shared.publishing import Publisher
from shared.reconciling import Difference, compare
from shared.settings import DatabaseSettings, EventSettings, LogSettings, load


class Settings(DatabaseSettings, EventSettings, LogSettings):
    """Where everything is."""


_log = get_logger("admin")
_progress = Console(stderr=True)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
_every = click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=1),
    help="Do it again and again, this many seconds apart, until stopped.",
)


@click.group(help=__doc__)
def main() -> None:
    """Group the commands."""


@main.command("migrate")
def migrate_command() -> None:
    """Bring the database's tables to this release; register the model in MODEL_DIR."""
    _translate(lambda: migrate(load(MigrationSettings)))


@main.command()
@click.argument("prefix", default="")
@click.option("--failed", is_flag=True, help="List only the documents that failed, with reasons.")
@_json
def status(prefix: str, *, failed: bool, as_json: bool) -> None:
    """Count the documents by state and list those whose names begin with PREFIX."""

    def show() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            counts = store.count_documents(connection)
            documents = list(
                _all_documents(connection, prefix=prefix, state="failed" if failed else None)
            )
        if as_json:
            _print_json(
                {"states": counts, "documents": [_describe(document) for document in documents]}
            )
            return
        click.echo(
            ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "empty"
        )
        table = Table("name", "state", "chunks", "generation", "reason")
        for document in documents:
            table.add_row(
                document.name,
                document.state,
                f"{document.chunks_embedded}/{document.chunks}",
                str(document.generation),
                f"{document.reason_code}: {document.reason}" if document.reason_code else "",
            )
        Console().print(table)

    _translate(show)


@main.command()
@click.argument("name", required=False)
@click.option("--failed", is_flag=True, help="Retry every document that failed.")
@_json
def retry(name: str | None, *, failed: bool, as_json: bool) -> None:
    """Give the failed document NAME, or all that failed, a fresh start."""
    if (name is None) is not failed:
        raise click.UsageError("name one document, or say --failed for all")

    def start_again() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            ids = store.find_documents(connection, name=name, state="failed")
            if name is not None and not ids:
                raise click.ClickException(f"{name} has not failed (see: status {name})")
            versions = _apply(connection, ids, store.requeue_document, "queueing")
        _publish(versions)
        _report({"retried": len(versions)}, as_json=as_json)

    _translate(start_again)


@main.command()
@click.option("--collection", help="Only the documents of this collection.")
@click.argument("name", required=False)
@_json
def reindex(name: str | None, *, collection: str | None, as_json: bool) -> None:
    """Parse and embed again (all, one NAME or one collection); the old text answers meanwhile."""

    def queue() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            ids = store.find_documents(connection, name=name, collection=collection)
            versions = _apply(connection, ids, store.reindex_document, "queueing")
        _publish(versions)
        _report({"reindexed": len(versions)}, as_json=as_json)

    _translate(queue)


@main.command()
@_every
@click.option(
    "--unleased",
    "unleased_seconds",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Seconds that a message which nobody has taken up may be under way.",
)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@_json
def sweep(*, every_seconds: float | None, unleased_seconds: int, limit: int, as_json: bool) -> None:
    """Publish again the work that nobody holds: what a crash or a lost message left behind."""
    settings = load(Settings)
    publisher = Publisher(settings)
    with store.open_pool(settings) as pool:

        def once() -> None:
            with store.connect(pool) as connection:
                waiting = store.take_waiting(
                    connection, unleased_seconds=unleased_seconds, pause_seconds=10, limit=limit
                )
            publisher.publish_finalized(waiting.objects)
            publisher.publish_jobs(waiting.jobs)
            counts = {"documents": len(waiting.objects), "batches": len(waiting.jobs)}
            if every_seconds is None:
                _report(counts, as_json=as_json)
            elif any(counts.values()):
                _log.info("swept", **counts)

        _repeat(once, every_seconds=every_seconds)


@main.command()
@click.option("--check", is_flag=True, help="Only compare; exit 1 where index and bucket differ.")
@_every
@_json
def reconcile(*, check: bool, every_seconds: float | None, as_json: bool) -> None:
    """Compare the index with the bucket and publish what is missing on either side."""
    settings = load(Settings)
    bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
    publisher = Publisher(settings)
    with store.open_pool(settings) as pool:

        def once() -> None:
            counts = {"not_indexed": 0, "not_deleted": 0, "unfinished": 0}
            with store.connect(pool) as connection:
                differences = compare(
                    store.iterate_known_objects(connection, bucket=bucket.name),
                    bucket.list(),
                    bucket=bucket.name,
                )
                for page in _pages(differences):
                    for difference in page:
                        counts[difference.kind] += 1
                        if check and not as_json:
                            click.echo(f"{difference.kind}: {difference.name}")
                    if not check:
                        publisher.publish_events(item.event for item in page if item.event)
            if every_seconds is None:
                _report(counts, as_json=as_json)
            elif any(counts.values()):
                _log.info("reconciled", **counts)
            if check and any(counts.values()):
                raise SystemExit(1)

        _repeat(once, every_seconds=every_seconds)


@main.command()
@_json
def replay(*, as_json: bool) -> None:
    """Publish every dead letter again, and give the documents they failed a fresh start."""

    def send() -> None:
        settings = load(Settings)
        publisher = Publisher(settings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            letters = store.list_dead_letters(connection)
            ids = store.find_documents(connection, state="failed", reason="attempts_exhausted")
            versions = _apply(connection, ids, store.requeue_document, "queueing")
            publisher.publish_finalized(versions)
            for letter in track(letters, "replaying", console=_progress, transient=True):
                publisher.republish(letter.data, letter.attributes)
                store.mark_replayed(connection, letter.id)
        _report({"replayed": len(letters), "retried": len(versions)}, as_json=as_json)

    _translate(send)


def _pages(differences: Iterable[Difference]) -> Iterable[list[Difference]]:
    iterator = iter(differences)
    while page := list(islice(iterator, 500)):
        yield page


def _all_documents(
    connection: store.Connection, *, prefix: str, state: DocumentState | None
) -> Iterable[DocumentStatus]:
    cursor: str | None = None
    while True:
        page, cursor = store.list_documents(
            connection, prefix=prefix, state=state, cursor=cursor, limit=500
        )
        yield from page
        if cursor is None:
            return


def _describe(document: DocumentStatus) -> dict[str, Any]:
    return {**asdict(document), "id": str(document.id), "updated": document.updated.isoformat()}


def _apply(
    connection: store.Connection,
    ids: list[UUID],
    action: Callable[[store.Connection, UUID], ObjectVersion | None],
    title: str,
) -> list[ObjectVersion]:
    done = track(ids, title, console=_progress, transient=True)
    return [version for document_id in done if (version := action(connection, document_id))]


def _publish(versions: list[ObjectVersion]) -> None:
    Publisher(load(Settings)).publish_finalized(versions)


def _report(counts: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        _print_json(counts)
    else:
        click.echo(
            ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
        )


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _repeat(action: Callable[[], None], *, every_seconds: float | None) -> None:
    """Run *action* once, or until a signal; then a failure is logged and tried again in time."""
    if every_seconds is None:
        _translate(action)
        return
    set_up_logs(load(Settings))
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.is_set():
        try:
            action()
        except KaydangError as error:
            _log.warning("will be tried again", error=f"{type(error).__name__}: {error}")
        over.wait(every_seconds)


def _translate(action: Callable[[], None]) -> None:
    try:
        action()
    except KaydangError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
