"""
Where the words of a chunk stand on their pages: packed by ingest, unpacked to mark a quote.

A box costs three or four bytes. The packed form is, for each line of the page, as integers of
variable length (LEB128, signed ones in zigzag): how far its text begins behind the text of the line
before, how many pages further it stands, its bottom, its height, and the count of its words; and
for each word how far its text begins behind the word before, the gap to the left of it, its width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

# A quarter of a point is finer than anything visible on the page.
_UNITS_PER_POINT = 4
# No page is larger (ISO 32000-1, annex C: 14,400 points); a damaged one may say anything.
_MAX_POINTS = 100_000

# More bits than any number of a page has.
_MAX_BITS = 35

# At most so much for one chunk; words beyond it are not marked.
MAX_PACKED_BYTES = 16_384

# In heights of a line: words that are further apart stand in two cells or columns.
_WIDE_GAP = 2.5


class WordBox(NamedTuple):
    """A word: how far behind the beginning of its line its text begins, and its sides."""

    offset: int
    left: float
    right: float


class LineBox(NamedTuple):
    """
    A line of a page; coordinates in points from the lower left corner.

    Attributes:
        position: Where the line's text begins.
        words: In the order of their text.
    """

    position: int
    page: int
    bottom: float
    top: float
    words: tuple[WordBox, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle on a page, in points from its lower left corner."""

    page: int
    left: float
    bottom: float
    right: float
    top: float


def pack(lines: Iterable[LineBox], *, start: int, end: int) -> bytes:
    """
    Return the words between positions *start* and *end* packed, positions counted from *start*.

    Words beyond MAX_PACKED_BYTES are left out.
    """
    out = bytearray()
    position, page = start, 0
    for line in lines:
        words = line.words
        if line.position < start or line.position + words[-1].offset >= end:
            words = tuple(word for word in words if start <= line.position + word.offset < end)
            if not words:
                continue
        whole = len(out)
        bottom = _units(line.bottom)
        at, edge = line.position + words[0].offset, 0
        _write(out, at - position)
        _write_signed(out, line.page - page)
        _write_signed(out, bottom)
        _write(out, max(0, _units(line.top) - bottom))
        _write(out, len(words))
        position, page = at, line.page
        for offset, word_left, word_right in words:
            left = _units(word_left)
            width = max(0, _units(word_right) - left)
            _write(out, line.position + offset - at)
            _write_signed(out, left - edge)
            _write(out, width)
            at, edge = line.position + offset, left + width
        if len(out) > MAX_PACKED_BYTES:
            return bytes(out[:whole])
    return bytes(out)


class _Damaged(Exception):
    """The packed form ends too early, or holds a number that nothing has."""


def unpack(packed: bytes) -> Iterator[LineBox]:
    """
    Yield the lines in *packed*, their positions from the beginning of the chunk.

    They end where *packed* is damaged: it comes from a parser that a document may have taken over.
    """
    with suppress(_Damaged):
        yield from _unpack(_read(packed))


def _unpack(numbers: Iterator[int]) -> Iterator[LineBox]:
    def take() -> int:
        number = next(numbers, None)
        if number is None:
            raise _Damaged
        return number

    position = page = 0
    for ahead in numbers:
        position += ahead
        page += _signed(take())
        bottom = _signed(take())
        top = bottom + take()
        words = []
        offset = edge = 0
        for _ in range(take()):
            offset += take()
            left = edge + _signed(take())
            edge = left + take()
            words.append(WordBox(offset, left / _UNITS_PER_POINT, edge / _UNITS_PER_POINT))
        yield LineBox(
            position, page, bottom / _UNITS_PER_POINT, top / _UNITS_PER_POINT, tuple(words)
        )


def find_marks(packed: bytes, *, start: int, end: int) -> list[Mark]:
    """
    Return a rectangle for each line that has words between two positions of the chunk.

    A line that a wide gap parts has one for each part: other text may stand in the gap.
    """
    lines = list(unpack(packed))
    marks: list[Mark] = []
    for number, line in enumerate(lines):
        # A word ends where the next one begins, less the blank between them.
        ends = [line.position + word.offset - 1 for word in line.words[1:]]
        ends.append(lines[number + 1].position - 1 if number + 1 < len(lines) else end + 1)
        inside = [
            word
            for word, word_end in zip(line.words, ends, strict=True)
            if line.position + word.offset < end and word_end > start
        ]
        marks += [
            Mark(line.page, left, line.bottom, right, line.top)
            for left, right in _parts(inside, gap=_WIDE_GAP * (line.top - line.bottom))
        ]
    return marks


def _parts(words: Iterable[WordBox], *, gap: float) -> Iterator[tuple[float, float]]:
    """Yield (left, right) of the words that no gap wider than *gap* parts."""
    sides: tuple[float, float] | None = None
    for _, left, right in words:
        if sides is None:
            sides = left, right
        elif left - sides[1] <= gap and sides[0] - right <= gap:
            sides = min(sides[0], left), max(sides[1], right)
        else:
            yield sides
            sides = left, right
    if sides is not None:
        yield sides


def _units(points: float) -> int:
    return round(max(-_MAX_POINTS, min(points, _MAX_POINTS)) * _UNITS_PER_POINT)


def _write(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_signed(out: bytearray, number: int) -> None:
    _write(out, number << 1 if number >= 0 else ~number << 1 | 1)


def _signed(number: int) -> int:
    return ~(number >> 1) if number & 1 else number >> 1


def _read(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MAX_BITS:
            raise _Damaged
        if byte < 0x80:
            yield number
            number = shift = 0
