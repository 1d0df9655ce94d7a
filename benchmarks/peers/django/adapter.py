"""The plain baseline: SentenceTransformer.encode for a document, then an INSERT a row."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from sentence_transformers import SentenceTransformer

from benchmarks.peers.adapter import (
    BATCH_SIZE,
    DIMENSION,
    INDEXED_FROM,
    LEG_SIZE,
    Passage,
    TextFile,
    model_folder,
    serve,
    split,
)

_INSERT = "INSERT INTO chunk (document, ordinal, text, embedding) VALUES (%s, %s, %s, %s)"
# As the examples of pgvector-python join both: reciprocal rank fusion with k = 60.
_HYBRID = """
WITH nearest AS (
    SELECT id, rank() OVER (ORDER BY embedding <=> %(vector)s) AS rank
    FROM chunk
    ORDER BY embedding <=> %(vector)s
    LIMIT %(leg)s
),
matching AS (
    SELECT id, rank() OVER (ORDER BY ts_rank_cd(to_tsvector('english', text), query) DESC) AS rank
    FROM chunk, plainto_tsquery('english', %(question)s) AS query
    WHERE to_tsvector('english', text) @@ query
    ORDER BY ts_rank_cd(to_tsvector('english', text), query) DESC
    LIMIT %(leg)s
)
SELECT chunk.document, chunk.text
FROM nearest
FULL OUTER JOIN matching USING (id)
JOIN chunk USING (id)
ORDER BY coalesce(1.0 / (60 + nearest.rank), 0) + coalesce(1.0 / (60 + matching.rank), 0) DESC
LIMIT %(limit)s
"""


@functools.cache
def _model() -> SentenceTransformer:
    return SentenceTransformer(model_folder(), device="cpu")


class Baseline:
    """As a Django view or task would do it: autocommit, a connection a thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self._model = _model()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(
                f"""
                CREATE TABLE IF NOT EXISTS chunk (
                    id bigserial PRIMARY KEY,
                    document text NOT NULL,
                    ordinal integer NOT NULL,
                    text text NOT NULL,
                    embedding vector({DIMENSION}) NOT NULL
                )
                """
            )
            connection.execute("CREATE INDEX IF NOT EXISTS chunk_document ON chunk (document)")
            connection.execute(
                "CREATE INDEX IF NOT EXISTS chunk_words"
                " ON chunk USING gin (to_tsvector('english', text))"
            )

    def ingest(self, files: Sequence[TextFile]) -> None:
        for file in files:
            texts = split(file.text)
            vectors = self._model.encode(texts, batch_size=BATCH_SIZE, show_progress_bar=False)
            connection = self._connection()
            connection.execute("DELETE FROM chunk WHERE document = %s", (file.name,))
            for ordinal, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
                connection.execute(_INSERT, (file.name, ordinal, text, vector))

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        with self._connection().transaction():
            for row, vector in zip(rows, vectors, strict=True):
                values = (row["document"], row["ordinal"], row["text"], vector)
                self._connection().execute(_INSERT, values)
        if len(rows) >= INDEXED_FROM:
            self._connection().execute(
                "CREATE INDEX ON chunk USING hnsw (embedding vector_cosine_ops)"
            )
        self._connection().execute("VACUUM ANALYZE chunk")

    def retrieve(self, question: str, limit: int) -> int:
        vector = self._model.encode(question, show_progress_bar=False)
        rows = self._connection().execute(
            "SELECT document, text, embedding <=> %s FROM chunk ORDER BY embedding <=> %s LIMIT %s",
            (vector, vector, limit),
        )
        return len(rows.fetchall())

    def search(self, question: str, limit: int) -> list[Passage]:
        vector = self._model.encode(question, show_progress_bar=False)
        rows = self._connection().execute(
            _HYBRID, {"vector": vector, "question": question, "leg": LEG_SIZE, "limit": limit}
        )
        return [Passage(name, text) for name, text in rows.fetchall()]

    def count(self) -> int:
        row = self._connection().execute("SELECT count(*) FROM chunk").fetchone()
        return int(row[0]) if row else 0

    def _connection(self) -> psycopg.Connection[Any]:
        if not hasattr(self._local, "connection"):
            connection = psycopg.connect(self._url, autocommit=True)
            register_vector(connection)
            self._local.connection = connection
        opened: psycopg.Connection[Any] = self._local.connection
        return opened


STORE = Baseline
if __name__ == "__main__":
    serve("django", Baseline)
