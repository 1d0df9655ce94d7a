"""Answers and rewritten questions by Gemini, behind a circuit breaker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shared.errors import GenerationUnavailable, TriesExhausted
from shared.gemini.requests import GenerationRequest, ThinkingLevel, Usage
from shared.runtime.startup import once
from shared.settings import GeminiSettings

from .prompt import (
    ANSWER_SCHEMA,
    PLANNING_RULES,
    PLANNING_SCHEMA,
    REWRITING_RULES,
    REWRITING_SCHEMA,
    TABLE_RULES,
    TABLE_SCHEMA,
    Prompt,
)

if TYPE_CHECKING:
    from shared.gemini.client import GeminiClient

# For rewriting and planning, the calls besides the answer.
_ASIDE_TIMEOUT_SECONDS = 5.0
_ASIDE_MAX_TOKENS = 1_024


class CircuitBreaker:
    """
    Stops calls to a service that has just failed several times in a row.

    After *failures* failures it is open for *pause_seconds*. Then one call tries, and its success
    closes the breaker. (pybreaker holds one lock around each call, so that calls wait for one
    another.)
    """

    def __init__(self, *, failures: int, pause_seconds: float) -> None:
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def check(self) -> None:
        """
        Let the call pass, or refuse it.

        Raises:
            GenerationUnavailable: The breaker is open.
        """
        with self._lock:
            if self._failures < self._limit:
                return
            now = time.monotonic()
            if now < self._open_until:
                raise GenerationUnavailable(
                    "circuit_open",
                    f"Gemini failed {self._failures} times in a row; it is asked again in"
                    f" {self._open_until - now:.0f} s",
                )
            # This call tries; the others wait for its outcome.
            self._open_until = now + self._pause_seconds

    def record(self, *, success: bool) -> None:
        """Record the outcome of a call."""
        with self._lock:
            self._failures = 0 if success else self._failures + 1
            if self._failures >= self._limit:
                self._open_until = time.monotonic() + self._pause_seconds


class Gemini:
    """
    One Gemini model, asked under a total deadline.

    Args:
        thinking_budget: Tokens that a model before Gemini 3 may think; None leaves it to the model.
        thinking_level: How much Gemini 3 and later think; None leaves it to the model.
    """

    def __init__(
        self,
        settings: GeminiSettings,
        *,
        attempts: int,
        max_output_tokens: int,
        thinking_budget: int | None,
        thinking_level: ThinkingLevel | None,
        breaker: CircuitBreaker,
    ) -> None:
        self.model = settings.gemini_model
        self._timeout_seconds = settings.gemini_timeout_seconds
        self._max_output_tokens = max_output_tokens
        self._thinking_budget = thinking_budget
        self._thinking_level = thinking_level
        self._breaker = breaker

        def open_client() -> GeminiClient:
            # Importing it takes longer than everything needed to find passages.
            from shared.gemini.client import GeminiClient

            return GeminiClient(settings, attempts=attempts)

        self._client = once(open_client)

    def warm_up(self) -> None:
        """Make the client, so that the first answer does not wait for it."""
        self._client()

    def close(self) -> None:
        """Close the connections."""
        self._client().close()

    def stream(self, prompt: Prompt, *, whole: bool = False) -> Iterator[str | Usage]:
        """
        Yield the model's text as it arrives, and the usage.

        Args:
            whole: Yield nothing before the answer is whole, so that any try can be repeated.

        Raises:
            GenerationUnavailable: No whole answer; the text so far is void.
        """
        request = GenerationRequest(
            text=prompt.text,
            rules=prompt.rules,
            schema=ANSWER_SCHEMA,
            max_output_tokens=self._max_output_tokens,
            thinking_budget=self._thinking_budget,
            thinking_level=self._thinking_level,
        )
        yield from self._ask(request, timeout_seconds=self._timeout_seconds, whole=whole)

    def rewrite(self, prompt: str) -> tuple[str, Usage]:
        """
        Return the model's JSON for a rewriting prompt, and the usage.

        Raises:
            GenerationUnavailable: No whole answer within a few seconds.
        """
        return self._ask_aside(prompt, rules=REWRITING_RULES, schema=REWRITING_SCHEMA)

    def plan(self, prompt: str) -> tuple[str, Usage]:
        """
        Return the model's JSON for a planning prompt, and the usage.

        Raises:
            GenerationUnavailable: No whole answer within a few seconds.
        """
        return self._ask_aside(prompt, rules=PLANNING_RULES, schema=PLANNING_SCHEMA)

    def plan_table(self, prompt: str) -> tuple[str, Usage]:
        """
        Return the model's JSON for a prompt about tables, and the usage.

        Raises:
            GenerationUnavailable: No whole answer within a few seconds.
        """
        return self._ask_aside(prompt, rules=TABLE_RULES, schema=TABLE_SCHEMA)

    def _ask_aside(self, prompt: str, *, rules: str, schema: dict[str, Any]) -> tuple[str, Usage]:
        request = GenerationRequest(
            text=prompt,
            rules=rules,
            schema=schema,
            max_output_tokens=_ASIDE_MAX_TOKENS,
            thinking_budget=self._thinking_budget,
            thinking_level=self._thinking_level,
        )
        timeout_seconds = min(_ASIDE_TIMEOUT_SECONDS, self._timeout_seconds)
        parts = list(self._ask(request, timeout_seconds=timeout_seconds, whole=True))
        text = "".join(part for part in parts if isinstance(part, str))
        return text, sum((part for part in parts if isinstance(part, Usage)), Usage())

    def _ask(
        self, request: GenerationRequest, *, timeout_seconds: float, whole: bool
    ) -> Iterator[str | Usage]:
        self._breaker.check()
        try:
            yield from self._client().stream(request, timeout_seconds=timeout_seconds, whole=whole)
        except GenerationUnavailable as error:
            # A refusal by the model says nothing about the service.
            failed = isinstance(error, TriesExhausted) or error.code == "quota_exhausted"
            self._breaker.record(success=not failed)
            raise
        self._breaker.record(success=True)
