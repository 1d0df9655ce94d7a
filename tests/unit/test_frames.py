"""A parser that its document took over may say nothing but what an honest one says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from functions.ingest.frames import (
    ChunkReader,
    Misbehaved,
    RowReader,
    TextReader,
    make_chunk,
    read_picture,
    read_refusal,
    read_summary,
)
from shared.values import PageStart

CHUNK = ["A heading", "a header", 1, 0, 10, 7, "text", [[4, 2]], base64.b64encode(b"\1").decode()]
SUMMARY = {
    "title": "A title",
    "content_type": "application/pdf",
    "pages": 3,
    "pages_without_text": [2],
    "tables": [0, 3],
    "left_out": [["budget", 3], ["damaged", None]],
}


def chunk_with(**values: Any) -> bytes:
    positions = {name: place for place, name in enumerate(CHUNK_FIELDS)}
    changed = list(CHUNK)
    for name, value in values.items():
        changed[positions[name]] = value
    return json.dumps(changed).encode()


CHUNK_FIELDS = (
    "heading",
    "header",
    "page",
    "start",
    "end",
    "tokens",
    "source",
    "page_starts",
    "boxes",
)


def test_chunk_comes_back() -> None:
    """What an honest child says is kept to the letter."""
    reader = ChunkReader(max_chunks=1)
    line = reader.read(chunk_with(heading="über\n2"), text_chars=10)
    chunk = make_chunk(line, ordinal=0, text="0123456789")
    assert (chunk.heading, chunk.page, chunk.char_end) == ("über\n2", 1, 10)
    assert (chunk.page_starts, chunk.boxes) == ((PageStart(4, 2),), b"\1")
    assert line.count(b"\n") == 1
    assert reader.count == 1


@pytest.mark.parametrize(
    "values",
    [
        {"heading": 1},
        {"heading": None},
        {"heading": "a\0b"},
        {"heading": "\ud800"},
        {"heading": "a" * 10_000},
        {"header": ["a"]},
        {"header": "\x1b[2J"},
        {"page": 0},
        {"page": True},
        {"page": 1.5},
        {"page": 2**31},
        {"start": -1},
        {"start": 10},
        {"start": 4, "end": 2},
        {"start": "0"},
        {"end": 11},
        {"end": 2**70},
        {"tokens": -1},
        {"tokens": None},
        {"source": "oracle"},
        {"source": ["text"]},
        {"page_starts": None},
        {"page_starts": [[4]]},
        {"page_starts": [[4, 2], [4, 3]]},
        {"page_starts": [[11, 2]]},
        {"page_starts": [4, 2]},
        {"boxes": None},
        {"boxes": "ä"},
        {"boxes": "A"},
        {"boxes": base64.b64encode(bytes(20_000)).decode()},
    ],
    ids=str,
)
def test_chunk_when_a_value_is_none_of_a_chunk(values: dict[str, Any]) -> None:
    """Types, sizes and positions are those of a chunk, or it is refused."""
    with pytest.raises(Misbehaved):
        ChunkReader(max_chunks=9).read(chunk_with(**values), text_chars=10)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"[1,", b"\xff", b"[" * 100_000, b"9" * 10_000, b"[NaN]"],
    ids=lambda data: repr(data[:8]),
)
def test_frame_when_it_is_no_json_of_its_kind(data: bytes) -> None:
    """Whatever it is, it is refused, and nothing else happens."""
    with pytest.raises(Misbehaved):
        ChunkReader(max_chunks=9).read(data, text_chars=10)
    with pytest.raises(Misbehaved):
        read_summary(data)
    with pytest.raises(Misbehaved):
        read_refusal(data)


def test_chunks_when_they_overlap_or_are_too_many() -> None:
    """A few bytes of frames must not become gigabytes of rows."""
    reader = ChunkReader(max_chunks=2)
    reader.read(chunk_with(), text_chars=100_000)
    with pytest.raises(Misbehaved):
        reader.read(chunk_with(start=9, end=20, page_starts=[]), text_chars=100_000)
    reader = ChunkReader(max_chunks=2)
    for start in (0, 10):
        reader.read(chunk_with(start=start, end=start + 10, page_starts=[]), text_chars=100_000)
    with pytest.raises(Misbehaved):
        reader.read(chunk_with(start=20, end=30, page_starts=[]), text_chars=100_000)
    with pytest.raises(Misbehaved):
        ChunkReader(max_chunks=2).read(chunk_with(end=50_000), text_chars=100_000)


ROW: list[Any] = [0, ["Prices", ["item", "price"], 1], [0, 10, 1], ["bolt", "0.20"], []]


def test_rows_come_back() -> None:
    """The rows of a table follow the one with its head; a later table has a higher number."""
    reader = RowReader(max_cells=6)
    for row in (ROW, [0, None, *ROW[2:]], [2, *ROW[1:]]):
        assert json.loads(reader.read(json.dumps(row).encode(), text_chars=10)) == row
    with pytest.raises(Misbehaved):
        reader.read(json.dumps([2, None, *ROW[2:]]).encode(), text_chars=10)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, -1),
        (0, "0"),
        (0, 10**9),
        (1, None),
        (1, ["Prices", "item", 1]),
        (1, ["Prices", [1], 1]),
        (1, ["Prices", ["item"]]),
        (1, [None, ["item"], 1]),
        (2, None),
        (2, [0, 11, 1]),
        (2, [5, 4, 1]),
        (2, [0, 1, "1"]),
        (3, None),
        (3, {"bolt": 1}),
        (3, ["a\0"]),
        (3, ["\ud800"]),
        (3, ["a"] * 300),
        (4, None),
        (4, [0, 1, 2]),
        (4, [-1]),
    ],
)
def test_row_when_a_value_is_none_of_a_row(place: int, value: object) -> None:
    """Types, sizes and positions are those of a row, or it is refused."""
    row = list(ROW)
    row[place] = value
    with pytest.raises(Misbehaved):
        RowReader(max_cells=1000).read(json.dumps(row).encode(), text_chars=10)


def test_text_comes_whole() -> None:
    """A frame may cut a character in two."""
    reader = TextReader(max_chars=9)
    data = "a中😀".encode()
    assert "".join(reader.read(data[at : at + 1]) for at in range(len(data))) == "a中😀"
    reader.finish()
    assert reader.chars == 3


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xed\xa0\x80", b"a\0b", b"\xc0\x80", b"0123456789", b"\xe4\xb8"], ids=repr
)
def test_text_when_it_is_none(data: bytes) -> None:
    """Bytes that are no text, surrogates, NUL, half a character at the end, and too much."""

    def read() -> None:
        reader = TextReader(max_chars=9)
        reader.read(data)
        reader.finish()

    with pytest.raises(Misbehaved):
        read()


@pytest.mark.parametrize(
    "values",
    [
        {"title": None},
        {"title": "a" * 10_000},
        {"title": "a\0"},
        {"content_type": "text"},
        {"content_type": "text/html\r\nX: 1"},
        {"content_type": "a/" + "b" * 1000},
        {"pages": -1},
        {"pages": "3"},
        {"pages": None},
        {"pages_without_text": [4]},
        {"pages_without_text": [0]},
        {"pages_without_text": ["1"]},
        {"pages_without_text": [1] * 100},
        {"more": 1},
        {"tables": None},
        {"tables": ["0"]},
        {"tables": [10**9]},
        {"left_out": None},
        {"left_out": [["other", 1]]},
        {"left_out": [["budget", "1"]]},
        {"left_out": [["budget"]]},
        {"left_out": [["budget", 1]] * 1_001},
    ],
    ids=str,
)
def test_summary_when_a_value_is_wrong(values: dict[str, Any]) -> None:
    """Title, type and pages are bounded; nothing else is told."""
    assert read_summary(json.dumps(SUMMARY).encode()).pages_without_text == [2]
    with pytest.raises(Misbehaved):
        read_summary(json.dumps(SUMMARY | values).encode())


@pytest.mark.parametrize(
    "values",
    [{"code": "a b"}, {"code": 1}, {"code": "a" * 100}, {"message": None}, {"message": "a" * 9999}],
    ids=str,
)
def test_refusal_when_a_value_is_wrong(values: dict[str, Any]) -> None:
    """Code and message go to the status of the document."""
    refusal = {"code": "encrypted", "message": "It is encrypted."}
    assert read_refusal(json.dumps(refusal).encode()) == ("encrypted", "It is encrypted.")
    with pytest.raises(Misbehaved):
        read_refusal(json.dumps(refusal | values).encode())


def test_picture_when_it_is_none() -> None:
    """What is sent on to another service is a PNG at least by its first bytes."""
    assert read_picture(b"\x89PNG\r\n\x1a\n...")
    with pytest.raises(Misbehaved):
        read_picture(b"GIF89a")
