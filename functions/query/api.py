"""The HTTP interface: routes, errors, headers. What an answer is, is decided in asking.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Request, Response, g, request, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.exceptions import HTTPException

from shared.embedding import Embedder
from shared.errors import (
    DatabaseUnavailable,
    Misconfigured,
    ObjectGone,
    StorageUnavailable,
)
from shared.logs import begin_trace, get_logger
from shared.models import DocumentStatus, Filter
from shared.store import (
    Pool,
    check_model,
    connect,
    get_document,
    list_documents,
    ping,
    read_text,
)

from . import access
from .asking import EXTRACTIVE, Answered, Asked, Found, Refuse, Search, Token, answer, find
from .generation import Gemini
from .problems import (
    FieldFault,
    Problem,
    ProblemRaised,
    describe_faults,
    make_problem,
    render,
)
from .schemas import (
    AcceptedResponse,
    CitationOut,
    Degraded,
    DocumentOut,
    DocumentPath,
    DocumentsQuery,
    DocumentsResponse,
    HealthResponse,
    PassageOut,
    QueryRequest,
    QueryResponse,
    ReadyResponse,
    RetrieveRequest,
    RetrieveResponse,
    RetrieveTimings,
    TextQuery,
    TextResponse,
    Timings,
    UploadRequest,
    UploadResponse,
    UsageOut,
)
from .settings import QuerySettings
from .uploads import Uploads, storage_origin

_WEB = Path(__file__).with_name("web")
_RETRY_SECONDS = 5
_MAX_TEXT_CHARACTERS = 100_000

_PUBLIC = frozenset({"healthz", "readyz", "page", "static_file", "openapi_document"})
_WITH_BODY = frozenset({"query", "retrieve", "upload_document"})

_ASKING = Tag(name="asking", description="Questions, answers and passages.")
_DOCUMENTS = Tag(name="documents", description="The documents and how far their indexing is.")
_SERVICE = Tag(name="service", description="Is it there, and can it answer?")

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """
    What the interface needs.

    Attributes:
        gemini: None where answers are extractive.
        make_uploads: None where the service may not write to the bucket.
    """

    settings: QuerySettings
    pool: Pool
    embedder: Embedder
    search: Search
    refuse: Refuse
    gemini: Gemini | None
    make_uploads: Callable[[], Uploads] | None


def create_app(services: Services) -> OpenAPI:
    """Return the application that answers requests."""
    settings = services.settings
    app = OpenAPI(
        __name__,
        info=Info(
            title="KaydangPT",
            version="1",
            description="Ask questions of the documents in a bucket; every answer proves itself.",
        ),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        },
        doc_ui=False,
        static_folder=None,
        validation_error_status=400,
        validation_error_model=Problem,
        validation_error_callback=_refuse_fields,
    )
    app.config["MAX_CONTENT_LENGTH"] = settings.max_request_bytes
    _guard(app, services)
    _handle_errors(app)
    _add_asking(app, services)
    _add_documents(app, services)
    _add_changes(app, services)
    _add_service(app, services)
    return app


def _add_asking(app: OpenAPI, services: Services) -> None:
    settings = services.settings

    def look_up(body: RetrieveRequest) -> Found:
        return find(
            Asked(
                question=body.question,
                limit=body.limit,
                filter=Filter(**body.filter.model_dump()),
                turns=[(turn.role, turn.content) for turn in body.history],
                per_document=body.per_document,
                mode=body.mode,
            ),
            pool=services.pool,
            embedder=services.embedder,
            search=services.search,
            refuse=services.refuse,
            gemini=services.gemini,
        )

    @app.post(
        "/retrieve",
        tags=[_ASKING],
        summary="Find passages",
        responses=_responses(RetrieveResponse, 503),
        security=_SECURITY,
    )
    def retrieve(body: RetrieveRequest) -> Response:
        started = time.perf_counter()
        found = look_up(body)
        return _json(
            RetrieveResponse(
                passages=_passages(found),
                timings=RetrieveTimings(
                    embed_ms=found.embed_ms,
                    retrieve_ms=found.retrieve_ms,
                    total_ms=_milliseconds_since(started),
                ),
                trace=_trace(found) if body.trace else None,
            )
        )

    @app.post(
        "/query",
        tags=[_ASKING],
        summary="Answer a question",
        description=(
            "With Accept: text/event-stream the answer comes as server-sent events: passages,"
            " token (any number), citations, and done or error. After error the tokens before it"
            " are void; it carries the extractive answer."
        ),
        responses=_responses(QueryResponse, 502, 503, 504, streamed=True),
        security=_SECURITY,
    )
    def query(body: QueryRequest) -> Response:
        started = time.perf_counter()
        found = look_up(body)
        steps = answer(
            found,
            gemini=services.gemini,
            prompt_max_characters=settings.prompt_max_characters,
        )
        trace = body.trace
        if request.accept_mimetypes.best_match(_ANSWER_TYPES) == _EVENT_STREAM:
            return Response(
                _stream(found, steps, started=started, trace=trace),
                content_type=_EVENT_STREAM,
                # Proxies such as nginx would collect the events.
                headers={"X-Accel-Buffering": "no"},
            )
        whole = next(step for step in steps if isinstance(step, Answered))
        response = _answer_out(found, whole, started=started, trace=trace)
        _log_answer(found, response, failure=whole.failure)
        if whole.failure is not None:
            return render(_failure_problem(response, whole))
        return _json(response)


def _add_documents(app: OpenAPI, services: Services) -> None:
    @app.get(
        "/documents",
        tags=[_DOCUMENTS],
        summary="List documents by name",
        responses=_responses(DocumentsResponse, 503),
        security=_SECURITY,
    )
    def list_all(query: DocumentsQuery) -> Response:
        with connect(services.pool) as connection:
            documents, following = list_documents(
                connection,
                state=query.state,
                prefix=query.prefix or "",
                collection=query.collection,
                cursor=query.cursor,
                limit=query.limit,
            )
        return _json(
            DocumentsResponse(
                documents=[DocumentOut.of(document) for document in documents], next=following
            )
        )

    @app.get(
        "/documents/<document_id>",
        tags=[_DOCUMENTS],
        summary="Look at one document",
        responses=_responses(DocumentOut, 404, 503),
        security=_SECURITY,
    )
    def show_document(path: DocumentPath) -> Response:
        return _json(DocumentOut.of(_known_document(services, path.document_id)))

    @app.get(
        "/documents/<document_id>/text",
        tags=[_DOCUMENTS],
        summary="Read a part of the extracted text, as a citation points into it",
        responses=_responses(TextResponse, 404, 503),
        security=_SECURITY,
    )
    def show_text(path: DocumentPath, query: TextQuery) -> Response:
        document = _known_document(services, path.document_id)
        end = query.char_end
        if end is None:
            end = query.char_start + _MAX_TEXT_CHARACTERS
        if end < query.char_start:
            raise _bad_field("char_end", "must not be less than char_start")
        if end - query.char_start > _MAX_TEXT_CHARACTERS:
            raise _bad_field("char_end", f"ask for {_MAX_TEXT_CHARACTERS} characters at most")
        start = max(0, query.char_start - query.context)
        with connect(services.pool) as connection:
            text = read_text(
                connection,
                document_id=document.id,
                generation=document.answering_generation,
                char_start=start,
                char_end=end + query.context,
            )
        if text is None or document.answering_generation is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "not_answering",
                "No generation of this document answers now, so it has no text to show.",
            )
        stop = start + len(text)
        return _json(
            TextResponse(
                document_id=document.id,
                name=document.name,
                generation=document.answering_generation,
                char_start=start,
                char_end=stop,
                highlight_start=min(query.char_start, stop),
                highlight_end=min(end, stop),
                text=text,
            )
        )


def _add_changes(app: OpenAPI, services: Services) -> None:
    def uploads() -> Uploads:
        if services.make_uploads is None:
            raise ProblemRaised(
                HTTPStatus.FORBIDDEN,
                "uploads_disabled",
                "This service may not write to the bucket: put files there directly, or set"
                " UPLOADS_ENABLED=true and grant it the bucket.",
            )
        return services.make_uploads()

    @app.post(
        "/documents",
        tags=[_DOCUMENTS],
        summary="Begin an upload",
        description="Send the bytes to the returned URL; the document is indexed when they are in.",
        responses=_responses(UploadResponse, 403, 503, status=201),
        security=_SECURITY,
    )
    def upload_document(body: UploadRequest) -> Response:
        target = uploads()
        if body.size > services.settings.max_file_bytes:
            raise _bad_field("size", f"at most {services.settings.max_file_bytes} bytes")
        url = target.begin(
            body.name,
            content_type=body.content_type,
            size=body.size,
            origin=request.headers.get("Origin"),
        )
        logger.info("upload begun", size=body.size)
        return _json(
            UploadResponse(
                upload_url=url,
                method="PUT",
                headers={"Content-Type": body.content_type},
                name=body.name,
                uri=f"gs://{target.bucket}/{body.name}",
            ),
            status=201,
        )

    @app.delete(
        "/documents/<document_id>",
        tags=[_DOCUMENTS],
        summary="Delete a document from the bucket",
        responses=_responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=_SECURITY,
    )
    def delete_document(path: DocumentPath) -> Response:
        target = uploads()
        document = _known_document(services, path.document_id)
        _change(lambda: target.delete(document.name, generation=document.generation))
        logger.info("document deleted", document_id=str(document.id))
        return _json(AcceptedResponse(id=document.id, state="accepted"), status=202)

    @app.post(
        "/documents/<document_id>/retry",
        tags=[_DOCUMENTS],
        summary="Index a document once more",
        responses=_responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=_SECURITY,
    )
    def retry_document(path: DocumentPath) -> Response:
        target = uploads()
        document = _known_document(services, path.document_id)
        _change(lambda: target.renew(document.name, generation=document.generation))
        logger.info("document renewed", document_id=str(document.id))
        return _json(AcceptedResponse(id=document.id, state="accepted"), status=202)


def _add_service(app: OpenAPI, services: Services) -> None:
    @app.get(
        "/healthz",
        tags=[_SERVICE],
        summary="Is the process there?",
        responses=_responses(HealthResponse),
    )
    def healthz() -> Response:
        return _json(HealthResponse(status="ok"))

    @app.get(
        "/readyz",
        tags=[_SERVICE],
        summary="Can questions be answered?",
        responses=_responses(ReadyResponse, 503),
    )
    def readyz() -> Response:
        info = services.embedder.info
        with connect(services.pool) as connection:
            ping(connection)
            check_model(connection, name=info.name, dimension=info.dimension, digest=info.digest)
        return _json(
            ReadyResponse(
                status="ready",
                embedding_model=info.name,
                dimension=info.dimension,
                model=EXTRACTIVE if services.gemini is None else services.gemini.model,
                uploads=services.make_uploads is not None,
            )
        )

    def openapi_document() -> Response:
        return Response(json.dumps(_openapi(app)), content_type="application/json")

    def page() -> Response:
        return send_from_directory(_WEB, "index.html", max_age=0)

    def static_file(name: str) -> Response:
        return send_from_directory(_WEB, name, max_age=0)

    app.add_url_rule("/openapi.json", view_func=openapi_document)
    app.add_url_rule("/", view_func=page)
    app.add_url_rule("/static/<path:name>", view_func=static_file)


# --- before and after each request ---------------------------------------------------------


def _guard(app: OpenAPI, services: Services) -> None:
    settings = services.settings
    policy = _content_security_policy(uploads=services.make_uploads is not None)

    @app.before_request
    def check() -> Response | None:
        g.started = time.perf_counter()
        begin_trace(request.headers.get("traceparent"), project=settings.google_cloud_project)
        if request.endpoint not in ("healthz", "readyz") and not access.is_allowed_host(
            request.headers.get("Host"), settings.allowed_hosts
        ):
            raise ProblemRaised(
                HTTPStatus.MISDIRECTED_REQUEST,
                "unknown_host",
                "This service does not answer for that host; see ALLOWED_HOSTS.",
            )
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return Response(status=204)
        if settings.api_keys and request.endpoint not in _PUBLIC:
            g.key = access.matching_digest(request.headers, settings.api_keys)
            if g.key is None:
                raise ProblemRaised(
                    HTTPStatus.UNAUTHORIZED,
                    "key_missing_or_wrong",
                    "Send a key as Authorization: Bearer KEY, or as X-API-Key: KEY.",
                )
        if request.endpoint in _WITH_BODY and request.method == "POST":
            _check_body(request)
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        headers = response.headers
        headers["Content-Security-Policy"] = policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        headers.setdefault("Cache-Control", "no-store")
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        if settings.cors_allowed_origins:
            headers.add("Vary", "Origin")
        origin = access.allowed_origin(request.headers.get("Origin"), settings.cors_allowed_origins)
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "Retry-After"
            if request.method == "OPTIONS":
                headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
                headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-API-Key"
                headers["Access-Control-Max-Age"] = "3600"
        logger.info(
            "request",
            method=request.method if request.method in _METHODS else "other",
            route=request.url_rule.rule if request.url_rule else "none",
            status=response.status_code,
            milliseconds=_milliseconds_since(g.started) if "started" in g else None,
        )
        return response


_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


def _content_security_policy(*, uploads: bool) -> str:
    connect_to = f"'self' {storage_origin()}" if uploads else "'self'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect_to}; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    )


def _check_body(incoming: Request) -> None:
    if not incoming.is_json:
        raise ProblemRaised(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "Send the request as JSON, with Content-Type: application/json.",
        )
    if incoming.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ProblemRaised(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded", "Send the request uncompressed."
        )
    data = incoming.get_data(cache=True)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad_field("body", "is not JSON") from error
    if not isinstance(value, dict):
        raise _bad_field("body", "must be a JSON object")


# --- errors --------------------------------------------------------------------------------


def _bad_field(field: str, message: str) -> ProblemRaised:
    return ProblemRaised(
        HTTPStatus.BAD_REQUEST,
        "invalid_field",
        f"{field}: {message}",
        errors=[FieldFault(field=field, message=message)],
    )


def _refuse_fields(error: ValidationError) -> Response:
    faults = describe_faults(error)
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return render(make_problem(HTTPStatus.BAD_REQUEST, "invalid_field", detail, errors=faults))


def _handle_errors(app: OpenAPI) -> None:
    @app.errorhandler(ProblemRaised)
    def problem(error: ProblemRaised) -> Response:
        return render(error.problem, retry_after_seconds=error.retry_after_seconds)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        response = render(
            make_problem(status, status.name.lower(), error.description or status.description)
        )
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response

    @app.errorhandler(DatabaseUnavailable)
    def database_away(error: DatabaseUnavailable) -> Response:
        logger.warning("database unavailable", error=str(error))
        return render(
            make_problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "database_unavailable",
                "The database does not answer; try again in a few seconds.",
            ),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(StorageUnavailable)
    def storage_away(error: StorageUnavailable) -> Response:
        logger.warning("storage unavailable", error=str(error))
        return render(
            make_problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "storage_unavailable",
                "Cloud Storage does not answer; try again in a few seconds.",
            ),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(Misconfigured)
    def misconfigured(error: Misconfigured) -> Response:
        logger.error("misconfigured", error=str(error))
        return render(
            make_problem(HTTPStatus.SERVICE_UNAVAILABLE, "misconfigured", str(error)),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        logger.error("unexpected error", error=type(error).__name__, exc_info=error)
        return render(
            make_problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong here; the log of the query function says what.",
            )
        )


def _failure_problem(response: QueryResponse, whole: Answered) -> Problem:
    assert whole.failure is not None  # noqa: S101 - narrows the type
    status = (
        HTTPStatus.GATEWAY_TIMEOUT if whole.failure.code == "timeout" else HTTPStatus.BAD_GATEWAY
    )
    return make_problem(
        status,
        f"gemini_{whole.failure.code}",
        f"Gemini gave no answer: {whole.failure}. The passages, and an answer made of their"
        " sentences, are here.",
        **response.model_dump(mode="json"),
    )


def _known_document(services: Services, document_id: UUID) -> DocumentStatus:
    with connect(services.pool) as connection:
        document = get_document(connection, document_id)
    if document is None:
        raise ProblemRaised(
            HTTPStatus.NOT_FOUND, "unknown_document", "There is no document with this id."
        )
    return document


def _change(apply: Callable[[], None]) -> None:
    try:
        apply()
    except ObjectGone as error:
        raise ProblemRaised(
            HTTPStatus.CONFLICT,
            "object_changed",
            "The object is gone from the bucket, or has been overwritten; look at it again.",
        ) from error


# --- answers -------------------------------------------------------------------------------

_EVENT_STREAM = "text/event-stream"
_ANSWER_TYPES = ["application/json", _EVENT_STREAM]


def _stream(
    found: Found, steps: Iterator[Token | Answered], *, started: float, trace: bool
) -> Iterator[str]:
    yield _event("passages", {"passages": _dump(_passages(found))})
    for step in steps:
        if isinstance(step, Token):
            yield _event("token", {"text": step.text})
            continue
        response = _answer_out(found, step, started=started, trace=trace)
        _log_answer(found, response, failure=step.failure)
        yield _event("citations", {"citations": _dump(response.citations)})
        if step.failure is None:
            whole = response.model_dump(mode="json", exclude={"passages", "citations"})
            yield _event("done", whole)
        else:
            yield _event(
                "error", _failure_problem(response, step).model_dump(mode="json", exclude_none=True)
            )


def _event(name: str, data: dict[str, Any]) -> str:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _answer_out(found: Found, whole: Answered, *, started: float, trace: bool) -> QueryResponse:
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
        passages=_passages(found),
        usage=UsageOut(
            prompt_tokens=whole.usage.prompt_tokens,
            answer_tokens=whole.usage.answer_tokens,
            thinking_tokens=whole.usage.thinking_tokens,
            total_tokens=whole.usage.total_tokens,
            calls=whole.usage.calls,
        ),
        timings=Timings(
            embed_ms=found.embed_ms,
            retrieve_ms=found.retrieve_ms,
            generate_ms=whole.generate_ms,
            total_ms=_milliseconds_since(started),
        ),
        degraded=degraded,
        trace=_trace(found) | whole.trace if trace else None,
    )


def _passages(found: Found) -> list[PassageOut]:
    return [PassageOut.of(hit, number=number) for number, hit in enumerate(found.passages, 1)]


def _trace(found: Found) -> dict[str, Any]:
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


def _log_answer(found: Found, response: QueryResponse, *, failure: Exception | None) -> None:
    logger.info(
        "answered",
        passages=len(found.passages),
        citations=len(response.citations),
        verified=sum(citation.verified for citation in response.citations),
        grounded=response.grounded,
        model=response.model,
        failure=getattr(failure, "code", None),
        tokens=response.usage.total_tokens,
        embed_ms=found.embed_ms,
        retrieve_ms=found.retrieve_ms,
        generate_ms=response.timings.generate_ms,
    )


def _json(model: BaseModel, *, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status=status, content_type="application/json")


def _dump(models: list[Any]) -> list[Any]:
    return [model.model_dump(mode="json") for model in models]


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


# --- the OpenAPI document ------------------------------------------------------------------

_SECURITY: list[dict[str, list[Any]]] = [{}, {"bearer": []}, {"key": []}]
_REFERENCE = "#/components/schemas/{model}"
_SCHEMAS: list[type[BaseModel]] = [
    RetrieveRequest,
    QueryRequest,
    UploadRequest,
    RetrieveResponse,
    QueryResponse,
    DocumentsResponse,
    DocumentOut,
    TextResponse,
    UploadResponse,
    AcceptedResponse,
    HealthResponse,
    ReadyResponse,
    Problem,
]
_REQUESTS = frozenset({RetrieveRequest, QueryRequest, UploadRequest})


def _responses(
    model: type[BaseModel], *failures: int, status: int = 200, streamed: bool = False
) -> dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None]:
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    }
    if streamed:
        content[_EVENT_STREAM] = {"schema": {"type": "string"}}
    responses: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
    }
    for failure in (400, 401, 405, 413, 415, 421, 429, 500, *failures):
        responses[failure] = {
            "description": HTTPStatus(failure).phrase,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}
                }
            },
        }
    return responses


def _openapi(app: OpenAPI) -> dict[str, Any]:
    """Return the document with pydantic's own schemas: the library's copies drop some keywords."""
    document: dict[str, Any] = dict(app.api_doc)
    _names, schemas = models_json_schema(
        [(model, "validation" if model in _REQUESTS else "serialization") for model in _SCHEMAS],
        ref_template=_REFERENCE,
    )
    document["components"] = document["components"] | {"schemas": schemas["$defs"]}
    return document
