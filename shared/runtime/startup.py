"""Lazily created per-process singletons, and warm-up after the fork."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

from shared.errors import KaydangError
from shared.runtime.logs import get_logger

T = TypeVar("T")

_log = get_logger(__name__)


def once(make: Callable[[], T]) -> Callable[[], T]:
    """
    Return *make* as a function that runs it once and gives the same value to every caller.

    functools.cache alone lets threads that ask at the same moment make one each: two pools, two
    models in memory. A failure is not kept: the next caller tries again.
    """
    making = threading.Lock()
    kept = cache(make)

    @wraps(make)
    def get() -> T:
        with making:
            return kept()

    return get


def warm_after_fork(make: Callable[[], object]) -> None:
    """
    Run *make* in a thread of each worker that the server forks, so that no request waits for it.

    functions-framework imports main.py before it forks, and what is opened there does not survive;
    gunicorn's own hooks are out of a function's reach.
    """

    def warm() -> None:
        try:
            make()
        except KaydangError as error:
            # The first request retries, and its failure is the one that counts.
            _log.warning("not warmed up", error=f"{type(error).__name__}: {error}")
        else:
            # `make run` waits for it.
            _log.info("warmed up", part=make.__name__.strip("_"))

    # What was imported stays for good. A full collection would look through it while all requests
    # wait (60 ms), and write to each object, so that the worker had a copy of its own (12 MB).
    # https://docs.python.org/3/library/gc.html#gc.freeze
    os.register_at_fork(
        before=gc.freeze,
        after_in_child=lambda: threading.Thread(target=warm, name="warm-up", daemon=True).start(),
    )
