"""
What an HNSW graph finds among texts that are nearly alike: python -m benchmarks.near_duplicates

The vectors are those of the larger corpus of `make bench`: each chunk's own and turned copies of
it, about twenty of each among 100,000. A question's ten nearest are therefore copies of one chunk
or two, and a graph whose nodes know little more than their own copies falls into islands. For each
way to build the index and each breadth of the search: recall@10 against the exact order, how often
the best chunk is missed, and what it costs. The questions are those of `make bench`.

CPU is that of the server's processes; fsync is off. A search is the vector index's alone.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from shared.embedding.embedder import Embedder
from shared.store import Connection

from . import recording
from .corpus import corpus_folders, questions, turn_copies
from .environments import CACHE
from .running import model_dir_option, open_database
from .scaling import Clock

DOCUMENT = recording.ROOT / "docs" / "scaling.md"
# (m, ef_construction): pgvector's defaults, ours, and wider nodes instead of a longer look.
GRAPHS = ((16, 64), (16, 200), (32, 64))
BREADTHS = (40, 100, 200, 400)
_NEAREST = 10
# From here on the answer is another one, not a copy of the best.
_MISSED_BY = 0.01


def load(connection: Connection, vectors: NDArray[np.float32]) -> None:
    """Make the table of *vectors*, numbered from 0."""
    connection.execute("CREATE TABLE vectors (number integer NOT NULL, embedding halfvec NOT NULL)")
    with connection.cursor().copy("COPY vectors FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "halfvec"])
        for number, vector in enumerate(vectors):
            copy.write_row((number, HalfVector(vector)))
    connection.execute("VACUUM ANALYZE vectors")


def measure(
    connection: Connection,
    vectors: NDArray[np.float32],
    asked: NDArray[np.float32],
    *,
    cpu_seconds: Callable[[], float],
    graphs: Sequence[tuple[int, int]] = GRAPHS,
) -> Iterator[dict[str, Any]]:
    """
    Build each graph over the loaded *vectors*, search it for *asked*, and drop it again.

    Args:
        vectors, asked: float32, rows of unit length.
        cpu_seconds: Of the server so far.
    """
    similarities = asked @ vectors.T
    exact = [set(row.tolist()) for row in np.argsort(-similarities)[:, :_NEAREST]]
    best = similarities.max(axis=1)
    dimension = sql.Literal(vectors.shape[1])
    nearest = sql.SQL(
        "SELECT number FROM vectors ORDER BY embedding::halfvec({}) <=> %s LIMIT {}"
    ).format(dimension, sql.Literal(_NEAREST))
    connection.execute("SET hnsw.iterative_scan = relaxed_order")
    connection.execute("SET enable_seqscan = off")
    for m, ef_construction in graphs:
        started = cpu_seconds()
        connection.execute(
            sql.SQL(
                """
                CREATE INDEX vectors_hnsw
                ON vectors
                USING hnsw ((embedding::halfvec({})) halfvec_cosine_ops)
                WITH (m = {}, ef_construction = {})
                """
            ).format(dimension, sql.Literal(m), sql.Literal(ef_construction))
        )
        build_seconds = cpu_seconds() - started
        size = connection.execute("SELECT pg_relation_size('vectors_hnsw')").fetchone()
        assert size is not None
        for breadth in BREADTHS:
            connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(breadth)])
            started = cpu_seconds()
            found = [
                [n for (n,) in connection.execute(nearest, [HalfVector(v)], prepare=True)]
                for v in asked
            ]
            used = cpu_seconds() - started
            yield {
                "m": m,
                "ef_construction": ef_construction,
                "ef_search": breadth,
                "recall_at_10": round(
                    statistics.mean(
                        len(true & set(row)) / len(true)
                        for true, row in zip(exact, found, strict=True)
                    ),
                    3,
                ),
                "best_missed": statistics.mean(
                    float(top - max(own[row], default=-1.0) > _MISSED_BY)
                    for top, own, row in zip(best, similarities, found, strict=True)
                ),
                "search_cpu_ms": round(1000 * used / len(asked), 2),
                "build_cpu_seconds": round(build_seconds, 1),
                "index_mb": round(size[0] / 2**20),
            }
        connection.execute("DROP INDEX vectors_hnsw")


def write_table(result: dict[str, Any]) -> str:
    """Return what docs/scaling.md shows of a result."""
    header = ("m", "ef_construction", "ef_search", "recall@10", "best chunk missed")
    table = recording.make_table(
        (*header, "search CPU ms", "build CPU s", "index MB"),
        [
            (
                row["m"],
                row["ef_construction"],
                row["ef_search"],
                f"{row['recall_at_10']:.3f}",
                f"{100 * row['best_missed']:.0f} %",
                f"{row['search_cpu_ms']:.2f}",
                row["build_cpu_seconds"],
                row["index_mb"],
            )
            for row in result["rows"]
        ],
    )
    title = f"{result['chunks']:,} vectors of {result['sources']:,} chunks"
    return (
        f"{title}, {result['questions']} questions:\n\n{table}\n\n{recording.describe_run(result)}"
    )


@click.command(help=__doc__)
@click.option("--chunks", default=100_000, show_default=True)
@click.option("--questions", "count", default=100, show_default=True)
@model_dir_option
@click.option("--no-result", is_flag=True, help="Print only.")
def main(chunks: int, count: int, model_dir: Path, *, no_result: bool) -> None:
    """Print the table, write a result and the table of docs/scaling.md."""
    sources = CACHE / "corpus" / "chunks.npz"
    if not sources.exists():
        raise click.ClickException(f"no {sources}: make bench ARGS=--prepare makes it")
    with np.load(sources) as saved:
        own = saved["vectors"]
    embedder = Embedder(model_dir)
    asked = np.stack(
        [embedder.embed_query(text) for text in questions(corpus_folders(files=240), count=count)]
    )
    vectors = turn_copies(own, chunks=chunks)
    machine = recording.describe_machine()
    memory = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB"}
    with open_database(memory, dimension=vectors.shape[1]) as database:
        load(database.connection, vectors)
        cpu_seconds = Clock(database.connection, database.server).seconds
        rows = list(measure(database.connection, vectors, asked, cpu_seconds=cpu_seconds))
    result = {"machine": machine, "chunks": chunks, "sources": min(chunks, len(own))}
    result |= {"questions": count, "rows": rows}
    if no_result:
        click.echo(write_table(result | {"file": "(not kept)"}))
        return
    recording.publish("near-duplicates", result, document=DOCUMENT, write_table=write_table)


if __name__ == "__main__":
    os.nice(5)
    main()
