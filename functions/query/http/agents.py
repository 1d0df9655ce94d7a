"""Routes for other programs: OpenAI's chat interface, and the Model Context Protocol."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Response, request
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from shared.store import list_collections, reading

from ..answering.journal import Journal
from ..answering.pipeline import answer_question
from ..answering.query import Answer, Retrieval
from ..dependencies import Dependencies
from .addresses import base_address
from .audit import note_documents
from .chat import (
    ChatChunk,
    ChatCompletion,
    ChatCompletionRequest,
    ChatModel,
    ChatModelsResponse,
    ModelPath,
    collection_of,
    is_model,
    make_completion,
    make_models,
    read_conversation,
    stream_completion,
)
from .keep_alive import keep_alive
from .known_documents import principals
from .openapi import SECURITY, responses
from .problems import ProblemRaised
from .replies import event_stream, reply

if TYPE_CHECKING:
    from .mcp import Reply

_CHAT = Tag(name="chat", description="OpenAI's chat interface over the documents.")


def add_chat(app: OpenAPI, dependencies: Dependencies) -> None:
    """Add what OpenAI's clients call."""

    @app.post(
        "/chat/completions",
        tags=[_CHAT],
        summary="Answer the last message of a conversation",
        description="As OpenAI's chat completions; errors have their member error as well.",
        operation_id="create_chat_completion",
        responses=responses(ChatCompletion, 404, 503, events={"message": ChatChunk}),
        security=SECURITY,
    )
    def chat_completion(body: ChatCompletionRequest) -> Response:
        _check_model(body.model)
        query = read_conversation(body, principals=principals())
        base = base_address(trusted_proxies=dependencies.settings.trusted_proxies)
        steps = answer_question(
            query,
            dependencies=dependencies.answering,
            journal=Journal(),
            whole=not body.stream,
        )
        retrieval = next(step for step in steps if isinstance(step, Retrieval))
        note_documents(hit.document_id for hit in retrieval.passages)
        if body.stream:
            events = stream_completion(body, retrieval, steps, base=base)
            return event_stream(keep_alive(events))
        answer = next(step for step in steps if isinstance(step, Answer))
        return reply(make_completion(body, retrieval, answer, base=base))

    @app.get(
        "/models",
        tags=[_CHAT],
        summary="List what can be asked: everything, or one collection",
        operation_id="list_models",
        responses=responses(ChatModelsResponse, 503),
        security=SECURITY,
    )
    def chat_models() -> Response:
        with reading(dependencies.pool, principals()) as connection:
            names = [summary.name for summary in list_collections(connection)]
        return reply(make_models(names))

    @app.get(
        "/models/<path:model>",
        tags=[_CHAT],
        summary="Get one model",
        operation_id="get_model",
        responses=responses(ChatModel, 404, 503),
        security=SECURITY,
    )
    def chat_model(path: ModelPath) -> Response:
        _check_model(path.model)
        collection = collection_of(path.model)
        with reading(dependencies.pool, principals()) as connection:
            names = {summary.name for summary in list_collections(connection)}
        if collection is not None and collection not in names:
            raise _unknown_model(path.model)
        return reply(ChatModel(id=path.model, created=0))


def add_mcp(app: OpenAPI, dependencies: Dependencies) -> None:
    """Add what agents call. It is no part of the description: its own protocol describes it."""

    def mcp() -> Response:
        # For those alone who call it.
        from .agent_tools import INSTRUCTIONS, make_tools
        from .mcp import answer_message

        base = base_address(trusted_proxies=dependencies.settings.trusted_proxies)
        tools = make_tools(dependencies, principals=principals(), base=base)
        return _render(
            answer_message(
                json.loads(request.get_data(cache=True)),
                headers=request.headers,
                tools=tools,
                instructions=INSTRUCTIONS,
            )
        )

    def protected_resource() -> Response:
        if dependencies.tokens is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "no_authorization_server",
                "This service takes no identity tokens; send a key if it asks for one.",
            )
        base = base_address(trusted_proxies=dependencies.settings.trusted_proxies)
        # https://www.rfc-editor.org/rfc/rfc9728#section-2
        metadata = {
            "resource": f"{base}/mcp",
            "authorization_servers": [
                issuer
                for issuer in dependencies.settings.query_issuers
                if issuer.startswith(("https://", "http://"))
            ],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["openid", "email"],
            "resource_name": "KaydangPT",
        }
        return Response(json.dumps(metadata), content_type="application/json")

    app.add_url_rule("/mcp", view_func=mcp, methods=["POST"])
    for path in ("", "/mcp"):
        app.add_url_rule(
            f"/.well-known/oauth-protected-resource{path}", view_func=protected_resource
        )


def _render(answer: Reply) -> Response:
    if answer.body is None:
        return Response(status=answer.status)
    data = json.dumps(answer.body, ensure_ascii=False)
    return Response(data, status=answer.status, content_type="application/json")


def _check_model(model: str) -> None:
    if not is_model(model):
        raise _unknown_model(model)


def _unknown_model(model: str) -> ProblemRaised:
    return ProblemRaised(
        HTTPStatus.NOT_FOUND,
        "unknown_model",
        f"There is no model {model[:100]!r}: ask kaydangpt, or kaydangpt/COLLECTION.",
    )
