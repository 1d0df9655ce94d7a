"""Excel's other formats and OpenDocument: the same table, shown as its program shows it."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from functions.ingest.parsing.blocks import EmptyPage, PageCount
from functions.ingest.parsing.registry import ODP, ODS, ODT, SPREADSHEET_XML, XLS, XLSB
from shared.errors import Unreadable
from tests.support.documents import LIMITS, blocks_of, parse_bytes, text_of
from tests.support.spreadsheets import (
    Cell,
    make_open_document,
    make_spreadsheet_xml,
    make_xls,
    make_xlsb,
    open_document_part,
)

_ROWS: list[list[Cell]] = [
    ["Plant", "Share", "Price"],
    ["North", (0.075, 1), (12.5, 2)],
    ["", (0.2, 1), (3.0, 2)],
]
_FORMATS = ["0.00%;-0.00%", '#,##0.00\\ "€"']
_MERGED = [(1, 2, 0, 0)]
_SHOWN = [
    ("Plant | Share | Price", ""),
    ("North | 7.50% | 12.50 €", "Plant | Share | Price"),
    ("North | 20.00% | 3.00 €", "Plant | Share | Price"),
]
_XML_ROWS = (
    '<Row><Cell><Data ss:Type="String">Plant</Data></Cell><Cell><Data ss:Type="String">Share'
    '</Data></Cell><Cell><Data ss:Type="String">Price</Data></Cell></Row>'
    '<Row><Cell ss:MergeDown="1"><Data ss:Type="String">North</Data></Cell>'
    '<Cell ss:StyleID="p"><Data ss:Type="Number">0.075</Data></Cell>'
    '<Cell ss:StyleID="e"><Data ss:Type="Number">12.5</Data></Cell></Row>'
    '<Row><Cell ss:Index="2" ss:StyleID="p"><Data ss:Type="Number">0.2</Data></Cell>'
    '<Cell ss:StyleID="e"><Data ss:Type="Number">3</Data></Cell></Row>'
)
_XML_STYLES = (
    '<Style ss:ID="p"><NumberFormat ss:Format="Percent"/></Style>'
    '<Style ss:ID="e"><NumberFormat ss:Format="Euro Currency"/></Style>'
)


def _ods_cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


_ODS = make_open_document(
    "spreadsheet",
    '<table:table table:name="Sheet"><table:table-row>'
    + "".join(map(_ods_cell, ("Plant", "Share", "Price")))
    + "</table:table-row><table:table-row>"
    + _ods_cell("North", 'table:number-rows-spanned="2"')
    + "".join(map(_ods_cell, ("7.50%", "12.50 €")))
    + "</table:table-row><table:table-row><table:covered-table-cell/>"
    + "".join(map(_ods_cell, ("20.00%", "3.00 €")))
    + '</table:table-row><table:table-row table:number-rows-repeated="1048000">'
    '<table:table-cell table:number-columns-repeated="1024"/></table:table-row></table:table>',
)


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (make_xls(_ROWS, formats=_FORMATS, merged=_MERGED), "a.xls", XLS),
        (make_xlsb(_ROWS, formats=_FORMATS, merged=_MERGED), "a.xlsb", XLSB),
        (make_spreadsheet_xml(_XML_ROWS, styles=_XML_STYLES), "a.xls", SPREADSHEET_XML),
        (_ODS, "a.ods", ODS),
    ],
    ids=["xls", "xlsb", "xml", "ods"],
)
def test_workbook_when_formatted_and_merged(data: bytes, name: str, kind: str) -> None:
    """A cell reads as its sheet shows it, a merged one in each row that it covers."""
    found, events = parse_bytes(data, name)
    assert found == kind
    assert PageCount(1) in events
    rows = [block for block in blocks_of(data, name) if block.kind == "row"]
    assert [(row.text, row.header) for row in rows] == _SHOWN


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<table><tr><td>A-17<td><td>sent</table>", "A-17 |  | sent"),
        (b"order\tstate\nA-17\tsent\n", "order | state\nA-17 | sent"),
    ],
)
def test_xls_when_it_is_something_else(data: bytes, expected: str) -> None:
    """What reports name .xls is read by what it is."""
    assert text_of(data, "report.xls") == expected


def test_xlsb_when_a_row_is_hidden() -> None:
    """A row that its author hid is not read, and leaves no gap."""
    data = make_xlsb([["Name", "Town"], ["Ann", "Hue"], ["Bo", "Oslo"]], hidden_row=1)
    assert text_of(data, "a.xlsb").split("\n") == ["Sheet", "Name | Town", "Bo | Oslo"]


@pytest.mark.parametrize(
    ("make", "name"), [(make_xls, "a.xls"), (make_xlsb, "a.xlsb")], ids=["xls", "xlsb"]
)
def test_workbook_when_too_many_cells(make: object, name: str) -> None:
    """The number of filled cells is bounded in every format."""
    data = make([["a", "b"]] * 60)  # type: ignore[operator]
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, name, limits=replace(LIMITS, max_cells=100))
    assert caught.value.code == "cell_limit"


def test_xls_when_sectors_go_round_in_circles() -> None:
    """A stream whose sectors follow each other for ever is refused at once."""
    data = bytearray(make_xls(_ROWS))
    links = len(data) - 512
    # Each of the first sectors names itself as the next.
    struct.pack_into("<8I", data, links, *range(8))
    with pytest.raises(Unreadable) as caught:
        parse_bytes(bytes(data), "a.xls")
    assert caught.value.code == "corrupt"


def test_xml_when_its_encoding_is_unknown() -> None:
    """A declared encoding that there is not makes the file a damaged one."""
    data = make_spreadsheet_xml("").replace(b'version="1.0"', b'version="1.0" encoding="UTFT8"')
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.xls")
    assert caught.value.code == "corrupt"


def test_ods_when_rows_repeat_without_end() -> None:
    """A filled row that claims to stand there a million times is refused, not written out."""
    row = (
        f'<table:table-row table:number-rows-repeated="9999999">{_ods_cell("x")}</table:table-row>'
    )
    data = make_open_document("spreadsheet", f'<table:table table:name="S">{row}</table:table>')
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.ods", limits=replace(LIMITS, max_cells=1000))
    assert caught.value.code == "cell_limit"


def test_ods_when_a_sheet_is_hidden() -> None:
    """A hidden sheet is not read; a formula without a value shows itself, a date is ISO's."""
    style = (
        '<style:style style:name="h" style:family="table">'
        '<style:table-properties table:display="false"/></style:style>'
    )
    cells = '<table:table-cell table:formula="of:=SUM([.A1:.A2])"/>' + _ods_cell(
        "03/04/26", 'office:date-value="2026-03-04"'
    )
    sheets = (
        '<table:table table:name="Secret" table:style-name="h"><table:table-row>'
        f"{_ods_cell('margin')}</table:table-row></table:table>"
        f'<table:table table:name="Open"><table:table-row>{cells}</table:table-row></table:table>'
    )
    data = make_open_document("spreadsheet", sheets, styles=style)
    assert text_of(data, "a.ods").split("\n") == ["Open", "=SUM(A1:A2) | 2026-03-04"]


def test_open_document_when_encrypted() -> None:
    """A password is told as such."""
    manifest = open_document_part("<office:encryption-data/>")
    data = make_open_document("text", "", extra={"META-INF/manifest.xml": manifest})
    with pytest.raises(Unreadable) as caught:
        parse_bytes(data, "a.odt")
    assert caught.value.code == "encrypted"


def test_odt_blocks() -> None:
    """Headings, lists with numbers, notes, tables and charts come as a reader meets them."""
    styles = (
        '<text:list-style style:name="L"><text:list-level-style-number text:level="1" '
        'style:num-format="a" style:num-suffix=")" text:start-value="3"/></text:list-style>'
        '<style:style style:name="gone" style:family="text">'
        '<style:text-properties text:display="none"/></style:style>'
    )
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">Rooms</text:h>'
        "<text:p>At most 90<text:note><text:note-citation>1</text:note-citation><text:note-body>"
        "<text:p>In Rome 120.</text:p></text:note-body></text:note> a night. Paid late."
        '<text:span text:style-name="gone">secret</text:span><office:annotation><dc:creator>Ann'
        "</dc:creator><text:p>Too much?</text:p></office:annotation></text:p>"
        '<text:list text:style-name="L"><text:list-item><text:p>three</text:p></text:list-item>'
        "<text:list-item><text:p>four</text:p></text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row>"
        + _ods_cell("Town")
        + _ods_cell("Rate", 'table:number-columns-spanned="2"')
        + "<table:covered-table-cell/></table:table-row></table:table-header-rows>"
        "<table:table-row>" + "".join(map(_ods_cell, ("Hue", "", "5"))) + "</table:table-row>"
        "</table:table>"
        '<text:p><draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p>'
    )
    chart = open_document_part(
        "<chart:chart><chart:title><text:p>Sales</text:p></chart:title><table:table>"
        "<table:table-header-rows><table:table-row>"
        + _ods_cell("")
        + _ods_cell("Oslo")
        + "</table:table-row></table:table-header-rows><table:table-row>"
        + _ods_cell("Q1")
        + _ods_cell("523")
        + "</table:table-row></table:table></chart:chart>"
    )
    data = make_open_document("text", body, styles=styles, extra={"Object 1/content.xml": chart})
    assert parse_bytes(data, "a.odt")[0] == ODT
    blocks = blocks_of(data, "a.odt")
    assert [block.text for block in blocks] == [
        "Rooms",
        "At most 90 a night. [Note 1: In Rome 120.] Paid late.",
        "c) three",
        "d) four",
        "Town | Rate | Rate",
        "Hue |  | 5",
        "Sales",
        " | Oslo",
        "Q1 | 523",
        "Comments",
        "Comment: Too much?",
    ]
    assert blocks[5].header == "Town | Rate | Rate"


def test_odp_slides() -> None:
    """Shapes are read by their places, the title first, the notes last."""

    def frame(text: str, place: str, kind: str = "") -> str:
        return (
            f'<draw:frame presentation:class="{kind}" svg:width="5cm" svg:height="2cm" {place}>'
            f"<draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>"
        )

    body = (
        "<draw:page>"
        + frame("right", 'svg:x="12cm" svg:y="5cm"')
        + frame("left", 'svg:x="1cm" svg:y="5cm"')
        + frame("7", 'svg:x="1cm" svg:y="18cm"', "page-number")
        + frame("Steps", 'svg:x="1cm" svg:y="1cm"', "title")
        + f"<presentation:notes>{frame('say hi', '', 'notes')}</presentation:notes></draw:page>"
        "<draw:page/>"
    )
    kind, events = parse_bytes(make_open_document("presentation", body), "a.odp")
    assert kind == ODP
    assert EmptyPage(2) in events
    text = text_of(make_open_document("presentation", body), "a.odp")
    assert text.split("\n") == ["Steps", "left", "right", "Notes:", "say hi"]


def test_odt_when_lists_number_headings() -> None:
    """Headings have the numbers of the list that their style or the text names."""
    levels = (
        '<text:list-style style:name="N"><text:list-level-style-number text:level="1" '
        'style:num-format="1"/><text:list-level-style-number text:level="2" '
        'style:num-format="01, 02, 03, ..." text:display-levels="2"/></text:list-style>'
        '<style:style style:name="H" style:list-style-name="N"/>'
        '<style:style style:name="Up"><style:text-properties style:text-position="super 58%"/>'
        "</style:style>"
    )

    def one(text: str, level: int, style: str = "") -> str:
        return f'<text:h text:style-name="{style}" text:outline-level="{level}">{text}</text:h>'

    inner = f"<text:list><text:list-item>{one('Inner', 2)}</text:list-item></text:list>"
    body = (
        f'{one("Preface", 1)}<text:list text:style-name="N"><text:list-item>{one("Start", 1)}'
        f"{inner}</text:list-item><text:list-item>{one('End', 1)}{inner}</text:list-item>"
        '</text:list><text:p>10<text:span text:style-name="Up">3</text:span> l</text:p>'
    )
    blocks = blocks_of(make_open_document("text", body, styles=levels), "a.odt")
    assert [block.text for block in blocks] == [
        *("Preface", "1 Start", "1.01 Inner", "2 End", "2.01 Inner", "10³ l")
    ]
    styled = one("Start", 1, "H") + one("Inner", 2, "H") + one("End", 1, "H")
    blocks = blocks_of(make_open_document("text", styled, styles=levels), "a.odt")
    assert [block.text for block in blocks] == ["1 Start", "1.01 Inner", "2 End"]


def test_odt_when_a_table_stands_in_a_cell() -> None:
    """The cells behind it stay in their columns, and so do those of the next row."""
    inner = "<table:table><table:table-row><table:table-cell><text:p>in</text:p>"
    inner += "</table:table-cell></table:table-row></table:table>"

    def cell(text: str, more: str = "", attributes: str = "") -> str:
        return f"<table:table-cell{attributes}><text:p>{text}</text:p>{more}</table:table-cell>"

    merged = cell("Two", attributes=' table:number-rows-spanned="2"')
    covered = "<table:covered-table-cell/>"
    rows = [cell("Load") + cell("Radius") + cell("Crew"), cell("5") + cell("12", inner) + merged]
    rows.append(cell("8") + cell("9") + covered)
    body = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    text = text_of(make_open_document("text", f"<table:table>{body}</table:table>"), "a.odt")
    assert "8 | 9 | Two" in text
    columns = '<table:table-column table:number-columns-repeated="3"/>'
    whole = make_open_document("text", f"<table:table>{columns}{body}</table:table>")
    assert "5 | 12 in | Two" in text_of(whole, "a.odt")


def test_odt_what_stands_within_a_paragraph() -> None:
    """A formula stands in its sentence, a text box behind it, a term beside its meaning."""
    math = (
        '<m:math xmlns:m="m"><m:mi>h</m:mi><m:mo>=</m:mo><m:msqrt><m:mi>x</m:mi></m:msqrt></m:math>'
    )
    body = (
        "<text:p>So <draw:frame><draw:object xlink:href='./Object 1'/></draw:frame>"
        "<draw:frame><draw:text-box><text:p>Box.</text:p></draw:text-box></draw:frame> holds."
        "</text:p>"
        '<text:p text:style-name="T">Bight</text:p><text:p>A bend.</text:p>'
    )
    styles = '<style:style style:name="T" style:parent-style-name="Definition_20_Term"/>'
    styles += '<style:style style:name="Definition_20_Term"/>'
    parts = {"Object 1/content.xml": math}
    data = make_open_document(
        "text", f"<office:text>{body}</office:text>", styles=styles, extra=parts
    )
    assert text_of(data, "a.odt") == "So h = √(x) holds.\nBox.\nBight: A bend."
