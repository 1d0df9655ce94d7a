"""Word, PowerPoint, Excel, CSV and JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.ingest.parsing.blocks import Block, EmptyPage, PageCount, Title
from functions.ingest.parsing.number_formats import show_number
from functions.ingest.parsing.registry import CSV, DOCX, JSON, JSON_LINES, PPTX, TEXT, XLSX
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


def _numbered(text: str, number: int, level: int = 0) -> str:
    return (
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
        f"</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"
    )


def test_docx_numbers_when_lists_restart_and_go_on() -> None:
    """Lists of one kind count on together; one that starts elsewhere does so once."""
    levels = "".join(
        f'<w:lvl w:ilvl="{i}"><w:start w:val="1"/><w:numFmt w:val="{form}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for i, (form, text) in enumerate([("decimal", "%1."), ("lowerRoman", "(%2)")])
    )
    numbering = (
        f'<w:numbering xmlns:w="w"><w:abstractNum w:abstractNumId="1">{levels}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num>'
        '<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="1"/><w:lvlOverride w:ilvl="0">'
        '<w:startOverride w:val="7"/></w:lvlOverride></w:num></w:numbering>'
    )
    body = (
        _numbered("a", 1) + _numbered("b", 1, 1) + _numbered("c", 1, 1) + _numbered("d", 2)
        + _numbered("e", 3) + _numbered("f", 3) + _numbered("g", 3, 1)
    )  # fmt: skip
    data = make_docx(
        body,
        extra={
            "word/_rels/document.xml.rels": relations([("n", "numbering", "numbering.xml")]),
            "word/numbering.xml": numbering,
        },
    )
    assert text_of(data, "a.docx").split("\n") == [
        *("1. a", "(i) b", "(ii) c", "2. d", "7. e", "8. f", "(i) g")
    ]


def test_docx_headings_when_numbered_by_their_styles() -> None:
    """A list that belongs to styles numbers their headings, level by level."""
    styles = "".join(
        f'<w:style w:styleId="H{i}"><w:name w:val="heading {i}"/><w:pPr><w:numPr>'
        '<w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
        for i in (1, 2)
    )
    levels = "".join(
        f'<w:lvl w:ilvl="{i}"><w:start w:val="1"/><w:numFmt w:val="decimal"/>'
        f'<w:pStyle w:val="H{i + 1}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for i, text in enumerate(["Article %1", "%1.%2"])
    )
    data = make_docx(
        docx_paragraph("Scope", style="H1")
        + docx_paragraph("Leave", style="H1")
        + docx_paragraph("Sick", style="H2"),
        extra={
            "word/_rels/document.xml.rels": relations(
                [("n", "numbering", "numbering.xml"), ("s", "styles", "styles.xml")]
            ),
            "word/styles.xml": f'<w:styles xmlns:w="w">{styles}</w:styles>',
            "word/numbering.xml": f'<w:numbering xmlns:w="w"><w:abstractNum w:abstractNumId="4">'
            f'{levels}</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="4"/></w:num>'
            "</w:numbering>",
        },
    )
    assert [(block.kind, block.text) for block in blocks_of(data, "a.docx")] == [
        ("heading", "Article 1 Scope"),
        ("heading", "Article 2 Leave"),
        ("heading", "2.1 Sick"),
    ]


def test_docx_notes_and_comments() -> None:
    """A footnote stands behind the sentence that names it, a comment apart, with its words."""
    body = (
        "<w:p><w:r><w:t>At most 90</w:t></w:r><w:r><w:footnoteReference w:id='2'/></w:r>"
        "<w:commentRangeStart w:id='0'/><w:r><w:t xml:space='preserve'> a night.</w:t></w:r>"
        "<w:commentRangeEnd w:id='0'/><w:r><w:t xml:space='preserve'> Paid late.</w:t></w:r></w:p>"
    )
    data = make_docx(
        body,
        extra={
            "word/_rels/document.xml.rels": relations(
                [("f", "footnotes", "footnotes.xml"), ("c", "comments", "comments.xml")]
            ),
            "word/footnotes.xml": '<w:footnotes xmlns:w="w"><w:footnote w:id="0" '
            f'w:type="separator">{docx_paragraph("---")}</w:footnote><w:footnote w:id="2">'
            f"{docx_paragraph('In Rome 120.')}</w:footnote></w:footnotes>",
            "word/comments.xml": '<w:comments xmlns:w="w"><w:comment w:id="0" w:author="Ann">'
            f"{docx_paragraph('Too much?')}</w:comment></w:comments>",
        },
    )
    blocks = blocks_of(data, "a.docx")
    assert [(block.kind, block.text) for block in blocks] == [
        ("paragraph", "At most 90 a night. [Note 1: In Rome 120.] Paid late."),
        ("heading", "Comments"),
        ("item", "Comment by Ann on “a night.”: Too much?"),
    ]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>', "[x]"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0A8"/></w:r>', "[ ]"),
        ('<w:r><w:sym w:font="Symbol" w:char="F06D"/></w:r>', "μ"),
        ("<w:r><w:t>\uf0fe</w:t></w:r>", "[x]"),
        ('<w:r><w:rPr><w:rFonts w:ascii="Wingdings"/></w:rPr><w:t>\u00fe</w:t></w:r>', "[x]"),
        (
            (
                '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:default w:val="0"/>'
                "<w:checked/></w:checkBox></w:ffData></w:fldChar></w:r><w:r><w:fldChar "
                'w:fldCharType="end"/></w:r>'
            ),
            "[x]",
        ),
        (
            (
                '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>'
                '<w:listEntry w:val="red"/><w:listEntry w:val="blue"/></w:ddList></w:ffData>'
                '</w:fldChar></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
            ),
            "blue",
        ),
        (
            (
                "<w:sdt><w:sdtPr><w:checkbox><w:checked w:val='0'/></w:checkbox></w:sdtPr>"
                "<w:sdtContent><w:r><w:t>☐</w:t></w:r></w:sdtContent></w:sdt>"
            ),
            "[ ]",
        ),
        (
            (
                "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent><w:r><w:t>Choose</w:t>"
                "</w:r></w:sdtContent></w:sdt>"
            ),
            "",
        ),
        ("<w:r><w:rPr><w:vanish/></w:rPr><w:t>margin</w:t></w:r>", ""),
        ("<w:r><w:rPr><w:strike/></w:rPr><w:t>gone</w:t></w:r>", ""),
        ('<w:r><w:rPr><w:strike w:val="0"/></w:rPr><w:t>here</w:t></w:r>', "here"),
        (
            (
                "<w:r><w:rPr><w:rPrChange><w:rPr><w:vanish/></w:rPr></w:rPrChange></w:rPr>"
                "<w:t>here</w:t></w:r>"
            ),
            "here",
        ),
        ('<w:r><w:drawing><wp:docPr xmlns:wp="p" descr="A map"/></w:drawing></w:r>', "A map"),
        ('<w:r><w:pict><v:shape xmlns:v="v" alt="A map"/></w:pict></w:r>', "A map"),
        (
            (
                '<m:oMath xmlns:m="m"><m:r><m:t>F=</m:t></m:r><m:f><m:num><m:r><m:t>1</m:t></m:r>'
                "</m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f><m:r><m:t>m</m:t></m:r>"
                "<m:sSup><m:e><m:r><m:t>v</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup>"
                "</m:sSup></m:oMath>"
            ),
            "F = 1/2 m v^2",
        ),
        (
            (
                '<m:oMath xmlns:m="m"><m:rad><m:deg/><m:e><m:r><m:t>a+b</m:t></m:r></m:e></m:rad>'
                "</m:oMath>"
            ),
            "sqrt(a+b)",
        ),
    ],
)
def test_docx_run(run: str, expected: str) -> None:
    """Ticks, choices, descriptions and formulas are read; what a reader does not see is not."""
    assert text_of(make_docx(f"<w:p><w:r><w:t>: </w:t></w:r>{run}</w:p>"), "a.docx") == (
        f": {expected}".strip()
    )


def test_docx_table_when_cells_are_merged() -> None:
    """A cell merged downwards or to the right stands in each row and column."""

    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{docx_paragraph(text)}</w:tc>"

    rows = [
        cell("Region") + cell("Part") + cell("Days"),
        cell("North", '<w:vMerge w:val="restart"/>') + cell("Pump") + cell("14"),
        cell("", "<w:vMerge/>") + cell("Valve") + cell("21"),
        cell("South", '<w:gridSpan w:val="2"/>') + cell("30"),
    ]
    data = make_docx(f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>")
    blocks = blocks_of(data, "a.docx")
    assert [block.text for block in blocks] == [
        "Region | Part | Days",
        "North | Pump | 14",
        "North | Valve | 21",
        "South | South | 30",
    ]
    assert {block.header for block in blocks[1:]} == {"Region | Part | Days"}


_CHART = (
    '<c:chartSpace xmlns:c="c" xmlns:a="a"><c:chart><c:title><a:t>Sales</a:t></c:title>'
    "<c:plotArea><c:barChart>{}</c:barChart></c:plotArea></c:chart></c:chartSpace>"
).format(
    "".join(
        f"<c:ser><c:tx><c:v>{name}</c:v></c:tx><c:cat>"
        '<c:pt idx="0"><c:v>Q1</c:v></c:pt><c:pt idx="1"><c:v>Q2</c:v></c:pt></c:cat>'
        f'<c:val><c:formatCode>0%</c:formatCode><c:pt idx="0"><c:v>{first}</c:v></c:pt>'
        f'<c:pt idx="1"><c:v>{second}</c:v></c:pt></c:val></c:ser>'
        for name, first, second in (("Oslo", 0.1, 0.2), ("Hanoi", 0.3, 0.4))
    )
)


_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_FLAT = (
    '<pkg:package xmlns:pkg="http://schemas.microsoft.com/office/2006/xmlPackage">'
    '<pkg:part pkg:name="/word/document.xml"><pkg:xmlData><w:document xmlns:w="w"><w:body>{}'
    "</w:body></w:document></pkg:xmlData></pkg:part></pkg:package>"
)
_WORD_2003 = (
    '<w:wordDocument xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml">'
    "<w:body>{}</w:body></w:wordDocument>"
)


def test_docx_what_stands_around_its_text() -> None:
    """Large first letters, text boxes and documents merged in stand where Word shows them."""
    box = f"<w:r><w:txbxContent>{docx_paragraph('Ring twice.')}</w:txbxContent></w:r>"
    body = (
        '<w:p><w:pPr><w:framePr w:dropCap="drop"/></w:pPr><w:r><w:t>O</w:t></w:r></w:p>'
        f"<w:p><w:r><w:t>nce </w:t></w:r>{box}<w:r><w:t>it froze.</w:t></w:r></w:p>"
        f'<w:altChunk xmlns:r="{_RELATED}" r:id="c"/>'
        + docx_paragraph("End.")
        + docx_paragraph("Bight", style="T")
        + docx_paragraph("A bend.")
    )
    extra = {
        "word/_rels/document.xml.rels": relations(
            [("c", "aFChunk", "chunk.html"), ("s", "styles", "styles.xml")]
        ),
        "word/styles.xml": f'<w:styles xmlns:w="{_WORD}"><w:style w:styleId="T">'
        '<w:name w:val="Definition Term"/></w:style></w:styles>',
        "word/chunk.html": "<html><body><p>Berth 9 leaks.</p></body></html>",
    }
    text = text_of(make_docx(body, extra=extra), "a.docx")
    assert text == "Once it froze.\nRing twice.\nBerth 9 leaks.\nEnd.\nBight: A bend."


@pytest.mark.parametrize("document", [_FLAT, _WORD_2003])
def test_word_document_in_one_xml_file(document: str) -> None:
    """Word's XML files are read as its documents are."""
    rows = "".join(
        f"<w:tr><w:tc>{docx_paragraph(a)}</w:tc><w:tc>{docx_paragraph(b)}</w:tc></w:tr>"
        for a, b in (("Fee", "Sum"), ("Tug", "44"))
    )
    deleted = "<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    data = f"<?xml version='1.0'?>{document.format(f'<w:tbl>{rows}</w:tbl>{deleted}')}"
    assert text_of(data.encode(), "a.xml") == "Fee | Sum\nTug | 44"


def test_open_document_in_one_xml_file() -> None:
    """A flat file of OpenDocument is read as a packed one."""
    spaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    cells = "".join(f"<table:table-cell><text:p>{c}</text:p></table:table-cell>" for c in "ab")
    data = (
        f"<office:document{spaces} "
        'office:mimetype="application/vnd.oasis.opendocument.spreadsheet"><office:body>'
        f'<office:spreadsheet><table:table table:name="S"><table:table-row>{cells}'
        "</table:table-row></table:table></office:spreadsheet></office:body></office:document>"
    )
    assert text_of(data.encode(), "a.fods") == "S\na | b"


def test_docx_chart_and_running_lines() -> None:
    """A chart's values stand with series and category; a page header is read once."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    chart = f'<c:chart xmlns:c="c" xmlns:r="{office}" r:id="c1"/>'
    header = docx_paragraph("Document QM-4471")
    data = make_docx(
        docx_paragraph("See:") + f"<w:p><w:r><w:drawing>{chart}</w:drawing></w:r></w:p>",
        extra={
            "word/_rels/document.xml.rels": relations(
                [
                    ("c1", "chart", "chart1.xml"),
                    ("h1", "header", "header1.xml"),
                    ("h2", "header", "header2.xml"),
                    ("f1", "footer", "footer1.xml"),
                ]
            ),
            "word/chart1.xml": _CHART,
            "word/header1.xml": f'<w:hdr xmlns:w="w">{header}</w:hdr>',
            "word/header2.xml": f'<w:hdr xmlns:w="w">{header}</w:hdr>',
            "word/footer1.xml": '<w:ftr xmlns:w="w"><w:p><w:r><w:t>Page </w:t></w:r>'
            '<w:fldSimple w:instr=" PAGE "><w:r><w:t>3</w:t></w:r></w:fldSimple></w:p></w:ftr>',
        },
    )
    blocks = blocks_of(data, "a.docx")
    assert [block.text for block in blocks] == [
        *("Document QM-4471", "See:", "Sales"),
        *(" | Oslo | Hanoi", "Q1 | 10% | 30%", "Q2 | 20% | 40%"),
    ]
    assert blocks[-1].header == "Sales\n | Oslo | Hanoi"


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


def test_office_file_when_of_another_kind() -> None:
    """A drawing of Visio says that it is not read, and is not read as an archive."""
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations([("r1", "document", "visio/document.xml")]),
        "visio/document.xml": "<VisioDocument/>",
    }
    with pytest.raises(Unreadable) as caught:
        parse_bytes(make_zip(parts), "a.vsdx")
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


def test_pptx_order() -> None:
    """Shapes are read by their places: columns one after the other, rows of a grid by rows."""

    def shape(text: str, left: int, top: int, height: int = 100) -> str:
        return (
            f'<p:sp><p:spPr><a:xfrm><a:off x="{left}" y="{top}"/>'
            f'<a:ext cx="300" cy="{height}"/></a:xfrm></p:spPr>'
            f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
        )

    columns = (
        shape("con", 500, 300, 600) + shape("pro", 0, 300, 600)
        + shape("Cons", 500, 150) + shape("Pros", 0, 150)
    )  # fmt: skip
    grid = "".join(
        shape(text, left, 200 * top)
        for text, left, top in [("33", 500, 2), ("Name", 0, 1), ("Age", 0, 2), ("Ann", 500, 1)]
    )
    blocks = blocks_of(make_pptx([(columns, ""), (grid, "")]), "a.pptx")
    assert [block.text for block in blocks] == [
        *("Pros", "pro", "Cons", "con"),
        *("Name", "Ann", "Age", "33"),
    ]


def test_pptx_lines_and_merged_cells() -> None:
    """Automatic numbers are read as shown; merged cells fill their places."""
    lines = "".join(
        f'<a:p><a:pPr><a:buAutoNum type="alphaLcParenR" startAt="2"/></a:pPr>'
        f"<a:r><a:t>{text}</a:t></a:r></a:p>"
        for text in ("open", "close")
    )
    cells = [
        '<a:tc rowSpan="2">{}</a:tc><a:tc>{}</a:tc>'.format(*map(_pptx_line, ("North", "1"))),
        '<a:tc vMerge="1">{}</a:tc><a:tc>{}</a:tc>'.format(*map(_pptx_line, ("", "2"))),
    ]
    table = "".join(f"<a:tr>{row}</a:tr>" for row in cells)
    shapes = (
        f"<p:sp><p:txBody>{lines}</p:txBody></p:sp>"
        f"<p:graphicFrame><a:tbl>{table}</a:tbl></p:graphicFrame>"
    )
    text = text_of(make_pptx([(shapes, "")]), "a.pptx")
    assert text.split("\n") == ["b) open", "c) close", "North | 1", "North | 2"]


def _pptx_line(text: str) -> str:
    return f"<a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody>"


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


_SHOWN = [
    (0.075, "0.00%;[Red]-0.00%", "7.50%"),
    (-0.075, "0.00%;[Red]-0.00%", "-7.50%"),
    (1234.5, '#,##0.00\\ "€"', "1,234.50 €"),
    (0.0, '_-* #,##0.00\\ "€"_-;-* #,##0.00\\ "€"_-;_-* "-"??\\ "€"_-', "- €"),
    (12.5, '0.0" kg"', "12.5 kg"),
    (26.5 / 24, "[h]:mm", "26:30"),
    (46095.0, "[$-407]d. mmmm yyyy", "2026-03-14"),
    (46095.0, "TT.MM.JJJJ", "2026-03-14"),
    (46095.5, "m/d/yy h:mm", "2026-03-14 12:00"),
    (46095.0, "mmm yyyy", "Mar 2026"),
    (0.5, "h:mm AM/PM", "12:00 PM"),
    (1234567.0, '0.0,,"M"', "1.2M"),
    (1500.0, '[>=1000]0.0,"k";0', "1.5k"),
    (-5.0, "#,##0;(#,##0)", "(5)"),
    (1.5, "# ?/?", "1 1/2"),
    (42.0, "00000", "00042"),
    (5551234.0, "000-0000", "555-1234"),
    (12345.0, "0.00E+00", "1.23E+04"),
    (12345.678, "##0.0E+0", "12.3E+3"),
    (1.005, "0.00", "1.01"),
    (1.0, '"Yes";"No";"None"', "Yes"),
    (5.0, ";;;", ""),
    (0.1 + 0.2, "General", "0.3"),
]


@pytest.mark.parametrize(("value", "code", "expected"), _SHOWN)
def test_number_format(value: float, code: str, expected: str) -> None:
    """A number reads as its cell shows it; a whole date is ISO's."""
    assert show_number(value, code) == expected


@given(
    value=st.floats(allow_nan=True, allow_infinity=True),
    code=st.text(alphabet='0#?.,%/E+-eydmhs[]"\\_*;@ $€<>=1', max_size=20),
)
@settings(max_examples=300, deadline=None, database=None)
def test_number_format_when_random(value: float, code: str) -> None:
    """Any code shows any number somehow."""
    assert isinstance(show_number(value, code), str)


def _workbook() -> tuple[io.BytesIO, xlsxwriter.Workbook]:
    buffer = io.BytesIO()
    return buffer, xlsxwriter.Workbook(buffer, {"in_memory": True})


def test_xlsx_when_parts_are_hidden() -> None:
    """Hidden sheets, columns and rows are not read; what a filter or an outline hides is."""
    buffer, book = _workbook()
    sheet = book.add_worksheet("Open")
    for y, row in enumerate([["A", "B", "C"], ["1", "x", "2"], ["3", "x", "4"], ["5", "x", "6"]]):
        sheet.write_row(y, 0, row)
    sheet.set_column(1, 1, 9, None, {"hidden": True})
    sheet.set_row(2, None, None, {"hidden": True})
    sheet.set_row(3, None, None, {"hidden": True, "level": 1})
    filtered = book.add_worksheet("Filtered")
    for y, row in enumerate([["Name", "Town"], ["Ann", "Hue"], ["Bo", "Oslo"]]):
        filtered.write_row(y, 0, row)
    filtered.autofilter(0, 0, 2, 1)
    filtered.set_row(1, None, None, {"hidden": True})
    book.add_worksheet("Secret").hide()
    book.worksheets()[-1].write(0, 0, "margin")
    book.close()
    _, events = parse_bytes(buffer.getvalue(), "a.xlsx")
    assert PageCount(2) in events
    assert text_of(buffer.getvalue(), "a.xlsx").split("\n") == [
        *("Open", "A | C", "1 | 2", "5 | 6"),
        *("Filtered", "Name | Town", "Ann | Hue", "Bo | Oslo"),
    ]


def test_xlsx_when_cells_are_merged() -> None:
    """A merged cell belongs to all rows and columns that it covers; one over all is a title."""
    buffer, book = _workbook()
    sheet = book.add_worksheet("S")
    sheet.merge_range(0, 0, 0, 2, "Rain by town")
    sheet.write_row(1, 0, ["Land", "Town", "mm"])
    sheet.merge_range(2, 0, 3, 0, "Norway")
    sheet.write_row(2, 1, ["Oslo", 5])
    sheet.write_row(3, 1, ["Bergen", 6])
    book.close()
    blocks = blocks_of(buffer.getvalue(), "a.xlsx")
    assert [block.text for block in blocks] == [
        *("S", "Rain by town", "Land | Town | mm", "Norway | Oslo | 5", "Norway | Bergen | 6")
    ]
    assert blocks[-1].header == "Rain by town\nLand | Town | mm"


def test_xlsx_when_formulas_have_no_value() -> None:
    """A formula that was never computed stands in place of its value, a shared one as moved."""
    rows = (
        '<row r="1"><c r="A1"><v>1</v></c><c r="B1"><f t="shared" ref="B1:B2" si="0">A1*$A$1</f>'
        '</c></row><row r="2"><c r="A2"><v>2</v></c><c r="B2"><f t="shared" si="0"/></c></row>'
    )
    assert text_of(make_xlsx({"S": rows}), "a.xlsx").split("\n") == [
        *("S", "1 | =A1*$A$1", "2 | =A2*$A$1")
    ]


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^", "~", ":"])
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


@pytest.mark.parametrize(
    "data",
    [
        b'[] (Pdb) n > example.py(4)<module>() "a"',
        b'{"level": "info"}\n{"level": "warn"}\nTraceback (most recent call last):\n{"a": 1}',
        b'{"a": 1}\nis what the service answers.',
    ],
)
@pytest.mark.parametrize("name", ["notes.txt", "service.log", "notes"])
def test_text_that_begins_like_json(data: bytes, name: str) -> None:
    """What its name does not call JSON is a text where it is no JSON to its end."""
    kind, _ = parse_bytes(data, name)
    assert kind == TEXT
    assert text_of(data, name).split("\n") == data.decode().split("\n")


@pytest.mark.parametrize("data", [b'{"a": ', b"[" * 100_000])
def test_json_when_invalid(data: bytes) -> None:
    """Broken or bottomless JSON is refused as corrupt."""
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.json")
    assert caught.value.code == "corrupt"


def test_docx_when_digits_are_raised() -> None:
    """A raised digit is no further digit of the number before it."""
    run = '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>3</w:t></w:r>'
    data = make_docx(f"<w:p><w:r><w:t>10</w:t></w:r>{run}</w:p>")
    assert text_of(data, "a.docx") == "10\u00b3"


def test_docx_fraction_of_a_product() -> None:
    """What is below the line stays together: 1/2a would be half of a."""
    run = "<m:r><m:t>{}</m:t></m:r>"
    formula = (
        f'<m:oMath xmlns:m="m"><m:f><m:num>{run.format("1")}</m:num><m:den>{run.format("2a")}'
        f"</m:den></m:f></m:oMath>"
    )
    assert text_of(make_docx(f"<w:p>{formula}</w:p>"), "a.docx") == "1/(2a)"
