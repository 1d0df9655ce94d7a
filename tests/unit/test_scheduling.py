"""A run of the tests ends, whatever a process of it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "conftest.py": """
        from tests.support.scheduling import LongestFirst

        def pytest_xdist_make_scheduler(config, log):
            return LongestFirst(config, log)
        """,
    "test_dies.py": """
        import os, signal

        def test_before(): pass
        def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
        def test_after(): pass
        """,
    "test_three.py": """
        def test_one(): pass
        def test_two(): pass
        def test_three(): pass
        """,
    "test_single.py": "def test_single(): pass",
}


@pytest.mark.parametrize("processes", [1, 2])
def test_run_ends_when_a_process_dies(tmp_path: Path, processes: int) -> None:
    """The test that killed it has failed, once and by name; all others are run."""
    for name, text in FILES.items():
        lines = text.splitlines()
        (tmp_path / name).write_text("\n".join(line.removeprefix(8 * " ") for line in lines))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-n", str(processes), "--dist", "loadfile", "--rootdir", str(tmp_path)),
            str(tmp_path),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 failed, 6 passed" in done.stdout, done.stdout + done.stderr
    assert "crashed while running 'test_dies.py::test_dies'" in done.stdout
