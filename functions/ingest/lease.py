"""Renews the lease of a build while its document is being parsed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared import store
from shared.errors import KaydangError, describe
from shared.runtime.logs import get_logger

_log = get_logger("ingest")


@contextmanager
def lease_kept_alive(
    lease: store.BuildLease, pool: store.Pool, *, lease_seconds: int
) -> Iterator[None]:
    """Renew *lease* from a thread of its own until the block ends."""

    def extend() -> None:
        with store.connect(pool) as connection:
            store.extend_lease(connection, lease, lease_seconds=lease_seconds)

    over = threading.Event()
    thread = threading.Thread(target=_repeat, args=(extend, over, lease_seconds / 3), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _repeat(action: Callable[[], None], over: threading.Event, every_seconds: float) -> None:
    while not over.wait(every_seconds):
        try:
            action()
        except KaydangError as error:
            # The lease may run out then, and another instance repeats the work: harmless.
            _log.warning("lease not extended", error=describe(error))
