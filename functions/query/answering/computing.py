"""The stage that computes an answer from a table, where a question asks for one by rule."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import partial

from pydantic import ValidationError

from shared.errors import GenerationUnavailable
from shared.gemini.requests import Usage
from shared.store import Connection, Pool, reading
from shared.store.tables import (
    Condition,
    SourceRow,
    StoredTable,
    TablePlan,
    TableResult,
    list_tables,
    read_chunks_at,
    read_distinct,
    run_plan,
)
from shared.tables import Column, write_number
from shared.values import Hit

from .citations import Citation
from .generation import Gemini
from .journal import Journal
from .prompt import make_table_prompt, read_table_plan
from .query import EXTRACTIVE, Answer, Query, Retrieval
from .sanitizer import quote_line
from .table_plan import PlanIn, WrongPlan, check_plan, label_of
from .table_questions import MAX_TIES, TableQuestion, looks_computed, read_question

# Documents whose tables are looked at, and tables of them.
_MAX_DOCUMENTS = 5
_MAX_TABLES = 50
# A column with more different cells names things, which the passages find.
_MAX_DISTINCT = 2_000
_MAX_CITED_ROWS = 3
# Bounds of the table descriptions for Gemini, and of the rows that its plans show.
_MAX_DESCRIBED = 8
_MAX_DESCRIBED_COLUMNS = 40
_MAX_DESCRIBED_VALUES = 30
_MAX_SHOWN_ROWS = 50

_WORDS = {
    "en": ("sum", "average", "lowest", "highest", "number of rows", "rows", "without totals"),
    "de": (
        "Summe",
        "Durchschnitt",
        "niedrigste",
        "höchste",
        "Anzahl der Zeilen",
        "Zeilen",
        "ohne Summenzeilen",
    ),
    "vi": (
        "tổng",
        "trung bình",
        "thấp nhất",
        "cao nhất",
        "số dòng",
        "dòng",
        "không tính dòng tổng",
    ),
    "es": ("suma", "promedio", "mínimo", "máximo", "número de filas", "filas", "sin totales"),
    "fr": ("somme", "moyenne", "minimum", "maximum", "nombre de lignes", "lignes", "sans totaux"),
    "pt": ("soma", "média", "mínimo", "máximo", "número de linhas", "linhas", "sem totais"),
    "it": ("somma", "media", "minimo", "massimo", "numero di righe", "righe", "senza totali"),
}


@dataclass(frozen=True, slots=True)
class _Computed:
    """
    What a plan gave over one table.

    Attributes:
        asked: What the question asks for, where a rule read it; None if Gemini made the plan.
    """

    stored: StoredTable
    plan: TablePlan
    result: TableResult
    asked: TableQuestion | None = None


def compute(
    retrieval: Retrieval,
    *,
    query: Query,
    pool: Pool,
    gemini: Gemini | None,
    journal: Journal,
) -> tuple[Retrieval, Answer | None, Usage]:
    """
    Return the answer that a table of the found documents gives, and the passages that prove it.

    A rule reads the question; where it cannot, Gemini may make the plan. None if the question
    asks for nothing that is computed, no table fits, or two would say different things.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    if not retrieval.passages or not looks_computed(retrieval.question):
        return retrieval, None, Usage()
    documents = list(dict.fromkeys(hit.document_id for hit in retrieval.passages))
    usage = Usage()
    with journal.stage("compute"):
        with reading(pool, query.principals) as connection:
            tables = list_tables(connection, documents[:_MAX_DOCUMENTS], limit=_MAX_TABLES)
            tables.sort(key=lambda stored: documents.index(stored.document_id))
            computed = _compute_by_rule(connection, tables, retrieval.question)
            described = [] if computed or gemini is None else _describe(connection, tables)
        if described and gemini is not None:
            # No connection is held while Gemini thinks.
            text, usage = _ask_for_plan(gemini, retrieval.question, described)
            with reading(pool, query.principals) as connection:
                computed = _compute_plan(connection, tables, text)
        journal.explain(
            compute={
                "tables": len(tables),
                "table": None if computed is None else computed.stored.id,
                "planned_by": None
                if computed is None
                else "gemini"
                if computed.asked is None
                else "rule",
            }
        )
        if computed is None:
            return retrieval, None, usage
        sources = [source for line in computed.result.sources for source in line[:_MAX_CITED_ROWS]][
            : 2 * _MAX_CITED_ROWS
        ]
        with reading(pool, query.principals) as connection:
            passages = _passages(connection, retrieval.passages, computed.stored, sources)
    text, citations = _write(computed, retrieval.languages, passages, sources)
    answer = Answer(
        text,
        grounded=bool(citations),
        model=EXTRACTIVE if computed.asked is not None or gemini is None else gemini.model,
        citations=citations,
        usage=usage,
    )
    return replace(retrieval, passages=passages, refusal=None), answer, usage


def _compute_by_rule(
    connection: Connection, tables: Sequence[StoredTable], question: str
) -> _Computed | None:
    found = [
        computed
        for stored in tables
        if (computed := _compute(connection, stored, question)) is not None
    ]
    if not found or any(each.result.rows != found[0].result.rows for each in found):
        return None
    return found[0]


def _describe(connection: Connection, tables: Sequence[StoredTable]) -> list[str]:
    """Return the description of each table for Gemini: names, types, values of short columns."""
    described = []
    for stored in tables[:_MAX_DESCRIBED]:
        lines = [f"Document: {stored.name}", f"Title: {stored.table.title}"]
        for place, column in enumerate(stored.table.columns[:_MAX_DESCRIBED_COLUMNS]):
            values = (
                read_distinct(connection, stored, place, limit=_MAX_DESCRIBED_VALUES)
                if column.type == "text"
                else None
            )
            told = f", one of: {'; '.join(value[:60] for value in values)}" if values else ""
            unit = f" in {column.unit}" if column.unit else ""
            lines.append(f"Column {column.name}: {column.type}{unit}{told}")
        described.append("\n".join(lines))
    return described


def _ask_for_plan(gemini: Gemini, question: str, described: Sequence[str]) -> tuple[str, Usage]:
    prompt = make_table_prompt(question, described, boundary=secrets.token_hex(12))
    try:
        return gemini.plan_table(prompt)
    except GenerationUnavailable:
        return "", Usage()  # the answer itself will name the failure


def _compute_plan(
    connection: Connection, tables: Sequence[StoredTable], text: str
) -> _Computed | None:
    """Run the plan that Gemini wrote, if it fits its table."""
    found = read_table_plan(text, tables=min(len(tables), _MAX_DESCRIBED))
    if found is None:
        return None
    place, given = found
    stored = tables[place]
    try:
        plan = check_plan(PlanIn.model_validate(given), stored.table.columns)
    except (ValidationError, WrongPlan):
        return None
    result = run_plan(connection, stored, plan)
    if not _has_figures(plan, result) or len(result.rows) > _MAX_SHOWN_ROWS:
        return None
    return _Computed(stored, plan, result)


def _has_figures(plan: TablePlan, result: TableResult) -> bool:
    """Return whether rows were found, and cells in them that are not blank."""
    if not any(result.source_counts):
        return False
    return not plan.aggregates or any(row[-1] is not None for row in result.rows)


def _compute(connection: Connection, stored: StoredTable, question: str) -> _Computed | None:
    columns = stored.table.columns
    asked = read_question(
        question,
        columns,
        names=(stored.table.title, stored.name),
        distinct=partial(read_distinct, connection, stored, limit=_MAX_DISTINCT),
    )
    if asked is None:
        return None
    result = run_plan(connection, stored, asked.plan)
    if not _has_figures(asked.plan, result):
        return None
    if asked.kind in ("max", "min"):
        assert asked.target is not None, "the highest of something"  # noqa: S101
        best = result.rows[0][asked.target]
        ties = [i for i, row in enumerate(result.rows) if row[asked.target] == best]
        if len(ties) > MAX_TIES:
            return None
        result = replace(
            result,
            rows=[result.rows[i] for i in ties],
            sources=[result.sources[i] for i in ties],
            source_counts=[1 for _ in ties],
            is_cut=False,
        )
    elif result.is_cut and asked.kind != "top":
        return None
    elif len(asked.plan.aggregates) == 2 and any(row[-1] != row[-2] for row in result.rows):
        return None  # some are named twice: rows or different ones?
    return _Computed(stored, asked.plan, result, asked)


def _passages(
    connection: Connection,
    passages: Sequence[Hit],
    stored: StoredTable,
    sources: Sequence[SourceRow],
) -> list[Hit]:
    """Return the passages, and behind them those that hold rows which no passage holds yet."""
    known = list(passages)
    missing = [source.char_start for source in sources if _holder(known, stored, source) is None]
    if missing:
        known += [
            Hit(**row, score=0.0, similarity=0.0, vector_rank=None, text_rank=None)
            for row in read_chunks_at(connection, stored.document_id, missing)
        ]
    return known


def _holder(passages: Sequence[Hit], stored: StoredTable, source: SourceRow) -> int | None:
    return next(
        (
            place
            for place, hit in enumerate(passages)
            if hit.document_id == stored.document_id
            and hit.char_start <= source.char_start < hit.char_end
        ),
        None,
    )


def _write(
    computed: _Computed,
    languages: Sequence[str],
    passages: Sequence[Hit],
    sources: Sequence[SourceRow],
) -> tuple[str, list[Citation]]:
    columns = computed.stored.table.columns
    language = next((name for name in languages if name in _WORDS), "en")
    total, average, lowest, highest, count, rows, without = _WORDS[language]
    citations = []
    for source in sources:
        place = _holder(passages, computed.stored, source)
        if place is None:
            continue
        hit = passages[place]
        end = min(source.char_end, hit.char_end)
        citations.append(
            Citation(
                number=place + 1,
                quote=hit.text[source.char_start - hit.char_start : end - hit.char_start],
                verified=True,
                char_start=source.char_start,
                char_end=end,
            )
        )
    marks = "".join(f"[{number}]" for number in dict.fromkeys(c.number for c in citations))
    asked = computed.asked
    if asked is None:
        return _write_lines(computed, rows, without, marks), citations
    words = {"sum": total, "avg": average, "min": lowest, "max": highest, "top": highest}
    name = count if asked.target is None else f"{words[asked.kind]} {columns[asked.target].name}"
    where = ", ".join(_told(condition, columns) for condition in asked.conditions)
    head = quote_line(f"{name} ({where})" if where else name)
    head = head[:1].upper() + head[1:]
    if not asked.plan.aggregates:
        lines = [
            "; ".join(
                quote_line(f"{column.name}: {cell}")
                for column, cell in zip(columns, row, strict=True)
                if cell
            )
            for row in computed.result.rows
        ]
        if len(lines) == 1:
            return f"{head}: {lines[0]} {marks}".strip(), citations
        return "\n".join(
            [f"{head}: {marks}".strip(), "", *(f"- {line}" for line in lines)]
        ), citations
    note = f"{sum(computed.result.source_counts)} {rows}"
    if computed.result.totals_left_out:
        note += f", {without}"
    column = None if asked.target is None else columns[asked.target]
    if asked.group is None:
        value = quote_line(_shown(computed.result.rows[0][0], column, asked.kind))
        return f"{head}: **{value}** ({note}) {marks}".strip(), citations
    lines = [
        f"- {quote_line(str(row[0] or '–'))}: {quote_line(_shown(row[1], column, asked.kind))}"
        for row in computed.result.rows
    ]
    return "\n".join([f"{head} ({note}): {marks}".strip(), "", *lines]), citations


def _write_lines(computed: _Computed, rows: str, without: str, marks: str) -> str:
    """Return what a plan of Gemini's gave as a table, or the one value alone."""
    columns = computed.stored.table.columns
    plan, result = computed.plan, computed.result
    shown: list[Column | None] = [columns[place] for place in plan.columns]
    labels = [columns[place].name for place in plan.columns]
    for aggregate in plan.aggregates:
        counts = aggregate.column is None or aggregate.function in ("count", "count_distinct")
        shown.append(None if counts else columns[aggregate.column or 0])
        labels.append(label_of(aggregate, columns))
    cells = [
        [_cell(_shown(value, column, "avg")) for value, column in zip(row, shown, strict=True)]
        for row in result.rows
    ]
    note = f"{sum(result.source_counts)} {rows}"
    if result.totals_left_out:
        note += f", {without}"
    if len(cells) == 1:
        pairs = [
            f"{quote_line(label)}: **{cell}**" for label, cell in zip(labels, cells[0], strict=True)
        ]
        return f"{'; '.join(pairs)} ({note}) {marks}".strip()
    lines = [
        "| " + " | ".join(map(_cell, labels)) + " |",
        "|" + " --- |" * len(labels),
        *("| " + " | ".join(row) + " |" for row in cells),
    ]
    return "\n".join([f"{note} {marks}".strip(), "", *lines])


def _told(condition: Condition, columns: Sequence[Column]) -> str:
    signs = {"eq": ":", "in": ":", "gt": " >", "gte": " ≥", "lt": " <", "lte": " ≤"}
    column = columns[condition.column]
    values = ", ".join(_shown(value, column, "") for value in condition.values)
    return f"{column.name}{signs.get(condition.operator, ':')} {values}"


def _shown(value: str | Decimal | date | int | None, column: Column | None, kind: str) -> str:
    if isinstance(value, Decimal | int):
        number = Decimal(value)
        if kind == "avg":
            number = round(number, 6)
        return str(value) if column is None else write_number(number, column)
    return "–" if value is None else str(value)


def _cell(text: str) -> str:
    return quote_line(text).replace("|", "\\|")
