"""
The tables of documents: stored with a build, and computed with under the caller's rights.

A plan is made of column numbers and values that were checked against the table; no text of a caller
or a model becomes SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from shared.store.connection import Connection
from shared.tables import Column, Row, Table

# Rows sent to the server at a time while a build is staged.
_ROWS_AT_A_TIME = 1_000
# Rows that a computed value names as what it was computed from.
MAX_SOURCES = 100

Operator = Literal[
    "eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "prefix", "empty", "not_empty"
]
Function = Literal["count", "sum", "avg", "min", "max", "count_distinct"]
Value = str | Decimal | date

_COMPARISONS: dict[str, str] = {
    "eq": "=",
    "ne": "<>",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """
    What one column of a row must hold.

    Attributes:
        column: From 0.
        values: Of the column's type; one but for "in", none for "empty" and "not_empty".
    """

    column: int
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions of which all, one or none must hold."""

    kind: Literal["and", "or", "not"]
    parts: tuple[Condition | Combination, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A value computed over rows; *column* is None for their count."""

    function: Function
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Sort by output *place*, from 0."""

    place: int
    descending: bool = False


@dataclass(frozen=True, slots=True)
class TablePlan:
    """
    What to compute over one table.

    Attributes:
        columns: What to show of each row; with aggregates what to group by.
        aggregates: None of them: rows are shown as they are.
        totals: Whether rows that add up others take part.
    """

    columns: tuple[int, ...]
    aggregates: tuple[Aggregate, ...] = ()
    where: Condition | Combination | None = None
    order: tuple[Order, ...] = ()
    limit: int = 100
    totals: bool = False


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table of a document that answers now."""

    document_id: UUID
    bucket: str
    name: str
    generation: int
    table: Table
    row_count: int

    @property
    def id(self) -> str:
        """Return what names the table as long as the document keeps its order of tables."""
        return f"{self.document_id}.{self.table.number}"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Where a row of the table stands in its document."""

    number: int
    char_start: int
    char_end: int
    page: int | None


@dataclass(frozen=True, slots=True)
class TableResult:
    """
    What a plan gave.

    Attributes:
        rows: By line: of plain columns the cells as shown, of aggregates what was computed.
        sources: By line, the rows that it comes from, at most MAX_SOURCES.
        source_counts: By line, how many there are.
        is_cut: There are more lines than the plan's limit.
        totals_left_out: Rows that are totals of others and were left out.
    """

    rows: list[list[str | Decimal | date | int | None]]
    sources: list[list[SourceRow]]
    source_counts: list[int]
    is_cut: bool
    totals_left_out: int


def insert_tables(
    connection: Connection, build_id: int, tables: Iterable[tuple[Table, Iterable[Row]]]
) -> None:
    """Store tables with their rows; a table without rows is left out."""
    for table, rows in tables:
        iterator = iter(rows)
        page = list(islice(iterator, _ROWS_AT_A_TIME))
        if not page:
            continue
        connection.execute(
            """
            INSERT INTO tables (build_id, number, title, page, columns, row_count)
            VALUES (%s, %s, %s, %s, %s, 0)
            """,
            (
                build_id,
                table.number,
                table.title,
                table.page,
                Jsonb(list(map(asdict, table.columns))),
            ),
        )
        count = 0
        while page:
            # Not COPY, which PostgreSQL refuses where row-level security holds.
            connection.cursor().executemany(
                """
                INSERT INTO table_rows (build_id, table_number, number, char_start, char_end, page,
                                        is_total, cells, numbers, dates)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s::text[], %s::numeric[], %s::date[])
                """,
                [
                    (
                        *(build_id, table.number, row.number, row.char_start, row.char_end),
                        *(row.page, row.is_total, list(row.cells)),
                        *(list(row.numbers), list(row.dates)),
                    )
                    for row in page
                ],
            )
            count += len(page)
            page = list(islice(iterator, _ROWS_AT_A_TIME))
        connection.execute(
            "UPDATE tables SET row_count = %s WHERE build_id = %s AND number = %s",
            (count, build_id, table.number),
        )


def list_tables(
    connection: Connection, document_ids: Sequence[UUID], *, limit: int
) -> list[StoredTable]:
    """Return the tables of documents, those that the caller may read, in order."""
    return [
        _stored(row)
        for row in connection.execute(
            f"{_TABLES} WHERE document_id = ANY(%(ids)s)"
            " ORDER BY document_id, number LIMIT %(limit)s",
            {"ids": list(document_ids), "limit": limit},
        )
    ]


def get_table(connection: Connection, document_id: UUID, number: int) -> StoredTable | None:
    """Return one table, None if the caller may read none of this number."""
    row = connection.execute(
        f"{_TABLES} WHERE document_id = %(id)s AND number = %(number)s",
        {"id": document_id, "number": number},
    ).fetchone()
    return None if row is None else _stored(row)


_TABLES = """
    SELECT document_id, bucket, name, generation, number, title, page, columns, row_count
    FROM live_tables
"""


def _stored(row: Sequence[Any]) -> StoredTable:
    document_id, bucket, name, generation, number, title, page, columns, row_count = row
    table = Table(number, title, page, tuple(Column(**column) for column in columns))
    return StoredTable(document_id, bucket, name, generation, table, row_count)


def read_distinct(
    connection: Connection, stored: StoredTable, column: int, *, limit: int
) -> list[str] | None:
    """Return the different cells of a column; None if there are more than *limit*."""
    rows = connection.execute(
        sql.SQL(
            """
            SELECT DISTINCT cells[{column}]
            FROM live_table_rows
            WHERE document_id = %(document_id)s AND table_number = %(number)s AND NOT is_total
            LIMIT %(limit)s
            """
        ).format(column=sql.Literal(column + 1)),
        {
            "document_id": stored.document_id,
            "number": stored.table.number,
            "limit": limit + 1,
        },
    ).fetchall()
    return None if len(rows) > limit else [row[0] for row in rows if row[0]]


def run_plan(connection: Connection, stored: StoredTable, plan: TablePlan) -> TableResult:
    """Compute *plan* over the table as it answers now."""
    parameters: dict[str, Any] = {
        "document_id": stored.document_id,
        "number": stored.table.number,
        "limit": plan.limit + 1,
        "sources": MAX_SOURCES,
    }
    columns = stored.table.columns
    conditions = [sql.SQL("document_id = %(document_id)s AND table_number = %(number)s")]
    matching = (
        _where(plan.where, columns, parameters) if plan.where is not None else sql.SQL("true")
    )
    if not plan.totals:
        conditions.append(sql.SQL("NOT is_total"))
    where = sql.SQL(" AND ").join([*conditions, matching])
    shown = [_cell(column) for column in plan.columns]
    keys = [_typed(column, columns) for column in plan.columns]
    computed = [_computed(aggregate, columns) for aggregate in plan.aggregates]
    outputs: list[sql.Composable]
    places: list[sql.Composable]
    if plan.aggregates:
        outputs = [
            *(sql.SQL("min({})").format(cell) for cell in shown),
            *computed,
            sql.SQL("count(*)"),
            sql.SQL(
                "(array_agg(ARRAY[number, char_start, char_end, coalesce(page, -1)]"
                " ORDER BY number))[1:{}]"
            ).format(sql.Literal(MAX_SOURCES)),
        ]
        places = [*(sql.SQL("min({})").format(key) for key in keys), *computed]
        group = sql.SQL("GROUP BY {}").format(sql.SQL(", ").join(keys)) if keys else sql.SQL("")
        last = sql.SQL("min(number)")
    else:
        outputs = [
            *shown,
            sql.SQL("1"),
            sql.SQL("ARRAY[ARRAY[number, char_start, char_end, coalesce(page, -1)]]"),
        ]
        places, group, last = [*keys], sql.SQL(""), sql.SQL("number")
    order = [
        sql.SQL("{} {} NULLS LAST").format(
            places[each.place], sql.SQL("DESC" if each.descending else "ASC")
        )
        for each in plan.order
    ]
    statement = sql.SQL(
        "SELECT {outputs} FROM live_table_rows WHERE {where} {group}"
        " ORDER BY {order} LIMIT %(limit)s"
    ).format(
        outputs=sql.SQL(", ").join(outputs),
        where=where,
        group=group,
        order=sql.SQL(", ").join([*order, last]),
    )
    found = connection.execute(statement, parameters).fetchall()
    lines = found[: plan.limit]
    width = len(outputs) - 2
    return TableResult(
        rows=[list(line[:width]) for line in lines],
        sources=[
            [
                SourceRow(n, start, end, None if page < 0 else page)
                for n, start, end, page in line[-1] or []
            ]
            for line in lines
        ],
        source_counts=[line[-2] for line in lines],
        is_cut=len(found) > plan.limit,
        totals_left_out=0 if plan.totals else _count_totals(connection, parameters),
    )


def _count_totals(connection: Connection, parameters: dict[str, Any]) -> int:
    row = connection.execute(
        """
        SELECT count(*)
        FROM live_table_rows
        WHERE document_id = %(document_id)s AND table_number = %(number)s AND is_total
        """,
        parameters,
    ).fetchone()
    return 0 if row is None else int(row[0])


def _cell(column: int) -> sql.Composed:
    return sql.SQL("cells[{}]").format(sql.Literal(column + 1))


def _folded(text: sql.Composable) -> sql.Composed:
    """Return the form in which texts are equal: NFKC, lower case, single spaces."""
    return sql.SQL("lower(normalize(btrim(regexp_replace({}, '\\s+', ' ', 'g')), NFKC))").format(
        text
    )


def _typed(column: int, columns: Sequence[Column]) -> sql.Composed:
    kind = columns[column].type
    if kind == "text":
        return _folded(_cell(column))
    array = sql.SQL("numbers" if kind == "number" else "dates")
    return sql.SQL("{}[{}]").format(array, sql.Literal(column + 1))


def _computed(aggregate: Aggregate, columns: Sequence[Column]) -> sql.Composable:
    if aggregate.column is None:
        return sql.SQL("count(*)")
    value = _typed(aggregate.column, columns)
    if aggregate.function == "count":
        return sql.SQL("count(nullif(btrim({}), ''))").format(_cell(aggregate.column))
    if aggregate.function == "count_distinct":
        filled = sql.SQL("FILTER (WHERE btrim({}) <> '')").format(_cell(aggregate.column))
        return sql.SQL("count(DISTINCT {}) {}").format(value, filled)
    return sql.SQL("{}({})").format(sql.SQL(aggregate.function), value)


def _where(
    part: Condition | Combination, columns: Sequence[Column], parameters: dict[str, Any]
) -> sql.Composable:
    if isinstance(part, Combination):
        parts = [_where(inner, columns, parameters) for inner in part.parts]
        if part.kind == "not":
            return sql.SQL("NOT ({})").format(sql.SQL(" OR ").join(parts))
        joined = sql.SQL(" AND " if part.kind == "and" else " OR ").join(parts)
        return sql.SQL("({})").format(joined)
    cell = _cell(part.column)
    if part.operator in ("empty", "not_empty"):
        empty = sql.SQL("(btrim(coalesce({}, '')) = '')").format(cell)
        return empty if part.operator == "empty" else sql.SQL("NOT {}").format(empty)
    value = _typed(part.column, columns)
    is_text = columns[part.column].type == "text"
    named: list[sql.Composable] = []
    for each in part.values:
        name = f"value_{len(parameters)}"
        parameters[name] = each
        place: sql.Composable = sql.Placeholder(name)
        named.append(_folded(sql.SQL("{}::text").format(place)) if is_text else place)
    if part.operator == "in":
        test: sql.Composable = sql.SQL("{} IN ({})").format(value, sql.SQL(", ").join(named))
    elif part.operator == "contains":
        test = sql.SQL("strpos({}, {}) > 0").format(value, named[0])
    elif part.operator == "prefix":
        test = sql.SQL("starts_with({}, {})").format(value, named[0])
    else:
        test = sql.SQL("{} {} {}").format(value, sql.SQL(_COMPARISONS[part.operator]), named[0])
    # An empty cell is neither equal nor unequal to anything, and NOT must not turn that round.
    return sql.SQL("coalesce({}, false)").format(test)


def read_chunks_at(
    connection: Connection, document_id: UUID, positions: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the chunks of a document that hold one of *positions*, as fields of a Hit."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            """
        SELECT DISTINCT ON (ordinal)
               document_id, bucket, name, collection, generation, build_id, ordinal, text, heading,
               header, page, char_start, char_end, source
        FROM live_chunks
        JOIN unnest(%(positions)s::integer[]) AS wanted (position)
            ON wanted.position >= char_start AND wanted.position < char_end
        WHERE document_id = %(document_id)s
        ORDER BY ordinal
        """,
            {"document_id": document_id, "positions": list(positions)},
        )
        .fetchall()
    )
