"""
What questions wait for while documents come: python -m benchmarks.waiting_lexemes

New rows of a GIN index stand in a list until it is full, and each search reads the list. For some
lengths of it (gin_pending_list_limit), and for none (fastupdate = off): what storing a chunk costs
the server, and what a question does right after. Each is measured in several rounds, in turn. CPU
is that of the server's processes; fsync and autovacuum are off.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from psycopg import sql

from admin.lexeme_statistics import refresh_statistics
from shared.embedding.embedder import Embedder
from shared.store import Connection
from shared.values import ObjectVersion

from . import recording
from .running import model_dir_option, open_database
from .scaling import Clock, Corpus, load_all, make_corpus, make_questions, measure_questions, stage

DOCUMENT = recording.ROOT / "docs" / "scaling.md"
# PostgreSQL's own limit is 4 MB. None: the index takes new rows at once.
LIMITS_KB = (4096, 256, 64, None)
NOISE = 0.3
_PASSAGES = 300
_CHUNKS_A_DOCUMENT = 20
_LOADED_CHUNKS = 20_000
_OF_ALL = ("stage_cpu_ms_a_chunk", "stage_ms_a_chunk", "search_cpu_ms", "search_p50_ms", "p95_ms")


def measure(
    connection: Connection,
    clock: Clock,
    corpus: Corpus,
    embedder: Embedder,
    *,
    questions: Sequence[str],
    documents: int,
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """Yield what each length of the list costs in each round."""
    for turn in range(rounds):
        for number, limit in enumerate(LIMITS_KB):
            _set_limit(connection, limit)
            first = 100_000_000 * (1 + turn * len(LIMITS_KB) + number)
            used, began = clock.seconds(), time.perf_counter()
            for document in range(documents):
                at = first + document * _CHUNKS_A_DOCUMENT
                made = [corpus.chunk(at + n, noise=NOISE)[0] for n in range(_CHUNKS_A_DOCUMENT)]
                name = f"waiting/{first + document}"
                stage(connection, ObjectVersion(bucket="scaling", name=name, generation=1), made)
            chunks = documents * _CHUNKS_A_DOCUMENT
            row: dict[str, Any] = {
                "limit_kb": limit,
                "stage_cpu_ms_a_chunk": 1000 * (clock.seconds() - used) / chunks,
                "stage_ms_a_chunk": 1000 * (time.perf_counter() - began) / chunks,
            }
            asked = measure_questions(connection, clock, embedder, questions)
            row |= {
                "search_cpu_ms": asked["search_cpu_ms"],
                "search_p50_ms": asked["search_ms"]["p50"],
                "p95_ms": asked["search_ms"]["p95"],
            }
            connection.execute("DELETE FROM documents WHERE starts_with(name, 'waiting/')")
            connection.execute("VACUUM chunks, documents, builds, batches, texts")
            yield row


def _set_limit(connection: Connection, limit_kb: int | None) -> None:
    kept = sql.SQL("fastupdate = on, gin_pending_list_limit = {}").format(sql.Literal(limit_kb))
    options = sql.SQL("fastupdate = off") if limit_kb is None else kept
    connection.execute(sql.SQL("ALTER INDEX chunks_search SET ({})").format(options))
    connection.execute("SELECT gin_clean_pending_list('chunks_search')")


def write_table(result: dict[str, Any]) -> str:
    """Return the table of docs/scaling.md: of each figure the median over the rounds."""
    rows = []
    for limit in LIMITS_KB:
        of_limit = [row for row in result["rows"] if row["limit_kb"] == limit]
        values = [statistics.median(row[name] for row in of_limit) for name in _OF_ALL]
        name = "none" if limit is None else f"{limit:,} kB"
        rows.append((name, *(f"{v:.2f}" for v in values[:2]), *(f"{v:.1f}" for v in values[2:])))
    header = (
        "list of new lexemes",
        "storing a chunk, CPU ms",
        "ms",
        "a question then, CPU ms",
        "p50 ms",
        "p95 ms",
    )
    title = f"{result['documents'] * _CHUNKS_A_DOCUMENT:,} chunks stored beside {_LOADED_CHUNKS:,}"
    table = recording.make_table(header, rows)
    return (
        f"{title}, then {result['questions']} questions; medians of {result['rounds']} rounds:\n\n"
        f"{table}\n\n{recording.describe_run(result)}"
    )


@click.command(help=__doc__)
@click.option("--documents", default=60, show_default=True, help="Stored in each round.")
@click.option("--questions", "count", default=40, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@model_dir_option
def main(documents: int, count: int, rounds: int, model_dir: Path) -> None:
    """Print the table, write a result and the table of docs/scaling.md."""
    machine = recording.describe_machine()
    embedder = Embedder(model_dir)
    corpus = make_corpus(embedder, passages=_PASSAGES)
    with open_database({"shared_buffers": "512MB"}, dimension=embedder.info.dimension) as database:
        load_all(database, corpus, first=0, last=_LOADED_CHUNKS, noise=NOISE)
        refresh_statistics(database.connection)
        rows = list(
            measure(
                database.connection,
                Clock(database.connection, database.server),
                corpus,
                embedder,
                questions=make_questions(corpus, count + 5),
                documents=documents,
                rounds=rounds,
            )
        )
    result = {"machine": machine, "documents": documents, "questions": count, "rounds": rounds}
    recording.publish(
        "waiting-lexemes", result | {"rows": rows}, document=DOCUMENT, write_table=write_table
    )


if __name__ == "__main__":
    os.nice(5)
    main()
