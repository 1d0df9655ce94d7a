"""JSON and JSON lines: a line a value, under the path that leads to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .blocks import Block, Event, Request, Title, clean, corrupt, paragraph
from .decoding import declared_charset, decode_stream
from .notebooks import is_notebook, notebook_events

_TITLE_KEYS = ("title", "name", "subject", "headline")
_MAX_PLAIN_CHARS = 300
_OBJECT = object()
# Strings, which stay; closing brackets without the comma before them; comments.
# A string or a comment that nothing ends goes to the end, so that none is looked for twice.
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*+"?)|,\s*+([}\]])|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)


def parse_json(request: Request) -> Iterator[Event]:
    """Yield the values of a JSON document; a list of objects is a record each."""
    text = "".join(decode_stream(request.source, declared=declared_charset(request.content_type)))
    try:
        # Two values at most are held: a list of records, or records one after another.
        for number, value in enumerate(_values_of(text)):
            if number == 0 and isinstance(value, dict) and (title := _title(value)):
                yield Title(title)
            if is_notebook(value):
                yield from notebook_events(value, figures=request.figures)
            elif isinstance(value, list):
                for item in value:
                    yield from _record(item)
            else:
                yield from _record(value)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise corrupt(
            f"The file is not valid JSON{where}. Correct it and upload it again."
        ) from error
    except RecursionError as error:
        raise corrupt("The JSON is nested too deeply.") from error


def parse_json_lines(request: Request) -> Iterator[Event]:
    """Yield a record for each line."""
    rest = ""
    number = 0
    pieces = decode_stream(request.source, declared=declared_charset(request.content_type))
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        for line in lines:
            number += 1
            yield from _json_line(line, number)
    yield from _json_line(rest, number + 1)


def _json_line(line: str, number: int) -> Iterator[Event]:
    if not line.strip():
        return
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise corrupt(
            f"Line {number} is not valid JSON. Correct it and upload the file again."
        ) from error
    yield from _record(value)


def _title(value: dict[str, Any]) -> str:
    for key in _TITLE_KEYS:
        found = value.get(key)
        if isinstance(found, str) and 0 < len(found.strip()) <= 200:
            return " ".join(clean(found).split())
    return ""


def _record(value: Any) -> Iterator[Block]:
    """Yield a line for each value: "path.to.key: value"."""
    gap = "\n\n"
    for path, leaf in _leaves(value):
        if leaf is _OBJECT:
            gap = "\n\n"
            continue
        text = clean(_plain(leaf))
        if not text.strip():
            continue
        line = f"{path}: {text}" if path else text
        if len(line) > _MAX_PLAIN_CHARS:
            yield from paragraph(line, gap=gap)
            gap = "\n\n"
            continue
        # A short line needs no cut.
        yield Block("item", line, gap=gap)
        gap = "\n"


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every leaf in order, _OBJECT before those of an object in a list."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, current = waiting.pop()
        if isinstance(current, dict):
            if path.endswith("]"):
                yield path, _OBJECT
            waiting.extend(
                (f"{path}.{key}" if path else str(key), item)
                for key, item in reversed(current.items())
            )
        elif isinstance(current, list) and any(isinstance(i, dict | list) for i in current):
            waiting.extend((f"{path}[{i}]", item) for i, item in reversed([*enumerate(current)]))
        elif isinstance(current, list):
            yield path, ", ".join(_plain(item) for item in current)
        else:
            yield path, current


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    return "" if value is None else json.dumps(value)


def _values(text: str) -> Iterator[Any]:
    """
    Yield the values of a JSON text, of which some files have several.

    Raises:
        ValueError: What stands there is no value.
        RecursionError: It is nested too deeply.
    """
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = _skip(text, at)


def _values_of(text: str) -> Iterator[Any]:
    """Yield the values of a JSON text, also of one with comments, as editors' settings have."""
    some = False
    try:
        for value in _values(text):
            some = True
            yield value
    except ValueError:
        if some or not _COMMENT.search(text):
            raise
        yield from _values(_COMMENT.sub(_without_comment, text))


def _without_comment(found: re.Match[str]) -> str:
    return found[1] or found[2] or ""


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,\x1e\ufeff":
        at += 1
    return at
