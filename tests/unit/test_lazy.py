"""What a process has once is made once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.lazy import once


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
