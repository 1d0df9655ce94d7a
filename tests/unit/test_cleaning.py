"""Answers leave as Markdown in which nothing is active, whole or in pieces, and lose no text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from functions.query.answering.sanitizer import (
    HTML_ELEMENTS,
    AnswerCleaner,
    clean,
    quote_code,
    quote_line,
)

_FIRST = (
    "See gs://ledger/exports, List<String>, <PROJECT_ID>, https://vpn.example.com/portal and"
    " jane@example.com; the first reading stands in readings[0], the next in readings[1]."
)
SOURCES = [_FIRST, "second"]
PASSIVE = frozenset(
    [
        "p",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
        "em",
        "strong",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "hr",
        "br",
        "string",
        "project_id",
    ]
)
# Both as strict as CommonMark, with HTML passed through, and as GitHub's with addresses linked.
RENDERERS = [
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough"),
]

FRAGMENTS = st.sampled_from(
    [
        *("<", ">", "[", "]", "(", ")", "!", ":", "/", "//", "&lt;", "&#33;", "&", "\\", "|"),
        *(
            "img",
            " src=x",
            "<b>",
            "<img src=x onerror=alert(1)>",
            "<script>",
            "</a>",
            "<!--",
            "-->",
        ),
        *("https:", "://", "evil.example", "www.", "javascript:", "mailto:a@b.example", "data:,"),
        *("[1]", "[9]", "[1, 2]", "(1)", "【1】", "1", "a", "é", "漢", "。", "\u200b", "\u202e"),
        *(
            "`",
            "``",
            "```",
            "\n",
            "\n\n",
            " ",
            "    ",
            "- ",
            "> ",
            "| ",
            "|--|--|\n",
            "# ",
            "~~~\n",
        ),
        *("![", "](", "![x](//e/y)", "[x][y]", "\n[y]: //e/z", "<String>", "\t", "*", "__"),
    ]
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


def active(markdown: str) -> list[str]:
    """Return the elements of the rendered *markdown* that could load, link or run something."""
    found = []
    for renderer in RENDERERS:
        tags = _Tags()
        tags.feed(renderer.render(markdown))
        for tag, attributes in tags.found:
            attributes.pop("start", None)
            attributes.pop("style", None)  # how a column of a table is aligned
            if attributes.get("class", "").startswith("language-"):  # type: ignore[union-attr]
                attributes.pop("class")
            # A name that no browser knows, without attributes, does nothing.
            if attributes or (tag not in PASSIVE and tag in HTML_ELEMENTS):
                found.append(f"{tag} {attributes}")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "See gs://ledger/exports, List<String> and <PROJECT_ID> [1].",
        "The portal is https://vpn.example.com/portal today.",
        "Write to jane@example.com soon.",
        "It rings when p<a and temperature t>b hold.",
        "Declared as Map<String, Integer> there.",
        "Written with Next.js/React and Node.js/Express.",
        "The first stands in readings[0] of the telegram.",
        "[WARNING]: Never open the valve.",
    ],
)
def test_clean_when_text_is_literal(text: str) -> None:
    """What the passages hold stays, and is active in no renderer."""
    cleaned = clean(text, sources=[*SOURCES, text])
    shown = re.sub(r"[`\\]", "", cleaned)
    assert shown == text
    assert active(cleaned) == []


@pytest.mark.parametrize(
    "text",
    [
        "https://vpn.example.com/portal",
        "<PROJECT_ID>",
        "jane.holloway@example.com",
        "p<a and temperature t>b",
        "Next.js/React",
        "gs://ledger-exports/nightly",
        "readings[0]",
        "grid[0][1]",
        "Map<String, Integer>",
    ],
)
def test_quote_when_a_document_is_literal(text: str) -> None:
    """A sentence of a document keeps what it is about, to the letter."""
    quoted = quote_line(f"Look at {text} in the morning.")
    assert text in quoted
    assert active(quoted) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is at https://evil.example/?q=secret now.", "It is at  now."),
        ("Write to eve@evil.example soon.", "Write to  soon."),
        ("A [9] B [1].", "A  B [1]."),
    ],
)
def test_clean_when_the_model_made_it_up(text: str, kept: str) -> None:
    """An address and a mark that no passage stands behind are left out."""
    assert clean(text, sources=SOURCES) == kept


@pytest.mark.parametrize(
    "mark",
    [
        "[1]",
        "[Passage 1]",
        "[Document 1]",
        "[1, page 3]",
        "[1: ledger.txt]",
        "【1】",
        "[^1]",
        "(1)",
    ],
)
def test_clean_when_marks_differ(mark: str) -> None:
    """A mark is read in the forms that models write."""
    assert clean(f"Ninety days {mark}.", sources=SOURCES) == "Ninety days [1]."


def test_clean_when_a_mark_names_several() -> None:
    """Lists and ranges of passages are marks of each."""
    assert clean("So [1, 2].", sources=SOURCES) == "So [1][2]."
    assert clean("So [1-2].", sources=SOURCES) == "So [1][2]."
    assert clean("So [Passage 1, Passage 2].", sources=SOURCES) == "So [1][2]."


@pytest.mark.parametrize(
    "attack",
    [
        "![x](https://evil.example/p?q=1)",
        "[click](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
        "<IMG\nSRC=x onerror=alert(1)>",
        "a ` b <img src=x> c",
        "\\` <img src=x> `",
        "\\\\` <img src=x> `",
        "| `<b>|<img src=x onerror=1>` |\n|--|--|\n| `a|<img src=x>` |",
        "<String>\n<img src=x onerror=1>",
        "- ```\n<img src=x>",
        "- a\n  ```\n<img src=x>",
        "```\n<img src=x>\n```\n<img src=x>",
        "[a]: https://evil.example\n\n[a] ![a]",
        "[a\n]: //evil.example\n\n[a]",
        "<a href=//evil.example\n>x</a>",
        "<!--\n--> <img src=x>",
        "<https://evil.example/x>",
        "<eve@evil.example>",
    ],
)
def test_clean_when_markup_attacks(attack: str) -> None:
    """Neither from a model nor from a document does anything become active."""
    assert active(clean(attack, sources=[*SOURCES, attack])) == []
    assert active(quote_line(attack)) == []
    assert active(quote_code(attack)) == []


@given(st.lists(FRAGMENTS, max_size=30))
def test_clean_when_pieces_are_anything(pieces: list[str]) -> None:
    """Whatever is written, in whatever pieces, is harmless in every renderer."""
    text = "".join(pieces)
    cleaner = AnswerCleaner([*SOURCES, text])
    cleaned = "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.finish()])
    assert active(cleaned) == []
    assert active(quote_line(text)) == []
    assert active(quote_code(text)) == []


@given(st.lists(FRAGMENTS, max_size=20))
def test_clean_when_a_document_is_anything(pieces: list[str]) -> None:
    """No character that can be seen is cut out of a document's text."""
    text = "".join(pieces)
    seen = re.sub(r"[\s\u200b\u202e\\`]", "", text)
    assert re.sub(r"[\s\\`]", "", quote_line(text)) == seen


def test_clean_when_text_streams() -> None:
    """Words come as they are written; only what may still become a construct waits."""
    cleaner = AnswerCleaner(SOURCES)
    assert cleaner.feed("The tower was finished in ") == "The tower was finished in"
    assert cleaner.feed("1889 after all, and ") == " 1889 after all, and"
    assert cleaner.feed("opened [1]. Then ") == ""
    assert cleaner.finish() == " opened [1]. Then "


@pytest.mark.parametrize(
    "answer", ["It was finished (1). Then", "It was finished [1†source]. Then"]
)
def test_clean_when_an_odd_mark_streams(answer: str) -> None:
    """A mark is one however the pieces are cut."""
    cleaner = AnswerCleaner(SOURCES)
    assert "".join(map(cleaner.feed, answer)) + cleaner.finish() == "It was finished [1]. Then"
