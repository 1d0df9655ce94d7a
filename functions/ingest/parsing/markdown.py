"""Markdown: headings, code fences and tables, the text kept as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import MAX_BLOCK_CHARS, Block, BlockKind, Event, Request, Title, cut
from .decoding import declared_charset, decode_stream
from .text import verbatim_paragraphs

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)(.*?)(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])[ \t]")
_TABLE_RULE = re.compile(r"\s*(?:\|\s*)?:?-+:?\s*(?:\|\s*:?-+:?\s*)+(?:\|\s*)?$")
_INLINE_LINK = re.compile(r"!?\[([^\]\n]{0,300})\]\([^)\n]{0,1000}\)")
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1")
_FRONT_TITLE = re.compile(r"title:\s*(.+?)\s*$")


def parse_markdown(request: Request) -> Iterator[Event]:
    """Yield the blocks of a Markdown document; their texts and gaps join to the whole file."""
    text = decode_stream(request.source, declared=declared_charset(request.content_type))
    yield from _Reader().read(verbatim_paragraphs(text))


def read_markdown(text: str) -> Iterator[Event]:
    """Yield the blocks of a Markdown text that is a part of a document."""
    yield from _Reader().read(verbatim_paragraphs(iter([text])))


class _Reader:
    """Goes through the lines of one document; lives as long as that takes."""

    def __init__(self) -> None:
        self.kind: BlockKind = "paragraph"
        self.lines: list[str] = []
        self.chars = 0
        self.gap = ""
        self.fence = ""
        self.table_header = ""
        self.in_front_matter = False
        self.at_start = True

    def read(self, paragraphs: Iterator[tuple[str, str]]) -> Iterator[Event]:
        for gap, text in paragraphs:
            for number, line in enumerate(text.split("\n")):
                yield from self._line(line, gap if number == 0 else "\n")
        yield from self._flush()

    def _line(self, line: str, gap: str) -> Iterator[Event]:
        if self.at_start:
            self.at_start = False
            if line.rstrip() == "---" and not gap:
                self.in_front_matter = True
                self._open("paragraph", line, gap)
                return
        if self.in_front_matter:
            if found := _FRONT_TITLE.match(line):
                yield Title(found.group(1).strip("\"'"))
            self._add(line, gap)
            if line.rstrip() in ("---", "..."):
                self.in_front_matter = False
                yield from self._flush()
            return
        if self.fence:
            self._add(line, gap)
            if line.strip().startswith(self.fence) and not line.strip().strip(self.fence[0]):
                self.fence = ""
                yield from self._flush()
            elif self.chars > MAX_BLOCK_CHARS:
                yield from self._flush()
            return
        if found := _FENCE.match(line):
            yield from self._flush()
            self.fence = found.group(1)
            self._open("code", line, gap)
            return
        if found := _ATX.match(line):
            yield from self._flush()
            yield self._heading(line, gap, len(found.group(1)), found.group(2))
            return
        starts_block = "\n" in gap and gap.count("\n") > 1
        if starts_block:
            yield from self._flush()
        if self.lines and self.kind == "paragraph" and len(self.lines) == 1:
            if found := _SETEXT.match(line):
                first = self.lines.pop()
                level = 1 if found.group(1)[0] == "=" else 2
                yield self._heading(f"{first}{gap}{line}", self.gap, level, first)
                return
            if "|" in self.lines[0] and _TABLE_RULE.match(line):
                self.table_header = self.lines[0]
                self.kind = "row"
                self._add(line, gap)
                header = self._take("row")
                yield from header
                self.kind = "row"
                return
        if self.kind == "row" and not starts_block and "|" in line:
            yield from (
                Block("row", part, gap=gap if i == 0 else "", header=self.table_header)
                for i, part in enumerate(cut(line))
            )
            return
        if self.kind == "row":
            self.kind = "paragraph"
        if _ITEM.match(line):
            yield from self._flush()
            self._open("item", line, gap)
            return
        if self.lines:
            self._add(line, gap)
            if self.chars > MAX_BLOCK_CHARS:
                yield from self._flush()
        else:
            self._open("paragraph", line, gap)

    def _heading(self, text: str, gap: str, level: int, label: str) -> Block:
        self.kind = "paragraph"
        if len(text) > 500:
            return Block("paragraph", text, gap=gap)
        return Block("heading", text, level=level, label=_plain(label), gap=gap)

    def _open(self, kind: BlockKind, line: str, gap: str) -> None:
        self.kind, self.lines, self.gap, self.chars = kind, [line], gap, len(line)

    def _add(self, line: str, gap: str) -> None:
        if self.lines:
            self.lines.append(gap + line)
            self.chars += len(gap) + len(line)
        else:
            self._open("code" if self.fence else self.kind, line, gap)

    def _flush(self) -> Iterator[Block]:
        yield from self._take("code" if self.fence else self.kind)
        self.kind = "paragraph"

    def _take(self, kind: BlockKind) -> Iterator[Block]:
        text, gap = "".join(self.lines), self.gap
        self.lines, self.chars = [], 0
        for part in cut(text):
            yield Block(kind, part, gap=gap)
            gap = ""


def _plain(text: str) -> str:
    """Return a heading without its link and emphasis marks."""
    text = _INLINE_LINK.sub(r"\1", text)
    return _EMPHASIS.sub(r"\2", text).strip()
