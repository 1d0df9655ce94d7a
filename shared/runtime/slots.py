"""Slots that bound the work of one process, and work that has the process to itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WorkSlots:
    """
    Slots for work; work that may kill the process takes all of them.

    All work in a process that dies loses an attempt, whichever was at fault. The second attempt
    therefore runs alone, so that only the guilty work dies again.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._slots = threading.Semaphore(number)
        # Two threads that each wait for the other's slots would deadlock.
        self._taking_all = threading.Lock()

    @contextmanager
    def hold(self, *, alone: bool) -> Iterator[None]:
        """Wait for a slot, or with *alone* until nothing else is being worked on."""
        if not alone:
            with self._slots:
                yield
            return
        with self._taking_all:
            for _ in range(self._number):
                self._slots.acquire()
            try:
                yield
            finally:
                self._slots.release(self._number)
