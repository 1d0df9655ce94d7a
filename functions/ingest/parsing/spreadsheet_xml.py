"""
Workbooks of Excel 2003's XML, which programs still write and name .xls.

Source: https://learn.microsoft.com/previous-versions/office/developer/office-xp/aa140066
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .archives import XmlEvent, xml_events
from .blocks import EmptyPage, Event, PageCount, Request, Title, clean_line, heading
from .number_formats import GENERAL, show_number
from .sheets import MAX_CELL_CHARS, MAX_COLUMNS, CellCounter, too_many_sheets
from .tables import Spans, TableWriter

_PIECE_BYTES = 1 << 16
_NAMED = {
    "General Number": GENERAL, "General Date": "yyyy-mm-dd h:mm", "Long Date": "yyyy-mm-dd",
    "Medium Date": "yyyy-mm-dd", "Short Date": "yyyy-mm-dd", "Long Time": "h:mm:ss",
    "Medium Time": "h:mm AM/PM", "Short Time": "h:mm", "Currency": "#,##0.00",
    "Euro Currency": "#,##0.00 €", "Fixed": "0.00", "Standard": "#,##0.00", "Percent": "0.00%",
    "Scientific": "0.00E+00", "Yes/No": '"Yes";"Yes";"No"', "True/False": '"True";"True";"False"',
    "On/Off": '"On";"On";"Off"',
}  # fmt: skip
_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)


@dataclass(slots=True)
class _Style:
    code: str = ""
    is_bold: bool | None = None
    parent: str = ""


@dataclass(slots=True)
class _Cell:
    columns: int = 1
    rows: int = 1
    style: str = ""
    formula: str = ""
    kind: str = "String"
    text: list[str] = field(default_factory=list)


def parse_spreadsheet_xml(request: Request) -> Iterator[Event]:
    """Yield the blocks of a workbook, sheet by sheet."""
    hidden = _hidden_sheets(request)
    shown = sum(1 for is_hidden in hidden if not is_hidden)
    if not shown:
        hidden, shown = [False] * len(hidden), len(hidden)
    if shown > request.limits.max_pages:
        raise too_many_sheets(shown, request.limits)
    yield PageCount(shown)
    yield from _Reader(hidden, CellCounter(request.limits)).read(_events(request))


def _events(request: Request) -> Iterator[XmlEvent]:
    request.source.seek(0)
    return xml_events(iter(lambda: request.source.read(_PIECE_BYTES), b""), what="Excel file")


def _hidden_sheets(request: Request) -> list[bool]:
    """Return for each sheet whether it is hidden: that stands behind its cells."""
    hidden: list[bool] = []
    inside = False
    for event in _events(request):
        if event.name == "Worksheet" and event.kind == "start":
            hidden.append(False)
        elif event.name == "Visible":
            inside = event.kind == "start"
        elif inside and event.kind == "text" and hidden:
            hidden[-1] = hidden[-1] or "hidden" in event.text.lower()
    return hidden


class _Reader:
    """Goes through one workbook."""

    def __init__(self, hidden: list[bool], counter: CellCounter) -> None:
        self.hidden = hidden
        self.counter = counter
        self.styles: dict[str, _Style] = {}
        self.style = _Style()
        self.sheet = self.page = 0
        self.name = ""
        self.some = False
        self.writer = TableWriter()
        self.spans = Spans()
        self.cell: _Cell | None = None
        self.row = 0
        self.filled = False
        self.is_strong = True
        self.is_hidden_row = False
        self.inside = ""
        self.title: list[str] = []
        self.comment: list[str] | None = None
        self.comments: list[str] = []

    def read(self, events: Iterator[XmlEvent]) -> Iterator[Event]:
        for event in events:
            if event.kind == "start":
                yield from self._start(event.name, event.attributes)
            elif event.kind == "end":
                yield from self._end(event.name)
            elif self.comment is not None:
                self.comment.append(event.text)
            elif self.inside == "Data" and self.cell is not None:
                self.cell.text.append(event.text)
            elif self.inside == "Title":
                self.title.append(event.text)

    def _is_read(self) -> bool:
        return 0 < self.sheet <= len(self.hidden) and not self.hidden[self.sheet - 1]

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Event]:
        if name == "Style":
            self.style = _Style(parent=attributes.get("Parent", "Default"))
            self.styles[attributes.get("ID", "")] = self.style
        elif name == "NumberFormat":
            code = attributes.get("Format", "")
            self.style.code = _NAMED.get(code, code)
        elif name == "Font" and "Bold" in attributes and not self.sheet:
            self.style.is_bold = attributes["Bold"] == "1"
        elif name == "Worksheet":
            self.sheet += 1
            self.page += self._is_read()
            self.name, self.some, self.row = attributes.get("Name", ""), False, 0
            self.writer, self.spans = TableWriter(page=self.page, is_sheet=True), Spans()
            self.comments = []
        elif name == "Row":
            yield from self._row_start(attributes)
        elif name == "Cell":
            index = min(_integer(attributes.get("Index", "")), MAX_COLUMNS)
            self.spans.skip_to(index - 1)
            self.cell = _Cell(
                columns=_integer(attributes.get("MergeAcross", "")) + 1,
                rows=_integer(attributes.get("MergeDown", "")) + 1,
                style=attributes.get("StyleID", ""),
                formula=attributes.get("Formula", ""),
            )
        elif name == "Comment":
            self.comment = []
        elif name == "Data" and self.cell is not None and self.comment is None:
            self.cell.kind = attributes.get("Type", "String")
            self.inside = name
        elif name == "Title" and not self.sheet:
            self.inside = name

    def _row_start(self, attributes: dict[str, str]) -> Iterator[Event]:
        index = _integer(attributes.get("Index", ""))
        if index > self.row + 1 and self._is_read():
            yield from self.writer.blank()
        self.row = index or self.row + 1
        self.filled, self.is_strong = False, True
        self.is_hidden_row = attributes.get("Hidden", "0") == "1"

    def _end(self, name: str) -> Iterator[Event]:
        if name == "Comment" and self.comment is not None:
            if line := clean_line("".join(self.comment)):
                self.comments.append(line)
            self.comment = None
        elif name in ("Data", "Title"):
            self.inside = ""
            if name == "Title" and (title := clean_line("".join(self.title))):
                yield Title(title)
        elif name == "Cell" and self.cell is not None:
            cell, self.cell = self.cell, None
            text = clean_line(self._shown(cell))
            if text:
                self.counter.add()
                self.filled = True
                self.is_strong = self.is_strong and self._is_bold(cell.style)
            self.spans.add(text, columns=cell.columns, rows=cell.rows)
        elif name == "Row":
            cells = self.spans.row()
            if not self._is_read() or self.is_hidden_row:
                return
            if self.filled and not self.some:
                self.some = True
                yield from heading(clean_line(self.name), level=1, page=self.page)
            yield from self.writer.row(cells if self.filled else [], is_strong=self.is_strong)
        elif name == "Worksheet" and self._is_read():
            yield from self.writer.end()
            for comment in self.comments:
                self.some = True
                yield from self.writer.note(f"Comment: {comment}")
            if not self.some:
                yield EmptyPage(self.page)

    def _shown(self, cell: _Cell) -> str:
        text = "".join(cell.text)[:MAX_CELL_CHARS]
        if not text.strip():
            return cell.formula[:MAX_CELL_CHARS]
        code = self._code(cell.style)
        if cell.kind == "Number":
            try:
                return show_number(float(text), code)
            except ValueError:
                return text
        if cell.kind == "DateTime":
            try:
                moment = datetime.fromisoformat(text.strip()).replace(tzinfo=UTC)
            except ValueError:
                return text
            days = (moment - _EPOCH).total_seconds() / 86_400
            return show_number(days, code or "yyyy-mm-dd") if days >= 0 else text
        if cell.kind == "Boolean":
            return "TRUE" if text.strip() == "1" else "FALSE"
        return text

    def _code(self, style: str) -> str:
        for _ in range(10):
            found = self.styles.get(style)
            if found is None or found.code:
                break
            style = found.parent
        return found.code if found else ""

    def _is_bold(self, style: str) -> bool:
        found = self.styles.get(style)
        return found is not None and bool(found.is_bold)


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0
