"""Admission: a process works on a limited number of requests, and refuses others at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from flask import Response, g, request
from flask_openapi3.openapi import OpenAPI

from .problems import ProblemRaised
from .replies import EVENT_STREAM

# Threads beyond the places: they refuse, and answer probes and the page, while places are taken.
SPARE_THREADS = 8
_RETRY_SECONDS = 2
# These cost nothing, and an overloaded service is still alive.
_ALWAYS = frozenset(
    {
        "healthz",
        "readyz",
        "page",
        "static_file",
        "favicon",
        "robots",
        "openapi_document",
        "problem_type",
    }
)


class Admission:
    """Slots for requests; threads share it."""

    def __init__(self, *, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def enter(self) -> Callable[[], None] | None:
        """Return a function that frees the slot once, or None if no slot is free."""
        if not self._places.acquire(blocking=False):
            return None
        given_back = threading.Lock()

        def leave() -> None:
            if given_back.acquire(blocking=False):
                self._places.release()

        return leave


def admit(app: OpenAPI, admission: Admission) -> None:
    """
    Refuse a request when all slots are taken; a stream holds its slot to the end.

    Without it they would wait in the server's own queue, which is unbounded and invisible.
    """

    @app.before_request
    def enter() -> None:
        if request.endpoint in _ALWAYS:
            return
        leave = admission.enter()
        if leave is None:
            raise ProblemRaised(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "overloaded",
                f"Too many requests at the same time; ask again in {_RETRY_SECONDS} s.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        g.leave = leave

    @app.after_request
    def leave(response: Response) -> Response:
        leave = g.pop("leave", None)
        if leave is None:
            return response
        if response.mimetype == EVENT_STREAM or request.endpoint == "original":
            response.response = _to_the_end(response.response, leave)
            # For an answer whose reader never starts.
            response.call_on_close(leave)
        else:
            leave()
        return response

    @app.teardown_request
    def leave_after_a_failure(_error: BaseException | None) -> None:
        # What fails while the response is finished must not cost the place for ever.
        if leave := g.pop("leave", None):
            leave()


def _to_the_end(parts: Iterable[Any], leave: Callable[[], None]) -> Iterator[Any]:
    try:
        yield from parts
    finally:
        leave()
