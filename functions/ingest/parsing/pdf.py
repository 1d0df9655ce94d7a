"""PDF, by PDFium: lines with their place on the page become headings, paragraphs and rows."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import math
import re
import statistics
import struct
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, pairwise, repeat
from operator import add, attrgetter, sub
from typing import BinaryIO

import pypdfium2
import pypdfium2.raw as pdfium

from shared.boxes import LineBox, WordBox
from shared.errors import Unreadable
from shared.values import PageStart

from . import pdf_annotations, pdf_figures, recognition, xfa_forms
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
    corrupt,
    heading,
    paragraph,
)
from .figures import DECORATION_USES
from .hyphens import SUSPENDED, keeps_hyphen
from .pdf_annotations import Value
from .pdf_characters import turned_box
from .pdf_drawings import LEAST_TABLE, Drawings, with_bullets
from .pdf_figures import PdfFigure, Placed
from .pdf_lines import Line, is_marker, make_line, read_lines
from .pdf_tables import (
    CAPTION,
    LEAST_CELLS,
    MAX_CAPTION_CHARS,
    Rules,
    Table,
    find_tables,
    merged,
    words_left,
)
from .reading_order import Box, reading_order
from .scanned_pages import scanned_blocks
from .tables import TableWriter
from .writing_direction import runs_left

# Pages looked at on either side to tell a running header from text.
_WINDOW_PAGES = 4
_EDGE_LINES = 3
# In a document of so few pages one other page shows that a line runs through all.
_SHORT_PAGES = 3
_MAX_OUTLINE = 10_000
# Type from this size on, in that of the body, is a heading's.
_LARGER = 1.15
# A title is one of the first paragraphs of the first page, letterhead and date before it.
_TITLE_AMONG = 4
_TITLE_LINES = 4
_TITLE_CHARS = 200
_TITLE_WORD = re.compile(r"[^\W\d_]{3}")
_SECTION_NUMBER = re.compile(r"(?:\d{1,2}(?:\.\d{1,2})*\.?|[IVX]{1,5}\.|§)\s")
_MAX_PICTURE_SIDE = 2000
# How much of a document's processor time its pictures may take.
_READING_SHARE = 0.7
_LEAST_COLUMN = 4
# Lines of which each begins with a capital letter are verses or entries, not sentences.
_LEAST_VERSES = 4
_MARK_CHARS = 3
_MANY_LINES = 12
_MAX_COLUMN = 2_000
_LETTER_WIDTH = 0.5
# So many lines of a column of text go on with sentences.
_LEAST_PROSE = 6
_LEAST_PROSE_CHARS = 25
_FEW_ROWS = 3
_NO_RULES = Rules([], [])
# Lines on either side that tell how wide a column is.
_NEAR_LINES = 5
# A3 at 200 dots an inch.
_MAX_RECOGNISED_SIDE = 3400
_MAX_ATTACHMENTS = 100
# PDFium asks for each piece of a larger file, which takes a tenth longer.
_MAX_HELD_BYTES = 32 << 20
_MAX_DEPTH = 3
# What a scanner's app or an archive writes onto a scan is shorter.
_MAX_STAMP_CHARS = 200
_MAX_PICTURES = 200
# Between words, in heights of the line.
_LOOSE_GAP = 0.6
_MAX_OPEN_LINES = 400
_MAX_COMPOUNDS = 10_000
_PAGE_DIGITS = 4
_MAX_SHAPES = 60
_ITEM_DROP = 2.5
# What stands below columns is further from them than their lines are from each other.
_APART = 1.4
# Columns of columns: more than any page of text has.
_MAX_COLUMN_DEPTH = 8
# Cells of a column begin at one place, in points.
_ALIGNED = 4.0

_bottom = attrgetter("bottom")
_middle = attrgetter("middle")
_size_of = attrgetter("size")
_left = attrgetter("left")
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_NOT_WORD = re.compile(r"\W+")
_BULLET = re.compile(
    r"(?:[•◦▪▫‣∙●○■□◆◇➢❖►✓☐☑–*-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)])\s"
    r"|\d{1,2}[.)](?=[A-Z]\w)"
)
_SENTENCE_END = re.compile(r"[.!?:。！？…]['\"”’»)\]]*$")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p[áa]gina|pagina|trang|strona|sida|side|str\.?|s\.|p\.)\s*#"
    r"(?:\s*(?:of|von|de|di|av|af|z|/|sur|trên|van)\s*#)?|#\s*(?:of|von|de|/|sur)\s*#|[-–—]\s*#\s*[-–—]"
    # What browsers print below a page and above it: its address, the date and its title.
    r"|(?:https?|file)://\S+\s+#/#|#[./-]#[./-]#,\s+#:#(?:\s[AP]M)?\s[^\n]*",
    re.IGNORECASE,
)
# A name and its value on a line of their own: "Date: 2 May".
_KEYED = re.compile(r"[^\W\d_][^:.!?;,]{0,30}:(?:\s|\d)")
# As browsers print it behind the address of the page.
_PAGE_OF_PAGES = re.compile(r" #/#$")
# Behind it a word goes on, or another begins: mainte-nance, 2026-2027; but not "on- and offshore".
_HYPHEN = re.compile(r"(?<=[^\W_])[-\u2010]$")
_HYPHENATED = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?:-[^\W\d_]+)+")
_SCANNER = re.compile(
    r"\bscan(?:ned|n[ée]e?|ner)?\b|scanner|camscan|gescannt|escaneado|numérisé|scansion|skanow",
    re.IGNORECASE,
)
_MADE_BY = re.compile(
    r"^(?:\(?anonymous\)?$|microsoft \w+ - |untitled|document\d*$|slide \d+$"
    r"|.*\.(?:docx?|xls[xm]?|pptx?|od[tsp]|pdf|tex|dvi|indd|rtf|qxd|html?|txt|md|csv|pages)$)",
    re.IGNORECASE,
)


_HOLD_PICTURES = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM)
# Half the time of calling the class, which checks how many values it gets.
_new_word_box = partial(tuple.__new__, WordBox)
_new_line_box = partial(tuple.__new__, LineBox)


@dataclass(slots=True)
class _Page:
    number: int
    lines: list[Line]
    outline: dict[str, int] = field(default_factory=dict)
    is_picture: bool = False
    ocr: str = ""
    ocr_lines: tuple[LineBox, ...] = ()
    notes: list[str] = field(default_factory=list)
    rules: Rules = field(default_factory=lambda: Rules([], []))
    edge_lines: list[tuple[str, Line]] = field(default_factory=list)
    is_wide: bool = False
    height: float = 0.0
    turn: int = 0
    figures: list[PdfFigure] = field(default_factory=list)


def parse_pdf(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of a PDF, page by page.

    Raises:
        Unreadable: It needs a password, is damaged, or has too many pages.
    """
    try:
        document = pypdfium2.PdfDocument(_held(request.source))
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        if code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise Unreadable(
                "encrypted",
                "The PDF is protected by a password. Remove the password and upload it again.",
            ) from error
        raise corrupt(
            "The PDF is damaged and cannot be opened. "
            "Open it in a PDF program, save it again and upload that copy."
        ) from error
    count = len(document)
    if count > request.limits.max_pages:
        raise Unreadable(
            "too_many_pages",
            f"The PDF has {count} pages; at most {request.limits.max_pages} are read. "
            "Split it into smaller files.",
        )
    yield PageCount(count)
    title = clean_line(document.get_metadata_value("Title"))
    if title and not _MADE_BY.match(title):
        yield Title(title)
    outline = _read_outline(document)
    files: list[tuple[int, int]] = []
    pages = _read_pages(document, request, outline, files)
    outlined = sum(map(len, outline.values())) >= 3
    describe = partial(_describe, document, request)
    yield from _Assembler(outlined=outlined, pages=count, describe=describe).read(pages)
    yield from _read_attachments(document, request, files)


def _held(source: BinaryIO) -> bytes | BinaryIO:
    """Return what PDFium reads: the bytes themselves, of a large file the file."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    return source.read() if size <= _MAX_HELD_BYTES else source


def _attachments(
    document: pypdfium2.PdfDocument, files: list[tuple[int, int]]
) -> Iterator[pypdfium2.PdfAttachment]:
    for index in range(min(document.count_attachments(), _MAX_ATTACHMENTS)):
        with contextlib.suppress(pypdfium2.PdfiumError):
            yield document.get_attachment(index)
    for index, annotation in files[:_MAX_ATTACHMENTS]:
        with contextlib.suppress(pypdfium2.PdfiumError):
            page = document[index]
            try:
                yield from pdf_annotations.attachment(page, annotation, document)
            finally:
                page.close()


def _read_attachments(
    document: pypdfium2.PdfDocument, request: Request, files: list[tuple[int, int]]
) -> Iterator[Event]:
    """
    Yield the files inside the document under their names; one that is not read is named.

    Args:
        files: Page and number of each annotation that holds one.
    """
    # The registry loads this module by its name.
    from .registry import parse

    known: set[bytes] = set()
    for number, attachment in enumerate(_attachments(document, files), start=1):
        try:
            name = clean_line(attachment.get_name())[:200] or f"file {number}"
            data = bytes(attachment.get_data())
        except pypdfium2.PdfiumError:
            continue
        digest = hashlib.blake2b(data, key=name.encode()[:64]).digest()
        if digest in known:
            continue
        known.add(digest)
        yield from heading(f"Attachment: {name}", level=1)
        if request.depth >= _MAX_DEPTH:
            yield from paragraph("(not read: nested too deeply)")
            continue
        inside = replace(
            request, source=io.BytesIO(data), name=name, content_type=None, depth=request.depth + 1
        )
        try:
            _, events = parse(inside)
            for event in events:
                if isinstance(event, Block):
                    # The page is the attachment's, not this document's.
                    level = min(event.level + 1, 9) if event.level else 0
                    yield event._replace(page=None, level=level, page_starts=(), lines=())
                elif isinstance(event, Title):
                    yield from heading(event.text, level=2)
        except Unreadable as error:
            if error.code in ("decompression_limit", "cell_limit", "too_much_text"):
                raise
            yield from paragraph(f"(not read: {error.message})")


def _is_picture(drawings: Drawings, lines: list[Line]) -> bool:
    """Return whether a picture covers the page and hardly any text stands beside it: a scan."""
    return sum(len(line.text) for line in lines) <= _MAX_STAMP_CHARS and drawings.has_scan()


def _with_values(lines: list[Line], values: list[Value], *, page: int) -> list[Line]:
    """Return *lines* with the values of form fields, each next to its label."""
    result = list(lines)
    for value in values:
        height = min(value.top - value.bottom, 14.0)
        middle = (value.top + value.bottom) / 2
        # The text of a field is shorter than the field.
        right = min(value.right, value.left + _LETTER_WIDTH * height * len(value.text))
        own = make_line(
            value.text,
            value.left,
            middle - height / 2,
            right,
            middle + height / 2,
            bold=False,
            cells=((value.text, value.left, right),),
            page=page,
            edges=((value.left, right),) * len(value.text.split(" ")),
        )
        beside = [
            (i, line)
            for i, line in enumerate(result)
            if value.bottom - 3 <= line.middle <= value.top + 3
        ]
        # A box is ticked before its label, everything else is written behind it.
        around = [
            (i, line) for i, line in beside if line.edges and line.left < value.left < line.right
        ]
        before = [(i, line) for i, line in beside if line.left < value.left]
        behind = [(i, line) for i, line in beside if line.left >= value.right - 2]
        if around:
            i, line = around[0]
            result[i] = _inserted(line, own)
        elif value.is_box and behind:
            i, line = min(behind, key=lambda pair: pair[1].left)
            result[i] = _joined_lines(own, line)
        elif before:
            i, line = max(before, key=lambda pair: pair[1].right)
            result[i] = _joined_lines(line, own)
        elif behind:
            i, line = min(behind, key=lambda pair: pair[1].left)
            result[i] = _joined_lines(own, line)
        else:
            at = next((i for i, line in enumerate(result) if line.middle < middle), len(result))
            result.insert(at, own)
    return result


def _inserted(line: Line, value: Line) -> Line:
    """Return a line with a value between its words, where the page has it."""
    words = line.text.split(" ")
    at = sum(1 for left, _ in line.edges if left < value.left)
    own = value.text.split(" ")
    text = " ".join([*words[:at], *own, *words[at:]])
    edges = (*line.edges[:at], *[(value.left, value.right)] * len(own), *line.edges[at:])
    return line._replace(text=text, cells=((text, line.left, line.right),), edges=edges)


def _joined_lines(first: Line, second: Line) -> Line:
    text = f"{first.text} {second.text}"
    left, right = min(first.left, second.left), max(first.right, second.right)
    edges = first.edges + second.edges if first.edges and second.edges else ()
    # A field may be as high as several lines.
    main = first if first.size <= second.size else second
    return main._replace(
        text=text, left=left, right=right, cells=((text, left, right),), edges=edges
    )


def _read_outline(document: pypdfium2.PdfDocument) -> dict[int, dict[str, int]]:
    """Return {page index: {title, folded: level from 1}} of the bookmarks."""
    found: dict[int, dict[str, int]] = {}
    try:
        for number, bookmark in enumerate(document.get_toc(max_depth=6)):
            destination = bookmark.get_dest()
            index = destination.get_index() if destination is not None else None
            title = _fold(bookmark.get_title())
            if index is not None and title:
                found.setdefault(index, {}).setdefault(title, bookmark.level + 1)
            if number >= _MAX_OUTLINE:
                break
    except pypdfium2.PdfiumError:
        # A broken outline costs heading levels, not text.
        return found
    return found


def _read_pages(
    document: pypdfium2.PdfDocument,
    request: Request,
    outline: dict[int, dict[str, int]],
    files: list[tuple[int, int]],
) -> Iterator[_Page | EmptyPage]:
    """
    Yield the pages in their order.

    Args:
        files: Gets page and number of each annotation that holds a file.
    """
    count = len(document)
    if document.get_formtype():
        # Before the first page is loaded.
        document.init_forms()
    form = document.formenv
    can_read = recognition.is_available() or request.read_picture is not None
    # What is left of the time is for the rest of the document.
    read_until = time.process_time() + _READING_SHARE * request.limits.timeout_seconds
    rules = Rules([], [])
    has_values = False
    for index in range(count):
        read = ""
        boxes: tuple[LineBox, ...] = ()
        lines: list[Line] = []
        is_picture = is_wide = False
        page_height = 0.0
        turn = 0
        notes: list[str] = []
        figures: list[PdfFigure] = []
        try:
            page = document[index]
            try:
                drawings = Drawings(page)
                is_ruled = drawings.is_ruled(least=3)
                walls = merged(drawings.rules(turn=0).down) if is_ruled else []
                turn, lines = read_lines(page, index + 1, walls=walls if len(walls) > 2 else ())
                is_picture = _is_picture(drawings, lines)
                if not turn and drawings.is_ruled(least=1):
                    lines = with_bullets(lines, drawings.paths())
                width, height = page.get_size()
                is_wide = (width > height) != (turn in (1, 3))
                page_height = width if turn in (1, 3) else height
                values, notes, held = pdf_annotations.read(page, form)
                files.extend((index, annotation) for annotation in held)
                if turn:
                    values = [value.turned(turn) for value in values]
                has_values = has_values or bool(values)
                lines = _with_values(lines, values, page=index + 1)
                # A narrow table leaves no wide gaps, and nor may one that goes on.
                is_likely = is_ruled and (
                    len(rules.down) > 2
                    or _may_hold_table(lines)
                    or _is_loose(lines)
                    or (len(walls) > 2 and _has_tight_cells(lines))
                )
                rules = drawings.rules(turn=turn) if is_likely else Rules([], [])
                if (
                    (not lines or is_picture)
                    and can_read
                    and time.process_time() < read_until
                    and drawings.count
                    and request.picture_budget.take()
                ):
                    read, boxes = _read_picture(page, request, number=index + 1)
                if request.figures is not None:
                    is_scan = is_picture or (not lines and drawings.has_scan())
                    figures = _find_figures(page, lines, is_scan=is_scan, read=read, turn=turn)
            finally:
                page.close()
        except pypdfium2.PdfiumError:
            # A page that cannot be loaded is told as one without text; the others are kept.
            lines = []
        if lines or read or notes or figures:
            yield _Page(
                index + 1,
                lines,
                outline.get(index, {}),
                is_picture,
                read,
                boxes,
                notes,
                rules,
                is_wide=is_wide,
                height=page_height,
                turn=turn,
                figures=figures,
            )
        else:
            yield EmptyPage(index + 1)
    if not has_values and (filled := xfa_forms.read(document)):
        # The pages of such a form say that another program is needed to see it.
        yield _Page(count, [], notes=["\n".join(filled)])


def _may_hold_table(lines: list[Line]) -> bool:
    """Return whether a page has as many parts of lines that wide gaps set off as a small table."""
    parts = sum(len(line.cells) for line in lines if len(line.cells) > 1)
    if parts >= LEAST_CELLS:
        return True
    if parts + 2 * (len(lines) - len({round(line.bottom / 3) for line in lines})) < LEAST_CELLS:
        # Nearly each line stands at a height of its own.
        return False
    for a, b in pairwise(sorted(lines, key=_bottom)):
        # Cells may be written one by one.
        apart = max(b.left - a.right, a.left - b.right)
        if apart > 0 and b.bottom - a.bottom < 0.5 * (a.top - a.bottom):
            parts += 2
    return parts >= LEAST_CELLS


def _is_loose(lines: list[Line]) -> bool:
    """Return whether words of several lines are further apart than blanks are wide."""
    found = 0
    for line in lines:
        least = _LOOSE_GAP * line.height
        found += any(after[0] - before[1] > least for before, after in pairwise(line.edges))
        if found > 2:
            return True
    return False


def _has_tight_cells(lines: list[Line]) -> bool:
    """Return whether walls alone part words, or texts run up or from the right."""
    return any(
        line.runs_up
        or any(b[1] - a[2] <= line.height for a, b in pairwise(line.cells))
        or (not line.text.isascii() and runs_left(line.text))
        for line in lines
    )


def _without_tables(lines: list[Line], tables: list[Table]) -> list[Line]:
    """Return the lines that are not part of tables."""
    left = words_left(lines, tables)
    rest: list[Line] = []
    for number, line in enumerate(lines):
        if number not in left:
            rest.append(line)
        elif words := left[number]:
            text = " ".join(word.text for word in words)
            begin, end = words[0].left, words[-1].right
            rest.append(
                line._replace(
                    text=text, left=begin, right=end, cells=((text, begin, end),), edges=()
                )
            )
    return rest


def _read_picture(
    page: pypdfium2.PdfPage, request: Request, *, number: int
) -> tuple[str, tuple[LineBox, ...]]:
    """
    Return the text that *page* shows: as recognised here, by others where that went badly.

    With it comes where its lines stand; where others read it that is not known.
    """
    recognised = recognition.Recognised("", 0)
    size = 1, 1
    if recognition.is_available():
        width, height = page.get_size()
        scale = min(200 / 72, _MAX_RECOGNISED_SIDE / max(width, height, 1))
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            recognised = recognition.recognise(
                bytes(bitmap.buffer),
                width=bitmap.width,
                height=bitmap.height,
                stride=bitmap.stride,
            )
            size = bitmap.width, bitmap.height
        finally:
            bitmap.close()
    if (
        request.read_picture is not None
        and recognised.confidence < recognition.READ_WELL
        and (text := clean(request.read_picture(_render(page))).strip())
    ):
        return text, ()
    on_page = (ctypes.c_double(), ctypes.c_double())

    def point(x: float, y: float) -> tuple[float, float]:
        # The page may be turned and cropped.
        pdfium.FPDF_DeviceToPage(
            page.raw, 0, 0, *size, 0, int(x), int(y), *map(ctypes.byref, on_page)
        )
        return on_page[0].value, on_page[1].value

    def place(word: recognition.WordPlace) -> recognition.Sides:
        x1, y1 = point(word.left, word.bottom)
        x2, y2 = point(word.right, word.top)
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)

    lines = recognition.line_boxes(recognised.words, page=number, place=place)
    return recognised.text, lines


def _render(page: pypdfium2.PdfPage) -> bytes:
    """Return a grey PNG of *page*, its longer side at most _MAX_PICTURE_SIDE pixels."""
    width, height = page.get_size()
    scale = min(200 / 72, _MAX_PICTURE_SIDE / max(width, height, 1))
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        data, stride = bytes(bitmap.buffer), bitmap.stride
        rows = b"".join(
            b"\0" + data[row * stride : row * stride + bitmap.width] for row in range(bitmap.height)
        )
        header = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, 0, 0, 0, 0)
    finally:
        bitmap.close()
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _find_figures(
    page: pypdfium2.PdfPage, lines: list[Line], *, is_scan: bool, read: str, turn: int
) -> list[PdfFigure]:
    """Return the figures of a page; a scanned one is a figure where it shows hardly any text."""
    if is_scan:
        return [pdf_figures.whole_page(page)] if len(read) <= _MAX_STAMP_CHARS else []
    placed = [
        Placed(line.text, *turned_box(-turn, line.left, line.bottom, line.right, line.top))
        for line in lines
    ]
    return pdf_figures.find_figures(page, placed)


def _describe(
    document: pypdfium2.PdfDocument, request: Request, page: int, figure: PdfFigure
) -> Iterator[Block]:
    """Yield the description of a figure on *page*, which is opened once more."""
    figures = request.figures
    if figures is None:
        return
    if not figures.is_open or figure.is_too_large:
        figures.leave_out("too_large" if figure.is_too_large else "budget", page)
        return
    figures.begin()
    try:
        opened = document[page - 1]
        try:
            image = pdf_figures.render(opened, figure)
        finally:
            opened.close()
    except (pypdfium2.PdfiumError, ValueError):
        figures.leave_out("damaged", page)
    except MemoryError:
        figures.leave_out("too_large", page)
    else:
        yield from figures.rendered(image, page=page, caption=figure.caption)


@dataclass(slots=True)
class _OpenTable:
    """
    A table that a page ended with.

    Attributes:
        lefts: Where its columns begin.
        held: Its last row, which may go on; None if it has no other.
    """

    writer: TableWriter
    lefts: list[float]
    held: Table | None
    page: int

    def end(self) -> Iterator[Block]:
        """Yield what is left of it."""
        if self.held is not None:
            yield from self.held.blocks(self.writer, page=self.page, goes_on=False)
        else:
            yield from self.writer.end()


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A paragraph that the next page may go on with; see _joined for the rest."""

    kind: BlockKind
    lines: list[Line]
    right: float
    has_code: bool

    def blocks(self, compounds: Container[str]) -> Iterator[Block]:
        text, boxes, page_starts = _joined(
            self.lines, compounds, right=self.right, has_code=self.has_code
        )
        yield from paragraph(
            text,
            kind=self.kind,
            page=self.lines[0].page,
            lines=boxes,
            page_starts=page_starts,
        )


class _Assembler:
    """
    Holds a window of pages, and what the pages so far say about sizes of type.

    Attributes:
        unfinished: The lines of a paragraph whose sentence may go on, on the next page.
        table: The table that the page before ended with.
        uses: On how many pages so far each figure stands.
        figures: Those of pages whose text is out, until no paragraph or table goes on.
        compounds: Words with a hyphen in the lines so far.
        titled: A title was looked for.
    """

    def __init__(
        self,
        *,
        outlined: bool,
        pages: int,
        describe: Callable[[int, PdfFigure], Iterator[Block]],
    ) -> None:
        self.outlined = outlined
        self.pages = pages
        self.sizes: Counter[float] = Counter()
        self.heading_sizes: set[float] = set()
        self.unfinished: _Unfinished | None = None
        self.table: _OpenTable | None = None
        self.turns: dict[int, int] = {}
        self.describe = describe
        self.uses: Counter[tuple[int | str, ...]] = Counter()
        self.figures: list[tuple[int, PdfFigure]] = []
        self.compounds: set[str] = set()
        self.titled = False

    def read(self, pages: Iterable[_Page | EmptyPage]) -> Iterator[Event]:
        """Yield the blocks of each page once the pages after it are known."""
        for event in self._read(pages):
            if self.turns and isinstance(event, Block) and event.lines and event.source == "text":
                yield event._replace(lines=tuple(self._turned_back(event.lines)))
            else:
                yield event

    def _turned_back(self, lines: tuple[LineBox, ...]) -> Iterator[LineBox]:
        """Yield where words stand on the page itself."""
        for line in lines:
            turn = self.turns.get(line.page)
            if not turn:
                yield line
                continue
            for offset, left, right in line.words:
                sides = turned_box(4 - turn, left, line.bottom, right, line.top)
                word = WordBox(0, sides[0], sides[2])
                yield LineBox(line.position + offset, line.page, sides[1], sides[3], (word,))

    def _read(self, pages: Iterable[_Page | EmptyPage]) -> Iterator[Event]:
        window: deque[_Page] = deque()
        waiting: deque[_Page | EmptyPage] = deque()
        after = 0
        for page in pages:
            waiting.append(page)
            if isinstance(page, _Page):
                page.edge_lines = _edge_lines(page)
                if page.turn:
                    self.turns[page.number] = page.turn
                window.append(page)
                for line in page.lines:
                    self.sizes[line.size] += len(line.text)
                    if "-" in line.text and len(self.compounds) < _MAX_COMPOUNDS:
                        self.compounds.update(_HYPHENATED.findall(line.text.lower()))
                self.uses.update({figure.signature for figure in page.figures if figure.signature})
                after += 1
            while after > _WINDOW_PAGES:
                yield from self._next(waiting, window)
                after = sum(1 for other in waiting if isinstance(other, _Page))
        while waiting:
            yield from self._next(waiting, window)
        yield from self._finish()
        yield from self._end_table()
        yield from self._figures()

    def _figures(self) -> Iterator[Block]:
        """Yield the descriptions that wait, but of what stands on page after page."""
        waiting, self.figures = self.figures, []
        for page, figure in waiting:
            if self.uses[figure.signature] < DECORATION_USES:
                yield from self.describe(page, figure)

    def _finish(self) -> Iterator[Block]:
        if self.unfinished is not None:
            unfinished, self.unfinished = self.unfinished, None
            yield from unfinished.blocks(self.compounds)

    def _next(self, waiting: deque[_Page | EmptyPage], window: deque[_Page]) -> Iterator[Event]:
        page = waiting.popleft()
        if isinstance(page, EmptyPage):
            yield from self._finish()
            yield from self._end_table()
            yield page
            return
        lines = _without_running_lines(page, window, pages=self.pages)
        if page.is_picture:
            lines = _without_stamps(lines, page, window)
        elif not lines:
            # A page of nothing but a repeated line keeps it: better twice than not at all.
            lines = page.lines
        if page.ocr:
            yield from self._finish()
            yield from self._end_table()
            # A stamp is text and in the picture of the page.
            known = {_fold(line.text) for line in page.lines}
            read, boxes = _without_lines(page.ocr, page.ocr_lines, known)
            yield from scanned_blocks(read, boxes, page=page.number)
        elif page.is_picture:
            yield EmptyPage(page.number)
        yield from self._blocks(page, lines)
        if page.notes:
            yield from self._finish()
            yield from self._end_table()
        for note in page.notes:
            yield from paragraph(note, page=page.number)
        self.figures.extend((page.number, figure) for figure in page.figures)
        if self.unfinished is None and self.table is None:
            yield from self._figures()
        while window and window[0].number < page.number - _WINDOW_PAGES:
            window.popleft()

    def _blocks(self, page: _Page, lines: list[Line]) -> Iterator[Block | Title]:
        body = self.sizes.most_common(1)[0][0] if self.sizes else 10.0
        known = self.table.lefts if self.table is not None else None
        may_hold = known is not None or len(page.rules.down) > 2 or _may_hold_table(lines)
        columns = _text_columns(lines) if may_hold and len(page.rules.down) <= 2 else []
        if columns:
            # A table in a column has nothing to do with the text beside it.
            lines = [line for column in columns for line in column]
            starts = 0, len(columns[0])
            tables = [
                table.moved(start)
                for start, column in zip(starts, columns, strict=True)
                for table in find_tables(column, _NO_RULES)
            ]
        else:
            tables = find_tables(lines, page.rules, goes_on=known) if may_hold else []
        groups = _groups(_without_tables(lines, tables) if tables else lines, tables)
        if page.is_wide and not tables:
            groups = _as_on_a_slide(groups)
        right = max((line.right for line in lines), default=0.0)
        if self.unfinished is not None:
            begun = self.unfinished.lines
            if (at := _continuation(begun, groups)) is not None and len(begun) < _MAX_OPEN_LINES:
                begun.extend(groups.pop(at).lines)
                if groups or not _is_unfinished(begun, right=right):
                    yield from self._finish()
            else:
                yield from self._finish()
        # Of a page set with a typewriter the lines are those of paragraphs.
        has_code = 2 * sum(line.mono for line in lines) < len(lines)
        begun_here: _Unfinished | None = None
        if self.unfinished is None:
            at = len(groups) - 1
            # Footnotes stand below the text, in smaller type.
            while (
                at > 0 and groups[at].lines and max(map(_size_of, groups[at].lines)) < 0.95 * body
            ):
                at -= 1
            if at >= 0 and groups[at].is_text and _is_unfinished(groups[at].lines, right=right):
                text, _, _ = _joined(groups[at].lines, self.compounds)
                if not self._heading_level(page, groups[at].lines, text, body):
                    group = groups.pop(at)
                    end = _column_end(group.lines[0], lines)
                    begun_here = _Unfinished(group.kind, group.lines, end, has_code)
        # Where the columns end that begin at a place.
        ends: dict[float, float] = {}
        rows = 0
        caption = ""
        in_list = False
        yield from self._title(groups, body)
        # What a row that the page breaks has left may stand before the rest of its table.
        is_first = True
        for place, group in enumerate(groups):
            if group.table is not None:
                is_last = place == len(groups) - 1
                yield from self._table(
                    group.table, page, is_first=is_first, is_last=is_last, title=caption
                )
                rows, caption, is_first, in_list = 0, "", False, False
                continue
            is_first = is_first and place == 0 and group.lines[0].text[:1].islower()
            if not is_first:
                yield from self._end_table()
            if group.kind == "row":
                yield from paragraph(
                    " | ".join(text for text, _, _ in group.lines[0].cells),
                    kind="row",
                    page=page.number,
                    gap="\n" if rows else "\n\n",
                    lines=(_row_box(group.lines[0]),),
                )
                rows += 1
                in_list = False
                continue
            rows = 0
            is_text = group.kind == "paragraph" and len(group.lines) > 1
            end = 0.0
            if is_text:
                left = group.lines[0].left
                end = ends[left] = ends.get(left) or _column_end(group.lines[0], lines)
            text, boxes, _ = _joined(group.lines, self.compounds, right=end, has_code=has_code)
            is_caption = len(text) <= MAX_CAPTION_CHARS and CAPTION.match(text)
            caption = text if is_caption else ""
            level = self._heading_level(page, group.lines, text, body)
            if level:
                text = text.replace("\n", " ")
                yield Block("heading", text, page=page.number, level=level, label=text, lines=boxes)
            else:
                gap = "\n" if in_list and group.kind == "item" else "\n\n"
                yield from paragraph(text, kind=group.kind, page=page.number, gap=gap, lines=boxes)
            in_list = group.kind == "item" and not level
        if begun_here is not None:
            self.unfinished = begun_here

    def _title(self, groups: list[_Group], body: float) -> Iterator[Title]:
        """Yield the document's title, once: what is set largest at the top of its first page."""
        if self.titled:
            return
        self.titled = True
        texts = [group.lines for group in groups if group.is_text]
        largest = max((lines[0].size for lines in texts), default=0.0)
        if largest < _LARGER * body:
            return
        large = [lines for lines in texts if lines[0].size == largest]
        if len(large) > 1 or not any(lines is large[0] for lines in texts[:_TITLE_AMONG]):
            return
        text, _, _ = _joined(large[0], self.compounds)
        if (
            len(large[0]) <= _TITLE_LINES
            and len(text) <= _TITLE_CHARS
            and _TITLE_WORD.search(text)
            and not _SECTION_NUMBER.match(text)
        ):
            yield Title(text)

    def _table(
        self, table: Table, page: _Page, *, is_first: bool, is_last: bool, title: str
    ) -> Iterator[Block]:
        known, self.table = self.table, None
        if known is not None and is_first and table.goes_on_from(known.lefts):
            writer = known.writer
            if known.held is not None:
                whole = known.held.with_more(table)
                yield from whole.blocks(writer, page=known.page, goes_on=True)
            writer.page = page.number
        else:
            if known is not None:
                yield from known.end()
            writer = TableWriter(page=page.number)
            writer.title = title
        # The page may break its last row.
        held = table.take_last() if is_last and page.number < self.pages else None
        yield from table.blocks(writer, page=page.number, goes_on=is_last)
        if held is not None:
            writer.gap = "\n"
        if is_last:
            self.table = _OpenTable(writer, table.lefts, held, page.number)

    def _end_table(self) -> Iterator[Block]:
        if self.table is not None:
            yield from self.table.end()
            self.table = None

    def _heading_level(self, page: _Page, group: list[Line], text: str, body: float) -> int:
        """Return the level of a heading from 1, 0 for body text."""
        if len(text) > 200 or len(group) > 3 or not any(c.isalpha() for c in text):
            return 0
        if self.outlined:
            folded = _fold(text) if page.outline else ""
            for title, level in page.outline.items():
                if folded == title or (folded.endswith(title) and len(folded) <= len(title) + 12):
                    return level
            return 0
        if _are_keyed(group):
            return 0
        size = max(line.size for line in group)
        if size >= _LARGER * body and not text.endswith((".", ",", ";")):
            self.heading_sizes.add(size)
            return min(6, 1 + sum(1 for other in self.heading_sizes if other > size))
        bold = all(line.bold for line in group)
        if (
            bold
            and ": " not in text
            and size >= 0.95 * body
            and len(text) <= 100
            and not text.endswith((".", ",", ";", ":"))
        ):
            return min(6, 1 + len(self.heading_sizes))
        return 0


@dataclass(frozen=True, slots=True)
class _Group:
    """A paragraph, list item or row of a page, or a table of it."""

    kind: BlockKind
    lines: list[Line]
    table: Table | None = None

    @property
    def is_text(self) -> bool:
        return self.table is None and self.kind != "row"


def _groups(lines: list[Line], tables: list[Table]) -> list[_Group]:
    """Return the paragraphs of a page, with tables in reading order."""
    middles = list(map(_middle, lines))
    below = [
        (drop, a, b)
        for drop, a, b in zip(map(sub, middles, middles[1:]), lines, lines[1:], strict=False)
        if 0 < drop < 4 * a.height
    ]
    pitch = statistics.median([drop for drop, _, _ in below]) if below else 0.0
    right = max((line.right for line in lines), default=0.0)
    left = min((line.left for line in lines), default=0.0)
    # Where most paragraphs have one line, the usual distance is that of paragraphs.
    margin = right - 0.12 * (right - left)
    wrapped = [drop for drop, a, b in below if a.right > margin and abs(a.left - b.left) < a.height]
    pitch = min(pitch, statistics.median_low(wrapped)) if wrapped else pitch
    groups: list[_Group] = []

    def add(part: list[Line]) -> None:
        groups.extend(_Group(k, g) for k, g in _paragraphs(part, pitch=pitch, right=right))

    rest = lines
    narrow: list[Table] = []
    for table in [*sorted(tables, key=lambda table: -table.top), None]:
        if table is not None and table.right - table.left < 0.6 * (right - left):
            narrow.append(table)
            continue
        # What is above a wide table is read before it, in all columns.
        top = table.top if table is not None else -math.inf
        ordered = _in_reading_order([line for line in rest if line.middle >= top])
        rest = [line for line in rest if line.middle < top]
        begin = 0
        for at, some in _placed(narrow, ordered):
            add(ordered[begin:at])
            groups.extend(_Group("row", [], one) for one in some)
            begin = at
        add(ordered[begin:])
        narrow = []
        if table is not None:
            groups.append(_Group("row", [], table))
    return groups


def _as_on_a_slide(groups: list[_Group]) -> list[_Group]:
    """Return the paragraphs of a wide page in the order of their places, as those of a slide."""
    columns: list[list[_Group]] = []
    for group in groups:
        above = columns[-1][-1] if columns else None
        if above is not None and _follows_item(above, group):
            columns[-1].append(group)
        else:
            columns.append([group])
    if not any(len(column) > 1 for column in columns):
        return _by_places(groups)
    lists = [_Group(c[0].kind, [line for g in c for line in g.lines]) for c in columns]
    whole = {id(one): column for one, column in zip(lists, columns, strict=True)}
    return [group for one in _by_places(lists) for group in whole[id(one)]]


def _follows_item(above: _Group, group: _Group) -> bool:
    """Return whether an item of a list stands close below another one."""
    last, first = above.lines[-1], group.lines[0]
    return (
        above.kind == group.kind == "item"
        and abs(above.lines[0].left - first.left) < first.height
        and 0 < last.middle - first.middle < _ITEM_DROP * first.height
    )


def _by_places(groups: list[_Group]) -> list[_Group]:
    tops = [group.lines[0].top for group in groups]
    if not 2 < len(groups) <= _MAX_SHAPES or all(a >= b - 1 for a, b in pairwise(tops)):
        return groups
    boxes = [
        Box(
            min(line.left for line in group.lines),
            -group.lines[0].top,
            max(line.right for line in group.lines),
            -min(line.bottom for line in group.lines),
            index,
        )
        for index, group in enumerate(groups)
    ]
    # A title in the middle parts the columns below it to the eye alone.
    title = min(boxes, key=lambda box: box.top)
    rest = [box for box in boxes if box is not title]
    if min(box.top for box in rest) < title.bottom:
        return [groups[index] for index in reading_order(boxes)]
    return [groups[index] for index in (title.index, *reading_order(rest))]


def _placed(tables: list[Table], lines: list[Line]) -> list[tuple[int, list[Table]]]:
    """Return the tables by the number of the first line below them."""
    places: dict[int, list[Table]] = {}
    for table in tables:
        at = next(
            (
                i
                for i, line in enumerate(lines)
                if line.middle < table.top and line.left < table.right and line.right > table.left
            ),
            len(lines),
        )
        places.setdefault(at, []).append(table)
    return sorted(places.items())


def _is_unfinished(lines: list[Line], *, right: float) -> bool:
    """Return whether the sentence of a paragraph may go on behind it."""
    last = lines[-1]
    if last.hyphenated:
        return True
    if _SENTENCE_END.search(last.text[-8:]) or last.text.endswith(":"):
        return False
    # The last line reaches the margin: of the page, or of its own column.
    widest = max(line.right for line in lines)
    return len(lines) > 1 and last.right >= widest - 6 * last.height and (last.right >= 0.4 * right)


def _continuation(begun: list[Line], groups: list[_Group]) -> int | None:
    """Return which of the first paragraphs of a page goes on with *begun*."""
    last = begun[-1]
    for at, group in enumerate(groups[:4]):
        if group.table is not None or group.kind != "paragraph":
            continue
        lines = group.lines
        first = lines[0]
        if abs(first.size - last.size) > 0.15 * last.size:
            continue
        if first.text[:1].islower() or (
            at == 0
            and not first.bold
            and (last.hyphenated or len(lines) > 1 or len(groups) > 1)
            and first.text[:1].isalnum()
            and len(first.text) > 20
        ):
            return at
    return None


def _without_stamps(lines: list[Line], page: _Page, window: Iterable[_Page]) -> list[Line]:
    """Remove the stamp that a scanner app writes onto each page."""
    elsewhere = {
        _DIGITS.sub("#", line.text)
        for other in window
        if other is not page and other.is_picture
        for line in other.lines
    }
    return [
        line
        for line in lines
        if not _SCANNER.search(line.text) and _DIGITS.sub("#", line.text) not in elsewhere
    ]


def _fold(text: str) -> str:
    return _NOT_WORD.sub("", clean(text).casefold())


def _without_running_lines(page: _Page, window: Iterable[_Page], *, pages: int) -> list[Line]:
    """Return the lines of *page* without those that nearby pages have at the same edge."""
    own = page.edge_lines
    if not own:
        return page.lines
    near = [
        (other.edge_lines, other.height - page.height)
        for other in window
        if other is not page and abs(other.number - page.number) <= _WINDOW_PAGES
    ]

    def is_there(own: Line, line: Line, taller: float) -> bool:
        # As far from the foot of its page, or from the head of a page of another size.
        return min(abs(own.middle - line.middle), abs(own.middle - line.middle + taller)) < 6

    dropped: list[Line] = []
    for key, line in own:
        seen = sum(
            any(k == key and is_there(line, o, taller) for k, o in other) for other, taller in near
        )
        # A bare page number needs one witness, words need two where there are so many pages.
        is_number = not any(c.isalpha() for c in key.replace("#", ""))
        is_page_number = _PAGE_NUMBER.fullmatch(key) is not None
        needed = 0 if is_page_number else 1 if is_number or pages <= _SHORT_PAGES else 2
        if seen < needed and (ahead := _ahead(line)) is not None:
            # A chapter's name beside the page number, on a few pages each.
            seen = sum(
                any(_ahead(o) == ahead and is_there(line, o, taller) for _, o in other)
                for other, taller in near
            )
        if seen >= needed:
            dropped.append(line)
    return [line for line in page.lines if not any(line is other for other in dropped)]


def _ahead(line: Line) -> int | None:
    """Return by how much a number at an end of a line, set apart, is ahead of that of the page."""
    if len(line.cells) > 1:
        for text in (line.cells[0][0], line.cells[-1][0]):
            if text.isdecimal() and len(text) <= _PAGE_DIGITS:
                return int(text) - line.page
    return None


def _is_between(line: Line, down: list[tuple[float, float, float]]) -> bool:
    """Return whether lines are drawn on both sides of a line of text, as around cells."""
    beside = [x for x, bottom, top in down if bottom < line.middle < top]
    return bool(beside) and min(beside) < line.left + 3 and max(beside) > line.right - 3


def _edge_lines(page: _Page) -> list[tuple[str, Line]]:
    """
    Return the lines that a gap sets off at the top and the bottom, numbers folded.

    Where no gap does, the outermost line counts, with its numbers, unless it is one.
    """
    lines = sorted(page.lines, key=_middle, reverse=True)
    if len(page.rules.down) > 2:
        down = [rule for rule in page.rules.down if rule[2] - rule[1] > LEAST_TABLE]
        lines = [line for line in lines if not _is_between(line, down)]
    if len(lines) < 2:
        # Beside a table a line stands alone.
        alone = [line for line in lines if len(page.lines) > 1]
        return [(_DIGITS.sub("#", line.text), line) for line in alone]
    middles = list(map(_middle, lines))
    pitch = statistics.median(map(sub, middles, middles[1:]))
    found: dict[int, tuple[str, Line]] = {}
    for order in (lines, lines[::-1]):
        gaps = [abs(a.middle - b.middle) for a, b in pairwise(order[: _EDGE_LINES + 1])]
        end = next((i + 1 for i in reversed(range(len(gaps))) if gaps[i] > 1.6 * pitch), 0)
        for line in order[:end]:
            found[id(line)] = (_DIGITS.sub("#", line.text), line)
        if not end and not (order is lines and _heads_columns(*order[:2])):
            folded = _DIGITS.sub("#", order[0].text)
            is_number = (
                not any(c.isalpha() for c in folded)
                or _PAGE_NUMBER.fullmatch(folded)
                or _PAGE_OF_PAGES.search(folded)
            )
            found[id(order[0])] = (folded if is_number else order[0].text, order[0])
    return [(key, line) for key, line in found.values() if len(key) <= 200]


def _heads_columns(line: Line, below: Line) -> bool:
    """Tell the header of a table at the top of a page: its cells stand above those of a row."""
    starts = [left for _, left, _ in below.cells]
    alike = sum(
        1 for _, left, _ in line.cells if any(abs(left - start) < _ALIGNED for start in starts)
    )
    return alike > 1


def _without_lines(
    text: str, boxes: tuple[LineBox, ...], known: set[str]
) -> tuple[str, tuple[LineBox, ...]]:
    """Return *text* without the lines that fold to one of *known*, and where it stands."""
    kept = ""
    moved: list[LineBox] = []
    waiting = deque(boxes)
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        own: list[LineBox] = []
        while waiting and waiting[0].position < end:
            own.append(waiting.popleft())
        # What is left out at the beginning leaves no empty lines there.
        if (line and _fold(line) not in known) or (not line and kept):
            moved += [box._replace(position=box.position - start + len(kept)) for box in own]
            kept += f"{line}\n"
        start = end + 1
    return kept.rstrip(), tuple(moved)


def _pieces(lines: list[Line]) -> list[Line]:
    """Return the parts of *lines* that wide gaps set apart, each as a line."""
    pieces: list[Line] = []
    for line in lines:
        if len(line.cells) == 1:
            pieces.append(line)
        else:
            pieces.extend(
                line._replace(
                    text=text,
                    left=left,
                    right=right,
                    cells=((text, left, right),),
                    edges=_edges_of_cell(line, text, left, right),
                )
                for text, left, right in line.cells
                if text
            )
    return pieces


def _text_columns(lines: list[Line]) -> list[list[Line]]:
    """Return the lines of two columns of running text, [] where a page has none."""
    pieces = _pieces(lines)
    if len(pieces) < 3 * _LEAST_PROSE:
        return []
    left = min(piece.left for piece in pieces)
    width = max(piece.right for piece in pieces) - left
    # A title stands over both, and so does a page number below them.
    narrow = sorted(
        (piece.left, piece.right)
        for piece in pieces
        if len(piece.text) > _LEAST_PROSE_CHARS and piece.right - piece.left < 0.6 * width
    )
    reach, best, at = left, 0.0, 0.0
    for begin, end in narrow:
        if begin - reach > best and 0.35 * width < begin - left < 0.65 * width:
            best, at = begin - reach, (begin + reach) / 2
        reach = max(reach, end)
    if not best:
        return []
    columns: list[list[Line]] = [[], []]
    rows: dict[int, list[int]] = {}
    for piece in pieces:
        longest = rows.setdefault(round(piece.middle / 4), [0, 0])
        longest[piece.left >= at] = max(longest[piece.left >= at], len(piece.text))
    short = [row for row in rows.values() if min(row) and max(row) <= _LEAST_PROSE_CHARS]
    if len(short) > _FEW_ROWS:
        # Those of a table that is as wide as both columns.
        return []
    for line in lines:
        for column, part in zip(columns, _cut(line, at), strict=True):
            if part is not None:
                column.append(part)
    return [] if any(map(_lacks_prose, columns)) else columns


def _cut(line: Line, at: float) -> tuple[Line | None, Line | None]:
    """Return what of a line begins left of a place, and what right of it."""
    left = tuple(cell for cell in line.cells if cell[1] < at)
    if not left or len(left) == len(line.cells):
        return (line, None) if left else (None, line)
    parts = []
    for cells in (left, line.cells[len(left) :]):
        text, begin, end = " ".join(cell[0] for cell in cells), cells[0][1], cells[-1][2]
        edges = _edges_of_cell(line, text, begin, end)
        parts.append(line._replace(text=text, left=begin, right=end, cells=cells, edges=edges))
    return parts[0], parts[1]


def _lacks_prose(column: list[Line]) -> bool:
    """Return whether few lines of a column go on with a sentence and fill it."""
    if not column:
        return True
    width = statistics.median(line.right - line.left for line in column)
    prose = [
        line
        for line in column
        if line.text[:1].islower()
        and line.right - line.left > 0.8 * width
        and len(line.text) > _LEAST_PROSE_CHARS
    ]
    return len(prose) < _LEAST_PROSE


def _in_reading_order(lines: list[Line]) -> list[Line]:
    """
    Return *lines* column by column where the page has columns of text.

    Without columns the order of the content stands: producers write it in reading order.
    """
    pieces = _pieces(lines)
    if len(pieces) < 6:
        return lines
    head, rest = _header_above(pieces)
    # A short title above the columns reaches over the gap between them.
    top = _titles_above(rest) if len(rest) > 3 else 0
    if not (columns := _split_columns(rest[top:])):
        return lines
    return [*head, *rest[:top], *columns]


def _header_above(pieces: list[Line]) -> tuple[list[Line], list[Line]]:
    """Return what stands high above all other lines in no larger type, and those."""
    highest = max(pieces, key=_middle)
    head = [piece for piece in pieces if piece.middle > highest.middle - 0.5 * highest.height]
    rest = [piece for piece in pieces if piece.middle <= highest.middle - 0.5 * highest.height]
    if len(head) > _EDGE_LINES or len(rest) < 6:
        return [], pieces
    below = max(piece.top for piece in rest)
    if min(piece.bottom for piece in head) - below <= 1.5 * highest.height:
        return [], pieces
    usual = statistics.median(map(_size_of, rest))
    if any(piece.size > usual or piece.bold for piece in head):
        return [], pieces
    return sorted(head, key=_left), rest


def _titles_above(pieces: list[Line]) -> int:
    """Return how many of the first lines are larger than the text below."""
    usual = statistics.median(map(_size_of, pieces))
    count = 0
    while count < _EDGE_LINES and pieces[count].size > 1.15 * usual:
        count += 1
    highest = max((line.middle for line in pieces[count:]), default=0.0)
    return count if all(line.middle > highest for line in pieces[:count]) else 0


def _edges_of_cell(
    line: Line, text: str, left: float, right: float
) -> tuple[tuple[float, float], ...]:
    edges = tuple(edge for edge in line.edges if left - 0.1 <= edge[0] and edge[1] <= right + 0.1)
    return edges if len(edges) == text.count(" ") + 1 else ()


def _split_columns(pieces: list[Line]) -> list[Line]:
    """Return *pieces* ordered by bands and columns, [] if no band has columns."""
    left = min(piece.left for piece in pieces)
    right = max(piece.right for piece in pieces)
    wide = 0.6 * (right - left)
    ordered = sorted(pieces, key=_middle, reverse=True)
    result: list[Line] = []
    band: list[Line] = []
    found = False
    for piece in [*ordered, None]:
        if piece is not None and piece.right - piece.left < wide:
            band.append(piece)
            continue
        if columns := _columns(band):
            found = True
            result.extend(columns)
        else:
            result.extend(sorted(band, key=lambda p: (-round(p.middle), p.left)))
        band = []
        if piece is not None:
            result.append(piece)
    return result if found else []


def _columns(band: list[Line], *, depth: int = 0) -> list[Line]:
    """Return the lines of *band* column by column, [] if it has none."""
    if len(band) < 6 or depth > _MAX_COLUMN_DEPTH:
        return []
    # The widest empty stretch between the left parts and the right parts.
    spans = sorted((line.left, line.right) for line in band)
    reach, best, at = spans[0][1], 0.0, 0.0
    for begin, end in spans[1:]:
        if begin - reach > best:
            best, at = begin - reach, (begin + reach) / 2
        reach = max(reach, end)
    height = statistics.median(line.height for line in band)
    if best < 0.6 * height:
        return []
    sides = [line for line in band if line.right < at], [line for line in band if line.left > at]
    below = _below_columns(*sides)
    if below and len(below) < len(sides[0]):
        under = {id(line) for line in below}
        columns = _columns([line for line in band if id(line) not in under], depth=depth + 1)
        return [*columns, *below] if columns else []
    parted = [_columns(side, depth=depth + 1) for side in sides]
    for side, columns in zip(sides, parted, strict=True):
        if columns:
            continue
        if len(side) < 3:
            return []
        width = max(line.right for line in side) - min(line.left for line in side)
        # Text fills its column; the cells of a table do not.
        if statistics.median(line.right - line.left for line in side) < 0.6 * width:
            return []
        if statistics.median(len(line.text) for line in side) < 15:
            return []
    return [
        line
        for side, columns in zip(sides, parted, strict=True)
        for line in columns or sorted(side, key=_middle, reverse=True)
    ]


def _below_columns(left: list[Line], right: list[Line]) -> list[Line]:
    """
    Return what stands below two columns that end at one height, from above.

    It is short, so that nothing of it reaches over the gap between them.
    """
    ordered = sorted(left, key=_middle, reverse=True)
    if len(ordered) < 3 or not right:
        return []
    end = min(line.middle for line in right)
    count = sum(1 for line in ordered if line.middle > end - 0.5 * line.height)
    if not 2 < count < len(ordered):
        return []
    drops = [a.middle - b.middle for a, b in pairwise(ordered[:count])]
    last, first = ordered[count - 1], ordered[count]
    is_even = last.middle - end < 1.5 * last.height
    is_apart = last.middle - first.middle > _APART * statistics.median(drops)
    return ordered[count:] if is_even and is_apart else []


def _paragraphs(
    lines: list[Line], *, pitch: float, right: float
) -> Iterator[tuple[BlockKind, list[Line]]]:
    """Yield the lines of each paragraph, list item or table row."""
    group: list[Line] = []
    kind: BlockKind = "paragraph"
    for i, line in enumerate(lines):
        is_item = len(line.cells) == 2 and is_marker(line.cells[0][0])
        if len(line.cells) > 1 and not is_item and _is_row(lines, i):
            if group:
                yield kind, group
            yield "row", [line]
            group, kind = [], "paragraph"
            continue
        near = lines[max(0, i - _NEAR_LINES) : i + _NEAR_LINES]
        if group and (is_item or not _continues(group[-1], line, near, pitch=pitch, right=right)):
            yield kind, group
            group = []
        if not group:
            kind = "item" if is_item or _BULLET.match(line.text) else "paragraph"
        group.append(line)
    if group:
        yield kind, group


def _is_row(lines: list[Line], i: int) -> bool:
    """Return whether a neighbour of line *i* has cells too, one of them under one of its own."""
    own = lines[i]
    for j in (i - 1, i + 1):
        if 0 <= j < len(lines) and len(lines[j].cells) > 1:
            for _, left, right in own.cells[1:]:
                if any(left < r and s < right for _, s, r in lines[j].cells[1:]):
                    return True
    return False


def _continues(
    before: Line, line: Line, near: Sequence[Line], *, pitch: float, right: float
) -> bool:
    """
    Return whether *line* goes on with the paragraph that *before* ends so far.

    Args:
        near: The lines around them.
    """
    drop = before.middle - line.middle
    height = before.height
    if before.hyphenated or abs(drop) < 0.5 * height:
        return True
    if before.leads:
        return False
    if drop < 0:
        # The top of the next column: only a sentence that is not over goes on there.
        return line.text[:1].islower() and not _SENTENCE_END.search(before.text[-8:])
    if _BULLET.match(line.text):
        return False
    # Lines of a title stand as far from each other as their type is large.
    if drop > max(1.3 * pitch, (1.4 if height > 1.1 * pitch else 0.9) * height):
        return False
    size = before.size
    if abs(line.size - size) > 0.15 * size:
        return False
    ended = _SENTENCE_END.search(before.text[-8:]) is not None
    if line.bold and not before.bold and (ended or not line.text[:1].islower()):
        return False
    if before.bold and not line.bold and (ended or before.right < 0.8 * right):
        return False
    if ended and line.left > before.left + 0.8 * line.height:
        return False
    if not ended or before.right >= right - 0.15 * (right - before.left):
        return True
    margin = _margin(near, before)
    return margin is not None and before.right >= margin - 0.15 * (margin - before.left)


def _margin(near: Sequence[Line], line: Line) -> float | None:
    """Return where the lines of a column end that *line* is among; None where they fill none."""
    alike = [
        other.right
        for other in near
        if abs(other.size - line.size) <= 0.1 * line.size
        and other.left < line.right
        and other.right > line.left
    ]
    margin = max(alike)
    full = sum(1 for right in alike if right > margin - 0.12 * (margin - line.left))
    return margin if full > 2 else None


def _column_end(first: Line, lines: Sequence[Line]) -> float:
    """Return where the long lines of the column end that begins where *first* does."""
    if len(lines) > _MAX_COLUMN:
        return 0.0
    rights = sorted(line.right for line in lines if abs(line.left - first.left) < _ALIGNED)
    if len(rights) < _LEAST_COLUMN:
        return 0.0
    # Where there are many, a few may reach over several columns.
    return rights[-1] if len(rights) < _MANY_LINES else rights[3 * len(rights) // 4]


def _ends_early(line: Line, below: Line, right: float) -> bool:
    """
    Return whether the next line begins with what would have had room on this one.

    Somebody broke it there, as in an address or a form.
    """
    first = below.text[:1]
    if first.islower() or line.hyphenated or line.text[-1:] in ",-":
        return False
    if below.middle > line.middle - 0.5 * line.height:
        return False
    end = below.edges[0][1] if below.edges else below.right
    return line.right + end - below.left + line.height < right


def _joined(
    lines: list[Line],
    compounds: Container[str] = frozenset(),
    *,
    right: float = 0.0,
    has_code: bool = False,
) -> tuple[str, tuple[LineBox, ...], tuple[PageStart, ...]]:
    """
    Return *lines* as one paragraph, with hyphenated words joined.

    With it comes where its lines stand, and where in it further pages begin.

    Args:
        compounds: Words that the document writes with a hyphen within its lines.
        right: Where the lines of the column end; 0 if the ends of lines say nothing.
        has_code: Lines in type of one width are code.
    """
    text = ""
    hyphenated = False
    before = lines[0]
    has_verses = (
        right > 0
        and len(lines) >= _LEAST_VERSES
        and all(line.text[:1].isupper() and not line.hyphenated for line in lines)
        and max(len(line.text) for line in lines) > _MARK_CHARS
    )
    has_verses = has_verses or _are_keyed(lines)
    boxes: list[LineBox] = []
    page_starts: list[PageStart] = []
    page = lines[0].page
    for line in lines:
        if text and (has_verses or (has_code and before.mono and line.mono)):
            text += "\n"
        elif text and hyphenated:
            # PDFium takes away any hyphen that a line ends with.
            if SUSPENDED.match(line.text):
                text += "- "
            elif not line.text[:1].islower() or keeps_hyphen(text, line.text, compounds):
                text += "-"
        elif text:
            if right and before.right < right and _ends_early(before, line, right):
                text += "\n"
            elif not _HYPHEN.search(text) or SUSPENDED.match(line.text):
                text += " "
            elif (
                line.text[:1].islower()
                and text[-2].isalpha()
                and not keeps_hyphen(text[:-1], line.text, compounds)
            ):
                text = text[:-1]
        if line.page != page:
            page = line.page
            page_starts.append(PageStart(len(text), page))
        boxes.append(_line_box(line, position=len(text)))
        text += line.text
        hyphenated = line.hyphenated
        before = line
    return text, tuple(boxes), tuple(page_starts)


def _are_keyed(lines: Sequence[Line]) -> bool:
    """Return whether each of several lines is a name and its value."""
    return len(lines) > 1 and all(
        line.text[:1].isupper() and line.text.count(": ") < 2 and _KEYED.match(line.text)
        for line in lines
    )


def _line_box(line: Line, *, position: int) -> LineBox:
    words: tuple[WordBox, ...] = ()
    if line.edges:
        lefts, rights = zip(*line.edges, strict=True)
        lengths = map(add, map(len, line.text.split(" ")), repeat(1))
        offsets = accumulate(lengths, initial=0)
        words = tuple(map(_new_word_box, zip(offsets, lefts, rights, strict=False)))
    words = words or (WordBox(0, line.left, line.right),)
    return _new_line_box((position, line.page, line.bottom, line.top, words))


def _row_box(line: Line) -> LineBox:
    """Return where the words of a row stand in its text, a bar between two cells."""
    words: list[WordBox] = []
    edges = iter(line.edges)
    position = 0
    for text, left, right in line.cells:
        offset = position
        for word in text.split(" ") if line.edges else [text]:
            words.append(WordBox(offset, *next(edges, (left, right))))
            offset += len(word) + 1
        position += len(text) + 3
    return LineBox(0, line.page, line.bottom, line.top, tuple(words))
