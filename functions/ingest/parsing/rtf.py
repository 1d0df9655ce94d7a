r"""
RTF: groups, control words and the bytes between them (RTF specification 1.9.1).

Every group keeps its own state. What it says goes to a sink: the paragraph or cell that is open, a
footnote, a page header or the title. Destinations that hold no text (fonts, pictures, properties),
and those behind \* that are not known, are passed over.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .blocks import (
    Block,
    Event,
    Request,
    Title,
    clean_line,
    corrupt,
    heading,
    paragraph,
    raised,
    read_all,
)
from .docx import says_more, show_symbols
from .encoding_labels import find_codec
from .footnotes import with_notes
from .tables import TableWriter, cover

_TOKEN = re.compile(
    rb"\\(?:'([0-9a-fA-F]{2})|([a-zA-Z]{1,32})(-?[0-9]{1,10})? ?|([^a-zA-Z]))"
    rb"|([{}])|[\r\n\0]+|([^\\{}\r\n\0]+)",
    re.DOTALL,
)
_PAGE_FIELD = re.compile(rb"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
# Word itself nests a few dozen.
_MAX_DEPTH = 1_000
# A document has a few; a damaged one may have thousands.
_MAX_RUNNING = 1_000
# Rows that wait until the columns of their table are known.
_MAX_WAITING_ROWS = 2_000
_MAX_WAITING_CHARS = 4_000_000
_MAX_COLUMNS = 256
_MAX_TITLE_CHARS = 1_000
# No table that a person made has more places that only repeat a merged cell.
_MAX_COVERED_CELLS = 200_000
# Edges of cells that are nearer (in twips, 1/1440 inch) are one.
_SAME_EDGE = 60

# \fcharsetN of a font: the code page of its bytes.
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030",
    136: "big5hkscs", 161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256",
    186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_CODE_PAGES = {
    708: "iso8859-6", 932: "cp932", 936: "gb18030", 950: "big5hkscs", 1361: "johab",
    10000: "mac_roman", 65001: "utf-8",
}  # fmt: skip
_CHARACTERS = {
    "tab": "\t", "line": "\n", "page": " ", "column": " ", "emdash": "—", "endash": "–",
    "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
    "emspace": " ", "enspace": " ", "qmspace": " ", "softline": "\n", "nestrow": "\n",
    "nestcell": " | ",
}  # fmt: skip
_SYMBOLS = {b"~": "\xa0", b"_": "\u2011", b"\\": "\\", b"{": "{", b"}": "}", b"\t": "\t"}
_MARKS = frozenset("•·▪◦●○■□–—-*o§")
_RUNNING = frozenset(
    ["header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf"]
)
# Destinations without text of the document.
_SKIPPED = frozenset(
    [
        "fonttbl",
        "colortbl",
        "stylesheet",
        "info",
        "pict",
        "nonshppict",
        "shprslt",
        "objdata",
        "sp",
        "filetbl",
        "private",
        "xe",
        "tc",
        "tcn",
        "txe",
        "rxe",
        "ftnsep",
        "ftnsepc",
        "ftncn",
        "aftnsep",
        "aftnsepc",
        "aftncn",
        "nonesttables",
        "template",
        "listtable",
        "pnseclvl",
        "pntxta",
        "pntxtb",
        "formfield",
        "mmathPr",
        "mchr",
    ]
)
# Destinations behind \* that say something.
_STARRED = frozenset(
    ["shppict", "shpinst", "moMath", "moMathPara", "ud", "annotation", "do", "footnote"]
)
_HIDING = {"v": "hidden", "deleted": "deleted", "strike": "struck", "striked": "struck"}
_DAMAGED = (
    "The RTF file is damaged. Open it in a word processor, save it again and upload that copy."
)


@dataclass(slots=True)
class _Sink:
    """What one paragraph, cell, note or other text says so far."""

    parts: list[str] = field(default_factory=list)
    chars: int = 0
    notes: list[tuple[int, str]] = field(default_factory=list)
    marker: str | None = None
    is_strong: bool | None = None

    def add(self, text: str, *, bold: bool = False) -> None:
        self.parts.append(text)
        self.chars += len(text)
        if not text.isspace():
            self.is_strong = bold and self.is_strong is not False

    def take(self) -> str:
        """Return the text with its notes, and forget it."""
        text = "".join(self.parts)
        if not text.isascii():
            # \u writes a character beyond 65,535 as two surrogates.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            text = show_symbols(text)
        lines = [clean_line(line) for line in with_notes(text, self.notes).split("\n")]
        self.parts, self.chars, self.notes = [], 0, []
        return "\n".join(filter(None, lines))


@dataclass(slots=True)
class _State:
    """What holds within a group."""

    sink: _Sink
    # "text", "skip", "fonttbl", "stylesheet", "info", "fldinst" or "upr".
    destination: str = "text"
    # What the end of the group closes.
    closes: str = ""
    codec: str = "cp1252"
    uc: int = 1
    bold: bool = False
    hidden: bool = False
    deleted: bool = False
    struck: bool = False
    raised: bool = False
    in_table: bool = False
    level: int = 0

    @property
    def is_read(self) -> bool:
        return self.destination == "text" and not (self.hidden or self.deleted or self.struck)


@dataclass(slots=True)
class _Cell:
    """A cell by the definition of its row."""

    edge: int
    beside: bool = False
    below: bool = False


@dataclass(slots=True)
class _Row:
    cells: list[str]
    places: list[_Cell]
    is_header: bool
    is_strong: bool


def parse_rtf(request: Request) -> Iterator[Event]:
    """
    Yield the paragraphs and tables of an RTF document.

    Raises:
        Unreadable: Its groups are nested too deeply, or it ends within one.
    """
    yield from _Reader(read_all(request)).read()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.body = _Sink()
        self.state = _State(self.body)
        self.stack: list[_State] = []
        self.pending = bytearray()
        self.left_out = 0
        self.is_starred = False
        self.codec = "cp1252"
        self.fonts: dict[int, str] = {}
        self.font = 0
        self.levels: dict[int, int] = {}
        self.style = 0
        self.style_name = ""
        self.running: dict[str, None] = {}
        self.written: frozenset[str] = frozenset()
        self.begun = False
        self.comments: list[str] = []
        self.cells: list[str] = []
        self.are_strong: list[bool] = []
        self.places: list[_Cell] = []
        self.place = _Cell(0)
        self.is_header_row = False
        self.rows: list[_Row] = []
        self.waiting_chars = 0
        self.writer = TableWriter()
        self.has_table = False
        self.covered = 0
        self.boxes: list[str] = []
        self.is_page_number = False

    def read(self) -> Iterator[Event]:
        position, size = 0, len(self.data)
        while position < size:
            found = _TOKEN.match(self.data, position)
            if found is None:
                # A backslash at the very end.
                break
            position = found.end()
            code, word, number, symbol, brace, text = found.groups()
            if text is not None:
                self._text(text)
            elif code is not None:
                self._text(bytes((int(code, 16),)))
            elif brace == b"{":
                self._open()
            elif brace == b"}":
                yield from self._close()
            elif word is not None:
                name = word.decode("ascii")
                value = None if number is None else int(number)
                if name == "bin":
                    position += max(0, value or 0)
                    continue
                yield from self._word(name, value)
            elif symbol is not None:
                yield from self._symbol(symbol)
        if len(self.stack) > 1:
            raise corrupt(f"The RTF file ends early. {_DAMAGED}")
        self._decode()
        yield from self._paragraph()
        yield from self._table()
        for text in self.running:
            # Of later sections; below no heading.
            if text not in self.written:
                yield Block("paragraph", text, level=1)
        if self.comments:
            yield from heading("Comments", level=1)
            for text in self.comments:
                yield from paragraph(f"Comment: {text}", kind="item")

    def _open(self) -> None:
        self._decode()
        self.left_out, self.is_starred = 0, False
        if len(self.stack) >= _MAX_DEPTH:
            raise corrupt(f"The RTF file's groups are nested too deeply. {_DAMAGED}")
        self.stack.append(self.state)
        self.state = replace(self.state, closes="")

    def _close(self) -> Iterator[Event]:
        self._decode()
        self.left_out, self.is_starred = 0, False
        if not self.stack:
            return
        if len(self.stack) == 1:
            yield from self._paragraph()
        closed, self.state = self.state, self.stack.pop()
        if not closed.closes:
            return
        text = closed.sink.take()
        if closed.closes == "title":
            if text:
                yield Title(clean_line(text)[:_MAX_TITLE_CHARS])
        elif closed.closes == "note":
            if text and self.state.is_read:
                sink = self.state.sink
                sink.notes.append((sink.chars, text.replace("\n", " ")))
        elif closed.closes == "marker":
            if text and self.state.is_read:
                sink = self.state.sink
                sink.marker = "-" if text in _MARKS or not text[:1].isprintable() else text
        elif closed.closes == "box":
            self.boxes += filter(None, text.split("\n"))
        elif closed.closes == "comment":
            if text:
                self.comments.append(text)
        else:
            for line in text.split("\n"):
                if says_more(line) and len(self.running) < _MAX_RUNNING:
                    self.running[line] = None

    def _divert(self, closes: str) -> None:
        state = self.state
        state.sink, state.closes, state.destination = _Sink(), closes, "text"
        state.in_table, state.level = False, 0

    def _text(self, data: bytes) -> None:
        self.is_starred = False
        if self.left_out:
            taken = min(self.left_out, len(data))
            self.left_out -= taken
            data = data[taken:]
        if self.state.destination == "stylesheet":
            self._style_name(data)
        elif self.state.destination == "fldinst":
            self.is_page_number |= _PAGE_FIELD.match(data) is not None
        elif self.state.is_read:
            self.pending += data

    def _decode(self) -> None:
        if not self.pending:
            return
        data = bytes(self.pending)
        self.pending.clear()
        if self.state.is_read:
            codec = self.state.codec
            if codec == "symbol":
                text = "".join(chr(0xF000 + byte) if byte > 0x20 else " " for byte in data)
            else:
                text = data.decode(codec, "replace")
            if self.state.raised:
                text = raised(text)
            self.state.sink.add(text, bold=self.state.bold)

    def _add(self, text: str) -> None:
        if self.left_out:
            self.left_out -= 1
        elif self.state.is_read:
            self.state.sink.add(text, bold=self.state.bold)

    def _symbol(self, symbol: bytes) -> Iterator[Event]:
        if symbol == b"*":
            self._decode()
            self.is_starred = True
        elif symbol in (b"\r", b"\n"):
            yield from self._word("par", None)
        elif symbol in (b"\\", b"{", b"}"):
            # The second byte of a double-byte character may be one of these.
            self._text(symbol)
        elif symbol in _SYMBOLS:
            self._decode()
            self._add(_SYMBOLS[symbol])

    def _word(self, name: str, value: int | None) -> Iterator[Event]:
        self._decode()
        state = self.state
        starred, self.is_starred = self.is_starred, False
        if name == "u":
            self._unicode(value or 0)
        elif name == "uc":
            state.uc = max(0, min(value or 0, 16))
        elif name in _CHARACTERS:
            self._add(_CHARACTERS[name])
        elif self.left_out:
            self.left_out -= 1
        elif state.destination == "fonttbl":
            self._font_entry(name, value)
        elif state.destination == "stylesheet":
            self._style_entry(name, value, starred=starred)
        elif state.destination == "info":
            if name == "title":
                self._divert("title")
            elif self.stack and self.stack[-1].destination == "info":
                state.destination = "skip"
        elif state.destination == "upr":
            # The same once more in Unicode: \*\ud stands within.
            if name == "ud":
                state.destination = "text"
        elif state.destination in ("skip", "fldinst"):
            return
        elif name == "field":
            self.is_page_number = False
        elif name == "fldrslt":
            if self.is_page_number:
                state.destination = "skip"
        elif name in ("fonttbl", "stylesheet", "info", "fldinst"):
            state.destination = name
        elif name == "upr":
            state.destination = "upr"
        elif name in _SKIPPED or (starred and name not in _STARRED):
            state.destination = "skip"
        elif name in _RUNNING:
            self._divert("running")
        elif name == "footnote":
            self._divert("note")
        elif name in ("shptxt", "dptxbxtext"):
            self._divert("box")
        elif name == "annotation":
            self._divert("comment")
        elif name in ("listtext", "pntext"):
            self._divert("marker")
        else:
            yield from self._format(name, value)

    def _format(self, name: str, value: int | None) -> Iterator[Event]:
        """Follow a control word that neither begins a destination nor stands for a character."""
        state = self.state
        is_on = value != 0
        if name in ("par", "sect"):
            yield from self._paragraph_end()
        elif name in _HIDING:
            setattr(state, _HIDING[name], is_on)
        elif name == "b":
            state.bold = is_on
        elif name in ("super", "sub", "nosupersub"):
            state.raised = name == "super" and is_on
        elif name == "plain":
            state.bold = state.hidden = state.deleted = state.struck = state.raised = False
        elif name == "f":
            state.codec = self.fonts.get(value or 0, self.codec)
        elif name == "pard":
            state.in_table, state.level = False, 0
        elif name == "s":
            state.level = self.levels.get(value or 0, 0)
        elif name == "outlinelevel":
            state.level = _level(value)
        elif name == "intbl":
            state.in_table = True
        elif name in ("ansicpg", "mac", "pc", "pca"):
            self._code_page({"mac": 10000, "pc": 437, "pca": 850}.get(name, value or 0))
        elif state.sink is not self.body:
            # A table within a note is a line of it.
            if name in ("cell", "row"):
                state.sink.add(" ")
        else:
            yield from self._table_word(name, value)

    def _table_word(self, name: str, value: int | None) -> Iterator[Event]:
        if name == "trowd":
            if not self.cells and not self.state.in_table:
                yield from self._paragraph()
            self.places, self.place, self.is_header_row = [], _Cell(0), False
        elif name == "trhdr":
            self.is_header_row = True
        elif name in ("clmrg", "clvmrg"):
            self.place.beside |= name == "clmrg"
            self.place.below |= name == "clvmrg"
        elif name == "cellx" and len(self.places) < _MAX_COLUMNS:
            self.place.edge = value or 0
            self.places.append(self.place)
            self.place = _Cell(0)
        elif name == "cell":
            self._cell()
        elif name == "row":
            yield from self._row()

    def _unicode(self, value: int) -> None:
        if self.left_out:
            self.left_out -= 1
            return
        if value < 0:
            value += 0x10000
        if 0 < value <= 0x10FFFF:
            self._add(chr(value))
        self.left_out = self.state.uc

    def _code_page(self, number: int) -> None:
        known = _CODE_PAGES.get(number) or find_codec(f"cp{number}")
        if known:
            self.codec = self.state.codec = known

    def _font_entry(self, name: str, value: int | None) -> None:
        if name == "f":
            self.font = value or 0
        elif name == "fcharset" and value == 2:
            self.fonts[self.font] = "symbol"
        elif name == "fcharset" and value == 0 and self.codec == "mac_roman":
            # The usual set is the Macintosh's where it wrote the document.
            self.fonts[self.font] = self.codec
        elif name == "fcharset" and value in _CHARSETS:
            self.fonts[self.font] = _CHARSETS[value]
        elif name == "cpg" and (known := _CODE_PAGES.get(value or 0) or find_codec(f"cp{value}")):
            self.fonts[self.font] = known

    def _style_entry(self, name: str, value: int | None, *, starred: bool) -> None:
        if starred or name in ("cs", "ds", "ts"):
            self.state.destination = "skip"
        elif name == "s":
            self.style, self.style_name = value or 0, ""
        elif name == "outlinelevel":
            self.levels[self.style] = _level(value)
        elif name == "sbasedon" and value in self.levels:
            self.levels.setdefault(self.style, self.levels[value])

    def _style_name(self, data: bytes) -> None:
        name = (self.style_name + data.decode("latin-1")).lower()[:40]
        self.style_name = name
        if name.strip() == "title;":
            self.levels[self.style] = 1
        elif found := re.fullmatch(r"\s*heading ([1-9]);", name):
            self.levels.setdefault(self.style, int(found.group(1)))

    def _paragraph_end(self) -> Iterator[Event]:
        state = self.state
        if state.sink is not self.body:
            state.sink.add("\n")
        elif state.in_table or self.cells:
            self.body.add("\n")
        elif state.is_read or not (state.hidden or state.deleted):
            yield from self._paragraph()

    def _paragraph(self) -> Iterator[Event]:
        """Yield the paragraph that is open, behind the table above it."""
        marker, self.body.marker = self.body.marker, None
        text = self.body.take()
        self.body.is_strong = None
        if self.cells:
            # Cells of a row that does not end.
            self.cells.append(text)
            self.are_strong.append(False)
            yield from self._row()
            text = ""
        if text:
            yield from self._begin()
            yield from self._table()
            yield from self._written(text, marker)
        boxes, self.boxes = self.boxes, []
        for box in boxes:
            yield from self._table()
            yield from paragraph(box)

    def _begin(self) -> Iterator[Event]:
        """Yield the page headers and footers of the first section before its text."""
        if not self.begun:
            self.begun, self.written = True, frozenset(self.running)
            for text in self.running:
                yield from paragraph(text)

    def _written(self, text: str, marker: str | None) -> Iterator[Event]:
        if self.state.level:
            numbered = f"{marker} {text}" if marker and marker != "-" else text
            yield from heading(numbered.replace("\n", " "), level=self.state.level)
        elif marker:
            yield from paragraph(f"{marker} {text}", kind="item")
        else:
            yield from paragraph(text)

    def _cell(self) -> None:
        marker, self.body.marker = self.body.marker, None
        is_strong, self.body.is_strong = self.body.is_strong, None
        text = self.body.take().replace("\n", " ")
        if len(self.cells) < _MAX_COLUMNS:
            self.cells.append(f"{marker} {text}" if marker and marker != "-" else text)
            self.are_strong.append(is_strong is not False)
        elif text:
            self.cells[-1] = f"{self.cells[-1]} {text}"

    def _row(self) -> Iterator[Event]:
        if not self.cells:
            return
        is_strong = all(self.are_strong) and any(self.cells)
        self.rows.append(_Row(self.cells, list(self.places), self.is_header_row, is_strong))
        self.waiting_chars += sum(map(len, self.cells))
        self.cells, self.are_strong = [], []
        if len(self.rows) >= _MAX_WAITING_ROWS or self.waiting_chars > _MAX_WAITING_CHARS:
            yield from self._rows()

    def _table(self) -> Iterator[Event]:
        """Yield what is left of the table above, if there is one."""
        if self.rows or self.has_table:
            yield from self._rows()
            yield from self.writer.end()
            self.has_table = False

    def _rows(self) -> Iterator[Event]:
        """Yield the rows that wait, each cell in all columns that it reaches over."""
        edges: list[int] = []
        for edge in sorted({place.edge for row in self.rows for place in row.places}):
            if not edges or edge - edges[-1] > _SAME_EDGE:
                edges.append(edge)
        if self.covered > _MAX_COVERED_CELLS:
            edges = edges[:1]
        columns = {edge: number for number, edge in enumerate(edges[:_MAX_COLUMNS])}
        self.has_table = True
        above: dict[int, str] = {}
        for row in self.rows:
            cells = _placed(row, edges, columns, above)
            self.covered += len(cells) - len(row.cells)
            yield from self.writer.row(
                cells, is_header=row.is_header or None, is_strong=row.is_strong
            )
        self.rows, self.waiting_chars = [], 0


def _placed(
    row: _Row, edges: list[int], columns: dict[int, int], above: dict[int, str]
) -> list[str]:
    """Return a row in the columns of its table; *above* is what merged cells repeat below."""
    cells: list[str] = []
    last = ""
    for text, place in zip(row.cells, _padded(row), strict=False):
        start = len(cells)
        if place is None:
            cells.append(text)
            continue
        end = _column(place.edge, edges, columns) + 1
        if place.beside and not text:
            first = cover(last, below=False)
        elif place.below and not text:
            first = cover(above.get(start, ""), below=True)
        else:
            first = last = above[start] = text
        cells.append(first)
        cells.extend([cover(str(first), below=False)] * min(end - start - 1, _MAX_COLUMNS - start))
    return cells


def _padded(row: _Row) -> Iterator[_Cell | None]:
    yield from row.places[: len(row.cells)]
    for _ in row.cells[len(row.places) :]:
        yield None


def _column(edge: int, edges: list[int], columns: dict[int, int]) -> int:
    """Return the column that ends at *edge* or nearly there."""
    low = bisect_right(edges, edge) - 1
    return columns.get(edges[max(low, 0)], 0)


def _level(value: int | None) -> int:
    """Return the level of a heading by \\outlinelevelN, where 9 is body text."""
    return value + 1 if value is not None and 0 <= value < 9 else 0
