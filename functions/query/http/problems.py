"""Errors as RFC 9457 problem details: one shape for every fault that a client can meet."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .schemas import (
    ANSWER_ID_PATTERN,
    CONTENT_TYPE_PATTERN,
    METADATA_KEY_PATTERN,
    METADATA_PAIR_PATTERN,
    OBJECT_NAME_PATTERN,
    TEXT_PATTERN,
)

CONTENT_TYPE = "application/problem+json"
# Which setting, folder or model is at fault is for the operator's log, not for callers.
MISCONFIGURED = "The service is misconfigured; see the query function's log for the cause."


# What each code means, and what to do; docs/api.md has the same table.
PROBLEM_TYPES = {
    "invalid_field": "A field of the request is missing or wrong; errors names it.",
    "bad_request": "The request cannot be read.",
    "key_missing_or_wrong": "Send one of the keys.",
    "token_missing_or_wrong": "Send an identity token for this service.",
    "uploads_disabled": "This service may not write to the bucket.",
    "feedback_disabled": "This service takes no ratings.",
    "caller_not_admitted": "The token is valid, but its bearer may not ask.",
    "link_expired": "The link has expired; ask for another one.",
    "foreign_origin": "Pages of other origins may not change anything here.",
    "not_found": "There is nothing at this path.",
    "unknown_document": "There is no such document, or none that you may read.",
    "unknown_answer": "This service gave no such answer, or it can no longer be rated.",
    "unknown_table": "There is no such table, or none that you may read.",
    "unknown_collection": "There is no collection that you may write to.",
    "unknown_model": "There is no model of this name; GET /v1/models lists them.",
    "unknown_problem": "There is no problem of this name.",
    "not_answering": "The document has no text now.",
    "object_gone": "The file is no longer in the bucket.",
    "original_unavailable": "This service does not hand out the file.",
    "metrics_disabled": "Metrics are not enabled.",
    "no_authorization_server": "This service takes no identity tokens.",
    "method_not_allowed": "The path has other methods; Allow names them.",
    "object_changed": "The object was overwritten, or is gone.",
    "request_entity_too_large": "The body is too large.",
    "not_json": "Send the request as JSON.",
    "encoded": "Send the request uncompressed.",
    "range_not_satisfiable": "The file has no such bytes.",
    "unknown_host": "This service does not answer for that host.",
    "rate_limited": "Too many requests; Retry-After says when the next one is taken.",
    "internal": "Something failed in the service; see its log.",
    "gemini_rate_limited": "Gemini takes no more requests for the moment.",
    "gemini_quota_exhausted": "The day's requests to Gemini are used up.",
    "gemini_unavailable": "Gemini does not answer.",
    "gemini_blocked": "Gemini declined to answer.",
    "gemini_empty": "Gemini's answer was empty.",
    "gemini_cut_off": "Gemini's answer ended too early.",
    "gemini_cut": "Gemini's answer ended too early.",
    "gemini_circuit_open": "Gemini failed several times in a row, so it is not asked for a while.",
    "gemini_rejected": "Gemini rejected the request; the service's log says why.",
    "gemini_timeout": "Gemini did not answer in time.",
    "overloaded": "Too many requests at the same time; Retry-After says when to come back.",
    "database_unavailable": "The database does not answer; try again in a few seconds.",
    "model_switched": "The embedding model is being changed; try again in a few seconds.",
    "storage_unavailable": "Cloud Storage does not answer; try again in a few seconds.",
    "embedding_unavailable": "The embedding model does not answer; try again in a few seconds.",
    "keys_unavailable": "Identity tokens cannot be checked now; try again in a few seconds.",
    "misconfigured": "The service is misconfigured; see its log.",
}


class ProblemType(BaseModel):
    """What a problem's code means, and what to do."""

    code: str
    meaning: str


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

    type: str = Field(description="The address of what the code means, on this service.")
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
        type=f"/problems/{code}",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        errors=errors,
        **members,
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


def unknown_document() -> ProblemRaised:
    """Return the problem of a document that is not there, or that the caller may not read."""
    return ProblemRaised(
        HTTPStatus.NOT_FOUND, "unknown_document", "There is no document with this id."
    )


# By pydantic's names (https://docs.pydantic.dev/latest/errors/validation_errors/), for people who
# do not know it.
_FAULTS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_pattern_mismatch": "has characters that are not allowed here",
    "string_unicode": "is not valid Unicode",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_long": "has more than {max_length} entries",
    "too_short": "must not be empty",
    "uuid_type": "must be a document's id",
    "uuid_parsing": "must be a document's id",
    "union_tag_invalid": "is of a type that is not allowed here",
}
# Which form of a value was tried: no part of a path that a client knows.
_TAGS = frozenset({"text", "number", "truth", "int", "float", "str"})


# What a text must look like, by its pattern.
_PATTERNS = {
    TEXT_PATTERN: "contains no text",
    OBJECT_NAME_PATTERN: "cannot be an object's name: it is empty, only dots, or has line breaks",
    CONTENT_TYPE_PATTERN: "is not a content type, such as text/plain",
    METADATA_KEY_PATTERN: "may have letters, digits, dots, hyphens and underscores, 64 at most",
    METADATA_PAIR_PATTERN: "must be KEY:VALUE",
    ANSWER_ID_PATTERN: "is not an answer_id of this service",
}


def describe_faults(error: ValidationError) -> list[FieldFault]:
    """Return the fields at fault, by their path in the request; never with their values."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        message = _FAULTS.get(fault["type"])
        context = fault.get("ctx", {})
        message = _PATTERNS.get(context.get("pattern", ""), message)
        if fault["type"] == "literal_error" and " or " not in context["expected"]:
            message = "must be {expected}"
        message = message and message.format(**context)
        # "[key]" stands for a key itself, which is the part before it.
        path = [str(part) for part in fault["loc"] if part != "[key]"]
        while len(path) > 1 and path[-1] in _TAGS and fault["type"] != "extra_forbidden":
            del path[-1]
        faults.append(
            FieldFault(
                field=".".join(path) or "body",
                message=message or fault["msg"].removeprefix("Value error, "),
            )
        )
    # Both forms of a number have the same fault.
    return list({(each.field, each.message): each for each in faults}.values())
