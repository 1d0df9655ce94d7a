"""The parameter *fields* of Google's JSON APIs: which parts of an answer the client wants."""

from __future__ import annotations

import re
from typing import Any

from local.emulators.objects import Invalid, Json

_Wanted = dict[str, "_Wanted"]


def select_fields(answer: Json, fields: str) -> Json:
    """
    Return the parts of *answer* that *fields* names, such as "nextPageToken,items(name,size)".

    https://cloud.google.com/storage/docs/json_api#partial-response

    Raises:
        Invalid: It is no list of names, each with its parts in parentheses.
    """
    if not fields:
        return answer
    left = re.findall(r"[A-Za-z0-9]+|.", fields)[::-1]
    wanted = _parse(left)
    if left:
        raise Invalid(f"Invalid field selection {fields}")
    selected: Json = _select(answer, wanted)
    return selected


def _parse(left: list[str]) -> _Wanted:
    wanted: _Wanted = {}
    while True:
        if not left or not left[-1].isalnum():
            raise Invalid("Invalid field selection: a name is missing")
        name = left.pop()
        wanted[name] = {}
        if left and left[-1] == "(":
            left.pop()
            wanted[name] = _parse(left)
            if not left or left.pop() != ")":
                raise Invalid("Invalid field selection: a parenthesis is not closed")
        if not left or left[-1] != ",":
            return wanted
        left.pop()


def _select(value: Any, wanted: _Wanted) -> Any:
    if isinstance(value, list):
        return [_select(item, wanted) for item in value]
    if not isinstance(value, dict) or not wanted:
        return value
    return {name: _select(value[name], parts) for name, parts in wanted.items() if name in value}
