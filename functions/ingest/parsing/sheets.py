"""Shared by the spreadsheet formats: hidden and merged cells, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.errors import Unreadable

from .blocks import ParseLimits
from .number_formats import show_number
from .tables import cover

MAX_COLUMNS = 16_384
MAX_CELL_CHARS = 32_767
# Merged ranges that are open at once; a sheet that overlaps more of them is no table.
_MAX_OPEN_MERGES = 1_000
_MAX_COVERED_COLUMNS = 256
# Places of a sheet that only repeat a merged cell.
_MAX_COVERED_CELLS = 1_000_000
_MAX_HIDDEN_RANGES = 1_000

_Sheet = TypeVar("_Sheet")


class CellCounter:
    """Counts the filled cells of a workbook up to the limit."""

    def __init__(self, limits: ParseLimits) -> None:
        self.limit = limits.max_cells
        self.count = 0

    def add(self) -> None:
        """
        Count one cell.

        Raises:
            Unreadable: It is one too many.
        """
        self.count += 1
        if self.count > self.limit:
            raise Unreadable(
                "cell_limit",
                f"The workbook has more than {self.limit:,} filled cells. "
                "Split it into smaller files, or export it as CSV.",
            )


@dataclass(slots=True)
class _Merge:
    """A merged range; *text* is known once its first row was read."""

    top: int
    bottom: int
    left: int
    right: int
    text: str = ""


class Layout:
    """
    The hidden and the merged places of one sheet, rows and columns counted from 1.

    Left out is what an author hid: columns and rows. Rows that a filter or a closed outline hides
    are read, since a reader opens them with a click.
    """

    def __init__(self) -> None:
        self.hidden: set[int] = set()
        self.hidden_ranges = 0
        self.filtered: list[tuple[int, int]] = []
        self.merges: list[_Merge] = []
        self.open_merges: list[_Merge] = []
        self.covered = 0

    def hide_columns(self, first: int, last: int) -> None:
        self.hidden_ranges += 1
        if self.hidden_ranges <= _MAX_HIDDEN_RANGES:
            self.hidden.update(range(max(1, first), min(last, MAX_COLUMNS) + 1))

    def merge(self, top: int, left: int, bottom: int, right: int) -> None:
        if (top, left) != (bottom, right):
            self.merges.append(_Merge(top, bottom, left, right))

    def close(self) -> None:
        """Make ready for arrange: all merged ranges are known."""
        self.merges.sort(key=lambda merge: -merge.top)

    def hides_row(self, number: int, *, outline: int) -> bool:
        """Return whether a row that is marked as hidden is so by its author."""
        return not outline and not any(
            top <= number <= bottom for top, bottom in self.filtered[:100]
        )

    def arrange(self, cells: list[str], number: int) -> list[str]:
        """Return the cells of a row that a reader sees, merged cells in all their places."""
        if self.merges or self.open_merges:
            self._cover(cells, number)
        if self.hidden:
            cells = [cell for i, cell in enumerate(cells, start=1) if i not in self.hidden]
        return cells

    def _cover(self, cells: list[str], number: int) -> None:
        while self.merges and self.merges[-1].top <= number:
            merge = self.merges.pop()
            if merge.top == number and merge.left <= len(cells):
                merge.text = cells[merge.left - 1]
                if merge.text and len(self.open_merges) < _MAX_OPEN_MERGES:
                    self.open_merges.append(merge)
        if not self.open_merges:
            return
        self.open_merges = [merge for merge in self.open_merges if merge.bottom >= number]
        if self.covered > _MAX_COVERED_CELLS:
            self.open_merges, self.merges = [], []
        for merge in self.open_merges:
            right = min(merge.right, merge.left + _MAX_COVERED_COLUMNS - 1, MAX_COLUMNS)
            if right > len(cells):
                cells.extend([""] * (right - len(cells)))
            self.covered += right - merge.left + 1
            for column in range(merge.left, right + 1):
                if not cells[column - 1]:
                    cells[column - 1] = cover(merge.text, below=column == merge.left)


@dataclass(frozen=True, slots=True)
class CellStyles:
    """The format code of each cell style of a workbook, and whether it is bold."""

    codes: Sequence[str]
    bold: Sequence[bool]
    is_1904: bool = False

    def show(self, number: float, style: int) -> str:
        """Return a number as a cell of a style shows it."""
        code = self.codes[style] if 0 <= style < len(self.codes) else ""
        return show_number(number, code, is_1904=self.is_1904)

    def is_bold(self, style: int) -> bool:
        return 0 <= style < len(self.bold) and self.bold[style]


def too_many_sheets(count: int, limits: ParseLimits) -> Unreadable:
    """Return the refusal of a workbook with more sheets than pages are allowed."""
    return Unreadable(
        "too_many_pages",
        f"The workbook has {count} sheets; at most {limits.max_pages} are read. "
        "Split it into smaller files.",
    )


def visible(sheets: Sequence[tuple[_Sheet, bool]]) -> list[_Sheet]:
    """
    Return the sheets that are not hidden; all of them where no other is there.

    Excel writes no workbook of hidden sheets alone: they are what it holds.
    """
    shown = [sheet for sheet, is_hidden in sheets if not is_hidden]
    return shown or [sheet for sheet, _ in sheets]


def place(cells: list[str], column: int, text: str) -> None:
    """Put *text* into a column of a row, from 1."""
    column = min(column, MAX_COLUMNS)
    if column > len(cells):
        cells.extend([""] * (column - len(cells)))
    cells[column - 1] = text
