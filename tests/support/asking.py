"""A query application over documents that a test writes, without the event path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flask.testing import FlaskClient

from functions.query.answering.dependencies import make_answering_dependencies
from functions.query.answering.generation import CircuitBreaker, Gemini
from functions.query.answering.reranking import Reranker
from functions.query.answering.retrieving import Search
from functions.query.dependencies import make_dependencies
from functions.query.http.routes import create_app
from functions.query.metrics import Metrics
from functions.query.settings import QuerySettings
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.embedder import TextEmbedder
from shared.language import searchable_text
from shared.runtime.identity import TokenVerifier
from shared.search.statement import search
from shared.settings import GeminiSettings
from shared.store import Connection, Pool
from shared.values import Chunk, EmbedJob, ObjectVersion

BUCKET = "documents"


def index_document(
    connection: Connection,
    embedder: TextEmbedder,
    name: str,
    paragraphs: Sequence[str],
    *,
    generation: int = 1,
    language: str = "en",
    search_config: str = "english",
    paragraphs_a_page: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Make a document of one chunk a paragraph answer, and return its extracted text."""
    text, jobs = stage_document(
        connection,
        name,
        paragraphs,
        generation=generation,
        language=language,
        search_config=search_config,
        paragraphs_a_page=paragraphs_a_page,
        metadata=metadata,
    )
    serving = store.serving_model(connection)
    assert serving is not None
    for job in jobs:
        batch = store.lease_batch(
            connection, job, model_id=serving.id, lease_seconds=60, max_attempts=10
        )
        assert batch is not None
        store.finish_batch(connection, batch, embedder.embed_documents(batch.texts))
    return text


def stage_document(
    connection: Connection,
    name: str,
    paragraphs: Sequence[str],
    *,
    generation: int = 1,
    language: str = "en",
    search_config: str = "english",
    paragraphs_a_page: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> tuple[str, list[EmbedJob]]:
    """Store a document of one chunk a paragraph, and return its text and the jobs to embed it."""
    lease = store.begin_build(
        connection,
        ObjectVersion(
            bucket=BUCKET,
            name=name,
            generation=generation,
            size=10,
            metadata=dict(metadata or {}),
        ),
        config_hash="test",
        lease_seconds=60,
        max_attempts=10,
    ).lease
    assert lease is not None
    text, chunks = "", []
    for ordinal, paragraph in enumerate(paragraphs):
        chunk = Chunk(
            ordinal=ordinal,
            text=paragraph,
            heading="Title",
            header="",
            page=ordinal // paragraphs_a_page + 1,
            char_start=len(text),
            char_end=len(text) + len(paragraph),
            tokens=10,
        )
        chunks.append((chunk, searchable_text(paragraph, language=language, name=name)))
        text += paragraph + "\n\n"
    jobs = store.stage_build(
        connection,
        lease,
        document=store.StagedDocument(
            title="Title",
            language=language,
            content_type="text/plain",
            pages=len(paragraphs),
            pages_without_text=[],
        ),
        chunks=chunks,
        # Short ones, so that passages begin and end within them and cross their borders.
        text_segments=[(start, text[start : start + 40]) for start in range(0, len(text), 40)],
        search_config=search_config,
        batch_size=100,
    )
    return text, jobs


@contextmanager
def open_gemini(url: str, **options: Any) -> Iterator[Gemini]:
    """
    Open a client of a stand-in that tries once.

    Args:
        options: Gemini's own, and the fields of GeminiSettings.
    """
    settings = GeminiSettings.model_validate(
        {
            "gemini_api_key": "test-key",
            "google_cloud_project": "test",
            "gemini_model": "gemini-3.5-flash-lite",
            "gemini_timeout_seconds": 10.0,
            "google_gemini_base_url": url,
        }
        | {name: options.pop(name) for name in GeminiSettings.model_fields if name in options}
    )
    defaults: dict[str, Any] = {
        "attempts": 1,
        "max_output_tokens": 1000,
        "thinking_budget": None,
        "thinking_level": None,
        "breaker": CircuitBreaker(failures=1000, pause_seconds=1),
    }
    gemini = Gemini(settings, **defaults | options)
    try:
        yield gemini
    finally:
        gemini.close()


def make_client(
    settings: QuerySettings,
    *,
    pool: Pool,
    embedder: TextEmbedder,
    others: Sequence[TextEmbedder] = (),
    gemini: Gemini | None = None,
    make_originals: Callable[[], DocumentBucket] | None = None,
    make_uploads: Callable[[], DocumentBucket] | None = None,
    search: Search = search,
    reranker: Reranker | None = None,
    metrics: Metrics | None = None,
    tokens: TokenVerifier | None = None,
) -> FlaskClient:
    """
    Return a client of the application.

    Args:
        others: Models that the application has beside that of *embedder*.
    """
    known = {other.info.digest: other for other in others}

    def find_embedder(digest: str) -> TextEmbedder:
        return known.get(digest, embedder)

    app = create_app(
        make_dependencies(
            settings,
            pool=pool,
            answering=make_answering_dependencies(
                settings,
                pool=pool,
                find_embedder=find_embedder,
                embedding_threads=ThreadPoolExecutor(2),
                gemini=gemini,
                metrics=metrics,
                search=search,
                reranker=reranker,
            ),
            find_embedder=find_embedder,
            make_originals=make_originals,
            make_uploads=make_uploads,
            metrics=metrics,
            tokens=tokens,
        )
    )
    return app.test_client()
