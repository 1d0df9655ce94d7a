"""Answers leave as plain text, whole or in pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.query.answering.sanitizer import AnswerCleaner, clean, longest_plain_part

FORBIDDEN = re.compile(r"<[A-Za-z/!?]|\]\(|!\[|://|\bwww\.\w|\b(?:javascript|mailto):\S")

FRAGMENTS = st.sampled_from(
    [
        *(
            "<",
            ">",
            "[",
            "]",
            "(",
            ")",
            "!",
            ":",
            "/",
            "//",
            "&lt;",
            "&gt;",
            "&#33;",
            "&",
            ";",
            "\\",
        ),
        *(
            "img",
            "src=x",
            "http",
            "https:",
            "://",
            "evil.example",
            "www.",
            "www",
            ".",
            "javascript",
        ),
        *(
            "mailto:",
            "data:",
            "text/html",
            "[1]",
            "[9]",
            "[1, 2]",
            "1",
            "a",
            "é",
            "漢",
            "。",
            "-->",
        ),
        *(
            "<!--",
            "\n",
            " ",
            "\t",
            "\u200b",
            "\u202e",
            "<b>",
            "![",
            "](",
            "]: ",
            "【1】",
            "^",
            "?q=",
        ),
    ]
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Plain text, 3 < 4 and 5 > 4: ratio 1:2, at 10:30.", None),
        ("AT&amp;T", "AT&T"),
        ("Write to a@b.org or C:\\x, and/or std::vector.", None),
        ("It was 1889 [1][2].", None),
        ("It was 1889 [1, 2].", "It was 1889 [1][2]."),
        ("It was 1889 [1-3].", "It was 1889 [1][2][3]."),
        ("It was 1889 【1】 [^2] [passage 3].", "It was 1889 [1] [2] [3]."),
        ("It was 1889 [0][4][99] [2019].", "It was 1889  ."),
        ("A ![x](https://e.example/?q=1) b", "A  b"),
        ("A [b](https://e.example/) c", "A b c"),
        ("A [1](https://e.example/) c", "A [1] c"),
        ("A https://e.example/x, b", "A , b"),
        ("見てhttps://e.example/xです", "見てです"),
        ("A <b>bold</b> <img src=x> c", "A bold  c"),
        ("A &lt;img src=x&gt; c", "A  c"),
        ("<scr<b>ipt>x", "x"),
        ("A <img src=x", "A < img src=x"),
    ],
)
def test_clean_when_text_holds_constructs(text: str, cleaned: str | None) -> None:
    """Markup and addresses go, what is plain stays, marks are written one way."""
    assert clean(text, passages=3) == (text if cleaned is None else cleaned)


@given(st.lists(FRAGMENTS, max_size=40).map("".join), st.lists(st.integers(0, 200), max_size=20))
def test_cleaner_when_pieces_are_cut_anywhere(text: str, cuts: list[int]) -> None:
    """However a text is cut, nothing forbidden appears in the pieces joined."""
    cleaner = AnswerCleaner(passages=2)
    shown, position = "", 0
    for cut in sorted(cuts):
        shown += cleaner.feed(text[position : max(position, cut)])
        position = max(position, cut)
        assert not FORBIDDEN.search(shown)
    shown += cleaner.feed(text[position:]) + cleaner.finish()
    assert not FORBIDDEN.search(shown)
    assert set(re.findall(r"\[(\d+)\]", shown)) <= {"1", "2"}


@pytest.mark.parametrize(
    "text",
    [
        "<" + "a" * 3000 + " src=https://evil.example/x>",
        "![" + "a " * 3000 + "](https://evil.example/x)",
        "[" * 3000 + "](https://evil.example/x)" * 10,
        "https://evil.example/" + "a" * 5000,
        "a" * 998 + "https://evil.example/x",
        "<" * 5000,
    ],
    ids=["tag", "image", "brackets", "address", "cut", "openings"],
)
def test_cleaner_when_a_construct_never_ends(text: str) -> None:
    """What stays open too long is made harmless and let go; nothing is held for ever."""
    for size in (1, 7, 1000, 100_000):
        cleaner = AnswerCleaner(passages=2)
        shown = "".join(
            cleaner.feed(text[start : start + size]) for start in range(0, len(text), size)
        )
        assert not FORBIDDEN.search(shown + cleaner.finish())


def test_cleaner_when_text_is_plain() -> None:
    """Plain words pass as soon as they are whole."""
    cleaner = AnswerCleaner(passages=1)
    assert cleaner.feed("The tower was fin") == "The tower was "
    assert cleaner.feed("ished in 1889 [1") == "finished in 1889 "
    assert cleaner.feed("]. It") == "[1]. "
    assert cleaner.finish() == "It"
    assert AnswerCleaner(passages=1).feed("東京は日本の") == "東京は日本の"


def test_longest_plain_part_when_text_holds_markup() -> None:
    """The longest stretch without markup is returned, without white space around it."""
    text = "ab <b>the longer part</b> cd"
    assert text[slice(*longest_plain_part(text, start=0, end=len(text)))] == "the longer part"
    assert longest_plain_part("<b></b>", start=0, end=7) == (0, 0)
    assert longest_plain_part("plain", start=1, end=3) == (1, 3)
