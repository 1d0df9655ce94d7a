"""
Excel workbooks (xlsx), cell by cell: a sheet is a page.

Read from the XML directly: openpyxl finds nothing in a strict Office Open XML workbook, and builds
four GiB of empty cells between two far corners.

Left out is what its author hid: sheets, and what Layout says.
"""

from __future__ import annotations

import array
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .archives import Archive
from .blocks import (
    Block,
    EmptyPage,
    Event,
    PageCount,
    Request,
    Title,
    clean_line,
    heading,
    paragraph,
)
from .charts import chart_blocks, chart_title
from .docx import core_title
from .figures import PackedPictures
from .number_formats import BUILT_IN, GENERAL, show_number, show_text
from .sheets import MAX_CELL_CHARS, CellCounter, Layout, place, too_many_sheets, visible
from .tables import Row, TableWriter


def parse_xlsx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a workbook, sheet by sheet."""
    archive = Archive(request.source, limits=request.limits, what="Excel")
    main = next(iter(archive.related("", "officeDocument")), "xl/workbook.xml")
    book = _read_workbook(archive, main)
    if len(book.sheets) > request.limits.max_pages:
        raise too_many_sheets(len(book.sheets), request.limits)
    yield PageCount(len(book.sheets))
    for core in archive.related("", "core-properties"):
        if title := core_title(archive, core):
            yield Title(title)
    if request.figures is not None:
        archive.pictures = PackedPictures(request.figures, archive)
    strings = _Strings(archive, main)
    formats = _Formats(archive, main, is_1904=book.is_1904)
    counter = CellCounter(request.limits)
    for number, (name, part) in enumerate(book.sheets, start=1):
        writer = TableWriter(page=number, is_sheet=True)
        sheet = _Sheet(archive, part, strings, formats, counter, recalculates=book.recalculates)
        some = False
        for row in sheet.rows():
            if not some:
                yield from heading(clean_line(name), level=1, page=number)
                some = True
            yield from writer.row(row.cells, is_header=row.is_header, is_strong=row.is_strong)
        yield from writer.end()
        for text in (*sheet.running_lines(), *_notes(archive, part)):
            some = True
            yield from writer.note(text)
        for block in _charts(archive, part, {name for name, _ in book.sheets}, page=number):
            some = True
            yield block
        for block in _figures(archive, part, page=number):
            some = True
            yield block
        if not some:
            yield EmptyPage(number)


@dataclass(slots=True)
class _Workbook:
    """
    What stands in the workbook's main part.

    Attributes:
        sheets: (name, part) of those that a reader sees.
        recalculates: Values are computed when it is opened: a program without a calculator of its
            own wrote it, and a formula's 0 says nothing.
    """

    sheets: list[tuple[str, str]] = field(default_factory=list)
    is_1904: bool = False
    recalculates: bool = False


def _read_workbook(archive: Archive, main: str) -> _Workbook:
    relations = archive.relations(main)
    book = _Workbook()
    sheets: list[tuple[tuple[str, str], bool]] = []
    for event in archive.xml(main):
        if event.kind != "start":
            continue
        attributes = event.attributes
        if event.name == "workbookPr":
            book.is_1904 = attributes.get("date1904", "0") in ("1", "true")
        elif event.name == "calcPr":
            book.recalculates = attributes.get("fullCalcOnLoad", "0") in ("1", "true")
        elif event.name == "sheet":
            _, target = relations.get(attributes.get("r:id", ""), ("", ""))
            if archive.has(target):
                is_hidden = attributes.get("state", "visible") != "visible"
                sheets.append(((attributes.get("name", ""), target), is_hidden))
    book.sheets = visible(sheets)
    return book


class _Strings:
    """The shared strings in one buffer: a list of a million str takes several times the memory."""

    def __init__(self, archive: Archive, main: str) -> None:
        self.data = bytearray()
        self.ends = array.array("Q")
        for part in archive.related(main, "sharedStrings"):
            inside = phonetic = False
            for event in archive.xml(part):
                if event.kind == "text":
                    if inside and not phonetic:
                        self.data += event.text.encode("utf-8", "replace")
                elif event.name == "t":
                    inside = event.kind == "start"
                elif event.name == "rPh":
                    phonetic = event.kind == "start"
                elif event.name == "si" and event.kind == "end":
                    self.ends.append(len(self.data))

    def get(self, index: int) -> str:
        if not 0 <= index < len(self.ends):
            return ""
        start = self.ends[index - 1] if index else 0
        return self.data[start : self.ends[index]].decode()


class _Formats:
    """The format code of each cell style, and whether it is bold."""

    def __init__(self, archive: Archive, main: str, *, is_1904: bool) -> None:
        self.is_1904 = is_1904
        self.codes: list[str] = []
        self.bold: list[bool] = []
        codes = dict(BUILT_IN)
        bold_fonts: list[bool] = []
        for part in archive.related(main, "styles"):
            inside = ""
            for event in archive.xml(part):
                if event.name in ("cellXfs", "fonts", "numFmts"):
                    inside = event.name if event.kind == "start" else ""
                elif event.kind != "start":
                    continue
                elif event.name == "numFmt" and inside == "numFmts":
                    identifier = _integer(event.attributes.get("numFmtId", ""))
                    codes[identifier] = event.attributes.get("formatCode", GENERAL)
                elif event.name == "font" and inside == "fonts":
                    bold_fonts.append(False)
                elif event.name == "b" and inside == "fonts" and bold_fonts:
                    bold_fonts[-1] = event.attributes.get("val", "1") not in ("0", "false")
                elif event.name == "xf" and inside == "cellXfs":
                    font = _integer(event.attributes.get("fontId", ""))
                    self.bold.append(font < len(bold_fonts) and bold_fonts[font])
                    identifier = _integer(event.attributes.get("numFmtId", ""))
                    self.codes.append(codes.get(identifier, GENERAL))

        # Those that add something to a text.
        self.text_codes = {
            str(i): code for i, code in enumerate(self.codes) if "@" in code and code != "@"
        }

    def is_bold(self, style: str) -> bool:
        index = int(style) if style.isdecimal() and len(style) < 9 else 0
        return index < len(self.bold) and self.bold[index]

    def show(self, value: str, style: str) -> str:
        """Return a number as the sheet shows it."""
        try:
            number = float(value)
        except ValueError:
            return value
        index = int(style) if style.isdecimal() and len(style) < 9 else 0
        code = self.codes[index] if index < len(self.codes) else GENERAL
        return show_number(number, code, is_1904=self.is_1904)


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0


_REFERENCE = r"\$?([A-Z]{1,3})\$?(\d{1,7})"
_RANGE = re.compile(rf"{_REFERENCE}(?::{_REFERENCE})?$")
_TAIL_TAG = re.compile(
    rb"<(?:\w+:)?(mergeCell|autoFilter|(?:odd|even|first)(?:Header|Footer))\b([^>]*)>([^<]*)"
)
_TAIL_RANGE = re.compile(rb"\bref\s*=\s*[\"']([A-Z0-9:$]+)[\"']")
_RELATIVE = re.compile(r"(?<![\w$!.])(\$?)([A-Z]{1,3})(\$?)(\d{1,7})(?![\w(])")
# Codes of page headers: &L, &C, &R, &"Arial,Bold", &12, &P, &N, &D, &K01+000 and the like.
_HEADER_CODE = re.compile(r"&(?:\"[^\"]*\"|K[0-9A-F]{2}[+-]?\d{3}|K[0-9A-F]{6}|\d+|.)", re.DOTALL)
# "Page &P of &N" in any language.
_PAGE_CODE = re.compile(r"[^\W\d]{0,30}\s{0,4}&P(?:\s{0,4}(?:[^\W\d]{1,30}|[/-])?\s{0,4}&N)?")
_MAX_TAIL_BYTES = 16 << 20


class _Sheet:
    """One worksheet, read once for what stands behind its cells and once for the cells."""

    def __init__(
        self,
        archive: Archive,
        part: str,
        strings: _Strings,
        formats: _Formats,
        counter: CellCounter,
        *,
        recalculates: bool,
    ) -> None:
        self.archive = archive
        self.part = part
        self.strings = strings
        self.formats = formats
        self.counter = counter
        self.recalculates = recalculates
        self.layout = Layout()
        self.headers: dict[int, tuple[int, int]] = {}
        self.lines: dict[str, None] = {}
        self.shared: dict[str, tuple[str, int, int]] = {}
        self._read_tail()
        self._read_tables()

    def running_lines(self) -> Iterator[str]:
        """Yield the page headers and footers, each once."""
        yield from self.lines

    def _read_tail(self) -> None:
        for found in _TAIL_TAG.finditer(
            self.archive.tail(self.part, b"sheetData>", _MAX_TAIL_BYTES)
        ):
            kind = found[1]
            if kind.endswith((b"Header", b"Footer")):
                text = found[3].decode("utf-8", "replace").replace("&amp;", "&")
                text = _PAGE_CODE.sub(" ", text)
                line = clean_line(_HEADER_CODE.sub(" ", text))
                if any(map(str.isalpha, line)):
                    self.lines[line] = None
                continue
            reference = _TAIL_RANGE.search(found[2])
            area = _range(reference[1].decode("ascii")) if reference else None
            if area is None:
                continue
            top, left, bottom, right = area
            if kind == b"autoFilter":
                self.layout.filtered.append((top, bottom))
            else:
                self.layout.merge(top, left, bottom, right)
        self.layout.close()

    def _read_tables(self) -> None:
        for part in self.archive.related(self.part, "table"):
            for event in self.archive.xml(part):
                if event.kind == "start" and event.name == "table":
                    area = _range(event.attributes.get("ref", ""))
                    if area is not None:
                        self.layout.filtered.append((area[0], area[2]))
                        if event.attributes.get("headerRowCount", "1") != "0":
                            self.headers[area[0]] = (area[1], area[3])

    def rows(self) -> Iterator[Row]:
        """Yield the rows, [] cells for those that stand empty between them."""
        formats = self.formats
        cells: list[str] = []
        column = number = last = 0
        kind = style = formula = shared = ""
        value: list[str] = []
        taking = skipped = strong = False
        for event in self.archive.xml(self.part):
            name = event.name
            if event.kind == "text":
                if taking:
                    value.append(event.text)
            elif event.kind == "start":
                if name == "c":
                    attributes = event.attributes
                    column = _column(attributes.get("r", "")) or column + 1
                    kind, style = attributes.get("t", "n"), attributes.get("s", "")
                    value, formula = [], ""
                elif name in ("v", "t"):
                    taking = True
                    value = value if name == "t" else []
                elif name == "f":
                    taking = True
                    value = []
                    shared = event.attributes.get("si", "")
                elif name == "row":
                    cells, column, strong = [], 0, True
                    number = _integer(event.attributes.get("r", "")) or number + 1
                    skipped = self._is_hidden_row(event.attributes, number)
                elif name == "rPh":
                    taking = False
                elif name == "col":
                    self._column_read(event.attributes)
            elif name in ("v", "t"):
                taking = False
            elif name == "f":
                taking = False
                formula = self._formula("".join(value), shared, number, column)
                value = []
            elif name == "c" and (value or formula) and not skipped:
                raw = "".join(value)
                if formula and (not raw.strip() or (self.recalculates and raw == "0")):
                    text = clean_line(formula[:MAX_CELL_CHARS])
                else:
                    text = self._show(raw, kind, style)
                if text:
                    self.counter.add()
                    place(cells, column, text)
                    strong = strong and formats.is_bold(style)
            elif name == "row" and skipped:
                # What is hidden leaves no gap between the rows around it.
                last = number if last else 0
            elif name == "row" and cells:
                cells = self.layout.arrange(cells, number)
                if number > last + 1 and last:
                    yield Row([])
                last = number
                yield Row(cells, self._is_header(number, cells) or None, strong)

    def _column_read(self, attributes: dict[str, str]) -> None:
        is_hidden = attributes.get("hidden", "0") in ("1", "true")
        if is_hidden and attributes.get("outlineLevel", "0") == "0":
            self.layout.hide_columns(
                _integer(attributes.get("min", "")), _integer(attributes.get("max", ""))
            )

    def _is_hidden_row(self, attributes: dict[str, str], number: int) -> bool:
        if attributes.get("hidden", "0") not in ("1", "true"):
            return False
        outline = _integer(attributes.get("outlineLevel", "0"))
        return self.layout.hides_row(number, outline=outline)

    def _is_header(self, number: int, cells: list[str]) -> bool:
        span = self.headers.get(number)
        return span is not None and not any(cells[: span[0] - 1]) and len(cells) <= span[1]

    def _formula(self, text: str, shared: str, row: int, column: int) -> str:
        """Return a formula as it stands in its cell; a shared one is written down once."""
        if text:
            if shared and len(self.shared) < 10_000:
                self.shared[shared] = (text, row, column)
            return f"={text}"
        if shared not in self.shared:
            return ""
        text, first_row, first_column = self.shared[shared]

        def moved(found: re.Match[str]) -> str:
            letters, digits = found[2], found[4]
            if not found[1]:
                letters = _letters(max(1, _column(letters) + column - first_column))
            if not found[3]:
                digits = str(max(1, int(digits) + row - first_row))
            return f"{found[1]}{letters}{found[3]}{digits}"

        return "=" + _RELATIVE.sub(moved, text[:MAX_CELL_CHARS])

    def _show(self, value: str, kind: str, style: str) -> str:
        if kind == "s":
            text = self.strings.get(int(value)) if value.strip().isdecimal() else ""
            if style in self.formats.text_codes:
                text = show_text(text, self.formats.text_codes[style])
        elif kind == "b":
            text = "TRUE" if value.strip() == "1" else "FALSE"
        elif kind == "n":
            text = self.formats.show(value, style)
        elif kind == "d":
            text = value.removesuffix("T00:00:00").replace("T", " ")
        else:
            text = value
        return clean_line(text[:MAX_CELL_CHARS])


def _range(reference: str) -> tuple[int, int, int, int] | None:
    """Return (top, left, bottom, right) of a reference such as B2:D9, from 1."""
    found = _RANGE.match(reference)
    if found is None:
        return None
    top, left = int(found[2]), _column(found[1])
    if found[3] is None:
        return top, left, top, left
    return top, left, int(found[4]), _column(found[3])


def _letters(column: int) -> str:
    """Return the letters of a column, from 1."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _column(reference: str) -> int:
    """Return the number of the column of a reference such as AB12, 0 if there is none."""
    number = 0
    for character in reference[:4]:
        if not "A" <= character <= "Z":
            break
        number = number * 26 + ord(character) - 64
    return number


def _notes(archive: Archive, part: str) -> Iterator[str]:
    """Yield the comments of a sheet with their cells, and the texts of its drawings."""
    threads = archive.related(part, "threadedComment")
    # Beside threads Excel keeps their text once more, for programs that do not know threads.
    for related in threads or archive.related(part, "comments"):
        cell = ""
        text: list[str] = []
        inside = False
        for event in archive.xml(related):
            if event.name in ("comment", "threadedComment"):
                if event.kind == "start":
                    cell, text = event.attributes.get("ref", ""), []
                elif line := clean_line("".join(text)):
                    yield f"Comment on {cell}: {line}" if cell else f"Comment: {line}"
            elif event.name in ("t", "text"):
                inside = event.kind == "start"
            elif inside and event.kind == "text":
                text.append(event.text)
    for related in archive.related(part, "drawing"):
        yield from _drawing(archive, related)


def _charts(archive: Archive, part: str, sheets: set[str], *, page: int) -> Iterator[Block]:
    """Yield the titles of charts, and the values of those that are drawn from no visible sheet."""
    for drawing in archive.related(part, "drawing"):
        relations = archive.relations(drawing)
        for event in archive.xml(drawing):
            if event.kind != "start" or event.name != "chart":
                continue
            _, target = relations.get(event.attributes.get("r:id", ""), ("", ""))
            if not target or not archive.has(target):
                continue
            title, sources = chart_title(archive, target)
            if not sources or not sources <= sheets:
                yield from chart_blocks(archive, target, page=page)
            elif title:
                yield from paragraph(f"Chart: {title}", page=page)


def _figures(archive: Archive, part: str, *, page: int) -> Iterator[Block]:
    """Yield the descriptions of a sheet's pictures."""
    if archive.pictures is None:
        return
    for drawing in archive.related(part, "drawing"):
        relations = archive.relations(drawing)
        caption = ""
        for event in archive.xml(drawing):
            if event.kind != "start":
                continue
            if event.name == "cNvPr":
                caption = clean_line(event.attributes.get("descr", ""))
            elif event.name == "blip":
                kind, target = relations.get(event.attributes.get("r:embed", ""), ("", ""))
                if kind == "image":
                    yield from archive.pictures.describe(target, page=page, caption=caption)


def _drawing(archive: Archive, part: str) -> Iterator[str]:
    """Yield the paragraphs of text boxes, and what describes pictures."""
    text: list[str] = []
    inside = False
    for event in archive.xml(part):
        if event.kind == "text":
            if inside:
                text.append(event.text)
        elif event.name == "t":
            inside = event.kind == "start"
        elif event.kind == "start" and event.name == "cNvPr":
            if line := clean_line(event.attributes.get("descr", "")):
                yield line[:4000]
        elif event.kind == "end" and event.name == "p":
            if line := clean_line("".join(text)):
                yield line
            text = []
