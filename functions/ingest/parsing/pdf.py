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
import unicodedata
import zlib
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import accumulate, chain, islice, pairwise, repeat
from operator import attrgetter, sub
from typing import Any, NamedTuple

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
    raised,
)
from .figures import DECORATION_USES
from .hyphens import SUSPENDED, keeps_hyphen
from .pdf_annotations import Value
from .pdf_characters import Characters, direct, turned_box
from .pdf_figures import PdfFigure, Placed
from .pdf_tables import (
    CAPTION,
    LEAST_CELLS,
    MAX_CAPTION_CHARS,
    Rules,
    Table,
    Word,
    find_tables,
    is_marker,
)
from .reading_order import Box, reading_order
from .tables import TableWriter
from .writing_direction import RIGHT_TO_LEFT, runs_left
from .writing_direction import Placed as PlacedText
from .writing_direction import read_line as read_from_the_right

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
# A3 at 200 dots an inch.
_MAX_RECOGNISED_SIDE = 3400
_MAX_ATTACHMENTS = 100
_MAX_DEPTH = 3
# What a scanner's app or an archive writes onto a scan is shorter.
_MAX_STAMP_CHARS = 200
_MAX_PICTURES = 200
# Drawings have more; what is thinner, in points, is a line, and shorter than that an ornament.
_MAX_DRAWN = 4_000
_MAX_SEGMENTS = 1_500
_LOOKED_AT = 80
# A drawn bullet in heights of its line, and how many a page has.
_LEAST_BULLET = 0.12
_MOST_BULLET = 0.5
_MAX_BULLETS = 300
# Between words, in heights of the line.
_LOOSE_GAP = 0.6
_THIN = 3.0
_LEAST_LINE = 6.0
_LEAST_TABLE = 20.0
_MAX_OPEN_LINES = 400
_MAX_COMPOUNDS = 10_000
_PAGE_DIGITS = 4
_MAX_SHAPES = 60
_ITEM_DROP = 2.5
# Columns of columns: more than any page of text has.
_MAX_COLUMN_DEPTH = 8
# Cells of a column begin at one place, in points.
_ALIGNED = 4.0
# A line in heights of its first or last character.
_MAX_TALLER = 1.6
# Gaps between the words of one justified line, in points.
_SAME_GAP = 0.75
_SAME_EDGE = 1.5
_LEAST_STRETCHED = 3
# Characters that are looked at to tell how a page's text is turned.
_ANGLES = 12
# So many numbers in steps of the same size are a ruler or the numbers of lines.
_RULER_NUMBERS = 8

_LINE = re.compile("[^\r\n\ufffe]+")
_bottom = attrgetter("bottom")
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_NOT_WORD = re.compile(r"\W+")
_BULLET = re.compile(
    r"(?:[•◦▪▫‣∙●○■□◆◇➢❖►✓☐☑–*-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)])\s"
    r"|\d{1,2}[.)](?=[A-Z]\w)"
)
_SENTENCE_END = re.compile(r"[.!?:。！？…]['\"”’»)\]]*$")
# Dots or lines that lead the eye, and what is nothing else.
_LEADERS = re.compile(r"(?:[.·…]\s?){4,}|_{3,}")
_LEADER_MARKS = re.compile(r"\. ?\.|[…·]|___")
_ORNAMENT = re.compile(r"[\s.·…_\-=*|+~—–•#<>/\\]{2,}|[|_=~·—–]")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p[áa]gina|pagina|trang|strona|sida|side|str\.?|s\.|p\.)\s*#"
    r"(?:\s*(?:of|von|de|di|av|af|z|/|sur|trên|van)\s*#)?|#\s*(?:of|von|de|/|sur)\s*#|[-–—]\s*#\s*[-–—]",
    re.IGNORECASE,
)
# What bitmap fonts of TeX have at places without a name in Unicode (its encodings T1 and TS1).
_CORK = str.maketrans(
    {"\x10": "“", "\x11": "”", "\x12": "„", "\x13": "«", "\x14": "»", "\x15": "–", "\x16": "—"}
    | {"\x1b": "ﬀ", "\x1c": "ﬁ", "\x1d": "ﬂ", "\x1e": "ﬃ", "\x1f": "ﬄ", "\x88": "•"}
)
_CORK_SIGN = re.compile("[\x10-\x16\x1b-\x1f\x88]")
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl"})
# Accents that stand beside their letter, as fonts of TeX have them, and what they are on a letter.
_ACCENTS = {
    "`": "\u0300",
    "\u00b4": "\u0301",
    "\u02c6": "\u0302",
    "\u02dc": "\u0303",
    "\u00af": "\u0304",
    "\u02d8": "\u0306",
    "\u02d9": "\u0307",
    "\u00a8": "\u0308",
    "\u02da": "\u030a",
    "\u02dd": "\u030b",
    "\u02c7": "\u030c",
    "\u00b8": "\u0327",
    "\u02db": "\u0328",
}
_ACCENT = re.compile(f"[{''.join(_ACCENTS)}]")
_DOTLESS = str.maketrans("\u0131\u0237", "ij")
# How much of an accent stands over its letter.
_LEAST_OVER = 0.4
# A minus sign before a letter or another one is a hyphen of a font, as that of --option.
_NO_MINUS = re.compile(r"\u2212(?=\u2212?[^\W\d_])")
_RAISED_SIGNS = frozenset("0123456789+-\u2212")
# A mark behind it, and then another word.
_RAISED_BEFORE_MARK = re.compile(r"[0-9+\-\u2212](?=[.,;:)] )")
# How far above the others, in heights of the line, a raised digit stands, and how much smaller.
_LEAST_RAISE = 0.1
_MOST_RAISE = 0.8
_LESS_HEIGHT = 0.93
# Below the line that letters stand on, as a share of their height.
_DESCENT = 0.22
# Parts of a line that are nearer, in heights of the line, are parts of one word.
_WORD_GAP = 0.12
# Words of one letter each, so many of them, are one word with wide spaces.
_SPACED_LETTERS = 4
_SPACED_SHARE = 0.8
_MARK_CHARS = 3
_ENDS = (".", ",", ":", ";", "!", "\u060c", "\u061b", "\u061f")
# A first letter over several lines is taller.
_DROPPED = 1.6
# Behind it a word goes on, or another begins: mainte-nance, 2026-2027; but not "on- and offshore".
_HYPHEN = re.compile(r"(?<=[^\W_])[-\u2010]$")
_HYPHENATED = re.compile(r"(?<![^\W\d_])[^\W\d_]+(?:-[^\W\d_]+)+")
# What Wingdings and Symbol have in Unicode's private area, as Word writes bullets and boxes.
_SYMBOLS = str.maketrans(
    {"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "➢", "\uf076": "❖", "\uf0fc": "✓", "\uf0e0": "→"}
    | {"\uf0fe": "☒", "\uf0fd": "☒", "\uf052": "☑", "\uf06f": "☐", "\uf0a8": "☐", "\uf0a3": "☐"}
)
_SCANNER = re.compile(
    r"\bscan(?:ned|n[ée]e?|ner)?\b|scanner|camscan|gescannt|escaneado|numérisé|scansion|skanow",
    re.IGNORECASE,
)
_BOLD = re.compile(rb"bold|black|heavy|semibold|cmbx|medi", re.IGNORECASE)
_MADE_BY = re.compile(
    r"^(?:\(?anonymous\)?$|microsoft \w+ - |untitled|document\d*$|slide \d+$"
    r"|.*\.(?:docx?|xls[xm]?|pptx?|od[tsp]|pdf|tex|dvi|indd|rtf|qxd|html?|txt|md|csv|pages)$)",
    re.IGNORECASE,
)


_PATH = pdfium.FPDF_PAGEOBJ_PATH
_HOLD_PICTURES = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM)
_angle = direct(pdfium.FPDFText_GetCharAngle)
_object_at = direct(pdfium.FPDFPage_GetObject)
_object_type = direct(pdfium.FPDFPageObj_GetType)
_bounds = direct(pdfium.FPDFPageObj_GetBounds)
_count_segments = direct(pdfium.FPDFPath_CountSegments)
_segment = direct(pdfium.FPDFPath_GetPathSegment)
_segment_type = direct(pdfium.FPDFPathSegment_GetType)
_point = direct(pdfium.FPDFPathSegment_GetPoint)
# Half the time of calling the class, which checks how many values it gets.
_new_word = partial(tuple.__new__, Word)
_new_word_box = partial(tuple.__new__, WordBox)


class _Line(NamedTuple):
    """
    A run of text on one line of the page; coordinates in points from the lower left corner.

    Attributes:
        cells: Parts between wide gaps, each (text, left, right); one where there are none.
        edges: (left, right) of each word; empty if they are unknown.
        leads: Dots led from its text to a page number.
        runs_up: Its letters stand above each other, as in narrow columns' names.
        hyphenated: PDFium found a hyphen at its end that only the line break put there.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    bold: bool
    cells: tuple[tuple[str, float, float], ...]
    hyphenated: bool = False
    page: int = 0
    edges: tuple[tuple[float, float], ...] = ()
    leads: bool = False
    runs_up: bool = False

    @property
    def height(self) -> float:
        return max(self.top - self.bottom, 0.1)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(slots=True)
class _Page:
    number: int
    lines: list[_Line]
    outline: dict[str, int] = field(default_factory=dict)
    is_picture: bool = False
    ocr: str = ""
    ocr_lines: tuple[LineBox, ...] = ()
    notes: list[str] = field(default_factory=list)
    rules: Rules = field(default_factory=lambda: Rules([], []))
    edge_lines: list[tuple[str, _Line]] = field(default_factory=list)
    is_wide: bool = False
    turn: int = 0
    figures: list[PdfFigure] = field(default_factory=list)


def parse_pdf(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of a PDF, page by page.

    Raises:
        Unreadable: It needs a password, is damaged, or has too many pages.
    """
    request.source.seek(0)
    try:
        document = pypdfium2.PdfDocument(request.source)
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


def _is_picture(page: pypdfium2.PdfPage, lines: list[_Line]) -> bool:
    """Return whether a picture covers the page and hardly any text stands beside it: a scan."""
    if sum(len(line.text) for line in lines) > _MAX_STAMP_CHARS:
        return False
    if not any(kind in _HOLD_PICTURES for kind in map(_object_type, _objects(page))):
        return False
    width, height = page.get_size()
    for number, thing in enumerate(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE])):
        left, bottom, right, top = thing.get_bounds()
        if (right - left) * (top - bottom) >= 0.6 * width * height:
            return True
        if number >= _MAX_PICTURES:
            break
    return False


def _objects(page: pypdfium2.PdfPage, *, step: int = 1) -> Iterator[Any]:
    count = pdfium.FPDFPage_CountObjects(page.raw)
    return map(_object_at, repeat(page.raw), range(0, count, step))


def _with_values(lines: list[_Line], values: list[Value], *, page: int) -> list[_Line]:
    """Return *lines* with the values of form fields, each next to its label."""
    result = list(lines)
    for value in values:
        height = min(value.top - value.bottom, 14.0)
        middle = (value.top + value.bottom) / 2
        own = _Line(
            text=value.text,
            left=value.left,
            bottom=middle - height / 2,
            right=value.right,
            top=middle + height / 2,
            bold=False,
            cells=((value.text, value.left, value.right),),
            page=page,
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


def _inserted(line: _Line, value: _Line) -> _Line:
    """Return a line with a value between its words, where the page has it."""
    words = line.text.split(" ")
    at = sum(1 for left, _ in line.edges if left < value.left)
    own = value.text.split(" ")
    text = " ".join([*words[:at], *own, *words[at:]])
    edges = (*line.edges[:at], *[(value.left, value.right)] * len(own), *line.edges[at:])
    return line._replace(text=text, cells=((text, line.left, line.right),), edges=edges)


def _joined_lines(first: _Line, second: _Line) -> _Line:
    text = f"{first.text} {second.text}"
    left, right = min(first.left, second.left), max(first.right, second.right)
    main = first if first.edges else second
    return main._replace(text=text, left=left, right=right, cells=((text, left, right),), edges=())


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
        read_lines: tuple[LineBox, ...] = ()
        lines: list[_Line] = []
        is_picture = is_wide = False
        turn = 0
        notes: list[str] = []
        figures: list[PdfFigure] = []
        try:
            page = document[index]
            try:
                turn, lines = _read_lines(page, index + 1)
                is_picture = _is_picture(page, lines)
                if not turn and _is_ruled(page, least=1):
                    lines = _with_bullets(page, lines)
                width, height = page.get_size()
                is_wide = (width > height) != (turn in (1, 3))
                values, notes, held = pdf_annotations.read(page, form)
                files.extend((index, annotation) for annotation in held)
                if turn:
                    values = [value.turned(turn) for value in values]
                has_values = has_values or bool(values)
                lines = _with_values(lines, values, page=index + 1)
                # A narrow table leaves no wide gaps, and nor may one that goes on.
                is_likely = len(rules.down) > 2 or _may_hold_table(lines)
                if _is_ruled(page) and (is_likely or _is_loose(lines)):
                    rules = _read_rules(page)
                else:
                    rules = Rules([], [])
                if turn:
                    rules = _turned_rules(rules, turn)
                if (
                    (not lines or is_picture)
                    and can_read
                    and time.process_time() < read_until
                    and pdfium.FPDFPage_CountObjects(page.raw)
                    and request.picture_budget.take()
                ):
                    read, read_lines = _read_picture(page, request, number=index + 1)
                if request.figures is not None:
                    figures = _find_figures(
                        page, lines, is_picture=is_picture, read=read, turn=turn
                    )
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
                read_lines,
                notes,
                rules,
                is_wide=is_wide,
                turn=turn,
                figures=figures,
            )
        else:
            yield EmptyPage(index + 1)
    if not has_values and (filled := xfa_forms.read(document)):
        # The pages of such a form say that another program is needed to see it.
        yield _Page(count, [], notes=["\n".join(filled)])


def _read_lines(page: pypdfium2.PdfPage, number: int) -> tuple[int, list[_Line]]:
    """
    Return the lines of page *number* in the order of its content, and how far they are turned.

    Their coordinates are rotated back, so that text runs to the right.
    """
    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count <= 0:
            return 0, []
        text = textpage.get_text_range()
        handle = textpage.raw
        lines: list[_Line] = []
        turn = _usual_turn(handle, count)
        characters = Characters(handle, is_exact=len(text) == count, turn=turn)
        is_cork = _CORK_SIGN.search(text) is not None
        if is_cork:
            text = text.translate(_CORK)
        is_ascii = text.isascii()
        if not is_ascii and "\u2212" in text:
            text = _NO_MINUS.sub("-", text)
        runs_back = not is_ascii and RIGHT_TO_LEFT.search(text) is not None
        letters: list[_Letters] = []
        for place in _measured(text, characters):
            stripped, first = place.text, place.first
            lefts, rights = place.lefts, place.rights
            _, _, tops, end_tops = place.page
            left, right = lefts[0], rights[-1]
            first_bottom, first_top = place.bottoms[0], tops[place.words.start]
            end_bottom, end_top = place.end_bottoms[-1], end_tops[place.words.stop - 1]
            bottom, top = first_bottom, first_top
            if len(stripped) > 3:
                # A sign of another font in the middle says nothing of the line.
                middle_bottom, middle_top = place.middle_sides
                tallest = _MAX_TALLER * max(top - bottom, end_top - end_bottom)
                if not 0 < tallest < middle_top - middle_bottom:
                    bottom, top = middle_bottom, middle_top
                if text[place.middle] in _RAISED_SIGNS:
                    # It may be raised; the tallest of the three is no such thing.
                    bottom, top = max(
                        (bottom, top),
                        (first_bottom, first_top),
                        (end_bottom, end_top),
                        key=lambda sides: round(sides[1] - sides[0], 1),
                    )
            if top <= bottom:
                bottom, top = min(bottom, end_bottom), max(top, end_top)
            height = top - bottom
            bold = _is_bold(characters.font(place.middle))
            if not is_ascii and "\uf020" <= max(stripped) <= "\uf0ff":
                stripped = stripped.translate(_SYMBOLS)
            if _ACCENT.search(stripped):
                stripped = _with_accents(stripped, first, characters)
            if runs_back:
                at = next(
                    (i for i, sign in enumerate(stripped) if not unicodedata.combining(sign)), 0
                )
                foot = _foot(handle, characters.index(first + at), turn)
                letters.append(_letters(stripped, first, characters, foot))
            least = bottom + _LEAST_RAISE * height
            if place.after_raised or max(place.bottoms) > least or max(place.end_bottoms) > least:
                stripped = _with_raised(stripped, place, (bottom, top), characters)
            if len(lefts) > 1 and max(map(sub, lefts[1:], rights)) > 1.5 * height:
                cells = tuple(_cells(stripped, place, wide=1.5 * height))
                cleaned = clean_line(stripped) if len(cells) > 1 else cells[0][0]
            else:
                cleaned = clean_line(stripped)
                cells = ((cleaned, left, right),)
            if is_cork:
                # Each is one character of the page, and two or three of the text.
                cleaned = cleaned.translate(_LIGATURES)
                cells = tuple(
                    (cell.translate(_LIGATURES), begin, end) for cell, begin, end in cells
                )
            edges = tuple(zip(lefts, rights, strict=True))
            bottoms = place.bottoms[1:]
            if cleaned.count(" ") + 1 != len(edges):
                edges = _edges_of_cleaned(stripped, edges)
            if bold and len(cells) > 1:
                # The first column of a table may be bold, and the rest of a row not.
                bold = _is_bold(characters.font(first + len(stripped) - 1))
            leads = (
                _LEADER_MARKS.search(cleaned) is not None and _LEADERS.search(cleaned) is not None
            )
            if leads:
                cleaned = clean_line(_LEADERS.sub(" ", cleaned))
                cells = tuple(
                    (clean_line(_LEADERS.sub(" ", cell)), begin, end) for cell, begin, end in cells
                )
                cells = tuple(cell for cell in cells if cell[0])
                edges = ()
            if (
                len(edges) >= _SPACED_LETTERS
                and len(cleaned) < 2.5 * len(edges)
                and (spaced := _without_wide_spaces(cleaned, edges))
            ):
                cleaned, edges = spaced
                bottoms = []
                cells = ((cleaned, left, right),)
            line = _Line(
                cleaned,
                min(left, right),
                bottom,
                max(left, right),
                top,
                bold,
                cells,
                place.hyphenated,
                number,
                edges if cleaned.count(" ") + 1 == len(edges) else (),
                leads,
            )
            is_placed = len(line.edges) == len(bottoms) + 1
            apart = max(bottoms) - min(bottoms) if is_placed and bottoms else 0.0
            if first_bottom - end_bottom > 0.8 * height and _is_upright(line):
                # Signs below each other, each of them a cell.
                parts = _sign_by_sign(line, stripped, first, characters)
                letters.extend([_Letters([], 0.0, 0.0)] * (len(parts) - 1) if runs_back else [])
                lines.extend(parts)
            elif apart > 0.8 * height and (len(cells) > 1 or _goes_back(line)):
                angle = pdfium.FPDFText_GetCharAngle(handle, characters.index(first))
                is_turned = (round(angle / (math.pi / 2)) - turn) % 2 == 1
                parts = (
                    _by_column(line, [first_bottom, *bottoms])
                    if is_turned
                    else list(_by_height(line, [first_bottom, *bottoms]))
                )
                letters.extend([_Letters([], 0.0, 0.0)] * (len(parts) - 1) if runs_back else [])
                lines.extend(parts)
            else:
                if len(stripped) > 1 and end_bottom - first_bottom > line.height > right - left:
                    # Letters above each other: it runs up.
                    line = line._replace(edges=(), runs_up=True)
                lines.append(line)
        if runs_back:
            lines = _read_backwards(lines, letters)
        # As the lines' coordinates are: what is seen of a page may be turned, and begin elsewhere.
        box_left, box_bottom, box_right, box_top = page.get_cropbox()
        if turn:
            box_left, box_bottom, box_right, box_top = turned_box(
                turn,
                min(box_left, box_right),
                min(box_bottom, box_top),
                max(box_left, box_right),
                max(box_bottom, box_top),
            )
        return turn, _without_rulers(
            _on_one_baseline(
                [
                    line
                    for line in _with_stretched_whole(lines)
                    if line.text
                    and line.cells
                    and (line.text[0].isalnum() or not _ORNAMENT.fullmatch(line.text))
                    and line.right > min(box_left, box_right) - 1
                    and line.left < max(box_left, box_right) + 1
                    and line.top > min(box_bottom, box_top) - 1
                    and line.bottom < max(box_bottom, box_top) + 1
                ]
            )
        )
    finally:
        textpage.close()


class _Measured(NamedTuple):
    """
    A line of a page's text, and the sides of the first and the last characters of its words.

    Attributes:
        text: Without white space around it.
        first: Its position in the text of the page.
        after_raised: Digits before a mark at the end of a word, which may be raised.
        middle: The position of a character in its middle.
        words: Those of the page that are its own.
        page: Positions of the first and the last characters of the words of the page, and the tops.
    """

    text: str
    first: int
    hyphenated: bool
    lefts: list[float]
    rights: list[float]
    bottoms: list[float]
    end_bottoms: list[float]
    after_raised: Sequence[int]
    middle: int
    middle_sides: tuple[float, float]
    words: slice
    page: tuple[list[int], list[int], list[float], list[float]]

    @property
    def starts(self) -> list[int]:
        """Where its words begin in its text."""
        return [at - self.first for at in self.page[0][self.words]]

    @property
    def ends(self) -> list[int]:
        """Where its words are over in its text."""
        return [at - self.first + 1 for at in self.page[1][self.words]]

    @property
    def tops(self) -> list[float]:
        return self.page[2][self.words]

    @property
    def end_tops(self) -> list[float]:
        return self.page[3][self.words]


def _measured(text: str, characters: Characters) -> Iterator[_Measured]:
    """Yield the lines of a page's text that hold more than white space."""
    found: list[tuple[str, int, int, bool]] = []
    starts: list[int] = []
    ends: list[int] = []
    middles: list[int] = []
    for match in _LINE.finditer(text):
        raw = match.group()
        stripped = raw.strip()
        if not stripped:
            continue
        at = first = match.end() - len(raw.lstrip())
        for word in stripped.split(" "):
            if word:
                starts.append(at)
                at += len(word)
                ends.append(at - 1)
            at += 1
        middle = first + (len(stripped) - 1) // 2
        # What PDFium puts between words has no place of its own.
        middles.append(middle + 1 if text[middle] == " " else middle)
        end = match.end()
        found.append((stripped, first, len(starts), text[end : end + 1] == "\ufffe"))
    lefts, bottoms, _, tops = characters.sides(starts)
    _, end_bottoms, rights, end_tops = characters.sides(ends)
    _, middle_bottoms, _, middle_tops = characters.sides(middles)
    raised_ends = [match.start() for match in _RAISED_BEFORE_MARK.finditer(text)]
    page = starts, ends, tops, end_tops
    begin = after = 0
    for number, (stripped, first, end, hyphenated) in enumerate(found):
        after_raised: Sequence[int] = ()
        if after < len(raised_ends):
            behind = bisect_right(raised_ends, first + len(stripped))
            after_raised, after = raised_ends[after:behind], behind
        own = slice(begin, end)
        begin = end
        yield _Measured(
            stripped,
            first,
            hyphenated,
            lefts[own],
            rights[own],
            bottoms[own],
            end_bottoms[own],
            after_raised,
            middles[number],
            (middle_bottoms[number], middle_tops[number]),
            own,
            page,
        )


def _with_accents(text: str, offset: int, characters: Characters) -> str:
    """
    Return *text*, as long as before, with accents on the letters that they stand over.

    A soft hyphen, which is no text, takes the place of a letter whose accent stands before it.
    """
    signs = list(text)
    for found in _ACCENT.finditer(text):
        at = found.start()
        # TeX writes an accent before its letter.
        for beside in (at + 1, at - 1):
            if not 0 <= beside < len(text) or not text[beside].isalpha():
                continue
            letter = signs[beside].translate(_DOTLESS) + _ACCENTS[found.group()]
            composed = unicodedata.normalize("NFC", letter)
            sides = characters.sides([offset + at, offset + beside])
            over = min(sides.right) - max(sides.left)
            narrow = min(end - begin for begin, end in zip(sides.left, sides.right, strict=True))
            if len(composed) == 1 and over > _LEAST_OVER * narrow:
                signs[at], signs[beside] = composed, "\xad"
                break
    return "".join(signs)


def _edges_of_cleaned(
    text: str, edges: tuple[tuple[float, float], ...]
) -> tuple[tuple[float, float], ...]:
    """
    Return the edges of the words that remain when *text* is cleaned.

    Words of nothing but control characters are gone; a word with other blanks in it is several.
    """
    words = [word for word in text.split(" ") if word]
    if len(words) != len(edges):
        return edges
    return tuple(
        edge
        for word, edge in zip(words, edges, strict=True)
        for _ in range(len(clean_line(word).split()))
    )


def _with_stretched_whole(lines: list[_Line]) -> list[_Line]:
    """
    Return *lines*, those in one piece whose words only justification has set wide apart.

    All gaps of such a line are alike, and it is as wide as other lines of its column.
    """
    stretched = [number for number, line in enumerate(lines) if _is_stretched(line)]
    if not stretched:
        return lines
    columns = [(line.left, line.right) for line in lines if len(line.cells) == 1]
    whole = list(lines)
    for number in stretched:
        line = lines[number]
        alike = sum(
            1
            for left, right in columns
            if abs(left - line.left) < _SAME_EDGE and abs(right - line.right) < _SAME_EDGE
        )
        if alike > 1:
            whole[number] = line._replace(cells=((line.text, line.left, line.right),))
    return whole


def _is_stretched(line: _Line) -> bool:
    if len(line.cells) < 2 or not _LEAST_STRETCHED <= len(line.edges) == len(line.cells):
        return False
    gaps = [right[0] - left[1] for left, right in pairwise(line.edges)]
    return max(gaps) - min(gaps) < _SAME_GAP


@lru_cache(maxsize=1024)
def _is_bold(font: bytes) -> bool:
    return _BOLD.search(font) is not None


def _usual_turn(textpage: Any, count: int) -> int:
    """Return by how many quarters most characters of a page are turned."""
    places = range(0, count, count // _ANGLES + 1)
    turns = Counter(
        round(angle / (math.pi / 2)) % 4
        for place in places
        if (angle := _angle(textpage, place)) > 0
    )
    if not turns:
        return 0
    turn, most = turns.most_common(1)[0]
    return turn if 2 * most > len(places) else 0


def _turned_rules(rules: Rules, turn: int) -> Rules:
    found = Rules([], [])
    for y, left, right in rules.across:
        _add_rule(found, *turned_box(turn, left, y, right, y))
    for x, bottom, top in rules.down:
        _add_rule(found, *turned_box(turn, x, bottom, x, top))
    return found


def _may_hold_table(lines: list[_Line]) -> bool:
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


def _is_loose(lines: list[_Line]) -> bool:
    """Return whether words of several lines are further apart than blanks are wide."""
    found = 0
    for line in lines:
        least = _LOOSE_GAP * line.height
        found += any(after[0] - before[1] > least for before, after in pairwise(line.edges))
        if found > 2:
            return True
    return False


def _is_ruled(page: pypdfium2.PdfPage, *, least: int = 3) -> bool:
    """Return whether *least* of the things on a page are drawn, by a look at a few of them."""
    step = pdfium.FPDFPage_CountObjects(page.raw) // _LOOKED_AT + 1
    drawn = (kind for kind in map(_object_type, _objects(page, step=step)) if kind == _PATH)
    return len(list(islice(drawn, least))) == least


def _with_bullets(page: pypdfium2.PdfPage, lines: list[_Line]) -> list[_Line]:
    """Return *lines* with the bullets that are drawn in front of them, as browsers print lists."""
    if not lines or pdfium.FPDFPage_CountObjects(page.raw) > _MAX_DRAWN:
        return lines
    most = _MOST_BULLET * max(line.height for line in lines)
    sides = (ctypes.c_float * 4)()
    places = [ctypes.byref(ctypes.c_float.from_buffer(sides, 4 * at)) for at in range(4)]
    small: list[tuple[float, float, float]] = []
    for thing in _objects(page):
        if _object_type(thing) == _PATH and _bounds(thing, *places):
            left, bottom, right, top = sides
            width = right - left
            if 0 < width < most and abs(width - (top - bottom)) < 0.2 * width:
                small.append((left, right, (bottom + top) / 2))
    if len(small) > _MAX_BULLETS:
        return lines
    marked = list(lines)
    for left, right, middle in small:
        near = [
            (line.left - right, at)
            for at, line in enumerate(lines)
            if 0 < line.left - right < 1.5 * line.height
            and line.bottom < middle < line.top
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


def _read_rules(page: pypdfium2.PdfPage) -> Rules:
    """Return the lines drawn on a page, including the sides of boxes."""
    rules = Rules([], [])
    count = pdfium.FPDFPage_CountObjects(page.raw)
    if count > _MAX_DRAWN:
        return rules
    sides = (ctypes.c_float * 4)()
    places = [ctypes.byref(ctypes.c_float.from_buffer(sides, 4 * at)) for at in range(4)]
    width, height = page.get_size()
    segments = 0
    for thing in _objects(page):
        if _object_type(thing) != _PATH or not _bounds(thing, *places):
            continue
        left, bottom, right, top = sides
        if right - left > 0.95 * width and top - bottom > 0.95 * height:
            continue
        if top - bottom < _THIN or right - left < _THIN:
            _add_rule(rules, left, bottom, right, top)
            continue
        parts = _count_segments(thing)
        if parts < 4 or right - left < _LEAST_TABLE or top - bottom < _LEAST_LINE:
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


def _words(lines: list[_Line]) -> list[Word]:
    found: list[Word] = []
    for number, line in enumerate(lines):
        texts: Sequence[str]
        if line.edges:
            texts = line.text.split(" ")
            lefts, rights = zip(*line.edges, strict=True)
        else:
            texts, lefts, rights = zip(*line.cells, strict=True)
        same = map(repeat, (line.bottom, line.top, line.bold, number, False))
        found.extend(map(_new_word, zip(texts, lefts, rights, *same, strict=False)))
        if line.hyphenated:
            found[-1] = found[-1]._replace(is_broken=True)
    return found


def _without_tables(lines: list[_Line], tables: list[Table]) -> list[_Line]:
    """Return the lines that are not part of tables."""
    taken = {word for table in tables for row in table.words for word in row}
    touched = {number for table in tables for number in table.lines}
    left: dict[int, list[Word]] = {}
    for word in _words(lines):
        if word.line in touched and word not in taken:
            left.setdefault(word.line, []).append(word)
    rest: list[_Line] = []
    for number, line in enumerate(lines):
        if number not in touched:
            rest.append(line)
        elif words := left.get(number):
            text = " ".join(word.text for word in words)
            begin, end = words[0].left, words[-1].right
            rest.append(
                line._replace(
                    text=text, left=begin, right=end, cells=((text, begin, end),), edges=()
                )
            )
    return rest


def _by_height(line: _Line, bottoms: list[float]) -> Iterator[_Line]:
    """Yield the parts of what PDFium took for one line, its words standing at many heights."""
    words = list(zip(line.text.split(" "), line.edges, bottoms, strict=True))
    height = line.height
    parts: list[tuple[float, list[tuple[str, tuple[float, float]]]]] = []
    for text, edge, place in words:
        if not parts or abs(parts[-1][0] - place) > 0.8 * height:
            parts.append((place, []))
        parts[-1][1].append((text, edge))
    for bottom, some in parts:
        cells: list[tuple[str, float, float]] = []
        for text, (left, right) in some:
            if cells and left - cells[-1][2] <= 1.5 * height:
                cells[-1] = (f"{cells[-1][0]} {text}", cells[-1][1], right)
            else:
                cells.append((text, left, right))
        yield line._replace(
            text=" ".join(text for text, _ in some),
            left=some[0][1][0],
            right=some[-1][1][1],
            bottom=bottom,
            top=bottom + height,
            cells=tuple(cells),
            edges=tuple(edge for _, edge in some),
            hyphenated=line.hyphenated and some is parts[-1][1],
        )


def _goes_back(line: _Line) -> bool:
    """Tell whether a line begins again at its left: it is several, one below the other."""
    return any(after[0] < before[0] - line.height for before, after in pairwise(line.edges))


def _is_upright(line: _Line) -> bool:
    """Return whether words of a line are narrower than their signs would be beside each other."""
    return line.text.isascii() and any(
        len(word) > 1 and right - left < 0.2 * len(word) * line.height
        for word, (left, right) in zip(line.text.split(" "), line.edges, strict=False)
    )


def _sign_by_sign(line: _Line, text: str, offset: int, characters: Characters) -> list[_Line]:
    """Return what PDFium took for a line, though its signs stand at many heights."""
    parts: list[_Line] = []
    signs = [(at, sign) for at, sign in enumerate(text, start=offset) if sign != " "]
    places = zip(*characters.sides([at for at, _ in signs]), strict=True)
    for (_, sign), (left, bottom, right, top) in zip(signs, places, strict=True):
        before = parts[-1] if parts else None
        if (
            before is not None
            and abs(before.bottom - bottom) < 0.5 * line.height
            and -0.5 * line.height < left - before.right < 0.5 * line.height
        ):
            gap = " " if left - before.right > _WORD_GAP * line.height else ""
            sign, left = f"{before.text}{gap}{sign}", before.left
            parts.pop()
        parts.append(
            line._replace(
                text=sign,
                left=left,
                right=right,
                bottom=bottom,
                top=top,
                cells=((sign, left, right),),
                edges=(),
            )
        )
    return parts


def _by_column(line: _Line, bottoms: list[float]) -> list[_Line]:
    """Return the texts of a line that run up, each in a column of its own."""
    parts: list[_Line] = []
    words = zip(line.text.split(" "), line.edges, bottoms, strict=True)
    for word, (left, right), bottom in words:
        if parts and abs(parts[-1].left - left) < 0.3 * (right - left):
            text = f"{parts[-1].text} {word}"
            side = max(parts[-1].right, right)
            parts[-1] = parts[-1]._replace(text=text, right=side, cells=((text, left, side),))
        else:
            parts.append(
                line._replace(
                    text=word,
                    left=left,
                    right=right,
                    bottom=bottom,
                    top=bottom + line.height,
                    cells=((word, left, right),),
                    edges=(),
                    runs_up=True,
                )
            )
    return parts


def _without_rulers(lines: list[_Line]) -> list[_Line]:
    """Remove line numbers in a margin and rulers along an edge."""
    numbers = [line for line in lines if line.text.isdecimal() and len(line.text) <= 4]
    dropped: set[int] = set()
    for edge in ("left", "right"):
        columns: dict[int, list[_Line]] = {}
        for line in numbers:
            columns.setdefault(round(getattr(line, edge)), []).append(line)
        for column in columns.values():
            if len(column) >= _RULER_NUMBERS and _is_series([int(line.text) for line in column]):
                dropped.update(id(line) for line in column)
    for line in lines:
        if not line.text[0].isdecimal():
            continue
        words = line.text.split()
        if (
            len(words) >= _RULER_NUMBERS
            and all(word.isdecimal() for word in words)
            and _is_series([int(word) for word in words])
        ):
            dropped.add(id(line))
    return [line for line in lines if id(line) not in dropped] if dropped else lines


def _is_series(numbers: list[int]) -> bool:
    steps = {b - a for a, b in pairwise(numbers)}
    return len(steps) == 1 and next(iter(steps)) in (-10, -5, -2, -1, 1, 2, 5, 10)


def _on_one_baseline(lines: list[_Line]) -> list[_Line]:
    """Join lines that follow each other from left to right at the same height."""
    joined: list[_Line] = []
    for line in lines:
        before = joined[-1] if joined else None
        is_below = (
            before is not None
            and line.left < before.right - 0.2 * (line.top - line.bottom)
            and not line.runs_up
        )
        if before is None or before.hyphenated or is_below:
            joined.append(line)
        elif before.runs_up and line.runs_up:
            if _goes_on_above(before, line):
                text = f"{before.text} {line.text}"
                left, right = min(before.left, line.left), max(before.right, line.right)
                joined[-1] = before._replace(
                    text=text, left=left, right=right, top=line.top, cells=((text, left, right),)
                )
            else:
                joined.append(line)
        elif _is_mark(before, line):
            joined[-1] = _with_more(before, line, raised(line.text))
        elif _is_dropped(before, line):
            gap = "" if line.left - before.right < _WORD_GAP * line.height else " "
            if before.text not in ("A", "I"):
                gap = ""
            text = before.text + gap + line.text
            joined[-1] = line._replace(
                text=text, left=before.left, cells=((text, before.left, line.right),), edges=()
            )
        elif abs(before.middle - line.middle) > 0.3 * min(before.height, line.height):
            joined.append(line)
        else:
            joined[-1] = _with_more(before, line, line.text)
    return joined


def _goes_on_above(before: _Line, line: _Line) -> bool:
    """Return whether two texts that run up are one: above each other, with a blank between them."""
    width = max(before.right - before.left, line.right - line.left)
    return (
        abs(before.left - line.left) < 0.3 * width and abs(line.bottom - before.top) < 0.8 * width
    )


def _is_mark(before: _Line, line: _Line) -> bool:
    """Recognise a raised number behind a word that is written as a line of its own."""
    return (
        len(line.text) <= _MARK_CHARS
        and raised(line.text) != line.text
        and -0.2 * line.height <= line.left - before.right < 2 * _WORD_GAP * before.height
        and before.bottom < line.middle < before.top + 0.3 * before.height
        and _is_raised(line.bottom, line.top, (before.bottom, before.top))
    )


def _is_dropped(before: _Line, line: _Line) -> bool:
    """Recognise the first letter of a text that is as tall as several of its lines."""
    return (
        len(before.text) == 1
        and before.text.isalpha()
        and before.height > _DROPPED * line.height
        and line.text[:1].islower()
        and -0.2 * line.height <= line.left - before.right < line.height
        and before.bottom <= line.middle <= before.top
    )


def _with_more(before: _Line, line: _Line, more: str) -> _Line:
    """Return *before* with the text of *line* behind it, which is read as *more*."""
    apart = line.left - before.right
    height = line.height
    is_mark = more != line.text
    is_word = is_mark or apart < _WORD_GAP * height
    gap = "" if is_word else " "
    cells = before.cells + line.cells
    if is_word or apart <= 1.5 * height:
        (text, left, _), (_, _, right) = before.cells[-1], line.cells[0]
        first = more if is_mark else line.cells[0][0]
        cells = (*before.cells[:-1], (f"{text}{gap}{first}", left, right), *line.cells[1:])
    edges: tuple[tuple[float, float], ...] = ()
    if before.edges and line.edges:
        edges = before.edges + line.edges
        if is_word:
            whole = before.edges[-1][0], line.edges[0][1]
            edges = (*before.edges[:-1], whole, *line.edges[1:])
    return before._replace(
        text=f"{before.text}{gap}{more}",
        right=line.right,
        bold=before.bold and (is_mark or line.bold),
        cells=cells,
        hyphenated=line.hyphenated,
        edges=edges,
    )


def _is_raised(bottom: float, top: float, base: tuple[float, float]) -> bool:
    """Return whether a character is smaller than those of its line and stands above their foot."""
    height, own = base[1] - base[0], top - bottom
    lift = bottom - base[0] - _DESCENT * (height - own)
    return own < _LESS_HEIGHT * height and _LEAST_RAISE * height < lift < _MOST_RAISE * height


def _with_raised(
    text: str, place: _Measured, base: tuple[float, float], characters: Characters
) -> str:
    """
    Return *text* with the digits as such that are raised at the ends of its words.

    Args:
        base: Bottom and top of the line.
    """

    def is_raised(at: int) -> bool:
        if text[at] not in _RAISED_SIGNS:
            return False
        _, (bottom,), _, (top,) = characters.sides([place.first + at])
        return _is_raised(bottom, top, base)

    lifted = [
        at
        for at, bottom, top in chain(
            zip(place.starts, place.bottoms, place.tops, strict=True),
            zip((end - 1 for end in place.ends), place.end_bottoms, place.end_tops, strict=True),
        )
        if text[at] in _RAISED_SIGNS and _is_raised(bottom, top, base)
    ]
    lifted += [at for each in place.after_raised if is_raised(at := each - place.first)]
    result = text
    done = -1
    for at in sorted(lifted):
        if at <= done:
            continue
        begin, end = at, at + 1
        while begin > 0 and is_raised(begin - 1):
            begin -= 1
        while end < len(text) and is_raised(end):
            end += 1
        done = end
        # A line of nothing else has no other letters to tell by.
        if end - begin < len(text):
            result = result[:begin] + raised(text[begin:end]) + result[end:]
    return result


def _without_wide_spaces(
    text: str, edges: tuple[tuple[float, float], ...]
) -> tuple[str, tuple[tuple[float, float], ...]] | None:
    """Return a line of letters with a blank behind each as words, None where it is none."""
    words = text.split(" ")
    letters = sum(1 for word in words if len(word) == 1 and word.isalpha())
    if len(words) != len(edges) or letters < max(_SPACED_LETTERS, _SPACED_SHARE * len(words)):
        return None
    gaps = [after[0] - before[1] for before, after in pairwise(edges)]
    usual = statistics.median(gaps)
    if max(gaps) > 4 * usual or len(set(words)) < 3:
        # Columns of single letters.
        return None
    result, places = [words[0]], [edges[0]]
    for gap, word, (left, right) in zip(gaps, words[1:], edges[1:], strict=True):
        if gap > 1.6 * usual:
            result.append(word)
            places.append((left, right))
        else:
            result[-1] += word
            places[-1] = places[-1][0], right
    return " ".join(result), tuple(places)


class _Letters(NamedTuple):
    """The letters of a line, the tallest one's height, and what they stand on."""

    letters: list[PlacedText]
    height: float
    foot: float


def _foot(textpage: Any, index: int, turn: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(textpage, index, ctypes.byref(x), ctypes.byref(y))
    return turned_box(turn, x.value, y.value, x.value, y.value)[1]


def _letters(text: str, offset: int, characters: Characters, foot: float) -> _Letters:
    own = [(at, letter) for at, letter in enumerate(text, start=offset) if not letter.isspace()]
    lefts, bottoms, rights, tops = characters.sides([at for at, _ in own])
    found = [
        PlacedText(letter, left, right)
        for (_, letter), left, right in zip(own, lefts, rights, strict=True)
    ]
    return _Letters(found, max(1.0, *map(sub, tops, bottoms)), foot)


def _read_backwards(lines: list[_Line], letters: list[_Letters]) -> list[_Line]:
    """Return the lines of a page with those that run to the left in the order of reading."""
    groups: list[tuple[_Line, _Letters]] = []
    for line, own in zip(lines, letters, strict=True):
        if groups and own.letters and (before := groups[-1][1]).letters:
            first = groups[-1][0]
            height = max(before.height, own.height)
            apart = max(line.left - first.right, first.left - line.right)
            if abs(before.foot - own.foot) < 0.3 * height and apart < height:
                joined = first._replace(
                    text=f"{first.text} {line.text}",
                    left=min(first.left, line.left),
                    right=max(first.right, line.right),
                )
                groups[-1] = joined, _Letters(before.letters + own.letters, height, before.foot)
                continue
        groups.append((line, own))
    result: list[_Line] = []
    is_backwards = False
    for line, own in groups:
        # A number that ends a sentence in a line of its own is such a line too.
        is_end = is_backwards and line.text[:1] in _ENDS and not any(map(str.isalpha, line.text))
        is_backwards = is_end or runs_left(line.text)
        if own.letters and (is_end or RIGHT_TO_LEFT.search(line.text)):
            line = _read_backwards_line(line, own, is_backwards=is_backwards)
        result.append(line)
    return result


def _read_backwards_line(line: _Line, own: _Letters, *, is_backwards: bool) -> _Line:
    words = read_from_the_right(own.letters, height=own.height, is_backwards=is_backwards)
    # Boxes of these letters are as high as the letters are.
    bottom = own.foot - _DESCENT * own.height
    line = line._replace(bottom=bottom, top=bottom + own.height)
    cells: list[tuple[str, float, float]] = []
    for word in words:
        apart = max(word.left - cells[-1][2], cells[-1][1] - word.right) if cells else 0.0
        if cells and apart <= 1.5 * line.height:
            text, left, right = cells[-1]
            cells[-1] = f"{text} {word.text}", min(left, word.left), max(right, word.right)
        else:
            cells.append((word.text, word.left, word.right))
    return line._replace(
        text=" ".join(word.text for word in words),
        cells=tuple((clean_line(text), left, right) for text, left, right in cells),
        edges=tuple((word.left, word.right) for word in words),
    )


def _cells(text: str, place: _Measured, *, wide: float) -> Iterator[tuple[str, float, float]]:
    """Yield the parts of a line that gaps of more than *wide* points separate."""
    begin, begin_left = 0, place.lefts[0]
    end, gap_left = place.ends[0], place.rights[0]
    following = zip(place.starts, place.ends, place.lefts, place.rights, strict=True)
    for word_begin, word_end, left, right in islice(following, 1, None):
        if left - gap_left > wide:
            yield clean_line(text[begin:end]), begin_left, gap_left
            begin, begin_left = word_begin, left
        end, gap_left = word_end, right
    yield clean_line(text[begin:]), begin_left, gap_left


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
    page: pypdfium2.PdfPage, lines: list[_Line], *, is_picture: bool, read: str, turn: int
) -> list[PdfFigure]:
    """Return the figures of a page; a scanned one is a figure where it shows hardly any text."""
    if is_picture or (not lines and _is_picture(page, lines)):
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
        self.unfinished: tuple[BlockKind, list[_Line]] | None = None
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
                    self.sizes[_size(line)] += len(line.text)
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
            kind, lines = self.unfinished
            self.unfinished = None
            yield from _flowing(kind, lines, self.compounds)

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
            yield from paragraph(read, page=page.number, source="ocr", lines=boxes)
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

    def _blocks(self, page: _Page, lines: list[_Line]) -> Iterator[Block | Title]:
        body = self.sizes.most_common(1)[0][0] if self.sizes else 10.0
        known = self.table.lefts if self.table is not None else None
        may_hold = known is not None or len(page.rules.down) > 2 or _may_hold_table(lines)
        tables = find_tables(_words(lines), page.rules, goes_on=known) if may_hold else []
        groups = _groups(_without_tables(lines, tables) if tables else lines, tables)
        if page.is_wide and not tables:
            groups = _as_on_a_slide(groups)
        right = max((line.right for line in lines), default=0.0)
        if self.unfinished is not None:
            _, begun = self.unfinished
            if (at := _continuation(begun, groups)) is not None and len(begun) < _MAX_OPEN_LINES:
                begun.extend(groups.pop(at).lines)
                if groups or not _is_unfinished(begun, right=right):
                    yield from self._finish()
            else:
                yield from self._finish()
        begun_here: tuple[BlockKind, list[_Line]] | None = None
        if self.unfinished is None:
            at = len(groups) - 1
            # Footnotes stand below the text, in smaller type.
            while at > 0 and groups[at].lines and max(map(_size, groups[at].lines)) < 0.95 * body:
                at -= 1
            if at >= 0 and groups[at].is_text and _is_unfinished(groups[at].lines, right=right):
                text, _, _ = _joined(groups[at].lines, self.compounds)
                if not self._heading_level(page, groups[at].lines, text, body):
                    begun_here = groups[at].kind, groups.pop(at).lines
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
            text, boxes, _ = _joined(group.lines, self.compounds)
            is_caption = len(text) <= MAX_CAPTION_CHARS and CAPTION.match(text)
            caption = text if is_caption else ""
            level = self._heading_level(page, group.lines, text, body)
            if level:
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
        largest = max((_size(lines[0]) for lines in texts), default=0.0)
        if largest < _LARGER * body:
            return
        large = [lines for lines in texts if _size(lines[0]) == largest]
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

    def _heading_level(self, page: _Page, group: list[_Line], text: str, body: float) -> int:
        """Return the level of a heading from 1, 0 for body text."""
        if len(text) > 200 or len(group) > 3 or not any(c.isalpha() for c in text):
            return 0
        if self.outlined:
            folded = _fold(text) if page.outline else ""
            for title, level in page.outline.items():
                if folded == title or (folded.endswith(title) and len(folded) <= len(title) + 12):
                    return level
            return 0
        size = max(_size(line) for line in group)
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
    lines: list[_Line]
    table: Table | None = None

    @property
    def is_text(self) -> bool:
        return self.table is None and self.kind != "row"


def _groups(lines: list[_Line], tables: list[Table]) -> list[_Group]:
    """Return the paragraphs of a page, with tables in reading order."""
    pitches = [
        a.middle - b.middle for a, b in pairwise(lines) if 0 < a.middle - b.middle < 4 * a.height
    ]
    pitch = statistics.median(pitches) if pitches else 0.0
    right = max((line.right for line in lines), default=0.0)
    left = min((line.left for line in lines), default=0.0)
    # Where most paragraphs have one line, the usual distance is that of paragraphs.
    wrapped = [
        a.middle - b.middle
        for a, b in pairwise(lines)
        if 0 < a.middle - b.middle < 4 * a.height
        and a.right > right - 0.12 * (right - left)
        and abs(a.left - b.left) < a.height
    ]
    pitch = min(pitch, statistics.median_low(wrapped)) if wrapped else pitch
    groups: list[_Group] = []

    def add(part: list[_Line]) -> None:
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


def _placed(tables: list[Table], lines: list[_Line]) -> list[tuple[int, list[Table]]]:
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


def _flowing(kind: BlockKind, lines: list[_Line], compounds: Container[str]) -> Iterator[Block]:
    """Yield a paragraph that may span several pages."""
    text, boxes, page_starts = _joined(lines, compounds)
    yield from paragraph(text, kind=kind, page=lines[0].page, lines=boxes, page_starts=page_starts)


def _is_unfinished(lines: list[_Line], *, right: float) -> bool:
    """Return whether the sentence of a paragraph may go on behind it."""
    last = lines[-1]
    if last.hyphenated:
        return True
    if _SENTENCE_END.search(last.text[-8:]) or last.text.endswith(":"):
        return False
    # The last line reaches the margin: of the page, or of its own column.
    widest = max(line.right for line in lines)
    return len(lines) > 1 and last.right >= widest - 6 * last.height and (last.right >= 0.4 * right)


def _continuation(begun: list[_Line], groups: list[_Group]) -> int | None:
    """Return which of the first paragraphs of a page goes on with *begun*."""
    last = begun[-1]
    for at, group in enumerate(groups[:4]):
        if group.table is not None or group.kind != "paragraph":
            continue
        lines = group.lines
        first = lines[0]
        if abs(_size(first) - _size(last)) > 0.15 * _size(last):
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


def _without_stamps(lines: list[_Line], page: _Page, window: Iterable[_Page]) -> list[_Line]:
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


def _size(line: _Line) -> float:
    return round(line.height * 2) / 2


def _fold(text: str) -> str:
    return _NOT_WORD.sub("", clean(text).casefold())


def _without_running_lines(page: _Page, window: Iterable[_Page], *, pages: int) -> list[_Line]:
    """Return the lines of *page* without those that nearby pages have at the same edge."""
    own = page.edge_lines
    if not own:
        return page.lines
    near = [
        other.edge_lines
        for other in window
        if other is not page and abs(other.number - page.number) <= _WINDOW_PAGES
    ]
    dropped: list[_Line] = []
    for key, line in own:
        seen = sum(
            any(k == key and abs(o.middle - line.middle) < 6 for k, o in other) for other in near
        )
        # A bare page number needs one witness, words need two where there are so many pages.
        is_number = not any(c.isalpha() for c in key.replace("#", ""))
        is_page_number = _PAGE_NUMBER.fullmatch(key) is not None
        needed = 0 if is_page_number else 1 if is_number or pages <= _SHORT_PAGES else 2
        if seen < needed and (ahead := _ahead(line)) is not None:
            # A chapter's name beside the page number, on a few pages each.
            seen = sum(
                any(_ahead(o) == ahead and abs(o.middle - line.middle) < 6 for _, o in other)
                for other in near
            )
        if seen >= needed:
            dropped.append(line)
    return [line for line in page.lines if not any(line is other for other in dropped)]


def _ahead(line: _Line) -> int | None:
    """Return by how much a number at an end of a line, set apart, is ahead of that of the page."""
    if len(line.cells) > 1:
        for text in (line.cells[0][0], line.cells[-1][0]):
            if text.isdecimal() and len(text) <= _PAGE_DIGITS:
                return int(text) - line.page
    return None


def _is_between(line: _Line, down: list[tuple[float, float, float]]) -> bool:
    """Return whether lines are drawn on both sides of a line of text, as around cells."""
    beside = [x for x, bottom, top in down if bottom < line.middle < top]
    return bool(beside) and min(beside) < line.left + 3 and max(beside) > line.right - 3


def _edge_lines(page: _Page) -> list[tuple[str, _Line]]:
    """
    Return the lines that a gap sets off at the top and the bottom, numbers folded.

    Where no gap does, the outermost line counts, with its numbers, unless it is one.
    """
    lines = sorted(page.lines, key=lambda line: -line.middle)
    if len(page.rules.down) > 2:
        down = [rule for rule in page.rules.down if rule[2] - rule[1] > _LEAST_TABLE]
        lines = [line for line in lines if not _is_between(line, down)]
    if len(lines) < 2:
        # Beside a table a line stands alone.
        alone = [line for line in lines if len(page.lines) > 1]
        return [(_DIGITS.sub("#", line.text), line) for line in alone]
    pitch = statistics.median(a.middle - b.middle for a, b in pairwise(lines))
    found: dict[int, tuple[str, _Line]] = {}
    for order in (lines, lines[::-1]):
        gaps = [abs(a.middle - b.middle) for a, b in pairwise(order[: _EDGE_LINES + 1])]
        end = next((i + 1 for i in reversed(range(len(gaps))) if gaps[i] > 1.6 * pitch), 0)
        for line in order[:end]:
            found[id(line)] = (_DIGITS.sub("#", line.text), line)
        if not end and not (order is lines and _heads_columns(*order[:2])):
            folded = _DIGITS.sub("#", order[0].text)
            is_number = not any(c.isalpha() for c in folded) or _PAGE_NUMBER.fullmatch(folded)
            found[id(order[0])] = (folded if is_number else order[0].text, order[0])
    return [(key, line) for key, line in found.values() if len(key) <= 200]


def _heads_columns(line: _Line, below: _Line) -> bool:
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


def _in_reading_order(lines: list[_Line]) -> list[_Line]:
    """
    Return *lines* column by column where the page has columns of text.

    Without columns the order of the content stands: producers write it in reading order.
    """
    pieces: list[_Line] = []
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
    if len(pieces) < 6:
        return lines
    # A short title above the columns reaches over the gap between them.
    top = _titles_above(pieces)
    if not (columns := _split_columns(pieces[top:])):
        return lines
    columns = [*pieces[:top], *columns]
    return columns


def _titles_above(pieces: list[_Line]) -> int:
    """Return how many of the first lines are larger than the text below."""
    usual = statistics.median(map(_size, pieces))
    count = 0
    while count < _EDGE_LINES and _size(pieces[count]) > 1.15 * usual:
        count += 1
    highest = max((line.middle for line in pieces[count:]), default=0.0)
    return count if all(line.middle > highest for line in pieces[:count]) else 0


def _edges_of_cell(
    line: _Line, text: str, left: float, right: float
) -> tuple[tuple[float, float], ...]:
    edges = tuple(edge for edge in line.edges if left - 0.1 <= edge[0] and edge[1] <= right + 0.1)
    return edges if len(edges) == text.count(" ") + 1 else ()


def _split_columns(pieces: list[_Line]) -> list[_Line]:
    """Return *pieces* ordered by bands and columns, [] if no band has columns."""
    left = min(piece.left for piece in pieces)
    right = max(piece.right for piece in pieces)
    ordered = sorted(pieces, key=lambda piece: -piece.middle)
    result: list[_Line] = []
    band: list[_Line] = []
    found = False
    for piece in [*ordered, None]:
        if piece is not None and piece.right - piece.left < 0.6 * (right - left):
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


def _columns(band: list[_Line], *, depth: int = 0) -> list[_Line]:
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
        for line in columns or sorted(side, key=lambda p: -p.middle)
    ]


def _paragraphs(
    lines: list[_Line], *, pitch: float, right: float
) -> Iterator[tuple[BlockKind, list[_Line]]]:
    """Yield the lines of each paragraph, list item or table row."""
    group: list[_Line] = []
    kind: BlockKind = "paragraph"
    for i, line in enumerate(lines):
        is_item = len(line.cells) == 2 and is_marker(line.cells[0][0])
        if len(line.cells) > 1 and not is_item and _is_row(lines, i):
            if group:
                yield kind, group
            yield "row", [line]
            group, kind = [], "paragraph"
            continue
        if group and (is_item or not _continues(group[-1], line, pitch=pitch, right=right)):
            yield kind, group
            group = []
        if not group:
            kind = "item" if is_item or _BULLET.match(line.text) else "paragraph"
        group.append(line)
    if group:
        yield kind, group


def _is_row(lines: list[_Line], i: int) -> bool:
    """Return whether a neighbour of line *i* has cells too, one of them under one of its own."""
    own = lines[i]
    for j in (i - 1, i + 1):
        if 0 <= j < len(lines) and len(lines[j].cells) > 1:
            for _, left, right in own.cells[1:]:
                if any(left < r and s < right for _, s, r in lines[j].cells[1:]):
                    return True
    return False


def _continues(before: _Line, line: _Line, *, pitch: float, right: float) -> bool:
    """Return whether *line* goes on with the paragraph that *before* ends so far."""
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
    if drop > max(1.3 * pitch, (1.35 if height > 1.3 * pitch else 0.9) * height):
        return False
    size = _size(before)
    if abs(_size(line) - size) > 0.15 * size or (line.bold and not before.bold):
        return False
    ended = _SENTENCE_END.search(before.text[-8:]) is not None
    if before.bold and not line.bold and (ended or before.right < 0.8 * right):
        return False
    if ended and line.left > before.left + 0.8 * line.height:
        return False
    return not (ended and before.right < right - 0.15 * (right - before.left))


def _joined(
    lines: list[_Line], compounds: Container[str] = frozenset()
) -> tuple[str, tuple[LineBox, ...], tuple[PageStart, ...]]:
    """
    Return *lines* as one paragraph, with hyphenated words joined.

    With it comes where its lines stand, and where in it further pages begin.

    Args:
        compounds: Words that the document writes with a hyphen within its lines.
    """
    text = ""
    hyphenated = False
    boxes: list[LineBox] = []
    page_starts: list[PageStart] = []
    page = lines[0].page
    for line in lines:
        if text and hyphenated:
            # PDFium takes away any hyphen that a line ends with.
            if SUSPENDED.match(line.text):
                text += "- "
            elif not line.text[:1].islower() or keeps_hyphen(text, line.text, compounds):
                text += "-"
        elif text:
            if not _HYPHEN.search(text) or SUSPENDED.match(line.text):
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
    return text, tuple(boxes), tuple(page_starts)


def _line_box(line: _Line, *, position: int) -> LineBox:
    words: tuple[WordBox, ...] = ()
    if line.edges:
        lefts, rights = zip(*line.edges, strict=True)
        lengths = [len(word) + 1 for word in line.text.split(" ")]
        offsets = accumulate(lengths[:-1], initial=0)
        words = tuple(map(_new_word_box, zip(offsets, lefts, rights, strict=True)))
    return LineBox(
        position,
        line.page,
        line.bottom,
        line.top,
        words or (WordBox(0, line.left, line.right),),
    )


def _row_box(line: _Line) -> LineBox:
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
