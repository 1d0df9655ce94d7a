"""Replies: whole answers, streamed answers, and failures that still contain an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeGuard

from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import MIMEAccept

from shared.errors import GenerationUnavailable
from shared.gemini.requests import MODEL_MISSING

from ..answering.journal import Journal
from ..answering.query import Answer, Retrieval, Token
from .answer_ids import AnswerSigner
from .problems import Problem, make_problem
from .schemas import CitationOut, Degraded, PassageOut, QueryResponse, Timings, UsageOut

EVENT_STREAM = "text/event-stream"
_ANSWER_TYPES = ("application/json", EVENT_STREAM)


def wants_events(accepted: MIMEAccept) -> bool:
    """Return whether an answer as events is preferred; parameters of a type say nothing here."""
    types = [(kind.partition(";")[0].strip(), quality) for kind, quality in accepted]
    return MIMEAccept(types).best_match(_ANSWER_TYPES) == EVENT_STREAM


def stream_answer(
    retrieval: Retrieval,
    steps: Iterator[Retrieval | Token | Answer],
    *,
    journal: Journal,
    signer: AnswerSigner,
    trace: bool,
) -> Iterator[str]:
    """Yield the events of an answer as it comes, after the searches and passages of *retrieval*."""
    for step in retrieval.steps:
        yield _event("step", asdict(step))
    yield _event("passages", {"passages": _dump(make_passages(retrieval))})
    for part in steps:
        if isinstance(part, Token):
            yield _event("token", {"text": part.text})
        elif isinstance(part, Answer):
            response = make_response(retrieval, part, journal=journal, signer=signer, trace=trace)
            yield _event("citations", {"citations": _dump(response.citations)})
            if is_failure(part.failure):
                yield _event("error", failure_problem(response, part.failure).as_json())
            else:
                yield _event("done", _without_lists(response))


def is_failure(failure: GenerationUnavailable | None) -> TypeGuard[GenerationUnavailable]:
    """
    Return whether *failure* may not affect another request.

    Not so for a used-up budget or a retired model, which affect every question until an operator
    acts; both are answered with extracts.
    """
    return failure is not None and failure.code not in ("budget", MODEL_MISSING)


def _without_lists(response: QueryResponse) -> dict[str, Any]:
    return response.model_dump(mode="json", exclude={"passages", "citations"})


def _event(name: str, data: dict[str, Any]) -> str:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def make_response(
    retrieval: Retrieval, answer: Answer, *, journal: Journal, signer: AnswerSigner, trace: bool
) -> QueryResponse:
    """Return *answer* in the form of the HTTP interface."""
    citations = make_citations(retrieval, answer)
    return QueryResponse(
        question=retrieval.question,
        answer=answer.text,
        grounded=answer.grounded,
        model=answer.model,
        answer_id=signer.sign(
            answer.id,
            question=retrieval.question,
            model=answer.model,
            grounded=answer.grounded,
            documents=[citation.document_id for citation in citations],
        ),
        citations=citations,
        passages=make_passages(retrieval),
        usage=UsageOut.model_validate(answer.usage),
        timings=Timings.of(journal),
        cached=answer.cached,
        degraded=describe_degradation(retrieval, answer),
        trace=journal.explanation if trace and not answer.cached else None,
    )


def event_stream(events: Iterator[str]) -> Response:
    """Return *events* as a response that no proxy collects."""
    return Response(events, content_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


def make_citations(retrieval: Retrieval, answer: Answer) -> list[CitationOut]:
    """Return the citations of *answer*."""
    return [
        CitationOut.of(citation, passage=retrieval.passages[citation.number - 1])
        for citation in answer.citations
    ]


def describe_degradation(retrieval: Retrieval, answer: Answer | None = None) -> Degraded | None:
    """Describe what the search or the answer had to do without."""
    if answer is not None and answer.failure is not None:
        return Degraded(code=answer.failure.code, message=str(answer.failure))
    if retrieval.not_embedded:
        return Degraded(code="not_embedded", message=retrieval.not_embedded)
    if not retrieval.not_reranked:
        return None
    return Degraded(code="not_reranked", message=retrieval.not_reranked)


def make_passages(retrieval: Retrieval) -> list[PassageOut]:
    """Return the passages, numbered from 1."""
    return [PassageOut.of(hit, number=number) for number, hit in enumerate(retrieval.passages, 1)]


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
        " are included.",
        **response.model_dump(mode="json"),
    )
