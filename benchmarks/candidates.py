"""
What the text leg scores, and what it misses: python -m benchmarks.candidates [SET ...]

The chunks of the peers' larger corpus (made by `make bench ARGS=--prepare`), and among them the
documents of SET, folders as for admin.evaluation. Some rules choose the chunks to score for the
corpus's own questions and for each set's: all that hold a word of the question, the rarest words
up to a number of chunks, and the shipped one. For each: chunks scored, processor time of the
server, and how many of the ten and fifty best among all the leg still finds; for a set nDCG@10 of
this leg alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np

from admin.evaluation import Question, measure_documents, read_set
from admin.lexeme_statistics import refresh_statistics
from shared.embedding.tokenizer import TokenCounter
from shared.language import detect_language, search_config, searchable_text
from shared.search.query_analysis import analyse
from shared.search.query_terms import Term, any_of, choose_candidates
from shared.store import Connection

from . import recording
from .corpus import corpus_folders, large_corpus, questions, read_large
from .edits import extract
from .environments import CACHE
from .running import model_dir_option, open_database
from .scaling import Clock

DOCUMENT = recording.ROOT / "docs" / "retrieval.md"
OWN = "Debian's documents"
_LEG = 50
_CHUNKS_A_DOCUMENT = 10

Rule = Callable[[Sequence[Term], float], str]


def rarest(limit: float, terms: Sequence[Term], chunks: float) -> str:
    """Return the tsquery of the rarest lexemes that are in at most *limit* chunks in all."""
    found = [term for term in terms if term.document_frequency > 0]
    looked_at = accumulate(term.document_frequency for term in found)
    chosen = [term for term, looked in zip(found, looked_at, strict=True) if looked <= limit]
    # Where even the rarest is everywhere, only several at once bound the work, by any rule.
    if not chosen:
        return choose_candidates(terms, chunks=chunks)
    return any_of(chosen)


def shipped(terms: Sequence[Term], chunks: float) -> str:
    """Return what the search itself chooses."""
    return choose_candidates(terms, chunks=chunks)


RULES: Mapping[str, Rule] = {
    "all": partial(rarest, float("inf")),
    "rarest, up to 4,000 chunks (before)": partial(rarest, 4000),
    "rarest, up to 2,000 chunks": partial(rarest, 2000),
    "shipped": shipped,
}


def load(connection: Connection, documents: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Insert documents, (name, texts of its chunks), as they stand after the flip."""
    # The protocol's own checks are not what is timed; a name stands for a document's id here.
    connection.execute("SET session_replication_role = replica")
    connection.execute(
        "CREATE TEMP TABLE brought"
        " (number bigint, ordinal integer, name text, language text, config text, text text)"
    )
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM builds").fetchone()
    first = int(row[0]) if row else 1
    with connection.cursor().copy("COPY brought FROM STDIN") as copy:
        for number, (name, texts) in enumerate(documents, first):
            language = detect_language(" ".join(texts[:3]))
            for ordinal, text in enumerate(texts):
                searchable = searchable_text(text, language=language)
                config = search_config(language)
                copy.write_row((number, ordinal, name, language, config, searchable))
    connection.execute(
        """
        INSERT INTO builds (id, document_id, generation, epoch, state, chunk_count)
        OVERRIDING SYSTEM VALUE
        SELECT number, gen_random_uuid(), 1, 0, 'ready', count(*) FROM brought GROUP BY number
        """
    )
    connection.execute(
        """
        INSERT INTO documents
            (id, bucket, name, active_build, active_generation, language)
        SELECT document_id, 'benchmark', name, number, 1, brought.language
        FROM brought
        JOIN builds ON builds.id = number
        WHERE ordinal = 0
        """
    )
    connection.execute(
        """
        INSERT INTO chunks
            (build_id, ordinal, text, heading, header, char_start, char_end, content_hash, search)
        SELECT number, ordinal, text, '', '', 0, length(text), '',
               to_tsvector(config::regconfig, text)
        FROM brought
        """
    )
    connection.execute("RESET session_replication_role")
    connection.execute("DROP TABLE brought")
    connection.execute("VACUUM ANALYZE")


def measure(
    connection: Connection,
    asked: Mapping[str, Sequence[Question]],
    *,
    cpu_seconds: Callable[[], float],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each source of questions and each rule."""
    names: dict[int, str] = dict(
        connection.execute("SELECT active_build, name FROM documents").fetchall()
    )
    for source, questions_ in asked.items():
        rows: dict[str, list[dict[str, float]]] = {rule: [] for rule in RULES}
        for question in questions_:
            with connection.transaction():
                analysed = analyse(connection, question.text).question
            best: list[Any] = []
            for rule, choose in RULES.items():
                candidates = choose(analysed.terms, analysed.chunks)
                found, row = _ask(connection, analysed.terms, candidates, cpu_seconds=cpu_seconds)
                best = best or found
                ranked = dict.fromkeys(Path(names[build]).stem for build, *_ in found)
                row["ten"] = _kept(found, best, count=10)
                row["fifty"] = _kept(found, best, count=_LEG)
                row["ndcg"] = measure_documents(list(ranked), question.gains)["ndcg"]
                rows[rule].append(row)
        for rule, measured in rows.items():
            row = {name: mean(one[name] for one in measured) for name in measured[0]}
            judged = any(question.gains for question in questions_)
            yield {
                "source": source,
                "rule": rule,
                "questions": len(measured),
                **row,
                "ndcg": row["ndcg"] if judged else None,
            }


def _ask(
    connection: Connection,
    terms: Sequence[Term],
    candidates: str,
    *,
    cpu_seconds: Callable[[], float],
) -> tuple[list[Any], dict[str, float]]:
    """Return the leg's chunks with their distances, and what they cost."""
    statement = """
        SELECT build_id, ordinal, distance
        FROM best_chunks_matching(
            %(candidates)s::tsquery,
            lexeme_query(%(lexemes)s::text[], %(weights)s::float8[]),
            ''::tsquery, 0, %(leg)s
        )
        """
    found = [term for term in terms if term.document_frequency > 0]
    values = {
        "candidates": candidates,
        "lexemes": [term.lexeme for term in found],
        "weights": [term.rarity * term.frequency for term in found],
        "leg": _LEG,
    }
    # Once before: which rule comes first must not decide whose pages are in memory.
    connection.execute(statement, values, prepare=True)
    used = cpu_seconds()
    rows = connection.execute(statement, values, prepare=True).fetchall()
    used = cpu_seconds() - used
    scored = connection.execute(
        "SELECT count(*) FROM chunks WHERE search @@ %(candidates)s::tsquery", values
    ).fetchone()
    return rows, {"scored": scored[0] if scored else 0, "cpu_ms": 1000 * used}


def _kept(found: Sequence[Any], best: Sequence[Any], *, count: int) -> float:
    """Return the share of the *count* best that were found; equally good ones stand for them."""
    if not best:
        return 1.0
    worst = float(best[:count][-1][2])
    kept = sum(distance <= worst + 1e-6 for *_, distance in found[:count])
    return float(kept / len(best[:count]))


def write_table(result: dict[str, Any]) -> str:
    """Return what docs/retrieval.md shows of a result."""
    header = ("questions of", "chunks chosen by", "scored", "CPU ms", "ten best", "fifty best")
    table = recording.make_table(
        (*header, "nDCG@10"),
        [
            (
                f"{row['source']} ({row['questions']})",
                row["rule"],
                f"{row['scored']:,.0f}",
                f"{row['cpu_ms']:.2f}",
                f"{row['ten']:.3f}",
                f"{row['fifty']:.3f}",
                "" if row["ndcg"] is None else f"{row['ndcg']:.4f}",
            )
            for row in result["rows"]
        ],
    )
    return f"{result['chunks']:,} chunks:\n\n{table}\n\n{recording.describe_run(result)}"


@click.command(help=__doc__)
@click.argument("sets", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--chunks", default=100_000, show_default=True, help="Of the larger corpus.")
@click.option("--questions", "count", default=200, show_default=True, help="Of a source, at most.")
@model_dir_option
@click.option("--no-result", is_flag=True, help="Print only.")
def main(
    sets: Sequence[Path], chunks: int, count: int, model_dir: Path, *, no_result: bool
) -> None:
    """Print the table, write a result and the table of docs/retrieval.md."""
    machine = recording.describe_machine()
    sources = CACHE / "corpus" / "chunks.npz"
    if not sources.exists():
        raise click.ClickException(f"no {sources}: make bench ARGS=--prepare makes it")
    with np.load(sources) as saved:
        texts, vectors = [str(text) for text in saved["texts"]], saved["vectors"]
    rows, _ = read_large(large_corpus(texts, vectors, chunks=chunks))
    asked: dict[str, Sequence[Question]] = {
        OWN: [
            Question(str(number), text, "en", {})
            for number, text in enumerate(questions(corpus_folders(files=240), count=count))
        ]
    }
    counter = TokenCounter(model_dir)

    def documents() -> Iterator[tuple[str, list[str]]]:
        for first in range(0, len(rows), _CHUNKS_A_DOCUMENT):
            part = rows[first : first + _CHUNKS_A_DOCUMENT]
            yield f"large-{first}.txt", [str(row["text"]) for row in part]
        for path in sets:
            for file in sorted((path / "corpus").iterdir()):
                _, pieces = extract(file.name, file.read_text("utf-8"), counter)
                yield file.name, [piece.text for piece in pieces]

    for path in sets:
        of_set = read_set(path).questions
        asked[path.name] = of_set[:: -(-len(of_set) // count)]
    memory = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
    with open_database(memory, dimension=vectors.shape[1]) as database:
        load(database.connection, documents())
        refresh_statistics(database.connection)
        clock = Clock(database.connection, database.server)
        measured = list(measure(database.connection, asked, cpu_seconds=clock.seconds))
        row = database.connection.execute("SELECT count(*) FROM chunks").fetchone()
    result = {"machine": machine, "chunks": row[0] if row else 0, "rows": measured}
    if no_result:
        click.echo(write_table(result | {"file": "(not kept)"}))
        return
    recording.publish("candidates", result, document=DOCUMENT, write_table=write_table)


if __name__ == "__main__":
    os.nice(5)
    main()
