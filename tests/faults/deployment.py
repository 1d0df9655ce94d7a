"""Faults of deployment and operation: wrong model, old release, wrong clock, two of everything."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from local.system import ROOT, wait_until
from tests.faults.proxies import Forward, Reply, Request
from tests.faults.registry import fault
from tests.faults.rig import WORKERS, Impossible, Rig

_GROUP = "Deployment and operation"
_FAKE_TIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
# From 3.11 on Python sleeps by clock_nanosleep(TIMER_ABSTIME), and libfaketime 0.9.10 makes that
# fail where durations stay real: https://github.com/wolfcw/libfaketime/issues/426
_SLEEP = """
import select, time
time.sleep = lambda seconds: (select.select([], [], [], seconds), None)[1]
"""
_LOGGED = re.compile(r"time=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


@contextmanager
def _replaced(rig: Rig, *names: str, variables: Mapping[str, str]) -> Iterator[None]:
    """Run parts with *variables* meanwhile, then as they were."""
    rig.kill(*names)
    rig.start(*names, variables=variables)
    yield
    assert not (ended := rig.ended()), ended
    rig.kill(*names)
    rig.start(*names)


def _replace_with_another_model(rig: Rig, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "model"
        shutil.copytree(rig.model_dir, other)
        description = json.loads((other / "model.json").read_text())
        description["digest"] = "0" * 64
        (other / "model.json").write_text(json.dumps(description))
        with _replaced(rig, name, variables={"MODEL_DIR": str(other)}):
            rig.go_on(5)


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
    _shift_clocks(rig, "ingest", *WORKERS, hours=1)


@fault(_GROUP)
def clock_behind(rig: Rig) -> None:
    """The clocks of ingest and of one worker are an hour behind."""
    _shift_clocks(rig, "ingest", "embed_worker", hours=-1)


def _shift_clocks(rig: Rig, *names: str, hours: int) -> None:
    if not _FAKE_TIME.exists():
        raise Impossible("libfaketime is missing: apt-get install libfaketime")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(_SLEEP)
        variables = {
            "PYTHONPATH": f"{folder}:{ROOT}",
            "LD_PRELOAD": str(_FAKE_TIME),
            "FAKETIME": f"{hours * 3600:+}",
            # Durations stay what they are: it is the hour that is wrong.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with _replaced(rig, *names, variables=variables):
            rig.go_on(5)
            for name in names:
                wait_until(
                    partial(_works_by_its_clock, rig, name, hours=hours),
                    what=f"{name} works by its clock",
                    timeout_seconds=60,
                )


def _works_by_its_clock(rig: Rig, name: str, *, hours: int) -> bool:
    """Return whether what a part has said last of its work is dated so many hours ahead."""
    dates = _LOGGED.findall(rig.system.log(name))
    if not dates:
        return False
    last = datetime.fromisoformat(f"{dates[-1]}+00:00")
    return abs(last - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=5)


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
        names = ("embed_worker", "ingest")
        rig.system.folders.update(dict.fromkeys(names, Path(folder)))
        with _replaced(rig, *names, variables={"PYTHONPATH": folder}):
            rig.go_on(5)
            rig.system.folders.clear()


def _older_release() -> str:
    """Return the commit before the one that brought the newest migration."""
    newest = max((ROOT / "shared/migrations").glob("0*.sql"))
    found = subprocess.run(
        # Its number may have been given in a merge.
        [
            *("git", "log", "-m", "--no-renames", "--diff-filter=A", "--format=%H", "-1"),
            *("--", str(newest)),
        ],
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
    """`admin reindex` of everything, twice, while objects come and go."""
    for _ in range(2):
        done = rig.system.run("admin", "reindex")
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
            [sys.executable, "-m", "admin.migrate"],
            env={**rig.system.environment, "DATABASE_URL": rig.database_url},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
