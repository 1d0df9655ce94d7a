"""
An index of bits beside today's index of vectors: python -m benchmarks.vector_indexes

The product's tables with a million vectors (mixtures of real ones, as benchmarks.scaling makes
them; the chunks' texts are empty), under two HNSW indexes: one of binary_quantize, whose candidates
are compared again by their vectors, and then the product's own of halfvec. Recall is against the
exact order. With the product's index, its search is asked through the filters of
benchmarks.filtered as well. CPU is that of the server; fsync is off. Writes
benchmarks/results/vector_indexes-*.json and two tables of docs/scaling.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from admin.lexeme_statistics import refresh_statistics
from admin.vector_index import HNSW_EF_CONSTRUCTION, create_vector_index
from shared.embedding.embedder import Embedder
from shared.store import Connection

from .filtered import measure_filters, write_filters
from .recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)
from .running import model_dir_option, open_database
from .scaling import Clock, make_corpus, make_questions

DOCUMENT = ROOT / "docs" / "scaling.md"
_BATCH = 20_000
_PASSAGES = 1_500
_NOISE = 0.3
_LIMIT = 10
_CHUNKS_A_DOCUMENT = 20
_FILTERED_QUESTIONS = 40
# Stop words alone: the search has no words to look for.
_NO_WORDS = "What is it?"
# What is kept while the graph is searched; pgvector's limit is 1,000, and an iterative scan goes on
# from there.
_BREADTHS = {"halfvec": (200, 400, 800, 1000), "bit": (200, 400, 800, 1000, 2000, 4000)}
_MAX_EF_SEARCH = 1000
_INDEXES = {"halfvec": "embeddings_1_hnsw", "bit": "embeddings_1_bit"}
_NEAREST = {
    "halfvec": """
        SELECT build_id, ordinal
        FROM embeddings_1
        ORDER BY embedding::halfvec({dimension}) <=> %(asked)s
        LIMIT {limit}
    """,
    "bit": """
        SELECT build_id, ordinal
        FROM (
            SELECT build_id, ordinal, embedding
            FROM embeddings_1
            ORDER BY binary_quantize(embedding::halfvec({dimension}))::bit({dimension})
                <~> binary_quantize(%(asked)s::halfvec({dimension}))
            LIMIT {breadth}
        ) AS candidates
        ORDER BY embedding::halfvec({dimension}) <=> %(asked)s
        LIMIT {limit}
    """,
}


def make_vectors(real: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float16]]:
    """Yield *count* vectors in batches, each a mixture of two real ones, slightly turned."""
    chance = np.random.default_rng(1)
    for first in range(0, count, _BATCH):
        size = min(_BATCH, count - first)
        one, other = (real[chance.integers(len(real), size=size)] for _ in range(2))
        share = chance.random((size, 1), dtype=np.float32)
        turn = chance.standard_normal((size, real.shape[1]), dtype=np.float32)
        mixed = _unit(share * one + (1 - share) * other) + _NOISE * _unit(turn)
        yield _unit(mixed).astype(np.float16)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def load(
    connection: Connection,
    real: NDArray[np.float32],
    asked: NDArray[np.float32],
    *,
    count: int,
) -> list[set[tuple[int, int]]]:
    """Fill the product's tables; return the keys of the chunks nearest to each question."""
    connection.execute("SET session_replication_role = replica")
    _load_chunks(connection, documents=-(-count // _CHUNKS_A_DOCUMENT))
    best: list[list[tuple[float, int]]] = [[] for _ in asked]
    first = 0
    for batch in make_vectors(real, count):
        with connection.cursor().copy(
            "COPY embeddings (model_id, build_id, ordinal, embedding) FROM STDIN (FORMAT binary)"
        ) as copy:
            copy.set_types(["int2", "int8", "int4", "halfvec"])
            for number, vector in enumerate(batch, first):
                copy.write_row((1, *_key(number), HalfVector(vector)))
        rounded = _unit(batch.astype(np.float32))
        for kept, similarities in zip(best, asked @ rounded.T, strict=True):
            nearest = np.argpartition(-similarities, _LIMIT)[:_LIMIT]
            kept += [(float(similarities[place]), first + int(place)) for place in nearest]
            kept.sort(reverse=True)
            del kept[_LIMIT:]
        first += len(batch)
    connection.execute("RESET session_replication_role")
    connection.execute("VACUUM ANALYZE")
    refresh_statistics(connection)
    return [{_key(number) for _, number in kept} for kept in best]


def _load_chunks(connection: Connection, *, documents: int) -> None:
    """Load documents that answer, with chunks of one text."""
    values = {"documents": documents, "each": _CHUNKS_A_DOCUMENT}
    connection.execute(
        """
        INSERT INTO builds (id, document_id, generation, epoch, state, chunk_count)
        OVERRIDING SYSTEM VALUE
        SELECT number, gen_random_uuid(), 1, 0, 'ready', %(each)s
        FROM generate_series(1, %(documents)s::integer) AS number
        """,
        values,
    )
    connection.execute(
        """
        INSERT INTO documents
            (id, bucket, name, seen_generation, active_build, active_generation, language)
        SELECT document_id, 'scaling', 'loaded/' || id, 1, id, 1, 'en'
        FROM builds
        """
    )
    connection.execute(
        """
        INSERT INTO chunks
            (build_id, ordinal, text, heading, header, char_start, char_end, content_hash, search)
        SELECT build_id, ordinal, 'passage', '', '', 0, 7, sha256('passage'), ''::tsvector
        FROM generate_series(1, %(documents)s::integer) AS build_id,
             generate_series(0, %(each)s::integer - 1) AS ordinal
        """,
        values,
    )


def _key(number: int) -> tuple[int, int]:
    return 1 + number // _CHUNKS_A_DOCUMENT, number % _CHUNKS_A_DOCUMENT


def build(connection: Connection, clock: Clock, kind: str, *, dimension: int) -> dict[str, Any]:
    """Build the index of a kind with the product's options."""
    used, began = clock.seconds(), time.perf_counter()
    if kind == "halfvec":
        create_vector_index(connection, from_chunks=0)
    else:
        connection.execute(
            sql.SQL(
                """
                CREATE INDEX embeddings_1_bit ON embeddings_1
                USING hnsw (
                    (binary_quantize(embedding::halfvec({dimension}))::bit({dimension}))
                    bit_hamming_ops
                )
                WITH (ef_construction = {ef_construction})
                """
            ).format(
                dimension=sql.Literal(dimension),
                ef_construction=sql.Literal(HNSW_EF_CONSTRUCTION),
            )
        )
    row = connection.execute(
        "SELECT pg_relation_size(%(index)s::regclass)", {"index": _INDEXES[kind]}
    ).fetchone()
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(clock.seconds() - used, 1),
        "megabytes": round(row[0] / 2**20) if row else 0,
    }


def measure_breadths(
    connection: Connection,
    clock: Clock,
    kind: str,
    asked: Sequence[HalfVector],
    nearest: Sequence[set[tuple[int, int]]],
) -> list[dict[str, float]]:
    """Return recall and CPU of the index for each number of candidates."""
    rows = []
    for breadth in _BREADTHS[kind]:
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, false)", [str(min(breadth, _MAX_EF_SEARCH))]
        )
        scan = "strict_order" if breadth > _MAX_EF_SEARCH else "off"
        connection.execute("SELECT set_config('hnsw.iterative_scan', %s, false)", [scan])
        statement = (
            sql.SQL(_NEAREST[kind])
            .format(
                dimension=sql.Literal(asked[0].dimensions()),
                limit=sql.Literal(_LIMIT),
                breadth=sql.Literal(breadth),
            )
            .as_string()
        )
        search = partial(connection.execute, statement, prepare=True)
        for vector in asked[:10]:
            search({"asked": vector})
        used = clock.seconds()
        found = [set(search({"asked": vector}).fetchall()) for vector in asked]
        used = clock.seconds() - used
        rows.append(
            {
                "candidates": breadth,
                "recall_at_10": round(
                    statistics.mean(
                        len(ours & true) / _LIMIT for ours, true in zip(found, nearest, strict=True)
                    ),
                    4,
                ),
                "cpu_ms": round(1000 * used / len(asked), 2),
            }
        )
    return rows


def measure(
    *,
    vectors: int,
    questions: int,
    maintenance_mb: int,
    shared_mb: int,
    embedder: Embedder,
    folder: Path | None,
) -> dict[str, Any]:
    """Measure both indexes over the same vectors."""
    machine = describe_machine()
    corpus = make_corpus(embedder, passages=_PASSAGES)
    texts = make_questions(corpus, questions)
    asked = np.stack([embedder.embed_query(text) for text in texts])
    options = {
        "shared_buffers": f"{shared_mb}MB",
        "maintenance_work_mem": f"{maintenance_mb}MB",
        "max_parallel_maintenance_workers": "1",
        "max_wal_size": "8GB",
    }
    dimension = embedder.info.dimension
    kinds = {}
    with open_database(options, dimension=dimension, folder=folder) as database:
        connection = database.connection
        clock = Clock(connection, database.server)
        nearest = load(connection, corpus.vectors, asked, count=vectors)
        click.echo(f"{vectors:,} vectors are loaded", err=True)
        sent = [HalfVector(vector) for vector in asked]
        for kind in ("bit", "halfvec"):
            built = build(connection, clock, kind, dimension=dimension)
            click.echo(f"{kind}: {built}", err=True)
            rows = measure_breadths(connection, clock, kind, sent, nearest)
            kinds[kind] = {"build": built, "breadths": rows}
            click.echo(f"{kind}: {rows}", err=True)
            if kind == "bit":
                # The planner is to choose between the product's index and none.
                connection.execute(f"DROP INDEX {_INDEXES[kind]}")
        count = min(_FILTERED_QUESTIONS, questions)
        filters = measure_filters(database.server.url, [_NO_WORDS] * count, list(asked[:count]))
    return {
        "machine": machine,
        "vectors": vectors,
        "questions": questions,
        "maintenance_work_mem_mb": maintenance_mb,
        "kinds": kinds,
        **filters,
    }


_TITLES = {"halfvec": "vectors (halfvec)", "bit": "bits, compared again by halfvec"}


def write_table(result: dict[str, Any]) -> str:
    """Return the table of docs/scaling.md."""
    rows = [
        (
            _TITLES[kind],
            f"{row['candidates']:,}",
            f"{row['recall_at_10']:.3f}",
            f"{row['cpu_ms']:.1f}",
            found["build"]["megabytes"],
            f"{found['build']['cpu_seconds']:.0f}",
        )
        for kind, found in sorted(result["kinds"].items(), reverse=True)
        for row in found["breadths"]
    ]
    header = ("index", "candidates", "recall@10", "CPU ms", "index MB", "build CPU s")
    said = (
        f"{result['vectors']:,} vectors, {result['questions']} questions"
        " (`python -m benchmarks.vector_indexes`):"
    )
    return "\n\n".join([said, make_table(header, rows), describe_run(result)])


@click.command(help=__doc__)
@click.option("--vectors", default=1_000_000, show_default=True)
@click.option("--questions", default=100, show_default=True)
@click.option("--maintenance-mb", default=4096, show_default=True)
@click.option("--shared-mb", default=4096, show_default=True)
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the database; removed again.")
@click.option("--tables", is_flag=True, help="Only write the table of the newest result again.")
def main(
    *,
    vectors: int,
    questions: int,
    maintenance_mb: int,
    shared_mb: int,
    model_dir: Path,
    folder: Path | None,
    tables: bool,
) -> None:
    """Measure, write the result and the table."""
    if not tables:
        result = measure(
            vectors=vectors,
            questions=questions,
            maintenance_mb=maintenance_mb,
            shared_mb=shared_mb,
            embedder=Embedder(model_dir),
            folder=folder,
        )
        click.echo(write_result("vector_indexes", result))
    show_latest(
        "vector_indexes",
        document=DOCUMENT,
        blocks={
            "vector_indexes": write_table,
            "filtered-million": partial(write_filters, command="vector_indexes"),
        },
    )


if __name__ == "__main__":
    main()
