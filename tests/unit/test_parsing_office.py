"""Word, PowerPoint, Excel, CSV and JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date

import pytest
import xlsxwriter

from functions.ingest.parsing.blocks import Block, EmptyPage, PageCount, Title
from functions.ingest.parsing.registry import CSV, DOCX, JSON, JSON_LINES, PPTX, XLSX
from shared.errors import Unreadable
from tests.support.documents import (
    LIMITS,
    blocks_of,
    docx_paragraph,
    make_docx,
    make_pptx,
    make_xlsx,
    make_zip,
    parse_bytes,
    pptx_shape,
    relations,
    text_of,
    xlsx_row,
)

_TABLE = (
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>Name</w:t></w:r></w:p></w:tc>"
    "<w:tc><w:p><w:r><w:t>Age</w:t></w:r></w:p></w:tc></w:tr>"
    "<w:tr><w:tc><w:p><w:r><w:t>Ann</w:t></w:r></w:p></w:tc><w:tc>"
    "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>inner cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    "<w:p><w:r><w:t>33</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
)


def test_docx_blocks() -> None:
    """Headings, paragraphs and tables come in order, a nested table with them."""
    data = make_docx(
        docx_paragraph("Plan", style="Heading1") + docx_paragraph("Some text.") + _TABLE
    )
    kind, events = parse_bytes(data, "a.docx")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == DOCX
    assert (blocks[0].kind, blocks[0].text) == ("heading", "Plan")
    assert blocks[2].text == "Name | Age"
    text = "\n".join(block.text for block in blocks)
    assert all(word in text for word in ("Ann", "inner cell", "33"))


@pytest.mark.parametrize(
    "wrapped",
    [
        "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>",
        "<w:p><w:r><w:pict><w:txbxContent>{}</w:txbxContent></w:pict></w:r></w:p>",
        "<w:ins>{}</w:ins>",
    ],
)
def test_docx_when_text_is_wrapped(wrapped: str) -> None:
    """Content controls, text boxes and insertions are text."""
    data = make_docx(wrapped.format(docx_paragraph("hidden gem")))
    assert text_of(data, "a.docx") == "hidden gem"


def test_docx_when_text_is_not_there() -> None:
    """Deleted text, field codes and fallbacks of drawings are no text."""
    data = make_docx(
        "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:t>kept</w:t></w:r></w:p>"
    )
    assert text_of(data, "a.docx") == "kept"


def test_docx_numbered_list() -> None:
    """List paragraphs get the numbers that Word shows."""
    numbering = (
        '<w:numbering xmlns:w="w"><w:abstractNum w:abstractNumId="1">'
        '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/>'
        '<w:lvlText w:val="%1."/></w:lvl><w:lvl w:ilvl="1"><w:start w:val="1"/>'
        '<w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl></w:abstractNum>'
        '<w:num w:numId="5"><w:abstractNumId w:val="1"/></w:num></w:numbering>'
    )

    def item(text: str, level: int) -> str:
        return (
            f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="5"/></w:numPr></w:pPr>'
            f"<w:r><w:t>{text}</w:t></w:r></w:p>"
        )

    data = make_docx(
        item("one", 0) + item("sub", 1) + item("sub", 1) + item("two", 0),
        extra={
            "word/_rels/document.xml.rels": relations([("n", "numbering", "numbering.xml")]),
            "word/numbering.xml": numbering,
        },
    )
    assert text_of(data, "a.docx").split("\n") == ["1. one", "1.a) sub", "1.b) sub", "2. two"]


def test_docx_footnotes() -> None:
    """Footnotes follow the body."""
    data = make_docx(
        docx_paragraph("Body."),
        extra={
            "word/_rels/document.xml.rels": relations([("f", "footnotes", "footnotes.xml")]),
            "word/footnotes.xml": f'<w:footnotes xmlns:w="w"><w:footnote>'
            f"{docx_paragraph('The note.')}</w:footnote></w:footnotes>",
        },
    )
    assert text_of(data, "a.docx") == "Body.\nThe note."


def test_docx_when_entities_are_declared() -> None:
    """External entities are refused, so that no file's content reaches the index."""
    prolog = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_docx(docx_paragraph("&x;"), prolog=prolog), "a.docx")
    assert caught.value.code == "corrupt"


def test_docx_when_entities_explode() -> None:
    """An entity bomb is refused at its declaration."""
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(10)
    )
    prolog = f"<!DOCTYPE d [{entities}]>"
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_docx(docx_paragraph("&k;"), prolog=prolog), "a.docx")
    assert caught.value.code == "corrupt"


def test_docx_when_it_unpacks_to_too_much() -> None:
    """A zip bomb is refused before it is unpacked."""
    limits = replace(LIMITS, max_decompressed_bytes=1 << 20)
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_docx(docx_paragraph("a" * (2 << 20))), "a.docx", limits=limits)
    assert caught.value.code == "decompression_limit"


def test_docx_when_truncated() -> None:
    """Half a file is corrupt."""
    data = make_docx(docx_paragraph("text"))
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data[: len(data) // 2], "a.docx")
    assert caught.value.code == "corrupt"


def test_zip_when_no_document() -> None:
    """An archive of files is no document."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_zip({"a.txt": "text"}), "a.docx")
    assert caught.value.code == "unsupported_type"


def test_pptx_slides() -> None:
    """Each slide is a page: title first, then text and tables, then the speaker's notes."""
    table = (
        "<p:graphicFrame><a:tbl>"
        + "".join(
            "<a:tr>"
            + "".join(
                f"<a:tc><a:txBody><a:p><a:r><a:t>{cell}</a:t></a:r></a:p></a:txBody></a:tc>"
                for cell in row
            )
            + "</a:tr>"
            for row in (("City", "Rain"), ("Hue", "3000"))
        )
        + "</a:tbl></p:graphicFrame>"
    )
    data = make_pptx(
        [
            (pptx_shape("a point") + pptx_shape("Weather", placeholder="title") + table, "say hi"),
            (pptx_shape("7", placeholder="sldNum"), ""),
        ]
    )
    kind, events = parse_bytes(data, "a.pptx")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == PPTX
    assert PageCount(2) in events
    assert EmptyPage(2) in events
    assert [block.text for block in blocks] == [
        "Weather",
        "a point",
        "City | Rain",
        "Hue | 3000",
        "Notes:",
        "say hi",
    ]
    assert blocks[3].header == "City | Rain"
    assert {block.page for block in blocks} == {1}


def test_xlsx_as_a_library_writes_it() -> None:
    """Numbers, dates, formulas' values and shared strings show as in the sheet."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    sheet = book.add_worksheet("Sales")
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    share = book.add_format({"num_format": "0%"})
    sheet.write_row(0, 0, ["Day", "Amount", "Share", "Total"])
    sheet.write_datetime(1, 0, date(2026, 3, 14), day)
    sheet.write_number(1, 1, 0.1 + 0.2)
    sheet.write_number(1, 2, 0.25, share)
    sheet.write_formula(1, 3, "=1+1", None, 2)
    book.add_worksheet("Empty")
    book.close()
    kind, events = parse_bytes(buffer.getvalue(), "a.xlsx")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == XLSX
    assert [b.text for b in blocks] == [
        "Sales",
        "Day | Amount | Share | Total",
        "2026-03-14 | 0.3 | 25% | 2",
    ]
    assert blocks[2].header == blocks[1].text
    assert EmptyPage(2) in events


@pytest.mark.parametrize("strict", [False, True])
def test_xlsx_strict(strict: bool) -> None:
    """A strict Office Open XML workbook is read like any other."""
    data = make_xlsx(
        {"S": xlsx_row(1, ["Name", "Town"]) + xlsx_row(2, ["Ann", "Hue"])}, strict=strict
    )
    assert text_of(data, "a.xlsx").split("\n") == ["S", "Name | Town", "Ann | Hue"]


def test_xlsx_when_cells_are_far_apart() -> None:
    """Two far corners cost two cells, not the sheet between them."""
    far = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far</t></is></c></row>'
    text = text_of(make_xlsx({"S": xlsx_row(1, ["near"]) + far}), "a.xlsx")
    assert len(text) < 100
    assert "far" in text


def test_xlsx_when_too_many_cells() -> None:
    """The number of filled cells is bounded."""
    rows = "".join(xlsx_row(i, ["a", "b"]) for i in range(1, 60))
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_xlsx({"S": rows}), "a.xlsx", limits=replace(LIMITS, max_cells=100))
    assert caught.value.code == "cell_limit"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_rows(delimiter: str) -> None:
    """The delimiter is found; each row knows the names of its columns."""
    data = "\n".join(delimiter.join(row) for row in (["name", "town"], ["Ann", "Hue"], ["Bo", "X"]))
    kind, events = parse_bytes(data.encode(), "a.csv")
    blocks = [event for event in events if isinstance(event, Block)]
    assert kind == CSV
    assert [(b.text, b.header) for b in blocks] == [
        ("name | town", ""),
        ("Ann | Hue", "name | town"),
        ("Bo | X", "name | town"),
    ]


def test_csv_when_fields_are_quoted() -> None:
    """Quoted fields may hold delimiters and line ends."""
    assert "one, two three" in text_of(b'a,b\n"one, two\nthree",4\n', "a.csv")


def test_csv_when_rows_are_wide() -> None:
    """A wide row becomes a record, each value beside the name of its column."""
    names = ",".join(f"column{i}" for i in range(80))
    values = ",".join(f"value{i}" for i in range(80))
    assert "column70: value70" in text_of(f"{names}\n{values}\n".encode(), "a.csv")


def test_json_values() -> None:
    """Each value stands behind the path that leads to it."""
    data = json.dumps({"title": "Fleet", "cars": [{"id": 7, "tags": ["red", "old"]}]}).encode()
    kind, events = parse_bytes(data, "a.bin")
    assert kind == JSON
    assert Title("Fleet") in events
    assert text_of(data, "a.bin").split("\n") == [
        "title: Fleet",
        "cars[0].id: 7",
        "cars[0].tags: red, old",
    ]


def test_json_lines() -> None:
    """Each line is a record."""
    kind, _ = parse_bytes(b'{"a": 1}\n{"a": 2}\n', "a.txt")
    assert kind == JSON_LINES
    assert [b.gap for b in blocks_of(b'{"a": 1}\n{"a": 2}\n', "a.jsonl")] == ["\n\n", "\n\n"]


@pytest.mark.parametrize("data", [b'{"a": ', b"[" * 100_000])
def test_json_when_invalid(data: bytes) -> None:
    """Broken or bottomless JSON is refused as corrupt."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.json")
    assert caught.value.code == "corrupt"
