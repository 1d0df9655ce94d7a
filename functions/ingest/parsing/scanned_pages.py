"""The text of a scanned page as paragraphs and rows, which the places of its words tell."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from shared.boxes import LineBox, WordBox

from .blocks import Block, paragraph
from .pdf_lines import Line, make_line
from .pdf_tables import Rules, Table, find_tables, words_left
from .tables import TableWriter

# Tables are found in points, in type of this height.
_HEIGHT = 11.0
_LEAST_LINES = 4
# Lines between columns, as Tesseract reads them; in how many rows they make their words unsure.
_BARS = frozenset("|[]{}¦")
_MAX_BARRED = 1
# Of a page that is aslant each word is a line; so many of other pages begin one.
_LEAST_WHOLE = 0.8


def scanned_blocks(text: str, boxes: tuple[LineBox, ...], *, page: int) -> Iterator[Block]:
    """
    Yield the text of a page that was recognised, the rows of its tables as such.

    Args:
        boxes: Where its lines stand; empty if that is not known.
    """
    whole = sum(1 for box in boxes if text[box.position - 1 : box.position] in ("", "\n"))
    if len(boxes) < _LEAST_LINES or whole < _LEAST_WHOLE * len(boxes):
        yield from paragraph(text, page=page, source="ocr", lines=boxes)
        return
    scale = _HEIGHT / max(statistics.median(box.top - box.bottom for box in boxes), 0.1)
    ends = [*(box.position for box in boxes[1:]), len(text)]
    lines = [_line(text, box, end, scale) for box, end in zip(boxes, ends, strict=True)]
    barred = {
        number
        for number, (box, end) in enumerate(zip(boxes, ends, strict=True))
        if not _BARS.isdisjoint(text[box.position : end])
    }
    tables = [
        table
        for table in find_tables(lines, Rules([], []))
        if len(table.lines & barred) <= _MAX_BARRED
    ]
    left = words_left(lines, tables)
    begin = 0
    for number, box in enumerate(boxes):
        if number not in left:
            continue
        # What stands above it, and its rows where it is the first line of a table.
        yield from _between(text, boxes, begin, box.position, page=page)
        begin = ends[number]
        for table in tables:
            if min(table.lines) == number:
                yield from _rows(table, page=page, scale=scale)
        if rest := " ".join(word.text for word in left[number]):
            yield from paragraph(rest, page=page, source="ocr")
    yield from _between(text, boxes, begin, len(text), page=page)


def _line(text: str, box: LineBox, end: int, scale: float) -> Line:
    starts = [box.position + word.offset for word in box.words]
    words = [
        (part, word.left * scale, word.right * scale)
        for start, stop, word in zip(starts, [*starts[1:], end], box.words, strict=True)
        if (part := "".join(text[start:stop].split())) and not _BARS.issuperset(part)
    ] or [("|", box.words[0].left * scale, box.words[-1].right * scale)]
    whole = " ".join(part for part, _, _ in words)
    left, right = min(one for _, one, _ in words), max(one for _, _, one in words)
    return make_line(
        whole,
        left,
        box.bottom * scale,
        right,
        box.top * scale,
        bold=False,
        cells=((whole, left, right),),
        page=box.page,
        edges=tuple((begin, stop) for _, begin, stop in words),
    )


def _between(
    text: str, boxes: Sequence[LineBox], begin: int, end: int, *, page: int
) -> Iterator[Block]:
    """Yield the text from *begin* to *end* with the places of its lines."""
    some = text[begin:end]
    begin += len(some) - len(some.lstrip())
    own = tuple(
        box._replace(position=box.position - begin) for box in boxes if begin <= box.position < end
    )
    yield from paragraph(some.strip(), page=page, source="ocr", lines=own)


def _rows(table: Table, *, page: int, scale: float) -> Iterator[Block]:
    writer = TableWriter(page=page, source="ocr")
    for block in table.blocks(writer, page=page, goes_on=False):
        yield block._replace(lines=tuple(_scaled(line, 1 / scale) for line in block.lines))


def _scaled(line: LineBox, scale: float) -> LineBox:
    words = tuple(WordBox(at, left * scale, right * scale) for at, left, right in line.words)
    return LineBox(line.position, line.page, line.bottom * scale, line.top * scale, words)
