"""
One model of a table for all formats: a grid, its header rows, and the text around it.

A format hands over rows of cells, with the places that merged cells cover filled in (see Spans).
TableWriter waits for the first rows of a table, finds the header by what differs from the rows
below it, and gives out a block a row, each with the header that it belongs to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from shared.values import TextSource

from .blocks import Block, TableHead, TableRow, paragraph

# A row of more characters is written as a record, a line a column: its cells stay near their names.
_MAX_ROW_CHARS = 600
# A row with a longer cell lays out a page; it is no data.
_MAX_DATA_CELL_CHARS = 4_000
# A header that a model reads as more word pieces is not repeated: its rows become records.
_MAX_HEADER_TOKENS = 90
# Rows that are looked at before the header is decided.
_WINDOW_ROWS = 60
# The same where an empty column may part two tables that stand beside each other.
_PARTED_ROWS = 2_000
# Rows that tell what a column holds.
_SAMPLE_ROWS = 20
_MAX_HEADER_ROWS = 5
_MAX_NAME_CHARS = 100
# A longer text with a full stop is a sentence.
_MAX_ABBREVIATION_CHARS = 20
MAX_TITLE_CHARS = 100
# What a merged cell repeats at most, in each direction and in length.
_MAX_COVERED_COLUMNS = 256
_MAX_COVERED_CHARS = 200
# A table within a cell that is no larger is read as the cell's text.
_MAX_FOLDED_ROWS = 6
_MAX_FOLDED_CHARS = 400
# No table that a person made has more places that only repeat a merged cell.
_MAX_COVERED_CELLS = 200_000
# WHATWG HTML, "attributes common to td and th elements": the greatest rowspan.
_MAX_COVERED_ROWS = 65_534
_MAX_COLUMNS = 16_384

_NUMBER = re.compile(
    r"""[-+−(~≈<>≤≥]*\s*(?:[A-Z]{0,3}[$€£¥₫₹₩₽₺฿]|[A-Z]{3}\s)?\s*[-+−]?
        (?:\d[\d.,'’\s]*|[.,]\d+)(?:[eE][-+]?\d+)?
        \s*(?:[%‰]|[A-Z]{0,3}[$€£¥₫₹₩₽₺฿]|[^\W\d]{1,4}[²³]?(?:/[^\W\d]{1,3}[²³]?)?|°[CF]?)?\)?$""",
    re.VERBOSE,
)
_YEAR = re.compile(r"(?:FY\s?)?(?:1[6-9]|20|21)\d\d$")
_DATE = re.compile(
    r"""\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?(?:[T\s]+\d{1,2}:\d\d.*)?$
      | \d{1,2}[-/.]\s?\d{1,2}[-/.]\s?(?:\d{2,4})?(?:\s+\d{1,2}:\d\d.*)?$
      | -?\d{1,6}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[aApP][mM])?$""",
    re.VERBOSE,
)
_DIGIT = re.compile(r"\d")
_WORDS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_NOTHING = frozenset(["-", "–", "—", ".", "..", "...", "…", "/", "?", "n/a", "N/A", "n.a.", "NA"])

_CellKind = Literal["empty", "text", "number", "year", "date"]


class Beside(str):
    """Text of a merged cell in a further column that it covers."""

    __slots__ = ()


class Below(str):
    """Text of a merged cell in a further row that it covers."""

    __slots__ = ()


def folds(rows: Sequence[Row]) -> bool:
    """Return whether a table within a cell is small enough to be read as the cell's text."""
    chars = sum(len(cell) for row in rows for cell in row.cells)
    return len(rows) <= _MAX_FOLDED_ROWS and chars <= _MAX_FOLDED_CHARS


def folded(rows: Iterable[Row]) -> str:
    """Return the rows of a table as the text of the cell that it stands in."""
    lines: list[str] = []
    for row in rows:
        filled = [cell for cell in row.cells if cell]
        lines.append((": " if len(filled) == 2 else ", ").join(filled))
    return "; ".join(filter(None, lines))


def cover(text: str, *, below: bool) -> str:
    """Return the text for a position that a merged cell covers; long texts are not repeated."""
    if not text or len(text) > _MAX_COVERED_CHARS:
        text = ""
    return Below(text) if below else Beside(text)


class Spans:
    """
    Places the cells of one table, row after row, among those that reach down from above.

    In a row each cell is added from left to right; row() closes it.
    """

    def __init__(self) -> None:
        self.cells: list[str] = []
        # Column: (rows left, what stands there).
        self.reaching: dict[int, tuple[int, str]] = {}
        self.covered = 0

    def add(self, text: str, *, columns: int = 1, rows: int = 1) -> None:
        """Add the next cell, which covers so many columns and rows."""
        if columns == rows == 1 and not self.reaching:
            self.cells.append(text)
            return
        self._fill()
        columns = max(1, min(columns, _MAX_COVERED_COLUMNS, _MAX_COLUMNS - len(self.cells)))
        first = len(self.cells)
        beside = cover(text, below=False) if columns > 1 else ""
        self.cells.append(text)
        self.cells.extend([beside] * (columns - 1))
        if rows > 1:
            rows = min(rows, _MAX_COVERED_ROWS) - 1
            self.reaching[first] = (rows, cover(text, below=True))
            for column in range(first + 1, first + columns):
                self.reaching[column] = (rows, beside)

    def skip(self, columns: int) -> None:
        """Leave this many positions empty, not counting those covered from above."""
        for _ in range(min(columns, _MAX_COLUMNS - len(self.cells))):
            self._fill()
            self.cells.append("")

    def skip_to(self, column: int) -> None:
        """Leave places empty up to a column, from 0."""
        self._fill()
        while len(self.cells) < min(column, _MAX_COLUMNS):
            self.cells.append("")
            self._fill()

    def row(self) -> list[str]:
        """Return the whole row and begin the next one."""
        if self.reaching:
            self._fill()
            # Cells that reach down right of the last one.
            for column in sorted(self.reaching):
                if column >= len(self.cells):
                    self.cells.extend([""] * (column - len(self.cells)))
                    self._fill()
        cells, self.cells = self.cells, []
        return cells

    def _fill(self) -> None:
        while (found := self.reaching.get(len(self.cells))) is not None:
            left, text = found
            if left <= 1:
                del self.reaching[len(self.cells)]
            else:
                self.reaching[len(self.cells)] = (left - 1, text)
            self.cells.append(text)
            self.covered += 1
            if self.covered > _MAX_COVERED_CELLS:
                self.reaching.clear()


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of a grid.

    Attributes:
        is_header: Whether it names columns by the format itself, None if that says nothing.
        is_strong: All of it is bold, or set apart in another way.
    """

    cells: list[str]
    is_header: bool | None = None
    is_strong: bool = False


def looks_like_header(cells: Sequence[str]) -> bool:
    """Return whether a row alone names columns: short words, each once, but for a blank corner."""
    names = [cell for cell in cells if cell]
    return (
        len(names) > 1
        and all(cells[1:])
        and all(
            len(name) <= _MAX_NAME_CHARS
            and kind_of(name) == "text"
            and not name.endswith(":")
            and not (name.endswith(".") and len(name) > _MAX_ABBREVIATION_CHARS)
            and not name.startswith(("-", "+"))
            for name in names
        )
        and len(set(names)) == len(names)
    )


def kind_of(text: str) -> _CellKind:
    """Return the kind of a cell's content."""
    if not text or text in _NOTHING:
        return "empty"
    if not _DIGIT.search(text):
        return "text"
    if _YEAR.match(text):
        return "year"
    if _DATE.match(text):
        return "date"
    return "number" if len(text) <= 40 and _NUMBER.match(text) else "text"


def count_header_rows(rows: Sequence[Row]) -> int:
    """
    Return how many of the first rows name columns.

    What the format says counts first. Else a row does so where it differs from the rows below: in
    what its cells hold (words, years or dates above numbers) or by bold type; and, in a table of
    words alone, where it could (see looks_like_header).
    """
    marked = 0
    for row in rows[:_MAX_HEADER_ROWS]:
        if not row.is_header:
            break
        marked += 1
    if marked:
        return marked
    rows = rows[:_SAMPLE_ROWS]
    kinds = [[kind_of(cell) for cell in row.cells] for row in rows]
    count = 0
    while count < min(_MAX_HEADER_ROWS, len(rows) - 1) and _names_columns(rows, kinds, count):
        count += 1
    # A cell of the header that reaches into the next row takes it along.
    while 0 < count < len(rows) - 1 and any(
        isinstance(cell, Below) and cell for cell in rows[count].cells
    ):
        count += 1
    return count


def _names_columns(rows: Sequence[Row], kinds: list[list[_CellKind]], at: int) -> bool:
    row, own = rows[at], kinds[at]
    if row.is_header is False or _own_cells(row.cells) < 2:
        return False
    differs, same = _difference(own, kinds[at + 1 :])
    strong_below = sum(1 for other in rows[at + 1 :] if other.is_strong)
    if row.is_strong and 2 * strong_below < len(rows) - at - 1 and same <= differs + 1:
        return True
    if at == 0:
        if differs > same:
            return not row.cells[0].endswith(":")
        step = _series_step(row.cells[1:])
        if step and step != _series_step(rows[1].cells[1:]):
            return True
        return differs == same == 0 and looks_like_header(row.cells)
    above = rows[at - 1].cells
    if any(isinstance(cell, Below) and cell for cell in row.cells):
        return True
    divides = any(
        cell and (isinstance(above[i], Beside) or not above[i])
        for i, cell in enumerate(row.cells)
        if i < len(above) and i > 0
    )
    if divides:
        return same == 0 and (differs > 0 or any(isinstance(cell, Beside) for cell in above))
    return same == 0 and differs > 1


def _difference(own: list[_CellKind], below: list[list[_CellKind]]) -> tuple[int, int]:
    """Return in how many columns a row differs in kind from those below, and in how many not."""
    differs = same = 0
    several = sum(1 for kind in own if kind in ("year", "date")) > 1 or own[:1] == ["empty"]
    for column, kind in enumerate(own):
        if kind == "empty":
            continue
        usual = _usual_kind(below, column)
        if usual == "empty" or (kind == "text" and usual == "text"):
            continue
        if kind == usual or kind == "number":
            same += usual != "text"
        elif kind == "text" or several:
            differs += 1
        else:
            same += usual in ("number", "year")
    return differs, same


def _usual_kind(rows: list[list[_CellKind]], column: int) -> _CellKind:
    """Return the most common kind in a column; on a tie, the kind further down."""
    found = [row[column] for row in reversed(rows) if column < len(row)]
    counted = Counter(kind for kind in found if kind != "empty")
    return counted.most_common(1)[0][0] if counted else "empty"


def _series_step(cells: Sequence[str]) -> int:
    """
    Return the distance of numbers in a row such as 1, 2, 3 or years; 0 if it varies.

    Two numbers make no row unless they are 1 and 2.
    """
    if len(cells) < 2 or not all(cell.isdecimal() and len(cell) < 9 for cell in cells):
        return 0
    if len(cells) == 2 and list(cells) != ["1", "2"]:
        return 0
    numbers = [int(cell) for cell in cells]
    steps = {after - before for before, after in pairwise(numbers)}
    step = steps.pop()
    return step if not steps and abs(step) in (1, 5, 10) else 0


def _own_cells(cells: Sequence[str]) -> int:
    """Return how many cells hold text of their own."""
    return sum(1 for cell in cells if cell and not isinstance(cell, Beside | Below))


def column_names(rows: Sequence[list[str]]) -> list[str]:
    """Return one name a column: what its header rows say, from above, each word once."""
    width = max(map(len, rows), default=0)
    parts: list[list[str]] = [[] for _ in range(width)]
    for number, row in enumerate(rows):
        last = ""
        below = rows[number + 1] if number + 1 < len(rows) else []
        for column in range(width):
            cell = row[column] if column < len(row) else ""
            if cell:
                last = cell
            elif last and column < len(below) and below[column]:
                # A name above several columns that are not merged.
                cell = last
            if cell and cell not in parts[column]:
                parts[column].append(cell)
    return [" ".join(part) for part in parts]


def _estimated_tokens(text: str) -> int:
    """Return about how many word pieces a model makes of *text*."""
    return sum(
        1 + (len(word) - 1) // (6 if word.isascii() and word.isalpha() else 3)
        for word in _WORDS.findall(text)
    )


class TableWriter:
    """
    Writes the rows of one table, or of one sheet with any number of them.

    *title* may be set before the first row, to what names the table in front of it.

    Args:
        is_sheet: Rows come from a sheet or file, where blank rows part tables and lines of text
            stand above them; else all rows belong to one table.
    """

    def __init__(
        self, *, page: int | None = None, is_sheet: bool = False, source: TextSource = "text"
    ) -> None:
        self.page = page
        self.is_sheet = is_sheet
        self.source: TextSource = source
        self.gap = "\n\n"
        self.waiting: list[Row] = []
        self.is_open = False
        self.title = ""
        self.lone: Row | None = None
        self.may_part = False
        self._forget()

    def _forget(self) -> None:
        self.left = 0
        self.width = 0
        self.names: list[str] = []
        self.head: TableHead | None = None
        self.header_rows: list[list[str]] = []
        self.header = ""
        self.group = ""
        self.single = ""
        self.dropped: frozenset[int] = frozenset()
        self.fills_down = False
        self.above = ""
        self.sample: list[list[str]] = []

    def row(
        self, cells: list[str], *, is_header: bool | None = None, is_strong: bool = False
    ) -> Iterator[Block]:
        """Take the next row, and yield what is decided by now."""
        while cells and not cells[-1]:
            cells.pop()
        if not cells or not any(cells):
            if self.is_sheet:
                yield from self.blank()
            return
        restarts = self.is_open and self._restarts(cells)
        if self.is_open and not (is_header or is_strong or restarts):
            yield from self._body(cells)
            return
        row = Row(cells, is_header or restarts or None, is_strong)
        if self.is_open:
            if self._columns(list(cells)) in self.header_rows:
                # Printed again on every page.
                return
            if not self._opens_table(row):
                yield from self._body(cells)
                return
            self.is_open = False
        self.waiting.append(row)
        if len(self.waiting) == _WINDOW_ROWS:
            self.may_part = self.is_sheet and len(_stripes(self.waiting)) > 1
        if len(self.waiting) >= (_PARTED_ROWS if self.may_part else _WINDOW_ROWS):
            yield from self._settle()

    def blank(self) -> Iterator[Block]:
        """Take an empty row of a sheet."""
        if self.waiting:
            yield from self._settle(at_end=True)
        self.is_open = False
        self.gap = "\n\n"

    def end(self) -> Iterator[Block]:
        """Yield what is left."""
        if self.waiting:
            yield from self._settle(at_end=True)
        if self.lone is not None:
            lone, self.lone = self.lone, None
            yield from self._line(lone.cells)
        self.is_open = False
        self.title = ""
        self._forget()
        self.gap = "\n\n"

    def pause(self) -> Iterator[Block]:
        """Yield what waits; the rows that come next, on another page, are of the same table."""
        if self.waiting:
            yield from self._settle(at_end=True)
        if self.lone is not None:
            lone, self.lone = self.lone, None
            yield from self._line(lone.cells)
        self.gap = "\n\n"

    def note(self, text: str) -> Iterator[Block]:
        """Yield what stands beside the tables."""
        yield from self.end()
        yield from paragraph(text, page=self.page, source=self.source)

    def _restarts(self, cells: list[str]) -> bool:
        """Return whether a row names other columns: those of a table below a title of its own."""
        if not self.single or not self.names:
            return False
        own = self._columns(list(cells))
        if own in self.header_rows or not looks_like_header(own):
            return False
        if not self._names_other_kinds(cells):
            return False
        self.title = self.single
        return True

    def _opens_table(self, row: Row) -> bool:
        """Return whether a row amid the others heads a new part: bold totals do not."""
        if _own_cells(row.cells) < 2:
            return False
        if row.is_header:
            return True
        return self._names_other_kinds(row.cells)

    def _names_other_kinds(self, cells: list[str]) -> bool:
        """Return whether a row has words, and no number, where the table has numbers or dates."""
        kinds = [kind_of(cell) for cell in self._columns(cells)]
        if "number" in kinds:
            return False
        sample = [[kind_of(cell) for cell in row] for row in self.sample]
        return any(
            kind == "text" and _usual_kind(sample, column) in ("number", "date", "year")
            for column, kind in enumerate(kinds)
        )

    def _settle(self, *, at_end: bool = False) -> Iterator[Block]:
        """Decide what the waiting rows are, and yield them."""
        rows, self.waiting, self.may_part = self.waiting, [], False
        parts = _side_by_side(rows) if self.is_sheet and at_end else [rows]
        for part in parts:
            if len(parts) > 1:
                yield from self._lone()
                self._forget()
                self.gap = "\n\n"
            yield from self._block(part)
            while at_end and self.waiting:
                rest, self.waiting = self.waiting, []
                yield from self._block(rest)
        if len(parts) > 1:
            self._forget()

    def _block(self, rows: list[Row]) -> Iterator[Block]:
        above = _lines_above(rows)
        table = rows[above:]
        count = count_header_rows(table)
        if (
            len(table) == 1
            and self.is_sheet
            and not self.names
            and looks_like_header(_trimmed(table[0].cells))
        ):
            # It may be the header of what follows behind a blank row.
            yield from self._lines(rows[:above])
            yield from self._lone()
            self.lone = table[0]
            return
        goes_on = bool(self.names) and bool(table) and self._goes_on(table, count)
        lone, self.lone = self.lone, None
        if lone is not None:
            has_own = count > 0 and not _is_all_text(table)
            if table and not has_own and not above and _extent(lone.cells) == _extent_of(table):
                table, count, goes_on = [lone, *table], 1, False
            else:
                yield from self._line(lone.cells)
        if not goes_on:
            self._forget()
            yield from self._lines(rows[:above])
        else:
            count = 0
            for row in rows[:above]:
                yield from self._body(row.cells)
        if not table:
            self.is_open = False
            return
        if not goes_on:
            yield from self._head(table, count)
        self.is_open = True
        for i, row in enumerate(table[count:], start=count):
            restarts = self._restarts(row.cells)
            if restarts:
                row = Row(row.cells, True, row.is_strong)
            if restarts or (
                i > count and (row.is_header or row.is_strong) and self._opens_table(row)
            ):
                # Decided again, with the rows below it.
                self.is_open = False
                self.waiting = [row, *table[i + 1 :]]
                return
            yield from self._body(row.cells)

    def _goes_on(self, table: list[Row], count: int) -> bool:
        """Return whether rows behind a blank one belong to the table above."""
        first, last = _extent_of(table)
        if first < self.left or last > self.left + self.width:
            return False
        if count and (table[0].is_header or table[0].is_strong):
            return False
        if not count:
            return last - first > 1
        if self._names_other_kinds(table[0].cells):
            return False
        return first == self.left and last == self.left + self.width and _is_all_text(table)

    def _head(self, table: list[Row], count: int) -> Iterator[Block]:
        """Set up what the rows of a new table share, and yield its header rows."""
        self.left, last = _extent_of(table)
        self.width = last - self.left
        self.dropped = _repeating_columns(table) if self.width > 1 else frozenset()
        body = [self._columns(row.cells) for row in table[count:]]
        self.sample = body[:_SAMPLE_ROWS]
        self.fills_down = bool(count) and _is_grouped(body)
        heads = [self._columns(row.cells) for row in table[:count]]
        self.header_rows = heads
        if not heads:
            return
        self.names = column_names(heads)
        header = " | ".join(self.names)
        self.head = TableHead(self.title, tuple(self.names))
        if self.title:
            header, self.title = f"{self.title}\n{header}", ""
        self.header = header if _estimated_tokens(header) <= _MAX_HEADER_TOKENS else ""
        text = "\n".join(" | ".join(cells) for cells in heads)
        yield from self._row_block(text, gap="\n\n")

    def _lines(self, rows: list[Row]) -> Iterator[Block]:
        """Yield what stands above a table; a short last line of its own is the table's title."""
        for row in rows:
            yield from self._line(row.cells)

    def _line(self, cells: list[str]) -> Iterator[Block]:
        own = [cell for cell in cells if cell and not isinstance(cell, Beside | Below)]
        text = " | ".join(own) if len(own) > 1 else "".join(own) or next(filter(None, cells), "")
        if len(own) <= 1 and len(text) <= MAX_TITLE_CHARS and text[-1:] not in ".!?":
            self.title = text
        yield from paragraph(text, page=self.page, source=self.source)

    def _lone(self) -> Iterator[Block]:
        lone, self.lone = self.lone, None
        if lone is not None:
            yield from self._line(lone.cells)

    def _columns(self, cells: list[str]) -> list[str]:
        """Return the cells of a row in the columns of the table."""
        if self.left:
            lost = [cell for cell in cells[: self.left] if cell]
            cells = cells[self.left :] if not lost else [" ".join(lost), *cells[self.left + 1 :]]
        if self.dropped:
            kept: list[str] = []
            for column, cell in enumerate(cells, start=self.left):
                if column not in self.dropped:
                    kept.append(cell)
                elif cell and not isinstance(cell, Beside) and kept:
                    kept[-1] = f"{kept[-1]} {cell}".strip()
            cells = kept
            while cells and not cells[-1]:
                cells.pop()
        return cells

    def _body(self, cells: list[str]) -> Iterator[Block]:
        if self.left or self.dropped:
            cells = self._columns(cells)
            if not cells:
                return
        filled = len(cells) - cells.count("")
        self.single = ""
        if cells in self.header_rows:
            # Printed again on every page.
            return
        if filled == 1 or (isinstance(cells[-1], Beside) and _own_cells(cells) == 1):
            yield from self._single(cells)
            return
        if self.fills_down:
            if cells[0]:
                self.above = cells[0]
            else:
                cells[0] = self.above
        text = " | ".join(cells)
        row = self._data(cells)
        if len(text) > _MAX_DATA_CELL_CHARS and max(map(len, cells)) > _MAX_DATA_CELL_CHARS:
            for cell in cells:
                if cell and not isinstance(cell, Beside | Below):
                    yield from paragraph(cell, page=self.page, source=self.source)
            self.gap = "\n\n"
            return
        header = self.header
        if self.names and (not header or len(text) > _MAX_ROW_CHARS):
            yield from self._record(cells, row)
            return
        if header and self.group:
            header = f"{header}\n{self.group}"
        if filled <= len(cells) // 4:
            text = " | ".join(self._named(cells))
        yield from self._row_block(text, gap=self.gap, header=header, row=row)

    def _data(self, cells: list[str]) -> TableRow | None:
        if self.head is None:
            return None
        covered = tuple(i for i, cell in enumerate(cells) if isinstance(cell, Beside | Below))
        return TableRow(self.head, tuple(map(str, cells)), covered)

    def _single(self, cells: list[str]) -> Iterator[Block]:
        """Yield a row with one text: the name of a group of rows, a note, or a thin table's row."""
        place, text = next((i, cell) for i, cell in enumerate(cells) if cell)
        if self.width < 2:
            yield from paragraph(text, page=self.page, source=self.source)
            self.gap = "\n\n"
            return
        if place and self.names:
            yield from self._row_block(
                " | ".join(cells), gap=self.gap, header=self.header, row=self._data(cells)
            )
            return
        is_name = self.width > 2 and len(text) <= MAX_TITLE_CHARS and text[-1:] not in ".!?"
        self.group = text if is_name else ""
        # It may be the title of another table, whose header comes next.
        self.single = text if len(text) <= MAX_TITLE_CHARS and text[-1:] not in ".!?" else ""
        # In a table of two columns a row with a key alone is data without a value.
        row = None if is_name or self.width > 2 else self._data(cells)
        yield from self._row_block(text, gap=self.gap, header=self.header, row=row)

    def _record(self, cells: list[str], row: TableRow | None) -> Iterator[Block]:
        """Yield a line a column; the parts of a long record go with its first line."""
        lines = self._named(cells)
        key = lines[0] if len(lines[0]) <= MAX_TITLE_CHARS else ""
        yield from paragraph(
            "\n".join(lines),
            kind="row",
            page=self.page,
            header=key,
            source=self.source,
            row=row,
        )
        self.gap = "\n\n"

    def _named(self, cells: list[str]) -> list[str]:
        """Return the filled cells behind the names of their columns, where these have one."""
        return [
            f"{self.names[i]}: {cell}" if i < len(self.names) and self.names[i] else cell
            for i, cell in enumerate(cells)
            if cell
        ]

    def _row_block(
        self, text: str, *, gap: str, header: str = "", row: TableRow | None = None
    ) -> Iterator[Block]:
        yield from paragraph(
            text, kind="row", page=self.page, gap=gap, header=header, source=self.source, row=row
        )
        self.gap = "\n"


def _trimmed(cells: list[str]) -> list[str]:
    return cells[_extent(cells)[0] :]


def _extent(cells: Sequence[str]) -> tuple[int, int]:
    """Return the first filled column, and the one behind the last."""
    first = next((i for i, cell in enumerate(cells) if cell), 0)
    return first, len(cells)


def _extent_of(rows: Sequence[Row]) -> tuple[int, int]:
    extents = [_extent(row.cells) for row in rows]
    return min(first for first, _ in extents), max(last for _, last in extents)


def _is_all_text(rows: Sequence[Row]) -> bool:
    return all(kind_of(cell) in ("text", "empty") for row in rows[:8] for cell in row.cells)


def _lines_above(rows: list[Row]) -> int:
    """Return how many first rows are titles, or keys with their values, not the table's."""
    if rows[0].is_header and (_own_cells(rows[0].cells) > 1 or not rows[0].cells[0]):
        return 0
    counts = [sum(1 for cell in row.cells if cell) for row in rows]
    usual = Counter(counts[-40:]).most_common(1)[0][0]
    usual = max(usual, 2)
    left = _extent_of(rows)[0]
    above = 0
    while above < len(rows):
        cells = rows[above].cells
        first, last = _extent(cells)
        own = _own_cells(cells)
        # One that only covers from above heads nothing, nor does a name above a part of the table.
        is_title = own <= 1
        is_pair = (
            1 < own <= max(2, usual // 2) < usual
            and first == left
            and bool(cells[first : first + 2][-1])
            and counts[above] == own
            and last - first < usual
            and not rows[above].is_strong
        )
        if not (is_title or is_pair):
            break
        above += 1
    return above


def _repeating_columns(rows: Sequence[Row]) -> frozenset[int]:
    """Return the columns in which all rows only go on from the left: the layout's, not data's."""
    width = max(len(row.cells) for row in rows)
    found = []
    for column in range(1, width):
        cells = [row.cells[column] for row in rows if column < len(row.cells)]
        if any(isinstance(cell, Beside) for cell in cells) and all(
            isinstance(cell, Beside) or not cell for cell in cells
        ):
            found.append(column)
    return frozenset(found)


def _is_grouped(body: list[list[str]]) -> bool:
    """
    Tell whether the first column names groups, once each, in the first of their rows.

    So pivot tables are written: it is often empty, never twice the same, and the next is full.
    """
    rows = [cells for cells in body if len(cells) > 1]
    if len(rows) < 4 or not rows[0][0]:
        return False
    names = [cells[0] for cells in rows if cells[0]]
    blank = len(rows) - len(names)
    return (
        3 * blank >= len(rows)
        and len(names) > 1
        and len(set(names)) == len(names)
        and all(kind_of(name) != "number" for name in names)
        and all(cells[1] for cells in rows)
        and len({len(cells) for cells in rows}) <= 2
    )


def _side_by_side(rows: list[Row]) -> list[list[Row]]:
    """
    Return the tables that stand beside each other, parted by an empty column.

    They are two where one goes on below the end of the other, or where both have the same names.
    """
    stripes = _stripes(rows)
    if len(stripes) < 2:
        return [rows]
    parts = []
    for begin, end in stripes:
        part = [
            Row([""] * begin + row.cells[begin:end], row.is_header, row.is_strong) for row in rows
        ]
        parts.append([row for row in part if any(row.cells)])
    for part in parts:
        for row in part:
            while not row.cells[-1]:
                row.cells.pop()
    names = [tuple(filter(None, part[0].cells)) for part in parts]
    if len({len(part) for part in parts}) > 1 or len(set(names)) < len(names):
        return parts
    return [rows]


def _stripes(rows: list[Row]) -> list[tuple[int, int]]:
    """Return the (first column, column behind the last) between empty columns, if all are wide."""
    width = max(len(row.cells) for row in rows)
    filled = {column for row in rows for column, cell in enumerate(row.cells) if cell}
    stripes: list[tuple[int, int]] = []
    start = None
    for column in range(width + 1):
        if column in filled:
            start = column if start is None else start
        elif start is not None:
            stripes.append((start, column))
            start = None
    if len(rows) < 2 or any(end - begin < 2 for begin, end in stripes):
        return [(0, width)]
    return stripes
