"""Leases that end with their holder's work, whichever way it ends."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import KaydangError, describe
from shared.runtime.logs import get_logger
from shared.store.batches import BatchLease
from shared.store.builds import BuildLease
from shared.store.connection import Pool, connect

_log = get_logger("leases")


def give_back(
    pool: Pool,
    release: Callable[..., None],
    lease: BuildLease | BatchLease,
    *,
    error: Exception | str,
) -> None:
    """
    End *lease* after a try that failed with *error*, so that the next delivery may take it.

    A failure to do so is logged: the lease runs out by itself, and *error* is the one to raise.
    """
    try:
        with connect(pool) as connection:
            release(connection, lease, error=error if isinstance(error, str) else describe(error))
    except KaydangError as failure:
        _log.warning("lease not released", lease=str(lease), error=describe(failure))
