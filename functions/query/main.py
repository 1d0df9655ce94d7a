"""
The query function: a Flask application behind one entry point of functions-framework.

The framework imports this module before it forks its workers, so nothing is opened here: each
worker creates its application while it loads the model and opens a connection. Modules that only
some deployments need (Gemini, uploads, identity tokens, metrics) are imported on use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import functions_framework
from flask import Flask, Request, Response, current_app, has_app_context

from shared.embedding.embedders import Embedders
from shared.embedding.reader import Readers
from shared.errors import Misconfigured
from shared.runtime.logs import get_logger, set_up_logs
from shared.runtime.server import serve_whole_requests
from shared.runtime.startup import once, warm_after_fork
from shared.runtime.tracing import set_up_tracing
from shared.settings import load
from shared.store import Backlog, Pool, connect, open_pool, read_backlog

from .answering.dependencies import make_answering_dependencies
from .answering.generation import CircuitBreaker, Gemini
from .answering.reranking import make_reranker
from .dependencies import make_dependencies
from .http.concurrency import SPARE_THREADS
from .http.problems import MISCONFIGURED, make_problem, render
from .http.routes import create_app
from .settings import MAX_REQUEST_BYTES, QuerySettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from shared.bucket import DocumentBucket
    from shared.runtime.identity import TokenVerifier

    from .metrics import Metrics

# A person is waiting for what the page reads from the bucket or changes there.
_STORAGE_READ_SECONDS = 20.0
_STORAGE_RETRY_SECONDS = 15.0
_GEMINI_ATTEMPTS = 3
_BREAKER_FAILURES = 5
_BREAKER_PAUSE_SECONDS = 30.0

logger = get_logger(__name__)


@functions_framework.http
def query(request: Request) -> Response:
    """Answer one HTTP request."""
    return cast(Response, Response.from_app(_answer, request.environ))


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        app: WSGIApplication = _start()
    except Misconfigured as error:
        logger.error("cannot start", error=str(error))
        app = render(make_problem(HTTPStatus.SERVICE_UNAVAILABLE, "misconfigured", MISCONFIGURED))
    return app(environ, start_response)


def _answer_in_place_of_the_framework() -> None:
    """
    Take each request before functions-framework does.

    The framework would read every body to its end before responding, even for a 401, and answers
    some paths (/favicon.ico) itself.
    """
    if has_app_context():
        current_app.wsgi_app = _answer  # type: ignore[method-assign]  # Flask's way to wrap it


@once
def _read_settings() -> QuerySettings:
    settings: QuerySettings = load(QuerySettings)
    set_up_logs(settings)
    set_up_tracing("query")
    return settings


@once
def _find_models() -> Embedders:
    settings = _read_settings()
    return Embedders([settings.model_dir, settings.other_model_dir], count_tokens=_count_embedding)


@once
def _find_readers() -> Readers | None:
    settings = _read_settings()
    if not settings.reader_enabled:
        return None
    return Readers([settings.model_dir, settings.other_model_dir])


def _count_embedding(tokens: int) -> None:
    metrics = _open_metrics()
    if metrics is not None:
        metrics.count_embedding(tokens)


@once
def _open_pool() -> Pool:
    settings = _read_settings()
    return open_pool(settings, answer_seconds=settings.database_answer_timeout_seconds)


@once
def _start() -> Flask:
    settings = _read_settings()
    pool = _open_pool()
    find_embedder = _find_models().find
    metrics = _open_metrics()
    return create_app(
        make_dependencies(
            settings,
            pool=pool,
            answering=make_answering_dependencies(
                settings,
                pool=pool,
                find_embedder=find_embedder,
                embedding_threads=ThreadPoolExecutor(
                    _find_models().questions_at_once, thread_name_prefix="question"
                ),
                gemini=_make_gemini() if settings.gemini_configured else None,
                metrics=metrics,
                readers=_find_readers(),
                reranker=make_reranker(settings.reranker, project=settings.google_cloud_project),
            ),
            find_embedder=find_embedder,
            make_originals=_open_bucket if settings.documents_bucket else None,
            make_uploads=_open_bucket if settings.uploads_enabled else None,
            metrics=metrics,
            tokens=_make_token_verifier(settings) if settings.query_audience else None,
        )
    )


@once
def _make_gemini() -> Gemini:
    settings = _read_settings()
    return Gemini(
        settings,
        attempts=_GEMINI_ATTEMPTS,
        max_output_tokens=settings.gemini_max_output_tokens,
        thinking_budget=settings.gemini_thinking_budget,
        thinking_level=settings.gemini_thinking_level,
        breaker=CircuitBreaker(failures=_BREAKER_FAILURES, pause_seconds=_BREAKER_PAUSE_SECONDS),
    )


@once
def _open_metrics() -> Metrics | None:
    if not _read_settings().metrics_enabled:
        return None
    from .metrics import Metrics

    pool = _open_pool()

    def read() -> Backlog:
        with connect(pool) as connection:
            return read_backlog(connection)

    return Metrics(read)


def _make_token_verifier(settings: QuerySettings) -> TokenVerifier:
    from shared.runtime.identity import SigningKeys, TokenVerifier

    return TokenVerifier(
        SigningKeys(settings.query_certs_url),
        audiences=settings.query_audience,
        issuers=settings.query_issuers,
    )


@once
def _open_bucket() -> DocumentBucket:
    # Its client takes a third of a second to import: questions do not wait for it.
    from shared.bucket import DocumentBucket

    settings = _read_settings()
    return DocumentBucket(
        settings.documents_bucket,
        project=settings.google_cloud_project,
        read_seconds=_STORAGE_READ_SECONDS,
        retry_seconds=_STORAGE_RETRY_SECONDS,
    )


def _serve_whole_requests() -> None:
    serve_whole_requests(max_body_bytes=MAX_REQUEST_BYTES)


def _make_room_for_refusals() -> None:
    """Give the server a thread for each slot and a few more for refusals, through THREADS."""
    # The first request reports a faulty setting.
    with suppress(Misconfigured):
        threads = load(QuerySettings).max_concurrent_requests + SPARE_THREADS
        os.environ.setdefault("THREADS", str(threads))


def _warm_up() -> None:
    _start()
    if _read_settings().gemini_configured:
        _make_gemini().warm_up()


def _warm_model() -> None:
    _find_models().warm_up()


def _warm_reader() -> None:
    readers = _find_readers()
    # With Gemini it is needed where Gemini fails.
    if readers is not None and not _read_settings().gemini_configured:
        readers.warm_up()


def _warm_connection() -> None:
    with connect(_open_pool()):
        pass


_answer_in_place_of_the_framework()
_serve_whole_requests()
_make_room_for_refusals()
# In parallel: the model's file loads and the database answers while modules are imported.
for _warm in (_warm_model, _warm_reader, _warm_connection, _warm_up):
    warm_after_fork(_warm)
