"""
Old PowerPoint files (ppt): a slide is a page, its notes and comments come after its text.

Source: [MS-PPT] and [MS-ODRAW], https://learn.microsoft.com/openspecs/office_file_formats/ms-ppt.
A file is a tree of records, each with its type and length; an edit appends records, and the last
one tells which are in force.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.errors import Unreadable

from .blocks import (
    Block,
    EmptyPage,
    Event,
    PageCount,
    Request,
    Title,
    clean,
    clean_line,
    corrupt,
    heading,
    paragraph,
    read_all,
)
from .compound import COMPOUND_ERRORS, CompoundFile
from .numbering import show_count
from .ole_objects import object_blocks
from .reading_order import Box, reading_order
from .tables import Below, Beside, TableWriter, cover

_RECORD_BYTES = 8
_CONTAINER = 0xF
# CurrentUserAtom, 2.3.2.
_ENCRYPTED_TOKEN = 0xF3D1C4DF
_DIRECTORY, _EDIT = 0x1772, 0x0FF5
_SLIDE_LIST, _SLIDE_PERSIST = 0x0FF0, 0x03F3
_SLIDES, _NOTES = 0, 2
_SLIDE_ATOM, _DRAWING, _PROGRAM_TAGS = 0x03EF, 0x040C, 0x1388
_TEXT_HEADER, _WIDE_TEXT, _BYTE_TEXT, _STYLES = 0x0F9F, 0x0FA0, 0x0FA8, 0x0FA1
_OUTLINE_REFERENCE = 0x0F9E
# A letter stands where the program shows a number, a date or a running line.
_SHOWN_FIELDS = frozenset([0x0FD8, 0x0FF7, 0x0FF8, 0x0FF9, 0x0FFA, 0x1015])
_COMMENT, _STRING, _TAG_DATA = 0x2EE0, 0x0FBA, 0x138B
# Automatic numbers: StyleTextProp9Atom, 2.9.67, and the kinds of TextAutoNumberSchemeEnum.
_NUMBERS = 0x0FAC
_SCHEMES = {
    0: ("lowerLetter", "{}."), 1: ("upperLetter", "{}."), 2: ("decimal", "{})"),
    4: ("lowerRoman", "({})"), 5: ("lowerRoman", "{})"), 6: ("lowerRoman", "{}."),
    7: ("upperRoman", "{}."), 8: ("lowerLetter", "({})"), 9: ("lowerLetter", "{})"),
    10: ("upperLetter", "({})"), 11: ("upperLetter", "{})"), 12: ("decimal", "({})"),
    13: ("decimal", "{}"), 14: ("upperRoman", "({})"), 15: ("upperRoman", "{})"),
}  # fmt: skip
# Objects (charts, sheets): the list of them, one of its entries, and what it refers to.
_OBJECT_LIST, _OBJECT, _OBJECT_ATOM, _OBJECT_STORAGE = 0x0409, 0x0FCC, 0x0FC3, 0x1011
_OBJECT_REFERENCE = 0x0BC1
_MAX_OBJECTS = 1_000
_AUTHOR, _TEXT = 0, 1
# Kinds of text, TextHeaderAtom.
_TITLES = (0, 6)
# Shapes, [MS-ODRAW] 2.2.
_GROUP, _SHAPE, _GROUP_FRAME, _FLAGS = 0xF003, 0xF004, 0xF009, 0xF00A
_OPTIONS, _MORE_OPTIONS = 0xF00B, 0xF122
_CHILD_PLACE, _PLACE, _TEXT_BOX, _CLIENT_DATA = 0xF00F, 0xF010, 0xF00D, 0xF011
_PLACEHOLDER = 0x0BC3
_IS_DELETED, _IS_BACKGROUND = 0x8, 0x400
_DESCRIPTION, _TABLE, _BOOLEANS = 0x0381, 0x039F, 0x03BF
_IS_HIDDEN = 0x0002_0002
# Dates, numbers, running lines and pictures of slides: PlaceholderEnum, 2.13.24.
_RUNNING = frozenset([7, 8, 9, 10, 11])
_TITLE_PLACEHOLDERS = frozenset([13, 15, 17])
_MAX_DEPTH = 40
_MAX_RECORDS = 2_000_000
_MAX_EDITS = 10_000
_MAX_TABLE_CELLS = 20_000
_MAX_DESCRIPTION_CHARS = 4_000
# Edges of cells that differ by less are one: a table on a slide is 5,760 units high at most.
_SAME_EDGE = 4

_Frame = tuple[float, float, float, float]


class _Record(NamedTuple):
    """A record: *begin* to *end* is its content."""

    kind: int
    instance: int
    begin: int
    end: int
    is_container: bool


@dataclass(slots=True)
class _Line:
    text: str
    level: int = 0
    has_bullet: bool = False
    number: str = ""


@dataclass(slots=True)
class _Text:
    """The text of a shape, and what kind it is (TextHeaderAtom)."""

    kind: int = 4
    letters: str = ""
    # Places of letters that stand for numbers and dates.
    fields: set[int] = field(default_factory=set)
    levels: list[tuple[int, int, bool]] = field(default_factory=list)
    # Scheme and first number of each paragraph with an automatic number, None for others.
    numbers: list[tuple[int, int] | None] = field(default_factory=list)
    counts: dict[int, tuple[tuple[int, int], int]] = field(default_factory=dict)

    def lines(self) -> list[_Line]:
        """Return its paragraphs, each with the level and bullet that hold where it begins."""
        shown = self.letters
        if self.fields:
            shown = "".join("" if i in self.fields else c for i, c in enumerate(shown))
        found: list[_Line] = []
        ends: list[tuple[int, int, bool]] = []
        done = 0
        for count, level, has_bullet in self.levels:
            done += count
            ends.append((done, level, has_bullet))
        at = run = 0
        for part in shown.split("\r"):
            while run < len(ends) - 1 and ends[run][0] <= at:
                run += 1
            _, level, has_bullet = ends[run] if ends else (0, 0, False)
            lines = [clean_line(one) for one in part.split("\v")]
            number = self._number(len(found), level) if has_bullet else ""
            found.append(_Line("\n".join(filter(None, lines)), level, has_bullet, number))
            at += len(part) + 1
        return [line for line in found if line.text]

    def _number(self, paragraph: int, level: int) -> str:
        """Return the automatic number of a paragraph with its point or bracket, "" for none."""
        if not self.numbers:
            return ""
        # One entry is for all paragraphs that are numbered alike.
        its = self.numbers[min(paragraph, len(self.numbers) - 1)]
        if paragraph == 0:
            self.counts = {}
        if its is None:
            return ""
        for deeper in [one for one in self.counts if one > level]:
            del self.counts[deeper]
        scheme, first = its
        kept, value = self.counts.get(level, (its, first - 1))
        value = value + 1 if kept == its else first
        self.counts[level] = its, value
        form, shape = _SCHEMES.get(scheme, ("decimal", "{}."))
        return shape.format(show_count(value, form))


@dataclass(slots=True)
class _Shape:
    text: _Text | None = None
    place: _Frame | None = None
    description: str = ""
    cells: list[_Shape] | None = None
    is_title: bool = False
    chart: int = 0


@dataclass(slots=True)
class _Slide:
    """A row of the list of slides: where the slide is, and the texts of its placeholders."""

    place: int
    identifier: int
    texts: list[_Text]


def parse_ppt(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of an old presentation, slide by slide.

    Raises:
        Unreadable: It is damaged, protected, or larger than the limits.
    """
    try:
        file = CompoundFile(read_all(request))
        user = file.read(file.root, "current user")
        token, edit = struct.unpack_from("<II", user, 12)
        if token == _ENCRYPTED_TOKEN:
            raise Unreadable(
                "encrypted",
                "The PowerPoint file is protected by a password. "
                "Remove the password and upload it again.",
            )
        reader = _Reader(file.read(file.root, "powerpoint document"))
        reader.find(edit)
        if len(reader.slides) > request.limits.max_pages:
            raise Unreadable(
                "too_many_pages",
                f"The presentation has {len(reader.slides)} slides; at most "
                f"{request.limits.max_pages} are read. Split it into smaller files.",
            )
        yield PageCount(len(reader.slides))
        title = clean_line(file.title())
        if title and title != "PowerPoint Presentation":
            yield Title(title)
        for page, slide in enumerate(reader.slides, start=1):
            some = False
            for block in reader.slide_blocks(slide, request, page=page):
                some = True
                yield block
            if not some:
                yield EmptyPage(page)
    except COMPOUND_ERRORS as error:
        raise corrupt(
            "The PowerPoint file is damaged. Open it in PowerPoint, save it as pptx and upload "
            "that copy."
        ) from error


class _Reader:
    """Goes through the records of a presentation."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.records = 0
        self.slides: list[_Slide] = []
        self.notes: dict[int, int] = {}
        # Places of the storages of objects, by their numbers.
        self.objects: dict[int, int] = {}

    def find(self, edit: int) -> None:
        """Find the slides that the last edit, at *edit*, leaves."""
        places: dict[int, int] = {}
        document = 0
        for _ in range(_MAX_EDITS):
            record = self._at(edit)
            if record.kind != _EDIT:
                raise ValueError("no edit")
            before, directory, main = struct.unpack_from("<III", self.data, record.begin + 8)
            document = document or main
            self._directory(self._at(directory), places)
            if not before or before >= edit:
                break
            edit = before
        for part in self._inside(self._at(places.get(document, -1))):
            if part.kind == _SLIDE_LIST and part.instance == _SLIDES:
                self.slides = list(self._list(part, places))
            elif part.kind == _SLIDE_LIST and part.instance == _NOTES:
                self.notes = {one.identifier: one.place for one in self._list(part, places)}
            elif part.kind == _OBJECT_LIST:
                for entry in self._inside(part):
                    for atom in self._inside(entry) if entry.kind == _OBJECT else ():
                        if atom.kind == _OBJECT_ATOM and atom.end - atom.begin >= 20:
                            number, _, place = struct.unpack_from("<III", self.data, atom.begin + 8)
                            if len(self.objects) < _MAX_OBJECTS:
                                self.objects[number] = places.get(place, -1)

    def slide_blocks(self, slide: _Slide, request: Request, *, page: int) -> Iterator[Block]:
        """Yield the blocks of a slide: its title, its shapes, its notes and its comments."""
        parts = list(self._inside(self._at(slide.place)))
        shapes = list(self._shapes(parts, slide.texts))
        titles = [one for one in shapes if one.is_title]
        others = [one for one in shapes if not one.is_title]
        for shape in titles:
            lines = shape.text.lines() if shape.text is not None else []
            title = clean_line(" ".join(line.text for line in lines))
            yield from heading(title, level=1, page=page)
        for shape in _in_order(others):
            yield from _shape_blocks(shape, page=page)
            if shape.chart in self.objects:
                data = self._object(self.objects[shape.chart], request)
                yield from object_blocks(data, request, page=page)
        for part in parts:
            if part.kind == _SLIDE_ATOM and part.end - part.begin >= 20:
                (notes,) = struct.unpack_from("<I", self.data, part.begin + 16)
                if notes in self.notes:
                    yield from self._notes_blocks(self.notes[notes], page=page)
        for part in parts:
            if part.kind == _PROGRAM_TAGS:
                for author, text in self._comments(part):
                    who = f" by {author}" if author else ""
                    yield from paragraph(f"Comment{who}: {text}", page=page)

    def _object(self, place: int, request: Request) -> bytes:
        """Return the compound file of an object (ExOleObjStg, 2.10.34), b"" if there is none."""
        if place < 0:
            return b""
        record = self._at(place)
        if record.kind != _OBJECT_STORAGE:
            return b""
        data = self.data[record.begin : record.end]
        if not record.instance:
            return data
        try:
            unpacked = zlib.decompressobj()
            return unpacked.decompress(data[4:], request.limits.max_decompressed_bytes)
        except zlib.error:
            return b""

    def _notes_blocks(self, place: int, *, page: int) -> Iterator[Block]:
        some = False
        for shape in self._shapes(list(self._inside(self._at(place))), []):
            for block in _shape_blocks(shape, page=page):
                if not some:
                    yield Block("paragraph", "Notes:", page=page)
                    some = True
                yield block

    def _at(self, place: int) -> _Record:
        """Return the record at *place*."""
        if place < 0 or place + _RECORD_BYTES > len(self.data):
            raise ValueError("no record")
        self.records += 1
        if self.records > _MAX_RECORDS:
            raise ValueError("too many records")
        head, kind, length = struct.unpack_from("<HHI", self.data, place)
        begin = place + _RECORD_BYTES
        end = min(begin + length, len(self.data))
        return _Record(kind, head >> 4, begin, end, head & 0xF == _CONTAINER)

    def _inside(self, record: _Record) -> Iterator[_Record]:
        """Yield the records in *record*."""
        at = record.begin
        while at + _RECORD_BYTES <= record.end:
            inner = self._at(at)
            yield inner._replace(end=min(inner.end, record.end))
            at = inner.end

    def _directory(self, record: _Record, places: dict[int, int]) -> None:
        """Add the places that a PersistDirectoryAtom (2.3.4) tells; earlier ones go before."""
        if record.kind != _DIRECTORY:
            raise ValueError("no directory")
        at = record.begin
        while at + 4 <= record.end:
            (head,) = struct.unpack_from("<I", self.data, at)
            first, count = head & 0xFFFFF, head >> 20
            count = min(count, (record.end - at - 4) // 4)
            for i, place in enumerate(struct.unpack_from(f"<{count}I", self.data, at + 4)):
                places.setdefault(first + i, place)
            at += 4 + 4 * count

    def _list(self, record: _Record, places: dict[int, int]) -> Iterator[_Slide]:
        slide: _Slide | None = None
        waiting: list[_Record] = []
        for part in self._inside(record):
            if part.kind == _SLIDE_PERSIST:
                if slide is not None:
                    slide.texts = list(self._texts(waiting))
                    yield slide
                waiting = []
                reference, _, _, identifier = struct.unpack_from("<IIiI", self.data, part.begin)
                slide = _Slide(places.get(reference, -1), identifier, [])
            else:
                waiting.append(part)
        if slide is not None:
            slide.texts = list(self._texts(waiting))
            yield slide

    def _texts(self, records: Sequence[_Record]) -> Iterator[_Text]:
        """Yield the texts in a row of records; each begins with its kind."""
        text: _Text | None = None
        for record in records:
            data = self.data[record.begin : record.end]
            if record.kind == _TEXT_HEADER:
                if text is not None:
                    yield text
                text = _Text(int.from_bytes(data[:4], "little"))
            elif text is None:
                continue
            elif record.kind == _WIDE_TEXT:
                text.letters = data.decode("utf-16-le", "replace")
            elif record.kind == _BYTE_TEXT:
                # The low bytes of UTF-16.
                text.letters = data.decode("latin-1")
            elif record.kind == _STYLES:
                text.levels = _levels(data, len(text.letters) + 1)
            elif record.kind in _SHOWN_FIELDS:
                text.fields.add(int.from_bytes(data[:4], "little"))
        if text is not None:
            yield text

    def _shapes(self, parts: Sequence[_Record], texts: Sequence[_Text]) -> Iterator[_Shape]:
        for part in parts:
            if part.kind == _DRAWING:
                for drawing in self._inside(part):
                    for group in self._inside(drawing):
                        if group.kind == _GROUP:
                            yield from self._group(group, texts, depth=0, is_outermost=True)

    def _group(
        self, record: _Record, texts: Sequence[_Text], *, depth: int, is_outermost: bool = False
    ) -> Iterator[_Shape]:
        """Yield the shapes of a group, at their places outside of it; a table is one shape."""
        if depth > _MAX_DEPTH:
            return
        parts = list(self._inside(record))
        frame: _Shape | None = None
        inner: _Frame | None = None
        found: list[_Shape] = []
        is_table = is_hidden = False
        for part in parts:
            if part.kind == _GROUP:
                found.extend(self._group(part, texts, depth=depth + 1))
            elif part.kind == _SHAPE and frame is None and not found:
                # The first shape of a group is the group itself.
                records = list(self._inside(part))
                frame = _Shape(place=self._frame(records))
                options = self._options(records)
                is_table = bool(options.get(_TABLE, 0) & 1)
                is_hidden = options.get(_BOOLEANS, 0) & _IS_HIDDEN == _IS_HIDDEN
                for one in records:
                    if one.kind == _GROUP_FRAME and one.end - one.begin >= 16:
                        left, top, right, bottom = struct.unpack_from("<4i", self.data, one.begin)
                        inner = (left, top, right, bottom)
            elif part.kind == _SHAPE and (shape := self._shape(part, texts)) is not None:
                found.append(shape)
        if is_hidden:
            return
        if is_table and frame is not None:
            yield _Shape(place=frame.place, cells=found)
            return
        if not is_outermost and frame is not None and frame.place and inner:
            for shape in found:
                if shape.place is not None:
                    shape.place = _outside(shape.place, frame.place, inner)
        yield from found

    def _shape(self, record: _Record, texts: Sequence[_Text]) -> _Shape | None:
        parts = list(self._inside(record))
        options = self._options(parts)
        if options.get(_BOOLEANS, 0) & _IS_HIDDEN == _IS_HIDDEN:
            return None
        shape = _Shape(place=self._frame(parts), description=self._description(parts))
        numbers: list[tuple[int, int] | None] = []
        for part in parts:
            if part.kind == _FLAGS and part.end - part.begin >= 8:
                (flags,) = struct.unpack_from("<I", self.data, part.begin + 4)
                if flags & (_IS_DELETED | _IS_BACKGROUND):
                    return None
            elif part.kind == _CLIENT_DATA:
                for one in self._inside(part):
                    if one.kind == _PLACEHOLDER and one.end - one.begin >= 5:
                        placeholder = self.data[one.begin + 4]
                        if placeholder in _RUNNING:
                            return None
                        shape.is_title = placeholder in _TITLE_PLACEHOLDERS
                    elif one.kind == _OBJECT_REFERENCE and one.end - one.begin >= 4:
                        (shape.chart,) = struct.unpack_from("<I", self.data, one.begin)
                    elif one.kind == _PROGRAM_TAGS:
                        numbers = self._numbers(one)
            elif part.kind == _TEXT_BOX:
                records = list(self._inside(part))
                shape.text = next(self._texts(records), None)
                for one in records:
                    if one.kind == _OUTLINE_REFERENCE and one.end - one.begin >= 4:
                        (number,) = struct.unpack_from("<I", self.data, one.begin)
                        if number < len(texts):
                            shape.text = texts[number]
                if shape.text is not None and shape.text.kind in _TITLES:
                    shape.is_title = True
        if shape.text is not None and numbers:
            shape.text.numbers = numbers
        return shape

    def _numbers(self, record: _Record) -> list[tuple[int, int] | None]:
        """Return the automatic numbers in a shape's tags."""
        waiting = [(record, 0)]
        while waiting:
            current, depth = waiting.pop()
            if current.kind == _NUMBERS:
                return _automatic_numbers(self.data[current.begin : current.end])
            if depth < _MAX_DEPTH and (current.is_container or current.kind == _TAG_DATA):
                waiting.extend((one, depth + 1) for one in self._inside(current))
        return []

    def _frame(self, parts: Sequence[_Record]) -> _Frame | None:
        """Return left, top, right and bottom of a shape."""
        for part in parts:
            length = part.end - part.begin
            if part.kind == _CHILD_PLACE and length >= 16:
                left, top, right, bottom = struct.unpack_from("<4i", self.data, part.begin)
                return left, top, right, bottom
            if part.kind == _PLACE and length >= 8:
                form = "<4i" if length >= 16 else "<4h"
                top, left, right, bottom = struct.unpack_from(form, self.data, part.begin)
                return left, top, right, bottom
        return None

    def _options(self, parts: Sequence[_Record]) -> dict[int, int]:
        """Return the properties of a shape, by their numbers."""
        found: dict[int, int] = {}
        for part in parts:
            if part.kind in (_OPTIONS, _MORE_OPTIONS):
                for i in range(min(part.instance, (part.end - part.begin) // 6)):
                    number, value = struct.unpack_from("<HI", self.data, part.begin + 6 * i)
                    found[number & 0x3FFF] = value
        return found

    def _description(self, parts: Sequence[_Record]) -> str:
        """Return what a shape's author says that it shows; it stands behind the properties."""
        for part in parts:
            if part.kind not in (_OPTIONS, _MORE_OPTIONS):
                continue
            at = part.begin + 6 * part.instance
            for i in range(min(part.instance, (part.end - part.begin) // 6)):
                number, value = struct.unpack_from("<HI", self.data, part.begin + 6 * i)
                if not number & 0x8000:
                    continue
                if number & 0x3FFF == _DESCRIPTION:
                    text = self.data[at : min(at + value, part.end)].decode("utf-16-le", "replace")
                    return clean_line(text)[:_MAX_DESCRIPTION_CHARS]
                at += value
        return ""

    def _comments(self, record: _Record) -> Iterator[tuple[str, str]]:
        """Yield (author, text) of the comments on a slide (Comment10Container, 2.5.15)."""
        waiting = [(record, 0)]
        while waiting:
            current, depth = waiting.pop()
            inner = list(self._inside(current))
            if current.kind == _COMMENT:
                said = {
                    one.instance: clean_line(
                        self.data[one.begin : one.end].decode("utf-16-le", "replace")
                    )
                    for one in inner
                    if one.kind == _STRING
                }
                if text := said.get(_TEXT):
                    yield said.get(_AUTHOR, ""), text
            elif depth < _MAX_DEPTH:
                waiting.extend(
                    (one, depth + 1)
                    for one in reversed(inner)
                    if one.is_container or one.kind == _TAG_DATA
                )


def _automatic_numbers(data: bytes) -> list[tuple[int, int] | None]:
    """Return scheme and first number of each StyleTextProp9 (2.9.68), None where it has none."""
    found: list[tuple[int, int] | None] = []
    at = 0
    while at + 12 <= len(data):
        (mask,) = struct.unpack_from("<I", data, at)
        at += 4 + 2 * (mask >> 23 & 1)
        is_numbered = False
        if mask >> 24 & 1 and at + 2 <= len(data):
            is_numbered = struct.unpack_from("<H", data, at)[0] != 0
            at += 2
        scheme = first = 0
        if mask >> 25 & 1 and at + 4 <= len(data):
            scheme, first = struct.unpack_from("<HH", data, at)
            at += 4
        found.append((scheme, first or 1) if is_numbered else None)
        if at + 4 > len(data):
            break
        (mask,) = struct.unpack_from("<I", data, at)
        # TextCFException9 has the number of a run, TextSIException languages and the like.
        at += 4 + 4 * (mask >> 20 & 1)
        if at + 4 > len(data):
            break
        (mask,) = struct.unpack_from("<I", data, at)
        at += 4 + 2 * (mask & 1) + 2 * (mask >> 1 & 1) + 2 * (mask >> 2 & 1)
        at += 2 * (mask >> 6 & 1) + 4 * (mask >> 5 & 1)
    return found


def _levels(data: bytes, letters: int) -> list[tuple[int, int, bool]]:
    """Return (letters, level, whether with a bullet) of each run (StyleTextPropAtom, 2.9.44)."""
    found: list[tuple[int, int, bool]] = []
    at = 0
    while letters > 0 and at + 10 <= len(data):
        count, level, mask = struct.unpack_from("<IHI", data, at)
        at += 10
        has_bullet = False
        if mask & 0xF and at + 2 <= len(data):
            (flags,) = struct.unpack_from("<H", data, at)
            has_bullet = bool(mask & 1 and flags & 1)
            at += 2
        # Numbers of two bytes: bullet, font, size; of four: colour; then eight of two again.
        at += 2 * (mask & 0xD0).bit_count() + 4 * (mask >> 5 & 1)
        at += 2 * (mask & 0xFD00).bit_count()
        if mask & 0x0010_0000 and at + 2 <= len(data):
            at += 2 + 4 * int(struct.unpack_from("<H", data, at)[0])
        at += 2 * (mask >> 16 & 1) + 2 * bool(mask & 0x000E_0000) + 2 * (mask >> 21 & 1)
        found.append((count, min(level, 8), has_bullet))
        letters -= count
    return found


def _outside(place: _Frame, frame: _Frame, inner: _Frame) -> _Frame:
    """Return a place within a group as a place outside of it."""
    across = (frame[2] - frame[0]) / (inner[2] - inner[0]) if inner[2] != inner[0] else 1.0
    down = (frame[3] - frame[1]) / (inner[3] - inner[1]) if inner[3] != inner[1] else 1.0
    return (
        frame[0] + (place[0] - inner[0]) * across,
        frame[1] + (place[1] - inner[1]) * down,
        frame[0] + (place[2] - inner[0]) * across,
        frame[1] + (place[3] - inner[1]) * down,
    )


def _in_order(shapes: list[_Shape]) -> list[_Shape]:
    placed = [
        Box(*place, i) for i, shape in enumerate(shapes) if (place := shape.place) is not None
    ]
    if len(placed) < len(shapes):
        # Without places the order of the file is all that is known.
        return shapes
    return [shapes[i] for i in reading_order(placed)]


def _shape_blocks(shape: _Shape, *, page: int) -> Iterator[Block]:
    if shape.cells is not None:
        yield from _table_blocks(shape.cells, page=page)
    gap = "\n\n"
    for line in shape.text.lines() if shape.text is not None else ():
        mark = "  " * line.level + f"{line.number or '-'} " if line.has_bullet or line.level else ""
        text = clean(mark + line.text)
        yield from paragraph(text, kind="item" if mark else "paragraph", page=page, gap=gap)
        gap = "\n"
    if shape.description:
        yield from paragraph(shape.description, page=page)


def _table_blocks(cells: Sequence[_Shape], *, page: int) -> Iterator[Block]:
    """Yield the rows of a table, whose cells are shapes beside and below each other."""
    placed = [(cell, cell.place) for cell in cells if cell.place is not None and cell.text]
    columns = _edges([place[0] for _, place in placed])
    rows = _edges([place[1] for _, place in placed])
    if len(columns) * len(rows) > _MAX_TABLE_CELLS:
        raise ValueError("too many cells")
    grid = [["" for _ in columns] for _ in rows]
    for cell, (left, top, right, bottom) in placed:
        text = " ".join(line.text for line in cell.text.lines()) if cell.text else ""
        text = clean_line(text)
        first_row, first_column = _edge(rows, top), _edge(columns, left)
        for row in range(first_row, max(first_row + 1, _edge(rows, bottom))):
            for column in range(first_column, max(first_column + 1, _edge(columns, right))):
                if row > first_row:
                    grid[row][column] = Below(cover(text, below=True))
                elif column > first_column:
                    grid[row][column] = Beside(cover(text, below=False))
                else:
                    grid[row][column] = text
    writer = TableWriter(page=page)
    for line in grid:
        yield from writer.row(line)
    yield from writer.end()


def _edges(values: Sequence[float]) -> list[float]:
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _SAME_EDGE:
            found.append(value)
    return found


def _edge(edges: Sequence[float], value: float) -> int:
    """Return how many of *edges* lie before *value*."""
    return sum(1 for edge in edges if edge < value - _SAME_EDGE)
