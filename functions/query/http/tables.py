"""The routes of tables: what a document holds of them, and what is computed over one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from shared.store import get_document, reading
from shared.store.tables import (
    StoredTable,
    TablePlan,
    TableResult,
    get_table,
    list_tables,
    run_plan,
)
from shared.tables import Column, read_date, read_number, write_number

from ..answering.table_plan import WrongPlan, check_plan, label_of
from ..dependencies import Dependencies
from .audit import note_documents
from .openapi import SECURITY, responses
from .problems import ProblemRaised, bad_field
from .replies import reply
from .schemas import (
    ColumnOut,
    ComputedRowOut,
    DocumentPath,
    SourceOut,
    TableOut,
    TablePath,
    TableQueryRequest,
    TableQueryResponse,
    TablesResponse,
)

_TABLES = Tag(name="tables", description="Exact figures from the tables of documents.")
_MAX_TABLES = 1_000


def add_tables(
    app: OpenAPI, dependencies: Dependencies, *, principals: Callable[[], tuple[str, ...]]
) -> None:
    """
    Add the routes to *app*.

    Args:
        principals: Who asks now.
    """

    @app.get(
        "/documents/<document_id>/tables",
        tags=[_TABLES],
        summary="List the tables of a document",
        operation_id="list_tables",
        responses=responses(TablesResponse, 404, 503),
        security=SECURITY,
    )
    def list_document_tables(path: DocumentPath) -> Response:
        note_documents([path.document_id])
        with reading(dependencies.pool, principals()) as connection:
            found = list_tables(connection, [path.document_id], limit=_MAX_TABLES)
            if not found and get_document(connection, path.document_id) is None:
                raise ProblemRaised(
                    HTTPStatus.NOT_FOUND, "unknown_document", "There is no document with this id."
                )
        return reply(TablesResponse(tables=[TableOut.of(stored) for stored in found]))

    @app.post(
        "/tables/<table_id>/query",
        tags=[_TABLES],
        summary="Compute over a table",
        operation_id="query_table",
        description="Sums, counts, filters and sorted rows: exact, and with their sources.",
        responses=responses(TableQueryResponse, 404, 503),
        security=SECURITY,
    )
    def query_table(path: TablePath, body: TableQueryRequest) -> Response:
        document, _, number = path.table_id.partition(".")
        with reading(dependencies.pool, principals()) as connection:
            stored = None
            if number.isdecimal() and len(number) < 7 and _is_uuid(document):
                note_documents([UUID(document)])
                stored = get_table(connection, UUID(document), int(number))
            if stored is None:
                raise ProblemRaised(
                    HTTPStatus.NOT_FOUND, "unknown_table", "There is no table with this id."
                )
            try:
                plan = check_plan(body, stored.table.columns)
            except WrongPlan as error:
                raise bad_field(error.field, error.message) from error
            result = run_plan(connection, stored, plan)
        return reply(_response(stored, plan, result))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _response(stored: StoredTable, plan: TablePlan, result: TableResult) -> TableQueryResponse:
    columns = [
        *(stored.table.columns[place] for place in plan.columns),
        *(_computed_column(plan, stored, at) for at in range(len(plan.aggregates))),
    ]
    return TableQueryResponse(
        table=TableOut.of(stored),
        columns=[ColumnOut.of(column) for column in columns],
        rows=[
            ComputedRowOut(
                values=[_value(each, column) for each, column in zip(row, columns, strict=True)],
                cells=[_cell(each, column) for each, column in zip(row, columns, strict=True)],
                sources=[SourceOut.of(source) for source in sources],
                source_count=count,
            )
            for row, sources, count in zip(
                result.rows, result.sources, result.source_counts, strict=True
            )
        ],
        truncated=result.is_cut,
        totals_left_out=result.totals_left_out,
    )


def _computed_column(plan: TablePlan, stored: StoredTable, at: int) -> Column:
    """Return the column that an aggregate makes."""
    aggregate = plan.aggregates[at]
    name = label_of(aggregate, stored.table.columns)
    if aggregate.column is None or aggregate.function in ("count", "count_distinct"):
        return Column(name, "number")
    source = stored.table.columns[aggregate.column]
    return Column(
        name,
        source.type,
        unit=source.unit,
        unit_first=source.unit_first,
        decimal=source.decimal,
        day_first=source.day_first,
    )


def _value(value: str | Decimal | date | int | None, column: Column) -> str | None:
    if isinstance(value, str):
        if column.type == "text":
            return value or None
        read = (
            read_number(value, decimal=column.decimal)
            if column.type == "number"
            else read_date(value, day_first=column.day_first)
        )
        return None if read is None else _value(read, column)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return None if value is None else str(value)


def _cell(value: str | Decimal | date | int | None, column: Column) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal | int):
        return write_number(Decimal(value), column)
    return "" if value is None else value.isoformat()
