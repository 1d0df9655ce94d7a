"""
The state folder of a checkout: the lock of its running stack, and how its database is removed.

The standard library alone: `make clean` works without the virtual environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATE = Path(__file__).resolve().parent.parent / ".local"
PASSWORD_FILE = "postgres.password"  # noqa: S105 -- a file's name


class AlreadyRunning(Exception):
    """The stack of this checkout runs in another process."""


def close_to_others(state: Path) -> None:
    """
    Make *state* readable by its owner only: documents, passwords, logs.

    Where that is root, PostgreSQL's user has to pass through the folder to its own.
    """
    root = os.geteuid() == 0
    state.chmod(0o711 if root else 0o700)
    for path in state.iterdir():
        if path.name != "postgres" and not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """
    Hold the lock of the state folder *state*; it ends with the process, however it ends.

    Raises:
        AlreadyRunning: Another process holds it.
    """
    state.mkdir(mode=0o755, exist_ok=True)
    close_to_others(state)
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


def remove(data_dir: Path) -> None:
    """Delete the database's folder *data_dir* and what the server put elsewhere for it."""
    if data_dir.is_symlink():
        shutil.rmtree(data_dir.resolve().parent, ignore_errors=True)
        data_dir.unlink()
    else:
        shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.with_name(PASSWORD_FILE).unlink(missing_ok=True)
