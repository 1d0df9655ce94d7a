"""
What a filter costs, and what it loses: python -m benchmarks.filtered

Over a copy of the larger store that `make bench ARGS=--prepare` filled, with its index of vectors.
Documents are dealt out to collections, and to folders of the same names, that hold 50, 10, 1 and .1
per cent of them. Each question searches one of them by its vector alone: recall is the share of the
ten chunks that an exact scan of the same filter finds. CPU is that of the server. Writes
benchmarks/results/filtered-*.json and the table of docs/scaling.md.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from local.roles import make_login
from shared.embedding.embedder import Embedder
from shared.search.statement import search
from shared.settings import DatabaseSettings
from shared.store import Connection, open_pool, reading
from shared.values import Filter

from .compare import MODEL_DIR, bench_server
from .corpus import corpus_folders, questions
from .question_cost import copied_store
from .recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)

DOCUMENT = ROOT / "docs" / "scaling.md"
_LIMIT = 10
_WARM_UP = 10
# Of a thousand documents: how many are in the collection of this name.
_SHARES = {"half": 500, "tenth": 100, "hundredth": 10, "thousandth": 1}
# Rounding of a half-precision vector: copies of one text are equally near.
_EQUAL = 1e-5


def deal_out(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Put each document into a collection and a folder of its name; return their chunks."""
    cases, first = [], 0
    for name, share in _SHARES.items():
        first += share
        cases.append(f"WHEN place < {first} THEN '{name}'")
    connection.execute(
        f"""
        UPDATE documents
        SET collection = dealt.collection,
            name = dealt.collection || '/' || documents.name
        FROM (
            SELECT id, CASE {" ".join(cases)} ELSE 'rest' END AS collection
            FROM (
                SELECT id, (row_number() OVER (ORDER BY md5(name)) * 7919) % 1000 AS place
                FROM documents
            ) AS places
        ) AS dealt
        WHERE dealt.id = documents.id
        """
    )
    connection.execute("VACUUM ANALYZE documents")
    rows = connection.execute(
        "SELECT collection, sum(chunk_count) FROM live_documents GROUP BY collection"
    ).fetchall()
    return {name: int(chunks) for name, chunks in rows}


def find_exactly(
    connection: psycopg.Connection[Any], vectors: Sequence[NDArray[np.float32]], collection: str
) -> list[float]:
    """Return for each question the similarity of the tenth nearest chunk of a collection."""
    dimension = len(vectors[0])
    return [
        connection.execute(
            f"""
            SELECT 1 - max(distance)
            FROM (
                -- No index serves a sum.
                SELECT (embedding::halfvec({dimension}) <=> %(asked)s) + 0 AS distance
                FROM live_embeddings
                WHERE %(collection)s IN (collection, '')
                ORDER BY 1
                LIMIT {_LIMIT}
            ) AS nearest
            """,
            {"asked": HalfVector(vector), "collection": collection},
        ).fetchall()[0][0]
        for vector in vectors
    ]


def measure_filter(
    open_reader: Any,
    asked: Sequence[str],
    vectors: Sequence[NDArray[np.float32]],
    wanted: Filter,
    tenth: Sequence[float],
) -> dict[str, float]:
    """Return recall and CPU of the product's search with a filter."""
    used, shares = [], []
    for number, (question, vector) in enumerate(zip(asked, vectors, strict=True)):
        with open_reader() as reader:
            before = _cpu_ms(reader)
            hits = search(
                reader,
                question=question,
                embedding=vector,
                limit=_LIMIT,
                per_document=1000,
                filter=wanted,
                mode="vector",
            ).hits
            if number >= _warm_up(asked):
                used.append(_cpu_ms(reader) - before)
        near = sum(hit.similarity >= tenth[number] - _EQUAL for hit in hits)
        shares.append(min(1.0, near / _LIMIT))
    return {
        "recall_at_10": round(statistics.mean(shares), 4),
        "cpu_ms": round(statistics.mean(used), 2),
    }


def _warm_up(asked: Sequence[str]) -> int:
    """Return after how many questions CPU counts."""
    return min(_WARM_UP, len(asked) // 2)


def _cpu_ms(connection: Connection) -> float:
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text()
    return int(schedule.split()[0]) / 1e6


def measure_filters(
    owner_url: str, asked: Sequence[str], vectors: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """Deal the documents of a store out, and measure each filter over it."""
    rows = []
    with (
        psycopg.connect(owner_url, autocommit=True) as owner,
        open_pool(
            DatabaseSettings.model_validate(
                {"database_url": make_login(owner_url, group="kaydang_query")}
            )
        ) as pool,
    ):
        register_vector(owner)
        chunks = deal_out(owner)
        whole = sum(chunks.values())
        for collection in ("", *_SHARES):
            tenth = find_exactly(owner, vectors, collection)
            filters: Mapping[str, Filter] = (
                {
                    "collection": Filter(collection=collection),
                    "prefix": Filter(prefix=f"{collection}/"),
                }
                if collection
                else {"none": Filter()}
            )
            for name, wanted in filters.items():
                found = measure_filter(lambda: reading(pool, ()), asked, vectors, wanted, tenth)
                rows.append({"filter": name, "chunks": chunks.get(collection, whole), **found})
                click.echo(rows[-1], err=True)
    return {"chunks": whole, "filtered_questions": len(asked) - _warm_up(asked), "rows": rows}


def measure(*, count: int) -> dict[str, Any]:
    """Measure each filter over the larger store."""
    machine = describe_machine()
    embedder = Embedder(MODEL_DIR)
    asked = questions(corpus_folders(), count=count + _WARM_UP)
    vectors = [embedder.embed_query(question) for question in asked]
    with (
        bench_server() as server_url,
        copied_store(server_url, "large", "filtered") as owner_url,
    ):
        return {"machine": machine, **measure_filters(owner_url, asked, vectors)}


def write_filters(result: dict[str, Any], *, command: str = "filtered") -> str:
    """Return a table of docs/scaling.md."""
    rows = [
        (
            row["filter"],
            f"{100 * row['chunks'] / result['chunks']:.3g} %",
            f"{row['chunks']:,}",
            f"{row['recall_at_10']:.3f}",
            f"{row['cpu_ms']:.1f}",
        )
        for row in result["rows"]
    ]
    said = (
        f"`python -m benchmarks.{command}`: {result['chunks']:,} chunks under HNSW,"
        f" {result['filtered_questions']} questions a row, vectors alone; recall against an exact"
        " scan of the same filter."
    )
    header = ("filter", "passes", "chunks", "recall@10", "CPU ms")
    return "\n\n".join([said, make_table(header, rows), describe_run(result)])


@click.command(help=__doc__)
@click.option("--questions", "count", default=60, show_default=True)
@click.option("--tables", is_flag=True, help="Only write the table of the newest result again.")
def main(*, count: int, tables: bool) -> None:
    """Measure, write the result and the table."""
    if not tables:
        click.echo(write_result("filtered", measure(count=count)))
    show_latest("filtered", document=DOCUMENT, blocks={"filtered": write_filters})


if __name__ == "__main__":
    main()
