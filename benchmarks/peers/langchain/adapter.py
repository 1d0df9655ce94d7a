"""LangChain: its character splitter, the indexing API with its record manager, PGVectorStore."""

from __future__ import annotations

import functools
import json
import logging
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.hybrid_search_config import (
    HybridSearchConfig,
    reciprocal_rank_fusion,
)
from langchain_text_splitters import RecursiveCharacterTextSplitter

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

_TABLE = "chunks"
_TEXT_COLUMN = "content_tsv"


@functools.cache
def _embeddings() -> HuggingFaceEmbeddings:
    return HuggingFaceEmbeddings(
        model_name=model_folder(),
        model_kwargs={"device": "cpu"},
        encode_kwargs={"batch_size": BATCH_SIZE},
    )


def _hybrid(question: str = "") -> HybridSearchConfig:
    """Return one for each question: a shared one would keep the words of the first."""
    return HybridSearchConfig(
        tsv_column=_TEXT_COLUMN,
        fts_query=question,
        fusion_function=reciprocal_rank_fusion,
        primary_top_k=LEG_SIZE,
        secondary_top_k=LEG_SIZE,
    )


class LangChain:
    """The documented way to keep a store in step with its sources."""

    def __init__(self, url: str) -> None:
        self._url = url
        address = url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = PGEngine.from_connection_string(address, pool_size=16)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT to_regclass(%s)", (_TABLE,)).fetchone()
        is_new = row is None or row[0] is None
        if is_new:
            engine.init_vectorstore_table(
                _TABLE,
                DIMENSION,
                metadata_columns=[Column("source", "TEXT")],
                # The indexing API's keys are hashes.
                id_column=Column("langchain_id", "TEXT", nullable=False),
                hybrid_search_config=_hybrid(),
            )
        self._store = PGVectorStore.create_sync(
            engine,
            _embeddings(),
            _TABLE,
            metadata_columns=["source"],
            hybrid_search_config=_hybrid(),
        )
        if is_new:
            self._store.apply_hybrid_search_index()
        self._records = SQLRecordManager(f"postgres/{_TABLE}", db_url=address)
        self._records.create_schema()
        self._splitter = RecursiveCharacterTextSplitter(
            chunk_size=CHUNK_CHARACTERS, chunk_overlap=0
        )

    def ingest(self, files: Sequence[TextFile]) -> None:
        documents = [
            Document(page_content=file.text, metadata={"source": file.name}) for file in files
        ]
        index(
            self._splitter.split_documents(documents),
            self._records,
            self._store,
            # Larger than the default of 100: fewer transactions, and longer batches to sort.
            batch_size=500,
            cleanup="incremental",
            source_id_key="source",
            key_encoder="sha256",
        )

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        """Copy into its table: its own add_embeddings commits every row."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                "CREATE TEMP TABLE copied (langchain_id text, content text, embedding text,"
                " source text, langchain_metadata json)"
            )
            with connection.cursor().copy("COPY copied FROM STDIN") as copy:
                for row, vector in zip(rows, vectors, strict=True):
                    numbers = "[" + ",".join(map(str, vector.tolist())) + "]"
                    copy.write_row(
                        (str(uuid.uuid4()), row["text"], numbers, row["document"], json.dumps({}))
                    )
            connection.execute(
                f"INSERT INTO {_TABLE} (langchain_id, content, embedding, source,"
                f" langchain_metadata, {_TEXT_COLUMN})"
                " SELECT langchain_id, content, embedding::vector, source, langchain_metadata,"
                " to_tsvector('pg_catalog.english', content) FROM copied"
            )
            if len(rows) >= INDEXED_FROM:
                connection.execute(
                    f"CREATE INDEX ON {_TABLE} USING hnsw (embedding vector_cosine_ops)"
                )
            connection.execute(f"VACUUM ANALYZE {_TABLE}")

    def retrieve(self, question: str, limit: int) -> int:
        found = self._store.similarity_search(question, k=limit, hybrid_search_config=None)
        return len(found)

    def search(self, question: str, limit: int) -> list[Passage]:
        return [
            Passage(found.metadata["source"], found.page_content)
            for found in self._store.similarity_search(
                question, k=limit, hybrid_search_config=_hybrid(question)
            )
        ]

    def count(self) -> int:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {_TABLE}").fetchone()
        return int(row[0]) if row else 0


STORE = LangChain
if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("langchain", LangChain)
