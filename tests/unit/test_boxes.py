"""Where the words of a chunk stand on their pages: packed small, and found again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.boxes import MAX_PACKED_BYTES, LineBox, WordBox, find_marks, pack, unpack


def line_of(text: str, *, position: int, page: int, bottom: float) -> LineBox:
    """Return the boxes of *text* in type that is 5 points wide."""
    words = []
    offset = 0
    for word in text.split(" "):
        words.append(WordBox(offset, 50 + 5.0 * offset, 50 + 5.0 * (offset + len(word))))
        offset += len(word) + 1
    return LineBox(position, page, bottom, bottom + 10, tuple(words))


LINES = [
    line_of("The notice period is", position=100, page=3, bottom=40.25),
    line_of("three months.", position=121, page=4, bottom=780.5),
]


def test_boxes_come_back() -> None:
    """What was packed is unpacked, with positions from the beginning of the chunk."""
    assert list(unpack(pack(LINES, start=100, end=134))) == [
        line._replace(position=line.position - 100) for line in LINES
    ]


def test_marks_of_a_quote_over_two_pages() -> None:
    """A quote is marked by a rectangle a line, each on its page and no wider than its words."""
    packed = pack(LINES, start=100, end=134)
    marks = find_marks(packed, start=11, end=26)  # "period is three"
    assert [(m.page, m.left, m.right, m.bottom, m.top) for m in marks] == [
        (3, 105, 150, 40.25, 50.25),
        (4, 50, 75, 780.5, 790.5),
    ]


def test_marks_of_a_row_with_a_wide_gap() -> None:
    """What stands in the gap, such as another column, is not marked."""
    cells = (WordBox(0, 50, 70), WordBox(5, 72, 90), WordBox(13, 300, 340))
    packed = pack([LineBox(0, 1, 10, 20, cells)], start=0, end=20)
    marks = find_marks(packed, start=0, end=20)
    assert [(mark.left, mark.right) for mark in marks] == [(50, 90), (300, 340)]


def test_marks_where_no_place_is_known() -> None:
    """Gemini says what stands on a page, not where."""
    assert find_marks(b"", start=0, end=20) == []


def test_boxes_of_a_part_of_a_line() -> None:
    """A chunk that begins and ends inside a line has the boxes of its own words alone."""
    packed = pack(LINES, start=104, end=117)  # "notice period"
    (line,) = unpack(packed)
    assert [word.left for word in line.words] == [70, 105]
    assert line.position == 0


def test_boxes_are_few_bytes() -> None:
    """A word takes four bytes or less, and a chunk has a limit."""
    text = " ".join(["notice", "period"] * 60)
    assert len(pack([line_of(text, position=0, page=1, bottom=0)], start=0, end=10_000)) < 4 * 130
    many = [line_of("a b c d", position=8 * i, page=1, bottom=i) for i in range(9000)]
    assert 0 < len(pack(many, start=0, end=1 << 20)) <= MAX_PACKED_BYTES


def test_boxes_of_a_damaged_page() -> None:
    """Sides that no page can have are bounded."""
    wild = LineBox(0, 1, -1e30, 1e30, (WordBox(0, 1e30, -1e30),))
    (line,) = unpack(pack([wild], start=0, end=5))
    assert abs(line.bottom) <= 100_000
    assert line.top <= 100_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"\x01",
        lambda packed: packed + b"\xff" * 1000,
        lambda packed: packed + b"\x00\x02\x00\x00\xff\xff\xff\xff\x0f",
    ],
)
def test_boxes_when_damaged(damage: Callable[[bytes], bytes]) -> None:
    """What is whole before the damage is still there; nothing is raised if a quote is marked."""
    packed = pack(LINES, start=100, end=134)
    whole = list(unpack(packed))
    assert list(unpack(damage(packed)))[:1] == whole[:1]
    assert find_marks(damage(packed), start=0, end=20)
