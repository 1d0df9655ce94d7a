"""A database server that takes what it is sent and says nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Whoever still waits by then has no bound of his own.
_LONGEST_SECONDS = 60.0


def server_processes(server: int) -> list[int]:
    """Return the process *server* and its children."""
    found = [server]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == server:
                found.append(int(path.parent.name))
    return found


@contextmanager
def frozen(server: int) -> Iterator[None]:
    """Stop a server and its children (SIGSTOP) until the block ends, or for a minute."""
    stopped = server_processes(server)
    for number in stopped:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGSTOP)
    thawing = threading.Timer(_LONGEST_SECONDS, _thaw, args=(stopped,))
    thawing.start()
    try:
        yield
    finally:
        thawing.cancel()
        _thaw(stopped)


def _thaw(stopped: list[int]) -> None:
    for number in stopped:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)
