"""Faults of deployment and operation: wrong model, old release, wrong clock, two of everything."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.faults.proxies import Forward, Reply, Request
from tests.faults.registry import fault
from tests.faults.rig import WORKERS, Impossible, Rig
from tests.system import ROOT

_GROUP = "Deployment and operation"
_FAKE_TIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def _replace(rig: Rig, *names: str, variables: Mapping[str, str]) -> None:
    """Run parts with *variables* for a while, then as they were."""
    for name in names:
        rig.kill(name)
    rig.start(*names, variables=variables)
    rig.go_on(5)
    for name in names:
        rig.kill(name)
    rig.start(*names)


def _replace_with_another_model(rig: Rig, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "model"
        shutil.copytree(rig.model_dir, other)
        description = json.loads((other / "model.json").read_text())
        description["digest"] = "0" * 64
        (other / "model.json").write_text(json.dumps(description))
        _replace(rig, name, variables={"MODEL_DIR": str(other)})


@fault(_GROUP)
def worker_with_another_model(rig: Rig) -> None:
    """One of two workers comes up with a model that is not the database's, for 5 s."""
    _replace_with_another_model(rig, "embed_worker")


@fault(_GROUP)
def ingest_with_another_model(rig: Rig) -> None:
    """Ingest comes up with a model that is not the database's, for 5 s."""
    _replace_with_another_model(rig, "ingest")


@fault(_GROUP)
def clock_ahead(rig: Rig) -> None:
    """The clocks of ingest and of both workers are an hour ahead."""
    _replace(rig, "ingest", *WORKERS, variables=_clock("+3600"))


@fault(_GROUP)
def clock_behind(rig: Rig) -> None:
    """The clocks of ingest and of one worker are an hour behind."""
    _replace(rig, "ingest", "embed_worker", variables=_clock("-3600"))


def _clock(shift: str) -> dict[str, str]:
    if not _FAKE_TIME.exists():
        raise Impossible("libfaketime is missing: apt-get install libfaketime")
    return {
        "LD_PRELOAD": str(_FAKE_TIME),
        "FAKETIME": shift,
        # Durations stay what they are: it is the hour that is wrong.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@fault(_GROUP)
def older_release(rig: Rig) -> None:
    """A worker and ingest of the release before the newest migration, as deployments roll."""
    with tempfile.TemporaryDirectory() as folder:
        release = _older_release()
        archive = subprocess.run(
            ["git", "archive", release, "functions", "shared"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        system = rig.system
        rig.kill("embed_worker", "ingest")
        system.folders["embed_worker"] = system.folders["ingest"] = Path(folder)
        rig.start("embed_worker", "ingest", variables={"PYTHONPATH": folder})
        rig.go_on(5)
        rig.kill("embed_worker", "ingest")
        system.folders.clear()
    rig.start("embed_worker", "ingest")


def _older_release() -> str:
    """Return the commit before the one that brought the newest migration."""
    newest = max((ROOT / "shared/migrations").glob("0*.sql"))
    found = subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not found.stdout.strip():
        raise Impossible("this checkout has no history to take an older release from")
    return f"{found.stdout.strip()}~1"


@fault(_GROUP)
def reindex_during_ingest(rig: Rig) -> None:
    """`shared.admin reindex` of everything, twice, while objects come and go."""
    for _ in range(2):
        done = rig.system.run("shared.admin", "reindex")
        assert done.returncode == 0, done.stderr


@fault(_GROUP)
def two_sweepers_and_reconcilers(rig: Rig) -> None:
    """Sweeper and reconciler run twice at once, under lost events and lost jobs."""

    def drop(request: Request, forward: Forward) -> Reply:
        return Reply(status=204) if random.random() < 0.5 else forward(request)

    rig.start("sweeper2", "reconciler2")
    with rig.pushes["ingest"].ruled(drop), rig.pushes["embed_worker"].ruled(drop):
        rig.go_on(6)
    rig.kill("sweeper2", "reconciler2")


@fault(_GROUP)
def no_sweeper(rig: Rig) -> None:
    """Sweeper and reconciler are dead for 5 s while a worker is killed and events are lost."""
    rig.kill("sweeper", "reconciler")

    def drop(request: Request, forward: Forward) -> Reply:
        return Reply(status=204) if random.random() < 0.3 else forward(request)

    with rig.pushes["ingest"].ruled(drop):
        rig.kill("embed_worker")
        rig.go_on(5)
    rig.start("embed_worker", "sweeper", "reconciler")


@fault(_GROUP)
def migration_again(rig: Rig) -> None:
    """The migration job runs again and again while the functions work."""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "shared.migrate"],
            env=rig.system.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
