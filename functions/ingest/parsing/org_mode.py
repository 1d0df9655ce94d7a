"""
Org mode: headings, lists, terms, tables and code; inline marks stay as they stand.

Source: https://orgmode.org/worg/org-syntax.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from .blocks import Event, Request, Title, clean_line, read_all
from .decoding import declared_charset, decode
from .prose import Prose, indent_of
from .tables import Row

_HEADING = re.compile(r"(\*{1,12})\s+(.*)$")
_STATE = re.compile(r"(?:TODO|DONE|NEXT|WAITING|CANCELLED|CANCELED|STARTED|HOLD)\s+")
_PRIORITY = re.compile(r"\[#[A-Z0-9]\]\s*")
_TAGS = re.compile(r"\s{1,40}:[\w@#%:]{1,200}:\s{0,40}$")
_KEYWORD = re.compile(r"\s*#\+([\w-]{1,40}):\s*(.*)$")
_BEGIN = re.compile(r"\s*#\+begin_(\w{1,40})\b", re.IGNORECASE)
_DRAWER = re.compile(r"\s*:[\w-]{1,40}:\s*$")
_ITEM = re.compile(r"(\s*)([-+]|\d{1,4}[.)])\s+(?:\[@\d+\]\s*)?(.*)$|(\s+)(\*)\s+(.*)$")
_LINK = re.compile(r"\[\[([^\]\n]{1,1000})\](?:\[([^\]\n]{1,500})\])?\]")
_CODE = frozenset(["src", "example", "export", "verse"])


def parse_org(request: Request) -> Iterator[Event]:
    """Yield the blocks of an Org document."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    lines = _Lines(text.splitlines())
    prose = Prose()
    title = ""
    for line in lines:
        if found := _HEADING.match(line):
            name = _PRIORITY.sub("", _STATE.sub("", _TAGS.sub("", found[2]), count=1), count=1)
            yield from prose.heading(_shown(name), level=len(found[1]))
        elif found := _BEGIN.match(line):
            kind = found[1].lower()
            end = f"#+end_{kind}"
            if kind in _CODE:
                yield from prose.code(list(_until(lines, end)))
            elif kind == "comment":
                list(_until(lines, end))
            else:
                yield from prose.flush()
        elif found := _KEYWORD.match(line):
            if found[1].lower() == "title":
                yield Title(clean_line(found[2]))
            elif found[1].lower() == "caption":
                title = clean_line(found[2])
        elif re.match(r"\s*#(?:\s|\+|$)", line):
            continue
        elif _DRAWER.match(line):
            if line.strip().upper() != ":END:":
                list(_until(lines, ":end:"))
        elif line.lstrip().startswith("|"):
            yield from prose.table(_table(line, lines), title=title)
            title = ""
        else:
            yield from _text(prose, line)
    yield from prose.flush()


class _Lines:
    """Lines of which one can be put back."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.at = 0

    def __iter__(self) -> Iterator[str]:
        while self.at < len(self.lines):
            self.at += 1
            yield self.lines[self.at - 1]

    def put_back(self) -> None:
        self.at -= 1


def _text(prose: Prose, line: str) -> Iterator[Event]:
    if not line.strip():
        yield from prose.flush()
    elif line.lstrip().startswith(": ") and not prose.lines:
        yield from prose.code([line.lstrip()[2:]])
    elif (found := _ITEM.match(line)) and (not prose.lines or prose.kind == "item"):
        mark, text = (found[2], found[3]) if found[2] else (found[5], found[6])
        term, separator, rest = text.partition(" :: ")
        if separator:
            yield from prose.term(_shown(term))
            text = rest
        else:
            yield from prose.item(" " * min(indent_of(line), 16) + mark.replace("*", "-"))
        prose.add(_shown(text))
    else:
        prose.add(_shown(line.strip()))


def _until(lines: _Lines, end: str) -> Iterator[str]:
    for line in lines:
        if line.strip().lower() == end:
            return
        yield line


def _table(first: str, lines: _Lines) -> list[Row]:
    """Return the rows of a table; those above its first rule name the columns."""
    rows: list[list[str]] = []
    rule = 0
    for line in chain([first], lines):
        inner = line.strip()
        if not inner.startswith("|"):
            lines.put_back()
            break
        if inner.startswith("|-"):
            rule = rule or len(rows)
        else:
            cells = inner.removeprefix("|").removesuffix("|").split("|")
            rows.append([_shown(clean_line(cell)) for cell in cells])
    heads = rule if rule < len(rows) else 0
    return [Row(row, (number < heads) or None) for number, row in enumerate(rows)]


def _shown(text: str) -> str:
    """Return *text* with the names of its links in their place."""
    return _LINK.sub(lambda found: found[2] or found[1], text)
