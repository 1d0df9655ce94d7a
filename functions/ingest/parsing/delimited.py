"""CSV and TSV: the delimiter, and the rows between it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from shared.errors import Unreadable

from .blocks import Event, Request, clean_line
from .decoding import declared_charset, decode_stream
from .tables import TableWriter

# A file of one column has none; this sign stands in no text.
_NO_DELIMITER = "\x1f"
_SAMPLE_CHARS = 1 << 16
_DECLARED = re.compile(r"\ufeff?sep=([,;|\t])\r?\n", re.IGNORECASE)
# A quoted field that never ends would hold the file; csv raises at this size.
csv.field_size_limit(1 << 20)


def parse_delimited(request: Request, *, delimiter: str | None = None) -> Iterator[Event]:
    """
    Yield the rows of a CSV file.

    Args:
        delimiter: None to find it in the text.
    """
    pieces = decode_stream(request.source, declared=declared_charset(request.content_type))
    first = next(pieces, "")
    if found := _DECLARED.match(first):
        # Excel's own first line.
        delimiter, first = found[1], first[found.end() :]
    if delimiter is None:
        delimiter = find_delimiter(first[:_SAMPLE_CHARS])
    writer = TableWriter(is_sheet=True)
    cells = 0
    try:
        reader = csv.reader(
            _lines(first, pieces),
            delimiter=delimiter,
            skipinitialspace=_is_spaced(first[:_SAMPLE_CHARS], delimiter),
            strict=False,
        )
        for row in _squared(reader):
            cells += len(row)
            if cells > request.limits.max_cells:
                raise Unreadable(
                    "cell_limit",
                    f"The file has more than {request.limits.max_cells:,} cells. "
                    "Split it into smaller files.",
                )
            yield from writer.row([clean_line(cell) for cell in row])
        yield from writer.end()
    except csv.Error as error:
        raise Unreadable(
            "corrupt",
            "The file is not valid CSV: a quoted field does not end, or is longer than 1 MiB.",
        ) from error


def read_rows(text: str, *, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a table that stands in another document."""
    try:
        return list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return [line.split(delimiter) for line in text.splitlines()]


def _squared(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """
    Yield *rows*, the first with a blank corner where it has one cell less than those below.

    R's write.table leaves out the name of its index column.
    """
    waiting = [row for _, row in zip(range(6), rows, strict=False)]
    widths = {len(row) for row in waiting[1:]}
    if len(waiting) > 2 and len(waiting[0]) > 1 and widths == {len(waiting[0]) + 1}:
        waiting[0].insert(0, "")
    yield from waiting
    yield from rows


def _is_spaced(sample: str, delimiter: str) -> bool:
    """Return whether blanks stand between the delimiters of *sample* and the quotes behind them."""
    return delimiter != "\t" and sample.count(f'{delimiter} "') > sample.count(f'{delimiter}"')


def find_delimiter(sample: str) -> str:
    """
    Return the delimiter that parts the rows of *sample* most evenly.

    Rows are read with their quotes, so that delimiters and line ends in a field do not count. Of
    two that part them equally well the one wins that leaves no numbers with half a decimal comma,
    then the one that stands beside quotes, then the usual order.
    """
    best: tuple[float, ...] = (0,)
    chosen = ","
    has_lone = False
    for rank, candidate in enumerate((",", ";", "\t", "|", "^", "~", ":")):
        if candidate not in sample or (candidate == ":" and (len(best) > 1 or has_lone)):
            # A colon stands in times too: it counts where nothing else parts the rows.
            continue
        rows = _sample_rows(sample, candidate)
        widths = Counter(len(row) for row in rows)
        width, count = max(
            ((width, n) for width, n in widths.items() if width > 1),
            key=lambda item: (item[1], item[0]),
            default=(1, 0),
        )
        if not count:
            continue
        if count == 1 and len(rows) > 2:
            has_lone = True
            continue
        even = count / len(rows)
        kept = [row for row in rows if len(row) == width]
        # Whole cells: no quote inside of one, no number cut at its decimal comma.
        whole = sum(1 for row in kept if not _is_torn(row, candidate)) / len(kept)
        score = (round(even * whole, 2), whole, float(width), -float(rank))
        if score > best:
            best, chosen = score, candidate
    # In a file of one column a sentence may have a comma.
    return _NO_DELIMITER if has_lone and len(best) == 1 else chosen


def _is_torn(row: list[str], delimiter: str) -> bool:
    """Return whether *delimiter* cut through a field of this row."""
    other = {",": ";\t|", ";": "\t|", "|": "\t"}.get(delimiter, "")
    text = delimiter.join(row)
    if any(cell.count('"') % 2 for cell in row):
        return True
    if delimiter != "," or not any(mark in text for mark in other):
        return False
    # 3,50 between other delimiters: digits on both sides of the comma, which names never have.
    return any(before[-1:].isdigit() and after[:1].isdigit() for before, after in pairwise(row))


def _sample_rows(sample: str, delimiter: str) -> list[list[str]]:
    """Return the rows of *sample* that hold anything, but for one that the sample may cut off."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(
            sample.splitlines(keepends=True)[:2000],
            delimiter=delimiter,
            skipinitialspace=_is_spaced(sample, delimiter),
        ):
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) >= 200:
                break
    except csv.Error:
        return rows or [[sample]]
    return rows[:-1] if len(rows) > 20 and len(sample) >= _SAMPLE_CHARS else rows or [[sample]]


def _lines(first: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yield lines; one over 1 MiB comes in parts, which csv then refuses or joins."""
    rest = first
    while True:
        *lines, rest = rest.replace("\0", "").splitlines(keepends=True) or [""]
        yield from lines
        more = next(pieces, None)
        if more is None:
            break
        if len(rest) > 1 << 20:
            yield rest
            rest = ""
        rest += more
    if rest:
        yield rest
