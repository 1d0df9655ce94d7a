"""The OpenAPI document: made from the routes and the models, so that it says what they do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .chat import (
    ChatChunk,
    ChatCompletion,
    ChatCompletionRequest,
    ChatModel,
    ChatModelsResponse,
)
from .problems import Problem, ProblemType
from .replies import EVENT_STREAM
from .schemas import (
    AcceptedResponse,
    CitationsEvent,
    CollectionsResponse,
    DocumentOut,
    DocumentsResponse,
    DoneEvent,
    FacetsResponse,
    FeedbackRequest,
    FeedbackResponse,
    HealthResponse,
    MarksResponse,
    OriginalResponse,
    PassagesEvent,
    QueryRequest,
    QueryResponse,
    ReadyResponse,
    RetrieveRequest,
    RetrieveResponse,
    StepEvent,
    SuggestionsResponse,
    TableOut,
    TableQueryRequest,
    TableQueryResponse,
    TablesResponse,
    TextResponse,
    TokenEvent,
    UploadRequest,
    UploadResponse,
)

SECURITY: list[dict[str, list[Any]]] = [{}, {"bearer": []}, {"key": []}]
_REFERENCE = "#/components/schemas/{model}"
_SCHEMAS: list[type[BaseModel]] = [
    RetrieveRequest,
    QueryRequest,
    FeedbackRequest,
    UploadRequest,
    RetrieveResponse,
    QueryResponse,
    FeedbackResponse,
    DocumentsResponse,
    CollectionsResponse,
    FacetsResponse,
    DocumentOut,
    TextResponse,
    MarksResponse,
    OriginalResponse,
    SuggestionsResponse,
    TablesResponse,
    TableOut,
    TableQueryRequest,
    TableQueryResponse,
    UploadResponse,
    AcceptedResponse,
    HealthResponse,
    ReadyResponse,
    Problem,
    ProblemType,
    StepEvent,
    PassagesEvent,
    TokenEvent,
    CitationsEvent,
    DoneEvent,
    ChatCompletionRequest,
    ChatCompletion,
    ChatChunk,
    ChatModelsResponse,
    ChatModel,
]
_REQUESTS = frozenset(
    {
        RetrieveRequest,
        QueryRequest,
        FeedbackRequest,
        UploadRequest,
        TableQueryRequest,
        ChatCompletionRequest,
    }
)


# https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text_responses(
    *failures: int,
) -> dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]:
    """Return what a route answers that answers with text."""
    answers = responses(Problem, *failures)
    answers[200] = {
        "description": HTTPStatus.OK.phrase,
        "content": {METRICS_TYPE: {"schema": {"type": "string"}}},
    }
    return answers


def file_responses(
    *failures: int,
) -> dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]:
    """Return what a route answers that answers with a file, whole or in part."""
    answers = responses(Problem, *failures)
    for status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        answers[status.value] = {
            "description": status.phrase,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    return answers


def responses(
    model: type[BaseModel],
    *failures: int,
    status: int = 200,
    events: Mapping[str, type[BaseModel]] | None = None,
) -> dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]:
    """Return what a route answers: *model* with *status*, a stream of *events*, or a problem."""
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    }
    if events:
        content[EVENT_STREAM] = {
            # Of each event, as OpenAPI 3.2 describes them:
            # https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events
            "schema": {"oneOf": [_describe_event(name, model) for name, model in events.items()]},
            "x-events": {
                name: {"$ref": _REFERENCE.format(model=model.__name__)}
                for name, model in events.items()
            },
        }
    by_status: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
    }
    for failure in (400, 401, 403, 405, 413, 415, 421, 429, 500, *failures):
        by_status[failure] = {
            "description": HTTPStatus(failure).phrase,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}
                }
            },
        }
    return by_status


def _describe_event(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": name,
        "required": ["data"],
        "properties": {
            "event": {"const": name},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": _REFERENCE.format(model=model.__name__)},
            },
        },
    }


def make_document(app: OpenAPI) -> dict[str, Any]:
    """Return the document with pydantic's own schemas: the library's copies drop some keywords."""
    document: dict[str, Any] = dict(app.api_doc)
    _names, schemas = models_json_schema(
        [(model, "validation" if model in _REQUESTS else "serialization") for model in _SCHEMAS],
        ref_template=_REFERENCE,
    )
    document["components"] = document["components"] | {"schemas": schemas["$defs"]}
    return _with_plain_names(document)


def _with_plain_names(document: dict[str, Any]) -> dict[str, Any]:
    """Call a schema "Passage" that is the class PassageOut: generators make names of them."""
    names = {
        name: name.removesuffix("Out").removesuffix("In")
        for name in document["components"]["schemas"]
        if name.endswith(("Out", "In"))
    }
    text = re.sub(
        r'"#/components/schemas/(\w+)"',
        lambda found: f'"#/components/schemas/{names.get(found[1], found[1])}"',
        json.dumps(document),
    )
    renamed: dict[str, Any] = json.loads(text)
    components = renamed["components"]
    components["schemas"] = {
        names.get(name, name): schema | ({"title": names[name]} if name in names else {})
        for name, schema in components["schemas"].items()
    }
    return renamed
