"""The HTTP interface: routes, errors, headers. What an answer is, is decided in asking.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flask import Response, g, request, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError

from shared.errors import (
    DatabaseUnavailable,
    GenerationUnavailable,
    Misconfigured,
    ModelSwitched,
    ObjectChanged,
    ObjectGone,
)
from shared.gemini.requests import Usage
from shared.runtime.logs import get_logger
from shared.store import (
    NO_MODEL,
    connect,
    get_document,
    list_documents,
    may_write,
    read_text,
    reading,
    serving_model,
)
from shared.values import DocumentStatus, Filter, ObjectVersion

from ..answering.generation import Gemini
from ..answering.pipeline import (
    EXTRACTIVE,
    Answered,
    Asked,
    Found,
    StandAlone,
    answer,
    find,
    make_stand_alone,
)
from ..dependencies import Services
from ..quotas.limits import AnswerCache, Place
from .callers import Caller
from .concurrency import Admission, admit
from .middleware import guard, handle_errors
from .openapi import METRICS_TYPE, SECURITY, make_document, responses, text_responses
from .problems import (
    Problem,
    ProblemRaised,
    bad_field,
    describe_faults,
    make_problem,
    render,
)
from .replies import (
    ANSWER_TYPES,
    EVENT_STREAM,
    failure_problem,
    is_failure,
    make_passages,
    make_response,
    make_trace,
    make_usage,
    milliseconds_since,
    reply,
    stream_answer,
    stream_whole,
)
from .schemas import (
    MAX_OBJECT_NAME_BYTES,
    AcceptedResponse,
    DocumentOut,
    DocumentPath,
    DocumentsQuery,
    DocumentsResponse,
    FilterIn,
    HealthResponse,
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

if TYPE_CHECKING:
    from shared.bucket import DocumentBucket

_WEB = Path(__file__).with_name("web")
_MAX_TEXT_CHARACTERS = 100_000

_ASKING = Tag(name="asking", description="Questions, answers and passages.")
_DOCUMENTS = Tag(name="documents", description="The documents and how far their indexing is.")
_SERVICE = Tag(name="service", description="Is it there, and can it answer?")

logger = get_logger(__name__)


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
    # First: a refusal must cost nothing, not even a look into the database.
    admit(app, Admission(places=settings.max_concurrent_requests))
    guard(app, services)
    handle_errors(app)
    _add_asking(app, services)
    _add_documents(app, services)
    _add_changes(app, services)
    _add_service(app, services)
    return app


def _add_asking(app: OpenAPI, services: Services) -> None:
    settings = services.settings

    @app.post(
        "/retrieve",
        tags=[_ASKING],
        summary="Find passages",
        responses=responses(RetrieveResponse, 503),
        security=SECURITY,
    )
    def retrieve(body: RetrieveRequest) -> Response:
        started = time.perf_counter()
        asked = _read_question(body)
        gemini, _ = _choose_gemini(services) if asked.turns else (None, None)
        alone = make_stand_alone(asked, gemini=gemini)
        _count_tokens(services, alone.usage)
        found = _find(asked, alone, services, context_characters=0)
        return reply(
            RetrieveResponse(
                passages=make_passages(found),
                timings=RetrieveTimings(
                    embed_ms=found.embed_ms,
                    retrieve_ms=found.retrieve_ms,
                    total_ms=milliseconds_since(started),
                ),
                trace=make_trace(found) if body.trace else None,
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
        responses=responses(QueryResponse, 502, 503, 504, streamed=True),
        security=SECURITY,
    )
    def query(body: QueryRequest) -> Response:
        started = time.perf_counter()
        streamed = request.accept_mimetypes.best_match(ANSWER_TYPES) == EVENT_STREAM
        asked = _read_question(body)
        gemini, unavailable = _choose_gemini(services)
        alone = make_stand_alone(asked, gemini=gemini)
        cached = _read_cache(asked, alone, services, gemini=gemini)
        if cached.response is not None:
            response = cached.response
            response.timings = Timings(
                embed_ms=0, retrieve_ms=0, generate_ms=0, total_ms=milliseconds_since(started)
            )
            response.usage = make_usage(alone.usage)
            _count_tokens(services, alone.usage)
            logger.info("answered from the cache", grounded=response.grounded)
            if services.metrics is not None:
                services.metrics.count_cached()
            return _events(stream_whole(response)) if streamed else reply(response)
        found = _find(asked, alone, services, context_characters=settings.context_characters)

        def finish(
            found: Found, response: QueryResponse, failure: GenerationUnavailable | None
        ) -> None:
            _log_answer(found, response, failure=failure)
            _count_tokens(services, response.usage)
            if services.metrics is not None:
                services.metrics.count_answer(
                    grounded=response.grounded,
                    extractive=response.model == EXTRACTIVE,
                    generate_ms=response.timings.generate_ms,
                    failure=failure.code if failure is not None else None,
                )
            if services.cache is not None and cached.place is not None and failure is None:
                _keep_in_cache(services.cache, cached.place, response)

        steps = answer(
            found,
            gemini=gemini,
            whole=not streamed,
            prompt_max_characters=settings.prompt_max_characters,
            unavailable=unavailable,
        )
        if streamed:
            return _events(
                stream_answer(found, steps, started=started, trace=body.trace, finish=finish)
            )
        whole = next(step for step in steps if isinstance(step, Answered))
        response = make_response(found, whole, started=started, trace=body.trace)
        finish(found, response, whole.failure)
        if is_failure(whole.failure):
            return render(failure_problem(response, whole.failure))
        return reply(response)


def _read_question(body: RetrieveRequest) -> Asked:
    return Asked(
        question=body.question,
        limit=body.limit,
        filter=Filter(**body.filter.model_dump()),
        turns=[(turn.role, turn.content) for turn in body.history],
        per_document=body.per_document,
        mode=body.mode,
        principals=_principals(),
    )


def _principals() -> tuple[str, ...]:
    caller: Caller = g.caller
    return caller.principals


def _find(asked: Asked, alone: StandAlone, services: Services, *, context_characters: int) -> Found:
    search = partial(
        find,
        asked,
        alone,
        pool=services.pool,
        serving=services.serving,
        find_embedder=services.find_embedder,
        embedding_threads=services.embedding_threads,
        search=services.search,
        refuse=services.refuse,
        context_characters=context_characters,
    )
    try:
        found = search()
    except ModelSwitched:
        services.serving.model = None
        found = search()
    if services.metrics is not None:
        services.metrics.count_retrieval(embed_ms=found.embed_ms, retrieve_ms=found.retrieve_ms)
    return found


def _choose_gemini(services: Services) -> tuple[Gemini | None, GenerationUnavailable | None]:
    """Return Gemini, or why it is configured and not to be asked."""
    if services.gemini is not None and services.budget is not None:
        try:
            services.budget.check()
        except GenerationUnavailable as error:
            return None, error
    return services.gemini, None


def _count_tokens(services: Services, usage: Usage | UsageOut) -> None:
    if services.metrics is not None:
        services.metrics.count_tokens(
            prompt=usage.prompt_tokens, answer=usage.answer_tokens, thinking=usage.thinking_tokens
        )
    if services.budget is None:
        return
    try:
        services.budget.count(tokens=usage.total_tokens, calls=usage.calls)
    except DatabaseUnavailable as error:
        # The answer is there and paid for; it is not taken back for the sake of the count.
        logger.warning("tokens not counted", tokens=usage.total_tokens, error=str(error))


@dataclass(frozen=True, slots=True)
class _Cached:
    """What the cache holds for a question, or where its answer will go."""

    response: QueryResponse | None = None
    place: Place | None = None


def _read_cache(
    asked: Asked, alone: StandAlone, services: Services, *, gemini: Gemini | None
) -> _Cached:
    if services.cache is None or gemini is None:
        return _Cached()
    key = {
        "question": alone.question,
        "limit": asked.limit,
        "filter": json.loads(FilterIn(**asdict(asked.filter)).model_dump_json()),
        "per_document": asked.per_document,
        "mode": asked.mode,
        "model": gemini.model,
    }
    kept, place = services.cache.read(key, principals=asked.principals)
    try:
        response = None if kept is None else QueryResponse.model_validate(kept)
    except ValidationError:
        response = None  # kept by another release
    return _Cached(response=response, place=place)


def _keep_in_cache(cache: AnswerCache, place: Place, response: QueryResponse) -> None:
    kept = response.model_copy(update={"cached": True, "trace": None})
    try:
        cache.keep(kept.model_dump(mode="json"), place=place)
    except DatabaseUnavailable as error:
        logger.warning("answer not kept", error=str(error))


def _events(events: Iterator[str]) -> Response:
    return Response(
        events,
        content_type=EVENT_STREAM,
        # Proxies such as nginx would collect the events.
        headers={"X-Accel-Buffering": "no"},
    )


def _log_answer(
    found: Found, response: QueryResponse, *, failure: GenerationUnavailable | None
) -> None:
    logger.info(
        "answered",
        passages=len(found.passages),
        citations=len(response.citations),
        verified=sum(citation.verified for citation in response.citations),
        grounded=response.grounded,
        model=response.model,
        failure=failure.code if failure is not None else None,
        tokens=response.usage.total_tokens,
        embed_ms=found.embed_ms,
        retrieve_ms=found.retrieve_ms,
        generate_ms=response.timings.generate_ms,
    )


def _add_documents(app: OpenAPI, services: Services) -> None:
    @app.get(
        "/documents",
        tags=[_DOCUMENTS],
        summary="List documents by name",
        responses=responses(DocumentsResponse, 503),
        security=SECURITY,
    )
    def list_all(query: DocumentsQuery) -> Response:
        with reading(services.pool, _principals()) as connection:
            documents, following = list_documents(
                connection,
                state=query.state,
                prefix=query.prefix or "",
                collection=query.collection,
                cursor=query.cursor,
                limit=query.limit,
            )
        return reply(
            DocumentsResponse(
                documents=[DocumentOut.of(document) for document in documents], next=following
            )
        )

    @app.get(
        "/documents/<document_id>",
        tags=[_DOCUMENTS],
        summary="Look at one document",
        responses=responses(DocumentOut, 404, 503),
        security=SECURITY,
    )
    def show_document(path: DocumentPath) -> Response:
        return reply(DocumentOut.of(_known_document(services, path.document_id)))

    @app.get(
        "/documents/<document_id>/text",
        tags=[_DOCUMENTS],
        summary="Read a part of the extracted text, as a citation points into it",
        responses=responses(TextResponse, 404, 503),
        security=SECURITY,
    )
    def show_text(path: DocumentPath, query: TextQuery) -> Response:
        document = _known_document(services, path.document_id)
        end = query.char_end
        if end is None:
            end = query.char_start + _MAX_TEXT_CHARACTERS
        if end < query.char_start:
            raise bad_field("char_end", "must not be less than char_start")
        if end - query.char_start > _MAX_TEXT_CHARACTERS:
            raise bad_field("char_end", f"ask for {_MAX_TEXT_CHARACTERS} characters at most")
        start = max(0, query.char_start - query.context)
        with reading(services.pool, _principals()) as connection:
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
        return reply(
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
    def uploads() -> DocumentBucket:
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
        responses=responses(UploadResponse, 403, 404, 503, status=201),
        security=SECURITY,
    )
    def upload_document(body: UploadRequest) -> Response:
        target = uploads()
        if len(body.name.encode()) > MAX_OBJECT_NAME_BYTES:
            raise bad_field("name", f"at most {MAX_OBJECT_NAME_BYTES} bytes in UTF-8")
        if body.size > services.settings.max_file_bytes:
            raise bad_field("size", f"at most {services.settings.max_file_bytes} bytes")
        _check_may_write(services, bucket=target.name, name=body.name)
        url = target.begin_upload(
            body.name,
            content_type=body.content_type,
            size=body.size,
            origin=request.headers.get("Origin"),
        )
        logger.info("upload begun", size=body.size)
        return reply(
            UploadResponse(
                upload_url=url,
                method="PUT",
                headers={"Content-Type": body.content_type},
                name=body.name,
                uri=f"gs://{target.name}/{body.name}",
            ),
            status=201,
        )

    @app.delete(
        "/documents/<document_id>",
        tags=[_DOCUMENTS],
        summary="Delete a document from the bucket",
        responses=responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=SECURITY,
    )
    def delete_document(path: DocumentPath) -> Response:
        target = uploads()
        document = _known_document(services, path.document_id)
        _change(
            lambda: target.delete(
                document.name, if_generation=document.generation, missing_ok=False
            )
        )
        logger.info("document deleted", document_id=str(document.id))
        return reply(AcceptedResponse(id=document.id, state="accepted"), status=202)

    @app.post(
        "/documents/<document_id>/retry",
        tags=[_DOCUMENTS],
        summary="Index a document once more",
        responses=responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=SECURITY,
    )
    def retry_document(path: DocumentPath) -> Response:
        target = uploads()
        document = _known_document(services, path.document_id)
        version = ObjectVersion(document.bucket, document.name, document.generation)
        _change(lambda: target.rewrite(version))
        logger.info("document renewed", document_id=str(document.id))
        return reply(AcceptedResponse(id=document.id, state="accepted"), status=202)


def _add_service(app: OpenAPI, services: Services) -> None:
    @app.get(
        "/healthz",
        tags=[_SERVICE],
        summary="Is the process there?",
        responses=responses(HealthResponse),
    )
    def healthz() -> Response:
        return reply(HealthResponse(status="ok"))

    @app.get(
        "/readyz",
        tags=[_SERVICE],
        summary="Can questions be answered?",
        responses=responses(ReadyResponse, 503),
    )
    def readyz() -> Response:
        with connect(services.pool) as connection:
            model = serving_model(connection)
        if model is None:
            raise Misconfigured(NO_MODEL)
        info = services.find_embedder(model.digest).info
        return reply(
            ReadyResponse(
                status="ready",
                embedding_model=info.name,
                dimension=info.dimension,
                model=EXTRACTIVE if services.gemini is None else services.gemini.model,
                uploads=services.make_uploads is not None,
            )
        )

    @app.get(
        "/metrics",
        tags=[_SERVICE],
        summary="What is counted and measured, for Prometheus",
        description="Of this process, and of the whole index. METRICS_ENABLED switches it on.",
        responses=text_responses(404),
        security=SECURITY,
    )
    def metrics() -> Response:
        if services.metrics is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "metrics_disabled",
                "This service measures nothing: set METRICS_ENABLED=true, and see who may ask.",
            )
        return Response(services.metrics.write(), content_type=METRICS_TYPE)

    def openapi_document() -> Response:
        return Response(json.dumps(make_document(app)), content_type="application/json")

    def page() -> Response:
        return send_from_directory(_WEB, "index.html", max_age=0)

    def static_file(name: str) -> Response:
        return send_from_directory(_WEB, name, max_age=0)

    app.add_url_rule("/openapi.json", view_func=openapi_document)
    app.add_url_rule("/", view_func=page)
    # Not /static: functions-framework answers there itself, from its own application.
    app.add_url_rule("/web/<path:name>", view_func=static_file)


def _refuse_fields(error: ValidationError) -> Response:
    faults = describe_faults(error)
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return render(make_problem(HTTPStatus.BAD_REQUEST, "invalid_field", detail, errors=faults))


def _check_may_write(services: Services, *, bucket: str, name: str) -> None:
    collection = ObjectVersion(bucket=bucket, name=name, generation=0).collection
    with reading(services.pool, _principals()) as connection:
        allowed = may_write(connection, bucket=bucket, name=name, collection=collection)
    if not allowed:
        raise ProblemRaised(
            HTTPStatus.NOT_FOUND,
            "unknown_collection",
            "There is no collection for an object of this name that you may read.",
        )


def _known_document(services: Services, document_id: UUID) -> DocumentStatus:
    with reading(services.pool, _principals()) as connection:
        document = get_document(connection, document_id)
    if document is None:
        raise ProblemRaised(
            HTTPStatus.NOT_FOUND, "unknown_document", "There is no document with this id."
        )
    return document


def _change(apply: Callable[[], None]) -> None:
    try:
        apply()
    except (ObjectChanged, ObjectGone) as error:
        raise ProblemRaised(
            HTTPStatus.CONFLICT,
            "object_changed",
            "The object is gone from the bucket, or has been overwritten; look at it again.",
        ) from error
