"""The journal of one question's stages: the only source of timings, trace, metrics and log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shared.runtime.tracing import Note, Value, span


class Journal:
    """
    The journal of one question; each stage writes its own entries.

    Attributes:
        timings: Milliseconds by stage, in the order in which the stages ended.
        explanation: What each stage decided, for a caller who asks for the trace.
    """

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self.explanation: dict[str, Any] = {}
        self._started = time.perf_counter()

    @contextmanager
    def stage(
        self, name: str, attributes: Mapping[str, Value] | None = None, *, current: bool = True
    ) -> Iterator[Note]:
        """
        Time the block as stage *name*, as a span of the trace too; it yields the span's note.

        Args:
            current: As in span(): a generator says no.
        """
        started = time.perf_counter()
        with span(name, attributes, current=current) as note:
            yield note
        self.record(name, since=started)

    def record(self, name: str, *, since: float) -> None:
        """Record that stage *name* ran from *since*, a time.perf_counter(), until now."""
        self.timings[name] = _milliseconds(time.perf_counter() - since)

    def explain(self, **entries: Any) -> None:
        """Add *entries* to the explanation."""
        self.explanation.update(entries)

    @property
    def total_ms(self) -> float:
        """Return the milliseconds since the question came."""
        return _milliseconds(time.perf_counter() - self._started)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
