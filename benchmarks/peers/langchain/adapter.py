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
from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.peers.adapter import (
    BATCH_SIZE,
    CHUNK_CHARACTERS,
    DIMENSION,
    INDEXED_FROM,
    TextFile,
    model_folder,
    serve,
)

_TABLE = "chunks"


@functools.cache
def _embeddings() -> HuggingFaceEmbeddings:
    return HuggingFaceEmbeddings(
        model_name=model_folder(),
        model_kwargs={"device": "cpu"},
        encode_kwargs={"batch_size": BATCH_SIZE},
    )


class LangChain:
    """The documented way to keep a store in step with its sources."""

    def __init__(self, url: str) -> None:
        self._url = url
        address = url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = PGEngine.from_connection_string(address, pool_size=16)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT to_regclass(%s)", (_TABLE,)).fetchone()
        if row is None or row[0] is None:
            engine.init_vectorstore_table(
                _TABLE,
                DIMENSION,
                metadata_columns=[Column("source", "TEXT")],
                # The indexing API's keys are hashes.
                id_column=Column("langchain_id", "TEXT", nullable=False),
            )
        self._store = PGVectorStore.create_sync(
            engine, _embeddings(), _TABLE, metadata_columns=["source"]
        )
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
            with connection.cursor().copy(
                f"COPY {_TABLE} (langchain_id, content, embedding, source, langchain_metadata)"
                " FROM STDIN"
            ) as copy:
                for row, vector in zip(rows, vectors, strict=True):
                    numbers = "[" + ",".join(map(str, vector.tolist())) + "]"
                    copy.write_row(
                        (str(uuid.uuid4()), row["text"], numbers, row["document"], json.dumps({}))
                    )
            if len(rows) >= INDEXED_FROM:
                connection.execute(
                    f"CREATE INDEX ON {_TABLE} USING hnsw (embedding vector_cosine_ops)"
                )
            connection.execute(f"VACUUM ANALYZE {_TABLE}")

    def retrieve(self, question: str, limit: int) -> int:
        return len(self._store.similarity_search(question, k=limit))

    def count(self) -> int:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {_TABLE}").fetchone()
        return int(row[0]) if row else 0


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("langchain", LangChain)
