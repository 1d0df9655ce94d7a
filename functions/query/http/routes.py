"""The HTTP interface: routes translate; the use case is answering/pipeline.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Response, request, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.models.server import Server
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel, ValidationError

from shared.errors import (
    Misconfigured,
    ObjectChanged,
    ObjectGone,
)
from shared.runtime.logs import get_logger
from shared.store import (
    NO_MODEL,
    connect,
    count_selected,
    list_collections,
    list_documents,
    list_headings,
    may_write,
    read_facets,
    read_text,
    reading,
    serving_model,
)
from shared.values import ObjectVersion
from shared.version import VERSION

from ..answering.journal import Journal
from ..answering.pipeline import answer_question, find_passages
from ..answering.query import EXTRACTIVE, Answer, Query, Retrieval
from ..dependencies import Dependencies
from ..settings import MAX_REQUEST_BYTES
from .agents import add_chat, add_mcp
from .answer_ids import SignerCache
from .audit import note_documents
from .concurrency import Admission, admit
from .cursors import Cursor, decode_cursor
from .feedback import add_feedback
from .keep_alive import keep_alive
from .known_documents import find_document, principals
from .middleware import guard, handle_errors, wants_page
from .openapi import METRICS_TYPE, SECURITY, make_document, responses, text_responses
from .originals import add_originals
from .problems import (
    PROBLEM_TYPES,
    Problem,
    ProblemRaised,
    ProblemType,
    bad_field,
    describe_faults,
    make_problem,
    render,
)
from .replies import (
    describe_degradation,
    event_stream,
    failure_problem,
    is_failure,
    make_passages,
    make_response,
    reply,
    stream_answer,
    wants_events,
)
from .schemas import (
    MAX_OBJECT_NAME_BYTES,
    AcceptedResponse,
    CitationsEvent,
    CollectionOut,
    CollectionsResponse,
    DocumentOut,
    DocumentPath,
    DocumentsQuery,
    DocumentsResponse,
    DoneEvent,
    FacetOut,
    FacetsQuery,
    FacetsResponse,
    HealthResponse,
    MetadataFacetOut,
    PassagesEvent,
    ProblemPath,
    QueryRequest,
    QueryResponse,
    ReadyResponse,
    RetrieveRequest,
    RetrieveResponse,
    RetrieveTimings,
    StepEvent,
    SuggestionsResponse,
    TextQuery,
    TextResponse,
    TokenEvent,
    UploadRequest,
    UploadResponse,
)
from .suggestions import choose_headings
from .tables import add_tables

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from shared.bucket import DocumentBucket

_WEB = Path(__file__).parents[1] / "web"
_MAX_TEXT_CHARACTERS = 100_000
_SUGGESTING_DOCUMENTS = 20
_KEPT_SECONDS = 30 * 86_400
# Counting further takes longer than reading a page.
_MAX_TOTAL = 10_000
_MAX_COUNTED = 100_000

_ASKING = Tag(name="asking", description="Questions, answers and passages.")
_DOCUMENTS = Tag(name="documents", description="The documents and how far their indexing is.")
_SERVICE = Tag(name="service", description="Health and readiness.")

logger = get_logger(__name__)


def create_app(dependencies: Dependencies) -> OpenAPI:
    """Return the application that answers requests."""
    settings = dependencies.settings
    app = OpenAPI(
        __name__,
        info=Info(
            title="KaydangPT",
            version=VERSION,
            description="Ask the documents of a bucket. Every answer cites its sources.",
        ),
        servers=[Server(url="/v1"), Server(url="/", description="The same, for older clients.")],
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
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    # First: a refusal must cost nothing, not even a look into the database.
    admit(app, Admission(places=settings.max_concurrent_requests))
    guard(app, dependencies)
    handle_errors(app)
    _add_asking(app, dependencies)
    add_feedback(app, dependencies)
    _add_documents(app, dependencies)
    add_originals(app, dependencies)
    _add_changes(app, dependencies)
    add_tables(app, dependencies, principals=principals)
    _add_service(app, dependencies)
    add_chat(app, dependencies)
    add_mcp(app, dependencies)
    app.wsgi_app = _without_version(app.wsgi_app)  # type: ignore[method-assign, assignment]
    return app


def _add_asking(app: OpenAPI, dependencies: Dependencies) -> None:
    signers = SignerCache(dependencies.pool)

    @app.post(
        "/retrieve",
        tags=[_ASKING],
        summary="Find passages",
        operation_id="find_passages",
        responses=responses(RetrieveResponse, 503),
        security=SECURITY,
    )
    def retrieve(body: RetrieveRequest) -> Response:
        journal = Journal()
        retrieval = find_passages(
            _read_query(body), dependencies=dependencies.answering, journal=journal
        )
        note_documents(hit.document_id for hit in retrieval.passages)
        return reply(
            RetrieveResponse(
                passages=make_passages(retrieval),
                timings=RetrieveTimings.of(journal),
                degraded=describe_degradation(retrieval),
                trace=journal.explanation if body.trace else None,
            )
        )

    @app.post(
        "/query",
        tags=[_ASKING],
        summary="Answer a question",
        operation_id="answer_question",
        description=(
            "With Accept: text/event-stream the answer comes as server-sent events: step (where"
            " there are several searches), passages, token (any number), citations, and done or"
            " error. After error the tokens before it are void; it carries the extractive answer."
        ),
        responses=responses(
            QueryResponse,
            502,
            503,
            504,
            events={
                "step": StepEvent,
                "passages": PassagesEvent,
                "token": TokenEvent,
                "citations": CitationsEvent,
                "done": DoneEvent,
                "error": Problem,
            },
        ),
        security=SECURITY,
    )
    def query(body: QueryRequest) -> Response:
        journal = Journal()
        signer = signers.get()
        streamed = wants_events(request.accept_mimetypes)
        steps = answer_question(
            _read_query(body),
            dependencies=dependencies.answering,
            journal=journal,
            whole=not streamed,
        )
        # Until then nothing is sent, so that what fails has a status of its own.
        retrieval = next(step for step in steps if isinstance(step, Retrieval))
        note_documents(hit.document_id for hit in retrieval.passages)
        if streamed:
            events = stream_answer(
                retrieval, steps, journal=journal, signer=signer, trace=body.trace
            )
            return event_stream(keep_alive(events))
        answer = next(step for step in steps if isinstance(step, Answer))
        response = make_response(
            retrieval, answer, journal=journal, signer=signer, trace=body.trace
        )
        if is_failure(answer.failure):
            return render(failure_problem(response, answer.failure))
        return reply(response)


def _read_query(body: RetrieveRequest) -> Query:
    return Query(
        question=body.question,
        limit=body.limit,
        filter=body.filter.to_filter(),
        turns=tuple((turn.role, turn.content) for turn in body.history),
        per_document=body.per_document,
        mode=body.mode,
        effort=body.effort,
        principals=principals(),
    )


def _check_given_once(query: BaseModel) -> None:
    """Refuse what is given twice and is no list: the framework would read the first alone."""
    for name, values in request.args.lists():
        if len(values) > 1 and not isinstance(getattr(query, name, None), list | tuple):
            raise bad_field(name, "give it once")


def _add_documents(app: OpenAPI, dependencies: Dependencies) -> None:
    @app.get(
        "/documents",
        tags=[_DOCUMENTS],
        summary="List, search and sort documents",
        operation_id="list_documents",
        responses=responses(DocumentsResponse, 503),
        security=SECURITY,
    )
    def list_all(query: DocumentsQuery) -> Response:
        _check_given_once(query)
        order, descending = query.sort, query.descending
        after = None
        if query.cursor:
            after = decode_cursor(query.cursor, order=order, descending=descending)
        selection = query.selection()
        with reading(dependencies.pool, principals()) as connection:
            documents, place = list_documents(
                connection,
                selection,
                order=order,
                descending=descending,
                after=None if after is None else after.place,
                limit=query.limit,
            )
            total = len(documents) if after is None else after.total
            if after is None and place is not None:
                total = count_selected(connection, selection, ceiling=_MAX_TOTAL + 1)
        following = None if place is None else Cursor(order, descending, place, total)
        return reply(
            DocumentsResponse(
                documents=[DocumentOut.of(document) for document in documents],
                next=None if following is None else following.encode(),
                total=min(total, _MAX_TOTAL),
                total_is_exact=total <= _MAX_TOTAL,
            )
        )

    @app.get(
        "/collections",
        tags=[_DOCUMENTS],
        summary="List collections and count their documents",
        operation_id="list_collections",
        responses=responses(CollectionsResponse, 503),
        security=SECURITY,
    )
    def list_all_collections() -> Response:
        with reading(dependencies.pool, principals()) as connection:
            summaries = list_collections(connection)
        return reply(CollectionsResponse(collections=[CollectionOut.of(one) for one in summaries]))

    @app.get(
        "/facets",
        tags=[_DOCUMENTS],
        summary="Count documents by the values of their fields and metadata",
        operation_id="count_facets",
        description="Deleted documents count only if state asks for them.",
        responses=responses(FacetsResponse, 503),
        security=SECURITY,
    )
    def show_facets(query: FacetsQuery) -> Response:
        _check_given_once(query)
        with reading(dependencies.pool, principals()) as connection:
            facets, counted = read_facets(
                connection, query.selection(), values=query.values, ceiling=_MAX_COUNTED + 1
            )
        by_name = {facet.name: facet for facet in facets}
        return reply(
            FacetsResponse(
                documents=min(counted, _MAX_COUNTED),
                is_complete=counted <= _MAX_COUNTED,
                collection=FacetOut.of(by_name.get("collection")),
                content_type=FacetOut.of(by_name.get("content_type")),
                language=FacetOut.of(by_name.get("language")),
                state=FacetOut.of(by_name.get("state")),
                metadata=[
                    MetadataFacetOut.of(facet) for facet in facets if facet.name == "metadata"
                ],
            )
        )

    @app.get(
        "/suggestions",
        tags=[_DOCUMENTS],
        summary="List headings that a reader could ask about",
        operation_id="list_suggestions",
        description="From the documents that changed last; empty if SUGGESTIONS_ENABLED is false.",
        responses=responses(SuggestionsResponse, 503),
        security=SECURITY,
    )
    def suggest() -> Response:
        if not dependencies.settings.suggestions_enabled:
            return reply(SuggestionsResponse(headings=[]))
        with reading(dependencies.pool, principals()) as connection:
            found = list_headings(connection, documents=_SUGGESTING_DOCUMENTS)
        return reply(SuggestionsResponse(headings=choose_headings(found)))

    @app.get(
        "/documents/<document_id>",
        tags=[_DOCUMENTS],
        summary="Get one document",
        operation_id="get_document",
        responses=responses(DocumentOut, 404, 503),
        security=SECURITY,
    )
    def show_document(path: DocumentPath) -> Response:
        if wants_page(request):
            # Where a citation leads: the page reads what stands behind # in its address.
            return send_from_directory(_WEB, "index.html", max_age=0)
        return reply(DocumentOut.of(find_document(dependencies, path.document_id)))

    @app.get(
        "/documents/<document_id>/text",
        tags=[_DOCUMENTS],
        summary="Read a part of the extracted text, as a citation points into it",
        operation_id="get_document_text",
        responses=responses(TextResponse, 404, 503),
        security=SECURITY,
    )
    def show_text(path: DocumentPath, query: TextQuery) -> Response:
        document = find_document(dependencies, path.document_id)
        end = query.char_end
        if end is None:
            end = query.char_start + _MAX_TEXT_CHARACTERS
        if end < query.char_start:
            raise bad_field("char_end", "must not be less than char_start")
        if end - query.char_start > _MAX_TEXT_CHARACTERS:
            raise bad_field("char_end", f"ask for {_MAX_TEXT_CHARACTERS} characters at most")
        start = max(0, query.char_start - query.context)
        with reading(dependencies.pool, principals()) as connection:
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


def _add_changes(app: OpenAPI, dependencies: Dependencies) -> None:
    def uploads() -> DocumentBucket:
        if dependencies.make_uploads is None:
            raise ProblemRaised(
                HTTPStatus.FORBIDDEN,
                "uploads_disabled",
                "This service may not write to the bucket: put files there directly, or set"
                " UPLOADS_ENABLED=true and grant it the bucket.",
            )
        return dependencies.make_uploads()

    @app.post(
        "/documents",
        tags=[_DOCUMENTS],
        summary="Begin an upload",
        operation_id="begin_upload",
        description="Send the bytes to the returned URL; the document is indexed when they are in.",
        responses=responses(UploadResponse, 403, 404, 503, status=201),
        security=SECURITY,
    )
    def upload_document(body: UploadRequest) -> Response:
        target = uploads()
        if len(body.name.encode()) > MAX_OBJECT_NAME_BYTES:
            raise bad_field("name", f"at most {MAX_OBJECT_NAME_BYTES} bytes in UTF-8")
        if body.size > dependencies.settings.max_file_bytes:
            raise bad_field("size", f"at most {dependencies.settings.max_file_bytes} bytes")
        _check_may_write(dependencies, bucket=target.name, name=body.name)
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
        operation_id="delete_document",
        responses=responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=SECURITY,
    )
    def delete_document(path: DocumentPath) -> Response:
        target = uploads()
        document = find_document(dependencies, path.document_id)
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
        summary="Index a document again",
        operation_id="retry_document",
        responses=responses(AcceptedResponse, 403, 404, 409, 503, status=202),
        security=SECURITY,
    )
    def retry_document(path: DocumentPath) -> Response:
        target = uploads()
        document = find_document(dependencies, path.document_id)
        version = ObjectVersion(document.bucket, document.name, document.generation)
        _change(lambda: target.rewrite(version))
        logger.info("document renewed", document_id=str(document.id))
        return reply(AcceptedResponse(id=document.id, state="accepted"), status=202)


def _add_service(app: OpenAPI, dependencies: Dependencies) -> None:
    @app.get(
        "/healthz",
        tags=[_SERVICE],
        summary="Check that the process is alive",
        operation_id="check_health",
        responses=responses(HealthResponse),
    )
    def healthz() -> Response:
        return reply(HealthResponse(status="ok"))

    @app.get(
        "/readyz",
        tags=[_SERVICE],
        summary="Check that questions can be answered",
        operation_id="check_readiness",
        responses=responses(ReadyResponse, 503),
    )
    def readyz() -> Response:
        with connect(dependencies.pool) as connection:
            model = serving_model(connection)
        if model is None:
            raise Misconfigured(NO_MODEL)
        info = dependencies.find_embedder(model.digest).info
        return reply(
            ReadyResponse(
                status="ready",
                embedding_model=info.name,
                dimension=info.dimension,
                model=EXTRACTIVE
                if dependencies.answering.gemini is None
                else dependencies.answering.gemini.model,
                uploads=dependencies.make_uploads is not None,
                feedback=dependencies.settings.feedback_enabled,
            )
        )

    @app.get(
        "/metrics",
        tags=[_SERVICE],
        summary="Get the metrics in Prometheus' text format",
        operation_id="read_metrics",
        description="Of this process, and of the whole index. METRICS_ENABLED switches it on.",
        responses=text_responses(404),
        security=SECURITY,
    )
    def metrics() -> Response:
        if dependencies.metrics is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "metrics_disabled",
                "Metrics are disabled. Set METRICS_ENABLED=true to enable them, and restrict who"
                " can call /metrics.",
            )
        return Response(dependencies.metrics.write(), content_type=METRICS_TYPE)

    @app.get(
        "/problems/<code>",
        tags=[_SERVICE],
        summary="What a problem's code means",
        operation_id="get_problem_type",
        responses=responses(ProblemType, 404),
    )
    def problem_type(path: ProblemPath) -> Response:
        if (meaning := PROBLEM_TYPES.get(path.code)) is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND, "unknown_problem", "There is no problem of this name."
            )
        return reply(ProblemType(code=path.code, meaning=meaning))

    def openapi_document() -> Response:
        return Response(json.dumps(make_document(app)), content_type="application/json")

    def page() -> Response:
        return send_from_directory(_WEB, "index.html", max_age=0)

    def static_file(name: str) -> Response:
        # A folder of vendor/ is named after its version: what is in it never changes.
        kept = _KEPT_SECONDS if name.startswith("vendor/") else 0
        return send_from_directory(_WEB, name, max_age=kept)

    def favicon() -> Response:
        return send_from_directory(_WEB, "icon.svg", max_age=0)

    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")

    app.add_url_rule("/openapi.json", view_func=openapi_document)
    app.add_url_rule("/favicon.ico", view_func=favicon)
    app.add_url_rule("/robots.txt", view_func=robots)
    app.add_url_rule("/", view_func=page)
    # Not /static: functions-framework answers there itself, from its own application.
    app.add_url_rule("/web/<path:name>", view_func=static_file)


def _without_version(app: WSGIApplication) -> WSGIApplication:
    """Answer under /v1 what is answered without it."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/v1/") and len(path) > len("/v1/"):
            script = environ.get("SCRIPT_NAME", "") + "/v1"
            environ = environ | {"PATH_INFO": path[len("/v1") :], "SCRIPT_NAME": script}
        return app(environ, start_response)

    return answer


def _refuse_fields(error: ValidationError) -> Response:
    faults = describe_faults(error)
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return render(make_problem(HTTPStatus.BAD_REQUEST, "invalid_field", detail, errors=faults))


def _check_may_write(dependencies: Dependencies, *, bucket: str, name: str) -> None:
    collection = ObjectVersion(bucket=bucket, name=name, generation=0).collection
    with reading(dependencies.pool, principals()) as connection:
        allowed = may_write(connection, bucket=bucket, name=name, collection=collection)
    if not allowed:
        raise ProblemRaised(
            HTTPStatus.NOT_FOUND,
            "unknown_collection",
            "There is no collection for an object of this name that you may read.",
        )


def _change(apply: Callable[[], None]) -> None:
    try:
        apply()
    except (ObjectChanged, ObjectGone) as error:
        raise ProblemRaised(
            HTTPStatus.CONFLICT,
            "object_changed",
            "The object is gone from the bucket, or has been overwritten; look at it again.",
        ) from error
