"""Cursors: where a page of a list ends, as an opaque token for clients."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from shared.store import ListOrder

from .problems import ProblemRaised, bad_field

_PLACES: dict[ListOrder, TypeAdapter[tuple[object, ...]]] = {
    "name": TypeAdapter(tuple[str, UUID]),
    "updated": TypeAdapter(tuple[datetime, UUID]),
    "size": TypeAdapter(tuple[int, UUID]),
    "state": TypeAdapter(tuple[str, str, UUID]),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    Where the page before ended.

    Attributes:
        total: How many documents there were in all when the first page was read.
    """

    order: ListOrder
    descending: bool
    place: tuple[object, ...]
    total: int

    def encode(self) -> str:
        """Return it as a client gets it."""
        place = [key if isinstance(key, str | int) else str(key) for key in self.place]
        data = json.dumps([self.order, self.descending, self.total, *place])
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def decode_cursor(text: str, *, order: ListOrder, descending: bool) -> Cursor:
    """
    Return the cursor in *text*.

    Raises:
        ProblemRaised: It is no cursor of a list in this order.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found, falling, total, *place = json.loads(data)
        if (found, falling) != (order, descending) or not _is_number(total):
            raise _refusal()
        cursor = Cursor(order, descending, _PLACES[order].validate_python(tuple(place)), total)
    except (ValueError, TypeError, RecursionError, ValidationError) as error:
        raise _refusal() from error
    if not all(map(_is_storable, cursor.place)):
        raise _refusal()
    return cursor


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_storable(key: object) -> bool:
    if isinstance(key, int):
        return 0 <= key < 2**63
    # Neither NUL nor half a surrogate pair is text to the database.
    return not isinstance(key, str) or not any(
        sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in key
    )


def _refusal() -> ProblemRaised:
    return bad_field(
        "cursor",
        "does not belong to this list: repeat the other parameters of the page that returned it",
    )
