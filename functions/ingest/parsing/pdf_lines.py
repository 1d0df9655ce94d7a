"""The lines of text on a page of a PDF, and where their words stand."""

from __future__ import annotations

import ctypes
import math
import re
import statistics
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate, groupby, pairwise, repeat
from operator import add, attrgetter, itemgetter, sub
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

from .blocks import clean_line, raised
from .pdf_characters import Characters, Sides, direct, turned_box
from .writing_direction import RIGHT_TO_LEFT, runs_left
from .writing_direction import Placed as PlacedText
from .writing_direction import read_line as read_from_the_right

# A line in heights of its first or last character.
_MAX_TALLER = 1.6
_LESS_TALL = 0.8
# Gaps between the words of one justified line, in points.
_SAME_GAP = 0.75
_SAME_EDGE = 1.5
_LEAST_STRETCHED = 3
# Between narrow columns, in heights of the line; so many words stand below those of another row.
_NARROW_GAP = 0.6
_LEAST_ROWS = 3
_LEAST_IN_ROW = 4
_MOST_IN_ROW = 100
_ALIKE_SHARE = 0.75
# Characters that are looked at to tell how a page's text is turned.
_ANGLES = 12
# What is written across a page is larger, in points; how far its angle is from the next quarter.
_WATERMARK = 18.0
_SLANT = 0.15
# So many numbers in steps of the same size are a ruler or the numbers of lines.
_RULER_NUMBERS = 8
_MAX_RULER_DIGITS = 4
# Numbers of lines end at one place and stand at one distance, in points; the text that they count
# goes on with sentences.
_RULER_EDGE = 14.0
_SAME_PITCH = 1.5
_PROSE_SHARE = 0.25
_LEAST_PROSE_CHARS = 30
# Between such a number and the text, in heights of the line.
_RULER_GAP = 0.5
_LINE = re.compile("[^\r\n\ufffe]+")
# Dots or lines that lead the eye, and what is nothing else.
_LEADERS = re.compile(r"(?:[.·…]\s?){4,}|_{3,}")
_LEADER_MARKS = re.compile(r"\. ?\.|[…·]|___")
# What a page with such dots or lines holds, before its lines are cleaned.
_MAY_LEAD = re.compile(r"\.\W*\.|[·…_]")
_ORNAMENT = re.compile(r"[\s.·…_\-=*|+~—–•#<>/\\]{2,}|[|_=~·—–]")
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
# Ligatures as Ghostscript 10.0 names them: the bytes of each letter are swapped.
_SWAPPED = re.compile("[\u6600\u7300\u7400][\u6600\u6900\u6a00\u6c00\u7400]{1,2}")
_UNSWAPPED = str.maketrans("\u6600\u6900\u6a00\u6c00\u7300\u7400", "fijlst")
_ACCENT = re.compile(f"[{''.join(_ACCENTS)}]")
_DOTLESS = str.maketrans("\u0131\u0237", "ij")
# How much of an accent stands over its letter.
_LEAST_OVER = 0.4
# A minus sign before a letter or another one is a hyphen of a font, as that of --option.
_NO_MINUS = re.compile(r"\u2212(?=\u2212?[^\W\d_])")
_RAISED_SIGNS = frozenset("0123456789+-\u2212")
_RAISED_DIGITS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹")
# A mark behind it, and then another word.
_RAISED_BEFORE_MARK = re.compile(r"[0-9+\-\u2212](?=[.,;:)] |,[0-9])")
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
# Drawings have more lines; how far a letter may reach over one, in points.
_MAX_WALLS = 1_000
_WALL = 0.7
# Between the mark of an item and its text, in heights of the line.
_MARK_GAP = 3.0
_MAX_MARKS = 300
_MAX_MARKER_CHARS = 30
_MARKER = re.compile(
    r"""[•◦▪‣∙●○■□–*-]|[☐☑☒✓✔]|\[[ x]\]
      |\(?(?:\d{1,3}|[a-zA-Z]|[ivxlcIVXLC]{1,7})[.)]
      |(?:[A-Z][a-z]{2,9}\s)?(?:\d{1,3}|[IVXLC]{1,7})(?:\.\d{1,3})*\.
      |(?:\d{1,3}|[IVXLC]{1,7})(?:\.\d{1,3})+|§+\s?\d{1,4}[a-z]?""",
    re.VERBOSE,
)
# A first letter over several lines is taller.
_DROPPED = 1.6
# What Wingdings and Symbol have in Unicode's private area, as Word writes bullets and boxes.
_SYMBOLS = str.maketrans(
    {"\uf0b7": "•", "\uf0a7": "▪", "\uf0d8": "➢", "\uf076": "❖", "\uf0fc": "✓", "\uf0e0": "→"}
    | {"\uf0fe": "☒", "\uf0fd": "☒", "\uf052": "☑", "\uf06f": "☐", "\uf0a8": "☐", "\uf0a3": "☐"}
)
_SYMBOL = re.compile("[\uf020-\uf0ff]")
_DIGIT = re.compile(r"\d")
_BOLD = re.compile(rb"bold|black|heavy|semibold|cmbx|medi", re.IGNORECASE)
_MONO = re.compile(rb"mono|courier|consol|typewriter|cmtt|lmtt|menlo|sftt", re.IGNORECASE)
_angle = direct(pdfium.FPDFText_GetCharAngle)


class Line(NamedTuple):
    """
    A run of text on one line of the page; coordinates in points from the lower left corner.

    Attributes:
        cells: Parts between wide gaps, each (text, left, right); one where there are none.
        edges: (left, right) of each word; empty if they are unknown.
        leads: Dots led from its text to a page number.
        runs_up: Its letters stand above each other, as in narrow columns' names.
        mono: Its letters are all as wide as each other, as those of code.
        size: Its height to the half point, which tells the size of its type.
        hyphenated: PDFium found a hyphen at its end that only the line break put there.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    bold: bool
    cells: tuple[tuple[str, float, float], ...]
    hyphenated: bool
    page: int
    edges: tuple[tuple[float, float], ...]
    leads: bool
    runs_up: bool
    mono: bool
    height: float
    middle: float
    size: float


def is_marker(text: str) -> bool:
    """Tell the number or mark of a list's item or of a heading: 1., (a), 2.1, Article II., •."""
    return len(text) < _MAX_MARKER_CHARS and _MARKER.fullmatch(text) is not None


# Half the time of calling the class, which checks how many values it gets.
_new_line: Callable[[tuple[object, ...]], Line] = partial(tuple.__new__, Line)


def make_line(
    text: str,
    left: float,
    bottom: float,
    right: float,
    top: float,
    *,
    bold: bool,
    cells: tuple[tuple[str, float, float], ...],
    page: int,
    hyphenated: bool = False,
    edges: tuple[tuple[float, float], ...] = (),
    leads: bool = False,
    runs_up: bool = False,
    mono: bool = False,
) -> Line:
    """Return a line with what follows from its sides."""
    height = top - bottom if top - bottom > 0.1 else 0.1
    sides = height, (top + bottom) / 2, round(height * 2) / 2
    whole = text, left, bottom, right, top, bold, cells, hyphenated, page, edges, leads
    return _new_line((*whole, runs_up, mono, *sides))


def _moved(line: Line, bottom: float, top: float) -> Line:
    height = top - bottom if top - bottom > 0.1 else 0.1
    return line._replace(
        bottom=bottom,
        top=top,
        height=height,
        middle=(top + bottom) / 2,
        size=round(height * 2) / 2,
    )


def read_lines(
    page: pypdfium2.PdfPage, number: int, *, walls: Sequence[tuple[float, float, float]] = ()
) -> tuple[int, list[Line]]:
    """
    Return the lines of page *number* in the order of its content, and how far they are turned.

    Their coordinates are rotated back, so that text runs to the right.

    Args:
        walls: Lines drawn down the page, (x, bottom, top): they part words that touch.
    """
    textpage = page.get_textpage()
    try:
        count = textpage.count_chars()
        if count <= 0:
            return 0, []
        text = textpage.get_text_range()
        handle = textpage.raw
        lines: list[Line] = []
        turn = _usual_turn(handle, count)
        if turn or len(walls) > _MAX_WALLS:
            walls = ()
        characters = Characters(handle, is_exact=len(text) == count, turn=turn)
        is_cork = _CORK_SIGN.search(text) is not None
        if is_cork:
            text = text.translate(_CORK)
        is_ascii = text.isascii()
        if not is_ascii and "\u2212" in text:
            text = _NO_MINUS.sub("-", text)
        if not is_ascii and _SWAPPED.search(text):
            text = _SWAPPED.sub(lambda found: found.group().translate(_UNSWAPPED), text)
        runs_back = not is_ascii and RIGHT_TO_LEFT.search(text) is not None
        # Most pages hold none of these, and their lines need no look.
        has_symbols = not is_ascii and _SYMBOL.search(text) is not None
        has_accents = _ACCENT.search(text) is not None
        may_lead = _MAY_LEAD.search(text) is not None
        letters: list[_Letters] = []
        # Lines with wide gaps that may be rows of narrow columns.
        loose: list[int] = []
        is_narrow = False
        spans, starts, ends = _spans(text)
        words = _Words(starts, ends, characters.sides(starts), characters.sides(ends))
        page_lefts, page_bottoms, _, tops = words.first
        _, page_end_bottoms, page_rights, end_tops = words.last
        middles = characters.sides([middle for *_, middle, _ in spans])
        raised_ends = [match.start() for match in _RAISED_BEFORE_MARK.finditer(text)]
        for (stripped, first, begin, end, middle, is_hyphenated), middle_bottom, middle_top in zip(
            spans, middles.bottom, middles.top, strict=True
        ):
            lefts, rights = page_lefts[begin:end], page_rights[begin:end]
            bottoms, end_bottoms = page_bottoms[begin:end], page_end_bottoms[begin:end]
            left, right = lefts[0], rights[-1]
            first_bottom, first_top = bottoms[0], tops[begin]
            end_bottom, end_top = end_bottoms[-1], end_tops[end - 1]
            bottom, top = first_bottom, first_top
            if len(stripped) > 3:
                # A sign of another font in the middle says nothing of the line.
                own, one, other = middle_top - middle_bottom, top - bottom, end_top - end_bottom
                is_tall = 0 < _MAX_TALLER * max(one, other) < own
                is_low = own < _LESS_TALL * one and abs(one - other) < 0.1
                if not is_tall and not is_low:
                    bottom, top = middle_bottom, middle_top
                if text[middle] in _RAISED_SIGNS:
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
            if (
                height > _WATERMARK
                and len(spans) > 1
                and _is_slanted(_angle(handle, characters.index(middle)))
            ):
                continue
            font = characters.font(middle)
            bold, mono = _style(font)
            if mono:
                # One word of a line may be code, too.
                sides = first, first + len(stripped) - 1
                mono = all(_style(characters.font(at))[1] for at in sides)
            if has_symbols and "\uf020" <= max(stripped) <= "\uf0ff":
                stripped = stripped.translate(_SYMBOLS)
            if has_accents and _ACCENT.search(stripped):
                stripped = _with_accents(stripped, first, characters)
            if runs_back:
                at = next(
                    (i for i, sign in enumerate(stripped) if not unicodedata.combining(sign)), 0
                )
                foot = _foot(handle, characters.index(first + at), turn)
                letters.append(_letters(stripped, first, characters, foot))
            least = bottom + _LEAST_RAISE * height
            highest = max(bottoms)
            maybe: list[int] = []
            if raised_ends:
                behind = bisect_right(raised_ends, first + len(stripped))
                maybe += raised_ends[bisect_left(raised_ends, first) : behind]
            for lows, places in ((bottoms, starts), (end_bottoms, ends)):
                if max(lows) > least:
                    some = zip(places[begin:end], lows, strict=True)
                    maybe += [at for at, low in some if low > least]
            if maybe:
                maybe = [at - first for at in maybe if text[at] in _RAISED_SIGNS]
            if maybe:
                stripped = _with_raised(stripped, first, maybe, (bottom, top), characters)
            widest = max(map(sub, lefts[1:], rights), default=0.0)
            if widest > 1.5 * height:
                cells = tuple(_cells(stripped, first, words, begin, end, wide=1.5 * height))
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
            if cleaned.count(" ") + 1 != len(edges):
                edges = _edges_of_cleaned(stripped, edges)
            if bold and len(edges) > 1 and stripped[-1] not in _RAISED_DIGITS:
                # The first words may be bold, and the rest of a row or of a sentence not.
                bold, _ = _style(characters.font(first + len(stripped) - 1))
            leads = (
                may_lead
                and _LEADER_MARKS.search(cleaned) is not None
                and _LEADERS.search(cleaned) is not None
            )
            if leads:
                cleaned = clean_line(_LEADERS.sub(" ", cleaned))
                cells = tuple(
                    (clean_line(_LEADERS.sub(" ", cell)), begin, end) for cell, begin, end in cells
                )
                cells = tuple(cell for cell in cells if cell[0])
                edges = ()
            if walls and len(edges) == end - begin:
                middle_height = (bottom + top) / 2
                crossed = [
                    x for x, low, high in walls if left < x < right and low < middle_height < high
                ]
                if crossed and (
                    parted := _parted(cleaned, edges, starts[begin:end], crossed, characters)
                ):
                    cleaned, edges = parted
                    cells = _cells_of(cleaned, edges, crossed, wide=1.5 * height)
            if (
                len(edges) >= _SPACED_LETTERS
                and len(cleaned) < 2.5 * len(edges)
                and (spaced := _without_wide_spaces(cleaned, edges))
            ):
                cleaned, edges = spaced
                cells = ((cleaned, left, right),)
            line = make_line(
                cleaned,
                min(left, right),
                bottom,
                max(left, right),
                top,
                bold=bold,
                cells=cells,
                page=number,
                hyphenated=is_hyphenated,
                edges=edges if cleaned.count(" ") + 1 == len(edges) else (),
                leads=leads,
                mono=mono,
            )
            apart = 0.0
            if (
                highest - min(bottoms) > 0.8 * height
                and len(bottoms) > 1
                # Words may have been joined.
                and len(line.edges) == len(bottoms)
            ):
                apart = max(bottoms[1:]) - min(bottoms[1:])
            if first_bottom - end_bottom > 0.8 * height and _is_upright(line):
                # Signs below each other, each of them a cell.
                parts = _sign_by_sign(line, stripped, first, characters)
                letters.extend([_Letters([], 0.0, 0.0)] * (len(parts) - 1) if runs_back else [])
                lines.extend(parts)
            elif apart > 0.8 * height and (len(cells) > 1 or _goes_back(line)):
                places = starts[begin:end]
                angles = [_angle(handle, characters.index(place)) for place in places]
                runs_up = [(round(angle / (math.pi / 2)) - turn) % 2 == 1 for angle in angles]
                parts = _by_place(line, bottoms, runs_up)
                letters.extend([_Letters([], 0.0, 0.0)] * (len(parts) - 1) if runs_back else [])
                lines.extend(parts)
            else:
                if len(stripped) > 1 and end_bottom - first_bottom > line.height > right - left:
                    # Letters above each other: it runs up.
                    line = line._replace(edges=(), runs_up=True)
                if widest > _NARROW_GAP * height and not mono and _holds_numbers(line.text):
                    loose.append(len(lines))
                    is_narrow = is_narrow or any(
                        _NARROW_GAP * height < gap <= 1.5 * height
                        for gap in map(sub, lefts[1:], rights)
                    )
                lines.append(line)
        if is_narrow and len(loose) >= _LEAST_ROWS and not runs_back:
            lines = _with_narrow_columns(lines, loose)
        if runs_back:
            lines = _read_backwards(lines, letters, walls)
        # As the lines' coordinates are: what is seen of a page may be turned, and begin elsewhere.
        box_left, box_bottom, box_right, box_top = page.get_bbox()
        if turn:
            box_left, box_bottom, box_right, box_top = turned_box(
                turn,
                min(box_left, box_right),
                min(box_bottom, box_top),
                max(box_left, box_right),
                max(box_bottom, box_top),
            )
        least_right, most_left = min(box_left, box_right) - 1, max(box_left, box_right) + 1
        least_top, most_bottom = min(box_bottom, box_top) - 1, max(box_bottom, box_top) + 1
        return turn, _without_rulers(
            _on_one_baseline(
                _with_markers(
                    [
                        line
                        for line in _with_stretched_whole(lines)
                        if line.text
                        and line.cells
                        and (line.text[0].isalnum() or not _ORNAMENT.fullmatch(line.text))
                        and line.right > least_right
                        and line.left < most_left
                        and line.top > least_top
                        and line.bottom < most_bottom
                    ]
                )
            )
        )
    finally:
        textpage.close()


class _Words(NamedTuple):
    """Positions of the first and the last characters of words, and their sides."""

    starts: list[int]
    ends: list[int]
    first: Sides
    last: Sides


# A line of a page's text without white space around it, its position there, its first word and
# that behind its last, of those of the page, a character in its middle, and whether a hyphen ends
# it that only the line break put there.
_Span = tuple[str, int, int, int, int, bool]


def _spans(text: str) -> tuple[list[_Span], list[int], list[int]]:
    """Return the lines that hold more than white space, and where words begin and end."""
    found: list[_Span] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _LINE.finditer(text):
        raw = match.group()
        stripped = raw.strip()
        if not stripped:
            continue
        begin, end = len(starts), match.end()
        first = end - len(raw.lstrip())
        words = stripped.split(" ")
        # Where each word begins, and where one behind the last would.
        places = list(accumulate(map(add, map(len, words), repeat(1)), initial=first))
        if "" in words:
            # Of several blanks each but one is a word of nothing.
            for at, word in zip(places, words, strict=False):
                if word:
                    starts.append(at)
                    ends.append(at + len(word) - 1)
        else:
            starts += places[:-1]
            ends += map(sub, places[1:], repeat(2))
        middle = first + (len(stripped) - 1) // 2
        # What PDFium puts between words has no place of its own.
        middle += text[middle] == " "
        is_hyphenated = text[end : end + 1] == "\ufffe"
        found.append((stripped, first, begin, len(starts), middle, is_hyphenated))
    return found, starts, ends


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


def _with_narrow_columns(lines: list[Line], loose: list[int]) -> list[Line]:
    """
    Return *lines*, those parted at narrow gaps whose words stand below each other.

    Args:
        loose: The numbers of those with gaps that are wider than blanks.
    """
    parted = list(lines)
    run: list[int] = []
    for at in [*loose, -1]:
        if run and at == run[-1] + 1 and _are_rows(lines[run[-1]], lines[at]):
            run.append(at)
            continue
        if len(run) >= _LEAST_ROWS:
            for row in run:
                line = lines[row]
                cells = _cells_of(line.text, line.edges, [], wide=_NARROW_GAP * line.height)
                parted[row] = line._replace(cells=cells)
        run = [at]
    return parted


def _holds_numbers(text: str) -> bool:
    words = text.split(" ")
    return 2 * sum(1 for word in words if _DIGIT.search(word)) >= len(words)


def _are_rows(line: Line, below: Line) -> bool:
    """Return whether most words of a line stand below those of another one."""
    if not _LEAST_IN_ROW <= len(line.edges) <= _MOST_IN_ROW:
        return False
    if not _LEAST_IN_ROW <= len(below.edges) <= _MOST_IN_ROW:
        return False
    alike = sum(
        1
        for left, right in below.edges
        if any(
            abs(left - begin) < _SAME_EDGE
            or abs(right - end) < _SAME_EDGE
            or abs(left + right - begin - end) < 2 * _SAME_EDGE
            for begin, end in line.edges
        )
    )
    return alike >= _ALIKE_SHARE * len(below.edges)


def _with_stretched_whole(lines: list[Line]) -> list[Line]:
    """
    Return *lines*, those in one piece whose words only justification has set wide apart.

    All gaps of such a line are alike, and it is as wide as other lines of its column.
    """
    stretched = [
        number for number, line in enumerate(lines) if len(line.cells) > 1 and _is_stretched(line)
    ]
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


def _is_stretched(line: Line) -> bool:
    if not _LEAST_STRETCHED <= len(line.edges) == len(line.cells):
        return False
    gaps = [right[0] - left[1] for left, right in pairwise(line.edges)]
    return max(gaps) - min(gaps) < _SAME_GAP


@lru_cache(maxsize=1024)
def _style(font: bytes) -> tuple[bool, bool]:
    """Return whether a font is bold, and whether its letters all have one width."""
    return _BOLD.search(font) is not None, _MONO.search(font) is not None


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


def _is_slanted(angle: float) -> bool:
    """Return whether text runs neither along the page nor up or down: a watermark does."""
    return angle > 0 and _SLANT < angle % (math.pi / 2) < math.pi / 2 - _SLANT


def _by_place(line: Line, bottoms: list[float], runs_up: list[bool]) -> list[Line]:
    """Return what PDFium took for one line, its words standing at many places."""
    words = list(zip(runs_up, line.text.split(" "), line.edges, bottoms, strict=True))
    parts: list[Line] = []
    for is_up, some in groupby(words, key=itemgetter(0)):
        _, texts, edges, places = zip(*some, strict=True)
        is_last = line.edges[-1] is edges[-1]
        own = line._replace(
            text=" ".join(texts), edges=edges, hyphenated=line.hyphenated and is_last
        )
        parts += _by_column(own, places) if is_up else _by_height(own, places)
    return parts


def _by_height(line: Line, bottoms: Sequence[float]) -> Iterator[Line]:
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
        yield _moved(line, bottom, bottom + height)._replace(
            text=" ".join(text for text, _ in some),
            left=some[0][1][0],
            right=some[-1][1][1],
            cells=tuple(cells),
            edges=tuple(edge for _, edge in some),
            hyphenated=line.hyphenated and some is parts[-1][1],
        )


def _goes_back(line: Line) -> bool:
    """Tell whether a line begins again at its left: it is several, one below the other."""
    return any(after[0] < before[0] - line.height for before, after in pairwise(line.edges))


def _is_upright(line: Line) -> bool:
    """Return whether words of a line are narrower than their signs would be beside each other."""
    return line.text.isascii() and any(
        len(word) > 1 and right - left < 0.2 * len(word) * line.height
        for word, (left, right) in zip(line.text.split(" "), line.edges, strict=False)
    )


def _sign_by_sign(line: Line, text: str, offset: int, characters: Characters) -> list[Line]:
    """Return what PDFium took for a line, though its signs stand at many heights."""
    parts: list[Line] = []
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
            _moved(line, bottom, top)._replace(
                text=sign, left=left, right=right, cells=((sign, left, right),), edges=()
            )
        )
    return parts


def _by_column(line: Line, bottoms: Sequence[float]) -> list[Line]:
    """Return the texts of a line that run up, each in a column of its own."""
    parts: list[Line] = []
    words = zip(line.text.split(" "), line.edges, bottoms, strict=True)
    for word, (left, right), bottom in words:
        if parts and abs(parts[-1].left - left) < 0.3 * (right - left):
            text = f"{parts[-1].text} {word}"
            side = max(parts[-1].right, right)
            parts[-1] = parts[-1]._replace(text=text, right=side, cells=((text, left, side),))
        else:
            parts.append(
                _moved(line, bottom, bottom + line.height)._replace(
                    text=word,
                    left=left,
                    right=right,
                    cells=((word, left, right),),
                    edges=(),
                    runs_up=True,
                )
            )
    return parts


def _with_markers(lines: list[Line]) -> list[Line]:
    """Return *lines* with the marks of items that follow somewhere after them in front of them."""
    places = [at for at, line in enumerate(lines) if is_marker(line.text)]
    if not 0 < len(places) <= _MAX_MARKS:
        return lines
    marked = list(lines)
    gone: set[int] = set()
    for place in places:
        mark = lines[place]
        beside = [
            (line.left - mark.right, at)
            for at, line in enumerate(lines[:place])
            if line.bottom < mark.middle < line.top
            and 0 <= line.left - mark.right < _MARK_GAP * line.height
            and not is_marker(line.text)
        ]
        if not beside or marked[(at := min(beside)[1])] is not lines[at]:
            continue
        gone.add(place)
        line = lines[at]
        (text, _, end), *others = line.cells
        marked[at] = line._replace(
            text=f"{mark.text} {line.text}",
            left=mark.left,
            cells=((f"{mark.text} {text}", mark.left, end), *others),
            edges=((mark.left, mark.right), *line.edges) if line.edges else (),
        )
    return [line for at, line in enumerate(marked) if at not in gone]


def _without_line_numbers(lines: list[Line]) -> list[Line]:
    """
    Return *lines* without the numbers that PDFium takes for their first words.

    Numbers of lines stand at one distance and count each of them, those between sentences too.
    """
    numbered: dict[int, list[int]] = {}
    for at, line in enumerate(lines):
        first = line.text.partition(" ")[0]
        if first.isdecimal() and len(first) <= _MAX_RULER_DIGITS:
            end = line.edges[0][1] if line.edges else line.right
            if len(line.edges) < 2 or line.edges[1][0] - end > _RULER_GAP * line.height:
                numbered.setdefault(round(end / _RULER_EDGE), []).append(at)
    stripped = list(lines)
    for places in numbered.values():
        if len(places) < _RULER_NUMBERS:
            continue
        own = sorted((lines[at] for at in places), key=attrgetter("middle"), reverse=True)
        drops = [a.middle - b.middle for a, b in pairwise(own)]
        texts = [_without_first_word(line) for line in own]
        prose = sum(
            1 for line in texts if len(line.text) > _LEAST_PROSE_CHARS and line.text[:1].islower()
        )
        if (
            _is_series([int(line.text.partition(" ")[0]) for line in own])
            and max(drops) - min(drops) < _SAME_PITCH
            and prose >= _PROSE_SHARE * len(own)
            # Else they number the rows of a table.
            and all(len(line.cells) < 2 for line in texts)
        ):
            for at in places:
                stripped[at] = _without_first_word(lines[at])
    return [line for line in stripped if line.text]


def _without_first_word(line: Line) -> Line:
    first, _, text = line.text.partition(" ")
    if not line.edges or not text:
        return line._replace(text="")
    left = line.edges[1][0]
    cells = line.cells
    if cells[0][0] == first:
        cells = cells[1:]
    else:
        cells = ((cells[0][0].removeprefix(f"{first} "), left, cells[0][2]), *cells[1:])
    return line._replace(text=text, left=left, cells=cells, edges=line.edges[1:])


def _without_rulers(lines: list[Line]) -> list[Line]:
    """Remove line numbers in a margin and rulers along an edge."""
    lines_of_digits = [line for line in lines if line.text[0].isdecimal()]
    if not lines_of_digits:
        return lines
    if len(lines_of_digits) >= _RULER_NUMBERS:
        lines = _without_line_numbers(lines)
        lines_of_digits = [line for line in lines if line.text[0].isdecimal()]
    numbers = [line for line in lines_of_digits if line.text.isdecimal() and len(line.text) <= 4]
    dropped: set[int] = set()
    for edge in ("left", "right"):
        columns: dict[int, list[Line]] = {}
        for line in numbers:
            columns.setdefault(round(getattr(line, edge)), []).append(line)
        for column in columns.values():
            if len(column) >= _RULER_NUMBERS and _is_series([int(line.text) for line in column]):
                dropped.update(id(line) for line in column)
    for line in lines_of_digits:
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


def _on_one_baseline(lines: list[Line]) -> list[Line]:
    """Join lines that follow each other from left to right at the same height."""
    joined: list[Line] = []
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
                joined[-1] = _moved(before, before.bottom, line.top)._replace(
                    text=text,
                    left=left,
                    right=right,
                    cells=((text, left, right),),
                    size=before.size,
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


def _goes_on_above(before: Line, line: Line) -> bool:
    """Return whether two texts that run up are one: above each other, with a blank between them."""
    width = max(before.right - before.left, line.right - line.left)
    return (
        abs(before.left - line.left) < 0.3 * width and abs(line.bottom - before.top) < 0.8 * width
    )


def _is_mark(before: Line, line: Line) -> bool:
    """Recognise a raised number behind a word that is written as a line of its own."""
    return (
        len(line.text) <= _MARK_CHARS
        and raised(line.text) != line.text
        and -0.2 * line.height <= line.left - before.right < 2 * _WORD_GAP * before.height
        and before.bottom < line.middle < before.top + 0.3 * before.height
        and _is_raised(line.bottom, line.top, (before.bottom, before.top))
    )


def _is_dropped(before: Line, line: Line) -> bool:
    """Recognise the first letter of a text that is as tall as several of its lines."""
    return (
        len(before.text) == 1
        and before.text.isalpha()
        and before.height > _DROPPED * line.height
        and line.text[:1].islower()
        and -0.2 * line.height <= line.left - before.right < line.height
        and before.bottom <= line.middle <= before.top
    )


def _with_more(before: Line, line: Line, more: str) -> Line:
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
    text: str,
    offset: int,
    maybe: list[int],
    base: tuple[float, float],
    characters: Characters,
) -> str:
    """
    Return *text* with the digits as such that are raised at the ends of its words.

    Args:
        maybe: Where such digits may stand.
        base: Bottom and top of the line.
    """

    def is_raised(at: int) -> bool:
        if text[at] not in _RAISED_SIGNS:
            return False
        _, (bottom,), _, (top,) = characters.sides([offset + at])
        return _is_raised(bottom, top, base)

    result = text
    done = -1
    _, bottoms, _, tops = characters.sides([offset + at for at in maybe])
    lifted = [
        at
        for at, bottom, top in zip(maybe, bottoms, tops, strict=True)
        if _is_raised(bottom, top, base)
    ]
    if lifted:
        # Figures of one font may stand at several heights.
        size = max(characters.size(offset + at) for at in (0, len(text) // 2, len(text) - 1))
        lifted = [at for at in lifted if characters.size(offset + at) < _LESS_HEIGHT * size]
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


def _parted(
    text: str,
    edges: tuple[tuple[float, float], ...],
    starts: list[int],
    walls: list[float],
    characters: Characters,
) -> tuple[str, tuple[tuple[float, float], ...]] | None:
    """Return the words of a line with those parted that a wall runs through, None without any."""
    words: list[str] = []
    places: list[tuple[float, float]] = []
    for word, (left, right), start in zip(text.split(" "), edges, starts, strict=False):
        inside = [x for x in walls if left + 0.5 < x < right - 0.5]
        begin = 0
        if inside:
            lefts, _, rights, _ = characters.sides(range(start, start + len(word)))
            for at in range(1, len(word)):
                before, behind = rights[at - 1], lefts[at]
                # Letters of one word touch each other.
                is_apart = behind - before > _WALL
                if is_apart and any(before - _WALL <= x <= behind + _WALL for x in inside):
                    words.append(word[begin:at])
                    places.append((left, rights[at - 1]))
                    begin, left = at, lefts[at]
        words.append(word[begin:])
        places.append((left, right))
    return (" ".join(words), tuple(places)) if len(words) > len(edges) else None


def _cells_of(
    text: str, edges: tuple[tuple[float, float], ...], walls: list[float], *, wide: float
) -> tuple[tuple[str, float, float], ...]:
    """Return the parts of a line that wide gaps or walls set apart."""
    cells: list[tuple[str, float, float]] = []
    for word, (left, right) in zip(text.split(" "), edges, strict=True):
        before = cells[-1] if cells else None
        is_walled = before is not None and any(
            before[2] - _WALL <= x <= left + _WALL for x in walls
        )
        if before is None or is_walled or left - before[2] > wide:
            cells.append((word, left, right))
        else:
            cells[-1] = f"{before[0]} {word}", before[1], right
    return tuple(cells)


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


def _read_backwards(
    lines: list[Line],
    letters: list[_Letters],
    walls: Sequence[tuple[float, float, float]],
) -> list[Line]:
    """Return the lines of a page with those that run to the left in the order of reading."""
    groups: list[tuple[Line, _Letters]] = []
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
    result: list[Line] = []
    is_backwards = False
    for line, own in groups:
        # A number that ends a sentence in a line of its own is such a line too.
        is_end = is_backwards and line.text[:1] in _ENDS and not any(map(str.isalpha, line.text))
        is_backwards = is_end or runs_left(line.text)
        if own.letters and (is_end or RIGHT_TO_LEFT.search(line.text)):
            beside = [x for x, bottom, top in walls if bottom < line.middle < top]
            line = _read_backwards_line(line, own, beside, is_backwards=is_backwards)
        result.append(line)
    return result


def _read_backwards_line(
    line: Line, own: _Letters, walls: list[float], *, is_backwards: bool
) -> Line:
    words = read_from_the_right(
        own.letters, height=own.height, is_backwards=is_backwards, walls=walls
    )
    # Boxes of these letters are as high as the letters are.
    bottom = own.foot - _DESCENT * own.height
    line = _moved(line, bottom, bottom + own.height)
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


def _cells(
    text: str, offset: int, words: _Words, begin: int, end: int, *, wide: float
) -> Iterator[tuple[str, float, float]]:
    """Yield the parts of a line, its words from *begin* to *end*, that gaps above *wide* part."""
    starts, ends = words.starts, words.ends
    lefts, rights = words.first.left, words.last.right
    first = begin
    for word in range(begin + 1, end):
        if lefts[word] - rights[word - 1] > wide:
            part = text[starts[first] - offset : ends[word - 1] - offset + 1]
            yield clean_line(part), lefts[first], rights[word - 1]
            first = word
    yield clean_line(text[starts[first] - offset :]), lefts[first], rights[end - 1]
