"""
What is counted and measured, in the text format that Prometheus reads.

Counters and histograms are of this process; the gauges come from the database and are the same
in every instance. Labels are routes, states and codes: never a name, a collection or a key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from shared.errors import DatabaseUnavailable
from shared.store.backlog import Backlog

_STATES = ("queued", "indexing", "ready", "failed", "deleted")
# Seconds; from a cached look-up to Gemini's last try.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """
    The metrics of one process; its threads share it.

    Args:
        read_backlog: Raises DatabaseUnavailable; then the gauges are left out.
        max_age_seconds: For how long the database is not asked again.
    """

    def __init__(self, read_backlog: Callable[[], Backlog], *, max_age_seconds: float = 15) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_BacklogGauges(read_backlog, max_age_seconds=max_age_seconds))
        self._requests = Counter(
            "kaydang_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._request_seconds = self._histogram(
            "kaydang_request_seconds", "Until the headers of an answer.", ["route"]
        )
        self._stage_seconds = self._histogram(
            "kaydang_stage_seconds",
            "Stages of a question: rewrite, embed, retrieve, expand, generate.",
            ["stage"],
        )
        self._answers = Counter(
            "kaydang_answers",
            "Answers: grounded, refused (the documents do not answer), or cached.",
            ["outcome"],
            registry=self._registry,
        )
        self._failures = Counter(
            "kaydang_generation_failures",
            "Answers that Gemini was asked for and did not give.",
            ["code"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "kaydang_tokens", "Tokens that Gemini counted.", ["kind"], registry=self._registry
        )
        # A rate needs the first value too.
        for outcome in ("grounded", "refused", "cached"):
            self._answers.labels(outcome)
        for kind in ("prompt", "answer", "thinking", "embedding"):
            self._tokens.labels(kind)

    def count_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_stages(self, timings: Mapping[str, float]) -> None:
        """Count the stages of a question; *timings* are milliseconds by stage."""
        for stage, milliseconds in timings.items():
            self._stage_seconds.labels(stage).observe(milliseconds / 1000)

    def count_answer(self, *, grounded: bool, failure: str | None) -> None:
        """Count a whole answer; *failure* is the code of Gemini's, if it failed."""
        self._answers.labels("grounded" if grounded else "refused").inc()
        if failure is not None:
            self._failures.labels(failure).inc()

    def count_cached(self) -> None:
        """Count an answer that was kept from before."""
        self._answers.labels("cached").inc()

    def count_embedding(self, tokens: int) -> None:
        """Count what Gemini embedded of questions."""
        self._tokens.labels("embedding").inc(tokens)

    def count_tokens(self, *, prompt: int, answer: int, thinking: int) -> None:
        """Count what Gemini was used for."""
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("answer").inc(answer)
        self._tokens.labels("thinking").inc(thinking)

    def write(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, about: str, labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, about, labels, registry=self._registry, buckets=_BUCKETS)


class _BacklogGauges:
    """Asks the database when it is collected, and not again soon."""

    def __init__(self, read_backlog: Callable[[], Backlog], *, max_age_seconds: float) -> None:
        self._read = read_backlog
        self._max_age_seconds = max_age_seconds
        self._lock = threading.Lock()
        self._until = 0.0
        self._kept: Backlog | None = None

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry would ask the database before there is one."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges; none while the database is away."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._kept = self._read()
                except DatabaseUnavailable:
                    self._kept = None
                self._until = time.monotonic() + self._max_age_seconds
            backlog = self._kept
        yield GaugeMetricFamily(
            "kaydang_database_up",
            "Whether the database answered.",
            value=float(backlog is not None),
        )
        if backlog is None:
            return
        documents = GaugeMetricFamily("kaydang_documents", "Documents by state.", labels=["state"])
        for state in _STATES:
            documents.add_metric([state], backlog.documents.get(state, 0))
        yield documents
        for name, about, value in (
            ("batches_waiting", "Batches of chunks not embedded.", backlog.batches_waiting),
            ("oldest_batch_seconds", "Age of the oldest of them.", backlog.oldest_batch_seconds),
            ("builds_waiting", "Generations not parsed.", backlog.builds_waiting),
            ("oldest_build_seconds", "Age of the oldest of them.", backlog.oldest_build_seconds),
            ("dead_letters", "Dead letters that have not been replayed.", backlog.dead_letters),
        ):
            yield GaugeMetricFamily(f"kaydang_{name}", about, value=value)
