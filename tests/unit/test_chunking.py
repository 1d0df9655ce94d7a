"""Chunks: what they hold, where they are cut, and that nothing is lost between them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.ingest.chunking import Budget, chunk_blocks
from functions.ingest.parsing.blocks import Block, heading, paragraph
from shared.boxes import LineBox, WordBox, unpack
from shared.values import Chunk, PageStart
from tests.support.documents import small_tokenizer

TOKENIZER = small_tokenizer()
BUDGET = Budget(max_tokens=64, body_tokens=48, body_chars=480, heading_tokens=12, header_tokens=16)


def tokenize(text: str) -> list[tuple[int, int]]:
    offsets: list[tuple[int, int]] = TOKENIZER.encode(text, add_special_tokens=False).offsets
    return offsets


def chunk(blocks: list[Block], *, title: str = "") -> tuple[str, list[Chunk]]:
    """Return the extracted text and the chunks of *blocks*."""
    pieces = list(chunk_blocks(blocks, tokenize=tokenize, budget=BUDGET, title=lambda: title))
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    return text, [piece for piece in pieces if isinstance(piece, Chunk)]


def check(text: str, chunks: list[Chunk]) -> None:
    """Every chunk reads back from its offsets and fits; between them is white space only."""
    end = 0
    for i, one in enumerate(chunks):
        assert one.ordinal == i
        assert one.text == text[one.char_start : one.char_end]
        assert one.text.strip() == one.text != ""
        assert text[end : one.char_start].strip() == ""
        assert one.tokens == len(TOKENIZER.encode(one.embedded_text))
        assert one.tokens <= BUDGET.max_tokens
        end = one.char_end
    assert text[end:].strip() == ""


def words(count: int) -> str:
    return "the " * (count - 1) + "a."


def test_chunks_when_text_is_short() -> None:
    """Small paragraphs under one heading make one chunk, the heading's line with them."""
    text, chunks = chunk([Block("heading", "In", level=1, label="In"), Block("paragraph", "a of.")])
    check(text, chunks)
    assert [(c.text, c.heading) for c in chunks] == [("In\n\na of.", "In")]


def test_embedded_text_when_it_begins_with_its_heading() -> None:
    """What is embedded says each heading once."""
    _, chunks = chunk(
        [
            Block("heading", "A", level=1, label="A"),
            Block("heading", "## B", level=2, label="B"),
            Block("paragraph", words(90)),
        ],
        title="T",
    )
    assert {one.heading for one in chunks} == {"T > A > B"}
    assert chunks[0].embedded_text == f"T\n{chunks[0].text}"
    assert chunks[1].embedded_text == f"T > A > B\n{chunks[1].text}"


def test_chunks_when_sections_are_large() -> None:
    """A new heading begins a new chunk under its own path."""
    blocks = [
        Block("heading", "A", level=1, label="A"),
        Block("heading", "B", level=2, label="B"),
        Block("paragraph", words(40)),
        Block("heading", "C", level=2, label="C"),
        Block("paragraph", words(40)),
    ]
    text, chunks = chunk(blocks, title="T")
    check(text, chunks)
    assert [c.heading for c in chunks] == ["T > A > B", "T > A > C"]


def test_chunks_when_sections_are_tiny() -> None:
    """Tiny sections share a chunk under the path they have in common."""
    blocks = [Block("heading", "A", level=1, label="A")]
    for name in "xyz":
        blocks += [Block("heading", name, level=2, label=name), Block("paragraph", words(4))]
    text, chunks = chunk(blocks)
    check(text, chunks)
    assert [c.heading for c in chunks] == ["A"]


def test_chunks_when_page_changes() -> None:
    """No chunk goes over the end of a page: its page is right for every word of it."""
    text, chunks = chunk(
        [Block("paragraph", "a of.", page=1), Block("paragraph", "the in.", page=2)]
    )
    check(text, chunks)
    assert [(c.page, c.text) for c in chunks] == [(1, "a of."), (2, "the in.")]


def test_chunks_when_source_changes() -> None:
    """Text read from a picture is never mixed with text of the document."""
    _, chunks = chunk([Block("paragraph", "a.", source="ocr"), Block("paragraph", "the.")])
    assert [c.source for c in chunks] == ["ocr", "text"]


def test_chunks_when_table_is_long() -> None:
    """Every chunk of a long table has its header, in its text or beside it."""
    rows = [Block("row", "on | with")]
    rows += [Block("row", "the | a of to in is", gap="\n", header="on | with") for _ in range(60)]
    text, chunks = chunk(rows)
    check(text, chunks)
    assert len(chunks) > 3
    assert chunks[0].text.startswith("on | with")
    assert chunks[0].header == ""
    assert {c.header for c in chunks[1:]} == {"on | with"}


def test_chunks_when_header_is_huge() -> None:
    """A header that would fill the chunk is shortened, not the rows."""
    header = " | ".join(["with"] * 300)
    text, chunks = chunk([Block("row", "the | a", header=header) for _ in range(30)])
    check(text, chunks)
    assert all(c.text.startswith("the | a") for c in chunks)


def test_chunks_when_paragraph_is_long() -> None:
    """A long paragraph is cut between sentences, into parts of about the same size."""
    sentence = "The a of to in is it for. "
    text, chunks = chunk([Block("paragraph", (sentence * 20).strip())])
    check(text, chunks)
    assert all(c.text.startswith("The") and c.text.endswith("for.") for c in chunks)
    assert max(c.tokens for c in chunks) < 2 * min(c.tokens for c in chunks)


@pytest.mark.parametrize(
    "text",
    ["日本語。" * 200, "日" * 1000, "z" * 60_000, "ภาษาไทยไม่มีช่องว่าง" * 300, "x" * 90 + " y" * 400],
)
def test_chunks_when_words_have_no_spaces(text: str) -> None:
    """Text without spaces and endless words are cut too, and none of it is hidden in one token."""
    extracted, chunks = chunk(list(paragraph(text)))
    check(extracted, chunks)
    assert max(len(c.text) for c in chunks) <= BUDGET.body_chars


def test_chunks_when_text_is_inserted() -> None:
    """Behind an insertion the chunks are soon the same as before."""
    vocabulary = ["the", "a", "of", "to", "in", "is", "it", "for", "on", "with"] * 2
    paragraphs = [
        Block("paragraph", " ".join(vocabulary[i % 7 : i % 7 + 3 + i * i % 9]) + f" {i}.")
        for i in range(200)
    ]
    before = {one.text for one in chunk(paragraphs)[1]}
    new = []
    for place in range(0, 60, 3):
        inserted = Block("paragraph", "The of in it on a with.")
        after = chunk([*paragraphs[:place], inserted, *paragraphs[place:]])[1]
        new.append(len({one.text for one in after} - before))
    assert len(before) > 40
    assert sum(new) / len(new) <= 4


def test_chunks_when_heading_path_is_long() -> None:
    """A long path loses its middle, not its ends."""
    blocks = [
        Block("heading", label, level=level, label=label)
        for level, label in enumerate(["the of to", *["and in is"] * 6, "with or"], start=1)
    ]
    text, chunks = chunk([*blocks, Block("paragraph", words(30))])
    check(text, chunks)
    assert chunks[-1].heading.startswith("the of to")
    assert chunks[-1].heading.endswith("with or")


def test_chunks_when_code_is_long() -> None:
    """Code is cut between lines."""
    text, chunks = chunk([Block("code", "\n".join(["the = a"] * 60))])
    check(text, chunks)
    assert all(c.text.startswith("the") and c.text.endswith("= a") for c in chunks)


def test_chunks_when_nothing_but_white_space() -> None:
    """White space makes no chunk."""
    assert chunk([Block("paragraph", "  \n ")])[1] == []


_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(string.ascii_letters + " \n.,|-"), st.characters(exclude_categories=["Cs"])
    ),
    min_size=1,
    max_size=400,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda t, p: Block("paragraph", t, page=p), _TEXT, st.sampled_from([None, 1])
            ),
            st.builds(lambda t, h: Block("row", t, gap="\n", header=h), _TEXT, _TEXT),
            st.builds(lambda t, n: next(heading(t[:200], level=n)), _TEXT, st.integers(1, 6)),
            st.builds(lambda t: Block("code", t * 20), _TEXT),
        ),
        max_size=12,
    )
)
def test_chunks_hold_all_text(blocks: list[Block]) -> None:
    """Whatever the blocks are, the chunks hold all of their text and fit the model."""
    text, chunks = chunk(blocks)
    end = 0
    for one in chunks:
        assert one.text == text[one.char_start : one.char_end]
        assert text[end : one.char_start].strip() == ""
        assert one.tokens <= BUDGET.max_tokens
        assert len(TOKENIZER.encode(one.embedded_text)) <= BUDGET.max_tokens
        end = one.char_end
    assert text[end:].strip() == ""


def test_chunks_over_a_page() -> None:
    """A sentence over two pages stands whole in one chunk, which knows where the page begins."""
    text, chunks = chunk(
        [
            Block("paragraph", "a of.", page=1),
            Block("paragraph", "the of this and it.", page=1, page_starts=(PageStart(12, 2),)),
            Block("paragraph", "it is.", page=2),
            Block("paragraph", "on with.", page=3),
        ]
    )
    check(text, chunks)
    assert [(c.text, c.page) for c in chunks] == [
        ("a of.\n\nthe of this and it.\n\nit is.", 1),
        ("on with.", 3),
    ]
    assert chunks[0].page_starts == (PageStart(text.index("and it."), 2),)


def test_pages_of_the_parts_of_a_long_paragraph() -> None:
    """Each chunk of a paragraph over many pages begins on the page of its first sentence."""
    sentence = "the of and to in is it for on with. "
    body = sentence * 40
    starts = tuple(PageStart(10 * i * len(sentence), i + 1) for i in range(1, 4))
    text, chunks = chunk([Block("paragraph", body.strip(), page=1, page_starts=starts)])
    check(text, chunks)
    for one in chunks:
        assert one.page == 1 + one.char_start // (10 * len(sentence))
        for start in one.page_starts:
            assert one.char_start < start.position < one.char_end
            assert start in starts


def test_boxes_of_chunks() -> None:
    """Each chunk holds the boxes of its own words, wherever it begins in its lines."""
    words_of_line = [("the", 0), ("of", 4), ("and.", 7)]
    line = "the of and. "
    boxes = tuple(
        LineBox(
            len(line) * i,
            1,
            10.0 * i,
            10.0 * i + 8,
            tuple(WordBox(offset, offset, offset + len(word)) for word, offset in words_of_line),
        )
        for i in range(60)
    )
    text, chunks = chunk([Block("paragraph", (line * 60).strip(), page=1, lines=boxes)])
    check(text, chunks)
    assert len(chunks) > 1
    for one in chunks:
        found = [
            (box.position + word.offset, box.bottom, word.left)
            for box in unpack(one.boxes)
            for word in box.words
        ]
        assert [one.text[at:].split(" ")[0] for at, _, _ in found] == one.text.split(" ")
        first = one.char_start // len(line)
        assert found[0][1] == 10.0 * first


def test_chunks_when_documents_stand_in_one() -> None:
    """Small documents inside of another have chunks and headings of their own."""
    first, second = (
        Block("heading", name, level=1, label=name, begins_document=True) for name in "AB"
    )
    unread = Block("paragraph", "c of", level=1)
    text, chunks = chunk(
        [first, Block("paragraph", "one."), second, Block("paragraph", "two."), unread]
    )
    check(text, chunks)
    assert [(c.heading, c.text) for c in chunks] == [
        ("A", "A\n\none."),
        ("B", "B\n\ntwo."),
        ("", "c of"),
    ]


def test_chunks_when_text_stands_before_the_first_heading() -> None:
    """Who a letter is for is in the chunk of its first section, if both fit, under its heading."""
    above = Block("paragraph", words(20))
    title = Block("heading", "In", level=1, label="In")
    text, chunks = chunk([above, title, Block("paragraph", words(12))])
    check(text, chunks)
    assert [one.heading for one in chunks] == ["In"]
    text, chunks = chunk(
        [above, title, Block("paragraph", words(40)), Block("paragraph", words(40))]
    )
    check(text, chunks)
    assert chunks[0].text == words(20)
    assert chunks[1].text.startswith("In")
