"""The virtual environment of a fresh checkout, and what an interrupted install leaves behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = "local/requirements.txt"
DEADLINE_SECONDS = 120

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout that needs one package alone, and has one of its own."""
    folder = tmp_path / "checkout"
    for name in ("local", "shared"):
        (folder / name).mkdir(parents=True)
    (folder / "shared" / "__init__.py").touch()
    shutil.copy(ROOT / "local" / "install.py", folder / "local")
    locked = (ROOT / LOCK).read_text(encoding="utf-8")
    click = re.search(r"^click==(?:.*\\\n)+.*\n", locked, re.M)
    assert click
    (folder / LOCK).write_text(click[0], encoding="utf-8")
    return folder


def install(checkout: Path) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with (checkout / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "local/install.py", LOCK],
            cwd=checkout,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def log_of(checkout: Path) -> str:
    return (checkout / "log").read_text(encoding="utf-8")


def test_an_install_that_was_killed_is_finished_by_the_next(checkout: Path) -> None:
    """Killed in each of its steps, one after the other; programs then find the checkout."""
    for step in ("virtual environment", "uv", LOCK):
        process = install(checkout)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while f"install  {step} ..." not in log_of(checkout):
            assert process.poll() is None, log_of(checkout)
            assert time.monotonic() < deadline, log_of(checkout)
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert install(checkout).wait(DEADLINE_SECONDS) == 0, log_of(checkout)
    python = checkout / ".venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "import click, shared; print(shared.__file__)"],
        # As any program of the environment starts: neither in the checkout nor told of it.
        cwd=checkout.parent,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(checkout / "shared" / "__init__.py"), done.stderr
    assert install(checkout).wait(DEADLINE_SECONDS) == 0
    assert log_of(checkout) == ""
