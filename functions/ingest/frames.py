"""
What a parser child may say: read from its frames, and refused if it is anything else.

A document may have taken its parser over. What comes from it is data of a stranger: types, sizes,
counts and positions are checked here, before anything is stored. Pure.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from dataclasses import dataclass
from typing import Any

from shared.boxes import MAX_PACKED_BYTES
from shared.tables import MAX_COLUMNS, MAX_TABLES
from shared.values import Chunk, PageStart

# All of them are far above what chunking.py and the parsers make.
_MAX_CHUNK_CHARS = 1 << 14
_MAX_CONTEXT_CHARS = 1 << 12
_MAX_TITLE_CHARS = 1024
_MAX_MESSAGE_CHARS = 4096
# PostgreSQL's integer.
_MAX_INTEGER = 2**31 - 1
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Why a picture has no description.
LEFT_OUT = frozenset(["budget", "damaged", "too_large", "format", "refused", "unavailable"])
_MAX_LEFT_OUT = 1_000
_CODE = re.compile(r"[a-z][a-z_]{1,40}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,120}")
# Line ends and tabs are text; NUL cannot be stored, and the others are nowhere of use.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Misbehaved(Exception):
    """A frame is none that an honest child sends."""


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What a child says of a document as a whole.

    Attributes:
        left_out: Code and page of each picture that has no description.
    """

    title: str
    content_type: str
    pages: int | None
    pages_without_text: list[int]
    tables: frozenset[int]
    left_out: list[tuple[str, int | None]]


class TextReader:
    """
    Reads the text of a document out of frames that may cut a character in two.

    Attributes:
        chars: How many characters have come.
    """

    def __init__(self, *, max_chars: int) -> None:
        self.chars = 0
        self._max_chars = max_chars
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, data: bytes) -> str:
        """
        Return the text of one frame.

        Raises:
            Misbehaved: It is no UTF-8, holds what no text holds, or is more than is allowed.
        """
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError as error:
            raise Misbehaved("text") from error
        self.chars += len(text)
        if self.chars > self._max_chars or "\0" in text:
            raise Misbehaved("text")
        return text

    def finish(self) -> None:
        """
        Check that the text does not end within a character.

        Raises:
            Misbehaved: It does.
        """
        if self._decoder.getstate()[0]:
            raise Misbehaved("text")


class ChunkReader:
    """
    Reads chunks, which come in order, do not overlap, and have their text sent before.

    Attributes:
        count: How many have come.
    """

    def __init__(self, *, max_chunks: int) -> None:
        self.count = 0
        self._max_chunks = max_chunks
        self._end = 0

    def read(self, data: bytes, *, text_chars: int) -> bytes:
        """
        Return the line in which a chunk is kept until it is stored.

        Args:
            text_chars: How many characters of text have come.

        Raises:
            Misbehaved: It is no chunk, or one too many.
        """
        values = _read_json(data)
        if not isinstance(values, list) or len(values) != 9:
            raise Misbehaved("chunk")
        heading, header, page, start, end, tokens, source, page_starts, boxes = values
        self.count += 1
        good = (
            self.count <= self._max_chunks
            and _is_text(heading, at_most=_MAX_CONTEXT_CHARS)
            and _is_text(header, at_most=_MAX_CONTEXT_CHARS)
            and (page is None or _is_number(page, at_least=1))
            and _is_number(start, at_least=self._end)
            and _is_number(end, at_least=start + 1, at_most=text_chars)
            and end - start <= _MAX_CHUNK_CHARS
            and _is_number(tokens)
            and source in ("text", "ocr", "figure")
            and isinstance(page_starts, list)
            and _are_page_starts(page_starts, start=start, end=end)
            and _are_boxes(boxes)
        )
        if not good:
            raise Misbehaved("chunk")
        self._end = end
        # Written again: a line of JSON may hold line ends between its values.
        return json.dumps(values).encode() + b"\n"


def make_chunk(line: bytes, *, ordinal: int, text: str) -> Chunk:
    """Return the chunk in a *line* of ChunkReader; *text* is what stands at its position."""
    heading, header, page, start, end, tokens, source, page_starts, boxes = json.loads(line)
    return Chunk(
        ordinal=ordinal,
        text=text,
        heading=heading,
        header=header,
        page=page,
        char_start=start,
        char_end=end,
        tokens=tokens,
        source=source,
        page_starts=tuple(PageStart(*pair) for pair in page_starts),
        boxes=base64.b64decode(boxes),
    )


class RowReader:
    """Reads the rows of tables: those of one table come together, the first with its head."""

    def __init__(self, *, max_cells: int) -> None:
        self._max_cells = max_cells
        self._table = -1

    def read(self, data: bytes, *, text_chars: int) -> bytes:
        """
        Return the line in which a row is kept until it is stored.

        Args:
            text_chars: How many characters of text have come.

        Raises:
            Misbehaved: It is no row, or there are too many cells.
        """
        values = _read_json(data)
        if not isinstance(values, list) or len(values) != 5:
            raise Misbehaved("row")
        table, head, place, cells, covered = values
        self._max_cells -= len(cells) if isinstance(cells, list) else 1
        good = (
            self._max_cells >= 0
            and _is_number(table, at_most=MAX_TABLES)
            and (table == self._table if head is None else table > self._table)
            and (head is None or _is_head(head))
            and _is_place(place, text_chars=text_chars)
            and _are_cells(cells)
            and isinstance(covered, list)
            and len(covered) <= len(cells)
            and all(_is_number(column, at_most=MAX_COLUMNS) for column in covered)
        )
        if not good:
            raise Misbehaved("row")
        self._table = table
        return json.dumps(values).encode() + b"\n"


def read_summary(data: bytes) -> Summary:
    """
    Return what a child says of a document as a whole.

    Raises:
        Misbehaved: It is no summary.
    """
    values = _read_json(data)
    keys = ("title", "content_type", "pages", "pages_without_text", "tables", "left_out")
    if not isinstance(values, dict) or set(values) != set(keys):
        raise Misbehaved("summary")
    title, content_type, pages, without_text, tables, left_out = (values[key] for key in keys)
    good = (
        _is_text(title, at_most=_MAX_TITLE_CHARS)
        and isinstance(content_type, str)
        and _MEDIA_TYPE.fullmatch(content_type)
        and (pages is None or _is_number(pages))
        and isinstance(without_text, list)
        and len(without_text) <= (pages or 0)
        and all(_is_number(page, at_least=1, at_most=pages) for page in without_text)
        and isinstance(tables, list)
        and len(tables) <= MAX_TABLES
        and all(_is_number(table, at_most=MAX_TABLES) for table in tables)
        and isinstance(left_out, list)
        and len(left_out) <= _MAX_LEFT_OUT
        and all(_is_left_out(entry) for entry in left_out)
    )
    if not good:
        raise Misbehaved("summary")
    return Summary(
        title,
        content_type,
        pages,
        without_text,
        frozenset(tables),
        [(code, page) for code, page in left_out],
    )


def read_refusal(data: bytes) -> tuple[str, str]:
    """
    Return code and message of a child that cannot read its document.

    Raises:
        Misbehaved: It is no refusal.
    """
    values = _read_json(data)
    if not isinstance(values, dict) or set(values) != {"code", "message"}:
        raise Misbehaved("refusal")
    code, message = values["code"], values["message"]
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise Misbehaved("refusal")
    if not _is_text(message, at_most=_MAX_MESSAGE_CHARS):
        raise Misbehaved("refusal")
    return code, message


def read_picture(data: bytes) -> bytes:
    """
    Return a picture of a page.

    Raises:
        Misbehaved: It is no PNG.
    """
    if not data.startswith(_PNG):
        raise Misbehaved("picture")
    return data


def read_figure(data: bytes) -> tuple[bytes, str]:
    """
    Return a picture to be described, and its caption.

    Raises:
        Misbehaved: It is no PNG or JPEG, or its caption no text.
    """
    length = int.from_bytes(data[:2], "big")
    picture = data[2 + length :]
    try:
        caption = data[2 : 2 + length].decode()
    except UnicodeDecodeError as error:
        raise Misbehaved("caption") from error
    if not picture.startswith((_PNG, _JPEG)) or not _is_text(caption, at_most=_MAX_CONTEXT_CHARS):
        raise Misbehaved("figure")
    return picture, caption


def _is_left_out(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    code, page = entry
    return code in LEFT_OUT and (page is None or _is_number(page, at_least=1))


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Misbehaved("JSON") from error


def _is_head(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    title, names, page = value
    return _are_cells([title]) and _are_cells(names) and (page is None or _is_number(page))


def _is_place(value: object, *, text_chars: int) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    start, end, page = value
    return (
        _is_number(start)
        and _is_number(end, at_least=start, at_most=text_chars)
        and (page is None or _is_number(page))
    )


def _are_cells(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_COLUMNS
        and all(isinstance(cell, str) and not _UNSTORABLE.search(cell) for cell in value)
    )


def _is_text(value: object, *, at_most: int) -> bool:
    return isinstance(value, str) and len(value) <= at_most and not _CONTROLS.search(value)


def _is_number(value: object, *, at_least: int = 0, at_most: int | None = _MAX_INTEGER) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return at_least <= value <= min(_MAX_INTEGER, _MAX_INTEGER if at_most is None else at_most)


def _are_page_starts(pairs: list[Any], *, start: int, end: int) -> bool:
    position = start
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            return False
        if not _is_number(pair[0], at_least=position, at_most=end) or not _is_number(pair[1]):
            return False
        position = pair[0] + 1
    return True


def _are_boxes(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 2 * MAX_PACKED_BYTES:
        return False
    try:
        return len(base64.b64decode(value, validate=True)) <= MAX_PACKED_BYTES
    except (binascii.Error, ValueError):
        return False
