"""
Time the search statement over many chunks: python -m benchmarks.retrieval [--chunks N]

Makes a database of its own on a local PostgreSQL, with N chunks of sentences of Python's own
documentation (pydoc_data.topics) in new orders, with random unit vectors around a few hundred
centres, and asks questions made of their words: all documents, and with filters that 1 % and 0.1 %
of the documents pass; first by exact scan, then with the HNSW index; last as a caller to whom half
of the documents are closed. All with the rights of the query function, so that row-level security
holds. Processor time is the server process's own, so that other work on the machine disturbs it
less.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from admin.lexeme_statistics import refresh_statistics
from admin.vector_index import create_vector_index
from shared.language import searchable_text
from shared.search.statement import search
from shared.store import Connection
from shared.values import Filter

from .running import open_database, sentences

_DIMENSION = 384
_CHUNKS_A_DOCUMENT = 10
_CENTRES = 400
_WARM_UP = 5


@click.command(help=__doc__)
@click.option("--chunks", default=100_000, show_default=True)
@click.option("--questions", default=60, show_default=True)
def main(chunks: int, questions: int) -> None:
    """Print the table."""
    random_ = random.Random(1)
    generator = np.random.default_rng(1)
    known = sentences()
    table = Table(
        "vectors", "closed", "filter", "p50 ms", "p95 ms", "server CPU p50 ms", "hits of 10"
    )
    memory = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    with open_database(memory, dimension=_DIMENSION) as database:
        connection = database.connection
        centres = generator.normal(size=(_CENTRES, _DIMENSION))
        _fill(connection, chunks, known, centres, random_, generator)
        refresh_statistics(connection)
        asked = [_question(known, random_) for _ in range(questions + _WARM_UP)]
        vectors = _near(centres, len(asked), generator)
        for index, closed in (("exact", "none"), ("HNSW", "none"), ("HNSW", "half")):
            if index == "HNSW" and closed == "none":
                click.echo(create_vector_index(connection), err=True)
            if closed == "half":
                connection.execute(
                    "INSERT INTO collection_access VALUES ('odd', true), ('even', true)"
                )
                connection.execute("INSERT INTO collection_grants VALUES ('key:benchmark', 'even')")
            for name, filter_ in (
                ("none", Filter()),
                ("1 %", Filter(metadata={"hundredth": "7"})),
                ("0.1 %", Filter(metadata={"thousandth": "7"})),
            ):
                table.add_row(
                    index, closed, name, *_time(connection, asked, vectors, filter_=filter_)
                )
    Console(width=100).print(table)


def _fill(
    connection: Connection,
    chunks: int,
    known: list[str],
    centres: NDArray[np.float64],
    random_: random.Random,
    generator: np.random.Generator,
) -> None:
    documents = chunks // _CHUNKS_A_DOCUMENT
    # Loaded as it stands after the flip: the protocol's own checks are not what is timed.
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        """
        INSERT INTO builds (document_id, generation, epoch, state, chunk_count)
        SELECT gen_random_uuid(), 1, 0, 'ready', %(each)s
        FROM generate_series(1, %(documents)s)
        """,
        {"each": _CHUNKS_A_DOCUMENT, "documents": documents},
    )
    connection.execute(
        """
        INSERT INTO documents
            (id, bucket, name, collection, active_build, active_generation, language, metadata)
        SELECT document_id, 'benchmark', 'document-' || id,
               CASE WHEN id / 1000 % 2 = 0 THEN 'even' ELSE 'odd' END,
               id, 1, 'en', jsonb_build_object(
                   'hundredth', (id % 100)::text, 'thousandth', (id % 1000)::text
               )
        FROM builds
        """
    )
    connection.execute("CREATE TEMP TABLE texts_made (build_id bigint, ordinal integer, text text)")
    with connection.cursor().copy("COPY texts_made FROM STDIN") as copy:
        for number in range(chunks):
            text = " ".join(random_.sample(known, 8))[:1000]
            copy.write_row(
                (
                    1 + number // _CHUNKS_A_DOCUMENT,
                    number % _CHUNKS_A_DOCUMENT,
                    searchable_text(text, language="en"),
                )
            )
    connection.execute(
        """
        INSERT INTO chunks
            (build_id, ordinal, text, heading, header, char_start, char_end, content_hash, search)
        SELECT build_id, ordinal, text, 'Title', '', 0, length(text), '',
               to_tsvector('english', text)
        FROM texts_made
        """
    )
    vectors = _near(centres, chunks, generator)
    with connection.cursor().copy(
        "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN"
    ) as copy:
        for number, vector in enumerate(vectors):
            place = 1 + number // _CHUNKS_A_DOCUMENT, number % _CHUNKS_A_DOCUMENT
            copy.write_row((1, *place, "[" + ",".join(f"{x:.4f}" for x in vector) + "]"))
    connection.execute("RESET session_replication_role")
    connection.execute("VACUUM ANALYZE")


def _near(
    centres: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    chosen = centres[generator.integers(0, len(centres), count)]
    vectors = chosen + generator.normal(size=chosen.shape)
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def _question(known: list[str], random_: random.Random) -> str:
    words = random_.choice(known).split() + random_.choice(known).split()
    return " ".join(random_.sample(words, min(12, len(words)))) + "?"


def _time(
    connection: Connection,
    questions: list[str],
    vectors: NDArray[np.float32],
    *,
    filter_: Filter,
) -> tuple[str, str, str, str]:
    times, processor, hits = [], [], 0
    connection.execute("SET ROLE kaydang_query")
    connection.execute("SELECT set_config('kaydang.principals', '[\"key:benchmark\"]', false)")
    used = _processor_time(connection)
    for number, (question, vector) in enumerate(zip(questions, vectors, strict=True)):
        before = used()
        started = time.perf_counter()
        found = search(
            connection, question=question, embedding=vector, limit=10, filter=filter_
        ).hits
        if number >= _WARM_UP:
            times.append(1000 * (time.perf_counter() - started))
            processor.append(used() - before)
            hits += len(found)
    connection.execute("RESET ROLE")
    return (
        f"{statistics.median(times):.1f}",
        f"{statistics.quantiles(times, n=20)[-1]:.1f}",
        f"{statistics.median(processor):.1f}",
        f"{hits / len(times):.1f}",
    )


def _processor_time(connection: Connection) -> Callable[[], float]:
    """Return a function that tells the milliseconds of processor time of the server process."""
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return lambda: int(schedule.read_text().split()[0]) / 1e6


if __name__ == "__main__":
    main()
