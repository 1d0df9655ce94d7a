"""Compiles filters to SQL conditions with parameters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from shared.values import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Filter,
    FilterValue,
    composed,
    plain_beginning,
)

_COLUMNS: dict[str, LiteralString] = {
    "collection": "collection",
    "content_type": "content_type",
    "language": "language",
    "updated": "object_updated",
}
_SIGNS: dict[str, LiteralString] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def compile_filter(filter: Filter) -> tuple[tuple[LiteralString, ...], dict[str, Any]]:
    """
    Return the conditions on a document's columns, none if all pass, and their values.

    Filters of one shape give the same conditions, whatever their values are.
    """
    values = _Values()
    conditions: list[LiteralString] = []
    if filter.collection is not None:
        conditions.append(f"collection = {values.add(composed(filter.collection))}")
    if filter.prefix:
        conditions.append(_begins(filter.prefix, values))
    if filter.content_type is not None:
        conditions.append(f"content_type = {values.add(filter.content_type)}")
    if filter.metadata:
        conditions.append(f"metadata @> {values.add(Jsonb(filter.metadata))}")
    if filter.updated_from is not None:
        conditions.append(f"object_updated >= {values.add(filter.updated_from)}")
    if filter.updated_to is not None:
        conditions.append(f"object_updated < {values.add(filter.updated_to)}")
    if filter.where is not None:
        parts = filter.where.parts if isinstance(filter.where, AllOf) else (filter.where,)
        conditions += [_compile(part, values) for part in parts]
    return tuple(conditions), values.by_name


class _Values:
    """The values of a statement under names of their own."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}

    def add(self, value: object) -> LiteralString:
        """Return the place of *value* in the statement."""
        name = f"filter_{len(self.by_name)}"
        self.by_name[name] = value
        return f"%({name})s"


def _compile(condition: Condition, values: _Values) -> LiteralString:
    if isinstance(condition, Comparison):
        # A comparison with NULL does not hold, just as a false one.
        return f"coalesce({_compare(condition, values)}, false)"
    parts = [_compile(part, values) for part in condition.parts]
    if not parts:
        return "true" if isinstance(condition, AllOf) else "false"
    sign: LiteralString = " OR " if isinstance(condition, AnyOf) else " AND "
    return f"({sign.join(parts)})"


def _compare(comparison: Comparison, values: _Values) -> LiteralString:
    operator, operands = comparison.operator, comparison.values
    if operator == "none_of":
        return f"NOT coalesce({_is_one_of(comparison, operands, values)}, false)"
    if operator == "any_of":
        return _is_one_of(comparison, operands, values)
    if operator == "exists":
        exists = _exists(comparison, values)
        return exists if operands[0] else f"NOT ({exists})"
    if operator == "prefix":
        if comparison.field == "name":
            return _begins(str(operands[0]), values)
        text = str(operands[0])
        if comparison.field == "collection":
            text = composed(text)
        return f"starts_with({_text(comparison, values)}, {values.add(text)})"
    operand = operands[0]
    left = _text(comparison, values)
    if comparison.field == "metadata":
        left = f"metadata_{'time' if isinstance(operand, datetime) else 'number'}({left})"
    return f"{left} {_SIGNS[operator]} {_typed(operand, values)}"


def _is_one_of(
    comparison: Comparison, operands: Sequence[FilterValue], values: _Values
) -> LiteralString:
    if comparison.field == "metadata":
        return _metadata_is_one_of(comparison, operands, values)
    texts = [str(operand) for operand in operands]
    if comparison.field == "name":
        wanted = values.add([composed(text) for text in texts])
        # Names are kept as they were uploaded; those of ASCII alone have one form, and an index.
        plain = " AND name = ANY ({0}::text[])" if "".join(texts).isascii() else ""
        return f"normalize(name, NFC) = ANY ({wanted}::text[]){plain.format(wanted)}"
    if comparison.field == "collection":
        texts = [composed(text) for text in texts]
    if len(texts) == 1:
        return f"{_COLUMNS[comparison.field]} = {values.add(texts[0])}"
    return f"{_COLUMNS[comparison.field]} = ANY ({values.add(texts)}::text[])"


def _metadata_is_one_of(
    comparison: Comparison, operands: Sequence[FilterValue], values: _Values
) -> LiteralString:
    """Compare texts as they are, numbers by their value, truth without regard to case."""
    truths = [str(value).lower() for value in operands if isinstance(value, bool)]
    numbers = [
        Decimal(str(value))
        for value in operands
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    texts = [value for value in operands if isinstance(value, str)]
    parts: list[LiteralString] = []
    if len(texts) == 1:
        parts.append(f"metadata @> {values.add(Jsonb({comparison.key: texts[0]}))}")
    elif texts:
        parts.append(f"{_text(comparison, values)} = ANY ({values.add(texts)}::text[])")
    if numbers:
        number = f"metadata_number({_text(comparison, values)})"
        parts.append(f"{number} = ANY ({values.add(numbers)}::numeric[])")
    if truths:
        parts.append(f"lower({_text(comparison, values)}) = ANY ({values.add(truths)}::text[])")
    # One of several that says nothing must not hide another that holds.
    each = [f"coalesce({part}, false)" for part in parts] or ["false"]
    return f"({' OR '.join(each)})"


def _exists(comparison: Comparison, values: _Values) -> LiteralString:
    if comparison.field == "metadata":
        return f"jsonb_exists(metadata, {values.add(comparison.key)})"
    if comparison.field == "updated":
        return "object_updated IS NOT NULL"
    return f"{_text(comparison, values)} <> ''"


def _text(comparison: Comparison, values: _Values) -> LiteralString:
    if comparison.field == "metadata":
        return f"(metadata ->> {values.add(comparison.key)}::text)"
    return "name" if comparison.field == "name" else _COLUMNS[comparison.field]


def _typed(operand: FilterValue, values: _Values) -> LiteralString:
    if isinstance(operand, datetime):
        return f"{values.add(operand)}::timestamptz"
    return f"{values.add(Decimal(str(operand)))}::numeric"


def _begins(prefix: str, values: _Values) -> LiteralString:
    # The first finds few names by their index, the second compares them in one form.
    return (
        f"(starts_with(name, {values.add(plain_beginning(prefix))})"
        f" AND starts_with(normalize(name, NFC), {values.add(composed(prefix))}))"
    )
