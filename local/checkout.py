"""The state folder of this checkout, and the lock that its running stack holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATE = Path(__file__).resolve().parent.parent / ".local"


class AlreadyRunning(Exception):
    """The stack of this checkout runs in another process."""


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """
    Hold the lock of the state folder *state*; it ends with the process, however it ends.

    Raises:
        AlreadyRunning: Another process holds it.
    """
    state.mkdir(mode=0o755, exist_ok=True)
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRunning(
                f"This checkout's stack is running already (process {lock.read().strip()}). "
                "Stop it first; a second checkout can run beside it with ports of its own."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
