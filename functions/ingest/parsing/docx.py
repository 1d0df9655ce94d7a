"""
Word documents (docx), by streaming word/document.xml.

A footnote follows its sentence, comments come at the end, and page headers and footers once at the
beginning. Hidden, struck and deleted text is not read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from shared.errors import Unreadable

from .archives import Archive, XmlEvent
from .blocks import (
    MAX_BLOCK_CHARS,
    Block,
    BlockKind,
    Event,
    Request,
    Terms,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    raised,
)
from .charts import chart_blocks
from .equations import EquationReader
from .figures import PackedPictures, count_uses, is_caption
from .footnotes import with_notes
from .members import MAX_DEPTH, OF_THE_WHOLE, demoted
from .numbering import Numberings
from .registry import parse
from .tables import Row, TableWriter, cover, folded, folds

TICKED = "[x]"
UNTICKED = "[ ]"

_HEADING_STYLE = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_EMBEDDED = re.compile(rb'r:(?:embed|id)="([^"]{1,60})"')
_POINT = 12_700  # English metric units
_SHAPE_SIDE = re.compile(r"(?:^|;)\s*(width|height):([\d.]{1,9})(pt|in)")
# What Word writes behind descriptions that it made itself.
_AUTOMATIC = re.compile(r"(?:Description|Beschreibung) automa\w+ \w+$", re.IGNORECASE)
_PAGE_FIELD = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
# Old properties of what was changed, and what repeats or stands for other text.
_SKIPPED = frozenset(
    [
        "Fallback",
        "del",
        "moveFrom",
        "delText",
        "delInstrText",
        "rPrChange",
        "pPrChange",
        "tblPrChange",
        "tcPrChange",
        "trPrChange",
        "sectPrChange",
        "tblGridChange",
        "rt",
    ]
)
# Characters of fonts that hold pictures: ticked and empty boxes, arrows, bullets.
_SYMBOLS = {
    "wingdings": {
        0xFE: TICKED, 0xFD: TICKED, 0xFC: "✓", 0xFB: "✗", 0xA8: UNTICKED, 0x6F: UNTICKED,
        0x71: UNTICKED, 0x72: UNTICKED, 0x78: TICKED, 0xE0: "→", 0xDF: "←", 0xE8: "→", 0xF0: "⇨",
        0x4A: ":-)", 0x4C: ":-(", 0xA7: "▪", 0x6C: "●", 0x6E: "■", 0xD8: "➢",
    },
    "wingdings 2": {
        0x52: TICKED, 0x53: TICKED, 0x54: TICKED, 0x51: TICKED, 0xA3: UNTICKED, 0x30: UNTICKED,
        0x50: "✓", 0x4F: "✗", 0x2A: UNTICKED,
    },
    "webdings": {0x61: "✓", 0x72: "✗", 0x63: UNTICKED},
    # Adobe's Symbol: Greek letters stand at the places of Latin ones.
    "symbol": dict(zip(
        map(ord, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "αβχδεφγηιϕκλμνοπθρστυϖωξψζΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ", strict=True,
    )) | {
        0xA3: "≤", 0xB3: "≥", 0xB1: "±", 0xB4: "×", 0xB8: "÷", 0xB9: "≠", 0xBB: "≈", 0xB0: "°",
        0xB7: "•", 0xAE: "→", 0xAC: "←", 0xA5: "∞", 0xD6: "√", 0xE5: "∑", 0xF2: "∫", 0xB6: "∂",
        0xCE: "∈", 0xC7: "∩", 0xC8: "∪", 0xDB: "⇔", 0xDE: "⇒", 0xD7: "⋅", 0x22: "∀", 0x24: "∃",
    },
}  # fmt: skip
# What a code means where its font is not known: bullets are written in Symbol.
_USUAL_SYMBOLS = (
    # The others are bullets of Wingdings.
    {code: sign for code, sign in _SYMBOLS["symbol"].items() if chr(code) not in "lnoquv"}
    | {0xB7: "•"}
    | _SYMBOLS["wingdings 2"]
    | _SYMBOLS["wingdings"]
)
_MAX_ANCHOR_CHARS = 80
# The style of a term, as pandoc names it.
_TERM = "definition term"
# A first letter with its quote, or a first word.
_MAX_INITIAL_CHARS = 20
# Blocks of text boxes that wait for the end of their paragraph.
_MAX_BOXED = 1_000
_MAX_DESCRIPTION_CHARS = 4_000
_CODES = re.compile("[\uf000-\uf0ff]")
# Page headers and footers that are read: a document has a few, a damaged one may have thousands.
_MAX_RUNNING_PARTS = 30


@dataclass(frozen=True, slots=True)
class _Style:
    name: str = ""
    parent: str = ""
    outline: int | None = None
    numbering: str | None = None
    level: int | None = None
    is_hidden: bool | None = None
    is_bold: bool | None = None


@dataclass(slots=True)
class _Paragraph:
    """The paragraph being read; *text* may be given out in parts."""

    text: list[str] = field(default_factory=list)
    chars: int = 0
    style: str = ""
    outline: int | None = None
    numbering: str | None = None
    level: int | None = None
    started: bool = False
    in_properties: bool = False
    is_initial: bool = False
    # Footnotes by the place in the text that names them.
    notes: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Run:
    """What holds for the run being read; None if the styles decide."""

    is_hidden: bool | None = None
    is_struck: bool = False
    is_raised: bool = False
    is_bold: bool | None = None
    style: str = ""
    symbols: str = ""


@dataclass(slots=True)
class _Control:
    """A content control."""

    is_checkbox: bool = False
    is_checked: bool = False
    is_placeholder: bool = False
    is_shown: bool = False


@dataclass(slots=True)
class _Field:
    """A field: its code, and what an old form says in it."""

    code: str = ""
    in_result: bool = False
    kind: str = ""
    is_checked: bool = False
    chosen: int = 0
    choices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Figure:
    """A picture that waits for the next paragraph, which may be its caption."""

    part: str
    described: str
    shown: tuple[float, float] | None
    before: str


@dataclass(slots=True)
class _Table:
    """
    The table being read.

    Attributes:
        waiting: Its rows while it may still become the text of the cell that it stands in.
        above: What a cell that is merged downwards holds, by its first column.
    """

    writer: TableWriter = field(default_factory=TableWriter)
    waiting: list[Row] | None = None
    columns: int = 0
    above: dict[int, str] = field(default_factory=dict)
    cells: list[str] | None = None
    in_cell: bool = False
    text: str = ""
    span: int = 1
    merge: str = ""
    is_beside: bool = False
    is_header: bool = False
    is_strong: bool = True
    is_hidden: bool = False


def parse_docx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a Word document."""
    archive = Archive(request.source, limits=request.limits, what="Word")
    main = next(iter(archive.related("", "officeDocument")), "word/document.xml")
    for core in archive.related("", "core-properties"):
        if title := core_title(archive, core):
            yield Title(title)
    styles = _read_styles(archive, main)
    running = list(_running_blocks(archive, main, styles))
    if request.figures is not None:
        # Those of page headers are logos.
        relations = archive.relations(main)
        uses = {
            relations.get(name, ("", ""))[1]: count
            for name, count in count_uses(archive, main, _EMBEDDED).items()
        }
        archive.pictures = PackedPictures(request.figures, archive, uses)
    yield from running
    notes = {
        f"{kind} {identifier}": text
        for kind in ("footnote", "endnote")
        for part in archive.related(main, f"{kind}s")
        for identifier, _, text in _read_notes(archive, part, kind)
    }
    reader = _Reader(archive, main, styles, notes)
    reader.read_chunk = partial(_chunk, request, archive)
    yield from reader.read()
    for text in reader.notes.values():
        yield from paragraph(text)
    yield from _comment_blocks(archive, main, reader.anchors)


def _chunk(request: Request, archive: Archive, part: str) -> Iterator[Block]:
    """Yield the blocks of a document of another format (w:altChunk), which Word merges in."""
    if request.depth >= MAX_DEPTH:
        return
    inside = replace(
        request,
        source=io.BytesIO(archive.read(part)),
        name=part,
        content_type=None,
        depth=request.depth + 1,
    )
    try:
        _, events = parse(inside)
        for event in demoted(events, by=0):
            if isinstance(event, Block):
                yield event
    except Unreadable as error:
        if error.code in OF_THE_WHOLE:
            raise
        yield from paragraph(f"(not read: {error.message})")


def core_title(archive: Archive, part: str) -> str:
    """Return the title that an Office file's properties name, "" if they name none."""
    inside = False
    text: list[str] = []
    for event in archive.xml(part):
        if event.name == "title":
            inside = event.kind == "start"
        elif inside:
            text.append(event.text)
    return clean_line("".join(text))


def _read_styles(archive: Archive, main: str) -> dict[str, _Style]:
    styles: dict[str, _Style] = {}
    for part in archive.related(main, "styles"):
        found: dict[str, object] = {}
        identifier = ""
        for event in archive.xml(part):
            value = event.attributes.get("val", "")
            if event.kind == "start":
                if event.name == "style":
                    identifier = event.attributes.get("styleId", "")
                    found = {}
                elif event.name == "name":
                    found["name"] = value
                elif event.name == "basedOn":
                    found["parent"] = value
                elif event.name == "outlineLvl" and value.isdecimal():
                    found["outline"] = _integer(value)
                elif event.name == "numId":
                    found["numbering"] = value
                elif event.name == "ilvl":
                    found["level"] = _integer(value)
                elif event.name in ("vanish", "strike", "dstrike"):
                    found["is_hidden"] = bool(found.get("is_hidden")) or _is_on(value)
                elif event.name == "b":
                    found["is_bold"] = _is_on(value)
            elif event.kind == "end" and event.name == "style":
                styles[identifier] = _Style(**found)  # type: ignore[arg-type]
    return styles


def _running_blocks(archive: Archive, main: str, styles: dict[str, _Style]) -> Iterator[Block]:
    """Yield the page headers and footers, each text once, without page numbers."""
    seen: set[str] = set()
    parts = [*archive.related(main, "header"), *archive.related(main, "footer")]
    for part in parts[:_MAX_RUNNING_PARTS]:
        for block in _Reader(archive, part, styles, {}).read():
            if block.text in seen or not says_more(block.text):
                continue
            seen.add(block.text)
            # A heading of every page is none of the text.
            kind: BlockKind = "paragraph" if block.kind == "heading" else block.kind
            yield Block(kind, block.text, gap=block.gap, header=block.header)


def says_more(text: str) -> bool:
    """Return whether a line of a page header is more than what is left of "Page 3 of 9"."""
    words = [word for word in text.split() if any(map(str.isalpha, word))]
    return len(words) > 2 or len(text) > 20 or (bool(words) and any(map(str.isdigit, text)))


def _read_notes(archive: Archive, part: str, kind: str) -> Iterator[tuple[str, str, str]]:
    """Yield (id, author, text) of each footnote, endnote or comment."""
    identifier = author = ""
    text: list[str] = []
    inside = is_note = False
    skipping = 0
    for event in archive.xml(part):
        name = event.name
        if skipping:
            skipping += {"start": 1, "end": -1, "text": 0}[event.kind]
        elif event.kind == "text":
            if inside:
                text.append(event.text)
        elif event.kind == "start":
            if name in _SKIPPED:
                skipping = 1
            elif name == kind:
                identifier = event.attributes.get("id", "")
                author = event.attributes.get("author", "")
                # Others are the lines between text and notes.
                is_note = event.attributes.get("type", "normal") == "normal"
                text = []
            elif name == "t":
                inside = True
            elif name in ("tab", "br", "cr"):
                text.append(" ")
        elif name == "t":
            inside = False
        elif name == "p":
            text.append(" ")
        elif name == kind and is_note and (line := clean_line("".join(text))):
            yield identifier, clean_line(author), line


def _comment_blocks(archive: Archive, main: str, anchors: dict[str, str]) -> Iterator[Block]:
    """Yield the comments under a heading of their own, each with the words that it is about."""
    gap = "\n\n"
    for part in archive.related(main, "comments"):
        for identifier, author, text in _read_notes(archive, part, "comment"):
            if gap == "\n\n":
                yield from heading("Comments", level=1)
            who = f" by {author}" if author else ""
            words = clean_line(anchors.get(identifier, ""))
            about = f" on “{words}”" if words else ""
            yield from paragraph(f"Comment{who}{about}: {text}", kind="item", gap=gap)
            gap = "\n"


class _Reader:
    """
    Goes through one part; stacks stand for nesting (text boxes in paragraphs, tables in cells).

    mc:Fallback repeats what mc:Choice says, deleted text and field codes are not the document's.
    """

    def __init__(
        self, archive: Archive, part: str, styles: dict[str, _Style], notes: dict[str, str]
    ) -> None:
        self.archive = archive
        self.part = part
        self.styles = styles
        self.numberings = Numberings.read(archive, part)
        self.notes = notes
        self.note_count = {"footnote": 0, "endnote": 0}
        self.relations = archive.relations(part)
        self.paragraphs: list[_Paragraph] = []
        self.runs: list[_Run] = []
        self.tables: list[_Table] = []
        self.controls: list[_Control] = []
        self.fields: list[_Field] = []
        self.equation: EquationReader | None = None
        self.equation_depth = 0
        self.anchors: dict[str, str] = {}
        self.open_anchors: set[str] = set()
        self.described: list[str] = []
        # Parts of charts and the like, behind the paragraph that holds them.
        self.waiting: list[tuple[str, str]] = []
        # Pictures: those of the open paragraph, and those of the one before it.
        self.figures: list[_Figure] = []
        self.due: list[_Figure] = []
        self.shown: tuple[float, float] | None = None
        self.alternative = self.last_text = ""
        self.read_chunk: Callable[[str], Iterator[Block]] | None = None
        # Terms that the next paragraph explains.
        self.terms = Terms()
        # A large first letter, which stands in a frame before its paragraph.
        self.initial = ""
        # Text boxes that are open, and what stood in those of the open paragraph.
        self.boxes = 0
        self.boxed: list[Block] = []
        self.skipping = 0
        self.in_text = self.in_code = False
        self.gap = "\n\n"
        self.style_cache: dict[tuple[str, str], bool] = {}

    def read(self) -> Iterator[Block]:
        for event in self.archive.xml(self.part):
            kind = event[0]
            if self.skipping:
                if kind != "text":
                    self.skipping += 1 if kind == "start" else -1
            elif self.equation is not None:
                yield from self._equation_event(self.equation, event)
            elif kind == "start":
                if self.boxes:
                    self.boxed.extend(self._start(event.name, event.attributes))
                else:
                    yield from self._start(event.name, event.attributes)
            elif kind == "end":
                if self.boxes:
                    self.boxed.extend(self._end(event.name))
                else:
                    yield from self._end(event.name)
                    if self.boxed and not self.paragraphs:
                        yield from self._boxes_out()
            elif self.in_text:
                if self.paragraphs:
                    yield from self._text(event.text)
            elif self.in_code and self.fields and len(self.fields[-1].code) < 200:
                self.fields[-1].code += event.text
        yield from self.terms.alone()
        yield from self._boxes_out()
        yield from self._figures_out("")
        yield from self._figures_out("")

    def _boxes_out(self) -> Iterator[Block]:
        """Yield what stood in the text boxes of a paragraph, behind it."""
        boxed, self.boxed = self.boxed, []
        yield from boxed
        if boxed:
            self.gap = "\n\n"

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Block]:
        if name == "t":
            self.in_text = True
        elif name == "r":
            self.runs.append(_Run())
        elif name == "p":
            if self.paragraphs and (not self.boxes or len(self.boxed) > _MAX_BOXED):
                yield from self._paragraph_out(self.paragraphs[-1])
            self.paragraphs.append(_Paragraph())
        elif name in _SKIPPED:
            self.skipping = 1
        elif name in _TABLE_NAMES:
            yield from self._table_start(name, attributes)
        elif name == "oMath":
            self.equation, self.equation_depth = EquationReader(), 0
        elif name in _MARKS:
            yield from self._append(_MARKS[name])
        elif name == "pPr" and self.paragraphs:
            self.paragraphs[-1].in_properties = True
        elif self.paragraphs and self.paragraphs[-1].in_properties:
            self._paragraph_property(self.paragraphs[-1], name, attributes)
        elif name == "txbxContent":
            self.boxes += 1
        elif name == "altChunk":
            _, target = self.relations.get(attributes.get("r:id", ""), ("", ""))
            if self.read_chunk is not None and target and self.archive.has(target):
                yield from self.read_chunk(target)
                self.gap = "\n\n"
        elif name in _RUN_NAMES:
            if self.runs:
                self._run_property(self.runs[-1], name, attributes)
        elif name in _CONTROL_NAMES:
            self._control(name, attributes)
        elif name in _FIELD_NAMES:
            yield from self._field(name, attributes)
        elif name == "sym":
            font = attributes.get("font", "").lower()
            yield from self._text(_symbol(font, attributes.get("char", "")))
        elif name in ("footnoteReference", "endnoteReference"):
            self._note(name.removesuffix("Reference"), attributes.get("id", ""))
        elif name == "commentRangeStart":
            if len(self.anchors) < 10_000:
                self.anchors[attributes.get("id", "")] = ""
                self.open_anchors.add(attributes.get("id", ""))
        elif name == "commentRangeEnd":
            self.open_anchors.discard(attributes.get("id", ""))
        elif name in ("docPr", "cNvPr"):
            if name == "docPr":
                self.alternative = attributes.get("descr") or ""
            yield from self._description(attributes.get("descr") or "")
        elif name == "extent":
            self.shown = _extent(attributes)
        elif name in ("blip", "imagedata"):
            self._picture(attributes.get("r:embed") or attributes.get("r:id") or "")
        elif name in ("chart", "relIds"):
            identifier = attributes.get("r:id") or attributes.get("r:dm") or ""
            _, target = self.relations.get(identifier, ("", ""))
            if target and self.archive.has(target):
                self.waiting.append((name, target))
        elif name == "shape":
            # Pictures and shapes of VML.
            self.alternative = attributes.get("alt", "")
            self.shown = _shape_size(attributes.get("style", ""))
            yield from self._description(self.alternative)
        elif "alt" in attributes:
            yield from self._description(attributes["alt"])

    def _end(self, name: str) -> Iterator[Block]:
        if name == "t":
            self.in_text = False
        elif name == "r":
            if self.runs:
                self.runs.pop()
        elif name == "p":
            if self.paragraphs:
                yield from self._paragraph_out(self.paragraphs.pop(), whole=True)
            self.described.clear()
            if not self.paragraphs and not self.tables:
                yield from self._waiting_parts()
                yield from self._figures_out(self.last_text)
        elif name == "pPr":
            if self.paragraphs:
                self.paragraphs[-1].in_properties = False
        elif name == "tc":
            if self.tables:
                self._cell_end(self.tables[-1])
        elif name == "tr":
            if self.tables:
                yield from self._row_end(self.tables[-1])
        elif name == "tbl":
            if self.tables:
                yield from self._table_end()
        elif name == "sdt":
            if self.controls:
                self.controls.pop()
        elif name == "instrText":
            self.in_code = False
        elif name == "txbxContent":
            self.boxes = max(0, self.boxes - 1)

    # Runs, fields and controls

    def _paragraph_property(self, open_: _Paragraph, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "pStyle":
            open_.style = value
        elif name == "outlineLvl" and value.isdecimal():
            open_.outline = _integer(value)
        elif name == "numId":
            open_.numbering = value
        elif name == "ilvl":
            open_.level = _integer(value)
        elif name == "framePr" and attributes.get("dropCap", "none") != "none":
            open_.is_initial = True

    def _run_property(self, run: _Run, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "vanish":
            run.is_hidden = _is_on(value)
        elif name in ("strike", "dstrike"):
            run.is_struck = run.is_struck or _is_on(value)
        elif name == "vertAlign":
            run.is_raised = value == "superscript"
        elif name == "b":
            run.is_bold = _is_on(value)
        elif name == "rFonts":
            font = (attributes.get("ascii") or attributes.get("hAnsi") or "").lower()
            run.symbols = font if font in _SYMBOLS else ""
        else:
            run.style = value

    def _control(self, name: str, attributes: dict[str, str]) -> None:
        if name == "sdt":
            self.controls.append(_Control())
        elif self.controls:
            control = self.controls[-1]
            if name == "checkbox":
                control.is_checkbox = True
            elif name == "showingPlcHdr":
                control.is_placeholder = _is_on(attributes.get("val", ""))

    def _field(self, name: str, attributes: dict[str, str]) -> Iterator[Block]:
        if name == "fldSimple":
            if _PAGE_FIELD.match(attributes.get("instr", "")):
                self.skipping = 1
        elif name == "instrText":
            self.in_code = True
        elif name == "fldChar":
            kind = attributes.get("fldCharType", "")
            if kind == "begin":
                self.fields.append(_Field())
            elif kind == "separate" and self.fields:
                self.fields[-1].in_result = True
            elif kind == "end" and self.fields:
                yield from self._field_end(self.fields.pop())
        elif name == "checked" and self.controls and self.controls[-1].is_checkbox:
            self.controls[-1].is_checked = _is_on(attributes.get("val", ""))
        elif self.fields:
            self._form_field(self.fields[-1], name, attributes.get("val", ""))

    def _form_field(self, field_: _Field, name: str, value: str) -> None:
        if name in ("checkBox", "ddList"):
            field_.kind = name
        elif name == "listEntry":
            if len(field_.choices) < 1000:
                field_.choices.append(value)
        elif name in ("default", "checked") and field_.kind == "checkBox":
            field_.is_checked = _is_on(value)
        elif name in ("result", "default") and field_.kind == "ddList":
            field_.chosen = _integer(value)

    def _field_end(self, field_: _Field) -> Iterator[Block]:
        if field_.kind == "checkBox":
            yield from self._append(TICKED if field_.is_checked else UNTICKED)
        elif field_.kind == "ddList" and field_.chosen < len(field_.choices):
            yield from self._append(field_.choices[field_.chosen])

    def _note(self, kind: str, identifier: str) -> None:
        text = self.notes.pop(f"{kind} {identifier}", "")
        self.note_count[kind] += 1
        if text and self.paragraphs:
            open_ = self.paragraphs[-1]
            name = "Note" if kind == "footnote" else "Endnote"
            open_.notes.append((open_.chars, f"{name} {self.note_count[kind]}: {text}"))

    def _description(self, text: str) -> Iterator[Block]:
        line = clean_line(_AUTOMATIC.sub("", text.rstrip()))[:_MAX_DESCRIPTION_CHARS]
        # Pictures name it twice, in the drawing and in the picture.
        if line and line not in self.described and self.paragraphs:
            self.described.append(line)
            yield from self._append(f" {line} ")

    def _picture(self, identifier: str) -> None:
        kind, target = self.relations.get(identifier, ("", ""))
        if self.archive.pictures is not None and kind == "image" and target:
            described = _AUTOMATIC.sub("", self.alternative)
            self.figures.append(_Figure(target, described, self.shown, self.last_text))

    def _figures_out(self, text: str) -> Iterator[Block]:
        """Yield the descriptions of the pictures before *text*, which may be their caption."""
        due, self.due, self.figures = self.due, self.figures, []
        if self.archive.pictures is None:
            return
        for figure in due:
            caption = next((line for line in (text, figure.before) if is_caption(line)), "")
            both = ". ".join(filter(None, (figure.described, caption)))
            for block in self.archive.pictures.describe(
                figure.part, caption=both, shown=figure.shown
            ):
                self.gap = "\n\n"
                yield block

    def _equation_event(self, equation: EquationReader, event: XmlEvent) -> Iterator[Block]:
        if event.kind == "start":
            self.equation_depth += 1
            equation.start(event.name, event.attributes)
        elif event.kind == "text":
            equation.text(event.text)
        elif self.equation_depth:
            self.equation_depth -= 1
            equation.end()
        else:
            self.equation = None
            yield from self._append(f" {equation.line()} ")

    def _text(self, text: str) -> Iterator[Block]:
        if not text or not self.paragraphs or self._is_unseen():
            return
        if self.controls:
            control = self.controls[-1]
            if control.is_placeholder and not control.is_checkbox:
                return
            if control.is_checkbox:
                if control.is_shown:
                    return
                control.is_shown = True
                text = TICKED if control.is_checked else UNTICKED
        if self.fields and self.fields[-1].in_result and _PAGE_FIELD.match(self.fields[-1].code):
            return
        if self.runs:
            run = self.runs[-1]
            if run.is_raised:
                text = raised(text)
            if run.symbols:
                text = "".join(_symbol(run.symbols, f"{ord(sign):X}") or sign for sign in text)
        if not text.isascii():
            text = show_symbols(text)
        for anchor in self.open_anchors:
            if len(self.anchors[anchor]) < _MAX_ANCHOR_CHARS:
                self.anchors[anchor] += text[:_MAX_ANCHOR_CHARS]
        if self.tables and self.tables[-1].is_strong and text.strip() and not self._is_bold():
            self.tables[-1].is_strong = False
        yield from self._append(text)

    def _is_unseen(self) -> bool:
        run = self.runs[-1] if self.runs else None
        if run is not None:
            if run.is_struck:
                return True
            if run.is_hidden is not None:
                return run.is_hidden
            if run.style and self._by_style(run.style, "is_hidden"):
                return True
        style = self.paragraphs[-1].style
        return bool(style) and self._by_style(style, "is_hidden")

    def _is_bold(self) -> bool:
        run = self.runs[-1] if self.runs else None
        if run is not None and run.is_bold is not None:
            return run.is_bold
        if run is not None and run.style and self._by_style(run.style, "is_bold"):
            return True
        style = self.paragraphs[-1].style
        return bool(style) and self._by_style(style, "is_bold")

    def _by_style(self, name: str, what: str) -> bool:
        """Return what a style or the nearest of those that it is based on says."""
        known = self.style_cache.get((name, what))
        if known is None:
            said = (getattr(style, what) for style in self._styles(name))
            known = next((value for value in said if value is not None), False)
            self.style_cache[name, what] = known
        return known

    def _styles(self, name: str) -> Iterator[_Style]:
        seen: set[str] = set()
        while name in self.styles and name not in seen:
            seen.add(name)
            yield self.styles[name]
            name = self.styles[name].parent

    # Paragraphs

    def _append(self, text: str) -> Iterator[Block]:
        if not self.paragraphs or not text:
            return
        open_ = self.paragraphs[-1]
        open_.text.append(text)
        open_.chars += len(text)
        if open_.chars > 4 * MAX_BLOCK_CHARS:
            yield from self._paragraph_out(open_)

    def _paragraph_out(self, open_: _Paragraph, *, whole: bool = False) -> Iterator[Block]:
        raw = "".join(open_.text)
        notes, open_.notes = open_.notes, []
        level = 0
        if whole and not open_.started and not (self.tables and self.tables[-1].in_cell):
            level = self._heading_level(open_)
        if notes and not level:
            raw = with_notes(raw, notes)
        text = _SPACES.sub(" ", clean(raw.replace("\xad", ""))).strip()
        open_.text, open_.chars = [], 0
        if not text:
            return
        if open_.is_initial and whole and len(text) <= _MAX_INITIAL_CHARS:
            self.initial = text
            return
        if self.initial and not self.boxes:
            text, self.initial = self.initial + text, ""
        started, open_.started = open_.started, True
        self.last_text = text
        marker = "" if started else self._marker(open_)
        table = self.tables[-1] if self.tables else None
        if table is not None and table.in_cell:
            table.text = f"{table.text} {marker}{text}".lstrip()
            if len(table.text) > 4 * MAX_BLOCK_CHARS:
                yield from self._spill()
            return
        if level:
            yield from self.terms.alone()
            yield from heading(marker + text.replace("\n", " "), level=level)
            for _, note in notes:
                yield from paragraph(note)
            self.gap = "\n\n"
            return
        if whole and any(s.name.lower() == _TERM for s in self._styles(open_.style)):
            self.terms.add(text)
            return
        text = self.terms.explained(text)
        kind: BlockKind = "item" if marker else "paragraph"
        gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
        yield from paragraph(marker + text, kind=kind, gap=gap)
        self.gap = "\n" if kind == "item" else "\n\n"

    def _waiting_parts(self) -> Iterator[Block]:
        while self.waiting:
            kind, part = self.waiting.pop(0)
            if kind == "chart":
                yield from chart_blocks(self.archive, part)
            else:
                for line in drawing_lines(self.archive, part):
                    yield from paragraph(line)
            self.gap = "\n\n"

    def _heading_level(self, open_: _Paragraph) -> int:
        """Return the level of a heading, 1 for the document's title, 0 for body text."""
        if open_.outline is not None:
            return open_.outline + 2 if open_.outline < 9 else 0
        for style in self._styles(open_.style):
            if style.outline is not None:
                return style.outline + 2 if style.outline < 9 else 0
            if found := _HEADING_STYLE.match(style.name):
                return int(found.group(1)) + 1
            if style.name.lower() == "title":
                return 1
        if not self.styles and (found := _HEADING_STYLE.match(open_.style)):
            return int(found.group(1)) + 1
        return 0

    def _marker(self, open_: _Paragraph) -> str:
        """Return the number or bullet of a paragraph, as Word shows it, with a space."""
        number, level = open_.numbering, open_.level
        if number is None:
            name = open_.style
            for style in self._styles(open_.style):
                if style.numbering is not None:
                    number = style.numbering
                    if level is None:
                        level = self.numberings.level_of_style(number, name)
                    if level is None:
                        level = style.level
                    break
                name = style.parent
            if number is None:
                return ""
        if number == "0":
            return ""
        return self.numberings.marker(number, level or 0)

    # Tables

    def _table_start(self, name: str, attributes: dict[str, str]) -> Iterator[Block]:
        if name == "tbl":
            around = self.tables[-1] if self.tables else None
            is_part = around is not None and around.in_cell and around.columns > 1
            if not is_part:
                yield from self._spill()
            self.tables.append(_Table(waiting=[] if is_part else None))
            return
        if not self.tables:
            return
        table = self.tables[-1]
        value = attributes.get("val", "")
        if name == "gridCol":
            table.columns += 1
        elif name == "tr":
            table.cells, table.in_cell = [], False
            table.is_header, table.is_strong, table.is_hidden = False, True, False
        elif table.cells is None:
            return
        elif name == "tc":
            table.in_cell, table.text = True, ""
            table.span, table.merge, table.is_beside = 1, "", False
        elif name == "tblHeader":
            table.is_header = _is_on(value)
        elif name == "gridBefore":
            table.cells.extend([""] * min(_integer(value), 60))
        elif name == "gridSpan":
            table.span = max(1, min(_integer(value), 60))
        elif name == "vMerge":
            table.merge = value or "continue"
        elif name == "hMerge":
            table.is_beside = value != "restart"
        elif name == "hidden":
            table.is_hidden = _is_on(value)

    def _cell_end(self, table: _Table) -> None:
        if table.cells is None or not table.in_cell:
            return
        text = table.text.replace("\n", " ")
        table.in_cell, table.text = False, ""
        column = len(table.cells)
        beside = ""
        if table.merge == "continue" and not text:
            text = table.above.get(column, "")
            beside = cover(text, below=False)
            text = cover(text, below=True)
        elif table.is_beside and not text and table.cells:
            text = cover(table.cells[-1], below=False)
        else:
            beside = cover(text, below=False)
            if table.merge:
                table.above[column] = text
            else:
                table.above.pop(column, None)
        table.cells.append(text)
        table.cells.extend([beside] * (table.span - 1))

    def _row_end(self, table: _Table) -> Iterator[Block]:
        self._cell_end(table)
        cells, table.cells = table.cells, None
        if not cells or table.is_hidden:
            return
        row = Row(cells, table.is_header or None, table.is_strong)
        if table.waiting is None:
            yield from self._write(table, row)
            return
        table.waiting.append(row)
        if not folds(table.waiting):
            yield from self._spill()

    def _write(self, table: _Table, row: Row) -> Iterator[Block]:
        yield from table.writer.row(row.cells, is_header=row.is_header, is_strong=row.is_strong)

    def _spill(self) -> Iterator[Block]:
        """Give out all rows, open ones too, before something that does not fit into a cell."""
        for table in self.tables:
            if table.waiting is not None:
                waiting, table.waiting = table.waiting, None
                for row in waiting:
                    yield from self._write(table, row)
            if table.cells is None:
                continue
            cells = [*table.cells, table.text.replace("\n", " ")]
            table.cells, table.text = [""] * len(table.cells), ""
            if any(cells):
                yield from self._write(table, Row(cells))
            yield from table.writer.end()
        self.gap = "\n\n"

    def _table_end(self) -> Iterator[Block]:
        table = self.tables.pop()
        if table.waiting is not None:
            around = self.tables[-1]
            around.text = f"{around.text} {folded(table.waiting)}".strip()
            return
        yield from table.writer.end()
        self.gap = "\n\n"
        if not self.tables:
            yield from self._waiting_parts()
            yield from self._figures_out("")
            yield from self._figures_out("")


_TABLE_NAMES = frozenset(
    [
        "tbl",
        "gridCol",
        "tr",
        "tc",
        "tblHeader",
        "gridBefore",
        "gridSpan",
        "vMerge",
        "hMerge",
        "hidden",
    ]
)
_RUN_NAMES = frozenset(["vanish", "strike", "dstrike", "b", "rStyle", "vertAlign", "rFonts"])
_CONTROL_NAMES = frozenset(["sdt", "checkbox", "showingPlcHdr"])
_FIELD_NAMES = frozenset(
    [
        "fldSimple",
        "instrText",
        "fldChar",
        "checkBox",
        "ddList",
        "listEntry",
        "default",
        "checked",
        "result",
    ]
)
_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def drawing_lines(archive: Archive, part: str) -> Iterator[str]:
    """Yield the paragraphs of a part with drawn text: SmartArt, text boxes."""
    text: list[str] = []
    inside = False
    for event in archive.xml(part):
        if event.kind == "text":
            if inside:
                text.append(event.text)
        elif event.name == "t":
            inside = event.kind == "start"
        elif event.kind == "end" and event.name == "p":
            if line := clean_line("".join(text)):
                yield line
            text = []


def show_symbols(text: str) -> str:
    """Return *text* with the signs that Wingdings and its like show in place of their codes."""
    return _CODES.sub(lambda found: _USUAL_SYMBOLS.get(ord(found.group()) & 0xFF, ""), text)


def _extent(attributes: dict[str, str]) -> tuple[float, float] | None:
    sides = [_integer(attributes.get(name, "")) / _POINT for name in ("cx", "cy")]
    return (sides[0], sides[1]) if all(sides) else None


def _shape_size(style: str) -> tuple[float, float] | None:
    """Return width and height of a shape of VML in points."""
    found = dict.fromkeys(("width", "height"), 0.0)
    for name, number, unit in _SHAPE_SIDE.findall(style):
        with suppress(ValueError):
            found[name] = float(number) * (72 if unit == "in" else 1)
    return (found["width"], found["height"]) if all(found.values()) else None


def _symbol(font: str, code: str) -> str:
    """Return the character that a symbol font shows at a place."""
    try:
        place = int(code, 16)
    except ValueError:
        return ""
    if place > 0x10FFFF:
        return ""
    known = _SYMBOLS.get(font)
    if known is None:
        # Fonts of letters are written by their own code, or in the private use area.
        return chr(place) if not 0xE000 <= place <= 0xF8FF else ""
    place = place & 0xFF if 0xF000 <= place <= 0xF0FF else place
    if place in known:
        return known[place]
    return chr(place) if font == "symbol" and 0x20 <= place < 0x7F else ""


def _is_on(value: str) -> bool:
    """Return what a toggle property says; it is on where it has no value."""
    return value not in ("0", "false", "off", "none")


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
