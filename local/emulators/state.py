"""Keep two emulators from working on the same state."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import click

# One that was told to stop a moment ago may still be busy with it.
WAIT_SECONDS = 3.0
LOOK_EVERY_SECONDS = 0.05


def hold_state(state: Path, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """
    Lock *state* until this process ends, however it ends.

    Raises:
        click.ClickException: Another process keeps holding it.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(state.with_name(f"{state.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    give_up = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                os.close(lock)
                raise click.ClickException(
                    f"{state} is in use by another emulator: stop it, or choose another --state."
                ) from None
            time.sleep(LOOK_EVERY_SECONDS)
        else:
            return
