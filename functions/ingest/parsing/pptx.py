"""
PowerPoint presentations (pptx): a slide is a page, its notes come after its text.

Shapes are read in the order of their places, the title first. Hidden shapes and struck text are
not read; hidden slides are, since everybody who opens the file sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.errors import Unreadable

from .archives import Archive
from .blocks import (
    Block,
    BlockKind,
    EmptyPage,
    Event,
    PageCount,
    Request,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    raised,
)
from .charts import chart_blocks
from .docx import core_title, drawing_lines
from .equations import EquationReader
from .figures import PackedPictures
from .numbering import show_count
from .reading_order import Box, reading_order
from .tables import Spans, TableWriter

# Placeholders that repeat on every slide.
_RUNNING = frozenset(["dt", "ftr", "sldNum", "hdr", "sldImg"])
_TITLES = frozenset(["title", "ctrTitle"])
_SHAPES = frozenset(["sp", "graphicFrame", "pic", "cxnSp"])
# What is looked at of a slide: most of it is how things look.
_STARTS = _SHAPES.union(
    ["t", "Fallback", "fld", "r", "rPr", "grpSp", "oMath", "p", "cNvPr", "off", "ext", "chOff"],
    ["chExt", "pPr", "buChar", "buAutoNum", "br", "tab", "ph", "chart", "relIds", "tbl", "tblPr"],
    ["tc", "blip"],
)
_ENDS = _SHAPES.union(["t", "p", "grpSp", "tc", "tr", "tbl"])
_MAX_DESCRIPTION_CHARS = 4_000
_POINT = 12_700  # English metric units
_COUNTS = {"arabic": "decimal", "alphaLc": "lowerLetter", "alphaUc": "upperLetter"} | {
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
}

# Left, top, width and height.
_Place = tuple[float, float, float, float]


@dataclass(slots=True)
class _Group:
    """A group of shapes: how places within it become places on the slide."""

    place: _Place = (0, 0, 0, 0)
    inner: _Place = (0, 0, 0, 0)

    def outside(self, place: _Place) -> _Place:
        left, top, width, height = self.inner
        across = self.place[2] / width if width else 1.0
        down = self.place[3] / height if height else 1.0
        return (
            self.place[0] + (place[0] - left) * across,
            self.place[1] + (place[1] - top) * down,
            place[2] * across,
            place[3] * down,
        )


@dataclass(slots=True)
class _Line:
    """A paragraph of a shape."""

    text: list[str] = field(default_factory=list)
    level: int = 0
    bullet: str = ""
    start: int = 1


@dataclass(slots=True)
class _Shape:
    """What a shape says, and where it stands."""

    placeholder: str = ""
    index: str = ""
    place: _Place | None = None
    is_hidden: bool = False
    is_picture: bool = False
    alternative: str = ""
    lines: list[_Line] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    parts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return what it says on one line."""
        return clean_line(" ".join(" ".join("".join(line.text).split()) for line in self.lines))


def parse_pptx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a presentation, slide by slide."""
    archive = Archive(request.source, limits=request.limits, what="PowerPoint")
    main = next(iter(archive.related("", "officeDocument")), "ppt/presentation.xml")
    slides = _slides(archive, main)
    if len(slides) > request.limits.max_pages:
        raise Unreadable(
            "too_many_pages",
            f"The presentation has {len(slides)} slides; at most {request.limits.max_pages} are "
            "read. Split it into smaller files.",
        )
    yield PageCount(len(slides))
    for core in archive.related("", "core-properties"):
        if (title := core_title(archive, core)) and title != "PowerPoint Presentation":
            yield Title(title)
    layouts: dict[str, dict[tuple[str, str], _Place]] = {}
    if request.figures is not None:
        uses = Counter(
            target
            for slide in slides
            for kind, target in set(archive.relations(slide).values())
            if kind == "image"
        )
        archive.pictures = PackedPictures(request.figures, archive, uses)
    for number, slide in enumerate(slides, start=1):
        some = False
        for block in _slide_blocks(archive, slide, layouts, page=number):
            some = True
            yield block
        if not some:
            yield EmptyPage(number)


def _slides(archive: Archive, main: str) -> list[str]:
    relations = archive.relations(main)
    slides: list[str] = []
    for event in archive.xml(main):
        if event.kind == "start" and event.name == "sldId":
            _, target = relations.get(event.attributes.get("r:id", ""), ("", ""))
            if archive.has(target):
                slides.append(target)
    return slides


def _slide_blocks(
    archive: Archive,
    slide: str,
    layouts: dict[str, dict[tuple[str, str], _Place]],
    *,
    page: int,
) -> Iterator[Block]:
    shapes = [
        shape
        for shape in _read_shapes(archive, slide, page=page)
        if shape.placeholder not in _RUNNING and not shape.is_hidden
    ]
    places = _layout_places(archive, slide, layouts)
    for shape in shapes:
        if shape.place is None:
            shape.place = places.get((shape.placeholder, shape.index)) or places.get(
                (shape.placeholder, "")
            )
    title = next((shape.text for shape in shapes if shape.placeholder in _TITLES), "")
    for shape in _in_order(shapes):
        yield from _shape_blocks(archive, shape, page=page, title=title)
    for notes in archive.related(slide, "notesSlide"):
        some = False
        for shape in _read_shapes(archive, notes, page=page):
            if shape.placeholder in _RUNNING or shape.is_hidden:
                continue
            shape.placeholder = "body"
            for block in _shape_blocks(archive, shape, page=page):
                if not some:
                    yield Block("paragraph", "Notes:", page=page)
                    some = True
                yield block
    for comments in archive.related(slide, "comments"):
        for line in _comments(archive, comments):
            yield from paragraph(f"Comment: {line}", page=page)


def _in_order(shapes: list[_Shape]) -> list[_Shape]:
    titles = [shape for shape in shapes if shape.placeholder in _TITLES]
    others = [shape for shape in shapes if shape.placeholder not in _TITLES]
    placed = [
        Box(place[0], place[1], place[0] + place[2], place[1] + place[3], i)
        for i, shape in enumerate(others)
        if (place := shape.place) is not None
    ]
    if len(placed) < len(others):
        # Without places the order of the file is all that is known.
        return titles + others
    return titles + [others[i] for i in reading_order(placed)]


def _layout_places(
    archive: Archive, slide: str, known: dict[str, dict[tuple[str, str], _Place]]
) -> dict[tuple[str, str], _Place]:
    """Return where the layout of a slide, and its master, put the placeholders."""
    layout = next(iter(archive.related(slide, "slideLayout")), "")
    if not layout:
        return {}
    if layout not in known:
        places: dict[tuple[str, str], _Place] = {}
        for part in (layout, *archive.related(layout, "slideMaster")):
            for shape in _read_shapes(archive, part, page=None):
                if shape.place is not None and shape.placeholder:
                    places.setdefault((shape.placeholder, shape.index), shape.place)
                    places.setdefault((shape.placeholder, ""), shape.place)
                    # A placeholder of a slide may not say again what kind it is.
                    places.setdefault(("body", shape.index), shape.place)
        known[layout] = places
    return known[layout]


def _shape_blocks(
    archive: Archive, shape: _Shape, *, page: int, title: str = ""
) -> Iterator[Block]:
    if shape.placeholder in _TITLES:
        yield from heading(shape.text, level=1, page=page)
    else:
        yield from _line_blocks(shape.lines, page=page)
    yield from shape.blocks
    for kind, part in shape.parts:
        if kind == "chart":
            yield from chart_blocks(archive, part, page=page)
        elif kind == "picture":
            if archive.pictures is not None:
                place = shape.place or (0, 0, 0, 0)
                shown = (place[2] / _POINT, place[3] / _POINT) if place[2] and place[3] else None
                yield from archive.pictures.describe(
                    part, page=page, caption=shape.alternative or title, shown=shown
                )
        else:
            gap = "\n\n"
            for line in drawing_lines(archive, part):
                yield from paragraph(line, page=page, gap=gap)
                gap = "\n"


def _line_blocks(lines: list[_Line], *, page: int) -> Iterator[Block]:
    gap = "\n\n"
    counts: dict[int, int] = {}
    for line in lines:
        text = clean("".join(line.text).replace("\xad", "")).replace("\v", "\n").strip()
        if not text:
            continue
        for level in [level for level in counts if level > line.level - (not line.bullet)]:
            del counts[level]
        marker = ""
        if line.bullet not in ("", "char"):
            counts[line.level] = counts.get(line.level, line.start - 1) + 1
            marker = _marker(line.bullet, counts[line.level])
        elif line.bullet or line.level:
            marker = "- "
        kind: BlockKind = "item" if marker else "paragraph"
        if marker:
            text = "  " * line.level + marker + text
        yield from paragraph(text, kind=kind, page=page, gap=gap)
        gap = "\n"


def _marker(scheme: str, count: int) -> str:
    """Return a number of one of the schemes of ST_TextAutonumberScheme, such as alphaLcParenR."""
    form = next((form for start, form in _COUNTS.items() if scheme.startswith(start)), "decimal")
    number = show_count(count, form)
    if scheme.endswith("ParenBoth"):
        return f"({number}) "
    return f"{number}) " if scheme.endswith("ParenR") else f"{number}. "


class _SlideReader:
    """Goes through one part with a shape tree."""

    def __init__(self, archive: Archive, part: str, *, page: int | None) -> None:
        self.archive = archive
        self.part = part
        self.page = page
        self.relations = archive.relations(part)
        self.shapes: list[_Shape] = []
        self.groups: list[_Group] = []
        self.shape: _Shape | None = None
        self.line: _Line | None = None
        self.writer: TableWriter | None = None
        self.spans = Spans()
        self.cell: list[str] | None = None
        self.cell_span = (1, 1)
        self.is_covered = False
        self.has_first_row = False
        self.rows = 0
        self.equation: EquationReader | None = None
        self.equation_depth = 0
        self.in_text = self.is_struck = self.is_raised = False
        self.skipping = 0

    def read(self) -> list[_Shape]:
        for event in self.archive.xml(self.part):
            kind = event[0]
            if self.skipping:
                if kind != "text":
                    self.skipping += 1 if kind == "start" else -1
            elif self.equation is not None:
                if kind == "start":
                    self.equation_depth += 1
                    self.equation.start(event.name, event.attributes)
                elif kind == "text":
                    self.equation.text(event.text)
                elif self.equation_depth:
                    self.equation_depth -= 1
                    self.equation.end()
                else:
                    self._add(f" {self.equation.line()} ")
                    self.equation = None
            elif kind == "start":
                self._start(event.name, event.attributes)
            elif kind == "end":
                self._end(event.name)
            elif self.in_text and not self.is_struck:
                self._add(raised(event.text) if self.is_raised else event.text)
        return self.shapes

    def _add(self, text: str) -> None:
        if self.line is not None:
            self.line.text.append(text)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in _STARTS:
            return
        shape = self.shape
        if name == "t":
            self.in_text = True
        elif name == "Fallback" or (name == "fld" and attributes.get("type") == "slidenum"):
            self.skipping = 1
        elif name == "r":
            self.is_struck = self.is_raised = False
        elif name == "rPr":
            self.is_struck = attributes.get("strike", "noStrike") != "noStrike"
            self.is_raised = _number(attributes.get("baseline", "")) > 0
        elif name in _SHAPES:
            self.shape = _Shape(is_picture=name == "pic")
            self.shapes.append(self.shape)
        elif name == "grpSp":
            self.groups.append(_Group())
        elif name == "oMath":
            self.equation, self.equation_depth = EquationReader(), 0
        elif name == "p":
            self.line = _Line()
        elif name == "cNvPr":
            self._described(attributes)
        elif name in ("off", "ext", "chOff", "chExt"):
            self._place(name, attributes)
        elif self.line is not None and name in ("pPr", "buChar", "buAutoNum", "br", "tab"):
            self._line_property(self.line, name, attributes)
        elif shape is None:
            return
        elif name == "ph":
            shape.placeholder = attributes.get("type", "body")
            shape.placeholder = "body" if shape.placeholder == "obj" else shape.placeholder
            shape.index = attributes.get("idx", "")
        elif name == "blip":
            kind, target = self.relations.get(attributes.get("r:embed", ""), ("", ""))
            if shape.is_picture and kind == "image":
                shape.parts.append(("picture", target))
        elif name in ("chart", "relIds"):
            identifier = attributes.get("r:id") or attributes.get("r:dm") or ""
            _, target = self.relations.get(identifier, ("", ""))
            if target and self.archive.has(target):
                shape.parts.append((name, target))
        else:
            self._table_start(name, attributes)

    def _table_start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tbl":
            self.writer, self.spans, self.rows = TableWriter(page=self.page), Spans(), 0
            self.has_first_row = False
        elif name == "tblPr":
            self.has_first_row = _is_on(attributes, "firstRow")
        elif name == "tc" and self.writer is not None:
            self.cell = []
            self.cell_span = (
                _integer(attributes.get("gridSpan", "1")),
                _integer(attributes.get("rowSpan", "1")),
            )
            # Its place is filled by the cell that covers it.
            self.is_covered = _is_on(attributes, "hMerge") or _is_on(attributes, "vMerge")

    def _end(self, name: str) -> None:
        if name not in _ENDS:
            return
        if name == "t":
            self.in_text = False
        elif name == "p" and self.line is not None:
            line, self.line = self.line, None
            if self.cell is not None:
                self.cell.append("".join(line.text))
            elif self.shape is not None:
                self.shape.lines.append(line)
        elif name in _SHAPES:
            self._shape_end()
        elif name == "grpSp" and self.groups:
            self.groups.pop()
        elif name == "tc" and self.cell is not None:
            if not self.is_covered:
                columns, rows = self.cell_span
                self.spans.add(clean_line(" ".join(self.cell)), columns=columns, rows=rows)
            self.cell = None
        elif name == "tr" and self.writer is not None and self.shape is not None:
            is_first = self.rows == 0 and self.has_first_row
            self.rows += 1
            self.shape.blocks.extend(self.writer.row(self.spans.row(), is_strong=is_first))
        elif name == "tbl" and self.writer is not None and self.shape is not None:
            self.shape.blocks.extend(self.writer.end())
            self.writer = None

    def _shape_end(self) -> None:
        shape, self.shape = self.shape, None
        if shape is not None and shape.place is not None:
            for group in reversed(self.groups):
                shape.place = group.outside(shape.place)

    def _described(self, attributes: dict[str, str]) -> None:
        if self.shape is None or self.page is None:
            return
        self.shape.is_hidden = _is_on(attributes, "hidden")
        if line := clean_line(attributes.get("descr", ""))[:_MAX_DESCRIPTION_CHARS]:
            self.shape.alternative = line
            self.shape.blocks.append(Block("paragraph", line, page=self.page))

    def _place(self, name: str, attributes: dict[str, str]) -> None:
        """Take a part of a shape's or group's place."""
        if name in ("off", "chOff"):
            here = (_number(attributes.get("x", "")), _number(attributes.get("y", "")))
        elif "cx" in attributes:
            here = (_number(attributes["cx"]), _number(attributes.get("cy", "")))
        else:
            # An extension of the file format, not an extent.
            return
        is_corner = name in ("off", "chOff")

        def moved(place: _Place) -> _Place:
            return (*here, *place[2:]) if is_corner else (*place[:2], *here)

        if self.shape is not None:
            self.shape.place = moved(self.shape.place or (0, 0, 0, 0))
        elif self.groups:
            group = self.groups[-1]
            if name.startswith("ch"):
                group.inner = moved(group.inner)
            else:
                group.place = moved(group.place)

    def _line_property(self, line: _Line, name: str, attributes: dict[str, str]) -> None:
        if name == "pPr":
            line.level = min(8, _integer(attributes.get("lvl", "0")))
        elif name == "buChar":
            line.bullet = "char"
        elif name == "buAutoNum":
            line.bullet = attributes.get("type", "arabicPeriod")
            line.start = _integer(attributes.get("startAt", "1")) or 1
        else:
            line.text.append("\n" if name == "br" else "\t")


def _read_shapes(archive: Archive, part: str, *, page: int | None) -> list[_Shape]:
    return _SlideReader(archive, part, page=page).read()


def _comments(archive: Archive, part: str) -> Iterator[str]:
    """Yield the comments of a slide, of the old kind and of the new one."""
    text: list[str] = []
    inside = False
    for event in archive.xml(part):
        if event.kind == "text":
            if inside:
                text.append(event.text)
        elif event.name in ("t", "text"):
            inside = event.kind == "start"
        elif event.kind == "end" and event.name in ("cm", "reply"):
            if line := clean_line(" ".join(text)):
                yield line
            text = []


def _is_on(attributes: dict[str, str], name: str) -> bool:
    return attributes.get(name, "0") in ("1", "true")


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def _number(text: str) -> float:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    return float(sign * int(digits)) if digits.isdecimal() and len(digits) < 16 else 0.0
