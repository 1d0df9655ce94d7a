"""The whole path on Google's own Pub/Sub emulator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.system import System, wait_until
from tests.support.emulators import google_emulator_command, google_emulator_is_required

DOCUMENTS = 6


def test_whole_path_on_googles_emulator(start_system: Callable[..., System]) -> None:
    """The same functions and the same set-up: documents of several batches come and go."""
    command = google_emulator_command()
    if isinstance(command, str):
        if google_emulator_is_required():
            pytest.fail(command)
        pytest.skip(command)
    system = start_system(google_pubsub=command)
    names = {f"google/{number}.txt" for number in range(DOCUMENTS)}
    for name in names:
        paragraphs = [
            f"Entry {name} {part}: the answer is kept in box {part}. " * 12 for part in range(40)
        ]
        system.upload(name, "\n\n".join(paragraphs))

    def all_ready() -> bool:
        documents = system.documents()
        return {name for name in documents if documents[name]["state"] == "ready"} >= names

    wait_until(all_ready, what="all are ready", timeout_seconds=120, pause=0.5)
    wait_until(
        lambda: system.run("admin", "reconcile", "--check").returncode == 0,
        what="index equals bucket",
    )
    (first, *_rest) = sorted(names)
    system.bucket().blob(first).delete()
    wait_until(lambda: first not in system.documents(), what="the delete arrives")
