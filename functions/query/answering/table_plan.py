"""
What to compute over a table, as a caller or Gemini writes it, checked against the table. Pure.

Columns are named; nothing of a plan is text of a statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from shared.store.tables import (
    Aggregate,
    Combination,
    Condition,
    Function,
    Operator,
    Order,
    TablePlan,
    Value,
)
from shared.tables import Column, read_date, read_number

from .request_body import RequestBody

MAX_ROWS = 1_000
_MAX_CONDITIONS = 50
_MAX_DEPTH = 5

_Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")]
_Given = _Text | int | float


class WrongPlan(Exception):
    """
    The plan does not fit the table.

    Attributes:
        field: Which part of it, such as "where.and[1].column".
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class ConditionIn(RequestBody):
    """What a column of a row must hold."""

    column: _Name
    op: Operator = "eq"
    value: _Given | None = Field(default=None, description="Not with in, empty and not_empty.")
    values: list[_Given] | None = Field(default=None, max_length=100, description="With in.")


class AndIn(RequestBody):
    """All must hold."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True)
    all_of: list[WhereIn] = Field(alias="and", min_length=1, max_length=_MAX_CONDITIONS)


class OrIn(RequestBody):
    """One must hold."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True)
    any_of: list[WhereIn] = Field(alias="or", min_length=1, max_length=_MAX_CONDITIONS)


class NotIn(RequestBody):
    """It must not hold."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True)
    none_of: WhereIn = Field(alias="not")


WhereIn = ConditionIn | AndIn | OrIn | NotIn


class AggregateIn(RequestBody):
    """A value computed over rows."""

    function: Function
    column: _Name | None = Field(default=None, description="Not needed for count.")


class OrderIn(RequestBody):
    """What to sort by."""

    by: _Name = Field(description="A column that is shown, or an aggregate such as sum(Amount).")
    direction: Literal["asc", "desc"] = "asc"


class PlanIn(RequestBody):
    """What to compute over a table: rows as they are, or aggregates of them."""

    select: list[_Name] | None = Field(
        default=None, max_length=256, description="Columns to show; all if left out."
    )
    where: WhereIn | None = None
    group_by: list[_Name] = Field(default_factory=list, max_length=10)
    aggregates: list[AggregateIn] = Field(default_factory=list, max_length=20)
    order_by: list[OrderIn] = Field(default_factory=list, max_length=10)
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 100
    include_totals: bool = Field(
        default=False, description="Let rows that add up others take part, such as Total."
    )


AndIn.model_rebuild()
OrIn.model_rebuild()
NotIn.model_rebuild()
PlanIn.model_rebuild()


def check_plan(plan: PlanIn, columns: Sequence[Column]) -> TablePlan:
    """
    Return *plan* in the numbers of the table's columns.

    Raises:
        WrongPlan: A column is unknown, or does not hold what is to be computed.
    """
    if plan.group_by and not plan.aggregates:
        raise WrongPlan("aggregates", "group_by needs aggregates")
    if plan.aggregates and plan.select:
        raise WrongPlan("select", "with aggregates, name the columns to show in group_by")
    if plan.aggregates:
        shown = _places(plan.group_by, columns, "group_by")
    elif plan.select is None:
        shown = tuple(range(len(columns)))
    else:
        shown = _places(plan.select, columns, "select")
    aggregates = tuple(
        _aggregate(each, columns, f"aggregates[{i}]") for i, each in enumerate(plan.aggregates)
    )
    labels = [
        *(columns[place].name for place in shown),
        *(label_of(aggregate, columns) for aggregate in aggregates),
    ]
    order = []
    for i, each in enumerate(plan.order_by):
        known = [place for place, label in enumerate(labels) if _same(label, each.by)]
        if not known:
            message = f"{each.by!r} is not shown; what is: {', '.join(labels)}"
            raise WrongPlan(f"order_by[{i}].by", message)
        order.append(Order(known[0], descending=each.direction == "desc"))
    counter = [0]
    where = None
    if plan.where is not None:
        where = _where(plan.where, columns, "where", depth=1, counter=counter)
    return TablePlan(
        columns=shown,
        aggregates=aggregates,
        where=where,
        order=tuple(order),
        limit=plan.limit,
        totals=plan.include_totals,
    )


def label_of(aggregate: Aggregate, columns: Sequence[Column]) -> str:
    """Return how a plan names an aggregate."""
    if aggregate.column is None:
        return aggregate.function
    return f"{aggregate.function}({columns[aggregate.column].name})"


def _places(names: Sequence[str], columns: Sequence[Column], field: str) -> tuple[int, ...]:
    return tuple(_place(name, columns, f"{field}[{i}]") for i, name in enumerate(names))


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _place(name: str, columns: Sequence[Column], field: str) -> int:
    for place, column in enumerate(columns):
        if _same(column.name, name):
            return place
    known = ", ".join(column.name for column in columns[:50])
    raise WrongPlan(field, f"the table has no column {name!r}; it has: {known}")


def _aggregate(each: AggregateIn, columns: Sequence[Column], field: str) -> Aggregate:
    if each.column is None:
        if each.function != "count":
            raise WrongPlan(f"{field}.column", f"{each.function} needs a column")
        return Aggregate("count")
    place = _place(each.column, columns, f"{field}.column")
    column = columns[place]
    if each.function in ("sum", "avg") and column.type != "number":
        raise WrongPlan(f"{field}.column", _no_numbers(column))
    if each.function in ("min", "max") and column.type == "text":
        raise WrongPlan(f"{field}.column", _no_numbers(column))
    return Aggregate(each.function, place)


def _no_numbers(column: Column) -> str:
    return (
        f"{column.name!r} holds {column.type}: not every cell is a number of one unit and spelling"
    )


def _where(
    part: WhereIn, columns: Sequence[Column], field: str, *, depth: int, counter: list[int]
) -> Condition | Combination:
    counter[0] += 1
    if counter[0] > _MAX_CONDITIONS or depth > _MAX_DEPTH:
        raise WrongPlan(
            field, f"at most {_MAX_CONDITIONS} conditions, nested {_MAX_DEPTH} levels deep"
        )
    if isinstance(part, ConditionIn):
        return _condition(part, columns, field)
    if isinstance(part, NotIn):
        inner = _where(part.none_of, columns, f"{field}.not", depth=depth + 1, counter=counter)
        return Combination("not", (inner,))
    kind: Literal["and", "or"] = "and" if isinstance(part, AndIn) else "or"
    parts = part.all_of if isinstance(part, AndIn) else part.any_of
    return Combination(
        kind,
        tuple(
            _where(each, columns, f"{field}.{kind}[{i}]", depth=depth + 1, counter=counter)
            for i, each in enumerate(parts)
        ),
    )


def _condition(part: ConditionIn, columns: Sequence[Column], field: str) -> Condition:
    place = _place(part.column, columns, f"{field}.column")
    column = columns[place]
    if part.op in ("empty", "not_empty"):
        return Condition(place, part.op)
    if part.op in ("contains", "prefix") and column.type != "text":
        raise WrongPlan(
            f"{field}.op", f"{part.op} is for text; {column.name!r} holds {column.type}"
        )
    if part.op in ("lt", "lte", "gt", "gte") and column.type == "text":
        raise WrongPlan(f"{field}.op", _no_numbers(column))
    given = part.values if part.op == "in" else None if part.value is None else [part.value]
    if not given:
        name = "values" if part.op == "in" else "value"
        raise WrongPlan(f"{field}.{name}", f"{part.op} needs {name}")
    return Condition(
        place, part.op, tuple(_value(each, column, f"{field}.value") for each in given)
    )


def _value(given: str | float, column: Column, field: str) -> Value:
    if column.type == "number":
        number = _number(given, column)
        if number is None:
            raise WrongPlan(field, f"{given!r} is not a number")
        return number
    if column.type == "date":
        day = _day(str(given), column)
        if day is None:
            raise WrongPlan(field, f"{given!r} is not a date such as 2026-01-31")
        return day
    return str(given)


def _number(given: str | float, column: Column) -> Decimal | None:
    try:
        number = Decimal(str(given))
    except InvalidOperation:
        return read_number(str(given), decimal=column.decimal)
    return number if number.is_finite() and abs(number.adjusted()) < 100 else None


def _day(given: str, column: Column) -> date | None:
    try:
        return date.fromisoformat(given)
    except ValueError:
        return read_date(given, day_first=column.day_first)
