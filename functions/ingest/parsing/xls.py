"""Old Excel workbooks (xls), by xlrd, which knows their number formats and merged cells."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import xlrd
from xlrd.biffh import error_text_from_code

from shared.errors import Unreadable

from .blocks import EmptyPage, Event, PageCount, Request, clean_line, corrupt, heading, read_all
from .compound import read_stream
from .number_formats import GENERAL
from .sheets import MAX_CELL_CHARS, CellCounter, CellStyles, Layout, place, too_many_sheets, visible
from .tables import TableWriter

# What xlrd raises on damage, found by fuzzing: it checks little of what it reads.
_ERRORS = (
    xlrd.XLRDError,
    xlrd.compdoc.CompDocError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
_BOLD = 700
_FILTER = "_FilterDatabase"


def parse_xls(request: Request) -> Iterator[Event]:
    """Yield the blocks of a workbook, sheet by sheet."""
    try:
        # xlrd follows sectors in circles; the stream alone it reads as what Excel 4 wrote.
        book = xlrd.open_workbook(
            file_contents=read_stream(read_all(request), ("workbook", "book")),
            formatting_info=True,
            on_demand=True,
            logfile=_Nowhere(),
            ragged_rows=True,
        )
        yield from _book_blocks(book, request)
    except _ERRORS as error:
        if "encrypted" in str(error).lower():
            raise Unreadable(
                "encrypted",
                "The Excel file is protected by a password. "
                "Remove the password and upload it again.",
            ) from error
        raise corrupt(
            "The Excel file is damaged. Open it in Excel, save it as xlsx and upload that copy."
        ) from error


class _Nowhere(io.TextIOBase):
    """Where xlrd's warnings go: they name offsets, on which no user can act."""

    def write(self, text: str) -> int:
        return len(text)


def _book_blocks(book: xlrd.Book, request: Request) -> Iterator[Event]:
    numbers = visible([(i, bool(book._sheet_visibility[i])) for i in range(book.nsheets)])
    if len(numbers) > request.limits.max_pages:
        raise too_many_sheets(len(numbers), request.limits)
    yield PageCount(len(numbers))
    codes = [
        book.format_map[style.format_key].format_str if style.format_key in book.format_map else ""
        for style in book.xf_list
    ]
    fonts = [font.weight >= _BOLD or bool(font.bold) for font in book.font_list]
    styles = CellStyles(
        codes=[code or GENERAL for code in codes],
        bold=[style.font_index < len(fonts) and fonts[style.font_index] for style in book.xf_list],
        is_1904=bool(book.datemode),
    )
    counter = CellCounter(request.limits)
    for page, number in enumerate(numbers, start=1):
        sheet = book.sheet_by_index(number)
        is_filtered = any(
            _FILTER in name.name and name.scope in (number, -1) for name in book.name_obj_list
        )
        writer = TableWriter(page=page, is_sheet=True)
        some = False
        for cells, is_strong in _rows(sheet, styles, counter, is_filtered=is_filtered):
            if not some:
                yield from heading(clean_line(sheet.name), level=1, page=page)
                some = True
            yield from writer.row(cells, is_strong=is_strong)
        yield from writer.end()
        for (row, column), note in sorted(sheet.cell_note_map.items()):
            if line := clean_line(note.text):
                some = True
                yield from writer.note(f"Comment on {xlrd.cellname(row, column)}: {line}")
        if not some:
            yield EmptyPage(page)
        book.unload_sheet(number)


def _layout(sheet: xlrd.sheet.Sheet, *, is_filtered: bool) -> Layout:
    layout = Layout()
    for top, bottom, left, right in sheet.merged_cells:
        layout.merge(top + 1, left + 1, bottom, right)
    for column, its in sheet.colinfo_map.items():
        if its.hidden and not its.outline_level:
            layout.hide_columns(column + 1, column + 1)
    if is_filtered:
        # The range is in a formula that is not read: any hidden row may be the filter's.
        layout.filtered.append((1, sheet.nrows))
    layout.close()
    return layout


def _rows(
    sheet: xlrd.sheet.Sheet, styles: CellStyles, counter: CellCounter, *, is_filtered: bool
) -> Iterator[tuple[list[str], bool]]:
    """Yield the cells of each row and whether all are bold; [] for an empty row."""
    layout = _layout(sheet, is_filtered=is_filtered)
    some = False
    for row in range(sheet.nrows):
        info = sheet.rowinfo_map.get(row)
        is_hidden = info is not None and info.hidden
        if is_hidden and layout.hides_row(row + 1, outline=info.outline_level):
            continue
        cells: list[str] = []
        is_strong = True
        for column in range(sheet.row_len(row)):
            style = sheet.cell_xf_index(row, column)
            kind, value = sheet.cell_type(row, column), sheet.cell_value(row, column)
            if text := clean_line(_shown(kind, value, style, styles)):
                counter.add()
                place(cells, column + 1, text)
                is_strong = is_strong and styles.is_bold(style)
        if cells:
            some = True
            yield layout.arrange(cells, row + 1), is_strong
        elif some:
            yield [], False


def _shown(kind: int, value: object, style: int, styles: CellStyles) -> str:
    if isinstance(value, float) and kind in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
        return styles.show(value, style)
    if kind == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if value else "FALSE"
    if kind == xlrd.XL_CELL_ERROR:
        return str(error_text_from_code.get(value, "#ERROR"))
    return str(value)[:MAX_CELL_CHARS] if kind == xlrd.XL_CELL_TEXT else ""
