"""
The virtual environments of the compared systems: one each, from its own lock file.

Made by the benchmark itself under ~/.cache/kaydangpt/bench, and kept until the lock changes.
uv links the files of all environments to its one cache, so five copies of torch cost one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local.install import TORCH, TORCH_INDEX

PEERS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaydangpt" / "bench"


class BenchmarkFailed(Exception):
    """The benchmark cannot go on; the message says why."""


def peer_python(name: str) -> Path:
    """
    Return the interpreter of a peer's environment, which is made when it is missing or old.

    Raises:
        BenchmarkFailed: A package could not be installed.
    """
    lock = PEERS / name / "requirements.txt"
    folder = CACHE / "environments" / name
    made_from = hashlib.sha256(lock.read_bytes() + f"{TORCH} {sys.version}".encode()).hexdigest()
    stamp = folder / "made-from"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        install = _uv("pip", "install", "--quiet", "--link-mode", "hardlink", "--python", python)
        _run(*_uv("venv", "--quiet", "--python", sys.executable, folder))
        # Torch first and alone: what follows would else bring the build with CUDA.
        _run(*install, "--no-deps", torch_wheel())
        _run(*install, "--no-deps", "--require-hashes", "-r", lock)
        # NLTK refuses to read a file of which there is a second name.
        for data in folder.rglob("nltk_cache"):
            copy = data.with_name("nltk_cache.copy")
            shutil.copytree(data, copy)
            shutil.rmtree(data)
            copy.rename(data)
        stamp.write_text(made_from)
    return python


def torch_wheel() -> Path:
    """Return torch's wheel for processors, fetched once."""
    folder = CACHE / "wheels"
    pattern = f"{TORCH.replace('==', '-')}*.whl"
    if not any(folder.glob(pattern)):
        fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder)
        own_index = ("--index-url", TORCH_INDEX, "--retries", "0", "--timeout", "10")
        from_own_index = [*map(str, fetch), TORCH, *own_index]
        if subprocess.run(from_own_index, check=False, capture_output=True).returncode != 0:
            _run(*fetch, TORCH)
    return next(folder.glob(pattern))


def function_environment(name: str) -> Path:
    """Return a folder with exactly what one function's image installs."""
    lock = PEERS.parent.parent / "functions" / name / "requirements.txt"
    folder = CACHE / "environments" / f"function-{name}"
    made_from = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "made-from"
    if not stamp.exists() or stamp.read_text() != made_from:
        shutil.rmtree(folder, ignore_errors=True)
        target = ("--link-mode", "hardlink", "--target", folder / "packages")
        install = _uv("pip", "install", "--quiet", "--no-deps", "--require-hashes", *target)
        _run(*install, "--python", sys.executable, "-r", lock)
        stamp.write_text(made_from)
    return folder / "packages"


def _uv(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "uv", *arguments]


def _run(*command: str | Path) -> None:
    finished = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=1800
    )
    if finished.returncode != 0:
        words = " ".join(map(str, command))
        raise BenchmarkFailed(f"{words} failed:\n{(finished.stderr or finished.stdout)[-2000:]}")
