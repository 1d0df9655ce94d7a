"""
AsciiDoc: headings, lists, terms, tables and code; inline marks stay as they stand.

Source: https://docs.asciidoctor.org/asciidoc/latest/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .blocks import Event, Request, Title, clean_line, read_all
from .decoding import declared_charset, decode
from .delimited import read_rows
from .prose import Prose
from .tables import Row, Spans

_HEADING = re.compile(r"(={1,6}|#{1,6})\s+(\S.*?)(?:\s+\1)?$")
_ATTRIBUTE = re.compile(r":(!?[\w-]{1,60}!?):(?:\s+(.*))?$")
_REFERENCE = re.compile(r"\{([\w-]{1,60})\}")
_BLOCK_ATTRIBUTES = re.compile(r"\[(?!\[)(.*)\]$")
_TITLE = re.compile(r"\.(?![.\s])(.+)$")
_CODE = re.compile(r"(-{4,}|\.{4,}|`{3,}\w*)$")
_AROUND = re.compile(r"(?:={4,}|\*{4,}|_{4,}|--|\"\")$")
_UNREAD = re.compile(r"(/{4,}|\+{4,})$")
_TABLE = re.compile(r"[|,!:]={3,}$")
_DIRECTIVE = re.compile(
    r"(?:include|ifdef|ifndef|ifeval|endif|toc|video|audio|menu|image)::([^\[]*)\[(.*)\]$"
)
_ITEM = re.compile(r"(\*{1,5}|-|\.{1,5}|\d{1,4}\.|[a-z]\.|<\d{1,3}>|<\.>)\s+(\S.*)$")
_TERM = re.compile(r"(\S.{0,200}?)(?:::{1,3}|;;)(?:\s+(.*))?$")
_CELL = re.compile(
    r"(?:(\d{1,3})?(?:\.(\d{1,3}))?([+*]))?[<^>]?(?:\.[<^>])?[adehlmsv]?(?<!\\)\|(?!=)"
)
_FOOTNOTE = re.compile(r"footnote(?:ref)?:\w{0,60}\[([^\]]{1,1000})\]")
# Links and what is written between brackets; the target alone where nothing is.
_MACRO = re.compile(
    r"(link:|xref:|mailto:|image:|kbd:|btn:|menu:|latexmath:|stem:|pass:\w?)"
    r"([^\s\[]{0,500})\[([^\]]{0,500})\]"
)
_MAX_REPEATED = 100


def parse_asciidoc(request: Request) -> Iterator[Event]:
    """Yield the blocks of an AsciiDoc document."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    yield from _Reader(text.splitlines()).read()


class _Reader:
    """Goes through the lines of one document."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.at = 0
        self.prose = Prose()
        self.attributes: dict[str, str] = {}
        self.options = ""
        self.title = ""
        self.numbers: dict[str, int] = {}

    def read(self) -> Iterator[Event]:
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip()
            self.at += 1
            yield from self._line(line)
        yield from self.prose.flush()

    def _line(self, line: str) -> Iterator[Event]:
        if not line.strip():
            yield from self.prose.flush()
            return
        opens = not self.prose.lines
        if line.startswith("//") and not _UNREAD.match(line):
            return
        if found := _UNREAD.match(line):
            self._until(found[1])
        elif found := _CODE.match(line):
            end = found[1] if found[1][0] != "`" else "```"
            yield from self.prose.code(self._until(end))
            self._forget()
        elif _TABLE.match(line):
            yield from self._table(line)
        elif _AROUND.match(line) or line in ("+", "'''", "<<<"):
            # A block of text, or what joins the next paragraph to an item.
            if line != "+":
                yield from self.prose.flush()
        elif opens and (found := _HEADING.match(line)):
            yield from self._heading(len(found[1]), self._shown(found[2]))
        elif found := _ATTRIBUTE.match(line):
            self.attributes[found[1]] = (found[2] or "")[:300]
        elif found := _BLOCK_ATTRIBUTES.match(line):
            yield from self.prose.flush()
            self.options = found[1]
        elif line.startswith("[["):
            return
        elif found := _DIRECTIVE.match(line):
            if line.startswith("image") and (text := found[2].partition(",")[0].strip('"')):
                self.prose.add(text)
        elif opens and (found := _TITLE.match(line)):
            yield from self.prose.flush()
            self.title = self._shown(found[1])
        else:
            yield from self._text(self._shown(line.strip()))

    def _heading(self, level: int, text: str) -> Iterator[Event]:
        if level == 1:
            yield Title(clean_line(text))
        self.numbers.clear()
        yield from self.prose.heading(text, level=level)

    def _text(self, line: str) -> Iterator[Event]:
        is_list = not self.prose.lines or self.prose.kind == "item"
        if self.title:
            title, self.title = self.title, ""
            self.prose.add(f"{title}\n")
        if is_list and (found := _ITEM.match(line)):
            mark = found[1]
            indent = "  " * min(len(mark) - 1, 4) if mark[0] in "*." else ""
            if mark[0] == ".":
                self.numbers[mark] = self.numbers.get(mark, 0) + 1
                for deeper in [one for one in self.numbers if len(one) > len(mark)]:
                    del self.numbers[deeper]
                mark = f"{self.numbers[mark]}."
            elif mark[0] == "*":
                mark = "-"
            yield from self.prose.item(indent + mark)
            self.prose.add(found[2])
        elif is_list and (found := _TERM.match(line)) and "://" not in found[1]:
            yield from self.prose.term(found[1])
            if found[2]:
                self.prose.add(found[2])
        else:
            if not self.prose.lines and self.prose.kind != "item":
                self.numbers.clear()
            label = self.options.partition(",")[0]
            if not self.prose.lines and label in ("NOTE", "TIP", "WARNING", "CAUTION", "IMPORTANT"):
                self.prose.add(f"{label}:")
            self.options = ""
            self.prose.add(line.removesuffix(" +"))
            if line.endswith(" +"):
                self.prose.add("\n")

    def _until(self, end: str) -> list[str]:
        found: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip()
            self.at += 1
            if line == end:
                break
            found.append(line)
        return found

    def _shown(self, line: str) -> str:
        """Return a line with the values that it names, and the texts of its links and notes."""
        line = _REFERENCE.sub(lambda found: self.attributes.get(found[1], found.group()), line)
        if ":" not in line or "[" not in line:
            return line
        line = _FOOTNOTE.sub(r" [Note: \1]", line)
        return _MACRO.sub(_macro_text, line)

    def _forget(self) -> None:
        self.options = self.title = ""

    def _table(self, line: str) -> Iterator[Event]:
        options, title = self.options, self.title
        self._forget()
        inside = self._until(line)
        if line[0] in ",:" or "format=csv" in options or "format=dsv" in options:
            delimiter = ":" if line[0] == ":" or "format=dsv" in options else ","
            text = "\n".join(one for one in inside if one.strip())
            rows = [Row([clean_line(c) for c in r]) for r in read_rows(text, delimiter=delimiter)]
        else:
            rows = list(self._rows(inside, options))
        filled = [at for at, one in enumerate(inside) if one.strip()]
        # By the language a blank line below the first one makes that the header.
        implied = len(filled) > 1 and filled[0] == 0 and filled[1] == 2 and line[0] == "|"
        if rows and ("header" in options or implied):
            rows[0] = Row(rows[0].cells, True)
        yield from self.prose.table(rows, title=title)

    def _rows(self, lines: Sequence[str], options: str) -> Iterator[Row]:
        width = _columns(options) or _cells_of_first_line(lines)
        spans = Spans()
        text = self._shown("\n".join(lines))
        found = list(_CELL.finditer(text))
        for number, cell in enumerate(found):
            end = found[number + 1].start() if number + 1 < len(found) else len(text)
            content = clean_line(text[cell.end() : end].replace("\\|", "|"))
            factor = int(cell[1] or 1)
            times = min(factor, _MAX_REPEATED) if cell[3] == "*" else 1
            for _ in range(times):
                spans.add(
                    content,
                    columns=factor if cell[3] == "+" else 1,
                    rows=int(cell[2] or 1) if cell[3] == "+" else 1,
                )
                spans.skip_to(0)
                if len(spans.cells) >= width:
                    yield Row(spans.row())
        if spans.cells:
            yield Row(spans.row())


def _macro_text(found: re.Match[str]) -> str:
    if found[1] in ("latexmath:", "stem:"):
        return found[3].strip("$")
    # A roof behind the text of a link opens a window of its own.
    return (found[3] if found[1].startswith("pass:") else found[3].partition("^")[0]) or found[2]


def _columns(options: str) -> int:
    """Return how many columns a table's attributes name, 0 if none."""
    found = re.search(r"cols\s*=\s*\"([^\"]{1,500})\"|cols\s*=\s*([\d*]+)", options)
    if found is None:
        return 0
    count = 0
    for one in re.split("[,;]", (found[1] or found[2]).strip()):
        times = re.match(r"\s*(\d{1,3})\*", one)
        count += int(times[1]) if times else 1
    if found[2] and found[2].isdecimal():
        return int(found[2])
    return count


def _cells_of_first_line(lines: Sequence[str]) -> int:
    first = next((line for line in lines if line.strip()), "")
    return max(1, sum(int(found[1] or 1) if found[3] else 1 for found in _CELL.finditer(first)))
