"""PDF: reading order, headings, tables, running lines, and what cannot be opened."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pypdf
import pytest
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from functions.ingest.parsing.blocks import Block, EmptyPage, PageCount, Title
from functions.ingest.parsing.registry import PDF
from functions.ingest.parsing.writing_direction import Placed, read_line, runs_left
from shared.errors import Unreadable
from tests.support.documents import (
    LIMITS,
    blocks_of,
    make_pdf,
    parse_bytes,
    pdf_lines,
    pdf_text,
    text_of,
)

BODY = [
    "The committee met in the town hall and spoke about the new bridge over",
    "the river, which has been planned for many years and is still not built.",
]


def test_pdf_pages_and_title() -> None:
    """Each block knows its page; the title comes from the metadata; the name does not matter."""
    kind, events = parse_bytes(
        make_pdf([pdf_lines(["One."]), pdf_lines(["Two."])], title="Minutes"), "report.txt"
    )
    assert kind == PDF
    assert events[:2] == [PageCount(2), Title("Minutes")]
    assert [(e.text, e.page) for e in events if isinstance(e, Block)] == [("One.", 1), ("Two.", 2)]


def test_pdf_lines_join_to_paragraphs() -> None:
    """Lines of a paragraph are joined; a wide gap separates paragraphs."""
    stream = pdf_lines(BODY) + pdf_lines(["A second paragraph stands alone here."], top=730)
    assert [block.text for block in blocks_of(make_pdf([stream]), "a.pdf")] == [
        " ".join(BODY),
        "A second paragraph stands alone here.",
    ]


def test_pdf_hyphens_at_line_ends() -> None:
    """A word broken at the end of a line is whole again; a real hyphen stays."""
    text = text_of(
        make_pdf(
            [pdf_lines(["The government speaks of develop-", "ment and of well-known things."])]
        ),
        "a.pdf",
    )
    assert "development" in text
    assert "well-known" in text


def test_pdf_columns_written_row_by_row() -> None:
    """Two columns of text are read one after the other, however the file was written."""
    rows = []
    for i in range(12):
        y = 700 - 12 * i
        rows.append((50.0, float(y), f"left column text of line number {i:02} goes on"))
        rows.append((320.0, float(y), f"right column text of line number {i:02} goes on"))
    text = text_of(make_pdf([pdf_text(rows)]), "a.pdf")
    places = [
        text.find(f"{side} column text of line number {i:02}")
        for side in ("left", "right")
        for i in range(12)
    ]
    assert min(places) >= 0
    assert places == sorted(places)


def test_pdf_table_rows() -> None:
    """Rows of a table without lines stay rows, under their header."""
    table = [("Code", "Place", "Count"), ("SKU-1", "A-12", "450"), ("SKU-2", "B-07", "289")]
    stream = pdf_text(
        (50.0 + 150 * column, 700.0 - 14 * row, cell)
        for row, cells in enumerate(table)
        for column, cell in enumerate(cells)
    )
    rows = [block for block in blocks_of(make_pdf([stream]), "a.pdf") if block.kind == "row"]
    assert [row.text.split(" | ") for row in rows] == [list(cells) for cells in table]
    assert rows[1].header == "Code | Place | Count"


def test_pdf_headings_by_size() -> None:
    """Bigger type is a heading, the biggest the highest."""
    stream = (
        pdf_text([(50, 780, "Whole report")], size=24)
        + pdf_text([(50, 740, "First part")], size=16)
        + pdf_lines(BODY * 4, top=710)
    )
    headings = [b for b in blocks_of(make_pdf([stream]), "a.pdf") if b.kind == "heading"]
    assert [(b.text, b.level) for b in headings] == [("Whole report", 1), ("First part", 2)]


def test_pdf_running_lines() -> None:
    """Headers, footers and page numbers that repeat at their place are left out."""
    pages = [
        pdf_text([(50, 810, "Annual report of the society"), (290, 30, f"Page {i}")])
        + pdf_lines([f"Text of page {i} about subject {i * 7}.", *BODY])
        for i in range(1, 7)
    ]
    text = text_of(make_pdf(pages), "a.pdf")
    assert "Annual report of the society" not in text
    assert "Page 3" not in text
    assert all(f"Text of page {i}" in text for i in range(1, 7))
    printed = [(30, 820, "12/1/26, 2:49 AM Notes"), (30, 20, "https://a.example/n7.html 1/1")]
    text = text_of(make_pdf([pdf_text(printed) + pdf_lines(BODY)]), "a.pdf")
    assert text == " ".join(BODY)


def test_pdf_when_page_has_no_text() -> None:
    """A page of pictures is told by its number; the other pages are kept."""
    _, events = parse_bytes(make_pdf([pdf_lines(["One."]), "0 0 9 9 re f"]), "a.pdf")
    assert EmptyPage(2) in events
    assert any(isinstance(event, Block) for event in events)


def test_pdf_when_one_page_is_broken() -> None:
    """A page that cannot be loaded does not take the others with it."""
    data = make_pdf([pdf_lines(["One."]), pdf_lines(["Two."])], kids="99 0 R 6 0 R 8 0 R", count=3)
    _, events = parse_bytes(data, "a.pdf")
    assert EmptyPage(1) in events
    assert [e.text for e in events if isinstance(e, Block)] == ["One.", "Two."]


def test_pdf_when_damaged() -> None:
    """Bytes that only begin like a PDF are refused as corrupt."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(b"%PDF-1.4\n%garbage", "a.pdf")
    assert caught.value.code == "corrupt"


def test_pdf_when_too_many_pages() -> None:
    """The number of pages is bounded."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_pdf(["", "", ""]), "a.pdf", limits=replace(LIMITS, max_pages=2))
    assert caught.value.code == "too_many_pages"
    assert "3 pages" in caught.value.message


def test_pdf_sentence_over_a_page() -> None:
    """A sentence that a page breaks is one block, without the header and number between."""
    before = [*BODY[:1], "the river, which has been planned for many years and is still not"]
    after = ["built by anybody, because the money of the town was spent on the new school", *BODY]
    pages = [
        pdf_text([(50, 810, "Town chronicle"), (290, 30, "Page 1 of 2")])
        + pdf_lines(before, top=700),
        pdf_text([(50, 810, "Town chronicle"), (290, 30, "Page 2 of 2")])
        + pdf_lines(after, top=740),
    ]
    (block,) = blocks_of(make_pdf(pages), "a.pdf")
    assert "still not built by anybody" in block.text
    assert "Page" not in block.text
    assert "chronicle" not in block.text
    (start,) = block.page_starts
    assert (block.page, start.page) == (1, 2)
    assert block.text[start.position :].startswith("built by anybody")


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_pdf_pages_turned_and_cropped(turn: int) -> None:
    """What is seen of a page is read, whichever way it is turned and wherever it begins."""
    writer = pypdf.PdfWriter(
        io.BytesIO(make_pdf([pdf_lines(["Seen at the top."]) + pdf_lines(["Cut off."], top=40)]))
    )
    writer.pages[0].cropbox = pypdf.generic.RectangleObject((30, 60, 560, 840))
    writer.pages[0].rotate(turn)
    out = io.BytesIO()
    writer.write(out)
    assert text_of(out.getvalue(), "a.pdf") == "Seen at the top."


def test_pdf_boxes_of_words() -> None:
    """Each word of a block is where the page shows it."""
    (block,) = blocks_of(make_pdf([pdf_lines(["A second word."], x=100, top=500)]), "a.pdf")
    (line,) = block.lines
    assert [block.text[word.offset :].split()[0] for word in line.words] == ["A", "second", "word."]
    assert line.words[0].left == pytest.approx(100, abs=1)
    assert line.bottom < 500 < line.top
    lefts = [word.left for word in line.words]
    assert lefts == sorted(lefts)


def test_pdf_boxes_of_words_with_other_blanks() -> None:
    """A blank that does not break a line is one in the text: each of the words has its place."""
    text = "Of 10\xa0000 bolts none is loose."
    (block,) = blocks_of(make_pdf([pdf_lines([text], x=100, top=500)]), "a.pdf")
    (line,) = block.lines
    words = [block.text[word.offset :].split()[0] for word in line.words]
    assert words == ["Of", "10", "000", "bolts", "none", "is", "loose."]


def test_pdf_boxes_of_a_cell_with_several_lines() -> None:
    """Each line of a cell has its own height, so that a sentence in it is marked alone."""
    cells = [
        ["The pump stops.", "Call the desk."],
        ["The tank is full.", ""],
        ["The valve leaks.", "Close it."],
        ["It is cold.", "Heat it."],
    ]
    grid = _grid(columns=2, rows=4, skip=frozenset({(1, -1), (1, -2)}))
    found = blocks_of(make_pdf([_table(cells) + grid]), "a.pdf")
    (row,) = [block for block in found if "pump" in block.text]
    assert row.text == "The pump stops. The tank is full. | Call the desk."
    places = [(row.text[line.position :].split(" ")[1], line.bottom) for line in row.lines]
    assert [word for word, _ in places] == ["pump", "tank", "the"]
    assert places[0][1] == places[2][1] == places[1][1] + 20


def test_pdf_justified_line_of_few_words() -> None:
    """Words that only justification sets far apart are no cells of a table."""
    stretched = [(50.0 + 100 * i, 756.0, word) for i, word in enumerate(("for", "five", "weeks"))]
    whole = "The office takes a holiday until the end of the year, and"
    other = "The depot, too, takes its holidays at the end of the year"
    (block,) = blocks_of(
        make_pdf([pdf_text([(50.0, 780.0, whole), *stretched, (50.0, 732.0, other)])]), "a.pdf"
    )
    assert block.text == f"{whole} for five weeks {other}"


def test_pdf_header_of_a_table_over_pages() -> None:
    """Rows on later pages have the header that stands on the first."""
    rows = [("Part", "Place", "Tool"), *((f"Bolt {i}", f"A-{i}", f"Key {i}") for i in range(40))]
    pages = [
        pdf_text(
            (50.0 + 150 * column, 780.0 - 14 * row, cell)
            for row, cells in enumerate(part)
            for column, cell in enumerate(cells)
        )
        for part in (rows[:20], rows[20:])
    ]
    found = [block for block in blocks_of(make_pdf(pages), "a.pdf") if block.page == 2]
    assert len(found) == 21
    assert {block.header for block in found} == {"Part | Place | Tool"}


def test_pdf_marks_that_are_no_text() -> None:
    """Leader dots, rulers and the numbers of lines are not text."""
    stream = (
        pdf_text([(50, 780, "Introduction ................ 7"), (50, 760, "- - - - - - -")])
        + pdf_lines(BODY * 5, top=700)
        + pdf_text((20.0, 700.0 - 12 * i, str(i + 1)) for i in range(10))
        + pdf_text([(50, 20, "0 1 2 3 4 5 6 7 8 9 10")])
    )
    text = text_of(make_pdf([stream]), "a.pdf")
    assert "Introduction 7" in text
    assert ".." not in text
    assert "- -" not in text
    assert "0 1 2" not in text
    assert [word for word in text.split() if word.isdecimal()] == ["7"]


def _table(
    rows: list[list[str]], *, top: float = 760, pitch: float = 20, lefts: tuple[int, ...] = ()
) -> str:
    places = lefts or tuple(50 + 130 * column for column in range(9))
    return pdf_text(
        (float(places[column]), top - pitch * row, cell)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
        if cell
    )


def _grid(*, columns: int, rows: int, skip: frozenset[tuple[int, int]] = frozenset()) -> str:
    """Return the lines around the cells of a table of _table; *skip* are sides left out."""
    lines = []
    for row in range(rows + 1):
        for column in range(columns):
            if (row, -1 - column) not in skip:
                x, y = 45 + 130 * column, 774 - 20 * row
                lines.append(f"{x} {y} m {x + 130} {y} l S")
    for column in range(columns + 1):
        for row in range(rows):
            if (row, column) not in skip:
                x, y = 45 + 130 * column, 774 - 20 * row
                lines.append(f"{x} {y} m {x} {y - 20} l S")
    return "\n".join(lines) + "\n"


def _rows(*pages: str) -> list[tuple[str, str]]:
    blocks = blocks_of(make_pdf(list(pages)), "a.pdf")
    return [(block.text, block.header) for block in blocks if block.kind == "row"]


def test_pdf_table_with_lines() -> None:
    """Drawn lines tell empty cells, merged cells and a header of two rows."""
    cells = [
        ["Vessel", "Season fee", "", "Note"],
        ["", "Summer", "Winter", ""],
        ["Barge", "41.50", "", "a"],
        ["Yacht", "", "9.10", "b"],
    ]
    # No line between the two columns of the fee, nor below the names of the outer ones.
    merged = frozenset([(0, 2), (1, -1), (1, -4)])
    header = "Vessel | Season fee Summer | Season fee Winter | Note"
    assert _rows(_grid(columns=4, rows=4, skip=merged) + _table(cells)) == [
        ("Vessel | Season fee | Season fee | Note\nVessel | Summer | Winter | Note", ""),
        ("Barge | 41.50 |  | a", header),
        ("Yacht |  | 9.10 | b", header),
    ]


def test_pdf_tables_that_touch() -> None:
    """Of two tables directly below each other each has its own header."""
    first = _grid(columns=3, rows=3) + _table(
        [["Pump", "Power", "Year"], ["P1", "7.5", "2001"], ["P2", "9", "2002"]]
    )
    second = [["Person", "Desk"], ["Ann", "D4"], ["Ben", "D5"]]
    lines = "".join(
        f"45 {y} m 435 {y} l S {x} {y} m {x} {y + 20} l S\n"
        for y in (694, 674, 654)
        for x in (45, 240, 435)
    )
    rows = _rows(first + lines + _table(second, top=700, lefts=(50, 250)))
    assert ("P2 | 9 | 2002", "Pump | Power | Year") in rows
    assert ("Ben | D5", "Person | Desk") in rows


def test_pdf_table_without_lines() -> None:
    """Columns are where all rows leave room; a second line belongs to the row above it."""
    page = pdf_text([(50, 760, "Service"), (300, 760, "Fee"), (380, 760, "Due")])
    for i, (name, more, fee, due) in enumerate(
        [("Mooring", "for small ships", "120", "monthly"), ("Water", "by volume", "2.40", ""),
         ("Pilot", "on request", "", "at once")]
    ):  # fmt: skip
        y = 738 - 34 * i
        page += pdf_text([(50, y, name), (300, y, fee or " "), (380, y, due or " ")])
        page += pdf_text([(50, y - 12, more)])
    assert [text for text, _ in _rows(page)] == [
        "Service | Fee | Due",
        "Mooring for small ships | 120 | monthly",
        "Water by volume | 2.40",
        "Pilot on request |  | at once",
    ]


def test_pdf_table_over_pages() -> None:
    """Rows on later pages have the header of two rows, printed again or not."""
    head = [["Bolt", "Size", "Torque"], ["", "mm", "Nm"]]
    body = [[f"B{i}", f"{i}", f"{i}.5"] for i in range(60)]
    for repeated in ([], head):
        first, second = [*head, *body[:30]], [*repeated, *body[30:]]
        pages = [
            _grid(columns=3, rows=len(part)) + _table(part) + pdf_text([(50, 30, "Page")])
            for part in (first, second)
        ]
        rows = _rows(*pages)
        assert rows[-1] == ("B59 | 59 | 59.5", "Bolt | Size mm | Torque Nm")
        assert len(rows) == 61


@pytest.mark.parametrize("is_ruled", [True, False])
def test_pdf_row_that_the_page_breaks(*, is_ruled: bool) -> None:
    """A row goes on with its second line on the next page, where one more row of its table is."""
    first = [["No.", "Decision", "Due"], *([f"1-{i}", f"Order {i}", f"{i} May"] for i in range(8))]
    second = [["", "spare bearings"], ["1-8", "Paper", "9 June"]]
    pages = [
        (_grid(columns=3, rows=len(part)) if is_ruled else "") + _table(part)
        for part in (first, second)
    ]
    rows = [text for text, _ in _rows(pages[0], pages[1] + pdf_lines(BODY, top=600))]
    assert rows[-2:] == ["1-7 | Order 7 spare bearings | 7 May", "1-8 | Paper | 9 June"]


def test_pdf_title_of_two_lines_and_its_list() -> None:
    """The title's lines are one, it is the document's, and items of a list follow each other."""
    title = "BT /F1 20 Tf 50 780 Td (Manual of the Boreas) Tj 0 -26 Td (screw compressor) Tj ET\n"
    items = ["1. Open the lid of the machine.", "2. Drain the condensate."]
    stream = title + pdf_lines(BODY, top=700) + pdf_lines(items, top=640)
    _, events = parse_bytes(make_pdf([stream]), "a.pdf")
    assert events[1] == Title("Manual of the Boreas screw compressor")
    blocks = [event for event in events if isinstance(event, Block)]
    gaps = [("item", "\n\n"), ("item", "\n")]
    assert [(block.kind, block.gap) for block in blocks[-2:]] == gaps
    drawn = "".join(f"40 {y} 4 4 re f\n" for y in (781, 767))
    listed = blocks_of(make_pdf([drawn + pdf_lines(["Read the level", "Drain it"])]), "a.pdf")
    assert [(block.text, block.kind) for block in listed] == [
        ("• Read the level", "item"),
        ("• Drain it", "item"),
    ]


def test_pdf_accents_beside_their_letters() -> None:
    """An accent over the letter behind it is that letter's; unnamed signs are read."""
    over = "BT /F1 11 Tf 50 700 Td [(Gr\\250) 300 (unbacher and na\\250) 300 (ive)] TJ ET\n"
    assert text_of(make_pdf([over]), "a.pdf") == "Grünbacher and naïve"
    unnamed = "BT /F1 11 Tf 50 700 Td (O\\033ice \\026 open) Tj ET\n"
    assert text_of(make_pdf([unnamed]), "a.pdf") == "Office — open"
    beside = "BT /F1 11 Tf 50 700 Td (It\\264s a plain mark) Tj ET\n"
    assert text_of(make_pdf([beside]), "a.pdf") == "It\u00b4s a plain mark"


def test_pdf_formulas_are_no_table() -> None:
    """Short pieces that stand beside each other by chance are no rows."""
    pieces = [(60, 700, "f"), (90, 706, "n"), (140, 700, "="), (60, 684, "x"), (200, 684, "}"),
              (75, 668, "y"), (131, 668, "{"), (222, 668, "|")]  # fmt: skip
    assert _rows(pdf_lines(BODY * 3, top=780) + pdf_text(pieces)) == []


def test_pdf_box_around_a_paragraph() -> None:
    """A frame around text is no table of one cell."""
    page = "40 640 500 100 re S\n" + pdf_lines(BODY, top=720)
    assert [block.kind for block in blocks_of(make_pdf([page]), "a.pdf")] == ["paragraph"]


def test_pdf_places_of_rows() -> None:
    """Each word of a row is where the page shows it, also in a table with lines."""
    data = make_pdf([_grid(columns=2, rows=3) + _table([["Key", "No"], ["a b", "1"], ["c", "2"]])])
    block = next(block for block in blocks_of(data, "a.pdf") if block.text == "a b | 1")
    (line,) = block.lines
    shown = [block.text[line.position + word.offset :].split()[0] for word in line.words]
    assert shown == ["a", "b", "1"]
    assert line.words[2].left == pytest.approx(180, abs=1)


def test_pdf_of_a_slide() -> None:
    """What stands on a wide page is read by its place, however the file was written."""
    places = [(230, 300, "Right, above."), (60, 120, "Left, below."), (60, 300, "Left, above."),
              (230, 120, "Right, below."), (60, 520, "Title")]  # fmt: skip
    data = make_pdf([pdf_text(places)]).replace(b"[0 0 595 842]", b"[0 0 842 595]")
    texts = [block.text for block in blocks_of(data, "a.pdf")]
    assert texts == ["Title", "Left, above.", "Right, above.", "Left, below.", "Right, below."]


def _turned(lines: Sequence[tuple[float, float, str]], *, cosine: int, sine: int) -> str:
    """Return a content stream of texts that run in another direction."""
    return "".join(
        f"BT /F 10 Tf {cosine} {sine} {-sine} {cosine} {x} {y} Tm ({text}) Tj ET\n"
        for x, y, text in lines
    )


@pytest.mark.parametrize(("cosine", "sine"), [(0, 1), (0, -1)])
def test_pdf_text_that_runs_up_or_down(cosine: int, sine: int) -> None:
    """A table that is turned on its page is read as any other, and its words are marked there."""
    table = [["Part", "Torque", "Price"], *[[f"Bolt {i}", f"{i} Nm", f"{i}.50"] for i in range(9)]]
    lines = [
        (300 + cosine * 90 * c + sine * 16 * r, 400 + sine * 90 * c - cosine * 16 * r, cell)
        for r, cells in enumerate(table)
        for c, cell in enumerate(cells)
    ]
    rows = blocks_of(make_pdf([_turned(lines, cosine=cosine, sine=sine)]), "a.pdf")
    assert [row.text for row in rows] == [" | ".join(cells) for cells in table]
    assert rows[9].header == "Part | Torque | Price"
    x, y, _ = lines[3]
    first = rows[1].lines[0]
    assert first.words[0].left - 1 <= x <= first.words[0].right + 1
    assert first.bottom - 1 <= y <= first.top + 1


def test_pdf_table_of_sentences() -> None:
    """Rows that gaps part stay whole, whichever lines of their cells stand beside each other."""
    texts = []
    y = 760.0
    for i in range(6):
        for n, (meaning, action) in enumerate(
            [
                ("The sensor reports no pressure", "Check the cable and"),
                ("for nine seconds", "call"),
            ]
        ):
            texts += [(120.0, y - 12 * n, meaning), (330.0, y - 12 * n, action)]
        texts.append((50.0, y - 12, f"E{i}"))
        y -= 32
    rows = [block.text for block in blocks_of(make_pdf([pdf_text(texts)]), "a.pdf")]
    whole = "The sensor reports no pressure for nine seconds | Check the cable and call"
    assert rows == [f"E{i} | {whole}" for i in range(6)]


def test_pdf_grid_of_sentences() -> None:
    """The lines of cells within drawn lines stay in their row, a short table's too."""
    stream = "".join(f"50 {y} m 500 {y} l S\n" for y in (760, 730, 700))
    stream += "".join(f"{x} 700 m {x} 760 l S\n" for x in (50, 120, 320, 500))
    for i, top in enumerate((750, 720)):
        cells = [(125.0, "The sensor reports"), (325.0, "Check the cable")]
        stream += pdf_text((x, top, text) for x, text in cells)
        stream += pdf_text(
            [(55, top - 12, f"E{i}"), (125, top - 12, "a fault"), (325, top - 12, "now")]
        )
    rows = [block.text for block in blocks_of(make_pdf([stream]), "a.pdf")]
    assert rows == [f"E{i} | The sensor reports a fault | Check the cable now" for i in range(2)]


def test_pdf_lists_with_their_numbers_set_apart() -> None:
    """Numbers that a tab parts from their items make no table."""
    items = [("1.", "Drain"), ("2.", "Open"), ("(a)", "Left"), ("(b)", "Right"), ("2.1", "Close")]
    stream = pdf_text(
        (x, 760.0 - 14 * i, text)
        for i, item in enumerate(items)
        for x, text in zip((50.0, 100.0), item, strict=True)
    )
    assert [(b.kind, b.text) for b in blocks_of(make_pdf([stream]), "a.pdf")] == [
        ("item", f"{number} {text}") for number, text in items
    ]


def test_pdf_header_in_bold_on_every_page() -> None:
    """A header printed again is left out, in bold type too."""
    pages = []
    for page in range(3):
        header = "".join(
            pdf_text([(50 + 150 * c, 780, t)], font="B") for c, t in enumerate(("Part", "Nm"))
        )
        rows = [
            (50.0 + 150 * c, 760.0 - 14 * r, t)
            for r in range(9)
            for c, t in enumerate((f"Bolt {page}{r}", f"{r}"))
        ]
        pages.append(header + pdf_text(rows))
    blocks = blocks_of(make_pdf(pages), "a.pdf")
    assert [block.text for block in blocks].count("Part | Nm") == 1
    assert blocks[-1].header == "Part | Nm"


def test_pdf_hyphens_that_stay() -> None:
    """Numbers, names and hyphens before "and" keep theirs at the end of a line."""
    lines = ["on- and offshore, KX-", "4471, 2026-", "2027, Nord-", "Westen, Ein-", "und Ausgang."]
    assert text_of(make_pdf([pdf_lines(lines)]), "a.pdf") == (
        "on- and offshore, KX-4471, 2026-2027, Nord-Westen, Ein- und Ausgang."
    )


def _with_form_data(data: bytes) -> bytes:
    """Return a PDF of one line with an XFA form that holds *data*."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf([pdf_lines(["Please wait..."])])))
    stream = DecodedStreamObject()
    stream.set_data(data)
    form = {NameObject("/Fields"): ArrayObject(), NameObject("/XFA"): writer._add_object(stream)}
    writer.root_object[NameObject("/AcroForm")] = DictionaryObject(form)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_pdf_form_that_pdfium_does_not_draw() -> None:
    """What was filled into an XFA form is read, though its page only asks for another program."""
    data = (
        b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/"><xfa:datasets'
        b' xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form1>'
        b"<Name>Nadia Brandt</Name><Plate>KX 4471</Plate><Empty/></form1></xfa:data>"
        b"</xfa:datasets></xdp:xdp>"
    )
    assert text_of(_with_form_data(data), "a.pdf").endswith("Name: Nadia Brandt\nPlate: KX 4471")


def test_pdf_of_texts_one_over_the_other() -> None:
    """Texts that stand over each other in many places are read, whatever comes of their order."""
    texts = [
        (20.0 + (i % 6) * 90, 820.0 - (i // 6) * (7 if i % 12 else 9), "ab cd ef")
        for i in range(600)
    ]
    text = text_of(make_pdf([pdf_text(texts)]), "a.pdf")
    assert text.count("ab cd ef") > 300


@pytest.mark.parametrize(
    "data",
    [
        b"<datasets><data>" + b"<a>" * 100_000,
        b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><datasets><data><a>&b;</a></data>',
        b"<datasets><data><a>" + b"\xff" * 100,
    ],
    ids=["deep", "entities", "bytes"],
)
def test_pdf_when_the_data_of_its_form_is_hostile(data: bytes) -> None:
    """What cannot be read of a form costs the values, not the document."""
    assert text_of(_with_form_data(data), "a.pdf") == "Please wait..."


def test_pdf_raised_digits() -> None:
    """Powers and the marks of notes are no part of the number or word before them."""
    stream = (
        "BT /F 10 Tf 50 700 Td (The tank holds 10) Tj /F 7 Tf 4 Ts (2) Tj /F 10 Tf 0 Ts"
        " ( litres on 45 m) Tj /F 7 Tf 4 Ts (2) Tj /F 10 Tf 0 Ts (.) Tj"
        " 0 -14 Td (In 2025 the flow) Tj /F 7 Tf 4 Ts (31) Tj /F 10 Tf 0 Ts ( was 44.) Tj ET"
    )
    assert text_of(make_pdf([stream]), "a.pdf") == (
        "The tank holds 10² litres on 45 m². In 2025 the flow³¹ was 44."
    )


def test_pdf_words_with_a_hyphen_at_the_end_of_a_line() -> None:
    """They keep it where they are known to have one; parted words do not."""
    lines = [
        "The drop-in centre is a well-",
        "known place of long-",
        "term care, of state-of-the-",
        "art mainte-",
        "nance, of a web-",
        "based drop-",
        "in list and of govern-",
        "ment.",
    ]
    assert text_of(make_pdf([pdf_lines(lines)]), "a.pdf") == (
        "The drop-in centre is a well-known place of long-term care, of state-of-the-art"
        " maintenance, of a web-based drop-in list and of government."
    )


def test_pdf_letters_set_apart() -> None:
    """Spaced letters are words, and so is a first letter with the text beside it."""
    spaced = pdf_text([(50, 780, "A N N U A L   R E P O R T")], size=16)
    dropped = pdf_text([(50, 700, "T")], size=40) + pdf_text(
        [
            (76, 714, "he ferry sails at nine and it never once missed the tide"),
            (76, 700, "of May."),
        ],
        size=10,
    )
    text = text_of(make_pdf([spaced + dropped]), "a.pdf")
    assert text.startswith("ANNUAL REPORT")
    assert "The ferry sails at nine" in text


def test_pdf_chapter_beside_the_page_number() -> None:
    """A line whose number runs with the pages is a running line, whatever stands beside it."""
    pages = [
        pdf_text([(50, 810, f"{i + 12}"), (400, 810, f"Chapter {chapter}")])
        + pdf_lines([*BODY, f"Text of page {i} about subject {i * 7}.", *BODY, *BODY])
        for i, chapter in enumerate(("ONE", "ONE", "TWO", "TWO", "THREE", "THREE"), start=1)
    ]
    text = text_of(make_pdf(pages), "a.pdf")
    assert "Chapter" not in text
    assert all(f"Text of page {i}" in text for i in range(1, 7))


def test_pdf_narrow_table() -> None:
    """Lines around cells make a table, however near its columns are and its lines are drawn."""
    table = [("Id", "Ok", "No"), ("A", "1", "2"), ("B", "3", "4"), ("C", "5", "6")]
    stream = pdf_text(
        (53.0 + 20 * column, 704.0 - 14 * row, cell)
        for row, cells in enumerate(table)
        for column, cell in enumerate(cells)
    )
    for shift in (0, 2):
        stream += "".join(
            f" 50 {714 - 14 * i - shift} m 110 {714 - 14 * i - shift} l S" for i in range(5)
        )
    stream += "".join(f" {50 + 20 * i} 714 m {50 + 20 * i} 656 l S" for i in range(4))
    rows = [block.text for block in blocks_of(make_pdf([stream]), "a.pdf") if block.kind == "row"]
    assert rows == [" | ".join(cells) for cells in table]


def test_pdf_columns_named_by_texts_that_run_up() -> None:
    """The names of narrow columns are turned, and their digits written one below the other."""
    stream = pdf_text([(53, 644.0 - 14 * i, f"Worker {i}") for i in range(6)])
    stream += pdf_text(
        [(123.0 + 30 * c, 644.0 - 14 * r, f"{r + c}") for c in range(2) for r in range(6)]
    )
    stream += "".join(
        f" BT /B 10 Tf 0 1 -1 0 {134 + 30 * i} 662 Tm ({name}) Tj ET"
        for i, name in enumerate(("Welding", "First aid"))
    )
    tops = [712, *(654 - 14 * i for i in range(7))]
    stream += "".join(f" 50 {y} m 180 {y} l S" for y in tops)
    stream += "".join(f" {x} 712 m {x} 570 l S" for x in (50, 120, 150, 180))
    rows = [block.text for block in blocks_of(make_pdf([stream]), "a.pdf") if block.kind == "row"]
    assert rows == [" | Welding | First aid", *(f"Worker {i} | {i} | {i + 1}" for i in range(6))]


def test_pdf_rows_of_a_group() -> None:
    """Rows that stand close together under one name stay rows."""
    cells = [
        [("Region", 50), ("Zone", 110), ("Day", 180), ("Night", 250)],
        [("North", 50), ("A", 110), ("4.10", 180), ("2.20", 250)],
        [("B", 110), ("4.30", 180), ("2.40", 250)],
        [("South", 50), ("C", 110), ("5.10", 180), ("3.20", 250)],
        [("D", 110), ("5.30", 180), ("3.40", 250)],
    ]
    tops = [700.0, 680.0, 668.0, 648.0, 636.0]
    stream = pdf_text(
        (float(x), y, text) for y, row in zip(tops, cells, strict=True) for text, x in row
    )
    rows = [block.text for block in blocks_of(make_pdf([stream]), "a.pdf") if block.kind == "row"]
    assert [row.split(" | ")[-3:] for row in rows[1:]] == [
        ["A", "4.10", "2.20"],
        ["B", "4.30", "2.40"],
        ["C", "5.10", "3.20"],
        ["D", "5.30", "3.40"],
    ]


def _with_file_annotation(data: bytes, name: str) -> bytes:
    """Return a PDF of one line that holds a file in two annotations."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf([pdf_lines(["See the note."])])))
    stream = DecodedStreamObject()
    stream.set_data(data)
    held = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Filespec"),
            NameObject("/F"): TextStringObject(name),
            NameObject("/EF"): DictionaryObject({NameObject("/F"): writer._add_object(stream)}),
        }
    )
    annotation = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Annot"),
            NameObject("/Subtype"): NameObject("/FileAttachment"),
            NameObject("/Rect"): ArrayObject([NumberObject(n) for n in (90, 90, 110, 110)]),
            NameObject("/FS"): held,
        }
    )
    writer.pages[0][NameObject("/Annots")] = ArrayObject([annotation, annotation])
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_pdf_file_pinned_to_a_page() -> None:
    """A file that an annotation holds is read, once; one that cannot be read is named."""
    pinned = text_of(_with_file_annotation(b"The crane arrives in June.", "note.txt"), "a.pdf")
    assert pinned.count("The crane arrives in June.") == 1
    assert "Attachment: note.txt" in pinned
    assert "(not read:" in text_of(_with_file_annotation(b"%PDF-1.4 nothing", "a.pdf"), "b.pdf")


@pytest.mark.parametrize(
    ("seen", "read"),
    [
        ("םולש", "שלום"),
        ("16:45 דע 9:15 העשמ", "משעה 9:15 עד 16:45"),
        (".Office 365 תכרעמ רובע", "עבור מערכת Office 365."),
        ("(ןכ) אל", "לא (כן)"),
        (")ןכ( אל", "לא (כן)"),
        ("hello םולש means", "hello שלום means"),
        ("\ufee2\ufee0\ufecb", "علم"),
    ],
)
def test_words_that_run_from_the_right(seen: str, read: str) -> None:
    """Letters are read by their places; numbers and words of other scripts run to the right."""
    letters = [Placed(sign, 6.0 * at, 6.0 * at + 6) for at, sign in enumerate(seen) if sign != " "]
    words = read_line(letters, height=12, is_backwards=runs_left(seen))
    assert " ".join(word.text for word in words) == read


def test_pdf_names_over_narrow_columns() -> None:
    """Columns with a narrow gap stay columns where one name stands over two of them."""
    rows = [("Harbour", "3.10", "7.40"), ("Valley", "4.25", "9.90"), ("Ridge", "5.60", "2.30")]
    cells = [(168.0, 700.0, "Adult"), (50.0, 686.0, "Zone"), (150.0, 686.0, "Once")]
    cells.append((184.0, 686.0, "Daily"))
    for number, (zone, single, day) in enumerate(rows):
        y = 672.0 - 14 * number
        cells += [(50.0, y, zone), (150.0, y, single), (184.0, y, day)]
    found = _rows(pdf_text(cells))
    assert [text for text, _ in found if text[0] in "HVR"] == [" | ".join(row) for row in rows]


@pytest.mark.parametrize("first", ["Pressure regula-", "Pressure regulator"])
def test_pdf_words_broken_within_a_cell(first: str) -> None:
    """The second line of a row goes on with it, and a word that it parts is whole."""
    rest = "tor valve" if first.endswith("-") else "valve"
    cells = [(50.0, 700.0, "Part"), (200.0, 700.0, "Use"), (340.0, 700.0, "Pieces")]
    for number, part in enumerate(("Coupling", "Amplifier", first)):
        y = 680.0 - 28 * number
        cells += [(50.0, y, part), (200.0, y, "Hall of the"), (340.0, y, f"{number + 4}")]
        cells += [(50.0, y - 14, "large" if part != first else rest), (200.0, y - 14, "depot")]
    rows = [text for text, _ in _rows(pdf_text(cells))]
    assert rows[-1] == "Pressure regulator valve | Hall of the depot | 6"
    assert rows[1] == "Coupling large | Hall of the depot | 4"


def test_pdf_table_over_pages_with_wider_numbers() -> None:
    """Numbers that grow, aligned on the right, do not part a table from its header."""
    pages = []
    for first in (1, 31):
        cells = [(50.0, 780.0, "Number"), (120.0, 780.0, "Subject"), (400.0, 780.0, "Pages")]
        cells = cells if first == 1 else []
        for number in range(first, first + 30):
            y = 766.0 - 14 * (number - first)
            pages_read = str(number * 3)
            cells += [(50.0, y, f"A-{number}"), (120.0, y, f"Minutes of meeting {number}")]
            cells.append((426.0 - 5.56 * len(pages_read), y, pages_read))
        pages.append(pdf_text(cells))
    header = "Number | Subject | Pages"
    assert {h for text, h in _rows(*pages) if text.startswith("A-")} == {header}


def _striped(first: int = 0) -> str:
    """Return a table whose every other row is shaded from one on, as browsers print one."""
    rows = [["Room", "Floor", "Seats"], *([f"Room {n}", str(n % 3), str(n)] for n in range(10, 19))]
    shades = "".join(
        f"{45 + 130 * column} {754 - 20 * row} 130 20 re f\n"
        for row in range(first, 10, 2)
        for column in range(3)
    )
    table = _table(rows)
    if first:
        # Names of columns are bold.
        table = table.replace("/F ", "/B ", 3)
    return f"0.9 g\n{shades}0 g\n{table}"


def _under_header_lines() -> str:
    """Return a table with lines around its first two rows alone."""
    rows = [["Code", "Place", "Count"], *([f"SKU-{n}", f"A-{n}", str(n)] for n in range(10, 19))]
    return _grid(columns=3, rows=2) + _table(rows)


def _beside_text() -> str:
    """Return two columns of text, in the right one of which a table stands."""
    left = [
        (50.0, 700.0 - 12 * n, f"and the pump of line {n} runs at night, too") for n in range(24)
    ]
    right = [(320.0, 700.0 - 12 * n, f"while the fan of line {n} stands by day") for n in range(14)]
    cells = [
        ("Fan", "Watt", "Year"),
        ("A-1", "120", "2019"),
        ("B-2", "", "2021"),
        ("C-3", "95", ""),
    ]
    table = [
        (320.0 + 70 * column, 520.0 - 12 * row, cell)
        for row, line in enumerate(cells)
        for column, cell in enumerate(line)
        if cell
    ]
    return pdf_text([*left, *right, *table])


def _walled() -> str:
    """Return a table of three columns so narrow that the words of a row touch."""
    words = [("Mode", "Load", "Mass"), ("Slow", "High", "2800"), ("Fast", "Less", "1400")]
    lines = [f"{x} 650 m {x} 704 l S" for x in (49, 84, 119, 154)]
    lines += [f"49 {y} m 154 {y} l S" for y in (704, 686, 668, 650)]
    # So wide are these words in Helvetica.
    widths = {
        "Mode": 30.68,
        "Slow": 28.02,
        "Fast": 25.34,
        "Load": 26.69,
        "High": 24.68,
        "Less": 25.34,
    }
    cells = [
        (84.0 + 35 * column - 0.6 - widths[word] if column < 2 else 119.6, 690.0 - 18 * row, word)
        for row, line in enumerate(words)
        for column, word in enumerate(line)
    ]
    return "\n".join(lines) + "\n" + pdf_text(cells)


def _named_left(heads: list[list[str]], columns: int = 2) -> str:
    """Return a table of numbers to the right, whose names begin where their columns do."""
    names = [
        (50.0 + (70 + 60 * (at - 1) if at else 0), 720.0 + 14 * (len(heads) - row), name)
        for row, head in enumerate(heads)
        for at, name in enumerate(head)
        if name
    ]
    numbers = [
        (176.0 + 60 * at - 5.56 * 3, 720.0 - 14 * row, f"{row + 1}{at % 2}0")
        for row in range(4)
        for at in range(columns)
    ]
    keys = [(50.0, 720.0 - 14 * row, f"Pier-{row + 1}") for row in range(4)]
    return pdf_text([*names, *sorted([*keys, *numbers], key=lambda text: (-text[1], text[0]))])


def test_pdf_names_in_two_rows_without_lines() -> None:
    """Names above several columns stand before those of each."""
    heads = [["", "2025", "", "2026"], ["Pier", "Boats", "Crew", "Boats", "Crew"]]
    *_, (row, header) = _rows(_named_left(heads, columns=4))
    assert row == "Pier-4 | 400 | 410 | 400 | 410"
    assert header == "Pier | 2025 Boats | 2025 Crew | 2026 Boats | 2026 Crew"


@pytest.mark.parametrize(
    ("stream", "header", "rows"),
    [
        (_striped(), "Room | Floor | Seats", [f"Room {n} | {n % 3} | {n}" for n in range(10, 19)]),
        (_striped(1), "Room | Floor | Seats", [f"Room {n} | {n % 3} | {n}" for n in range(10, 19)]),
        (
            _under_header_lines(),
            "Code | Place | Count",
            [f"SKU-{n} | A-{n} | {n}" for n in range(10, 19)],
        ),
        (
            pdf_text(
                (50.0 + (60 + 30 * (column - 1) if column else 0), 700.0 - 12 * row, cell)
                for row, line in enumerate(
                    [
                        ["Stop", "1", "2", "3", "4"],
                        *(
                            [f"Pier-{n}", f"5:1{n}", f"6:1{n}", f"7:1{n}", f"8:1{n}"]
                            for n in range(4)
                        ),
                    ]
                )
                for column, cell in enumerate(line)
            ),
            "Stop | 1 | 2 | 3 | 4",
            [f"Pier-{n} | 5:1{n} | 6:1{n} | 7:1{n} | 8:1{n}" for n in range(4)],
        ),
        (_beside_text(), "Fan | Watt | Year", ["A-1 | 120 | 2019", "B-2 |  | 2021", "C-3 | 95"]),
        (_walled(), "Mode | Load | Mass", ["Slow | High | 2800", "Fast | Less | 1400"]),
        (
            _under_header_lines() + pdf_text([(50.0, 90.0, "word")] * 2_000),
            "Code | Place | Count",
            [f"SKU-{n} | A-{n} | {n}" for n in range(10, 19)],
        ),
        (
            _named_left([["Pier", "Plan", "Real"]]),
            "Pier | Plan | Real",
            [f"Pier-{n} | {n}00 | {n}10" for n in range(1, 5)],
        ),
    ],
    ids=[
        "stripes",
        "stripes below the header",
        "lines around the header",
        "narrow columns",
        "text beside it",
        "words that touch",
        "lines among many words",
        "names to the left of numbers",
    ],
)
def test_pdf_tables_as_programs_draw_them(stream: str, header: str, rows: list[str]) -> None:
    """Each row stands once, in order, under the header of its columns."""
    assert _rows(stream) == [(header, ""), *((row, header) for row in rows)]


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (
            [
                (70, 700, "Close both valves."),
                (70, 680, "Start it."),
                (50, 700, "1."),
                (50, 680, "2."),
            ],
            ["1. Close both valves.", "2. Start it."],
        ),
        (
            [
                (50, 700 - 14 * n, line)
                for n, line in enumerate(["Vera Holt", "4 Mill Lane", "Bath"])
            ]
            + [(50, 600 - 14 * n, line) for n, line in enumerate(BODY)],
            ["Vera Holt\n4 Mill Lane\nBath", " ".join(BODY)],
        ),
        (
            [
                (
                    50 - 6 * len(str(n)),
                    700 - 24 * n,
                    f"{n}   the witness said on day {n} that he saw it and",
                )
                for n in range(1, 13)
            ],
            [" ".join(f"the witness said on day {n} that he saw it and" for n in range(1, 13))],
        ),
        (
            [
                (50, 700 - 14 * n, line)
                for n, line in enumerate(
                    ["The lamps are lit", "The gulls rest", "And slow", "From far"]
                )
            ]
            + [(50, 600 - 14 * n, line) for n, line in enumerate(BODY)],
            ["The lamps are lit\nThe gulls rest\nAnd slow\nFrom far", " ".join(BODY)],
        ),
        (
            [(50, 800, "Town news"), (500, 800, "Issue 7")]
            + [(50, 700 - 12 * n, f"left line {n:02} of the text goes on and on") for n in range(9)]
            + [(320, 700 - 12 * n, f"right line {n:02} of the text goes on so") for n in range(9)],
            [
                "Town news Issue 7",
                " ".join(f"left line {n:02} of the text goes on and on" for n in range(9))
                + " "
                + " ".join(f"right line {n:02} of the text goes on so" for n in range(9)),
            ],
        ),
        (
            [
                (50, 700 - 14 * n, line)
                for n, line in enumerate(["Vessel: Gull", "Berth: 4 west", "Draught: 3 m"])
            ]
            + [(50, 600 - 14 * n, line) for n, line in enumerate(BODY)],
            ["Vessel: Gull\nBerth: 4 west\nDraught: 3 m", " ".join(BODY)],
        ),
        (
            [(50, 700 - 12 * n, f"left line {n:02} of the text goes on and on") for n in range(9)]
            + [(320, 700 - 12 * n, f"right line {n:02} of the text goes on so") for n in range(9)]
            + [(50, 570, "See the chart.")],
            [
                " ".join(f"left line {n:02} of the text goes on and on" for n in range(9))
                + " "
                + " ".join(f"right line {n:02} of the text goes on so" for n in range(9)),
                "See the chart.",
            ],
        ),
    ],
    ids=[
        "marks",
        "address",
        "numbers of lines",
        "verses",
        "a header over columns",
        "names and values",
        "a line below columns",
    ],
)
def test_pdf_lines_as_programs_write_them(
    texts: list[tuple[float, float, str]], read: list[str]
) -> None:
    """Marks stand before their items, lines broken on purpose stay, columns begin below."""
    assert [block.text for block in blocks_of(make_pdf([pdf_text(texts)]), "a.pdf")] == read


def test_pdf_page_whose_size_the_page_tree_has() -> None:
    """Text near the top of a page is read, whether or not the page itself says how high it is."""
    data = make_pdf([pdf_lines(["Notice of change"], top=825) + pdf_lines(BODY)])
    box = b"/MediaBox[0 0 595 842]"
    moved = data.replace(box, b" " * len(box)).replace(b"/Type/Pages", b"/Type/Pages" + box)
    assert "Notice of change" in text_of(moved, "a.pdf")


def test_pdf_figures_at_several_heights() -> None:
    """Digits of the size of their line are no superscripts, at whatever height they stand."""
    stream = (
        "BT /F 12 Tf 50 700 Td (Table ) Tj 3 Ts (1) Tj 0 Ts ( shows 26,) Tj 3 Ts (610) Tj 0 Ts "
        "( tons per m) Tj /F 8 Tf 4 Ts (2) Tj /F 12 Tf 0 Ts ( of land.) Tj ET"
    )
    assert text_of(make_pdf([stream]), "a.pdf") == "Table 1 shows 26,610 tons per m² of land."


def test_pdf_what_is_written_across_a_page() -> None:
    """A watermark is neither text nor the title."""
    mark = "BT /F 70 Tf 0.7 0.7 -0.7 0.7 150 300 Tm (DRAFT) Tj ET\n"
    body = pdf_text([(50.0, 700.0 - 14 * n, line) for n, line in enumerate(BODY)])
    _, events = parse_bytes(make_pdf([mark + body]), "a.pdf")
    assert not [event for event in events if isinstance(event, Title)]
    assert text_of(make_pdf([mark + body]), "a.pdf") == " ".join(BODY)


def test_pdf_address_and_page_number_of_a_browser() -> None:
    """They are no text, also close below the last line."""
    pages = [
        pdf_text(
            [
                *((50.0, 60.0 - 14 * n, f"Sentence {n} of page {page}.") for n in range(2)),
                (50.0, 30.0, f"https://pier.example/tides {page}/2"),
            ]
        )
        for page in (1, 2)
    ]
    assert "example" not in text_of(make_pdf(pages), "a.pdf")
