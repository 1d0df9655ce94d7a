"""
Operate a deployment: what is indexed, what failed and why, and how to heal it.

Reads the same environment variables as the functions (locally: `make admin ARGS="status"`).
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from admin.folder_sync import upload_folder, why_unusable
from admin.lexeme_statistics import refresh_statistics
from admin.migrate import Settings as MigrationSettings
from admin.migrate import migrate
from admin.reconciliation import compare
from admin.vector_index import create_vector_index
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.tokenizer import read_model_info
from shared.errors import KaydangError
from shared.messaging.publisher import Publisher
from shared.runtime.logs import get_logger, set_up_logs
from shared.settings import BucketSettings, DatabaseSettings, EventSettings, LogSettings, load
from shared.values import DocumentState, DocumentStatus, ObjectVersion


class Settings(DatabaseSettings, EventSettings, LogSettings):
    """Where everything is."""


T = TypeVar("T")

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
                _shown(document.name),
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
                stalled = store.claim_stalled(
                    connection, unleased_seconds=unleased_seconds, pause_seconds=10, limit=limit
                )
                refresh_statistics(connection)
                backlog = store.read_backlog(connection)
            publisher.publish_finalized(stalled.objects)
            publisher.publish_jobs(stalled.jobs)
            counts = {"documents": len(stalled.objects), "batches": len(stalled.jobs)}
            if every_seconds is None:
                # Log-based metrics are made of it: infra/terraform/metrics.tf.
                set_up_logs(settings)
                _log.info("backlog", **asdict(backlog))
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
                            click.echo(f"{difference.kind}: {_shown(difference.name).plain}")
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
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--prefix", default="", help="The folder in the bucket.  [default: its root]")
@click.option("--delete", is_flag=True, help="Delete objects there that have no file in FOLDER.")
@click.option("--check", is_flag=True, help="Only compare; exit 1 where folder and bucket differ.")
@_json
def upload(folder: Path, prefix: str, *, delete: bool, check: bool, as_json: bool) -> None:
    """
    Upload the files of FOLDER that the bucket does not hold as they are.

    A sub-folder becomes part of the object's name. Hidden and temporary files are left out, links
    are not followed. May be done again at any time: what is there already costs one listing.
    """
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    if reason := why_unusable(prefix):
        raise click.BadParameter(reason.replace("its name", "it"), param_hint="--prefix")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise click.BadParameter("this folder cannot be read", param_hint="FOLDER")
    counts = dict.fromkeys(("different", "superfluous") if check else ("uploaded", "deleted"), 0)
    counts |= {"unchanged": 0, "failed": 0}
    failures: list[dict[str, str]] = []

    def bring() -> None:
        settings = load(BucketSettings)
        bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
        outcomes = upload_folder(folder, bucket, prefix=prefix, delete=delete, check=check)
        for outcome in track(outcomes, "uploading", console=_progress, transient=True):
            counts[outcome.kind] += 1
            if outcome.kind == "failed":
                # A name that is not UTF-8 can be told in no other way.
                name = outcome.name.encode(errors="backslashreplace").decode()
                failures.append({"name": name, "reason": outcome.reason})
            if outcome.kind in ("different", "superfluous", "failed") and not as_json:
                reason = f": {outcome.reason}" if outcome.reason else ""
                click.echo(f"{outcome.kind}: {_shown(outcome.name).plain}{reason}")

    _translate(bring)
    if as_json:
        _print_json({**counts, "failures": failures})
    else:
        _report(counts, as_json=False)
    if failures or (check and (counts["different"] or counts["superfluous"])):
        raise SystemExit(1)


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


def _pages(items: Iterable[T]) -> Iterable[list[T]]:
    iterator = iter(items)
    while page := list(islice(iterator, 500)):
        yield page


@main.command()
def index() -> None:
    """Build the index over the vectors where it is useful; say so where it is not."""

    def build() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            click.echo(create_vector_index(connection))

    _translate(build)


@main.command()
@click.option("--gemini", is_flag=True, help="Ask Gemini for one token too.")
@click.option("--probe", is_flag=True, help="Upload a document, ask about it, delete it.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    help="Seconds that the probe may take.",
)
@_json
def doctor(*, gemini: bool, probe: bool, timeout_seconds: float, as_json: bool) -> None:
    """Look at the whole deployment and say what is wrong; exit 1 where anything is."""
    # Only this command needs it.
    from admin.doctor import Settings as DoctorSettings
    from admin.doctor import examine

    findings = []

    def look() -> None:
        settings = load(DoctorSettings)
        # What the clients log, the findings say.
        set_up_logs(settings.model_copy(update={"log_level": "ERROR"}))
        for finding in examine(
            settings, gemini=gemini, probe_seconds=timeout_seconds if probe else None
        ):
            findings.append(finding)
            if not as_json:
                _print_finding(finding.check, finding.state, finding.message)

    _translate(look)
    faults = sum(finding.state == "fault" for finding in findings)
    if as_json:
        _print_json({"faults": faults, "findings": [asdict(finding) for finding in findings]})
    else:
        click.echo(f"{faults} faults" if faults else "no fault")
    if faults:
        raise SystemExit(1)


def _print_finding(check: str, state: str, message: str) -> None:
    colours = {"ok": "green", "fault": "red"}
    click.echo(f"{click.style(f'{state:14}', fg=colours.get(state, 'yellow'))}{check}: {message}")


@main.group()
def model() -> None:
    """
    Change the embedding model without a gap: add, fill, switch, drop.

    The new model embeds the stored texts while the old one answers; then one row switches. The
    functions need both meanwhile: MODEL_DIR and OTHER_MODEL_DIR (docs/operations.md).
    """


@model.command("add")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_json
def add_model(folder: Path, *, as_json: bool) -> None:
    """Register the exported model in FOLDER; needs the rights of the tables' owner."""

    def add() -> None:
        info = read_model_info(folder)
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            store.register_model(
                connection, name=info.name, dimension=info.dimension, digest=info.digest
            )
            _print_models(store.list_models(connection), as_json=as_json)

    _translate(add)


@model.command("list")
@_json
def list_models(*, as_json: bool) -> None:
    """Show the models, which one answers, and how much each has yet to embed."""

    def show() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            _print_models(store.list_models(connection), as_json=as_json)

    _translate(show)


@model.command("fill")
@click.argument("name")
@click.option(
    "--chunks", type=click.IntRange(1, 1000), default=64, show_default=True, help="In one job."
)
@_json
def fill_model(name: str, *, chunks: int, as_json: bool) -> None:
    """Publish the jobs that embed, for model NAME (or its id), what it has not embedded yet."""

    def publish() -> None:
        settings = load(Settings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            chosen = _choose_model(store.list_models(connection), name)
            jobs = store.plan_filling(connection, model_id=chosen.id, size=chunks)
        publisher = Publisher(settings)
        pages = list(_pages(jobs))
        for page in track(pages, "publishing", console=_progress, transient=True):
            publisher.publish_jobs(page)
        _report({"jobs": len(jobs), "chunks_missing": chosen.missing}, as_json=as_json)

    _translate(publish)


@model.command("switch")
@click.argument("name")
@_json
def switch_model(name: str, *, as_json: bool) -> None:
    """Let model NAME (or its id) answer from now on; refused while it has not embedded all."""

    def switch() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            chosen = _choose_model(store.list_models(connection), name)
            if missing := store.switch_model(connection, chosen.id):
                raise click.ClickException(
                    f"{chosen.name} has yet to embed {missing} chunks: run model fill, and switch"
                    " when model list shows that none is missing"
                )
            _print_models(store.list_models(connection), as_json=as_json)

    _translate(switch)


@model.command("drop")
@click.argument("name")
@_json
def drop_model(name: str, *, as_json: bool) -> None:
    """Remove model NAME (or its id) and its vectors; refused for the one that answers."""

    def drop() -> None:
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            store.drop_model(connection, _choose_model(store.list_models(connection), name).id)
            _print_models(store.list_models(connection), as_json=as_json)

    _translate(drop)


@main.group()
def access() -> None:
    """
    Close collections, and grant them to callers: close, open, grant, revoke, list.

    A collection is open to every caller until it is closed. A principal is key:NAME or key:SHA256
    (API_KEYS), email:ADDRESS, domain:DOMAIN, subject:ID or CLAIM:VALUE (docs/operations.md).
    """


_OWN_PRINCIPALS = ("email", "domain")


def _read_principal(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    kind, _, name = value.partition(":")
    if not kind or not name:
        raise click.BadParameter("write it as key:NAME, email:ADDRESS, domain:DOMAIN, CLAIM:VALUE")
    return value.lower() if kind in _OWN_PRINCIPALS else value


_principal = click.argument("principal", callback=_read_principal)


def _act_on_access(act: Callable[[store.Connection], T]) -> T:
    with store.open_pool(load(DatabaseSettings)) as pool, store.connect(pool) as connection:
        return act(connection)


@access.command("close")
@click.argument("collection", required=False)
@click.option("--default", "default", is_flag=True, help="Every collection that is not named.")
def close_collection(collection: str | None, *, default: bool) -> None:
    """Close COLLECTION to all but those to whom it is granted."""
    _set_collection(collection, default=default, closed=True)


@access.command("open")
@click.argument("collection", required=False)
@click.option("--default", "default", is_flag=True, help="Every collection that is not named.")
def open_collection(collection: str | None, *, default: bool) -> None:
    """Open COLLECTION to every caller."""
    _set_collection(collection, default=default, closed=False)


def _set_collection(collection: str | None, *, default: bool, closed: bool) -> None:
    if (collection is None) is not default:
        raise click.UsageError("name one collection, or say --default for all that are not named")

    def change(connection: store.Connection) -> None:
        if collection is None:
            store.set_default(connection, closed=closed)
        else:
            store.set_collection(connection, collection, closed=closed)

    _translate(lambda: _act_on_access(change))


@access.command("grant")
@_principal
@click.argument("collection", required=False)
@click.option("--all", "every", is_flag=True, help="Every collection, also those to come.")
def grant_access(principal: str, collection: str | None, *, every: bool) -> None:
    """Let PRINCIPAL read COLLECTION while it is closed."""
    if (collection is None) is not every:
        raise click.UsageError("name one collection, or say --all")
    granted = collection or store.EVERY_COLLECTION
    _translate(
        lambda: _act_on_access(
            lambda connection: store.grant_collection(
                connection, principal=principal, collection=granted
            )
        )
    )


@access.command("revoke")
@_principal
@click.argument("collection", required=False)
def revoke_access(principal: str, collection: str | None) -> None:
    """Take back what was granted to PRINCIPAL: COLLECTION (* for --all), or everything."""

    def revoke() -> None:
        if not _act_on_access(
            lambda connection: store.revoke_collection(
                connection, principal=principal, collection=collection
            )
        ):
            raise click.ClickException(f"nothing of that is granted to {principal}: access list")

    _translate(revoke)


@access.command("list")
@_json
def list_access(*, as_json: bool) -> None:
    """Show the collections, which are closed, and to whom they are granted."""

    def show() -> None:
        by_default = _act_on_access(store.is_closed_by_default)
        collections = _act_on_access(store.list_access)
        if as_json:
            rows = [asdict(one) for one in collections]
            _print_json({"closed_by_default": by_default, "collections": rows})
            return
        click.echo(f"Collections are {'closed' if by_default else 'open'} unless named below.")
        table = Table("collection", "access", "documents", "granted to")
        for one in collections:
            table.add_row(
                one.collection,
                "closed" if one.closed else "open",
                str(one.documents),
                ", ".join(one.principals),
            )
        Console().print(table)

    _translate(show)


def _choose_model(models: list[store.ModelProgress], name: str) -> store.ModelProgress:
    chosen = [one for one in models if name in (one.name, str(one.id))]
    if len(chosen) != 1:
        known = ", ".join(f"{one.id} ({one.name})" for one in models)
        raise click.ClickException(f"name one model, by name or id; there are: {known}")
    return chosen[0]


def _print_models(models: list[store.ModelProgress], *, as_json: bool) -> None:
    if as_json:
        _print_json([asdict(one) for one in models])
        return
    table = Table("id", "name", "dimension", "answers", "chunks missing")
    for one in models:
        answers = "yes" if one.answers else ""
        table.add_row(str(one.id), one.name, str(one.dimension), answers, str(one.missing))
    Console().print(table)


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


def _shown(name: str) -> Text:
    """Return *name* so that who named an object does not steer the terminal."""
    return Text("".join(sign if sign.isprintable() else "\ufffd" for sign in name))


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
