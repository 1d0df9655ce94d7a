"""Children of the local stack end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local import processes

PARENT = """
import os, signal, sys, time
from pathlib import Path
from local import processes
child = processes.start(
    [sys.executable, "-c", "import time; time.sleep(60)"],
    environment={}, log=Path(sys.argv[1]), folder=Path("/"),
)
print(child.pid, flush=True)
time.sleep(60)
"""


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has PDEATHSIG")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Not even SIGKILL of the parent leaves the child running."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log"],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(processes.__file__).parent.parent)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    wait_until_gone(child)


def test_stop_ends_the_whole_group(tmp_path: Path) -> None:
    """What a child has started ends too, though it ignores the request."""
    log = tmp_path / "log"
    process = processes.start(
        ["/bin/sh", "-c", "(trap '' TERM; echo $$; exec sleep 60) & wait"],
        environment={"PATH": os.environ["PATH"]},
        log=log,
        folder=tmp_path,
    )
    deadline = time.monotonic() + 10
    while not log.read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    grandchildren = psutil.Process(process.pid).children(recursive=True)
    processes.stop(process, timeout_seconds=1)
    assert process.returncode is not None
    for grandchild in grandchildren:
        wait_until_gone(grandchild.pid)


def test_a_child_gets_only_what_it_is_given(tmp_path: Path) -> None:
    """The caller's environment does not leak into a child."""
    log = tmp_path / "log"
    process = processes.start(
        ["/usr/bin/env"], environment={"ONLY": "this"}, log=log, folder=tmp_path
    )
    assert process.wait(10) == 0
    assert log.read_text() == "ONLY=this\n"
