"""The order in which a person reads the boxes of a slide or drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Boxes beyond this are read from top to bottom.
_MAX_BOXES = 300
# Rows of a grid whose heights differ by less hold things of one kind.
_SAME_HEIGHT = 1.8


@dataclass(frozen=True, slots=True)
class Box:
    """Where something stands; *index* is its place in the file."""

    left: float
    top: float
    right: float
    bottom: float
    index: int


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """
    Return the indices of *boxes* from the first that is read to the last.

    They are parted again and again at the widest gap that runs through all of them: what is above
    or left of it comes first. A grid of rows of one height, as of labels and values, is read by
    rows.
    """
    if len(boxes) > _MAX_BOXES:
        return [box.index for box in _by_lines(boxes)]
    order: list[int] = []
    waiting = [list(boxes)]
    while waiting:
        group = waiting.pop()
        parts = _parted(group)
        if len(parts) > 1:
            waiting.extend(reversed(parts))
        else:
            order.extend(box.index for box in _by_lines(group))
    return order


def _by_lines(boxes: Sequence[Box]) -> list[Box]:
    """Return boxes that overlap from top to bottom, those at nearly one height from the left."""
    waiting = sorted(boxes, key=lambda box: (box.top, box.left, box.index))
    ordered: list[Box] = []
    while waiting:
        first = waiting[0]
        limit = first.top + (first.bottom - first.top) / 3
        line = [box for box in waiting if box.top <= limit]
        ordered.extend(sorted(line, key=lambda box: (box.left, box.top, box.index)))
        waiting = waiting[len(line) :]
    return ordered


def _parted(boxes: list[Box]) -> list[list[Box]]:
    if len(boxes) < 2:
        return [boxes]
    rows, down = _cut(boxes, [(box.top, box.bottom) for box in boxes])
    columns, across = _cut(boxes, [(box.left, box.right) for box in boxes])
    if len(rows) < 2 or len(columns) < 2:
        return rows if len(rows) > 1 else columns
    if down >= across or _is_even(rows, len(columns)):
        return rows
    return columns


def _cut(boxes: list[Box], spans: list[tuple[float, float]]) -> tuple[list[list[Box]], float]:
    """Return *boxes* parted at every gap between their *spans*, and the width of the widest."""
    order = sorted(range(len(boxes)), key=lambda i: spans[i])
    parts = [[boxes[order[0]]]]
    end, widest = spans[order[0]][1], 0.0
    for i in order[1:]:
        begin, stop = spans[i]
        # Neighbours may overlap a little.
        if begin >= end - 0.1 * min(stop - begin, end - spans[order[0]][0]):
            parts.append([])
            widest = max(widest, begin - end)
        parts[-1].append(boxes[i])
        end = max(end, stop)
    return parts, widest


def _is_even(rows: list[list[Box]], columns: int) -> bool:
    heights = [max(box.bottom - box.top for box in row) for row in rows]
    return all(len(row) == columns for row in rows) and max(heights) < _SAME_HEIGHT * min(heights)
