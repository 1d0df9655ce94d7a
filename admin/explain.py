"""The command that explains a search: the analysis of the question, and the ranking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

import click
from psycopg import ClientCursor

from admin.terminal import json_option, one_sentence, print_json, print_table, shown
from shared.embedding.embedder import TextEmbedder
from shared.embedding.embedders import open_embedder
from shared.errors import Misconfigured
from shared.search.query_terms import Term
from shared.search.statement import Mode, PreparedSearch, SearchResult, prepare, run
from shared.settings import DatabaseSettings, ModelSettings, load
from shared.store import NO_MODEL, Connection, connect, open_pool, serving_model
from shared.values import Filter, Hit, ScoreParts

_PASSAGES = 5
_PASSAGES_OF_ONE_DOCUMENT = 3  # search()'s own default
# The numbers of a vector say nothing to a reader.
_VECTOR = re.compile(r"'\[[^']{80,}\]'")
_REASONS = {
    "vector": "by meaning",
    "text": "by its words",
    "exact": "by an identifier, phrase or file name",
    "other_language": "by its language",
    "feedback": "by its likeness to the first",
    "neighbour": "because it is beside a better one",
}


class ExplainSettings(DatabaseSettings, ModelSettings):
    """The settings of a search."""


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100), default=_PASSAGES, show_default=True)
@click.option("--prefix", default="", help="Only documents whose names begin with this.")
@click.option("--collection", help="Only the documents of this collection.")
@click.option(
    "--mode",
    type=click.Choice(["fused", "vector", "text"]),
    default="fused",
    show_default=True,
    help="Rank by meaning and words, or by one of them alone.",
)
@click.option("--sql", is_flag=True, help="Print only the statement, as psql runs it.")
@click.option("--plan", is_flag=True, help="Run EXPLAIN ANALYZE on the statement and print that.")
@json_option
def explain(
    question: tuple[str, ...],
    *,
    limit: int,
    prefix: str,
    collection: str | None,
    mode: Mode,
    sql: bool,
    plan: bool,
    as_json: bool,
) -> None:
    """
    Print how QUESTION is searched for, and why each passage has its rank.

    It asks the database itself, with the rights of DATABASE_URL: passages of closed collections are
    shown too. Words are counted over all chunks.
    """
    with one_sentence():
        settings = load(ExplainSettings)
        embedder = _load_embedder(settings)
        with open_pool(settings) as pool, connect(pool) as connection, connection.transaction():
            _require_model(connection, embedder)
            prepared = prepare(
                connection,
                question=" ".join(question),
                embedding=embedder.embed_query(" ".join(question)),
                unrelated_similarity=embedder.info.unrelated_similarity,
                multilingual=embedder.info.multilingual,
                limit=limit,
                filter=Filter(prefix=prefix or None, collection=collection),
                per_document=_PASSAGES_OF_ONE_DOCUMENT,
                mode=mode,
            )
            if prepared is None:
                raise Misconfigured(NO_MODEL)
            statement = ClientCursor(connection).mogrify(prepared.statement, prepared.values)
            if sql:
                click.echo(f"{statement.strip()};")
                return
            found = run(connection, prepared)
            lines = _plan(connection, prepared) if plan else []
    if as_json:
        print_json(_describe(prepared, found, statement, lines))
        return
    _print_question(prepared)
    _print_passages(found.hits, mode=mode)
    click.echo(f"\nThe statement (--sql prints it for psql):\n{_VECTOR.sub(_ellipsis, statement)}")
    if lines:
        click.echo("\n".join(["", *lines]))


def explain_order(hits: Sequence[Hit], *, mode: Mode) -> list[str]:
    """Return for each of *hits* the reason why it stands before the next one."""
    if mode != "fused":
        return [_REASONS[mode]] * len(hits)
    reasons = []
    for place, hit in enumerate(hits):
        if hit.parts is None:
            reasons.append("")
        elif place + 1 < len(hits) and hit.score < hits[place + 1].score:
            reasons.append(
                f"the next one is passage {_PASSAGES_OF_ONE_DOCUMENT + 1} or later of its document"
            )
        else:
            after = hits[place + 1].parts if place + 1 < len(hits) else None
            reasons.append(_explain_lead(hit.parts, after))
    return reasons


def _explain_lead(parts: ScoreParts, after: ScoreParts | None) -> str:
    others = asdict(after) if after else dict.fromkeys(asdict(parts), 0.0)
    leads = {name: value - others[name] for name, value in asdict(parts).items()}
    name = max(leads, key=lambda name: leads[name])
    return f"{_REASONS[name]} (+{leads[name]:.3f})" if leads[name] >= 0.0005 else "level with it"


def _load_embedder(settings: ExplainSettings) -> TextEmbedder:
    try:
        return open_embedder(settings.model_dir)
    except ModuleNotFoundError as error:
        # The image that runs the operator's jobs has no model.
        raise click.ClickException(
            f"{error.name} is not installed here: run ./kaydangpt explain in a checkout"
        ) from error


def _require_model(connection: Connection, embedder: TextEmbedder) -> None:
    serving = serving_model(connection)
    if serving is not None and serving.digest != embedder.info.digest:
        raise Misconfigured(
            f"{serving.name} answers, and MODEL_DIR holds {embedder.info.name}: set MODEL_DIR to"
            " the folder of the model that answers"
        )


def _plan(connection: Connection, prepared: PreparedSearch) -> list[str]:
    rows = connection.execute(
        b"EXPLAIN (ANALYZE, BUFFERS) " + prepared.statement, prepared.values
    ).fetchall()
    return [str(line) for (line,) in rows]


def _print_question(prepared: PreparedSearch) -> None:
    question, weights = prepared.question, prepared.weights
    language = ", ".join(question.languages) or "not known, so no language is preferred"
    click.echo(f"Language: {language}")
    click.echo(
        f"Weights: {weights.vector:.2f} meaning, {1 - weights.vector:.2f} words,"
        f" {weights.feedback:.2f} likeness to the first,"
        f" {-weights.other_language:.2f} another language"
    )
    if prepared.required:
        click.echo(f"Must match exactly: {_clean(prepared.required)}")
    if prepared.file_names:
        click.echo(f"May name the file: {_clean(', '.join(prepared.file_names))}")
    click.echo(f"Chunks scored by words: {_clean(prepared.candidates) or 'none'}")
    click.echo(f"\nWords, in about {question.chunks:,.0f} chunks:")
    print_table(
        ["lexeme", "chunks with it", "weight"],
        [
            (term.lexeme, f"{term.document_frequency:,}", f"{_weigh(term):.2f}")
            for term in question.terms
        ],
    )


def _print_passages(hits: Sequence[Hit], *, mode: Mode) -> None:
    click.echo("\nPassages:")
    print_table(
        [
            "",
            "passage",
            "score",
            "meaning",
            "words",
            "exact",
            "language",
            "likeness",
            "beside",
            "cosine",
            "before next",
        ],
        [
            (
                str(number),
                _show_passage(hit),
                f"{hit.score:.3f}",
                *_show_parts(hit),
                f"{hit.similarity:.3f}",
                reason,
            )
            for number, (hit, reason) in enumerate(
                zip(hits, explain_order(hits, mode=mode), strict=True), 1
            )
        ],
    )
    click.echo("Ranks in each leg, by meaning and by words: " + ", ".join(map(_show_ranks, hits)))


def _show_passage(hit: Hit) -> str:
    page = "" if hit.page is None else f", page {hit.page}"
    return f"{hit.name}{page}: {' '.join(hit.text.split())[:60]}"


def _show_parts(hit: Hit) -> list[str]:
    return [""] * 6 if hit.parts is None else [f"{part:.3f}" for part in astuple(hit.parts)]


def _show_ranks(hit: Hit) -> str:
    return f"{hit.vector_rank or '-'}/{hit.text_rank or '-'}"


def _describe(
    prepared: PreparedSearch, found: SearchResult, statement: str, plan: list[str]
) -> dict[str, Any]:
    return {
        "languages": prepared.question.languages,
        "weights": asdict(prepared.weights),
        "required": prepared.required,
        "file_names": prepared.file_names,
        "candidates": prepared.candidates,
        "chunks": prepared.question.chunks,
        "words": [
            {"lexeme": term.lexeme, "chunks": term.document_frequency, "weight": _weigh(term)}
            for term in prepared.question.terms
        ],
        "passages": [asdict(hit) for hit in found.hits],
        "statement": statement,
        "plan": plan,
    }


def _weigh(term: Term) -> float:
    return term.rarity * term.frequency


def _ellipsis(vector: re.Match[str]) -> str:
    return f"{vector.group()[:20]} ...]'"


def _clean(text: str) -> str:
    return shown(text).plain
