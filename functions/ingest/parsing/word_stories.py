"""
What an old Word file (doc) keeps beside its text, and what in it is not to be read.

Source: [MS-DOC], https://learn.microsoft.com/openspecs/office_file_formats/ms-doc. The text is a
row of stories: main text, footnotes, page headers, comments, endnotes, text boxes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .blocks import clean, clean_line, raised
from .compound import CompoundFile

_MAGIC = 0xA5EC
# The first version that writes the text as described here: Word 97. FibBase, 2.5.2.
_WORD_97 = 0xC1
_ENCRYPTED, _TABLE_1 = 0x0100, 0x0200
# FibRgLw97, 2.5.4: lengths of the stories.
_STORY_LENGTHS = 76
# FibRgFcLcb97, 2.5.6: places of the tables, eight bytes each.
_TABLES = 154
_COMMENT_REFERENCES, _COMMENT_TEXTS, _HEADERS, _RUNS, _PIECES, _AUTHORS = 4, 5, 11, 12, 33, 36
_PAGE_BYTES = 512
# Properties of characters, 2.6.1: deleted, hidden and struck text, and what is raised.
_IS_DELETED, _IS_HIDDEN, _IS_STRUCK_TWICE = 0x0800, 0x083C, 0x2A53
_RAISING, _RAISED = 0x2A48, 1
_UNSEEN = (_IS_DELETED, _IS_HIDDEN, _IS_STRUCK_TWICE)
_ON = (1, 0x81)
# Lengths of operands by the upper three bits of a property's number, 2.2.5.1; 6 has its own.
_OPERAND_BYTES = (1, 1, 2, 4, 2, 2, 0, 3)
_COMMENT_BYTES = 30
# Before a section's own headers stand the lines between text and notes, 2.3.3.
_FIRST_HEADER = 6
# Marks of paragraphs, cells, fields and anchors hold the text together; a reader drops the other.
_DROPPED = re.compile(rb"[^\x01\x02\x05\x07\x08\x0b-\x0e\x13-\x15]")
_BLANK = b"\x7f"
_PAGE_FIELDS = re.compile(
    "\x13\\s*(?:PAGE|NUMPAGES|SECTIONPAGES|SECTION)\\b[^\x13\x15]*\x15", re.IGNORECASE
)
_FIELD_CODE = re.compile("\x13[^\x13\x14\x15]*(?:\x14|(?=\x15))")
_MARKS = re.compile("[\x01-\x06\x08\x0e\x10-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Stories:
    """
    What stands beside the main text.

    Attributes:
        data: The whole file, its hidden and deleted letters made blank.
        headers: Page headers and footers without page numbers.
        boxes: Paragraphs of text boxes.
        comments: (author, text) of each.
    """

    data: bytes
    headers: list[str]
    boxes: list[str]
    comments: list[tuple[str, str]]


class Encrypted(Exception):
    """The file is protected by a password."""


class TooOld(Exception):
    """The file is of Word 95 or an older version."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the text: *start* to *end* in letters, at *place* in the stream."""

    start: int
    end: int
    place: int
    width: int


def read_stories(data: bytes) -> Stories:
    """
    Return what an old Word file keeps beside its text.

    Raises:
        Encrypted, TooOld: It cannot be read.
        ValueError, struct.error: It is damaged.
    """
    file = CompoundFile(data)
    word = file.read(file.root, "worddocument")
    magic, version = struct.unpack_from("<HH", word, 0)
    (flags,) = struct.unpack_from("<H", word, 10)
    if magic != _MAGIC or version < _WORD_97:
        raise TooOld
    if flags & _ENCRYPTED:
        raise Encrypted
    table = file.read(file.root, "1table" if flags & _TABLE_1 else "0table")

    def part(number: int) -> bytes:
        place, length = struct.unpack_from("<II", word, _TABLES + 8 * number)
        return table[place : place + length]

    pieces = list(_pieces(part(_PIECES), limit=len(word)))
    lengths = struct.unpack_from("<8i", word, _STORY_LENGTHS)
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + max(0, length))
    changed = list(_changed(word, part(_RUNS)))
    letters = bytearray(word)
    for begin, end, is_raised in changed:
        change = _raise if is_raised else _blank
        for piece in pieces:
            first = max(begin, piece.place)
            last = min(end, piece.place + (piece.end - piece.start) * piece.width)
            if first < last:
                letters[first:last] = change(word[first:last], piece.width)
    shown = bytes(letters)

    def text(start: int, end: int) -> str:
        return _text(shown, pieces, start, end)

    headers = [
        line
        for begin, end in _ranges(_numbers(part(_HEADERS))[_FIRST_HEADER:], starts[2], starts[3])
        for line in _lines(_PAGE_FIELDS.sub("", text(begin, end)))
    ]
    comment_ranges = _ranges(_numbers(part(_COMMENT_TEXTS)), starts[4], starts[5])
    authors = _authors(part(_AUTHORS), part(_COMMENT_REFERENCES))
    comments = [
        (authors[i] if i < len(authors) else "", line)
        for i, (begin, end) in enumerate(comment_ranges)
        if (line := " ".join(_lines(text(begin, end))))
    ]
    return Stories(
        data=_patched(file, shown) if changed else data,
        headers=headers,
        boxes=list(_lines(text(starts[6], starts[7]))),
        comments=comments,
    )


def _pieces(table: bytes, *, limit: int) -> Iterator[_Piece]:
    """Yield where the text stands: the table of pieces (Clx, 2.9.38)."""
    at = 0
    while table[at : at + 1] == b"\x01":
        at += 3 + int(struct.unpack_from("<H", table, at + 1)[0])
    if table[at : at + 1] != b"\x02":
        raise ValueError("no pieces")
    (length,) = struct.unpack_from("<I", table, at + 1)
    table = table[at + 5 : at + 5 + length]
    count = max(0, (len(table) - 4) // 12)
    starts = struct.unpack_from(f"<{count + 1}I", table)
    for i in range(count):
        (place,) = struct.unpack_from("<I", table, 4 * (count + 1) + 8 * i + 2)
        width = 1 if place & 0x40000000 else 2
        place = (place & 0x3FFFFFFF) // 2 if width == 1 else place & 0x3FFFFFFF
        letters = max(0, limit - place) // width
        if starts[i] < starts[i + 1]:
            yield _Piece(starts[i], min(starts[i + 1], starts[i] + letters), place, width)


def _changed(word: bytes, table: bytes) -> Iterator[tuple[int, int, bool]]:
    """
    Yield (begin, end) of the bytes of text that is not read or raised (ChpxFkp, 2.9.33).

    The third is True for what is raised.
    """
    count = max(0, (len(table) - 4) // 8)
    for number in dict.fromkeys(struct.unpack_from(f"<{count}I", table, 4 * (count + 1))):
        page = word[number * _PAGE_BYTES : (number + 1) * _PAGE_BYTES]
        if len(page) < _PAGE_BYTES:
            continue
        runs = min(page[-1], (_PAGE_BYTES - 5) // 5)
        places = struct.unpack_from(f"<{runs + 1}I", page)
        for i in range(runs):
            at = 2 * page[4 * (runs + 1) + i]
            properties = page[at + 1 : at + 1 + page[at]] if at else b""
            said = dict(_properties(properties))
            if any(said.get(number) in _ON for number in _UNSEEN):
                yield places[i], places[i + 1], False
            elif said.get(_RAISING) == _RAISED:
                yield places[i], places[i + 1], True


def _properties(properties: bytes) -> Iterator[tuple[int, int]]:
    """Yield the number of each property, and the first byte of what it says."""
    at = 0
    while at + 3 <= len(properties):
        (number,) = struct.unpack_from("<H", properties, at)
        operand = properties[at + 2]
        yield number, operand
        length = _OPERAND_BYTES[number >> 13]
        at += 2 + (length or 1 + operand)


def _raise(letters: bytes, width: int) -> bytes:
    codec = "cp1252" if width == 1 else "utf-16-le"
    try:
        changed = raised(letters.decode(codec)).encode(codec)
    except UnicodeError:
        # A code page of one byte a letter has few raised digits.
        return letters
    return changed if len(changed) == len(letters) else letters


def _blank(letters: bytes, width: int) -> bytes:
    if width == 1:
        return _DROPPED.sub(_BLANK, letters)
    parts = []
    for at in range(0, len(letters) - 1, 2):
        letter = letters[at : at + 2]
        is_mark = letter[1] == 0 and not _DROPPED.match(letter[:1])
        parts.append(letter if is_mark else _BLANK + b"\0")
    return b"".join(parts) + letters[len(letters) // 2 * 2 :]


def _patched(file: CompoundFile, word: bytes) -> bytes:
    """Return the file with another content of its main stream, of the same length."""
    data = bytearray(file.data)
    done = 0
    for begin, end in file.places(file.root, "worddocument"):
        data[begin:end] = word[done : done + end - begin]
        done += end - begin
    return bytes(data)


def _text(word: bytes, pieces: Sequence[_Piece], start: int, end: int) -> str:
    parts = []
    for piece in pieces:
        first, last = max(start, piece.start), min(end, piece.end)
        if first < last:
            begin = piece.place + (first - piece.start) * piece.width
            letters = word[begin : begin + (last - first) * piece.width]
            parts.append(letters.decode("cp1252" if piece.width == 1 else "utf-16-le", "replace"))
    return "".join(parts)


def _lines(text: str) -> Iterator[str]:
    """Yield the paragraphs of a story without codes of fields and empty ones."""
    shown = _MARKS.sub("", _FIELD_CODE.sub("", text))
    for line in re.split("[\r\x07\x0c]", shown):
        if line := clean_line(clean(line.replace("\v", "\n"))):
            yield line


def _ranges(places: Sequence[int], start: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of the story from *start* to *end* that begin at *places* within it."""
    found = []
    for begin, stop in pairwise(places):
        if begin < stop <= end - start:
            found.append((start + begin, start + stop))
    return found


def _numbers(table: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])


def _authors(names: bytes, references: bytes) -> list[str]:
    """Return the author of each comment (XstAtnOwners, 2.9.353; ATRDPre10, 2.9.5)."""
    known = []
    at = 0
    while at + 2 <= len(names):
        (length,) = struct.unpack_from("<H", names, at)
        text = names[at + 2 : at + 2 + 2 * length]
        known.append(clean_line(text.decode("utf-16-le", "replace")))
        at += 2 + 2 * length
    count = max(0, (len(references) - 4) // (4 + _COMMENT_BYTES))
    found = []
    for i in range(count):
        (number,) = struct.unpack_from("<H", references, 4 * (count + 1) + _COMMENT_BYTES * i + 20)
        found.append(known[number] if number < len(known) else "")
    return found
