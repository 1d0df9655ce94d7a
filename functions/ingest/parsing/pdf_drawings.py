"""What is drawn on a page of a PDF: lines around cells, bullets of lists, the picture of a scan."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, islice, repeat
from operator import eq
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from .pdf_characters import direct, turned_box
from .pdf_lines import Line
from .pdf_tables import Rules

# Drawings have more; what is thinner, in points, is a line, and shorter than that an ornament.
_MAX_DRAWN = 4_000
_MAX_SEGMENTS = 1_500
_MAX_THINGS = 50_000
_THIN = 3.0
_LEAST_LINE = 6.0
# Lower, in points, is no table.
LEAST_TABLE = 20.0
# A drawn bullet in heights of its line, and how many a page has.
_LEAST_BULLET = 0.12
_MOST_BULLET = 0.5
_MAX_BULLETS = 300
# Of a page that a picture covers.
_COVERED = 0.6
_MAX_PICTURES = 200
_MAX_FORM_DEPTH = 15

_PATH = pdfium.FPDF_PAGEOBJ_PATH
_PICTURE = pdfium.FPDF_PAGEOBJ_IMAGE
_FORM = pdfium.FPDF_PAGEOBJ_FORM
_object_at = direct(pdfium.FPDFPage_GetObject)
_object_type = direct(pdfium.FPDFPageObj_GetType)
_bounds = direct(pdfium.FPDFPageObj_GetBounds)
_form_object_at = direct(pdfium.FPDFFormObj_GetObject)
_count_segments = direct(pdfium.FPDFPath_CountSegments)
_segment = direct(pdfium.FPDFPath_GetPathSegment)
_segment_type = direct(pdfium.FPDFPathSegment_GetType)
_point = direct(pdfium.FPDFPathSegment_GetPoint)

# PDFium writes the sides of many things here, one call each.
_BATCH = 512
_SIDES = (ctypes.c_float * (4 * _BATCH))()
_PLACES = [[ctypes.byref(_SIDES, 4 * (4 * at + side)) for at in range(_BATCH)] for side in range(4)]

# A path of PDFium's, and its left, bottom, right and top.
_Path = tuple[Any, float, float, float, float]


class Drawings:
    """The things on a page: only as many are looked at as a question needs, and each once."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        self._page = page
        self._raw = page.raw
        self.count = pdfium.FPDFPage_CountObjects(page.raw)
        self._things: list[Any] = []
        self._kinds: list[int] = []
        self._paths: list[_Path] | None = None
        self._rules: Rules | None = None

    def is_ruled(self, *, least: int) -> bool:
        """Return whether *least* of the things are drawn, but not so many that it is a drawing."""
        return least <= self._all_kinds().count(_PATH) <= _MAX_DRAWN

    def _all_kinds(self) -> list[int]:
        if not self._kinds:
            # Browsers write each word as a thing of its own, and few lines among them.
            self._things = list(
                map(_object_at, repeat(self._raw), range(min(self.count, _MAX_THINGS)))
            )
            self._kinds = list(map(_object_type, self._things))
        return self._kinds

    def has_scan(self) -> bool:
        """Return whether a picture covers the page."""
        kinds = self._all_kinds()
        if _PICTURE not in kinds and _FORM not in kinds:
            return False
        width, height = self._page.get_size()
        pictures = _pictures(self._raw, self.count, _object_at)
        return any(
            (right - left) * (top - bottom) >= _COVERED * width * height
            for _, left, bottom, right, top in _with_sides(list(islice(pictures, _MAX_PICTURES)))
        )

    def paths(self) -> list[_Path]:
        """Return what is drawn; nothing where it is so much that it is a drawing."""
        if self._paths is None:
            self._paths = []
            if self.is_ruled(least=1):
                drawn = map(eq, self._kinds, repeat(_PATH))
                self._paths = list(_with_sides(list(compress(self._things, drawn))))
        return self._paths

    def rules(self, *, turn: int) -> Rules:
        """Return the lines drawn on the page, including the sides of boxes, see turned_box."""
        if self._rules is None:
            self._rules = _read_rules(self.paths(), *self._page.get_size())
        return _turned(self._rules, turn) if turn else self._rules


def _pictures(
    holder: Any, count: int, object_at: Callable[..., Any], *, depth: int = 1
) -> Iterator[Any]:
    """Yield the pictures of a page or a form, also those of forms inside of it."""
    for thing in map(object_at, repeat(holder), range(count)):
        kind = _object_type(thing)
        if kind == _PICTURE:
            yield thing
        elif kind == _FORM and depth < _MAX_FORM_DEPTH:
            inside = pdfium.FPDFFormObj_CountObjects(thing)
            yield from _pictures(thing, inside, _form_object_at, depth=depth + 1)


def _with_sides(things: Sequence[Any]) -> Iterator[_Path]:
    for start in range(0, len(things), _BATCH):
        some = things[start : start + _BATCH]
        known = list(map(_bounds, some, *_PLACES))
        sides = memoryview(_SIDES).cast("B").cast("f")[: 4 * len(some)].tolist()
        for is_known, *each in zip(
            known, some, sides[0::4], sides[1::4], sides[2::4], sides[3::4], strict=True
        ):
            if is_known:
                yield tuple(each)


def with_bullets(lines: list[Line], paths: Sequence[_Path]) -> list[Line]:
    """Return *lines* with the bullets that are drawn in front of them, as browsers print lists."""
    if not lines or not paths:
        return lines
    most = _MOST_BULLET * max(line.height for line in lines)
    small = [
        (left, right, (bottom + top) / 2)
        for _, left, bottom, right, top in paths
        if 0 < right - left < most and abs(right - left - (top - bottom)) < 0.2 * (right - left)
    ]
    if len(small) > _MAX_BULLETS:
        return lines
    marked = list(lines)
    for left, right, middle in small:
        near = [
            (line.left - right, at)
            for at, line in enumerate(lines)
            if line.bottom < middle < line.top
            and 0 < line.left - right < 1.5 * line.height
            and _LEAST_BULLET * line.height < right - left < _MOST_BULLET * line.height
        ]
        at = min(near)[1] if near else -1
        if near and marked[at] is lines[at]:
            line = lines[at]
            (text, _, end), *others = line.cells
            marked[at] = line._replace(
                text=f"• {line.text}",
                left=left,
                cells=((f"• {text}", left, end), *others),
                edges=((left, right), *line.edges) if line.edges else (),
            )
    return marked


def _read_rules(paths: Sequence[_Path], width: float, height: float) -> Rules:
    rules = Rules([], [])
    segments = 0
    for thing, left, bottom, right, top in paths:
        if right - left > 0.95 * width and top - bottom > 0.95 * height:
            continue
        if top - bottom < _THIN or right - left < _THIN:
            _add_rule(rules, left, bottom, right, top)
            continue
        if right - left < LEAST_TABLE or top - bottom < _LEAST_LINE:
            continue
        parts = _count_segments(thing)
        if parts < 4:
            continue
        segments += parts
        is_curve = _segment_type(_segment(thing, 1)) != pdfium.FPDF_SEGMENT_LINETO
        if is_curve or segments > _MAX_SEGMENTS:
            continue
        if parts <= 6:
            if _is_box(thing, parts):
                _add_rule(rules, left, bottom, right, bottom)
                _add_rule(rules, left, top, right, top)
                _add_rule(rules, left, bottom, left, top)
                _add_rule(rules, right, bottom, right, top)
        else:
            for x, y, to_x, to_y in _strokes(thing, parts):
                if abs(x - to_x) < 0.5 or abs(y - to_y) < 0.5:
                    _add_rule(rules, min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))
    return rules


def _turned(rules: Rules, turn: int) -> Rules:
    found = Rules([], [])
    for y, left, right in rules.across:
        _add_rule(found, *turned_box(turn, left, y, right, y))
    for x, bottom, top in rules.down:
        _add_rule(found, *turned_box(turn, x, bottom, x, top))
    return found


def _add_rule(rules: Rules, left: float, bottom: float, right: float, top: float) -> None:
    if right - left >= max(_LEAST_LINE, top - bottom):
        rules.across.append(((bottom + top) / 2, left, right))
    elif top - bottom >= _LEAST_LINE:
        rules.down.append(((left + right) / 2, bottom, top))


def _is_box(path: Any, parts: int) -> bool:
    return all(
        abs(x - to_x) < 0.5 or abs(y - to_y) < 0.5 for x, y, to_x, to_y in _strokes(path, parts)
    )


def _strokes(path: Any, parts: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield the straight lines of a path, in points."""
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(path, ctypes.byref(matrix))
    a, b, c, d, e, f = matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f
    point_x, point_y = ctypes.c_float(), ctypes.c_float()
    places = ctypes.byref(point_x), ctypes.byref(point_y)
    before: tuple[float, float] | None = None
    for index in range(parts):
        segment = _segment(path, index)
        _point(segment, *places)
        x, y = point_x.value, point_y.value
        here = a * x + c * y + e, b * x + d * y + f
        if before and _segment_type(segment) == pdfium.FPDF_SEGMENT_LINETO:
            yield *before, *here
        before = here
