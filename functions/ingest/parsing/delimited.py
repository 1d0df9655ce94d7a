"""CSV and TSV: rows with the names of their columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from shared.errors import Unreadable

from .blocks import Event, Request, clean_line
from .decoding import declared_charset, decode_stream
from .tables import TableWriter

_SAMPLE_CHARS = 1 << 16
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
    if delimiter is None:
        delimiter = _find_delimiter(first[:_SAMPLE_CHARS])
    writer = TableWriter()
    cells = 0
    try:
        for row in csv.reader(_lines(first, pieces), delimiter=delimiter, strict=False):
            cells += len(row)
            if cells > request.limits.max_cells:
                raise Unreadable(
                    "cell_limit",
                    f"The file has more than {request.limits.max_cells:,} cells. "
                    "Split it into smaller files.",
                )
            yield from writer.row(_trimmed(row))
    except csv.Error as error:
        raise Unreadable(
            "corrupt",
            "The file is no valid CSV: a quoted field does not end, or is longer than 1 MiB.",
        ) from error


def _trimmed(row: list[str]) -> list[str]:
    cells = [clean_line(cell) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _find_delimiter(sample: str) -> str:
    """Return the delimiter that most lines of *sample* have, the same number of times."""
    lines = [line for line in sample.splitlines()[:200] if line.strip()]
    best, delimiter = 0, ","
    for candidate in (",", ";", "\t", "|"):
        counts = [line.count(candidate) for line in lines]
        usual = max(set(counts), key=counts.count) if counts else 0
        score = counts.count(usual) if usual else 0
        if score > best:
            best, delimiter = score, candidate
    return delimiter


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
