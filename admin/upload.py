"""The command that brings a folder into the bucket, and waits until it can be asked about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from rich.progress import track

from admin.folder_sync import SyncResult, name_problem, upload_folder
from admin.service import open_client, reads_over_http
from admin.terminal import (
    Settings,
    json_option,
    one_sentence,
    print_counts,
    print_json,
    progress,
    shown,
)
from shared import store
from shared.bucket import DocumentBucket
from shared.settings import BucketSettings, load

_POLL_SECONDS = 0.5
_FINAL = ("ready", "failed")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--prefix", default="", help="The folder in the bucket.  [default: its root]")
@click.option("--delete", is_flag=True, help="Delete objects there that have no file in FOLDER.")
@click.option(
    "--check",
    "--dry-run",
    "check",
    is_flag=True,
    help="Only compare; exit 1 if folder and bucket differ.",
)
@click.option("--wait", is_flag=True, help="Wait until each uploaded document is ready or failed.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=1),
    default=3600,
    show_default=True,
    help="Seconds to wait.",
)
@json_option
def upload(
    folder: Path,
    prefix: str,
    *,
    delete: bool,
    check: bool,
    wait: bool,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """
    Upload the files of FOLDER that are new or changed.

    A sub-folder becomes part of the object's name. Hidden files, temporary files and links are
    skipped. Run it as often as you like: unchanged files cost nothing but one listing.
    """
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    if reason := name_problem(prefix):
        raise click.BadParameter(reason.replace("its name", "it"), param_hint="--prefix")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise click.BadParameter("this folder cannot be read", param_hint="FOLDER")
    counts = dict.fromkeys(("different", "superfluous") if check else ("uploaded", "deleted"), 0)
    counts |= {"unchanged": 0, "failed": 0}
    failures: list[dict[str, str]] = []
    uploaded: list[SyncResult] = []

    def fail(name: str, reason: str) -> None:
        # A name that is not UTF-8 has no other form in which it can be printed.
        failures.append({"name": name.encode(errors="backslashreplace").decode(), "reason": reason})

    with one_sentence():
        settings = load(BucketSettings)
        bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
        outcomes = upload_folder(folder, bucket, prefix=prefix, delete=delete, check=check)
        for outcome in track(outcomes, "uploading", console=progress, transient=True):
            counts[outcome.kind] += 1
            if outcome.kind == "uploaded":
                uploaded.append(outcome)
            if outcome.kind == "failed":
                fail(outcome.name, outcome.reason)
            if outcome.kind in ("different", "superfluous", "failed") and not as_json:
                reason = f": {outcome.reason}" if outcome.reason else ""
                click.echo(f"{outcome.kind}: {shown(outcome.name).plain}{reason}")
        if wait and uploaded:
            counts |= {"ready": 0}
            for name, reason in _wait(uploaded, prefix=prefix, timeout_seconds=timeout_seconds):
                if not reason:
                    counts["ready"] += 1
                    continue
                counts["failed"] += 1
                fail(name, reason)
                if not as_json:
                    click.echo(f"failed: {shown(name).plain}: {reason}")
    if as_json:
        print_json({**counts, "failures": failures})
    else:
        print_counts(counts, as_json=False)
    if failures or (check and (counts["different"] or counts["superfluous"])):
        raise SystemExit(1)


def _wait(
    uploaded: list[SyncResult], *, prefix: str, timeout_seconds: float
) -> list[tuple[str, str]]:
    """Return each document's name and why it failed, "" where it answers."""
    deadline = time.monotonic() + timeout_seconds
    missing = {each.name: each.generation for each in uploaded}
    ended: list[tuple[str, str]] = []
    with _watching(prefix) as look:
        while missing and time.monotonic() < deadline:
            for seen in look():
                wanted = missing.get(seen.name)
                if wanted is not None and seen.generation >= wanted and seen.state in _FINAL:
                    del missing[seen.name]
                    ended.append((seen.name, seen.reason))
            if missing:
                time.sleep(_POLL_SECONDS)
    return ended + [
        (name, f"it was not ready after {timeout_seconds:.0f} s; see: kaydangpt get {name}")
        for name in missing
    ]


class _Seen(NamedTuple):
    """A document, as it is now."""

    name: str
    generation: int
    state: str
    reason: str


@contextmanager
def _watching(prefix: str) -> Iterator[Callable[[], Iterator[_Seen]]]:
    """Lend what reads the documents below *prefix*: from the database, or over HTTP."""
    if reads_over_http():
        with open_client() as client:
            yield lambda: (
                _Seen(
                    one["name"],
                    one["generation"],
                    one["state"],
                    one["reason"]["message"] if one["reason"] else "",
                )
                for one in client.documents(prefix=prefix)
            )
        return
    with store.open_pool(load(Settings)) as pool:

        def read() -> Iterator[_Seen]:
            place: tuple[object, ...] | None = None
            with store.connect(pool) as connection:
                while True:
                    page, place = store.list_documents(
                        connection, store.Selection(prefix=prefix), after=place, limit=500
                    )
                    for one in page:
                        yield _Seen(one.name, one.generation, one.state, one.reason or "")
                    if place is None:
                        return

        yield read
