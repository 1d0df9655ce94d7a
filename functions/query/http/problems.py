"""Errors as RFC 9457 problem details: one shape for every fault that a client can meet."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONTENT_TYPE = "application/problem+json"
# Which setting, folder or model is at fault is for the operator's log, not for callers.
MISCONFIGURED = "The service is misconfigured; see the query function's log for the cause."


class FieldFault(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """
    Problem details (https://www.rfc-editor.org/rfc/rfc9457).

    When Gemini fails, passages, answer and citations of the extractive answer come with it.
    """

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="A word for programs; see docs/api.md.")
    errors: list[FieldFault] | None = Field(default=None, description="The fields at fault.")

    def as_json(self) -> dict[str, Any]:
        """Return the members that are given; those of an extension may be null."""
        members = self.model_dump(mode="json")
        if self.errors is None:
            del members["errors"]
        return members


class ProblemRaised(Exception):
    """A request ends with this problem."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        retry_after_seconds: int | None = None,
        errors: list[FieldFault] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.problem = make_problem(status, code, detail, errors=errors, **members)
        self.retry_after_seconds = retry_after_seconds


def make_problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: list[FieldFault] | None = None,
    **members: Any,
) -> Problem:
    """Return the problem with the usual title of its *status*; *members* extend it."""
    return Problem(
        title=status.phrase, status=status, detail=detail, code=code, errors=errors, **members
    )


def render(problem: Problem, *, retry_after_seconds: int | None = None) -> Response:
    """Return *problem* as a response."""
    response = Response(
        json.dumps(problem.as_json(), ensure_ascii=False),
        status=problem.status,
        content_type=CONTENT_TYPE,
    )
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def bad_field(field: str, message: str) -> ProblemRaised:
    """Return the problem of one wrong field."""
    return ProblemRaised(
        HTTPStatus.BAD_REQUEST,
        "invalid_field",
        f"{field}: {message}",
        errors=[FieldFault(field=field, message=message)],
    )


def describe_faults(error: ValidationError) -> list[FieldFault]:
    """Return the fields at fault, by their path in the request; never with their values."""
    return [
        FieldFault(
            field=".".join(str(part) for part in fault["loc"]) or "body",
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]
