"""
Measure a first `make run`: python -m benchmarks.first_run

Clones this checkout's HEAD into a temporary folder with its own ports and model cache, runs
`make run` there until READY, asks a question, and prints seconds, disk and memory. Packages come
from the caches of pip and uv; --no-cache downloads them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from local.configuration import PORTS
from local.processes import free_port

_ROOT = Path(__file__).resolve().parent.parent
_DEADLINE_SECONDS = 1800
_SETTLED_SECONDS = 3


@click.command(help=__doc__)
@click.option("--no-cache", is_flag=True, help="Leave pip's and uv's caches out.")
def main(*, no_cache: bool) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="kaydangpt-first-run-") as name:
        folder = Path(name)
        checkout = folder / "checkout"
        subprocess.run(["git", "clone", "--quiet", _ROOT, checkout], check=True)
        environment = _environment(folder, no_cache=no_cache)
        seconds = []
        for _ in range(2):
            with _running(checkout, environment) as (url, waited):
                seconds.append(waited)
                _ask(url)
                memory = _settled_memory(checkout)
        click.echo(f"first make run: READY after {seconds[0]:.0f} s")
        click.echo(f"next make run:  READY after {seconds[1]:.0f} s")
        click.echo(f"disk:   {_megabytes(checkout / '.venv')} MB in .venv")
        click.echo(f"        {_megabytes(folder / 'cache' / 'kaydangpt')} MB for the model")
        database = (checkout / ".local" / "postgres").resolve()
        click.echo(f"        {_megabytes(database)} MB for the empty database")
        click.echo(f"memory: {memory} MB of all processes, shared pages counted once (PSS)")


def _environment(folder: Path, *, no_cache: bool) -> dict[str, str]:
    not_ours = ("MODEL_DIR", "PYTHONPATH", "DATABASE_URL")
    environment = {k: v for k, v in os.environ.items() if k not in not_ours}
    caches = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"} if no_cache else _known_caches()
    ports = {variable: str(free_port()) for variable, _ in PORTS.values()}
    return environment | ports | caches | {"XDG_CACHE_HOME": str(folder / "cache")}


def _known_caches() -> dict[str, str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {"PIP_CACHE_DIR": str(cache / "pip"), "UV_CACHE_DIR": str(cache / "uv")}


@contextmanager
def _running(checkout: Path, environment: dict[str, str]) -> Iterator[tuple[str, float]]:
    log = checkout.with_name("make.log")
    started = time.monotonic()
    with log.open("w") as output:
        make = subprocess.Popen(
            ["make", "run"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not (found := re.search(r"^READY (\S+)$", log.read_text(), re.MULTILINE)):
            if make.poll() is not None or time.monotonic() - started > _DEADLINE_SECONDS:
                raise click.ClickException(f"no READY:\n{log.read_text()}")
            time.sleep(0.05)
        yield found[1], time.monotonic() - started
    finally:
        os.killpg(make.pid, signal.SIGINT)
        make.wait()


def _ask(url: str) -> None:
    request = urllib.request.Request(
        f"{url}/query",
        json.dumps({"question": "Is anything here?"}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


def _settled_memory(checkout: Path) -> int:
    """Return the memory when what is loaded behind READY is loaded: it changes no more."""
    before, now = 0, _memory(checkout)
    while abs(now - before) > 2:
        time.sleep(_SETTLED_SECONDS)
        before, now = now, _memory(checkout)
    return now


def _memory(checkout: Path) -> int:
    """Return the memory of the checkout's processes in megabytes."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get("PYTHONPATH") == str(checkout) or str(checkout) in " ".join(
                process.cmdline()
            ):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return round(total / 1e6)


def _megabytes(folder: Path) -> int:
    """Return what *folder* takes on disk, without what its links point to."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_blocks * 512 for path in files) / 1e6)


if __name__ == "__main__":
    main()
