"""
Excel workbooks (xlsx), cell by cell: a sheet is a page, its header row is repeated.

Read from the XML directly: openpyxl finds nothing in a strict Office Open XML workbook, and builds
four GiB of empty cells between two far corners. Its knowledge of number formats is used.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from datetime import datetime, time, timedelta

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from shared.errors import Unreadable

from .archives import Archive
from .blocks import EmptyPage, Event, PageCount, ParseLimits, Request, Title, clean_line, heading
from .docx import core_title
from .tables import TableWriter

_MAX_CELL_CHARS = 32_767
# Cells beyond this column of a row are joined to it: no one reads a row of 16,384.
_MAX_COLUMNS = 16_384


def parse_xlsx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a workbook, sheet by sheet."""
    archive = Archive(request.source, limits=request.limits, what="Excel")
    main = next(iter(archive.related("", "officeDocument")), "xl/workbook.xml")
    sheets, is_1904 = _sheets(archive, main)
    if len(sheets) > request.limits.max_pages:
        raise Unreadable(
            "too_many_pages",
            f"The workbook has {len(sheets)} sheets; at most {request.limits.max_pages} are read. "
            "Split it into smaller files.",
        )
    yield PageCount(len(sheets))
    for core in archive.related("", "core-properties"):
        if title := core_title(archive, core):
            yield Title(title)
    strings = _Strings(archive, main)
    formats = _Formats(archive, main, is_1904=is_1904)
    counter = _CellCounter(request.limits)
    for number, (name, part) in enumerate(sheets, start=1):
        writer = TableWriter(page=number)
        some = False
        for row in _rows(archive, part, strings, formats, counter):
            if not some:
                yield from heading(clean_line(name), level=1, page=number)
                some = True
            yield from writer.row(row)
        for extra in ("comments", "threadedComment", "drawing"):
            for related in archive.related(part, extra):
                text = clean_line(" ".join(_texts(archive, related)))
                if text:
                    some = True
                    yield from writer.note(text)
        if not some:
            yield EmptyPage(number)


def _sheets(archive: Archive, main: str) -> tuple[list[tuple[str, str]], bool]:
    relations = archive.relations(main)
    sheets: list[tuple[str, str]] = []
    is_1904 = False
    for event in archive.xml(main):
        if event.kind != "start":
            continue
        if event.name == "workbookPr":
            is_1904 = event.attributes.get("date1904", "0") in ("1", "true")
        elif event.name == "sheet":
            _, target = relations.get(event.attributes.get("r:id", ""), ("", ""))
            if archive.has(target):
                sheets.append((event.attributes.get("name", ""), target))
    return sheets, is_1904


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
    """Which cell styles show a date or a percentage."""

    def __init__(self, archive: Archive, main: str, *, is_1904: bool) -> None:
        self.epoch = CALENDAR_MAC_1904 if is_1904 else CALENDAR_WINDOWS_1900
        self.styles: list[str] = []
        codes = dict(BUILTIN_FORMATS)
        for part in archive.related(main, "styles"):
            in_cells = False
            for event in archive.xml(part):
                if event.name == "cellXfs":
                    in_cells = event.kind == "start"
                elif event.kind != "start":
                    continue
                elif event.name == "numFmt":
                    identifier = event.attributes.get("numFmtId", "")
                    if identifier.isdigit():
                        codes[int(identifier)] = event.attributes.get("formatCode", "")
                elif event.name == "xf" and in_cells:
                    identifier = event.attributes.get("numFmtId", "0")
                    self.styles.append(
                        codes.get(int(identifier) if identifier.isdigit() else 0, "General")
                    )
        self.is_date = [is_date_format(code) for code in self.styles]

    def show(self, value: str, style: str) -> str:
        """Return a number as the sheet shows it, as far as that changes its meaning."""
        index = int(style) if style.isdigit() else -1
        try:
            number = float(value)
        except ValueError:
            return value
        if 0 <= index < len(self.styles):
            code = self.styles[index]
            if self.is_date[index]:
                return self._date(number, is_duration=is_timedelta_format(code)) or value
            if code.endswith("%"):
                return f"{number * 100:.10g}%"
        if number.is_integer() and abs(number) < 1e15:
            return str(int(number))
        # Binary noise of 15 digits and more is not what the sheet says.
        return f"{number:.15g}"

    def _date(self, number: float, *, is_duration: bool) -> str:
        try:
            moment = from_excel(number, self.epoch, timedelta=is_duration)
        except (ValueError, OverflowError):
            return ""
        if isinstance(moment, datetime):
            has_time = moment.time() != time(0)
            return moment.isoformat(" ", "seconds") if has_time else moment.date().isoformat()
        if isinstance(moment, timedelta):
            return str(moment)
        return moment.isoformat() if moment is not None else ""


class _CellCounter:
    def __init__(self, limits: ParseLimits) -> None:
        self.limit = limits.max_cells
        self.count = 0

    def add(self) -> None:
        self.count += 1
        if self.count > self.limit:
            raise Unreadable(
                "cell_limit",
                f"The workbook has more than {self.limit:,} filled cells. "
                "Split it into smaller files, or export it as CSV.",
            )


def _rows(
    archive: Archive, part: str, strings: _Strings, formats: _Formats, counter: _CellCounter
) -> Iterator[list[str]]:
    """Yield the rows that hold anything; empty cells before the last filled one are ""."""
    cells: list[str] = []
    column = 0
    kind = style = ""
    value: list[str] = []
    taking = False
    for event in archive.xml(part):
        if event.kind == "text":
            if taking:
                value.append(event.text)
        elif event.kind == "start":
            if event.name == "c":
                column = _column(event.attributes.get("r", "")) or column + 1
                kind, style = event.attributes.get("t", "n"), event.attributes.get("s", "")
                value = []
            elif event.name in ("v", "t"):
                taking = True
            elif event.name == "row":
                cells, column = [], 0
        elif event.name in ("v", "t"):
            taking = False
        elif event.name == "c" and value:
            counter.add()
            if text := _show("".join(value), kind, style, strings, formats):
                place = min(column, _MAX_COLUMNS)
                if place > len(cells):
                    cells.extend([""] * (place - len(cells)))
                cells[place - 1] = text
        elif event.name == "row" and cells:
            yield cells


def _show(value: str, kind: str, style: str, strings: _Strings, formats: _Formats) -> str:
    if kind == "s":
        text = strings.get(int(value)) if value.strip().isdigit() else ""
    elif kind == "b":
        text = "TRUE" if value.strip() == "1" else "FALSE"
    elif kind in ("n", "d") and kind != "d":
        text = formats.show(value, style)
    else:
        text = value
    return clean_line(text[:_MAX_CELL_CHARS])


def _column(reference: str) -> int:
    """Return the number of the column of a reference such as AB12, 0 where there is none."""
    number = 0
    for character in reference[:4]:
        if not "A" <= character <= "Z":
            break
        number = number * 26 + ord(character) - 64
    return number


def _texts(archive: Archive, part: str) -> Iterator[str]:
    """Yield the text of a comment or drawing."""
    inside = False
    for event in archive.xml(part):
        if event.name in ("t", "text"):
            inside = event.kind == "start"
        elif inside and event.kind == "text":
            yield event.text
