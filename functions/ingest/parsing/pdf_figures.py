"""
Pictures and drawings on a page of a PDF.

Programs cut one picture into strips and draw one chart with hundreds of lines: what is drawn near
each other is one figure, unless it is a table, a frame or a background.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

from .figures import is_caption, is_large

# Things on a page that are looked at, and figures of one that are found.
_MAX_THINGS = 20_000
_MAX_FIGURES = 20
# Places nearer than this, in points, are one figure; pages of posters get larger places.
_PLACE = 10.0
_MAX_PLACES = 150
_THIN = 3.0
# What a larger thing is, as a share of the page, is a background.
_BACKGROUND = 0.9
_PANEL = 0.5
# More text than this share of its area is a table, a box or a page.
_MAX_TEXT = 0.35
_LEAST_CURVES = 3
_GRAPH_PARTS = 8
_FRAME_PARTS = 20
_LEAST_BARS = 3
_LEAST_INSIDE = 5
# Labels of axes and captions stand around a figure.
_LABEL_GAP = 16.0
_LABEL_CHARS = 40
_CAPTION_GAP = 60.0
_CAPTION_LINES = 3
_MAX_SIDE = 1024
_MAX_PIXELS = 80_000_000


class Placed(NamedTuple):
    """A line of text on a page, in points from the lower left corner."""

    text: str
    left: float
    bottom: float
    right: float
    top: float


_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PdfFigure:
    """
    A figure on a page.

    Attributes:
        box: Left, bottom, right and top in points, its labels included.
        signature: Equal for the same figure on another page.
        pixels: Of the pictures in it.
    """

    box: _Box
    caption: str
    signature: tuple[int | str, ...]
    pixels: int

    @property
    def is_too_large(self) -> bool:
        """Return whether its pictures have more pixels than may be decoded."""
        return self.pixels > _MAX_PIXELS


class _Thing(NamedTuple):
    """
    Something drawn.

    Attributes:
        kind: picture, curve, bar, line, frame, or drawing (many of them in one).
    """

    kind: str
    box: _Box
    pixels: int = 0
    signature: tuple[int | str, ...] = ()


def find_figures(page: pypdfium2.PdfPage, lines: Sequence[Placed]) -> list[PdfFigure]:
    """Return the figures of a page, from its top."""
    width, height = page.get_size()
    things = list(_things(page, width * height))
    if not any(thing.kind != "line" for thing in things):
        return []
    found = []
    for group in _groups(things, max(width, height)):
        figure = _figure(group, lines, width * height)
        if figure is not None:
            found.append(figure)
    found.sort(key=lambda figure: -figure.box[3])
    return found[:_MAX_FIGURES]


def whole_page(page: pypdfium2.PdfPage) -> PdfFigure:
    """Return a page that is one picture as a figure."""
    pixels = sum(thing.pixels for thing in _things(page, float("inf")) if thing.kind == "picture")
    return PdfFigure(tuple(page.get_bbox()), "", (), pixels)


def render(page: pypdfium2.PdfPage, figure: PdfFigure) -> Any:
    """
    Return the part of the page that *figure* is, as an image of Pillow's.

    Raises:
        PdfiumError: It cannot be rendered.
    """
    left, bottom, right, top = page.get_bbox()
    own_left, own_bottom, own_right, own_top = figure.box
    sides = [own_left - left, own_bottom - bottom, right - own_right, top - own_top]
    # Turned clockwise, the left side comes to the top: left, bottom, right, top.
    for _ in range(page.get_rotation() // 90 % 4):
        sides = [sides[1], sides[2], sides[3], sides[0]]
    shown = max(own_right - own_left, own_top - own_bottom, 1.0)
    bitmap = page.render(
        scale=min(200 / 72, _MAX_SIDE / shown), crop=tuple(max(0.0, side) for side in sides)
    )
    try:
        return bitmap.to_pil().convert("RGB")
    finally:
        bitmap.close()


def _things(page: pypdfium2.PdfPage, area: float) -> Iterable[_Thing]:
    raw = page.raw
    sides = [ctypes.c_float() for _ in range(4)]
    places = [ctypes.byref(side) for side in sides]
    for index in range(min(pdfium.FPDFPage_CountObjects(raw), _MAX_THINGS)):
        thing = pdfium.FPDFPage_GetObject(raw, index)
        kind = pdfium.FPDFPageObj_GetType(thing)
        if kind == pdfium.FPDF_PAGEOBJ_TEXT:
            continue
        if not pdfium.FPDFPageObj_GetBounds(thing, *places):
            continue
        left, bottom, right, top = (side.value for side in sides)
        box = (left, bottom, right, top)
        size = (right - left) * (top - bottom)
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            if size < _BACKGROUND * area:
                yield _picture(thing, box)
        elif kind == pdfium.FPDF_PAGEOBJ_FORM:
            if size < _BACKGROUND * area and is_large(right - left, top - bottom):
                inside = pdfium.FPDFFormObj_CountObjects(thing)
                if inside > 0 and _is_drawing(thing, min(inside, _MAX_THINGS)):
                    yield _Thing("drawing", box, 0, ("form", inside, *map(round, box)))
            elif size < _BACKGROUND * area:
                # Points of a chart.
                yield _Thing("curve", box)
        elif kind == pdfium.FPDF_PAGEOBJ_SHADING:
            if size < _PANEL * area:
                yield _Thing("bar", box)
        elif kind == pdfium.FPDF_PAGEOBJ_PATH and size < _BACKGROUND * area:
            yield _path(thing, box, size, area)


def _picture(thing: Any, box: _Box) -> _Thing:
    across, down = ctypes.c_uint(), ctypes.c_uint()
    pdfium.FPDFImageObj_GetImagePixelSize(thing, ctypes.byref(across), ctypes.byref(down))
    length = pdfium.FPDFImageObj_GetImageDataRaw(thing, None, 0)
    signature = ("picture", across.value, down.value, length)
    return _Thing("picture", box, across.value * down.value, signature)


def _is_drawing(form: Any, inside: int) -> bool:
    """Return whether a form holds a picture, or a drawing of several parts."""
    drawn = 0
    for index in range(inside):
        kind = pdfium.FPDFPageObj_GetType(pdfium.FPDFFormObj_GetObject(form, index))
        if kind in (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM):
            return True
        drawn += kind in (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING)
        if drawn >= _LEAST_INSIDE:
            return True
    return False


def _path(thing: Any, box: _Box, size: float, area: float) -> _Thing:
    left, bottom, right, top = box
    if right - left < _THIN or top - bottom < _THIN:
        return _Thing("line", box)
    parts = pdfium.FPDFPath_CountSegments(thing)
    if shape := _curve(thing, parts):
        if shape == "arc" and size > _PANEL * area and parts < _FRAME_PARTS:
            # Round corners.
            return _Thing("frame", box)
        # A graph is one path.
        return _Thing("curve", box, signature=("graph",) if parts >= _GRAPH_PARTS else ())
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(thing, ctypes.byref(fill), ctypes.byref(stroke))
    if not fill.value or size > _PANEL * area:
        return _Thing("frame", box)
    return _Thing("bar", box)


def _curve(path: Any, parts: int) -> str:
    """Return whether a path has a slanting line or an arc, "" for neither; its begin is read."""
    x, y = ctypes.c_float(), ctypes.c_float()
    before: tuple[float, float] | None = None
    for index in range(min(parts, 40)):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        if kind == pdfium.FPDF_SEGMENT_BEZIERTO:
            return "arc"
        pdfium.FPDFPathSegment_GetPoint(segment, ctypes.byref(x), ctypes.byref(y))
        here = (x.value, y.value)
        if kind == pdfium.FPDF_SEGMENT_LINETO and before is not None:
            across, down = abs(here[0] - before[0]), abs(here[1] - before[1])
            if min(across, down) > 0.05 * max(across, down):
                return "slant"
        before = here
    return ""


def _groups(things: list[_Thing], side: float) -> list[list[_Thing]]:
    """Return the things that lie near each other, together."""
    size = max(_PLACE, side / _MAX_PLACES)
    owners: dict[tuple[int, int], int] = {}
    parents = list(range(len(things)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for number, thing in enumerate(things):
        for place in _places(thing, size):
            owner = owners.setdefault(place, number)
            if owner != number:
                parents[root(owner)] = root(number)
    for (column, row), owner in owners.items():
        for beside in ((column + 1, row), (column, row + 1)):
            if beside in owners:
                parents[root(owners[beside])] = root(owner)
    groups: dict[int, list[_Thing]] = {}
    for number, thing in enumerate(things):
        groups.setdefault(root(number), []).append(thing)
    return list(groups.values())


def _places(thing: _Thing, size: float) -> set[tuple[int, int]]:
    """Return the places that a thing covers; of a frame, its sides."""
    left, bottom, right, top = (
        min(max(int(side // size), -1), 2 * _MAX_PLACES) for side in thing.box
    )
    columns, rows = range(left, right + 1), range(bottom, top + 1)
    if thing.kind == "frame":
        across = {(column, row) for column in columns for row in (bottom, top)}
        return across | {(column, row) for column in (left, right) for row in rows}
    return {(column, row) for column in columns for row in rows}


def _figure(group: list[_Thing], lines: Sequence[Placed], area: float) -> PdfFigure | None:
    box = _union(thing.box for thing in group)
    size = (box[2] - box[0]) * (box[3] - box[1])
    pictures = [thing for thing in group if thing.kind == "picture"]
    drawings = [thing for thing in group if thing.kind == "drawing"]
    if not pictures and size > _BACKGROUND * area:
        return None
    if pictures and size > 4 * sum(map(_size, pictures)) and not _is_drawn(group, lines):
        # Beside a frame or the lines of a table.
        box = _union(thing.box for thing in [*pictures, *drawings])
        size = (box[2] - box[0]) * (box[3] - box[1])
    if not is_large(box[2] - box[0], box[3] - box[1]):
        return None
    inside = [line for line in lines if _holds(box, line)]
    if sum((line.right - line.left) * (line.top - line.bottom) for line in inside) > (
        _MAX_TEXT * size
    ):
        return None
    if not pictures and not drawings and not _is_drawn(group, lines):
        return None
    caption = _caption(box, lines)
    largest = max([*pictures, *drawings], key=_size, default=None)
    return PdfFigure(
        box if pictures and len(pictures) == len(group) else _with_labels(box, lines, caption),
        caption,
        largest.signature
        if largest is not None
        else ("drawing", hash(tuple(sorted(tuple(map(round, thing.box)) for thing in group)))),
        sum(thing.pixels for thing in pictures),
    )


def _is_drawn(group: list[_Thing], lines: Sequence[Placed]) -> bool:
    """Recognise a drawing from lines, frames and the coloured cells of a table."""
    curves = [thing for thing in group if thing.kind == "curve"]
    if len(curves) >= _LEAST_CURVES or any(thing.signature for thing in curves):
        return True
    bars = [thing for thing in group if thing.kind == "bar"]
    if len(bars) < _LEAST_BARS:
        return False
    with_text = sum(any(_holds(bar.box, line) for line in lines) for bar in bars[:200])
    shapes = {(round(bar.box[2] - bar.box[0]), round(bar.box[3] - bar.box[1])) for bar in bars}
    return with_text <= 0.5 * min(len(bars), 200) and len(shapes) > 1


def _holds(box: _Box, line: Placed) -> bool:
    across, down = (line.left + line.right) / 2, (line.bottom + line.top) / 2
    return box[0] <= across <= box[2] and box[1] <= down <= box[3]


def _with_labels(box: _Box, lines: Sequence[Placed], caption: str) -> _Box:
    left, bottom, right, top = box
    near = (left - _LABEL_GAP, bottom - _LABEL_GAP, right + _LABEL_GAP, top + _LABEL_GAP)
    labels = [
        line[1:]
        for line in lines
        if len(line.text) <= _LABEL_CHARS
        and line.right > near[0]
        and line.left < near[2]
        and line.top > near[1]
        and line.bottom < near[3]
        and not (caption and caption.startswith(line.text))
    ]
    return _union([(left - 2, bottom - 2, right + 2, top + 2), *labels])


def _caption(box: _Box, lines: Sequence[Placed]) -> str:
    """Return the caption below or above a figure, "" if there is none."""
    left, bottom, right, top = box
    best, nearest = -1, _CAPTION_GAP
    for number, line in enumerate(lines):
        if line.right < left or line.left > right or not is_caption(line.text):
            continue
        gap = bottom - line.top if line.top <= bottom + 5 else line.bottom - top
        if -5 <= gap < nearest:
            best, nearest = number, gap
    if best < 0:
        return ""
    parts = [lines[best]]
    for line in lines[best + 1 : best + _CAPTION_LINES]:
        above = parts[-1]
        height = above.top - above.bottom
        if line.top > above.bottom + 2 or above.bottom - line.top > 0.7 * height:
            break
        parts.append(line)
    return " ".join(part.text for part in parts)


def _size(thing: _Thing) -> float:
    left, bottom, right, top = thing.box
    return (right - left) * (top - bottom)


def _union(boxes: Iterable[_Box]) -> _Box:
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)
