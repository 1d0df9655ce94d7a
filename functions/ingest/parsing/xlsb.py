"""
Binary Excel workbooks (xlsb): the parts of an xlsx as records of bytes.

Source: [MS-XLSB], 2.1.4 (record), 2.5.122 (RkNumber), and the records named below.
https://learn.microsoft.com/openspecs/office_file_formats/ms-xlsb
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain

from .archives import Archive
from .blocks import EmptyPage, Event, PageCount, Request, Title, clean_line, corrupt, heading
from .docx import core_title
from .number_formats import BUILT_IN, GENERAL
from .sheets import (
    MAX_CELL_CHARS,
    CellCounter,
    CellStyles,
    Layout,
    place,
    too_many_sheets,
    visible,
)
from .tables import TableWriter

_ROW, _BLANK, _RK, _ERROR, _BOOL, _REAL, _STRING, _SHARED = range(8)
_FORMULA_STRING, _FORMULA_NUMBER, _FORMULA_BOOL, _FORMULA_ERROR = range(8, 12)
_SHARED_ITEM = 19
_FONT, _FORMAT, _STYLE = 43, 44, 47
_COLUMN, _RICH_STRING = 60, 62
_BOOK, _SHEET = 153, 156
_FILTER, _MERGE = 161, 176
_BEGIN_CELL_STYLES, _END_CELL_STYLES = 617, 618
# No record that is read here is longer; pictures and caches are.
_MAX_RECORD_BYTES = 1 << 20
_BOLD = 700
_ERRORS = {0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?"} | {
    0x24: "#NUM!",
    0x2A: "#N/A",
}
_Record = tuple[int, bytes]


def parse_xlsb(request: Request) -> Iterator[Event]:
    """Yield the blocks of a workbook, sheet by sheet."""
    archive = Archive(request.source, limits=request.limits, what="Excel")
    main = next(iter(archive.related("", "officeDocument")), "xl/workbook.bin")
    try:
        yield from _parse(archive, main, request)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise corrupt(
            "The Excel file is damaged: a record of it is cut off. "
            "Open it in Excel, save it again and upload that copy."
        ) from error


def _parse(archive: Archive, main: str, request: Request) -> Iterator[Event]:
    sheets, is_1904 = _sheets(archive, main)
    if len(sheets) > request.limits.max_pages:
        raise too_many_sheets(len(sheets), request.limits)
    yield PageCount(len(sheets))
    for core in archive.related("", "core-properties"):
        if title := core_title(archive, core):
            yield Title(title)
    strings = [
        _wide(data, 1)
        for part in archive.related(main, "sharedStrings")
        for kind, data in _records(archive, part)
        if kind == _SHARED_ITEM
    ]
    styles = _styles(archive, main, is_1904=is_1904)
    counter = CellCounter(request.limits)
    for number, (name, part) in enumerate(sheets, start=1):
        writer = TableWriter(page=number, is_sheet=True)
        some = False
        for cells, is_strong in _rows(archive, part, strings, styles, counter):
            if not some:
                yield from heading(clean_line(name), level=1, page=number)
                some = True
            yield from writer.row(cells, is_strong=is_strong)
        yield from writer.end()
        if not some:
            yield EmptyPage(number)


def _records(archive: Archive, part: str) -> Iterator[_Record]:
    """Yield (type, data) of each record; the data of one that is too long is left out."""
    data = b""
    at = skip = 0
    # 14 bytes that belong to no record, so that the last one is not held back for its header.
    for piece in chain(archive.pieces(part), (b"",)):
        is_end = not piece
        data, at = data[at:] + piece, 0
        if skip:
            at = min(skip, len(data))
            skip -= at
            if skip:
                continue
        while at < len(data):
            if len(data) - at < 6 and not is_end:
                break
            kind, start = _variable(data, at, 2)
            size, start = _variable(data, start, 4)
            if size > _MAX_RECORD_BYTES:
                skip = max(0, start + size - len(data))
                at = min(len(data), start + size)
                continue
            if start + size > len(data):
                if is_end:
                    raise IndexError
                break
            yield kind, data[start : start + size]
            at = start + size


def _variable(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(limit):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            break
    return value, at


def _wide(data: bytes, at: int) -> str:
    """Return an XLWideString."""
    length = struct.unpack_from("<I", data, at)[0]
    if length == 0xFFFFFFFF:
        return ""
    raw = data[at + 4 : at + 4 + 2 * min(length, MAX_CELL_CHARS)]
    return raw.decode("utf-16-le", "replace")


def _sheets(archive: Archive, main: str) -> tuple[list[tuple[str, str]], bool]:
    relations = archive.relations(main)
    found: list[tuple[tuple[str, str], bool]] = []
    is_1904 = False
    for kind, data in _records(archive, main):
        if kind == _BOOK:
            is_1904 = bool(data[0] & 1)
        elif kind == _SHEET:
            state = struct.unpack_from("<I", data, 0)[0]
            identifier = _wide(data, 8)
            name = _wide(data, 12 + 2 * len(identifier))
            _, target = relations.get(identifier, ("", ""))
            if archive.has(target):
                found.append(((name, target), state != 0))
    return visible(found), is_1904


def _styles(archive: Archive, main: str, *, is_1904: bool) -> CellStyles:
    codes = dict(BUILT_IN)
    bold_fonts: list[bool] = []
    styles: list[tuple[int, int]] = []
    for part in archive.related(main, "styles"):
        inside = False
        for kind, data in _records(archive, part):
            if kind == _FORMAT:
                codes[struct.unpack_from("<H", data)[0]] = _wide(data, 2)
            elif kind == _FONT:
                bold_fonts.append(struct.unpack_from("<H", data, 4)[0] >= _BOLD)
            elif kind in (_BEGIN_CELL_STYLES, _END_CELL_STYLES):
                inside = kind == _BEGIN_CELL_STYLES
            elif kind == _STYLE and inside:
                styles.append(struct.unpack_from("<HH", data, 2))
    return CellStyles(
        codes=[codes.get(code, GENERAL) for code, _ in styles],
        bold=[font < len(bold_fonts) and bold_fonts[font] for _, font in styles],
        is_1904=is_1904,
    )


def _layout(archive: Archive, part: str) -> Layout:
    """Return what is hidden and merged: read first, since it stands behind the cells."""
    layout = Layout()
    left = archive.left
    for kind, data in _records(archive, part):
        if kind == _COLUMN:
            first, last = struct.unpack_from("<II", data)
            flags = struct.unpack_from("<H", data, 16)[0]
            if flags & 1 and not flags >> 8 & 7:
                layout.hide_columns(first + 1, last + 1)
        elif kind == _MERGE:
            top, bottom, begin, end = struct.unpack_from("<IIII", data)
            layout.merge(top + 1, begin + 1, bottom + 1, end + 1)
        elif kind == _FILTER:
            top, bottom = struct.unpack_from("<II", data)
            layout.filtered.append((top + 1, bottom + 1))
    layout.close()
    archive.left = left
    return layout


def _rows(
    archive: Archive,
    part: str,
    strings: list[str],
    styles: CellStyles,
    counter: CellCounter,
) -> Iterator[tuple[list[str], bool]]:
    """Yield the cells of each row and whether all are bold; [] if rows between are empty."""
    layout = _layout(archive, part)
    cells: list[str] = []
    number = last = 0
    is_hidden, is_strong = False, True

    def row() -> Iterator[tuple[list[str], bool]]:
        nonlocal last
        if is_hidden:
            last = number if last else 0
        elif cells:
            if last and number > last + 1:
                yield [], False
            last = number
            yield layout.arrange(cells, number), is_strong

    for kind, data in _records(archive, part):
        if kind == _ROW:
            yield from row()
            cells, is_strong = [], True
            number = struct.unpack_from("<I", data)[0] + 1
            flags = data[11]
            is_hidden = bool(flags & 0x10) and layout.hides_row(number, outline=flags & 7)
        elif _BLANK < kind <= _FORMULA_ERROR or kind == _RICH_STRING:
            column, style = struct.unpack_from("<II", data)
            style &= 0xFFFFFF
            text = clean_line(_shown(kind, data, style, strings, styles))
            if text and not is_hidden:
                counter.add()
                place(cells, column + 1, text)
                is_strong = is_strong and styles.is_bold(style)
    yield from row()


def _shown(kind: int, data: bytes, style: int, strings: list[str], styles: CellStyles) -> str:
    if kind == _SHARED:
        index = struct.unpack_from("<I", data, 8)[0]
        return strings[index] if index < len(strings) else ""
    if kind == _RK:
        return styles.show(_rk(struct.unpack_from("<I", data, 8)[0]), style)
    if kind in (_REAL, _FORMULA_NUMBER):
        return styles.show(struct.unpack_from("<d", data, 8)[0], style)
    if kind in (_STRING, _FORMULA_STRING):
        return _wide(data, 8)
    if kind == _RICH_STRING:
        return _wide(data, 9)
    if kind in (_BOOL, _FORMULA_BOOL):
        return "TRUE" if data[8] else "FALSE"
    return _ERRORS.get(data[8], "#ERROR")


def _rk(value: int) -> float:
    """Return an RkNumber: 30 bits of a number of which a hundredth may be meant."""
    if value & 2:
        whole = value >> 2
        number = float(whole - (1 << 30) if whole & 1 << 29 else whole)
    else:
        number = struct.unpack("<d", b"\0\0\0\0" + struct.pack("<I", value & 0xFFFFFFFC))[0]
    return number / 100 if value & 1 else number
