"""What a parser yields, and what bounds it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from shared.boxes import LineBox
from shared.errors import Unreadable
from shared.values import PageStart, TextSource, page_at

if TYPE_CHECKING:
    from .figures import Figures

BlockKind = Literal["heading", "paragraph", "item", "row", "code"]

# A block longer than this is cut by its parser, so that no later step holds a whole huge document.
MAX_BLOCK_CHARS = 16_384

# Colours and the like of a terminal (ECMA-48, 5.4), in logs and in what programs print.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
# C0 and C1 controls but tab and line feed, the byte order mark, and Unicode's non-characters.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_WHITE_SPACE = re.compile(r"\s+")
_RAISABLE = re.compile(r"[-+\u2212]?\d{1,4}")
_RAISED = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """How much one document may use."""

    max_pages: int
    max_decompressed_bytes: int
    max_cells: int
    max_chunks: int
    max_text_chars: int
    timeout_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class TableHead:
    """What the rows of one table share: its title, "" for none, and a name for each column."""

    title: str
    names: tuple[str, ...]


class TableRow(NamedTuple):
    """
    A row of data, apart from its text.

    Attributes:
        cells: By column, as the document shows them.
        covered: Columns of which the cell is a merged one's, repeated.
    """

    head: TableHead
    cells: tuple[str, ...]
    covered: tuple[int, ...] = ()


class Block(NamedTuple):
    """
    A piece of a document in reading order.

    A large document has some hundred thousand: a tuple is made six times as fast as a dataclass.

    Attributes:
        text: What the document says, cleaned (see clean).
        page: Page, slide or sheet, from 1.
        level: Depth of a heading, from 1; of other text, that from which headings end before it,
            or 0.
        label: Name of a heading in the heading path where it is not the text itself.
        gap: Characters between the block before and this one in the extracted text.
        header: The table's header rows, for every row that is not itself one of them.
        page_starts: Where in *text* further pages begin.
        lines: Where *text* stands on its pages, positions from its beginning.
        row: The row of data that *text* writes out; None for anything else.
        begins_document: A heading that names a document inside of this one.
    """

    kind: BlockKind
    text: str
    page: int | None = None
    level: int = 0
    label: str = ""
    gap: str = "\n\n"
    header: str = ""
    source: TextSource = "text"
    page_starts: tuple[PageStart, ...] = ()
    lines: tuple[LineBox, ...] = ()
    row: TableRow | None = None
    begins_document: bool = False

    @property
    def last_page(self) -> int | None:
        """Return the page that the block ends on."""
        return self.page_starts[-1].page if self.page_starts else self.page


@dataclass(frozen=True, slots=True)
class Title:
    """The document's title by its own metadata."""

    text: str


@dataclass(frozen=True, slots=True)
class PageCount:
    """How many pages, slides or sheets the document has."""

    count: int


@dataclass(frozen=True, slots=True)
class EmptyPage:
    """A page without a text layer."""

    page: int


Event = Block | Title | PageCount | EmptyPage

# Reads the text of a picture of a page (PNG); None if pages are not to be read.
ReadPicture = Callable[[bytes], str]
# (picture, caption) -> (description, why there is none or "").
DescribeFigure = Callable[[bytes, str], tuple[str, str]]


@dataclass(slots=True)
class PictureBudget:
    """How many pages and pictures may still be read, in a document and those inside of it."""

    left: int = 0

    def take(self) -> bool:
        """Take one, where there is one left."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class Unpacked:
    """What the archives of one document held so far, those inside of archives too."""

    bytes: int = 0
    members: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """
    One document to parse.

    Attributes:
        name: The object's name; its extension counts where the content does not tell.
        content_type: What the uploader claims, None if nothing.
        depth: How many documents this one is inside of (an attachment: 1).
        picture_budget: What may be read by text recognition; documents inside share it.
        figures: Describes pictures; None if they are left alone. Documents inside share it.
        unpacked: Shared by a document and all that are inside of it.
    """

    source: BinaryIO
    name: str
    content_type: str | None
    limits: ParseLimits
    depth: int = 0
    read_picture: ReadPicture | None = None
    picture_budget: PictureBudget = field(default_factory=PictureBudget)
    figures: Figures | None = None
    unpacked: Unpacked = field(default_factory=Unpacked)


def clean(text: str) -> str:
    """Return *text* in NFC with line feeds only and nothing that a database cannot store."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if not text.isascii():
        text = _LONE_SURROGATES.sub("\ufffd", text)
        if not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
    return _CONTROLS.sub("", text)


def clean_line(text: str) -> str:
    """Return *text* cleaned, on one line, without soft hyphens."""
    if (
        text.isprintable()
        and "  " not in text
        and (text.isascii() or unicodedata.is_normalized("NFC", text))
    ):
        return text.strip()
    return _WHITE_SPACE.sub(" ", clean(text.replace("\xad", ""))).strip()


def raised(text: str) -> str:
    """Return *text* as it stands above the line; "10" and a raised "3" would be another number."""
    return text.translate(_RAISED) if _RAISABLE.fullmatch(text) else text


def cut(text: str, *, limit: int = MAX_BLOCK_CHARS) -> Iterator[str]:
    """
    Yield *text* in pieces of at most *limit* characters that join to it again.

    A piece ends after white space where there is any in its last half.
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        for mark in ("\n", " "):
            found = text.rfind(mark, start + limit // 2, end)
            if found >= 0:
                end = found + 1
                break
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def paragraph(
    text: str,
    *,
    kind: BlockKind = "paragraph",
    page: int | None = None,
    gap: str = "\n\n",
    header: str = "",
    source: TextSource = "text",
    page_starts: tuple[PageStart, ...] = (),
    lines: tuple[LineBox, ...] = (),
    row: TableRow | None = None,
) -> Iterator[Block]:
    """Yield *text* as one block, or as several that continue each other where it is too long."""
    if len(text) <= MAX_BLOCK_CHARS:
        if text:
            yield Block(kind, text, page, 0, "", gap, header, source, page_starts, lines, row)
        return
    start = 0
    for piece in cut(text):
        end = start + len(piece)
        yield Block(
            kind,
            piece,
            page=page_at(start, page=page, page_starts=page_starts),
            gap=gap,
            header=header,
            source=source,
            page_starts=tuple(
                PageStart(at - start, number) for at, number in page_starts if start < at < end
            ),
            lines=tuple(
                line._replace(position=line.position - start)
                for line in lines
                if start <= line.position < end
            ),
            row=row,
        )
        start, gap, row = end, "", None


class Terms:
    """Terms, or a question, that wait for the text that explains them."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[str] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, term: str) -> None:
        """Add a term; several in a row are explained together."""
        self._waiting.append(term)

    def explained(self, text: str) -> str:
        """Return *text* behind the terms that it explains, itself where none waits."""
        if not self._waiting:
            return text
        together, self._waiting = ", ".join(self._waiting), []
        if together.endswith(("?", "？")):
            return f"{together}\n\n{text}"
        return f"{together} {text}" if together[-1:] in ".:!" else f"{together}: {text}"

    def alone(self, *, page: int | None = None) -> Iterator[Block]:
        """Yield the terms that nothing explains, each by itself."""
        terms, self._waiting = self._waiting, []
        for term in terms:
            yield from paragraph(term, page=page)


def heading(text: str, *, level: int, page: int | None = None) -> Iterator[Block]:
    """Yield *text* as a heading, or as a paragraph where it is too long to be one."""
    if len(text) > 300:
        yield from paragraph(text, page=page)
    elif text:
        yield Block("heading", text, page=page, level=level, label=text)


def corrupt(message: str) -> Unreadable:
    """Return the refusal of a damaged file."""
    return Unreadable("corrupt", message)


def read_all(request: Request) -> bytes:
    """Return the whole document, for formats whose library cannot stream."""
    request.source.seek(0)
    return request.source.read()
