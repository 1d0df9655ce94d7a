"""Real files by the hundred, overwritten and deleted while they are indexed."""

from __future__ import annotations

import os
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.system import System, wait_until

FILES = 200
_KINDS = {".txt", ".md", ".rst", ".html", ".csv", ".json"}


def real_files() -> list[Path]:
    """
    Return real documents of this machine: what the installed Python packages bring along.

    CHURN_FOLDER names another folder, such as /usr/share/doc.
    """
    named = os.environ.get("CHURN_FOLDER")
    folder = Path(named or sysconfig.get_path("purelib"))
    largest = 2**20 if named else 12_000
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _KINDS and path.is_file() and 400 < path.stat().st_size < largest
    )
    # Evenly over all packages: neighbours are much alike.
    return found[:: max(1, len(found) // FILES)][:FILES]


@pytest.mark.slow
def test_index_equals_bucket_after_overwrites_and_deletes(system: System) -> None:
    """One in ten is overwritten and one in ten deleted while the indexing runs."""
    files = {f"churn/{number:03d}{path.suffix}": path for number, path in enumerate(real_files())}
    assert len(files) == FILES
    names = list(files)
    # One client for all: it keeps its connections.
    bucket = system.bucket()

    def upload(name: str, data: bytes) -> None:
        bucket.blob(name).upload_from_string(data, content_type="application/octet-stream")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: upload(name, files[name].read_bytes()), names))
        wait_until(lambda: system.documents(prefix="churn/", state="ready"), what="work has begun")
        overwritten, deleted = names[::10], names[5::10]
        list(
            threads.map(
                # White space at the end: the same kind of file, of another generation.
                lambda name: upload(name, files[name].read_bytes() + b"\n\n"),
                overwritten,
            )
        )
        list(threads.map(lambda name: bucket.blob(name).delete(), deleted))

    def unfinished() -> set[str]:
        documents = system.documents(prefix="churn/")
        return {
            name
            for name, document in documents.items()
            if document["state"] not in ("ready", "failed")
        }

    # Cheaper than the command, which is a process each time.
    wait_until(lambda: not unfinished(), what="no work is left", timeout_seconds=300, pause=0.5)
    wait_until(
        lambda: system.run("admin", "reconcile", "--check").returncode == 0,
        what="index equals bucket",
        timeout_seconds=300,
        pause=1,
    )
    assert unfinished() == set()
    documents = system.documents(prefix="churn/")
    assert set(documents) == set(names) - set(deleted)
    # Some packages bring pages that a script fills: they say so, and nothing else fails.
    reasons = {one["reason"]["code"] for one in documents.values() if one["state"] == "failed"}
    assert reasons <= {"no_text"}
    live = {blob.name: blob.generation for blob in bucket.list_blobs(prefix="churn/")}
    ready = {name: one for name, one in documents.items() if one["state"] == "ready"}
    assert len(ready) > FILES / 2
    assert {name: one["answering_generation"] for name, one in ready.items()} == {
        name: live[name] for name in ready
    }
