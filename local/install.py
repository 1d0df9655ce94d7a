"""
Make the virtual environment .venv from lock files; used by the Makefile before there is one.

    python3 local/install.py local/requirements.txt tests/requirements.txt

Runs with the system's Python and the standard library alone. Installed and unchanged locks are
kept: the environment remembers their hashes. Interrupted at any step, the next run repairs it.
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
UV = "uv==0.13.9"
TORCH = "torch==2.13.0"
# Locks whose packages need torch, which no lock holds: `make run` exports the default model
# without it.
NEEDS_TORCH = ("tests/requirements.txt", "infra/model/tracing/requirements.txt")
# PyTorch's own index has the build for processors; the package index's build for Linux brings
# gigabytes of CUDA along. Where the first cannot be reached the second works as well.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def main(lock_files: list[str]) -> None:
    """Install *lock_files* into the environment; print each step and its seconds."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=python3.12 ..."
        )
    wanted = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in lock_files}
    if any(name in NEEDS_TORCH for name in lock_files):
        wanted = {"torch": TORCH} | wanted
    installed = read_stamp()
    if PYTHON.exists():
        link_checkout()
    if all(installed.get(name) == value for name, value in wanted.items()):
        return
    if installed.get("uv") != UV or not PYTHON.exists():
        # Missing or incomplete: make it again from scratch.
        step("virtual environment", create_environment)
        link_checkout()
        step("uv", partial(run, PYTHON, "-m", "pip", "install", "--quiet", UV))
        installed = remember({"uv": UV})
    for name, value in wanted.items():
        if installed.get(name) == value:
            continue
        # Marked before it begins, so that an interrupted install is repeated from scratch.
        again = installed.get(name) == "unfinished"
        installed = remember(installed | {name: "unfinished"})
        if name == "torch":
            step(f"{TORCH} (the build for processors)", partial(install_torch, again=again))
        else:
            step(name, partial(install_lock, name, again=again))
        installed = remember(installed | {name: value})


def read_stamp() -> dict[str, str]:
    """Return the installed locks and their hashes; empty if they are unknown."""
    try:
        installed: dict[str, str] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return installed


def remember(installed: dict[str, str]) -> dict[str, str]:
    """Record the installed locks atomically, and return them."""
    new = STAMP.with_suffix(".new")
    new.write_text(json.dumps(installed, indent=1), encoding="utf-8")
    new.replace(STAMP)
    return installed


def create_environment() -> None:
    """Make an empty environment with pip."""
    try:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        sys.exit("Python's venv module lacks pip. On Debian: apt-get install python3-venv")


def link_checkout() -> None:
    """Let the environment's programs, such as functions-framework, find the checkout's packages."""
    if ENVIRONMENT.is_symlink():
        return  # another checkout's
    for packages in ENVIRONMENT.glob("lib/python3*/site-packages"):
        link = packages / "kaydangpt.pth"
        if not link.exists() or link.read_text(encoding="utf-8") != f"{ROOT}\n":
            link.write_text(f"{ROOT}\n", encoding="utf-8")


def install_torch(*, again: bool) -> None:
    """Install torch from its own index, or else from the usual one."""
    # Compiled when it is imported: of its thousands of files a program needs a third.
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--no-compile", TORCH]
    if again:
        pip.append("--ignore-installed")
    from_own_index = [*pip, "--index-url", TORCH_INDEX, "--retries", "0", "--timeout", "10"]
    if subprocess.run(from_own_index, check=False, capture_output=True).returncode != 0:
        run(*pip)


def install_lock(name: str, *, again: bool) -> None:
    """Install exactly what a lock file names, checked against its hashes."""
    uv: list[str | Path] = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON]
    if again:
        uv.append("--reinstall")
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
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; the next run continues from here.")
