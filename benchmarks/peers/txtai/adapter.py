"""txtai with vectors in its pgvector backend and texts in PostgreSQL as its content store."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import psycopg2.extras
from txtai import Embeddings

from benchmarks.peers.adapter import BATCH_SIZE, TextFile, model_folder, serve, split


class Txtai:
    """
    An index holds one connection, which threads cannot share, so there is one a core.

    Its configuration is saved to a folder, as every process that opens it needs.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        address = url.replace("postgresql://", "postgresql+psycopg2://", 1)
        self._options = {
            "path": model_folder(),
            "encodebatch": BATCH_SIZE,
            "gpu": False,
            "backend": "pgvector",
            "pgvector": {"url": address, "m": 16, "efconstruction": 64},
            "content": address,
        }
        state = Path(os.environ.get("TXTAI_STATE") or tempfile.mkdtemp(prefix="txtai-"))
        self._folder = str(state / urlsplit(url).path.strip("/"))
        self._index = self._open()
        self._free: queue.Queue[Embeddings] = queue.Queue()
        self._free.put(self._index)
        self._copies = 1
        self._lock = threading.Lock()

    def ingest(self, files: Sequence[TextFile]) -> None:
        self._index.upsert(
            (f"{file.name}#{ordinal}", text)
            for file in files
            for ordinal, text in enumerate(split(file.text))
        )
        self._save()

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        """Let it make its tables and its configuration with one row, and copy the rest."""
        self._index.index([("0", rows[0]["text"])])
        self._index.config["offset"] = len(rows)
        self._save()
        with psycopg2.connect(self._url) as connection, connection.cursor() as cursor:
            cursor.execute('DROP INDEX "vectors-index"')
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO vectors (indexid, embedding) VALUES %s",
                (
                    (number, "[" + ",".join(map(str, vector.tolist())) + "]")
                    for number, vector in enumerate(vectors)
                    if number
                ),
                page_size=500,
            )
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO sections (indexid, id, text, entry) VALUES %s",
                ((number, str(number), row["text"]) for number, row in enumerate(rows) if number),
                template="(%s, %s, %s, now())",
                page_size=500,
            )
            cursor.execute(
                'CREATE INDEX "vectors-index" ON vectors USING hnsw (embedding vector_ip_ops)'
                " WITH (m = 16, ef_construction = 64)"
            )
        connection = psycopg2.connect(self._url)
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")
        connection.close()
        self._index.close()
        self._index = self._open()
        self._free = queue.Queue()
        self._free.put(self._index)

    def retrieve(self, question: str, limit: int) -> int:
        try:
            index = self._free.get_nowait()
        except queue.Empty:
            index = self._another() or self._free.get()
        try:
            return len(index.search(question, limit))
        finally:
            self._free.put(index)

    def count(self) -> int:
        return int(self._index.count() or 0)

    def _another(self) -> Embeddings | None:
        with self._lock:
            if self._copies >= len(os.sched_getaffinity(0)):
                return None
            self._copies += 1
        return self._open()

    def _open(self) -> Embeddings:
        index = Embeddings(self._options)
        if index.exists(self._folder):
            # What was saved names the server's address of that day.
            index.load(self._folder, config=self._options)
        return index

    def _save(self) -> None:
        Path(self._folder).parent.mkdir(parents=True, exist_ok=True)
        self._index.save(self._folder)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("txtai", Txtai)
