"""Word documents (docx), by streaming word/document.xml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .archives import Archive, XmlEvent
from .blocks import (
    MAX_BLOCK_CHARS,
    BlockKind,
    Event,
    Request,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
)
from .tables import looks_like_header

_HEADING_STYLE = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_ROMAN = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_SPACES = re.compile(r"[^\S\n]+")


@dataclass(frozen=True, slots=True)
class _Style:
    name: str
    parent: str
    outline: int | None
    numbering: str | None


@dataclass(slots=True)
class _Paragraph:
    """The paragraph being read; *text* may be given out in parts."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    style: str = ""
    outline: int | None = None
    numbering: str | None = None
    level: int = 0
    started: bool = False


@dataclass(slots=True)
class _Table:
    """The table being read: *header* is known once its first row is out."""

    header: str = ""
    rows: int = 0
    cells: list[str] | None = None
    in_cell: bool = False
    marked_header: bool = False


def parse_docx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a Word document: body, then footnotes and endnotes."""
    archive = Archive(request.source, limits=request.limits, what="Word")
    main = next(iter(archive.related("", "officeDocument")), "word/document.xml")
    for core in archive.related("", "core-properties"):
        if title := core_title(archive, core):
            yield Title(title)
    styles = _read_styles(archive, main)
    numberings = _read_numberings(archive, main)
    yield from _Reader(styles, numberings).read(archive.xml(main))
    for kind in ("footnotes", "endnotes", "comments"):
        for part in archive.related(main, kind):
            yield from _Reader(styles, numberings).read(archive.xml(part))


def core_title(archive: Archive, part: str) -> str:
    inside = False
    text: list[str] = []
    for event in archive.xml(part):
        if event.name == "title":
            inside = event.kind == "start"
        elif inside:
            text.append(event.text)
    return clean_line("".join(text))


def _read_styles(archive: Archive, main: str) -> dict[str, _Style]:
    styles: dict[str, _Style] = {}
    for part in archive.related(main, "styles"):
        identifier, name, parent, outline, numbering = "", "", "", None, None
        for event in archive.xml(part):
            value = event.attributes.get("val", "")
            if event.kind == "start":
                if event.name == "style":
                    identifier = event.attributes.get("styleId", "")
                    name, parent, outline, numbering = "", "", None, None
                elif event.name == "name":
                    name = value
                elif event.name == "basedOn":
                    parent = value
                elif event.name == "outlineLvl" and value.isdigit():
                    outline = int(value)
                elif event.name == "numId":
                    numbering = value
            elif event.kind == "end" and event.name == "style":
                styles[identifier] = _Style(name, parent, outline, numbering)
    return styles


@dataclass(frozen=True, slots=True)
class _Level:
    format: str
    text: str
    start: int


def _read_numberings(archive: Archive, main: str) -> dict[str, dict[int, _Level]]:
    """Return {numId: {level: how it is numbered}}."""
    abstract: dict[str, dict[int, _Level]] = {}
    used: dict[str, str] = {}
    for part in archive.related(main, "numbering"):
        current, number, level = "", "", 0
        form, text, start = "decimal", "", 1
        for event in archive.xml(part):
            value = event.attributes.get("val", "")
            if event.kind == "start":
                if event.name == "abstractNum":
                    current = event.attributes.get("abstractNumId", "")
                    abstract[current] = {}
                elif event.name == "lvl":
                    level = _integer(event.attributes.get("ilvl", "0"))
                    form, text, start = "decimal", "", 1
                elif event.name == "numFmt":
                    form = value or event.attributes.get("format", "") or form
                elif event.name == "lvlText":
                    text = value
                elif event.name == "start":
                    start = _integer(value)
                elif event.name == "num":
                    number = event.attributes.get("numId", "")
                elif event.name == "abstractNumId" and number:
                    used[number] = value
            elif event.kind == "end":
                if event.name == "lvl" and not number:
                    abstract[current][level] = _Level(form, text, start)
                elif event.name == "num":
                    number = ""
    return {number: abstract.get(target, {}) for number, target in used.items()}


class _Reader:
    """
    Goes through one part; stacks stand for nesting (text boxes in paragraphs, tables in cells).

    mc:Fallback repeats what mc:Choice says, deleted text and field codes are not the document's.
    """

    def __init__(self, styles: dict[str, _Style], numberings: dict[str, dict[int, _Level]]) -> None:
        self.styles = styles
        self.numberings = numberings
        self.counters: dict[str, dict[int, int]] = {}
        self.paragraphs: list[_Paragraph] = []
        self.tables: list[_Table] = []
        self.skipping = 0
        self.in_text = False
        self.gap = "\n\n"

    def read(self, events: Iterator[XmlEvent]) -> Iterator[Event]:
        for event in events:
            if self.skipping:
                self.skipping += {"start": 1, "end": -1, "text": 0}[event.kind]
            elif event.kind == "start":
                yield from self._start(event.name, event.attributes)
            elif event.kind == "end":
                yield from self._end(event.name)
            elif self.in_text and self.paragraphs:
                yield from self._append(event.text)

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Event]:
        if name in ("Fallback", "del", "moveFrom", "instrText", "delText"):
            self.skipping = 1
        elif name == "p":
            if self.paragraphs:
                # A text box stands inside a paragraph; what came before it goes out first.
                yield from self._paragraph_out(self.paragraphs[-1])
            self.paragraphs.append(_Paragraph())
        elif name == "t":
            self.in_text = True
        elif name == "tab":
            yield from self._append("\t")
        elif name in ("br", "cr"):
            yield from self._append("\n")
        elif name == "noBreakHyphen":
            yield from self._append("-")
        elif name == "tbl":
            yield from self._row_out()
            self.tables.append(_Table())
            self.gap = "\n\n"
        elif name == "tr" and self.tables:
            self.tables[-1].cells = []
            self.tables[-1].marked_header = False
        elif name == "tc" and self.tables and self.tables[-1].cells is not None:
            self.tables[-1].cells.append("")
            self.tables[-1].in_cell = True
        elif name == "tblHeader" and self.tables:
            self.tables[-1].marked_header = True
        elif self.paragraphs:
            self._property(self.paragraphs[-1], name, attributes)

    def _property(self, open_: _Paragraph, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "pStyle":
            open_.style = value
        elif name == "outlineLvl" and value.isdigit():
            open_.outline = int(value)
        elif name == "numId":
            open_.numbering = value
        elif name == "ilvl":
            open_.level = _integer(value)

    def _end(self, name: str) -> Iterator[Event]:
        if name == "t":
            self.in_text = False
        elif name == "p" and self.paragraphs:
            yield from self._paragraph_out(self.paragraphs.pop(), whole=True)
        elif name == "tc" and self.tables:
            self.tables[-1].in_cell = False
        elif name == "tr" and self.tables:
            yield from self._row_out()
            self.tables[-1].cells = None
        elif name == "tbl" and self.tables:
            self.tables.pop()
            self.gap = "\n\n"

    def _append(self, text: str) -> Iterator[Event]:
        if not self.paragraphs:
            return
        open_ = self.paragraphs[-1]
        open_.text.append(text)
        open_.chars += len(text)
        if open_.chars > 4 * MAX_BLOCK_CHARS:
            yield from self._paragraph_out(open_)

    def _paragraph_out(self, open_: _Paragraph, *, whole: bool = False) -> Iterator[Event]:
        raw = clean("".join(open_.text).replace("\xad", ""))
        text = _SPACES.sub(" ", raw).strip()
        open_.text, open_.chars = [], 0
        if not text:
            return
        started, open_.started = open_.started, True
        table = self.tables[-1] if self.tables else None
        if table is not None and table.cells and table.in_cell:
            cell = table.cells[-1]
            marker = "" if started else self._marker(open_)
            table.cells[-1] = f"{cell} {marker}{text}".strip() if cell else marker + text
            if sum(map(len, table.cells)) > 4 * MAX_BLOCK_CHARS:
                yield from self._row_out()
            return
        level = self._heading_level(open_)
        marker = "" if started else self._marker(open_)
        if level and whole and not started:
            yield from heading(marker + text.replace("\n", " "), level=level)
            self.gap = "\n\n"
            return
        kind: BlockKind = "item" if marker else "paragraph"
        gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
        yield from paragraph(marker + text, kind=kind, gap=gap)
        self.gap = "\n" if kind == "item" else "\n\n"

    def _row_out(self) -> Iterator[Event]:
        table = self.tables[-1] if self.tables else None
        if table is None or not table.cells:
            return
        cells = [cell.replace("\n", " ") for cell in table.cells]
        table.cells = [""]
        while cells and not cells[-1]:
            cells.pop()
        if not any(cells):
            return
        text = " | ".join(cells)
        first = table.rows == 0
        table.rows += 1
        if len(cells) == 1 or len(text) > 4000:
            yield from paragraph(text)
            self.gap = "\n\n"
            return
        if table.marked_header or (first and looks_like_header(cells)):
            yield from paragraph(text, kind="row", gap=self.gap)
            table.header = f"{table.header}\n{text}" if table.header else text
        else:
            yield from paragraph(text, kind="row", gap=self.gap, header=table.header)
        self.gap = "\n"

    def _style_chain(self, open_: _Paragraph) -> Iterator[_Style]:
        seen: set[str] = set()
        current = open_.style
        while current in self.styles and current not in seen:
            seen.add(current)
            yield self.styles[current]
            current = self.styles[current].parent

    def _heading_level(self, open_: _Paragraph) -> int:
        """Return the level of a heading, 1 for the document's title, 0 for body text."""
        if open_.outline is not None:
            return open_.outline + 2 if open_.outline < 9 else 0
        for style in self._style_chain(open_):
            if style.outline is not None:
                return style.outline + 2 if style.outline < 9 else 0
            if found := _HEADING_STYLE.match(style.name):
                return int(found.group(1)) + 1
            if style.name.lower() == "title":
                return 1
        if not self.styles and (found := _HEADING_STYLE.match(open_.style)):
            return int(found.group(1)) + 1
        return 0

    def _marker(self, open_: _Paragraph) -> str:
        """Return the number or bullet of a list paragraph, as Word shows it, with a space."""
        numbering = open_.numbering
        if numbering is None:
            numbering = next((s.numbering for s in self._style_chain(open_) if s.numbering), None)
        if numbering is None or numbering == "0":
            return ""
        levels = self.numberings.get(numbering, {})
        level = levels.get(open_.level, _Level("bullet", "", 1))
        counters = self.counters.setdefault(numbering, {})
        counters[open_.level] = counters.get(open_.level, level.start - 1) + 1
        for deeper in [other for other in counters if other > open_.level]:
            del counters[deeper]
        if level.format in ("bullet", "none"):
            return "- " if level.format == "bullet" else ""

        def number(found: re.Match[str]) -> str:
            index = int(found.group(1)) - 1
            its = levels.get(index, level)
            return _number(counters.get(index, its.start), its.format)

        text = re.sub(r"%([1-9])", number, level.text)
        return f"{clean_line(text)} " if text.strip() else ""


def _number(value: int, form: str) -> str:
    if form in ("lowerLetter", "upperLetter") and value > 0:
        letter = chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman") and 0 < value < 50:
        text = "xl" * (value >= 40)
        rest = value - 40 if value >= 40 else value
        for amount, letters in _ROMAN:
            count, rest = divmod(rest, amount)
            text += letters * count
        return text.upper() if form == "upperRoman" else text
    return str(value)


def _integer(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 9 else 0
