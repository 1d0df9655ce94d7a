"""What goes out: answers whole, answers as they come, and the failures that still answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeGuard

from flask import Response
from pydantic import BaseModel

from shared.errors import GenerationUnavailable
from shared.gemini.requests import MODEL_MISSING, Usage

from ..answering.pipeline import Answered, Found, Token
from .problems import Problem, make_problem
from .schemas import CitationOut, Degraded, PassageOut, QueryResponse, Timings, UsageOut

EVENT_STREAM = "text/event-stream"
ANSWER_TYPES = ["application/json", EVENT_STREAM]


Finish = Callable[[Found, QueryResponse, GenerationUnavailable | None], None]


def stream_answer(
    found: Found,
    steps: Iterator[Token | Answered],
    *,
    started: float,
    trace: bool,
    finish: Finish,
) -> Iterator[str]:
    """
    Yield the events of an answer as it comes.

    Args:
        started: time.perf_counter() when the request came.
        finish: Called with the whole answer before its last event.
    """
    yield _event("passages", {"passages": _dump(make_passages(found))})
    for step in steps:
        if isinstance(step, Token):
            yield _event("token", {"text": step.text})
            continue
        response = make_response(found, step, started=started, trace=trace)
        finish(found, response, step.failure)
        yield _event("citations", {"citations": _dump(response.citations)})
        if is_failure(step.failure):
            yield _event("error", failure_problem(response, step.failure).as_json())
        else:
            yield _event("done", _without_lists(response))


def stream_whole(response: QueryResponse) -> Iterator[str]:
    """Yield the events of an answer that is there already."""
    yield _event("passages", {"passages": _dump(response.passages)})
    yield _event("token", {"text": response.answer})
    yield _event("citations", {"citations": _dump(response.citations)})
    yield _event("done", _without_lists(response))


def is_failure(failure: GenerationUnavailable | None) -> TypeGuard[GenerationUnavailable]:
    """
    Return whether *failure* is one that another request may not meet.

    A budget of our own is none, and a retired model fails every question until an operator acts:
    both are answered with extracts.
    """
    return failure is not None and failure.code not in ("budget", MODEL_MISSING)


def _without_lists(response: QueryResponse) -> dict[str, Any]:
    return response.model_dump(mode="json", exclude={"passages", "citations"})


def _event(name: str, data: dict[str, Any]) -> str:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def make_response(found: Found, whole: Answered, *, started: float, trace: bool) -> QueryResponse:
    """Return *whole* as the interface gives it."""
    degraded = None
    if whole.failure is not None:
        degraded = Degraded(code=whole.failure.code, message=str(whole.failure))
    return QueryResponse(
        answer=whole.answer,
        grounded=whole.grounded,
        model=whole.model,
        citations=[
            CitationOut.of(citation, passage=found.passages[citation.number - 1])
            for citation in whole.citations
        ],
        passages=make_passages(found),
        usage=make_usage(whole.usage),
        timings=Timings(
            embed_ms=found.embed_ms,
            retrieve_ms=found.retrieve_ms,
            generate_ms=whole.generate_ms,
            total_ms=milliseconds_since(started),
        ),
        degraded=degraded,
        trace=make_trace(found) | whole.trace if trace else None,
    )


def make_usage(usage: Usage) -> UsageOut:
    """Return *usage* as the interface gives it."""
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        answer_tokens=usage.answer_tokens,
        thinking_tokens=usage.thinking_tokens,
        total_tokens=usage.total_tokens,
        calls=usage.calls,
    )


def make_passages(found: Found) -> list[PassageOut]:
    """Return the passages, numbered from 1."""
    return [PassageOut.of(hit, number=number) for number, hit in enumerate(found.passages, 1)]


def make_trace(found: Found) -> dict[str, Any]:
    """Return what the search did."""
    return found.trace | {
        "ranks": [
            {
                "number": number,
                "score": hit.score,
                "similarity": hit.similarity,
                "vector_rank": hit.vector_rank,
                "text_rank": hit.text_rank,
            }
            for number, hit in enumerate(found.passages, 1)
        ]
    }


def reply(model: BaseModel, *, status: int = 200) -> Response:
    """Return *model* as JSON."""
    return Response(model.model_dump_json(), status=status, content_type="application/json")


def _dump(models: list[Any]) -> list[Any]:
    return [model.model_dump(mode="json") for model in models]


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since *started*, a time.perf_counter()."""
    return round((time.perf_counter() - started) * 1000, 1)


def failure_problem(response: QueryResponse, failure: GenerationUnavailable) -> Problem:
    """Return the problem of Gemini's *failure*, with the extractive answer in its members."""
    status = HTTPStatus.GATEWAY_TIMEOUT if failure.code == "timeout" else HTTPStatus.BAD_GATEWAY
    return make_problem(
        status,
        f"gemini_{failure.code}",
        f"Gemini gave no answer: {failure}. The passages, and an answer made of their sentences,"
        " are here.",
        **response.model_dump(mode="json"),
    )
