"""
OpenDocument: texts (odt), spreadsheets (ods) and presentations (odp).

Source: OASIS OpenDocument 1.3, part 3. Cells hold their text as shown. A footnote stands behind
its sentence, a comment at the end; hidden, struck and deleted text and hidden sheets are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser

from shared.errors import Unreadable

from .archives import Archive, XmlEvent
from .blocks import (
    MAX_BLOCK_CHARS,
    Block,
    BlockKind,
    EmptyPage,
    Event,
    PageCount,
    Request,
    Terms,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    raised,
)
from .docx import core_title, show_symbols
from .figures import PackedPictures, count_uses, is_caption
from .footnotes import with_notes
from .mathml import linear_formula
from .numbering import show_count
from .reading_order import Box, reading_order
from .sheets import MAX_CELL_CHARS, MAX_COLUMNS, CellCounter, too_many_sheets, visible
from .tables import Row, Spans, TableWriter, folded, folds

_SPACES = re.compile(r"[^\S\n]+")
_SKIPPED = frozenset(
    [
        *("tracked-changes", "ruby-text", "hidden-text", "note-citation", "forms", "page-number"),
        *("page-count", "settings", "scripts", "font-face-decls", "sequence-decls"),
        "variable-decls",
    ]
)
_FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter"} | {
    "i": "lowerRoman",
    "I": "upperRoman",
    "01, 02, 03, ...": "decimalZero",
}
_SHAPES = frozenset(
    [
        *("frame", "custom-shape", "rect", "ellipse", "circle", "line", "connector", "polygon"),
        *("path", "polyline", "caption"),
    ]
)
_PREFIX = re.compile(r"<(/?)\w{1,20}:")
# Styles of terms, which the next paragraph explains: of pandoc, and of LibreOffice from HTML.
_TERMS = frozenset(["Definition_20_Term", "Definition_20_Term_20_Tight", "List_20_Heading"])
_MAX_BOXED = 1_000
_RUNNING = frozenset(["page-number", "date-time", "header", "footer"])
_LENGTH = re.compile(r"(-?[\d.]+)(cm|mm|in|pt|pc|px)?$")
_CENTIMETRES = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "pc": 2.54 / 6, "px": 2.54 / 96}
_TRANSLATION = re.compile(r"translate\s*\(\s*([-\d.a-z]+)[\s,]+([-\d.a-z]+)")
_MAX_REPEATED_COLUMNS = 256
_POINTS = 72 / 2.54
_MAX_DESCRIBED_CHARS = 1_000
_ADDRESSES = re.compile(rb'xlink:href="(?:\./)?(Pictures/[^"]{1,200})"')
# Objects (charts, formulas) within objects that are read.
_MAX_OBJECT_DEPTH = 2


@dataclass(slots=True)
class _Style:
    """What a style says that counts here; None if the one that it is based on decides."""

    parent: str = ""
    is_hidden: bool | None = None
    is_bold: bool | None = None
    is_raised: bool = False
    lists: str | None = None


@dataclass(slots=True)
class _Level:
    """How one level of a list is numbered; no *format* is a bullet."""

    format: str = ""
    prefix: str = ""
    suffix: str = ""
    shown_levels: int = 1
    start: int = 1
    is_bullet: bool = False


class _Styles:
    """The styles of a document, common and automatic."""

    def __init__(self, archive: Archive) -> None:
        self.styles: dict[str, _Style] = {}
        self.lists: dict[str, dict[int, _Level]] = {}
        self.outline: dict[int, _Level] = {}
        self.style = _Style()
        self.levels: dict[int, _Level] = {}
        if archive.has("styles.xml"):
            for event in archive.xml("styles.xml"):
                if event.kind == "start":
                    self.take(event.name, event.attributes)

    def take(self, name: str, attributes: dict[str, str]) -> None:
        """Take an element of a style."""
        if name == "style":
            self.style = _Style(
                parent=attributes.get("parent-style-name", ""),
                lists=attributes.get("list-style-name"),
            )
            self.styles[attributes.get("name", "")] = self.style
        elif name == "text-properties":
            line = attributes.get("text-line-through-style", "")
            if attributes.get("display", "") == "none" or line not in ("", "none"):
                self.style.is_hidden = True
            elif attributes.get("display", "") == "true":
                self.style.is_hidden = False
            self.style.is_raised = attributes.get("text-position", "").startswith("super")
            if weight := attributes.get("font-weight", ""):
                self.style.is_bold = weight == "bold" or (weight.isdecimal() and int(weight) > 500)
        elif name == "table-properties" and attributes.get("display", "") == "false":
            self.style.is_hidden = True
        elif name == "list-style":
            self.levels = self.lists.setdefault(attributes.get("name", ""), {})
        elif name == "outline-style":
            self.levels = self.outline
        elif name.startswith(("list-level-style-", "outline-level-style")):
            self.levels[_integer(attributes.get("level", "1"))] = _Level(
                format=attributes.get("num-format", ""),
                prefix=attributes.get("num-prefix", ""),
                suffix=attributes.get("num-suffix", ""),
                shown_levels=_integer(attributes.get("display-levels", "1")) or 1,
                start=_integer(attributes.get("start-value", "1")),
                is_bullet=name.endswith("bullet"),
            )

    def chain(self, name: str) -> Iterator[tuple[str, _Style]]:
        """Yield a style and those that it is based on."""
        for _ in range(20):
            style = self.styles.get(name)
            if style is None:
                return
            yield name, style
            name = style.parent

    def is_hidden(self, name: str) -> bool:
        said = (style.is_hidden for _, style in self.chain(name))
        return next((value for value in said if value is not None), False)

    def is_raised(self, name: str) -> bool:
        return any(style.is_raised for _, style in self.chain(name))

    def heading_levels(self, name: str) -> dict[int, _Level]:
        """Return how headings of a style are numbered: by the style's list, or by the outline."""
        said = (style.lists for _, style in self.chain(name))
        own = next((value for value in said if value is not None), None)
        return self.outline if own is None else self.lists.get(own, {})

    def is_bold(self, name: str) -> bool:
        said = (style.is_bold for _, style in self.chain(name))
        return next((value for value in said if value is not None), False)


def _open(request: Request, what: str) -> tuple[Archive, _Styles]:
    archive = Archive(request.source, limits=request.limits, what=what)
    if archive.has("META-INF/manifest.xml") and any(
        event.name == "encryption-data" for event in archive.xml("META-INF/manifest.xml")
    ):
        raise Unreadable(
            "encrypted",
            f"The {what} file is protected by a password. Remove the password and upload it again.",
        )
    if request.figures is not None:
        uses = count_uses(archive, "content.xml", _ADDRESSES)
        archive.pictures = PackedPictures(request.figures, archive, uses)
    return archive, _Styles(archive)


def _title(archive: Archive) -> Iterator[Title]:
    if archive.has("meta.xml") and (title := core_title(archive, "meta.xml")):
        yield Title(title)


def parse_odt(request: Request) -> Iterator[Event]:
    """Yield the blocks of a text document."""
    archive, styles = _open(request, "OpenDocument")
    yield from _title(archive)
    yield from _running_blocks(archive, styles)
    reader = _TextReader(archive, styles)
    for event in archive.xml("content.xml"):
        yield from reader.feed(event)
    yield from reader.terms.alone()
    if reader.comments:
        yield from heading("Comments", level=1)
        for comment in reader.comments:
            yield from paragraph(comment, kind="item", gap="\n")


def _running_blocks(archive: Archive, styles: _Styles) -> Iterator[Block]:
    """Yield what page headers and footers say, each text once, without page numbers."""
    if not archive.has("styles.xml"):
        return
    seen: set[str] = set()
    reader: _TextReader | None = None
    for event in archive.xml("styles.xml"):
        if event.name.startswith(("header", "footer")) and "-" not in event.name.replace(
            "-left", ""
        ).replace("-first", ""):
            reader = _TextReader(archive, styles) if event.kind == "start" else None
        elif reader is not None:
            for block in reader.feed(event):
                words = [word for word in block.text.split() if any(map(str.isalpha, word))]
                if block.text not in seen and (len(words) > 1 or len(block.text) > 8):
                    seen.add(block.text)
                    yield block


@dataclass(slots=True)
class _Paragraph:
    """The paragraph being read; *text* may be given out in parts."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    style: str = ""
    level: int = 0
    started: bool = False
    notes: list[tuple[int, str]] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _List:
    """An open list: how far it has counted, and whether its item still needs its number."""

    style: str
    count: int | None = None
    is_due: bool = False


@dataclass(slots=True)
class _Table:
    writer: TableWriter
    spans: Spans = field(default_factory=Spans)
    in_head: bool = False
    in_cell: bool = False
    text: list[str] = field(default_factory=list)
    columns: int = 1
    rows: int = 1
    repeated: int = 1
    is_strong: bool = True
    # Of all rows; and those that may still become the text of the cell around the table.
    width: int = 0
    waiting: list[Row] | None = None
    is_blank: bool = False


class _TextReader:
    """Goes through the text of one document, shape or chart; stacks stand for nesting."""

    def __init__(
        self, archive: Archive, styles: _Styles, *, page: int | None = None, depth: int = 0
    ) -> None:
        self.archive = archive
        self.styles = styles
        self.page = page
        self.depth = depth
        self.paragraphs: list[_Paragraph] = []
        self.lists: list[_List] = []
        # How far the last list of a style has counted, for one that goes on.
        self.last_counts: dict[str, list[int]] = {}
        self.outline_counts: dict[int, int] = {}
        self.tables: list[_Table] = []
        self.comments: list[str] = []
        self.aside: list[str] | None = None
        self.aside_name = ""
        self.note_count = 0
        self.inside = ""
        self.objects: list[str] = []
        # Part, size and description of the pictures of the open paragraph or frame.
        self.pictures: list[_Picture] = []
        self.frame: tuple[float, float] | None = None
        self.skipping = 0
        self.gap = "\n\n"
        self.last_text = ""
        # Text boxes that are open within a paragraph, and what stood in those of it.
        self.boxes = 0
        self.boxed: list[Block] = []
        # Terms that the next paragraph explains.
        self.terms = Terms()

    def feed(self, event: XmlEvent) -> Iterator[Block]:
        """Take the next element or text, and yield what is whole by now."""
        if self.boxes:
            self.boxed.extend(self._feed(event))
            return
        yield from self._feed(event)
        if self.boxed and not self.paragraphs:
            boxed, self.boxed, self.gap = self.boxed, [], "\n\n"
            yield from boxed

    def _feed(self, event: XmlEvent) -> Iterator[Block]:
        if self.skipping:
            if event.kind != "text":
                self.skipping += 1 if event.kind == "start" else -1
        elif event.kind == "start":
            yield from self._start(event.name, event.attributes)
        elif event.kind == "end":
            yield from self._end(event.name)
        elif self.aside is not None:
            if self.inside not in ("creator", "date"):
                self.aside.append(event.text)
        elif self.inside in ("title", "desc"):
            if self.pictures and len(self.pictures[-1].described) < _MAX_DESCRIBED_CHARS:
                self.pictures[-1].described += f" {event.text}"
            yield from self._append(f" {event.text} ")
        elif self.paragraphs and not self._is_unseen():
            # Line ends of the file are spaces.
            yield from self._append(event.text.replace("\n", " "))

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Block]:
        style = attributes.get("style-name", "")
        if name in _SKIPPED or (
            name in ("section", "hidden-paragraph") and attributes.get("display", "") == "none"
        ):
            self.skipping = 1
        elif name in ("annotation", "note"):
            self.aside, self.aside_name = [], name
        elif self.aside is not None:
            if name in ("creator", "date"):
                self.inside = name
        elif name in ("p", "h"):
            if self.paragraphs and (not self.boxes or len(self.boxed) > _MAX_BOXED):
                yield from self._paragraph_out(self.paragraphs[-1])
            level = _integer(attributes.get("outline-level", "1")) if name == "h" else 0
            if attributes.get("is-list-header", "") == "true":
                level = level or 1
            self.paragraphs.append(_Paragraph(style=style, level=level))
        elif name in ("span", "a") and self.paragraphs:
            self.paragraphs[-1].spans.append(style)
        elif name == "s":
            yield from self._append(" " * min(_integer(attributes.get("c", "1")) or 1, 20))
        elif name in ("tab", "line-break"):
            yield from self._append("\t" if name == "tab" else "\n")
        elif name in ("title", "desc"):
            self.inside = name
        elif name == "text-box":
            # What stands in a box follows the paragraph that the box is bound to.
            self.boxes += bool(self.boxes or self.paragraphs)
        elif name == "frame":
            self.frame = _size(attributes)
        elif name == "image":
            part = attributes.get("href", "").removeprefix("./")
            if self.archive.pictures is not None and not part.startswith("ObjectReplacements"):
                self.pictures.append(_Picture(part, self.frame))
        elif name == "object" and self.depth < _MAX_OBJECT_DEPTH:
            name = attributes.get("href", "").removeprefix("./").rstrip("/")
            formula = _formula(self.archive, f"{name}/content.xml") if self.paragraphs else ""
            if formula:
                yield from self._append(f" {formula} ")
            else:
                self.objects.append(name)
        elif name in ("list", "list-item", "list-header"):
            self._list_start(name, attributes)
        elif name.startswith(("table", "covered-table")):
            yield from self._table_start(name, attributes)
        elif not self.paragraphs:
            self.styles.take(name, attributes)

    def _end(self, name: str) -> Iterator[Block]:
        if name == self.aside_name and self.aside is not None:
            self._aside_end()
        elif self.aside is not None:
            self.inside = ""
            if name == "p":
                self.aside.append(" ")
        elif name in ("p", "h"):
            if self.paragraphs:
                yield from self._paragraph_out(self.paragraphs.pop(), whole=True)
            if not self.paragraphs and not self.tables:
                yield from self._objects_out()
        elif name in ("span", "a"):
            if self.paragraphs and self.paragraphs[-1].spans:
                self.paragraphs[-1].spans.pop()
        elif name in ("title", "desc"):
            self.inside = ""
        elif name == "text-box":
            self.boxes = max(0, self.boxes - 1)
        elif name == "list" and self.lists:
            self._list_end()
        elif name.startswith("table"):
            yield from self._table_end(name)
        elif name == "frame" and not self.paragraphs and not self.tables:
            yield from self._objects_out()

    def _aside_end(self) -> None:
        text, self.aside = clean_line("".join(self.aside or [])), None
        self.inside = ""
        if not text:
            return
        if self.aside_name == "annotation":
            self.comments.append(f"Comment: {text}")
        elif self.paragraphs:
            self.note_count += 1
            open_ = self.paragraphs[-1]
            open_.notes.append((open_.chars, f"Note {self.note_count}: {text}"))

    def _is_unseen(self) -> bool:
        open_ = self.paragraphs[-1]
        names = [open_.style, *open_.spans]
        return any(name and self.styles.is_hidden(name) for name in names)

    # Paragraphs

    def _append(self, text: str) -> Iterator[Block]:
        if not self.paragraphs:
            if text.strip() and self.inside:
                # A description of a picture that stands in no paragraph.
                yield from paragraph(clean_line(text), page=self.page)
            return
        open_ = self.paragraphs[-1]
        if any(name and self.styles.is_raised(name) for name in open_.spans):
            text = raised(text)
        open_.text.append(text)
        open_.chars += len(text)
        if self.tables and text.strip() and self.tables[-1].is_strong:
            names = [*reversed(open_.spans), open_.style]
            if not any(name and self.styles.is_bold(name) for name in names):
                self.tables[-1].is_strong = False
        if open_.chars > 4 * MAX_BLOCK_CHARS:
            yield from self._paragraph_out(open_)

    def _paragraph_out(self, open_: _Paragraph, *, whole: bool = False) -> Iterator[Block]:
        raw = with_notes("".join(open_.text), open_.notes)
        text = _SPACES.sub(" ", clean(show_symbols(raw.replace("\xad", "")))).strip()
        open_.text, open_.chars, open_.notes = [], 0, []
        if not text:
            return
        self.last_text = text
        started, open_.started = open_.started, True
        in_cell = bool(self.tables) and self.tables[-1].in_cell
        level = self._heading_level(open_) if whole and not started and not in_cell else 0
        marker = "" if started else self._marker(open_)
        if in_cell:
            self.tables[-1].text.append(marker + text)
        elif level:
            yield from self.terms.alone(page=self.page)
            yield from heading(marker + text.replace("\n", " "), level=level, page=self.page)
            self.gap = "\n\n"
        elif whole and any(name in _TERMS for name, _ in self.styles.chain(open_.style)):
            self.terms.add(text)
        else:
            text = self.terms.explained(text)
            kind: BlockKind = "item" if marker else "paragraph"
            gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
            yield from paragraph(marker + text, kind=kind, gap=gap, page=self.page)
            self.gap = "\n" if kind == "item" else "\n\n"

    def _heading_level(self, open_: _Paragraph) -> int:
        if open_.level:
            return open_.level + 1
        return int(any(name == "Title" for name, _ in self.styles.chain(open_.style)))

    def _pictures_out(self) -> Iterator[Block]:
        """Yield the descriptions of the pictures that the last paragraph or frame holds."""
        pictures, self.pictures = self.pictures, []
        for picture in pictures:
            if self.archive.pictures is not None:
                caption = self.last_text if is_caption(self.last_text) else ""
                yield from self.archive.pictures.describe(
                    picture.part,
                    page=self.page,
                    caption=". ".join(filter(None, (clean_line(picture.described), caption))),
                    shown=picture.shown,
                )

    def _objects_out(self) -> Iterator[Block]:
        """Yield the charts and formulas that the last paragraph holds, and its pictures."""
        yield from self._pictures_out()
        objects, self.objects = self.objects, []
        for name in objects:
            part = f"{name}/content.xml"
            if name and self.archive.has(part):
                yield from _object_blocks(self.archive, part, self.styles, self)
                self.gap = "\n\n"

    # Lists

    def _list_start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "list":
            style = attributes.get("style-name", "")
            style = style or (self.lists[-1].style if self.lists else "")
            goes_on = attributes.get("continue-numbering", "") == "true" or (
                "continue-list" in attributes
            )
            kept = self.last_counts.get(style, []) if goes_on else []
            depth = len(self.lists)
            self.lists.append(_List(style, kept[depth] if depth < len(kept) else None))
        elif self.lists:
            own = self.lists[-1]
            own.is_due = name == "list-item"
            if own.is_due:
                level = self.styles.lists.get(own.style, {}).get(len(self.lists), _Level())
                first = attributes.get("start-value", "")
                if first.isdecimal():
                    own.count = _integer(first)
                else:
                    own.count = level.start if own.count is None else own.count + 1

    def _list_end(self) -> None:
        closed = self.lists.pop()
        counts = [one.count or 0 for one in self.lists] + [closed.count or 0]
        self.last_counts[closed.style] = counts
        if not self.lists:
            self.gap = "\n\n"

    def _marker(self, open_: _Paragraph) -> str:
        if open_.level and not self._is_listed():
            for deeper in [level for level in self.outline_counts if level > open_.level]:
                del self.outline_counts[deeper]
            levels = self.styles.heading_levels(open_.style)
            its = levels.get(open_.level, _Level())
            if not its.format:
                return ""
            counted = self.outline_counts.get(open_.level, its.start - 1) + 1
            self.outline_counts[open_.level] = counted
            return _number(levels, self.outline_counts, open_.level)
        if not self.lists or not self.lists[-1].is_due:
            return ""
        self.lists[-1].is_due = False
        levels = self.styles.lists.get(self.lists[-1].style, {})
        counts = {depth: one.count or 1 for depth, one in enumerate(self.lists, start=1)}
        its = levels.get(len(self.lists), _Level(is_bullet=True))
        return "- " if its.is_bullet else _number(levels, counts, len(self.lists))

    def _is_listed(self) -> bool:
        """Return whether the list around an item numbers it."""
        if not self.lists or not self.lists[-1].is_due:
            return False
        its = self.styles.lists.get(self.lists[-1].style, {}).get(len(self.lists))
        return its is not None and bool(its.format)

    # Tables

    def _table_start(self, name: str, attributes: dict[str, str]) -> Iterator[Block]:
        if name == "table":
            around = self.tables[-1] if self.tables else None
            is_part = around is not None and around.in_cell and around.width > 1
            if not is_part:
                yield from self._spill()
            waiting: list[Row] | None = [] if is_part else None
            self.tables.append(_Table(TableWriter(page=self.page), waiting=waiting))
        elif not self.tables:
            return
        elif name == "table-header-rows":
            self.tables[-1].in_head = True
        elif name == "table-column":
            self.tables[-1].width += _integer(attributes.get("number-columns-repeated", "1"))
        elif name == "table-row":
            self.tables[-1].is_strong = True
        elif name == "table-cell":
            table = self.tables[-1]
            table.in_cell, table.text = True, []
            # What a chart has no value for.
            table.is_blank = attributes.get("value") == "NaN"
            table.columns = _integer(attributes.get("number-columns-spanned", "1"))
            table.rows = _integer(attributes.get("number-rows-spanned", "1"))
            table.repeated = _integer(attributes.get("number-columns-repeated", "1"))

    def _table_end(self, name: str) -> Iterator[Block]:
        if not self.tables:
            return
        table = self.tables[-1]
        if name == "table-cell" and table.in_cell:
            text = "" if table.is_blank else clean_line(" ".join(table.text))
            for _ in range(max(1, min(table.repeated, _MAX_REPEATED_COLUMNS))):
                table.spans.add(text, columns=table.columns, rows=table.rows)
            table.in_cell = False
        elif name == "table-header-rows":
            table.in_head = False
        elif name == "table-row":
            row = Row(table.spans.row(), table.in_head or None, table.is_strong)
            if table.waiting is None:
                yield from _written(table, row)
                return
            table.waiting.append(row)
            if not folds(table.waiting):
                yield from self._spill()
        elif name == "table" and table.waiting is not None:
            self.tables.pop()
            self.tables[-1].text.append(folded(table.waiting))
        elif name == "table":
            yield from table.writer.end()
            self.tables.pop()
            self.gap = "\n\n"
            if not self.tables:
                yield from self._objects_out()

    def _spill(self) -> Iterator[Block]:
        """Give out all rows, open ones too, before a table within a cell that is too large."""
        for table in self.tables:
            waiting, table.waiting = table.waiting or [], None
            for row in waiting:
                yield from _written(table, row)
            if not table.in_cell:
                continue
            if table.text:
                table.spans.add(clean_line(" ".join(table.text)))
                cells = table.spans.row()
                # The rest of the row keeps its columns; the cell that is open has not ended.
                table.spans.skip(len(cells) - 1)
                yield from table.writer.row(cells)
                table.text = []
            yield from table.writer.end()


def _written(table: _Table, row: Row) -> Iterator[Block]:
    return table.writer.row(row.cells, is_header=row.is_header, is_strong=row.is_strong)


def _number(levels: dict[int, _Level], counts: dict[int, int], level: int) -> str:
    """Return the number of an item as it is shown, with a space; "" for none."""
    its = levels.get(level)
    if its is None or not its.format:
        return ""
    shown = [
        show_count(counts.get(one, 1), _FORMATS.get(levels.get(one, its).format, "decimal"))
        for one in range(max(1, level - its.shown_levels + 1), level + 1)
        if levels.get(one, its).format
    ]
    text = clean_line(f"{its.prefix}{'.'.join(shown)}{its.suffix}")
    return f"{text} " if text else ""


def _object_blocks(
    archive: Archive, part: str, styles: _Styles, around: _TextReader
) -> Iterator[Block]:
    """Yield a chart's title and table, or the line of a formula."""
    if line := _formula(archive, part):
        yield from paragraph(line, page=around.page)
        return
    reader = _TextReader(archive, styles, page=around.page, depth=around.depth + 1)
    for event in archive.xml(part):
        yield from reader.feed(event)


def _formula(archive: Archive, part: str) -> str:
    """Return the line of a formula, "" for any other object."""
    if not archive.has(part):
        return ""
    noted: list[str] = []
    inside = False
    for number, event in enumerate(archive.xml(part)):
        if not number and event.name != "math":
            return ""
        if event.name == "annotation" and event.kind != "text":
            inside = event.kind == "start"
        elif inside and event.kind == "text":
            noted.append(event.text)
    if line := clean_line("".join(noted)):
        # What its author wrote reads better than the elements' text.
        return line.replace("{", "(").replace("}", ")")
    page = _PREFIX.sub(r"<\1", archive.read(part).decode("utf-8", "replace"))
    formula = LexborHTMLParser(page).css_first("math")
    return linear_formula(formula) if formula is not None else ""


def packed_object_blocks(archive: Archive, *, page: int | None) -> Iterator[Block]:
    """Yield what an object says that stands by itself: a chart in a file of another format."""
    if archive.has("content.xml"):
        around = _TextReader(archive, _Styles(archive), page=page)
        yield from _object_blocks(archive, "content.xml", around.styles, around)


def parse_ods(request: Request) -> Iterator[Event]:
    """Yield the blocks of a spreadsheet, sheet by sheet."""
    archive, styles = _open(request, "OpenDocument")
    left = archive.left
    tables: list[tuple[int, bool]] = []
    depth = 0
    for event in archive.xml("content.xml"):
        if event.name == "table":
            if event.kind == "start" and not depth:
                is_hidden = styles.is_hidden(event.attributes.get("style-name", ""))
                tables.append((len(tables), is_hidden))
            depth += 1 if event.kind == "start" else -1
        elif event.kind == "start" and not depth:
            styles.take(event.name, event.attributes)
    archive.left = left
    shown = visible(tables)
    if len(shown) > request.limits.max_pages:
        raise too_many_sheets(len(shown), request.limits)
    yield PageCount(len(shown))
    yield from _title(archive)
    pages = {number: page for page, number in enumerate(shown, start=1)}
    yield from _SheetReader(styles, pages, CellCounter(request.limits)).read(archive)


class _SheetReader:
    """Goes through the sheets of one spreadsheet."""

    def __init__(self, styles: _Styles, pages: dict[int, int], counter: CellCounter) -> None:
        self.styles = styles
        self.pages = pages
        self.counter = counter
        self.depth = 0
        self.sheet = -1
        self.page: int | None = None
        self.name = ""
        self.some = False
        self.writer = TableWriter()
        self.spans = Spans()
        self.hidden: set[int] = set()
        self.columns = 0
        self.cell: dict[str, str] | None = None
        self.text: list[str] = []
        self.in_text = self.in_comment = self.in_creator = self.in_head = False
        self.comments: list[str] = []
        self.comment: list[str] = []
        self.row: dict[str, str] = {}
        self.filled = self.is_strong = False
        self.blanks = 0

    def read(self, archive: Archive) -> Iterator[Event]:
        for event in archive.xml("content.xml"):
            if event.kind == "text":
                if self.in_comment and not self.in_creator:
                    self.comment.append(event.text)
                elif self.in_text and self.cell is not None and not self.in_comment:
                    self.text.append(event.text)
            elif event.kind == "start":
                self._start(event.name, event.attributes)
            else:
                yield from self._end(event.name)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table":
            self.depth += 1
            if self.depth == 1:
                self.sheet += 1
                self.page = self.pages.get(self.sheet)
                self.name, self.some = attributes.get("name", ""), False
                self.writer = TableWriter(page=self.page, is_sheet=True)
                self.spans, self.hidden, self.columns = Spans(), set(), 0
                self.comments = []
        elif self.depth != 1 or self.page is None:
            return
        elif name == "table-column":
            count = _integer(attributes.get("number-columns-repeated", "1")) or 1
            count = min(count, MAX_COLUMNS - self.columns)
            if attributes.get("visibility", "") == "collapse":
                self.hidden.update(range(self.columns, self.columns + count))
            self.columns += count
        elif name == "table-header-rows":
            self.in_head = True
        elif name == "table-row":
            self.row, self.filled, self.is_strong, self.blanks = attributes, False, True, 0
        elif name == "table-cell":
            self.cell, self.text = attributes, []
        elif name == "annotation":
            self.in_comment, self.comment = True, []
        elif name in ("creator", "date"):
            self.in_creator = True
        elif name == "p":
            if self.text:
                self.text.append(" ")
            self.in_text = True
        elif name in ("s", "tab", "line-break"):
            self.text.append(" ")

    def _end(self, name: str) -> Iterator[Event]:
        if name == "table":
            self.depth -= 1
            if self.depth == 0 and self.page is not None:
                yield from self.writer.end()
                for comment in self.comments:
                    self.some = True
                    yield from self.writer.note(f"Comment: {comment}")
                if not self.some:
                    yield EmptyPage(self.page)
        elif self.depth != 1 or self.page is None:
            return
        elif name == "table-header-rows":
            self.in_head = False
        elif name == "annotation":
            self.in_comment = False
            if line := clean_line("".join(self.comment)):
                self.comments.append(line)
        elif name in ("creator", "date"):
            self.in_creator = False
        elif name == "p":
            if self.in_comment:
                self.comment.append(" ")
            else:
                self.in_text = False
        elif name == "table-cell" and self.cell is not None:
            cell, self.cell = self.cell, None
            self._cell_end(cell)
        elif name == "table-row":
            yield from self._row_end()

    def _cell_end(self, cell: dict[str, str]) -> None:
        text = clean_line("".join(self.text)[:MAX_CELL_CHARS]) or _cell_value(cell)
        if "date-value" in cell:
            text = _date(text, cell["date-value"])
        repeated = _integer(cell.get("number-columns-repeated", "1")) or 1
        if not text:
            # Sheets end in thousands of empty cells; they count where another follows.
            self.blanks += repeated
            return
        if self.blanks:
            self.spans.skip(self.blanks)
            self.blanks = 0
        for _ in range(min(repeated, _MAX_REPEATED_COLUMNS)):
            self.counter.add()
            self.spans.add(
                text,
                columns=_integer(cell.get("number-columns-spanned", "1")),
                rows=_integer(cell.get("number-rows-spanned", "1")),
            )
        self.filled = True
        self.is_strong = self.is_strong and self.styles.is_bold(cell.get("style-name", ""))

    def _row_end(self) -> Iterator[Event]:
        cells = self.spans.row()
        if self.row.get("visibility", "") == "collapse":
            return
        if not self.filled:
            yield from self.writer.blank()
            return
        if not self.some:
            self.some = True
            yield from heading(clean_line(self.name), level=1, page=self.page)
        if self.hidden:
            cells = [cell for i, cell in enumerate(cells) if i not in self.hidden]
        for again in range(_integer(self.row.get("number-rows-repeated", "1")) or 1):
            if again:
                for cell in cells:
                    if cell:
                        self.counter.add()
            yield from self.writer.row(
                list(cells), is_header=self.in_head or None, is_strong=self.is_strong
            )


def _date(text: str, value: str) -> str:
    """Return a whole date as ISO 8601, since 03/04/2026 means two days; others as shown."""
    date, _, time = value.partition("T")
    if len(re.findall(r"\w+", text)) < 3 or not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        return text
    clock = re.search(r"\d{1,2}:\d\d(?::\d\d)?", text)
    return f"{date} {time[: 8 if clock[0].count(':') > 1 else 5]}" if clock and time else date


def _cell_value(cell: dict[str, str]) -> str:
    """Return what a cell without text holds: its value, or the formula that was not computed."""
    for name in ("string-value", "date-value", "time-value", "boolean-value", "value"):
        if value := cell.get(name, ""):
            return clean_line(value[:MAX_CELL_CHARS])
    formula = cell.get("formula", "").partition(":=")[2] or cell.get("formula", "").lstrip("=")
    formula = re.sub(r"\[\.?([^\[\]]*)\]", lambda found: found[1].replace(":.", ":"), formula)
    return clean_line(f"={formula}"[:MAX_CELL_CHARS]) if formula else ""


@dataclass(slots=True)
class _Picture:
    """A picture, its size in points, and what the document says of it."""

    part: str
    shown: tuple[float, float] | None
    described: str = ""


@dataclass(slots=True)
class _Shape:
    """What a shape of a slide says, and where it stands."""

    kind: str
    box: tuple[float, float, float, float] | None
    blocks: list[Block] = field(default_factory=list)


def parse_odp(request: Request) -> Iterator[Event]:
    """Yield the blocks of a presentation, slide by slide."""
    archive, styles = _open(request, "OpenDocument")
    left = archive.left
    count = 0
    for event in archive.xml("content.xml"):
        if event.kind == "start":
            if event.name == "page":
                count += 1
            elif not count:
                styles.take(event.name, event.attributes)
    archive.left = left
    if count > request.limits.max_pages:
        raise Unreadable(
            "too_many_pages",
            f"The presentation has {count} slides; at most {request.limits.max_pages} are "
            "read. Split it into smaller files.",
        )
    yield PageCount(count)
    yield from _title(archive)
    yield from _slide_events(archive, styles)


def _slide_events(archive: Archive, styles: _Styles) -> Iterator[Event]:
    page = 0
    shapes: list[_Shape] = []
    notes: list[_Shape] = []
    in_notes = False
    shape: _Shape | None = None
    reader: _TextReader | None = None
    depth = 0
    comments: list[str] = []
    for event in archive.xml("content.xml"):
        name = event.name
        if shape is not None and reader is not None:
            if name in _SHAPES:
                depth += 1 if event.kind == "start" else -1
            shape.blocks.extend(reader.feed(event))
            if not depth:
                comments += reader.comments
                shape = None
        elif event.kind == "start":
            if name == "page":
                page += 1
                shapes, notes, in_notes, comments = [], [], False, []
            elif name == "notes":
                in_notes = True
            elif name == "annotation" and page:
                reader = _TextReader(archive, styles, page=page)
                shape, depth = _Shape("comment", None), 1
                list(reader.feed(event))
            elif name in _SHAPES and page:
                shape = _Shape(event.attributes.get("class", ""), _box(event.attributes))
                reader, depth = _TextReader(archive, styles, page=page), 1
                reader.frame = _size(event.attributes)
                (notes if in_notes else shapes).append(shape)
        elif event.kind == "end" and name == "notes":
            in_notes = False
        elif event.kind == "end" and name == "page":
            some = False
            for block in _slide_blocks(shapes, notes, comments, page=page):
                some = True
                yield block
            if not some:
                yield EmptyPage(page)


def _slide_blocks(
    shapes: list[_Shape], notes: list[_Shape], comments: list[str], *, page: int
) -> Iterator[Block]:
    shapes = [shape for shape in shapes if shape.kind not in _RUNNING]
    for shape in shapes:
        if shape.kind == "title":
            text = " ".join(block.text for block in shape.blocks)
            yield from heading(clean_line(text), level=1, page=page)
    others = [shape for shape in shapes if shape.kind != "title"]
    boxes = [Box(*shape.box, i) for i, shape in enumerate(others) if shape.box is not None]
    order = reading_order(boxes) if len(boxes) == len(others) else range(len(others))
    for i in order:
        yield from others[i].blocks
    said = [block for shape in notes if shape.kind == "notes" for block in shape.blocks]
    if said:
        yield Block("paragraph", "Notes:", page=page)
        yield from said
    for comment in comments:
        yield from paragraph(comment, page=page)


def _box(attributes: dict[str, str]) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of a shape in centimetres, None if it has no place."""
    moved = _TRANSLATION.search(attributes.get("transform", ""))
    left = _length(moved[1] if moved else attributes.get("x", attributes.get("x1", "")))
    top = _length(moved[2] if moved else attributes.get("y", attributes.get("y1", "")))
    if left is None or top is None:
        return None
    width = _length(attributes.get("width", "")) or 0.0
    height = _length(attributes.get("height", "")) or 0.0
    return left, top, left + width, top + height


def _size(attributes: dict[str, str]) -> tuple[float, float] | None:
    """Return width and height of a frame in points, None if it does not tell them."""
    width, height = (_length(attributes.get(side, "")) for side in ("width", "height"))
    return (width * _POINTS, height * _POINTS) if width and height else None


def _length(text: str) -> float | None:
    found = _LENGTH.match(text)
    try:
        return float(found[1]) * _CENTIMETRES[found[2] or "cm"] if found else None
    except ValueError:
        return None


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
