"""
Make the virtual environment .venv from lock files; used by the Makefile before there is one.

    python3 local/install.py local/requirements.txt tests/requirements.txt

Runs with the system's Python and the standard library alone. What is there and unchanged is kept:
the environment remembers the hash of each lock file that was installed into it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "installed.json"

OLDEST_PYTHON = (3, 11)
TORCH = "torch==2.13.0"
UV = "uv==0.13.9"
# PyTorch's own index has the build for processors; the package index's build for Linux brings
# gigabytes of CUDA along. Where the first cannot be reached the second works as well.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def main(lock_files: list[str]) -> None:
    """Bring the environment to what *lock_files* say; tell each step and its seconds."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=python3.12 ..."
        )
    wanted = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in lock_files}
    wanted["torch"] = TORCH
    installed = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    if all(installed.get(name) == value for name, value in wanted.items()):
        return
    if not PYTHON.exists():
        step("virtual environment", create_environment)
    if installed.get("torch") != TORCH:
        step(f"{TORCH} (the build for processors)", install_torch)
        step("uv", partial(run, PYTHON, "-m", "pip", "install", "--quiet", UV))
    for name in lock_files:
        if installed.get(name) != wanted[name]:
            step(name, partial(install_lock, name))
    STAMP.write_text(json.dumps(installed | wanted, indent=1))


def create_environment() -> None:
    """Make an empty environment with pip."""
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except subprocess.CalledProcessError:
        sys.exit("Python's venv module lacks pip. On Debian: apt-get install python3-venv")


def install_torch() -> None:
    """Install torch from its own index, or else from the usual one."""
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", TORCH]
    from_own_index = [*pip, "--index-url", TORCH_INDEX, "--retries", "0", "--timeout", "10"]
    if subprocess.run(from_own_index, check=False, capture_output=True).returncode != 0:
        run(*pip)


def install_lock(name: str) -> None:
    """Install exactly what a lock file names, checked against its hashes."""
    uv: list[str | Path] = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON]
    run(*uv, "--no-deps", "--require-hashes", "-r", ROOT / name)


def run(*command: str | Path) -> None:
    """Run *command*, or end with its status."""
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        sys.exit(f"Failed with status {status}: {' '.join(map(str, command))}")


def step(name: str, action: Callable[[], None]) -> None:
    """Do *action* and print its *name* and how long it took."""
    started = time.monotonic()
    print(f"  install  {name} ...", end="", flush=True)
    action()
    print(f" {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
