"""Applies to every request: callers, bodies, headers, and errors as problems."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http import HTTPStatus

from flask import Request, Response, g, request
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import HTTPException

from shared.errors import (
    DatabaseUnavailable,
    EmbeddingUnavailable,
    KeysUnavailable,
    Misconfigured,
    ModelSwitched,
    StorageUnavailable,
    TokenRefused,
)
from shared.runtime.hosts import is_allowed_host
from shared.runtime.logs import begin_trace, get_logger
from shared.runtime.tracing import span, tracing_on

from ..dependencies import Dependencies
from ..quotas.rate_limit import RateLimiter
from ..settings import MAX_REQUEST_BYTES, QuerySettings
from . import callers
from .addresses import base_address
from .audit import write_audit_line
from .chat import make_error
from .problems import CONTENT_TYPE, MISCONFIGURED, ProblemRaised, bad_field, make_problem, render
from .replies import milliseconds_since

_RETRY_SECONDS = 5
_PUBLIC = frozenset(
    {
        "healthz",
        "readyz",
        "page",
        "static_file",
        "favicon",
        "robots",
        "openapi_document",
        "problem_type",
        "protected_resource",
        "original",
    }
)
_UNTRACED = _PUBLIC - {"original"}
# Asking changes nothing, and its JSON makes a browser ask before a foreign page may send it.
_ASKING = frozenset({"query", "retrieve", "chat_completion"})
_CHAT = frozenset({"chat_completion", "chat_models", "chat_model"})
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset(
    {"query", "retrieve", "feedback", "chat_completion", "mcp", "upload_document"}
)

logger = get_logger(__name__)


def guard(app: OpenAPI, dependencies: Dependencies) -> None:
    """Check each request before it is answered, and set the headers of each answer."""
    settings = dependencies.settings
    policy = _content_security_policy(uploads=dependencies.make_uploads is not None)

    @app.before_request
    def check() -> Response | None:
        g.started = time.perf_counter()
        header = request.headers.get("traceparent", "")
        begin_trace(header, project=settings.google_cloud_project)
        if tracing_on() and request.endpoint not in _UNTRACED:
            g.tracing = ExitStack()
            g.note = g.tracing.enter_context(
                span(_describe_route(request), kind="server", parent=header)
            )
        if request.endpoint not in ("healthz", "readyz") and not is_allowed_host(
            request.headers.get("Host"), settings.allowed_hosts
        ):
            raise ProblemRaised(
                HTTPStatus.MISDIRECTED_REQUEST,
                "unknown_host",
                "This service does not answer for that host; see ALLOWED_HOSTS.",
            )
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return Response(status=204)
        if request.endpoint not in _ASKING and request.method in _CHANGING:
            _refuse_foreign_pages(settings.cors_allowed_origins)
        g.caller = callers.NOBODY
        if request.endpoint not in _PUBLIC and not wants_page(request):
            g.caller = _identify(dependencies)
        reads_body = request.endpoint in _WITH_BODY and request.method == "POST"
        if reads_body:
            # A body that has not come whole ends this here, and the request comes again with it:
            # nothing may have been counted by then.
            request.get_data(cache=True)
        if dependencies.limiter is not None and request.endpoint not in _PUBLIC:
            _limit(dependencies.limiter, settings.trusted_proxies)
        if reads_body:
            _check_body(request)
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", policy)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        headers.setdefault("Cache-Control", "no-store")
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = _challenge(dependencies)
        if settings.cors_allowed_origins:
            headers.add("Vary", "Origin")
        origin = callers.allowed_origin(
            request.headers.get("Origin"), settings.cors_allowed_origins
        )
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "Retry-After"
            if request.method == "OPTIONS":
                headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
                headers["Access-Control-Allow-Headers"] = (
                    "Authorization, Content-Type, X-API-Key, MCP-Protocol-Version, Mcp-Method,"
                    " Mcp-Name"
                )
                headers["Access-Control-Max-Age"] = "3600"
        if request.endpoint in _CHAT and response.mimetype == CONTENT_TYPE:
            _add_error_of_openai(response)
        if "tracing" in g:
            g.note({"http.response.status_code": response.status_code})
            # A streamed answer is made after this.
            response.call_on_close(g.pop("tracing").close)
        method = request.method if request.method in _METHODS else "other"
        route = request.url_rule.rule if request.url_rule else "none"
        milliseconds = milliseconds_since(g.started) if "started" in g else None
        if dependencies.metrics is not None:
            dependencies.metrics.count_request(
                method=method,
                route=route,
                status=response.status_code,
                seconds=(milliseconds or 0) / 1000,
            )
        logger.info(
            "request",
            method=method,
            route=route,
            status=response.status_code,
            milliseconds=milliseconds,
        )
        if settings.audit_log and not wants_page(request):
            write_audit_line(response.status_code)
        return response

    @app.teardown_request
    def end_span(_error: BaseException | None) -> None:
        # Of a request without a response: it comes again once its body is there.
        if tracing := g.pop("tracing", None):
            tracing.close()


def wants_page(asked: Request) -> bool:
    """Return whether a browser opens a document's address, and so gets the page."""
    if asked.endpoint != "show_document" or asked.method != "GET":
        return False
    return asked.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html"


def _refuse_foreign_pages(allowed_origins: Sequence[str]) -> None:
    if callers.is_foreign_page(request.headers, allowed_origins):
        raise ProblemRaised(
            HTTPStatus.FORBIDDEN,
            "foreign_origin",
            "Pages of other origins may not change anything here; see CORS_ALLOWED_ORIGINS.",
        )


def _identify(dependencies: Dependencies) -> callers.Caller:
    """Return the caller; an anonymous one where neither keys nor tokens are required."""
    settings, headers = dependencies.settings, request.headers
    if not settings.api_keys and dependencies.tokens is None:
        return callers.NOBODY
    names = settings.key_names
    digest = callers.matching_digest(headers, list(names))
    if digest is not None:
        return callers.caller_with_key(digest, name=names[digest])
    if dependencies.tokens is None:
        raise ProblemRaised(
            HTTPStatus.UNAUTHORIZED,
            "key_missing_or_wrong",
            "Send a key as Authorization: Bearer KEY, or as X-API-Key: KEY.",
        )
    token = callers.bearer_token(headers.get(settings.query_token_header, ""))
    try:
        claims = dependencies.tokens.verify(token)
    except TokenRefused as error:
        logger.info("token refused", reason=str(error))
        raise ProblemRaised(
            HTTPStatus.UNAUTHORIZED, "token_missing_or_wrong", _describe_refusal(token, settings)
        ) from error
    caller = callers.caller_with_token(claims, claim_names=settings.query_claims)
    if settings.query_callers and not set(settings.query_callers) & set(caller.principals):
        raise ProblemRaised(
            HTTPStatus.FORBIDDEN,
            "caller_not_admitted",
            "The token is valid, but QUERY_CALLERS does not name its bearer.",
        )
    return caller


def _challenge(dependencies: Dependencies) -> str:
    if dependencies.tokens is None:
        return "Bearer"
    # https://www.rfc-editor.org/rfc/rfc9728#section-5.1
    base = base_address(trusted_proxies=dependencies.settings.trusted_proxies)
    return f'Bearer resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"'


def _add_error_of_openai(response: Response) -> None:
    problem = json.loads(response.get_data())
    field = problem["errors"][0]["field"] if problem.get("errors") else None
    error = make_error(problem["detail"], code=problem["code"], field=field)
    response.set_data(json.dumps(problem | error, ensure_ascii=False))


def _describe_refusal(token: str, settings: QuerySettings) -> str:
    # Imported only where tokens are accepted.
    from shared.runtime.identity import SIGNATURE_REMOVED

    if token.endswith(SIGNATURE_REMOVED):
        return (
            "Cloud Run has removed the token's signature. Send the token that Cloud Run asks for"
            " as X-Serverless-Authorization: Bearer TOKEN, and it once more as Authorization."
        )
    keys = ", or one of the keys" if settings.api_keys else ""
    form = "Bearer TOKEN" if settings.query_token_header.lower() == "authorization" else "TOKEN"
    return (
        f"Send an identity token for this service as {settings.query_token_header}: {form}{keys}."
    )


def _limit(limiter: RateLimiter, trusted_proxies: int) -> None:
    address = callers.client_address(
        request.remote_addr,
        request.headers.get("X-Forwarded-For", ""),
        trusted_proxies=trusted_proxies,
    )
    subjects = [g.caller.subject] if g.caller.subject else []
    reads = request.method not in _CHANGING
    wait = limiter.wait_seconds(*subjects, f"address {address}", reads=reads)
    if wait is not None:
        raise ProblemRaised(
            HTTPStatus.TOO_MANY_REQUESTS,
            "rate_limited",
            f"Too many requests; the next one is taken in {wait} s.",
            retry_after_seconds=wait,
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


def _describe_route(asked: Request) -> str:
    """Return the request's route without its parameters: a path may contain an object's id."""
    method = asked.method if asked.method in _METHODS else "other"
    return f"{method} {asked.url_rule.rule if asked.url_rule else 'none'}"


def _content_security_policy(*, uploads: bool) -> str:
    connect_to = f"'self' {_storage_origin()}" if uploads else "'self'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';"
        " img-src 'self' data:; "
        f"connect-src {connect_to}; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    )


def _storage_origin() -> str:
    """Return the origin that a browser sends uploads to."""
    # The client's own variable: a session's URL begins with it.
    return os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/") or (
        "https://storage.googleapis.com"
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
        raise bad_field("body", "is not JSON") from error
    if not isinstance(value, dict):
        raise bad_field("body", "must be a JSON object")


_DETAILS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path; GET /openapi.json lists what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "This path does not take this method; the header Allow names those that it takes."
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body has more than {MAX_REQUEST_BYTES:,} bytes.",
}


def handle_errors(app: OpenAPI) -> None:
    """Answer every error as a problem."""

    @app.errorhandler(ProblemRaised)
    def problem(error: ProblemRaised) -> Response:
        return render(error.problem, retry_after_seconds=error.retry_after_seconds)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        detail = _DETAILS.get(status) or error.description or status.description
        response = render(make_problem(status, status.name.lower(), detail))
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

    @app.errorhandler(ModelSwitched)
    def model_switched(error: ModelSwitched) -> Response:
        # Once is not noticed: the question was asked of the new model already.
        logger.warning("model switched again", error=str(error))
        return render(
            make_problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "model_switched",
                "The embedding model is being changed; try again in a few seconds.",
            ),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(EmbeddingUnavailable)
    def model_away(error: EmbeddingUnavailable) -> Response:
        logger.warning("question not embedded", error=str(error))
        return render(
            make_problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "embedding_unavailable",
                "The embedding model does not answer; try again later, or search by words.",
            ),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(KeysUnavailable)
    def keys_away(error: KeysUnavailable) -> Response:
        logger.warning("signing keys unavailable", error=str(error))
        return render(
            make_problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "keys_unavailable",
                "Identity tokens cannot be checked now; try again in a few seconds.",
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
            make_problem(HTTPStatus.SERVICE_UNAVAILABLE, "misconfigured", MISCONFIGURED),
            retry_after_seconds=_RETRY_SECONDS,
        )

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        logger.error("unexpected error", error=type(error).__name__, exc_info=error)
        return render(
            make_problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong; see the query function's log.",
            )
        )
