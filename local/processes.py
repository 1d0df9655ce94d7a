"""Child processes that end with their parent, each in a process group of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # man 2 prctl
_LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(number: signal.Signals, *, parent: int) -> None:
    """
    Have *number* sent to this process when process *parent* dies, even if it has died already.

    Linux only: elsewhere a parent killed by SIGKILL leaves its children behind.
    """
    if sys.platform.startswith("linux"):
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    uid: int | None = None,
    on_parent_death: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """
    Start *command* with nothing but *environment*, its output appended to *log*.

    The caller's thread must live as long as the child: Linux ends the child with that thread.

    Args:
        uid: Run as this user and its group of the same number, without other groups.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Safe among threads: the hook calls prctl alone, it takes no lock.
            preexec_fn=partial(end_with_parent, on_parent_death, parent=os.getpid()),
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )


def stop(
    process: subprocess.Popen[bytes],
    *,
    number: signal.Signals = signal.SIGTERM,
    timeout_seconds: float = 10,
) -> None:
    """Ask *process* to end, and end its whole process group when it has not after the timeout."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_seconds)
    # The group outlives its leader when a child of the child is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Return a port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
