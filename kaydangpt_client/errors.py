"""
What a request can end with but its answer.

    ClientError
    ├── ProblemError   the service answered with a problem (RFC 9457)
    └── Unreachable    it did not answer, or not as this service does
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The root of all errors raised here."""


class Unreachable(ClientError):
    """
    The service did not answer, or what answered is no KaydangPT.

    Attributes:
        url: What was asked.
        reason: What happened, as the rest of a sentence that begins with the address.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"{url} {reason}")


class ProblemError(ClientError):
    """
    The service answered with a problem.

    Attributes:
        status: The HTTP status.
        code: A word for programs, such as unknown_document: docs/api.md lists them.
        type: The address that says what the code means.
        detail: A sentence for people.
        errors: The field and the message of each field at fault.
        retry_after_seconds: When the service says to come back; None if it does not.
        problem: All of it. Where Gemini failed it holds the passages and an extractive answer.
    """

    def __init__(
        self, problem: Mapping[str, Any], *, status: int, retry_after_seconds: float | None = None
    ) -> None:
        self.problem = dict(problem)
        self.status = status
        self.code = str(problem.get("code", ""))
        self.type = str(problem.get("type", "about:blank"))
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.errors: list[dict[str, str]] = list(problem.get("errors") or [])
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{f'{status} {self.code}'.strip()}: {self.detail}")
