"""Haystack: an indexing and a query pipeline over PgvectorDocumentStore."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import RecursiveDocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from haystack_integrations.components.retrievers.pgvector import (
    PgvectorEmbeddingRetriever,
    PgvectorKeywordRetriever,
)
from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

from benchmarks.peers.adapter import (
    BATCH_SIZE,
    CHUNK_CHARACTERS,
    DIMENSION,
    INDEXED_FROM,
    LEG_SIZE,
    Passage,
    TextFile,
    model_folder,
    serve,
)

_TABLE = "haystack_documents"


def _document_embedder() -> SentenceTransformersDocumentEmbedder:
    embedder = SentenceTransformersDocumentEmbedder(
        model=model_folder(),
        device=ComponentDevice.from_str("cpu"),
        batch_size=BATCH_SIZE,
        progress_bar=False,
    )
    embedder.warm_up()
    return embedder


def _text_embedder() -> SentenceTransformersTextEmbedder:
    """Return one for a pipeline, which shares none; Haystack keeps the weights once a process."""
    embedder = SentenceTransformersTextEmbedder(
        model=model_folder(), device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    embedder.warm_up()
    return embedder


class Haystack:
    """A store has one connection and shares its cursors, so every thread has a store of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._indexed = url.endswith("large")
        self._local = threading.local()
        self._indexing: Pipeline | None = None

    def ingest(self, files: Sequence[TextFile]) -> None:
        if self._indexing is None:
            self._indexing = Pipeline()
            splitter = RecursiveDocumentSplitter(
                split_length=CHUNK_CHARACTERS,
                split_overlap=0,
                split_unit="char",
                separators=["\n\n", "\n", " "],
            )
            writer = DocumentWriter(self._open(), policy=DuplicatePolicy.OVERWRITE)
            self._indexing.add_component("splitter", splitter)
            self._indexing.add_component("embedder", _document_embedder())
            self._indexing.add_component("writer", writer)
            self._indexing.connect("splitter", "embedder")
            self._indexing.connect("embedder", "writer")
        documents = [Document(content=file.text, meta={"file": file.name}) for file in files]
        self._indexing.run({"splitter": {"documents": documents}})

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        # The index is made after the rows, which is far quicker than row by row.
        store = self._open(indexed=False)
        for start in range(0, len(rows), 2000):
            batch = zip(rows[start : start + 2000], vectors[start:], strict=False)
            store.write_documents(
                [
                    Document(
                        content=row["text"],
                        embedding=vector.tolist(),
                        meta={"file": row["document"], "ordinal": row["ordinal"]},
                    )
                    for row, vector in batch
                ],
                policy=DuplicatePolicy.OVERWRITE,
            )
        if len(rows) >= INDEXED_FROM:
            self._open(indexed=True).count_documents()
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"VACUUM ANALYZE {_TABLE}")

    def retrieve(self, question: str, limit: int) -> int:
        found = self._query().run({"embedder": {"text": question}, "retriever": {"top_k": limit}})
        return len(found["retriever"]["documents"])

    def search(self, question: str, limit: int) -> list[Passage]:
        found = self._hybrid().run(
            {
                "embedder": {"text": question},
                "keywords": {"query": question},
                "joiner": {"top_k": limit},
            }
        )
        return [
            Passage(document.meta["file"], document.content)
            for document in found["joiner"]["documents"]
        ]

    def count(self) -> int:
        return int(self._open(indexed=False).count_documents())

    def _query(self) -> Pipeline:
        if not hasattr(self._local, "pipeline"):
            pipeline = Pipeline()
            retriever = PgvectorEmbeddingRetriever(document_store=self._open())
            pipeline.add_component("embedder", _text_embedder())
            pipeline.add_component("retriever", retriever)
            pipeline.connect("embedder.embedding", "retriever.query_embedding")
            self._local.pipeline = pipeline
        return self._local.pipeline

    def _hybrid(self) -> Pipeline:
        if not hasattr(self._local, "hybrid"):
            pipeline = Pipeline()
            store = self._open()
            pipeline.add_component("embedder", _text_embedder())
            pipeline.add_component(
                "vectors", PgvectorEmbeddingRetriever(document_store=store, top_k=LEG_SIZE)
            )
            pipeline.add_component(
                "keywords", PgvectorKeywordRetriever(document_store=store, top_k=LEG_SIZE)
            )
            pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
            pipeline.connect("embedder.embedding", "vectors.query_embedding")
            pipeline.connect("vectors", "joiner")
            pipeline.connect("keywords", "joiner")
            self._local.hybrid = pipeline
        return self._local.hybrid

    def _open(self, *, indexed: bool | None = None) -> PgvectorDocumentStore:
        return PgvectorDocumentStore(
            connection_string=Secret.from_token(self._url),
            table_name=_TABLE,
            embedding_dimension=DIMENSION,
            search_strategy="hnsw"
            if (self._indexed if indexed is None else indexed)
            else "exact_nearest_neighbor",
        )


STORE = Haystack
if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("haystack", Haystack)
