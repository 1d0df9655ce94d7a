"""
Time the search statement over many chunks: python -m benchmarks.retrieval [--chunks N]

Makes a database of its own on a local PostgreSQL, with N chunks of sentences of Python's own
documentation (pydoc_data.topics) in new orders, with random unit vectors around a few hundred
centres, and asks questions made of their words: all documents, and with filters (a number in the
metadata below a bound) that 50 to 0.01 % of the documents pass; first by exact scan, then with the
HNSW index; last as a caller to whom half of the documents are closed. All with the rights of the
query function, so that row-level security holds. Recall is that of the vector leg: how many of the
ten chunks that are nearest in truth, among those that pass, it returns. Processor time is that of
the server's process, so that other work on the machine disturbs it less.
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
from shared.values import Comparison, Filter

from .running import open_database, sentences

_DIMENSION = 384
_CHUNKS_A_DOCUMENT = 10
_CENTRES = 400
_WARM_UP = 5
_SHARES = (1, 0.5, 0.1, 0.01, 0.001, 0.0001)
# Coprime to any number of documents that is not its multiple: those that pass lie apart.
_STEP = 7_919
# Vectors are kept in half precision.
_TIE = 1e-3


@click.command(help=__doc__)
@click.option("--chunks", default=100_000, show_default=True)
@click.option("--questions", default=60, show_default=True)
def main(chunks: int, questions: int) -> None:
    """Print the table."""
    random_ = random.Random(1)
    generator = np.random.default_rng(1)
    known = sentences()
    table = Table(
        "vectors", "closed", "pass", "p50 ms", "p95 ms", "server CPU p50 ms", "hits", "recall@10"
    )
    memory = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    with open_database(memory, dimension=_DIMENSION) as database:
        connection = database.connection
        centres = generator.normal(size=(_CENTRES, _DIMENSION))
        made = _fill(connection, chunks, known, centres, random_, generator)
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
            documents = chunks // _CHUNKS_A_DOCUMENT
            for share in _SHARES:
                bound = max(1, int(documents * share))
                below = Comparison("metadata", "lt", (bound,), key="position")
                passing = _passing(chunks, bound=bound, closed=closed)
                table.add_row(
                    index,
                    closed,
                    f"{share:.2%}",
                    *_time(
                        connection,
                        asked,
                        vectors,
                        filter_=Filter(where=below if share < 1 else None),
                        passing=passing,
                        made=made,
                    ),
                )
    Console(width=100).print(table)


def _fill(
    connection: Connection,
    chunks: int,
    known: list[str],
    centres: NDArray[np.float64],
    random_: random.Random,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Load the chunks and return their vectors in the order of build and ordinal."""
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
               CASE WHEN id / 1000 %% 2 = 0 THEN 'even' ELSE 'odd' END,
               id, 1, 'en',
               jsonb_build_object('position', (id * %(step)s %% %(documents)s)::text)
        FROM builds
        """,
        {"step": _STEP, "documents": documents},
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
    return vectors


def _passing(chunks: int, *, bound: int, closed: str) -> NDArray[np.bool_]:
    """Return for each chunk whether its document passes, and may be read."""
    documents = chunks // _CHUNKS_A_DOCUMENT
    builds = 1 + np.arange(chunks) // _CHUNKS_A_DOCUMENT
    passes: NDArray[np.bool_] = builds * _STEP % documents < bound
    return passes & (builds // 1000 % 2 == 0) if closed == "half" else passes


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
    passing: NDArray[np.bool_],
    made: NDArray[np.float32],
) -> tuple[str, str, str, str, str]:
    times, processor, hits, recalls = [], [], 0, []
    candidates = made[passing]
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
            nearest = search(
                connection,
                question=question,
                embedding=vector,
                limit=10,
                filter=filter_,
                per_document=10,
                mode="vector",
            ).hits
            similarities = np.sort(candidates @ vector)[::-1][:10]
            if len(similarities):
                good = sum(hit.similarity >= similarities[-1] - _TIE for hit in nearest)
                recalls.append(good / len(similarities))
    connection.execute("RESET ROLE")
    return (
        f"{statistics.median(times):.1f}",
        f"{statistics.quantiles(times, n=20)[-1]:.1f}",
        f"{statistics.median(processor):.1f}",
        f"{hits / len(times):.1f}",
        f"{statistics.mean(recalls):.3f}" if recalls else "-",
    )


def _processor_time(connection: Connection) -> Callable[[], float]:
    """Return a function that tells the milliseconds of processor time of the server process."""
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return lambda: int(schedule.read_text().split()[0]) / 1e6


if __name__ == "__main__":
    main()
