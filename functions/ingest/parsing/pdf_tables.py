"""
Finds tables on a page of a PDF, which has only words and lines at positions.

Where lines are drawn around the cells they tell rows, columns and merged cells. Elsewhere columns
are what the words of several rows leave free between them, and a row's second line belongs to it.
"""

from __future__ import annotations

import math
import re
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, groupby, pairwise, repeat
from operator import attrgetter, itemgetter, sub
from typing import NamedTuple, TypeVar

from shared.boxes import LineBox, WordBox

from .blocks import Block
from .hyphens import SUSPENDED, keeps_hyphen
from .pdf_lines import Line, is_marker
from .tables import Below, Beside, TableWriter, cover, kind_of
from .writing_direction import Placed, read_words, runs_left

# Lines that are nearer, in points, are one; so are the ends of lines that meet.
_NEAR = 2.5
_MAX_LINES = 400
# Between rows of one table, in heights of the lower one.
_MAX_ROW_DROP = 2.8
# A shaded row is a grid of one row; how far the next one is below it, in its heights.
_STRIPE_LINES = 2
_MAX_STRIPE_GAP = 4.0
_MAX_COLUMNS = 60
_MAX_ROWS = 400
_MAX_WORDS = 600
_MAX_GRIDS = 60
_MAX_CELL_CHARS = 2_000
# Columns of prose are no table.
_MAX_USUAL_CHARS = 60
# How many rows may reach over the gap between two columns.
_CROSSING_SHARE = 0.1
# In heights of a line: between rows of one table, and between the words of two columns.
_MAX_DROP = 3.6
_LEAST_GAP = 0.35
_MAX_LINES_BETWEEN = 2
LEAST_CELLS = 6
# Type that is so much larger than that of a table is a heading's.
_HEADING = 1.15
# Of the cells of a column, so many begin, end or have their middle at one place, in points.
_ALIGNED_SHARE = 0.6
_ALIGNED = 4.0
# Formulas are set in many short pieces.
_LEAST_WORDS = 0.6
_WORD = re.compile(r"[^\W_]{2}|^\W?\d[\d.,]*\W?$")
_MAX_LINES_BELOW = 12
_LEAST_PROSE_LINES = 6
_KEYED_SHARE = 0.8
# The distance of rows over that of the lines of one row.
_LEAST_ROW_GAP = 1.2
_MAX_KEY_CHARS = 30
_LEAST_WITH_HEAD = 4
_MAX_GAPS = 4
# The gap between names of two columns over those within a name.
_WIDER = 1.5
# Rows below names that tell where the columns stand.
_LEAST_BELOW_NAMES = 2
# A table that goes on, on the next page, has its columns at the same places, in points.
_COLUMN_SHIFT = 15.0
CAPTION = re.compile(
    r"(?:table|tab\.|tabelle|tableau|tabla|tabela|tabella|tabell|bảng|таблица)\s*[\dA-Z]",
    re.IGNORECASE,
)
MAX_CAPTION_CHARS = 120
_left = attrgetter("left")
_place_on_page = attrgetter("bottom", "top")
_first = itemgetter(0)
_Piece = TypeVar("_Piece")


class Word(NamedTuple):
    """
    A word, or the text of a cell whose words have no positions.

    Attributes:
        is_broken: The hyphen that parted it at the end of its line is gone.
    """

    text: str
    left: float
    right: float
    bottom: float
    top: float
    bold: bool
    line: int
    is_broken: bool = False

    @property
    def middle(self) -> float:
        return (self.bottom + self.top) / 2


# Half the time of calling the class, which checks how many values it gets.
_new_word = partial(tuple.__new__, Word)


class Rules(NamedTuple):
    """Lines drawn on a page: (y, left, right) and (x, bottom, top)."""

    across: list[tuple[float, float, float]]
    down: list[tuple[float, float, float]]


@dataclass(slots=True)
class Table:
    """
    A table.

    Attributes:
        lefts: Where its columns begin.
        words: Of each row, in the order of its cells.
        strong: Which rows are all bold.
        lines: The lines of the page that it took its words from.
        is_keyed: Of a last row: all rows have something in the first column.
    """

    left: float
    right: float
    top: float
    lefts: list[float]
    rows: list[list[str]]
    words: list[list[Word]]
    strong: list[bool]
    lines: set[int] = field(default_factory=set)
    is_keyed: bool = False

    def goes_on_from(self, lefts: Sequence[float]) -> bool:
        """Return whether its columns are those of a table on the page before."""
        return len(lefts) == len(self.lefts) and all(
            abs(a - b) <= _COLUMN_SHIFT for a, b in zip(lefts, self.lefts, strict=True)
        )

    def moved(self, lines: int) -> Table:
        """Return it with the numbers of its lines so many higher."""
        if not lines:
            return self
        words = [[word._replace(line=word.line + lines) for word in row] for row in self.words]
        return replace(self, words=words, lines={number + lines for number in self.lines})

    def take_last(self) -> Table | None:
        """Take the last row away and return it as a table of its own; None if there are no more."""
        if len(self.rows) < 4:
            return None
        is_keyed = all(row[0] for row in self.rows)
        return replace(
            self,
            rows=[self.rows.pop()],
            words=[self.words.pop()],
            strong=[self.strong.pop()],
            is_keyed=is_keyed,
        )

    def with_more(self, below: Table) -> Table:
        """
        Return this last row of a page with what a table of the next page begins with of it.

        That has nothing in the first column, where all other rows have something. It is taken from
        *below*.
        """
        (row,) = self.rows
        if not self.is_keyed or len(below.rows[0]) != len(row):
            return self
        more, rest = below.rows[0], below.rows[1:]
        if more[0] or not any(more) or not all(cells[0] for cells in rest):
            return self
        if any(isinstance(cell, Beside | Below) for cell in (*row, *more)):
            return self
        below.rows.pop(0)
        below.words.pop(0)
        below.strong.pop(0)
        joined = [" ".join(filter(None, pair)) for pair in zip(row, more, strict=True)]
        return replace(self, rows=[joined])

    def blocks(self, writer: TableWriter, *, page: int, goes_on: bool) -> Iterator[Block]:
        """Yield its rows by *writer*, each with the places of its words."""
        pending = [list(words) for words in self.words]

        def placed(blocks: Iterator[Block]) -> Iterator[Block]:
            for block in blocks:
                yield block._replace(lines=_boxes(block.text, pending, page=page))

        rows = self.rows
        if runs_left(" ".join(cell for row in rows for cell in row)) and not any(
            isinstance(cell, Beside | Below) for row in rows for cell in row
        ):
            # Its first column is the one on the right.
            rows = [row[::-1] for row in rows]
            pending = [words[::-1] for words in pending]
        for cells, is_strong in zip(rows, self.strong, strict=True):
            yield from placed(writer.row(cells, is_strong=is_strong))
        yield from placed(writer.pause() if goes_on else writer.end())


def words_of(line: Line, number: int) -> list[Word]:
    """Return the words of line *number* of a page."""
    texts: Sequence[str]
    if line.edges:
        texts = line.text.split(" ")
        lefts, rights = zip(*line.edges, strict=True)
    else:
        texts, lefts, rights = zip(*line.cells, strict=True)
    same = map(repeat, (line.bottom, line.top, line.bold, number, False))
    found = list(map(_new_word, zip(texts, lefts, rights, *same, strict=False)))
    if line.hyphenated:
        found[-1] = found[-1]._replace(is_broken=True)
    return found


def find_tables(
    lines: Sequence[Line], rules: Rules, *, goes_on: Sequence[float] | None = None
) -> list[Table]:
    """
    Return the tables of a page from its lines of text, those with drawn lines first.

    Args:
        goes_on: Where the columns begin of the table that the page before ended with: a row of it
            is a table.
    """
    found = list(_ruled_tables(lines, rules, goes_on))
    aligned = list(_aligned_tables(_rows(lines, found)))
    if found and aligned:
        found = _with_rows_below(found, aligned)
        aligned = [table for table in aligned if table.rows]
    if goes_on is not None and not any(table.goes_on_from(goes_on) for table in (*found, *aligned)):
        # Too few rows of it are here to tell their columns.
        found.extend(_rest_of_table(_rows(lines, ()), goes_on))
        aligned = list(_aligned_tables(_rows(lines, found)))
    return found + aligned


def _with_rows_below(tables: list[Table], aligned: list[Table]) -> list[Table]:
    """
    Return *tables*, each with the rows directly below it that only their places tell.

    They are taken from *aligned*. Often a table draws lines around its header alone.
    """
    for table in tables:
        for rest in aligned:
            if not rest.rows or rest.strong[0] or not rest.goes_on_from(table.lefts):
                continue
            bottom = min(word.bottom for row in table.words for word in row)
            height = rest.top - min(word.bottom for word in rest.words[0])
            if 0 < bottom - rest.top + height < _MAX_ROW_DROP * height:
                table.rows += rest.rows
                table.words += rest.words
                table.strong += rest.strong
                table.lines |= rest.lines
                rest.rows = []
    return tables


def _boxes(text: str, pending: list[list[Word]], *, page: int) -> tuple[LineBox, ...]:
    """Return the positions of the words of *text*; take its rows from *pending*."""
    found: list[LineBox] = []
    at = 0
    while pending:
        places: list[tuple[int, Word]] = []
        end = at
        for word in pending[0]:
            place = text.find(word.text, end)
            if place < 0:
                break
            places.append((place, word))
            end = place + len(word.text)
        if len(places) < len(pending[0]):
            if found or not places:
                if not found:
                    # A row that was printed again, or that the writer left out.
                    pending.pop(0)
                    continue
                break
            break
        pending.pop(0)
        found.extend(_line_boxes(places, page=page))
        at = end
        if at >= len(text):
            break
    return tuple(found)


def _line_boxes(places: Sequence[tuple[int, Word]], *, page: int) -> Iterator[LineBox]:
    """Yield the boxes of a row's words, where a cell may have several lines."""
    lines: list[list[tuple[int, Word]]] = []
    for place, word in places:
        before = lines[-1][-1][1] if lines else None
        if before is not None and abs(before.middle - word.middle) < 0.5 * (word.top - word.bottom):
            lines[-1].append((place, word))
        else:
            lines.append([(place, word)])
    for line in lines:
        start = line[0][0]
        yield LineBox(
            start,
            page,
            min(word.bottom for _, word in line),
            max(word.top for _, word in line),
            tuple(WordBox(place - start, word.left, word.right) for place, word in line),
        )


def _rest_of_table(lines: Sequence[_Row], lefts: Sequence[float]) -> Iterator[Table]:
    """Yield the rows at the top of a page that stand in columns which begin at *lefts*."""
    rows: list[list[list[Word]]] = []
    for place, line in enumerate(lines):
        cells = _in_columns(line, lefts)
        filled = [] if cells is None else [at for at, cell in enumerate(cells) if cell]
        if cells is None or filled == [0]:
            break
        if place and lines[place - 1].middle - line.middle > _MAX_DROP * line.height:
            break
        if rows and not cells[0]:
            for own, more in zip(rows[-1], cells, strict=True):
                own.extend(more)
        else:
            rows.append(cells)
    if not any(sum(map(bool, cells)) > 1 for cells in rows):
        return
    right = max(word.right for cells in rows for cell in cells for word in cell)
    yield _table(rows, list(lefts), right=right)


def _in_columns(line: _Row, lefts: Sequence[float]) -> list[list[Word]] | None:
    """Return the words of a line by columns, None where a part of it fits in none."""
    cells: list[list[Word]] = [[] for _ in lefts]
    for left, right in line.parts:
        column = bisect_right(lefts, left + 2 * _NEAR) - 1
        ends = lefts[column + 1] if column + 1 < len(lefts) else math.inf
        if column < 0 or cells[column] or right > ends + _NEAR:
            return None
        if column == 0 and left - lefts[0] > 4 * _NEAR:
            return None
        cells[column].extend(w for w in line.words if left <= w.left and w.right <= right + 0.01)
    return cells


def _ruled_tables(
    lines: Sequence[Line], rules: Rules, goes_on: Sequence[float] | None
) -> Iterator[Table]:
    across, down = merged(rules.across), merged(rules.down)
    if not across or len(down) < 3 or len(across) * len(down) > _MAX_LINES * _MAX_LINES:
        return
    grids = _with_stripes_joined(list(_grids(across, down)))[:_MAX_GRIDS]
    words = list(chain.from_iterable(map(words_of, lines, count()))) if grids else []
    for rows, columns, is_striped in grids:
        tops = _places(rows)
        for begin, end in _parts(rows, columns):
            high, low = tops[begin] + _NEAR, tops[end] - _NEAR
            own = [line for line in rows if low <= line[0] <= high]
            table = _read_grid(
                words,
                own,
                columns,
                is_first=is_striped and begin == 0,
                is_last=end == len(tops) - 1,
                goes_on=goes_on,
            )
            if table is not None:
                yield table


def merged(lines: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Return lines with those at one place and next to each other made one."""
    found: list[tuple[float, float, float]] = []
    clusters: list[list[tuple[float, float, float]]] = []
    for line in sorted(lines):
        if clusters and line[0] - clusters[-1][-1][0] <= _NEAR / 2:
            clusters[-1].append(line)
        else:
            clusters.append([line])
    for cluster in clusters:
        place = statistics.fmean(line[0] for line in cluster)
        spans = sorted((begin, end) for _, begin, end in cluster)
        begin, end = spans[0]
        for start, stop in spans[1:]:
            if start <= end + _NEAR:
                end = max(end, stop)
            else:
                found.append((place, begin, end))
                begin, end = start, stop
        found.append((place, begin, end))
    return found


_Lines = list[tuple[float, float, float]]


def _grids(across: _Lines, down: _Lines) -> Iterator[tuple[_Lines, _Lines]]:
    """Yield the lines that meet each other: of each grid those across, from above, and down."""
    owner = list(range(len(across) + len(down)))

    def root(i: int) -> int:
        while owner[i] != i:
            owner[i] = owner[owner[i]]
            i = owner[i]
        return i

    for i, (y, left, right) in enumerate(across):
        for j, (x, bottom, top) in enumerate(down, start=len(across)):
            if left - _NEAR <= x <= right + _NEAR and bottom - _NEAR <= y <= top + _NEAR:
                owner[root(i)] = root(j)
    groups: dict[int, tuple[_Lines, _Lines]] = {}
    for i, line in enumerate([*across, *down]):
        groups.setdefault(root(i), ([], []))[i >= len(across)].append(line)
    for rows, columns in groups.values():
        if len(rows) > 1 and len({round(x) for x, _, _ in columns}) > 2:
            yield sorted(rows, reverse=True), sorted(columns)


def _with_stripes_joined(
    grids: list[tuple[_Lines, _Lines]],
) -> list[tuple[_Lines, _Lines, bool]]:
    """Return *grids*, shaded rows of one table and those between them as one, and which are so."""
    grids.sort(key=lambda grid: -grid[0][0][0])
    joined: list[tuple[_Lines, _Lines, bool]] = []
    stripes = 0
    for rows, columns in grids:
        before = joined[-1] if joined else None
        tops, lefts = _places(rows), _places(columns)
        stripes = stripes + 1 if len(tops) == _STRIPE_LINES else 0
        if (
            before is not None
            and stripes
            and len(lefts) == len(known := _places(before[1]))
            and all(abs(a - b) <= _NEAR for a, b in zip(lefts, known, strict=True))
            and 0 < before[0][-1][0] - tops[0] < _MAX_STRIPE_GAP * (tops[0] - tops[1])
        ):
            # The rows between them have no lines of their own.
            walls = [(x, tops[-1], before[0][0][0]) for x in known]
            joined[-1] = [*before[0], *rows], walls, True
        else:
            joined.append((rows, columns, False))
    return joined


def _parts(rows: _Lines, columns: _Lines) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the lines across of each table, where several touch each other."""
    tops = _places(rows)
    start = 0
    inner: set[int] = set()
    for i, (upper, lower) in enumerate(pairwise(tops)):
        middle = (upper + lower) / 2
        here = {round(x) for x, bottom, top in columns if bottom < middle < top}
        here -= {min(here), max(here)} if here else set()
        if inner and here and not _share(inner, here):
            yield start, i
            start, inner = i, set()
        inner |= here
    yield start, len(tops) - 1


def _share(places: set[int], others: set[int]) -> bool:
    return any(abs(a - b) <= _NEAR for a in places for b in others)


def _places(lines: _Lines) -> list[float]:
    """Return the distinct positions of lines, in order."""
    found: list[float] = []
    for place, _, _ in lines:
        if not found or abs(place - found[-1]) > _NEAR:
            found.append(place)
    return found


def _read_grid(
    words: Sequence[Word],
    across: _Lines,
    down: _Lines,
    *,
    is_first: bool,
    is_last: bool,
    goes_on: Sequence[float] | None,
) -> Table | None:
    tops = _places(across)
    # Of tables that touch each other the other one may have other columns.
    down = [line for line in down if line[1] < tops[0] - _NEAR and line[2] > tops[-1] + _NEAR]
    lefts = _places(down)
    tops = [top for top in tops if tops[-1] - _NEAR <= top]
    lefts = lefts[:_MAX_COLUMNS]
    tops = tops[:_MAX_ROWS]
    if is_last:
        tops = _with_open_row(words, tops, lefts)
    above = [word for word in words if word.bold] if is_first else []
    if _is_open_row(above, lefts, low=tops[0], high=tops[0] + _usual_height(tops)):
        # Names of columns above shaded rows.
        tops = [tops[0] + _usual_height(tops), *tops]
    columns, rows = len(lefts) - 1, len(tops) - 1
    if columns < 2 or rows < 1:
        return None
    inside: dict[tuple[int, int], list[Word]] = {}
    depths = [-top for top in tops]
    for word in words:
        x, y = (word.left + word.right) / 2, word.middle
        if lefts[0] - _NEAR <= x <= lefts[-1] + _NEAR and tops[-1] <= y <= tops[0]:
            inside.setdefault((_row_at(depths, y), _column_at(lefts, word)), []).append(word)
    tops = _with_hidden_rows(tops, lefts, inside)
    if len(tops) - 1 != rows:
        rows = len(tops) - 1
        across = [*across, *((top, lefts[0], lefts[-1]) for top in tops)]
        everything = [word for some in inside.values() for word in some]
        inside = {}
        depths = [-top for top in tops]
        for word in everything:
            place = (_row_at(depths, word.middle), _column_at(lefts, word))
            inside.setdefault(place, []).append(word)
    if tops[-1] < across[-1][0] - _NEAR:
        across = [*across, (tops[-1], lefts[0], lefts[-1])]
    origins = _origins(across, down, tops, lefts)
    _part_columns(origins, inside, columns)
    cells: dict[tuple[int, int], list[Word]] = {}
    for place, some in inside.items():
        cells.setdefault(origins[place], []).extend(some)
    if rows <= 2 and columns >= 2:
        # Lines between the columns alone: each line of text is a row.
        ordered = _by_lines([word for some in inside.values() for word in some])
        filled = [{bisect_right(lefts, (w.left + w.right) / 2) for w in line} for line in ordered]
        several = [one for one in filled if len(one) > 1]
        # The further lines of a row have nothing in its first column.
        keyed = sum(1 for one in several if 1 in one)
        if len(several) > max(2, rows) and (rows < 2 or keyed >= _KEYED_SHARE * len(several)):
            return _table(
                [
                    [
                        [w for w in line if bisect_right(lefts, (w.left + w.right) / 2) - 1 == c]
                        for c in range(columns)
                    ]
                    for line in ordered
                ],
                lefts[:-1],
                right=lefts[-1],
            )
    if max((sum(len(w.text) + 1 for w in some) for some in cells.values()), default=0) > (
        _MAX_CELL_CHARS
    ):
        return None
    texts = [[""] * columns for _ in range(rows)]
    row_words: list[list[Word]] = [[] for _ in range(rows)]
    for row in range(rows):
        for column in range(columns):
            origin = origins[row, column]
            if origin == (row, column):
                ordered = _by_lines(cells.get(origin, []))
                texts[row][column] = _cell_text(ordered)
                row_words[row].extend(word for line in ordered for word in line)
                continue
            text = texts[origin[0]][origin[1]]
            below = origin[0] < row
            texts[row][column] = (
                Below(cover(text, below=True)) if below else Beside(cover(text, below=False))
            )
    kept = [i for i in range(rows) if any(texts[i])]
    full = sum(1 for line in texts if _own(line) > 1)
    table = Table(
        left=lefts[0],
        right=lefts[-1],
        top=tops[0],
        lefts=lefts[:-1],
        rows=[texts[i] for i in kept],
        words=[row_words[i] for i in kept],
        strong=[_is_strong(row_words[i]) for i in kept],
        lines={word.line for i in kept for word in row_words[i]},
    )
    # One row is a table where it goes on with one.
    goes_on_here = goes_on is not None and bool(kept) and table.goes_on_from(goes_on)
    return table if full > 1 or goes_on_here else None


def _with_open_row(words: Sequence[Word], tops: list[float], lefts: list[float]) -> list[float]:
    """Return where rows begin, with the last one of a page, which may have no line below it."""
    if len(tops) < 3:
        return tops
    usual = _usual_height(tops)
    if _is_open_row(words, lefts, low=tops[-1] - usual, high=tops[-1]):
        return [*tops, tops[-1] - usual]
    return tops


def _usual_height(tops: list[float]) -> float:
    return statistics.median(a - b for a, b in pairwise(tops)) if len(tops) > 1 else 0.0


def _is_open_row(words: Sequence[Word], lefts: list[float], *, low: float, high: float) -> bool:
    """Return whether one line stands between two heights, its words in several columns."""
    between = [
        word
        for word in words
        if low < word.middle < high
        and lefts[0] - _NEAR <= word.left
        and word.right <= lefts[-1] + _NEAR
    ]
    lines = _by_lines(between)
    is_row = len(lines) == 1 and len({_column_at(lefts, word) for word in between}) > 1
    gaps = [b.left - a.right for a, b in pairwise(lines[0])] if is_row else []
    return bool(gaps) and max(gaps) > 1.5 * (between[0].top - between[0].bottom)


def _row_at(depths: list[float], y: float) -> int:
    """Return the row at a height, by how far down from 0 rows begin."""
    return min(bisect_left(depths, -y, 1) - 1, len(depths) - 2)


def _column_at(lefts: list[float], word: Word) -> int:
    place = bisect_right(lefts, (word.left + word.right) / 2) - 1
    return min(max(place, 0), len(lefts) - 2)


def _with_hidden_rows(
    tops: list[float], lefts: list[float], inside: dict[tuple[int, int], list[Word]]
) -> list[float]:
    """Return where rows begin, also those that no line parts from the row above: stripes do so."""
    usual = statistics.median(a - b for a, b in pairwise(tops))
    found = [tops[0]]
    for row, (top, bottom) in enumerate(pairwise(tops)):
        if top - bottom >= 1.6 * usual:
            words = [word for column in range(len(lefts)) for word in inside.get((row, column), ())]
            lines = _by_lines(words)
            columns = [{_column_at(lefts, word) for word in line} for line in lines]
            if len(lines) > 1 and all(0 in some and len(some) > 1 for some in columns):
                for above, below in pairwise(lines):
                    if above[0].middle - below[0].middle >= 0.8 * usual:
                        found.append((above[0].middle + below[0].middle) / 2)
        found.append(bottom)
    return found


def _part_columns(
    origins: dict[tuple[int, int], tuple[int, int]],
    inside: dict[tuple[int, int], list[Word]],
    columns: int,
) -> None:
    """Part cells that no line parts, but gaps in their text at the place of the line."""
    covered: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for place, origin in origins.items():
        covered.setdefault(origin, []).append(place)
    for (row, first), places in covered.items():
        over = [c for c in range(first, columns) if origins[row, c] == (row, first)]
        if len(over) > 1 and _is_parted({c: inside.get((row, c), []) for c in over}):
            for place in places:
                origins[place] = (row, place[1])


def _is_parted(words: dict[int, list[Word]]) -> bool:
    columns = {id(word): column for column, some in words.items() for word in some}
    return any(
        right.left - left.right > 1.5 * (left.top - left.bottom)
        and columns[id(left)] != columns[id(right)]
        for line in _by_lines([word for some in words.values() for word in some])
        for left, right in pairwise(line)
    )


def _own(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell and not isinstance(cell, Beside | Below))


def _is_strong(words: Sequence[Word]) -> bool:
    return bool(words) and all(word.bold for word in words)


def _origins(
    across: _Lines, down: _Lines, tops: list[float], lefts: list[float]
) -> dict[tuple[int, int], tuple[int, int]]:
    """Return for each place of a grid the upper left one of its cell: no line parts them."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    above, beside = _near(across, tops), _near(down, lefts)
    for row, (top, bottom) in enumerate(pairwise(tops)):
        y = (top + bottom) / 2
        for column, (left, right) in enumerate(pairwise(lefts)):
            x = (left + right) / 2
            origin = (row, column)
            if row and not _crosses(above[row], x):
                origin = found[row - 1, column]
            elif column and not _crosses(beside[column], y):
                before = found[row, column - 1]
                origin = before if before[0] == row else origin
            found[row, column] = origin
    return found


def _near(lines: _Lines, places: list[float]) -> list[list[tuple[float, float]]]:
    """Return (begin, end) of the lines at each place."""
    return [
        [(begin, end) for one, begin, end in lines if abs(one - place) <= _NEAR] for place in places
    ]


def _crosses(spans: list[tuple[float, float]], at: float) -> bool:
    return any(begin <= at <= end for begin, end in spans)


def _by_lines(words: Sequence[Word]) -> list[list[Word]]:
    """Return words by the lines that they stand on, from above, each from left to right."""
    if len(words) < 2:
        return [list(words)] if words else []
    pieces = [
        (some[0].bottom + some[0].top, some[0].top - some[0].bottom, some)
        for some in (list(group) for _, group in groupby(words, _place_on_page))
    ]
    lines = [list(chain.from_iterable(some)) for some in _side_by_side(pieces)]
    for line in lines:
        if len(line) > 1:
            line.sort(key=_left)
    return lines


def _side_by_side(pieces: list[tuple[float, float, _Piece]]) -> Iterator[list[_Piece]]:
    """
    Yield the pieces at one height, from above.

    Args:
        pieces: The sum of the bottom and the top of each, and its height.
    """
    pieces.sort(key=_first, reverse=True)
    some: list[_Piece] = []
    double = math.inf
    for place, height, piece in pieces:
        if double - place <= (height if height > 1.0 else 1.0):
            some.append(piece)
            continue
        if some:
            yield some
        some, double = [piece], place
    if some:
        yield some


def _cell_text(lines: Sequence[Sequence[Word]]) -> str:
    text = " ".join(word.text for line in lines for word in line)
    if len(lines) > 1 and any(line and _is_parted_word(line[-1]) for line in lines[:-1]):
        text = _with_words_whole(lines)
    if text.isascii() or not runs_left(text):
        return text
    return " ".join(
        word.text
        for line in lines
        for word in read_words([Placed(word.text, word.left, word.right) for word in line])
    )


def _is_parted_word(word: Word) -> bool:
    return word.is_broken or (word.text[-1:] == "-" and word.text[-2:-1].isalpha())


def _with_words_whole(lines: Sequence[Sequence[Word]]) -> str:
    """Return the text of a cell, with the words whole that the ends of its lines part."""
    text = ""
    is_parted = is_broken = False
    for line in lines:
        more = " ".join(word.text for word in line)
        if not is_parted:
            text += f" {more}" if text else more
        elif SUSPENDED.match(more):
            text += f"- {more}" if is_broken else f" {more}"
        else:
            start = text if is_broken else text[:-1]
            is_one = more[:1].islower() and not keeps_hyphen(start, more, ())
            text = f"{start}{more}" if is_one else f"{start}-{more}"
        is_parted = bool(line) and _is_parted_word(line[-1])
        is_broken = bool(line) and line[-1].is_broken
    return text


class _Row:
    """
    A row of words from left to right.

    Few rows of a page are looked at word by word: those of one line make them then.

    Attributes:
        parts: (left, right) of what wide gaps set apart.
    """

    __slots__ = ("_line", "_words", "height", "middle", "parts")

    def __init__(self, words: list[Word], line: tuple[Line, int] | None = None) -> None:
        self._words = words
        self._line = line
        if line is not None:
            bottom, top = line[0].bottom, line[0].top
            self.middle = (bottom + top) / 2
            self.height = max(top - bottom, 1.0)
            self.parts = _parts_of(line[0])
            return
        self.middle = words[0].middle
        self.height = max(statistics.median(word.top - word.bottom for word in words), 1.0)
        self.parts = []
        begin, end = words[0].left, words[0].right
        for _, left, right, bottom, top, *_ in words[1:]:
            if left - end <= 1.5 * max(top - bottom, 1.0):
                if right > end:
                    end = right
            else:
                self.parts.append((begin, end))
                begin, end = left, right
        self.parts.append((begin, end))

    @property
    def words(self) -> list[Word]:
        if not self._words and self._line is not None:
            self._words = sorted(words_of(*self._line), key=_left)
        return self._words


def words_left(lines: Sequence[Line], tables: Sequence[Table]) -> dict[int, list[Word]]:
    """Return what *tables* leave of the lines that they took words from, by the line's number."""
    taken = [word for table in tables for row in table.words for word in row]
    counts = Counter(word.line for word in taken)
    left: dict[int, list[Word]] = {}
    for number, count_taken in counts.items():
        line = lines[number]
        left[number] = []
        if count_taken < len(line.edges or line.cells):
            own = {word for word in taken if word.line == number}
            left[number] = [word for word in words_of(line, number) if word not in own]
    return left


def _rows(lines: Sequence[Line], tables: Sequence[Table]) -> list[_Row]:
    """Return the rows of a page, without the words that are in *tables*."""
    left = words_left(lines, tables) if tables else {}
    pieces = [
        (line.bottom + line.top, line.top - line.bottom, number)
        for number, line in enumerate(lines)
        if left.get(number, line)
    ]
    rows: list[_Row] = []
    for some in _side_by_side(pieces):
        first = some[0]
        if len(some) == 1 and first not in left:
            rows.append(_Row([], (lines[first], first)))
        else:
            words = (left.get(at) or words_of(lines[at], at) for at in some)
            rows.append(_Row(sorted(chain.from_iterable(words), key=_left)))
    return rows


def _parts_of(line: Line) -> list[tuple[float, float]]:
    """Return what wide gaps set apart in one line."""
    spans = line.edges or [(left, right) for _, left, right in line.cells]
    lefts, rights = zip(*spans, strict=True)
    wide = 1.5 * max(line.top - line.bottom, 1.0)
    if any(after[1] - before[2] <= wide for before, after in pairwise(line.cells)):
        # Narrower columns are known to be some.
        return [(left, right) for _, left, right in line.cells]
    if lefts[0] == min(lefts) and max(map(sub, lefts[1:], rights), default=0.0) <= wide:
        return [(lefts[0], max(rights))]
    return _Row(sorted(words_of(line, 0), key=_left)).parts


def _aligned_tables(rows: Sequence[_Row]) -> Iterator[Table]:
    at = 0
    while at < len(rows):
        if len(rows[at].parts) < 2:
            at += 1
            continue
        end = _run_end(rows, at)
        parts = sum(len(row.parts) for row in rows[at:end] if len(row.parts) > 1)
        if parts < LEAST_CELLS:
            at = end
            continue
        begin = _begun_before(rows, at, end)
        above = rows[at - 1] if at and begin == at else None
        table = _aligned_table(rows[begin:end], above=above)
        if table is not None:
            yield table
        else:
            # Tables that stand close below each other, each with columns of its own.
            for part in _alike(rows[begin:end]):
                parts = sum(len(row.parts) for row in part if len(row.parts) > 1)
                if parts >= LEAST_CELLS and len(part) < end - begin:
                    table = _aligned_table(part, above=None)
                    if table is not None:
                        yield table
        at = end


def _alike(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Yield runs of rows that share the position of a column."""
    part: list[_Row] = []
    starts: list[float] = []
    for row in rows:
        own = [left for left, _ in row.parts[1:]]
        if own and starts and not any(abs(a - b) <= _ALIGNED for a in own for b in starts):
            yield part
            part = []
        if own:
            starts = own
        part.append(row)
    yield part


def _begun_before(rows: Sequence[_Row], at: int, end: int) -> int:
    """Return where a table begins that goes on from the page before with lines of its last row."""
    if at > _MAX_LINES_BELOW:
        return at
    starts = [part[0] for row in rows[at:end] if len(row.parts) > 1 for part in row.parts]
    starts = [start for start in starts if start > min(starts) + _NEAR]
    below = all(
        len(row.parts) == 1 and any(abs(row.parts[0][0] - start) <= _NEAR for start in starts)
        for row in rows[:at]
    )
    return 0 if below else at


def _run_end(rows: Sequence[_Row], begin: int) -> int:
    """Return the end of the rows from *begin* on that may be one table."""
    last = at = begin
    between = 0
    starts = {part[0] for part in rows[begin].parts[1:]}
    while at + 1 < len(rows) and at - begin < _MAX_ROWS:
        before, row = rows[at], rows[at + 1]
        if before.middle - row.middle > _MAX_DROP * before.height:
            break
        if len(row.parts) == 1 and row.height > _HEADING * rows[begin].height:
            break
        at += 1
        if len(row.parts) > 1:
            last, between = at, 0
            starts.update(part[0] for part in row.parts[1:])
            continue
        # Lines below a cell that is not the first go on with it; others may be anything.
        is_below = any(abs(row.parts[0][0] - start) <= _NEAR for start in starts)
        between += 1 if is_below else _MAX_LINES_BELOW // _MAX_LINES_BETWEEN
        if between > _MAX_LINES_BELOW:
            break
    # Further lines of the last row.
    usual = [a.middle - b.middle for a, b in pairwise(rows[begin : last + 1])]
    first = rows[last].parts[0][0]
    while last + 1 < len(rows) and len(rows[last + 1].parts) == 1:
        row = rows[last + 1]
        drop = rows[last].middle - row.middle
        place = row.parts[0][0]
        is_below = any(abs(place - start) <= _NEAR for start in starts)
        is_key = abs(place - first) <= _NEAR and len({round(one) for one in usual}) > 1
        if not (
            (is_below and drop <= 1.8 * row.height)
            or (is_key and usual and drop <= min(usual) + 0.5)
        ):
            break
        last += 1
    return last + 1


def _aligned_table(rows: Sequence[_Row], *, above: _Row | None) -> Table | None:
    full = [row for row in rows if len(row.parts) > 1]
    if len(full) < 2 or any(len(row.words) > _MAX_WORDS for row in rows):
        return None
    if any(len(row.parts) > _MAX_COLUMNS for row in full):
        return None
    zones = _refined(_zones(full), rows)
    if not 2 <= len(zones) <= _MAX_COLUMNS:
        return None
    if above is not None and (
        above.middle - rows[0].middle <= 2.5 * rows[0].height
        and len("".join(word.text for word in above.words)) < 150
        and above.words[-1].text[-1:] not in ".:;,!?"
    ):
        split = _split(above, zones, is_head=True)
        if sum(1 for cell in split if cell) >= max(2, (len(zones) + 1) // 2):
            rows = [above, *rows]
    lines = [_split(row, zones, is_head=row is rows[0]) for row in rows]
    headed = _headed(rows)
    if headed is not None and headed[1] != lines[: len(headed[1])]:
        zones, heads = headed
        lines = heads + [_split(row, zones) for row in rows[len(heads) :]]
    drops = [a.middle - b.middle for a, b in pairwise(rows)]
    if _is_prose(lines, zones, drops):
        return None
    keyed = all(cells[0] for cells in lines if sum(1 for cell in cells if cell) > 1)
    merged = _rows_by_gaps(lines, drops)
    is_parted = bool(merged)
    for i, cells in enumerate(lines if not is_parted else ()):
        following = drops[i] if i < len(drops) else 0.0
        if merged and _continues(
            merged[-1],
            cells,
            drop=drops[i - 1],
            following=following,
            height=rows[i].height,
            keyed=keyed,
        ):
            for own, more in zip(merged[-1], cells, strict=True):
                own.extend(more)
        else:
            merged.append(cells)
    if not all(_is_aligned([row[column] for row in merged]) for column in range(len(zones))):
        return None
    table = _table(merged, [left for left, _ in zones], right=zones[-1][1])
    return table if _is_table(table, is_parted=is_parted) else None


def _headed(
    rows: Sequence[_Row],
) -> tuple[list[tuple[float, float]], list[list[list[Word]]]] | None:
    """
    Return the columns below one or two rows of names, and those rows; None without a name for each.

    Spreadsheets set names to the left and numbers to the right: a name may stand nowhere above the
    values of its column, and close to those of the column before.
    """
    for depth in (1, 2):
        below = [row for row in rows[depth:] if len(row.parts) > 1]
        if len(below) < _LEAST_BELOW_NAMES:
            return None
        zones = _refined(_zones(below), rows[depth:])
        if not 2 < len(zones) <= _MAX_COLUMNS:
            continue
        names = _names_above(rows[depth - 1], zones)
        if not names:
            continue
        wide = [
            (min(left, name[0].left), max(right, name[-1].right)) if name else (left, right)
            for (left, right), name in zip(zones, names, strict=True)
        ]
        if any(before[1] > after[0] for before, after in pairwise(wide)):
            continue
        if depth == 1:
            return wide, [names]
        groups = _groups_above(rows[0], wide)
        return wide, [groups or _split(rows[0], wide, is_head=True), names]
    return None


def _names_above(row: _Row, zones: list[tuple[float, float]]) -> list[list[Word]]:
    """Return the words of a row as a name for each column, the first perhaps without; [] if not."""
    words = row.words
    gaps = [after.left - before.right for before, after in pairwise(words)]
    for named in (len(zones), len(zones) - 1):
        if len(words) < named:
            continue
        wide = sorted(sorted(range(len(gaps)), key=gaps.__getitem__)[len(gaps) - named + 1 :])
        others = [gap for at, gap in enumerate(gaps) if at not in wide]
        if others and min(gaps[at] for at in wide) < _WIDER * max(others):
            continue
        bounds = [0, *(at + 1 for at in wide), len(words)]
        names = [words[begin:end] for begin, end in pairwise(bounds)]
        names = [[]] * (len(zones) - named) + names
        if sum(1 for name in names if name and not name[0].text[:1].isalpha()) > 1:
            continue
        if all(
            not name
            or (
                (not at or name[0].left > zones[at - 1][1])
                and (at + 1 == len(zones) or name[-1].right < zones[at + 1][0])
            )
            for at, name in enumerate(names)
        ):
            return names
    return []


def _groups_above(row: _Row, zones: list[tuple[float, float]]) -> list[list[Word]]:
    """Return names that each stand over equally many columns, in the first of them; [] if not."""
    cells: list[list[Word]] = [[] for _ in zones]
    parts = [[w for w in row.words if a <= w.left and w.right <= b + 0.01] for a, b in row.parts]
    if parts[0][0].left < zones[0][1]:
        cells[0] = parts.pop(0)
    columns = len(zones) - 1
    if len(parts) < 2 or columns % len(parts) or columns == len(parts):
        return []
    each = columns // len(parts)
    for number, words in enumerate(parts):
        first = 1 + number * each
        middle = (words[0].left + words[-1].right) / 2
        if not zones[first][0] <= middle <= zones[first + each - 1][1]:
            return []
        cells[first] = words
    return cells


def _rows_by_gaps(lines: list[list[list[Word]]], drops: list[float]) -> list[list[list[Word]]]:
    """
    Return rows that wide gaps part, each with one key, however its cells stand beside each other.

    It is empty if the lines stand at one distance, or if a part has no key or several.
    """
    if len(lines) < 4:
        return []
    gaps = [(a + b) / 2 for a, b in pairwise(sorted(drops)) if 0 < a * _LEAST_ROW_GAP < b]
    found = (_parted(lines, drops, least=gap) for gap in reversed(gaps[-_MAX_GAPS:]))
    return next(filter(None, found), [])


def _parted(
    lines: list[list[list[Word]]], drops: list[float], *, least: float
) -> list[list[list[Word]]]:
    """Return rows that gaps of more than *least* part, if each of them has one key."""
    rows = [[lines[0]]]
    for drop, line in zip(drops, lines[1:], strict=True):
        if drop > least:
            rows.append([line])
        else:
            rows[-1].append(line)
    keys = [[i for i, line in enumerate(row) if line[0]] for row in rows]
    if len(rows) < 2 or not all(keys) or max(map(len, rows)) < 2:
        return []
    if any(b - a > 1 for places in keys for a, b in pairwise(places)):
        return []
    columns = range(len(lines[0]))
    if any(_holds_rows(row) for row in rows):
        return []
    merged = [[[w for line in row for w in line[c]] for c in columns] for row in rows]
    key_chars = [len(_cell_text([row[0]])) for row in merged]
    # The second line of a key goes on in small letters.
    several = sum(
        1
        for row, places in zip(rows, keys, strict=True)
        if any(not row[i][0][0].text[:1].islower() for i in places[1:])
    )
    if statistics.median(key_chars) > _MAX_KEY_CHARS or 3 * several > len(rows):
        return []
    return merged


def _holds_rows(lines: list[list[list[Word]]]) -> bool:
    """Return whether lines are rows of their own: two columns or more hold several numbers each."""
    numbers = [
        sum(1 for line in lines if line[column] and kind_of(_cell_text([line[column]])) == "number")
        for column in range(1, len(lines[0]))
    ]
    return sum(1 for count in numbers if count > 1) > 1


def _is_prose(
    lines: list[list[list[Word]]], zones: list[tuple[float, float]], drops: list[float]
) -> bool:
    """
    Tell columns of running text, written line by line, from the rows of a table.

    Lines of text fill their column, go on in small letters, and stand at one distance.
    """
    if len(lines) < _LEAST_PROSE_LINES:
        return False
    usual = statistics.median(drops)
    if sum(1 for drop in drops if drop > 1.35 * usual) > 0.15 * len(drops):
        return False
    goes_on = total = 0
    for column, (begin, end) in enumerate(zones):
        cells = [cells[column] for cells in lines if cells[column]]
        if len(cells) < _LEAST_PROSE_LINES:
            return False
        widths = [cell[-1].right - cell[0].left for cell in cells]
        lengths = [sum(len(word.text) + 1 for word in cell) for cell in cells]
        if statistics.median(widths) < 0.7 * (end - begin) or statistics.median(lengths) < 15:
            return False
        goes_on += sum(1 for cell in cells if cell[0].text[:1].islower())
        total += len(cells)
    return goes_on >= 0.35 * total


def _is_aligned(cells: list[list[Word]]) -> bool:
    """Return whether most cells of a column stand below each other."""
    filled = [cell for cell in cells if cell]
    if len(filled) < 3:
        return True
    lefts = [min(word.left for word in cell) for cell in filled]
    rights = [max(word.right for word in cell) for cell in filled]
    middles = [(left + right) / 2 for left, right in zip(lefts, rights, strict=True)]
    return any(
        sum(1 for place in places if abs(place - middle) <= _ALIGNED)
        >= _ALIGNED_SHARE * len(filled)
        for places in (lefts, rights, middles)
        for middle in (statistics.median(places),)
    )


def _zones(rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """Return (left, right) of the columns: what nearly all rows leave free parts them."""
    height = statistics.median(row.height for row in rows)
    allowed = int(_CROSSING_SHARE * len(rows))
    marks = sorted(
        [(left, 1) for row in rows for left, _ in row.parts]
        + [(right, -1) for row in rows for _, right in row.parts]
    )
    zones: list[tuple[float, float]] = []
    depth = 0
    begin: float | None = None
    for place, step in marks:
        before, depth = depth, depth + step
        if before <= allowed < depth:
            begin = place
        elif depth <= allowed < before and begin is not None:
            if zones and begin - zones[-1][1] < _LEAST_GAP * height:
                begin = zones.pop()[0]
            zones.append((begin, place))
            begin = None
    return zones


def _refined(zones: list[tuple[float, float]], rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """Return *zones* parted where all rows leave a narrow gap at the same place."""
    found: list[tuple[float, float]] = []
    for zone in zones:
        parts = _narrow_parts(zone, rows)
        if len(rows) > _LEAST_WITH_HEAD:
            # Names that stand over several columns cross the gap between them.
            parts = max(parts, _narrow_parts(zone, rows[1:]), key=len)
        found.extend(parts or [zone])
    return found


def _narrow_parts(zone: tuple[float, float], rows: Sequence[_Row]) -> list[tuple[float, float]]:
    begin, end = zone
    height = statistics.median(row.height for row in rows)
    words = [[w for w in row.words if begin - 1 <= w.left and w.right <= end + 1] for row in rows]
    parts: list[tuple[float, float]] = []
    for left, right in sorted((w.left, w.right) for some in words for w in some):
        if parts and left - parts[-1][1] < 0.5 * height:
            parts[-1] = (parts[-1][0], max(parts[-1][1], right))
        else:
            parts.append((left, right))
    for i in reversed(range(len(parts) - 1)):
        gap = parts[i][1]
        both = [some for some in words if some and some[0].right <= gap and some[-1].left > gap]
        # A column that few rows fill.
        lefts = [min(w.left for w in some if w.left > gap) for some in both]
        is_aligned = len(both) > 2 and max(lefts) - min(lefts) < _NEAR
        if len(both) < max(3, 0.3 * len(rows)) and not is_aligned:
            parts[i : i + 2] = [(parts[i][0], parts[i + 1][1])]
    return parts


def _split(
    row: _Row, zones: list[tuple[float, float]], *, is_head: bool = False
) -> list[list[Word]]:
    """Return the words of a row by columns; a name above several of them stands in the first."""
    cells: list[list[Word]] = [[] for _ in zones]
    for left, right in row.parts:
        words = [w for w in row.words if left <= w.left and w.right <= right + 0.01]
        over = [i for i, (begin, end) in enumerate(zones) if left < end - 1 and right > begin + 1]
        if len(over) < 2:
            column = over[0] if over else _nearest(zones, (left + right) / 2)
            cells[column].extend(words)
            continue
        split = [(_nearest(zones, (w.left + w.right) / 2), w) for w in words]
        groups: dict[int, list[Word]] = {}
        for column, word in split:
            groups.setdefault(column, []).append(word)
        if all(_fits(some, zones[column]) for column, some in groups.items()):
            for column, some in groups.items():
                cells[column].extend(some)
        elif is_head and (parts := _by_wide_gaps(words, [zones[i] for i in over])):
            for column, some in zip(over, parts, strict=True):
                cells[column].extend(some)
        else:
            cells[over[0]].extend(words)
    return cells


def _by_wide_gaps(words: list[Word], zones: list[tuple[float, float]]) -> list[list[Word]]:
    """Return names that are wider than their columns, parted at their widest gaps; [] if unsure."""
    gaps = [b.left - a.right for a, b in pairwise(words)]
    if len(gaps) < len(zones):
        return []
    wide = sorted(sorted(range(len(gaps)), key=gaps.__getitem__)[-(len(zones) - 1) :])
    others = [gap for at, gap in enumerate(gaps) if at not in wide]
    if min(gaps[at] for at in wide) < _WIDER * max(others):
        return []
    bounds = [0, *(at + 1 for at in wide), len(words)]
    parts = [words[begin:end] for begin, end in pairwise(bounds)]
    over = all(
        part[0].left < end and part[-1].right > begin
        for part, (begin, end) in zip(parts, zones, strict=True)
    )
    return parts if over else []


def _fits(words: list[Word], zone: tuple[float, float]) -> bool:
    left, right = words[0].left, words[-1].right
    return (
        abs(left - zone[0]) <= _NEAR
        or abs(right - zone[1]) <= _NEAR
        or abs((left + right) / 2 - (zone[0] + zone[1]) / 2) <= 2 * _NEAR
    )


def _nearest(zones: list[tuple[float, float]], place: float) -> int:
    return min(
        range(len(zones)),
        key=lambda i: max(zones[i][0] - place, place - zones[i][1], 0.0),
    )


def _continues(
    above: list[list[Word]],
    cells: list[list[Word]],
    *,
    drop: float,
    following: float,
    height: float,
    keyed: bool,
) -> bool:
    """
    Tell whether a line of words goes on with the row above it.

    Args:
        keyed: Every row has something in its first column.
    """
    filled = [i for i, cell in enumerate(cells) if cell]
    own = [i for i, cell in enumerate(above) if cell]
    if (
        filled[:1] == [0]
        and set(filled) < set(own)
        and drop <= 1.8 * height
        and above[0][0].text[:1].isupper()
        and all(cells[i][0].text[:1].islower() for i in filled)
    ):
        # Keys that begin with a capital letter: this one goes on, and so do the cells beside it.
        return True
    if not filled or not set(filled) <= set(own) or len(filled) > max(1, len(own) // 2):
        return False
    if len(own) < 2 or drop > 1.8 * height:
        return False
    if keyed and 0 not in filled:
        return True
    texts = [_cell_text([cells[i]]) for i in filled]
    if any(kind_of(text) != "text" for text in texts):
        return False
    if following and drop <= 0.8 * following:
        return True
    if not following and drop <= 1.3 * height:
        return 0 not in filled or texts[0][:1].islower()
    return (
        0 not in filled
        and drop <= 1.5 * height
        and (following >= drop + 0.5 or texts[0][:1].islower())
    )


def _table(rows: list[list[list[Word]]], lefts: list[float], *, right: float) -> Table:
    texts = [[_cell_text(_by_lines(cell)) for cell in row] for row in rows]
    words = [[w for cell in row for line in _by_lines(cell) for w in line] for row in rows]
    kept = [i for i, some in enumerate(words) if some]
    return Table(
        left=lefts[0],
        right=right,
        top=max((word.top for some in words for word in some), default=0.0),
        lefts=lefts,
        rows=[texts[i] for i in kept],
        words=[words[i] for i in kept],
        strong=[_is_strong(words[i]) for i in kept],
        lines={word.line for some in words for word in some},
    )


def _is_table(table: Table, *, is_parted: bool = False) -> bool:
    """
    Tell rows of values from columns of prose and from blocks that stand beside each other.

    Args:
        is_parted: Gaps part its rows, each of which has a key: cells may hold sentences.
    """
    if len(table.rows) < 2:
        return False
    lengths = [len(cell) for row in table.rows for cell in row if cell]
    if statistics.median(lengths) > _MAX_USUAL_CHARS and not is_parted:
        return False
    cells = [cell for row in table.rows for cell in row if cell]
    if sum(1 for cell in cells if _WORD.search(cell)) < _LEAST_WORDS * len(cells):
        return False
    if sum(1 for row in table.rows if sum(map(bool, row)) > 1) < (3 if len(table.rows) > 2 else 2):
        return False
    columns = len(table.lefts)
    first = [row[0] for row in table.rows if row[0]]
    if columns == 2 and sum(1 for cell in first if is_marker(cell)) > 0.8 * len(first):
        # The numbers of a list are set apart from its items.
        return False
    usual = [
        statistics.median([len(r[c]) for r in table.rows if r[c]] or [0]) for c in range(columns)
    ]
    if sum(1 for length in usual if length > 45) > 1 and not is_parted:
        return False
    body = table.rows[1:] if len(table.rows) > 2 else table.rows
    values = [
        sum(1 for row in body if kind_of(row[c]) not in ("text", "empty")) for c in range(columns)
    ]
    if any(2 * count >= len(body) for count in values):
        return True
    # Words alone: names of columns above, or rows as full as a table's.
    full = sum(1 for row in table.rows if all(row))
    return columns > 2 and 2 * full >= len(table.rows)
