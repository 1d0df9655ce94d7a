"""What a process has once is made once."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.runtime.startup import once


def test_threads_that_ask_at_once_get_one_value() -> None:
    """The first requests of a new instance come together."""
    together = threading.Barrier(4)
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    get = once(make)

    def ask(_: int) -> object:
        together.wait(timeout=10)
        return get()

    with ThreadPoolExecutor(4) as threads:
        values = set(threads.map(ask, range(4)))
    assert values == set(made)
    assert len(made) == 1


def test_failure_is_tried_again() -> None:
    """A database that is away at the first request must not be away for ever."""
    tries = iter([OSError("away"), None])

    @once
    def connect() -> str:
        if error := next(tries):
            raise error
        return "connected"

    with pytest.raises(OSError, match="away"):
        connect()
    assert connect() == "connected"


_WORKER = """
import gc, os, resource
import functions.query.http.routes
from shared.runtime.logs import set_up_logs
from shared.runtime.startup import warm_after_fork
from shared.settings import LogSettings

set_up_logs(LogSettings())  # to standard error

def copied_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() / 2**20

warm_after_fork(lambda: None)
if os.fork() == 0:
    before = copied_megabytes()
    gc.collect()
    print(copied_megabytes() - before, flush=True)
    os._exit(0)
os.wait()
"""


def test_worker_shares_what_was_imported() -> None:
    """A full collection in a worker does not make it a copy of the server's modules."""
    worker = subprocess.run(
        [sys.executable, "-c", _WORKER], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(worker.stdout) < 2
