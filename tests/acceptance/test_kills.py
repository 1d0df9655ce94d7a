"""Processes are killed in the middle of the work, and in the end the index equals the bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from local.postgres import start_postgres
from tests.conftest import prepare_database
from tests.emulators import (
    free_port,
    google_emulator_command,
    google_emulator_is_required,
)
from tests.system import System, wait_until

DOCUMENTS = 6


def upload_many(system: System, prefix: str) -> set[str]:
    """Upload documents of several batches each."""
    names = {f"{prefix}/{number}.txt" for number in range(DOCUMENTS)}
    for name in names:
        paragraphs = [
            f"Entry {name} {part}: the answer is kept in box {part}. " * 12 for part in range(40)
        ]
        system.upload(name, "\n\n".join(paragraphs))
    return names


def wait_until_quiet(system: System, names: set[str], *, timeout_seconds: float = 120) -> None:
    """Wait until every document is ready and the operator's check finds no difference."""

    def all_ready() -> bool:
        documents = system.documents()
        return {name for name in documents if documents[name]["state"] == "ready"} >= names

    wait_until(all_ready, what="all are ready", timeout_seconds=timeout_seconds, pause=0.5)
    wait_until(
        lambda: system.run("shared.admin", "reconcile", "--check").returncode == 0,
        what="index equals bucket",
    )


def some_embedded(system: System) -> bool:
    documents = system.documents().values()
    return any(document["chunks_embedded"] for document in documents)


@pytest.mark.parametrize("victim", ["embed_worker", "ingest", "pubsub", "storage"])
def test_killed_part_loses_nothing(start_system: Callable[..., System], victim: str) -> None:
    """kill -9 in the middle of the work, and a start some moments later."""
    system = start_system()
    names = upload_many(system, victim)
    wait_until(lambda: some_embedded(system), what="work has begun")
    system.kill(victim)
    wait_until(lambda: system.documents(), what="questions are answered meanwhile")
    system.start(victim)
    wait_until_quiet(system, names)


def test_killed_database_loses_nothing(
    start_system: Callable[..., System], model_dir: Path, tmp_path: Path
) -> None:
    """kill -9 of PostgreSQL under load; the functions come back with it by themselves."""
    port = free_port()
    server = start_postgres(tmp_path / "data", port=port)
    try:
        prepare_database(server.url, model_dir=model_dir)
        system = start_system(database_url=server.url)
        names = upload_many(system, "database")
        wait_until(lambda: some_embedded(system), what="work has begun")
        server.process.kill()
        server.process.wait()
        server = start_postgres(tmp_path / "data", port=port)
        wait_until_quiet(system, names)
    finally:
        server.stop()


def test_two_workers_share_the_work(start_system: Callable[..., System]) -> None:
    """Two workers that get every job both never do a batch twice, and one of them may die."""
    system = start_system()
    system.ports["embed_worker2"] = free_port()
    system.start("embed_worker2")
    system.subscribe("second", topic="chunk-jobs", port=system.ports["embed_worker2"])
    names = upload_many(system, "workers")
    wait_until(lambda: some_embedded(system), what="work has begun")
    system.kill("embed_worker2")
    wait_until_quiet(system, names)


def test_whole_path_on_googles_emulator(start_system: Callable[..., System]) -> None:
    """The same functions and the same set-up on Google's own Pub/Sub emulator."""
    command = google_emulator_command()
    if isinstance(command, str):
        if google_emulator_is_required():
            pytest.fail(command)
        pytest.skip(command)
    system = start_system(google_pubsub=command)
    names = upload_many(system, "google")
    wait_until_quiet(system, names)
    (first, *_rest) = sorted(names)
    system.bucket().blob(first).delete()
    wait_until(lambda: first not in system.documents(), what="the delete arrives")
