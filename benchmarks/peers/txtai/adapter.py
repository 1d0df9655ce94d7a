"""txtai with vectors in its pgvector backend and texts in PostgreSQL as its content store."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import psycopg2.extras
from txtai import Embeddings

from benchmarks.peers.adapter import BATCH_SIZE, Passage, TextFile, model_folder, serve, split


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
            # BM25 of its own beside the vectors, in a file of its own.
            "hybrid": True,
        }
        state = Path(os.environ.get("TXTAI_STATE") or tempfile.mkdtemp(prefix="txtai-"))
        self._folder = str(state / urlsplit(url).path.strip("/"))
        self._index = self._open()
        self._by_words = _Copies(self._open, first=self._index)
        self._by_vectors = _Copies(self._open_for_vectors)

    def ingest(self, files: Sequence[TextFile]) -> None:
        self._index.upsert(
            (f"{file.name}#{ordinal}", text)
            for file in files
            for ordinal, text in enumerate(split(file.text))
        )
        self._save()

    def load(self, rows: Sequence[dict[str, Any]], vectors: Any) -> None:
        """Let it make its tables and its configuration with one row, and copy the rest."""
        names = [f"{row['document']}#{row['ordinal']}" for row in rows]
        self._index.index([(names[0], rows[0]["text"])])
        self._index.config["offset"] = len(rows)
        self._index.scoring = self._index.createscoring()
        self._index.scoring.insert(
            ((name, row["text"], None) for name, row in zip(names, rows, strict=True)), 0
        )
        self._index.scoring.index()
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
                ((number, names[number], row["text"]) for number, row in enumerate(rows) if number),
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
        self._by_words = _Copies(self._open, first=self._index)

    def retrieve(self, question: str, limit: int) -> int:
        with self._by_vectors.one() as index:
            return len(index.search(question, limit))

    def search(self, question: str, limit: int) -> list[Passage]:
        with self._by_words.one() as index:
            found = index.search(question, limit)
        return [Passage(one["id"].rpartition("#")[0], one["text"]) for one in found]

    def count(self) -> int:
        return int(self._index.count() or 0)

    def _open(self) -> Embeddings:
        index = Embeddings(self._options)
        if index.exists(self._folder):
            # What was saved names the server's address of that day.
            index.load(self._folder, config=self._options)
        return index

    def _open_for_vectors(self) -> Embeddings:
        index = self._open()
        if index.scoring is not None:
            # Without it a search is one of vectors alone.
            index.scoring.close()
            index.scoring = None
        return index

    def _save(self) -> None:
        Path(self._folder).parent.mkdir(parents=True, exist_ok=True)
        self._index.save(self._folder)


class _Copies:
    """Copies of an index, made when they are needed, as many as there are cores."""

    def __init__(self, open_: Callable[[], Embeddings], *, first: Embeddings | None = None) -> None:
        self._open = open_
        self._free: queue.Queue[Embeddings] = queue.Queue()
        self._lock = threading.Lock()
        self._count = 0
        if first is not None:
            self._free.put(first)
            self._count = 1

    @contextmanager
    def one(self) -> Iterator[Embeddings]:
        """Lend one that is free."""
        index = self._take()
        try:
            yield index
        finally:
            self._free.put(index)

    def _take(self) -> Embeddings:
        with suppress(queue.Empty):
            return self._free.get_nowait()
        with self._lock:
            may_open = self._count < len(os.sched_getaffinity(0))
            self._count += may_open
        return self._open() if may_open else self._free.get()


STORE = Txtai
if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve("txtai", Txtai)
