"""What must hold when the work has come to rest: index and bucket agree, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import psycopg
from google.cloud import storage
from pgvector.psycopg import register_vector

from tests.faults.ledger import Ledger

# Int8 kernels round differently in other batches; other texts are below 0.9.
_LEAST_COSINE = 0.98
_MAX_ATTEMPTS = 10


class Invariants:
    """Compares bucket and index; what was found equal is not looked at again."""

    def __init__(self, ledger: Ledger, bucket: Callable[[], storage.Bucket]) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._contents: dict[tuple[str, int], bytes] = {}
        self._compared: set[int] = set()

    def violations(self, connection: psycopg.Connection[Any]) -> list[str]:
        """
        Return what does not hold, in words; most of it is only unfinished while work goes on.

        Raises:
            psycopg.Error: The database is away.
            GoogleAPICallError, OSError: The bucket is away.
        """
        blobs = {
            (blob.name, int(blob.generation)): blob
            for blob in self._bucket().list_blobs(timeout=10)
        }
        for key, blob in blobs.items():
            if key not in self._contents:
                self._contents[key] = blob.download_as_bytes(timeout=10)
        register_vector(connection)
        return list(self._compare(connection, dict(blobs.keys())))

    def _compare(
        self, connection: psycopg.Connection[Any], living: Mapping[str, int]
    ) -> Iterator[str]:
        rows = connection.execute(
            """
            SELECT document_status.name, document_status.state, document_status.reason_code,
                   document_status.generation, document_status.answering_generation,
                   documents.active_build, document_status.attempts
            FROM document_status
            JOIN documents ON documents.id = document_status.id
            """
        ).fetchall()
        known = {row[0]: row for row in rows}
        builds = 0
        chunks = 0
        for name, generation in living.items():
            expected = self._ledger.oracle.expect(name, self._contents[name, generation])
            row = known.get(name)
            if row is None or row[3] != generation:
                yield f"{name}: generation {generation} is not known"
                continue
            _, state, code, _, answering, build, attempts = row
            builds += 1
            if attempts > _MAX_ATTEMPTS:
                yield f"{name}: {attempts} attempts"
            codes = self._ledger.codes.get(name) or ({expected.code} if expected.code else ())
            if codes:
                if state != "failed" or code not in codes or answering is not None:
                    yield f"{name}: {state} {code}, not failed with {' or '.join(codes)}"
            elif state != "ready" or answering != generation:
                yield f"{name}: {state} {code or ''}, answering {answering} of {generation}"
            else:
                chunks += len(expected.texts)
                if build not in self._compared:
                    differences = self._compare_build(connection, build, name, generation)
                    yield from differences
                    if not differences:
                        self._compared.add(build)
        for name, row in known.items():
            if name not in living and (row[1] != "deleted" or row[5] is not None):
                yield f"{name}: {row[1]}, but it is not in the bucket"
        (found,) = _one(connection, "SELECT count(*) FROM builds")
        if found != builds:
            yield f"{found} builds of {builds} objects"
        (found,) = _one(connection, "SELECT count(*) FROM live_chunks")
        if found != chunks:
            yield f"{found} chunks can be found, not {chunks}"
        (attempts, waiting) = _one(
            connection,
            "SELECT coalesce(max(attempts), 0), count(*) FILTER (WHERE NOT done) FROM batches",
        )
        if attempts > _MAX_ATTEMPTS or waiting:
            yield f"{waiting} batches wait, tried up to {attempts} times"

    def _compare_build(
        self, connection: psycopg.Connection[Any], build: int, name: str, generation: int
    ) -> list[str]:
        expected = self._ledger.oracle.expect(name, self._contents[name, generation])
        rows = connection.execute(
            """
            SELECT chunks.ordinal, chunks.text, chunks.content_hash, embeddings.embedding,
                   models.digest
            FROM chunks
            JOIN embeddings USING (build_id, ordinal)
            JOIN models ON models.id = embeddings.model_id
            JOIN active_model ON active_model.model_id = models.id
            WHERE chunks.build_id = %s
            ORDER BY chunks.ordinal
            """,
            [build],
        ).fetchall()
        found = [(row[0], row[1], bytes(row[2])) for row in rows]
        if found != list(zip(range(len(rows)), expected.texts, expected.hashes, strict=False)):
            return [f"{name}: its chunks are not those of generation {generation}"]
        if len(rows) != len(expected.texts):
            return [f"{name}: {len(rows)} of {len(expected.texts)} chunks"]
        if any(row[4] != self._ledger.oracle.digest for row in rows):
            return [f"{name}: embedded by another model"]
        vectors = self._ledger.oracle.embed(expected)
        least = min(
            float(np.dot(row[3].to_numpy().astype(np.float32), vector))
            for row, vector in zip(rows, vectors, strict=True)
        )
        return [] if least > _LEAST_COSINE else [f"{name}: an embedding is off, cosine {least:.3f}"]


def _one(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return tuple(row)
