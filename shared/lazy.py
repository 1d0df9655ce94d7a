"""What a process makes once, when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

T = TypeVar("T")


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
