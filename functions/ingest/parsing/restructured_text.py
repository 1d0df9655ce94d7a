"""
reStructuredText: headings, lists, terms, tables and code; inline marks stay as they stand.

Source: https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence

from .blocks import Event, Request, Title, clean_line, read_all
from .decoding import declared_charset, decode
from .delimited import read_rows
from .prose import Prose, indent_of, without_margin
from .tables import Row

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_EXPLICIT = re.compile(r"\.\.(?:\s+|$)")
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]{1,60}\|\s+)?([A-Za-z][\w:.+-]{0,60})::(?:\s+(.*))?$")
_NOTE = re.compile(r"\.\.\s+\[([^\]]{1,60})\](?:\s+(.*))?$")
_REPLACEMENT = re.compile(r"\.\.\s+\|([^|\n]{1,60})\|\s+replace::\s+(.{1,300})$", re.MULTILINE)
_OPTION = re.compile(r":([\w-]{1,40}):(?:\s+(.*))?$")
_FIELD = re.compile(r":([^:\n]{1,80}):(?:\s+(.*))?$")
_ITEM = re.compile(r"(?:[-*+•]|(?:\d{1,4}|#|[A-Za-z])[.)]|\((?:\d{1,4}|#|[A-Za-z])\))(?:\s+|$)")
_GRID = re.compile(r"\+[-=+]*[-=]\+\s*$")
_RULE = re.compile(r"=+(?:\s+=+)+\s*$")
_SPAN_RULE = re.compile(r"-+(?:\s+-+)*\s*$")
_CODE = frozenset(
    """code-block code sourcecode parsed-literal prompt ipython doctest literalinclude testcode
    testoutput productionlist graphviz uml mermaid""".split()  # noqa: SIM905 - names in rows
)
_UNREAD = frozenset(
    """contents toctree index highlight include meta raw role class default-role currentmodule
    module sectnum tabularcolumns automodule autoclass autofunction default-domain py:module
    py:currentmodule replace""".split()  # noqa: SIM905 - names in rows
)
# A role, or a link, of which the text stands before its target.
_ROLE = re.compile(
    r"(?::[\w:+.-]{1,40}:)?`([^`<\n]{1,300}?)\s*<[^>`\n]{1,500}>`_{0,2}"
    r"|(?::[\w:+.-]{1,40}:)`[~!]?([^`\n]{1,300})`"
)
_MAX_DEPTH = 20
_MAX_ROW_LINES = 500


def parse_rst(request: Request) -> Iterator[Event]:
    """Yield the blocks of a reStructuredText document."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    for name, value in _REPLACEMENT.findall(text)[:100]:
        text = text.replace(f"|{name}|", value)
    text = _ROLE.sub(lambda found: found[1] or found[2], text)
    yield from _Reader().read(text.expandtabs(8).splitlines())


class _Reader:
    """Goes through the lines of a document; *levels* are the styles of its headings so far."""

    def __init__(self) -> None:
        self.prose = Prose()
        self.levels: list[str] = []
        self.has_title = False
        self.number = 0
        # Of the table that comes next.
        self.title = ""
        # No blank line has ended what explains the last term.
        self.in_terms = False

    def read(self, lines: Sequence[str], *, depth: int = 0) -> Iterator[Event]:
        at = 0
        while at < len(lines):
            line = lines[at].rstrip()
            inner = line.lstrip()
            if not inner:
                yield from self.prose.flush()
                self.in_terms = False
                at += 1
            elif inner == ".." and not "".join(lines[at + 1 : at + 2]).strip():
                # It ends a list, or a quote.
                yield from self.prose.flush()
                at += 1
            elif _EXPLICIT.match(inner) and not self.prose.lines:
                end = _end_of_block(lines, at + 1, indent_of(line))
                yield from self._explicit(inner, lines[at + 1 : end], depth=depth)
                at = end
            elif style := _heading_style(lines, at):
                title = lines[at + 1 if len(style) == 2 else at].strip()
                yield from self._heading(title, style)
                at += 3 if len(style) == 2 else 2
            elif _ADORNMENT.match(line) and not _RULE.match(inner) and not self.prose.lines:
                yield from self.prose.flush()
                at += 1
            elif _GRID.match(inner) and not self.prose.lines:
                end = _last_of(lines, at, "+|")
                yield from self._table(list(_grid_rows(without_margin(lines[at:end]))))
                at = end
            elif _RULE.match(inner) and not self.prose.lines:
                end = _end_of_simple_table(lines, at)
                yield from self._table(list(_simple_rows(without_margin(lines[at:end]))))
                at = end
            elif self._is_term(lines, at):
                yield from self.prose.term(inner)
                self.in_terms = True
                at += 1
            else:
                at = yield from self._text(lines, at)
        yield from self.prose.flush()

    def _table(self, rows: list[Row]) -> Iterator[Event]:
        title, self.title = self.title, ""
        yield from self.prose.table(rows, title=title)

    def _heading(self, title: str, style: str) -> Iterator[Event]:
        if style not in self.levels:
            self.levels.append(style)
        level = self.levels.index(style) + 1
        if not self.has_title and level == 1:
            yield Title(clean_line(title))
        self.has_title = True
        self.number = 0
        yield from self.prose.heading(title, level=level)

    def _is_term(self, lines: Sequence[str], at: int) -> bool:
        """Return whether a line is a term, which is explained below it, set in."""
        line = lines[at]
        following = lines[at + 1] if at + 1 < len(lines) else ""
        # The next term may stand directly below an explanation.
        is_next = self.in_terms and at > 0 and indent_of(lines[at - 1]) > indent_of(line)
        return (
            (not self.prose.lines or is_next)
            and bool(following.strip())
            and indent_of(following) > indent_of(line)
            and not _ITEM.match(line.lstrip())
            and not _FIELD.match(line.lstrip())
            and not line.lstrip().startswith((">>>", "|"))
            and not line.rstrip().endswith("::")
        )

    def _text(self, lines: Sequence[str], at: int) -> Generator[Event, None, int]:
        """Take a line of a paragraph or an item; return where the next one is."""
        line = lines[at].rstrip()
        inner = line.lstrip()
        if inner.startswith(">>>") and not self.prose.lines:
            end = at
            while end < len(lines) and lines[end].strip():
                end += 1
            yield from self.prose.code(lines[at:end])
            return end
        if (found := _FIELD.match(inner)) and (not self.prose.lines or self.prose.kind == "item"):
            yield from self.prose.term(found[1])
            if found[2]:
                self.prose.add(found[2])
            return at + 1
        if (found := _ITEM.match(inner)) and (not self.prose.lines or self.prose.kind == "item"):
            marker = found.group().strip()
            if "#" in marker:
                self.number += 1
                marker = marker.replace("#", str(self.number))
            yield from self.prose.item(" " * min(indent_of(line), 16) + marker)
            inner = inner[found.end() :]
        elif inner.startswith("| "):
            self.prose.add("\n")
            inner = inner[2:]
        if inner.endswith("::"):
            text = inner[:-1].rstrip(":").rstrip() + ":" if inner.strip(":") else ""
            end = _end_of_block(lines, at + 1, indent_of(line))
            if text:
                self.prose.add(text)
            if end > at + 1:
                yield from self.prose.code(lines[at + 1 : end])
            return end
        self.prose.add(inner)
        return at + 1

    def _explicit(self, line: str, content: Sequence[str], *, depth: int) -> Iterator[Event]:
        """Yield what a line that begins with two points, and the lines set in below it, show."""
        yield from self.prose.flush()
        if found := _NOTE.match(line):
            self.prose.add(f"[{found[1]}] {found[2] or ''}")
            for more in content:
                self.prose.add(more.strip() or "\n")
            yield from self.prose.flush()
            return
        found = _DIRECTIVE.match(line)
        if found is None or depth > _MAX_DEPTH:
            # A comment, or the target of a link.
            return
        name, argument = found[1].lower(), (found[2] or "").strip()
        options, body = _split_options(content)
        if name in _UNREAD:
            return
        if name in _CODE:
            yield from self.prose.code(body)
        elif name == "math":
            self.prose.add(clean_line(" ".join([argument, *body])))
            yield from self.prose.flush()
        elif name == "csv-table":
            rows = [[clean_line(cell) for cell in row] for row in read_rows("\n".join(body))]
            heads = [[clean_line(c) for c in row] for row in read_rows(options.get("header", ""))]
            marked = _whole(options.get("header-rows", "0"))
            table = [Row(row, True) for row in heads]
            table += [Row(row, (number < marked) or None) for number, row in enumerate(rows)]
            yield from self.prose.table(table, title=argument)
        elif name == "list-table":
            marked = _whole(options.get("header-rows", "0"))
            listed = [Row(r, (n < marked) or None) for n, r in enumerate(_listed_rows(body))]
            yield from self.prose.table(listed, title=argument)
        elif name == "table":
            self.title = argument
            yield from self.read(body, depth=depth + 1)
        elif name in ("image", "figure"):
            if alternative := options.get("alt"):
                self.prose.add(alternative)
                yield from self.prose.flush()
            yield from self.read(body, depth=depth + 1)
        else:
            # A note, or what describes a function, an option and the like.
            is_term = ":" in name or name in ("function", "option", "class", "method", "envvar")
            label = argument if is_term else name.capitalize()
            if label:
                yield from self.prose.term(label)
            if argument and label is not argument:
                self.prose.add(argument)
            while body and not body[0].strip():
                body = body[1:]
            yield from self.read(body, depth=depth + 1)


def _heading_style(lines: Sequence[str], at: int) -> str:
    """Return how a heading that begins here is marked: "=" below it, "==" above it too."""
    line = lines[at].rstrip()
    if line[:1] == " " or (at and lines[at - 1].strip() and not _ADORNMENT.match(lines[at - 1])):
        return ""
    below = lines[at + 1].rstrip() if at + 1 < len(lines) else ""
    if _ADORNMENT.match(line):
        last = lines[at + 2].rstrip() if at + 2 < len(lines) else ""
        if below.strip() and last[:1] == line[:1] and _ADORNMENT.match(last):
            return 2 * line[0]
        return ""
    if below and _ADORNMENT.match(below) and len(below) + 1 >= min(len(line), 4):
        return below[0]
    return ""


def _end_of_block(lines: Sequence[str], at: int, indent: int) -> int:
    """Return where the lines end that are set in more than *indent*."""
    end = at
    while at < len(lines) and (not lines[at].strip() or indent_of(lines[at]) > indent):
        at += 1
        if lines[at - 1].strip():
            end = at
    return end


def _last_of(lines: Sequence[str], at: int, signs: str) -> int:
    while at < len(lines) and lines[at].strip() and lines[at].lstrip()[0] in signs:
        at += 1
    return at


def _end_of_simple_table(lines: Sequence[str], at: int) -> int:
    """Return where a table ends: behind a rule that a blank line follows."""
    rules = 0
    for end in range(at, len(lines)):
        if _RULE.match(lines[end].strip()):
            rules += 1
            last = end + 1 >= len(lines) or not lines[end + 1].strip()
            if rules > 1 and last:
                return end + 1
    return len(lines)


def _split_options(content: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options in the first lines of a directive, and the lines below them."""
    lines = without_margin(content)
    options: dict[str, str] = {}
    at = 0
    while at < len(lines) and (found := _OPTION.match(lines[at])):
        options[found[1]] = (found[2] or "").strip()
        at += 1
    while at < len(lines) and not lines[at].strip():
        at += 1
    return options, lines[at:]


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 4 else 0


def _listed_rows(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows of a list-table: each an item, whose items are its cells."""
    rows: list[list[str]] = []
    for line in lines:
        inner = line.strip()
        if found := re.match(r"\*\s+-(?:\s+(.*))?$", inner):
            rows.append([found[1] or ""])
        elif rows and (found := re.match(r"-(?:\s+(.*))?$", inner)) and indent_of(line) < 4:
            rows[-1].append(found[1] or "")
        elif rows and inner:
            rows[-1][-1] = f"{rows[-1][-1]} {inner}".strip()
    for row in rows:
        yield [clean_line(cell) for cell in row]


def _grid_rows(lines: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table drawn with + and |; those above +===+ name its columns."""
    edges = sorted({at for line in lines if line[:1] == "+" for at in _signs(line, "+")})
    heads = next((at for at, line in enumerate(lines) if line.startswith("+=")), 0)
    cells: list[list[str]] = [[] for _ in edges[1:]]
    for number, line in enumerate(lines):
        parts = _grid_cells(line, edges)
        if _is_grid_rule(line) and number:
            row = [clean_line(" ".join(cell)) for cell in cells]
            if any(row):
                yield Row(row, (number <= heads) or None)
            cells = [[] for _ in edges[1:]]
            # A cell that goes on through the rule.
            for column, text in parts:
                if text.strip("-=+ "):
                    cells[column].append(text)
            continue
        for column, text in parts if number else ():
            if len(cells[column]) < _MAX_ROW_LINES:
                cells[column].append(text)


def _signs(line: str, sign: str) -> list[int]:
    return [at for at, character in enumerate(line) if character == sign]


def _is_grid_rule(line: str) -> bool:
    return re.search(r"\+[-=]{2,}\+?", line) is not None and line[:1] in "+|"


def _grid_cells(line: str, edges: Sequence[int]) -> list[tuple[int, str]]:
    """Return (column, text) of each cell of a line; one may cover several columns."""
    found: list[tuple[int, str]] = []
    start = 0
    for column in range(1, len(edges)):
        if edges[column] >= len(line) or line[edges[column]] in "|+":
            found.append((start, line[edges[start] + 1 : edges[column]].strip()))
            start = column
    return found


def _simple_rows(lines: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table below rules of =; the ones between two such rules are its head."""
    starts = [found.start() for found in re.finditer("=+", lines[0])]
    rules = [at for at, line in enumerate(lines) if _RULE.match(line.strip())]
    known = set(rules)
    heads = rules[1] if len(rules) > 2 else 0
    row: list[str] = []
    for number, line in enumerate(lines):
        if number in known or not line.strip() or _SPAN_RULE.match(line.strip()):
            if row:
                yield Row(row, (number <= heads) or None)
            row = []
            continue
        ends = [*starts[1:], None]
        cells = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        if row and not cells[0]:
            # The row before goes on.
            row = [f"{a} {b}".strip() for a, b in zip(row, cells, strict=True)]
            continue
        if row:
            yield Row(row, (number <= heads) or None)
        row = cells
    if row:
        yield Row(row)
