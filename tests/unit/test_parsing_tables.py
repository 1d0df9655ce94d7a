"""One model of a table: which rows are its header, and what each row carries of it."""

from __future__ import annotations

import pytest

from functions.ingest.parsing.blocks import Block
from functions.ingest.parsing.delimited import find_delimiter
from functions.ingest.parsing.tables import Spans, TableWriter
from tests.support.documents import blocks_of, text_of


def write(text: str, *, is_sheet: bool = True) -> list[Block]:
    """Return the blocks of a table, a line a row and cells between bars."""
    writer = TableWriter(is_sheet=is_sheet)
    blocks: list[Block] = []
    for line in text.strip("\n").split("\n"):
        blocks += writer.row([cell.strip() for cell in line.split("|")])
    return [*blocks, *writer.end()]


def header_of(text: str, row: str) -> str:
    """Return the header that goes with a row of a table."""
    return next(block.header for block in write(text) if row in block.text)


@pytest.mark.parametrize(
    ("table", "row", "expected"),
    [
        ("Name | Town\nAnn | Hue\nBo | Oslo", "Ann", "Name | Town"),
        (" | Berlin | Hanoi\nTeam 1 | 4 | 5\nTeam 2 | 6 | 7", "Team 2", " | Berlin | Hanoi"),
        (" | 2023 | 2024\nIncome | 10 | 12\nCosts | 7 | 9", "Costs", " | 2023 | 2024"),
        (" | 1 | 2 | 3\nAnn | 40 | 50 | 60\nBo | 70 | 80 | 99", "Bo", " | 1 | 2 | 3"),
        (
            "Item | 2026-01-01 | 2026-02-01\nRent | 5 | 6\nFood | 7 | 8",
            "Food",
            "Item | 2026-01-01 | 2026-02-01",
        ),
        (
            (
                " | Budget | | Actual |\nUnit | 2025 | 2026 | 2025 | 2026\nA | 1 | 2 | 3 | 4\n"
                "B | 5 | 6 | 7 | 8"
            ),
            "B | 5",
            "Unit | Budget 2025 | Budget 2026 | Actual 2025 | Actual 2026",
        ),
        (
            "Part | Length | Weight\n | mm | kg\nBolt | 40 | 0.1\nNut | 8 | 0.02",
            "Nut",
            "Part | Length mm | Weight kg",
        ),
        (
            "Stock in May\nMade by | Ann\n\nArticle | Bin | Amount\nA-1 | B0 | 3\nA-2 | B1 | 4",
            "A-2",
            "Stock in May\nArticle | Bin | Amount",
        ),
        (
            "Name | Pay\nAnn | 3000\nBo | 3100\n\nMachine | Power\nM1 | 50\nM2 | 60",
            "M2",
            "Machine | Power",
        ),
        ("Who | Where\nAnn | Hue\n\nBo | Oslo\nCy | Rome", "Cy", "Who | Where"),
        (
            "Account | Jan | Feb\nIncome\nSales | 1 | 2\nCosts\nRent | 3 | 4",
            "Rent",
            "Account | Jan | Feb\nCosts",
        ),
        (" | name | age\n0 | Ann | 33\n1 | Bo | 34", "Bo", " | name | age"),
        ("Ann | 33 | 5\nBo | 34 | 6\nCy | 35 | 7", "Cy", ""),
        ("Author: | Ann\nVersion: | 3\nDate: | 2026-01-01", "Date", ""),
    ],
    ids=[
        *("words", "corner", "years", "numbers", "dates", "two rows", "units", "lines above"),
        *("two tables", "blank row", "groups", "index", "none", "pairs"),
    ],
)
def test_header_of_a_row(table: str, row: str, expected: str) -> None:
    """The rows that differ from those below name the columns, each name once."""
    assert header_of(table, row) == expected


def test_tables_side_by_side() -> None:
    """Two tables beside each other are read one after the other."""
    blocks = write(
        "Item | Qty | | City | Rain\nPump | 1 | | Hue | 2\nTap | 3 | | Rome | 4\nNut | 5"
    )
    assert [(block.text, block.header) for block in blocks[-2:]] == [
        ("Hue | 2", "City | Rain"),
        ("Rome | 4", "City | Rain"),
    ]
    assert ("Nut | 5", "Item | Qty") in [(block.text, block.header) for block in blocks]


def test_groups_when_named_once() -> None:
    """A group that is named at its first row belongs to the rows below, as in pivot tables."""
    blocks = write(
        "Region | City | Sales\nNorth | Oslo | 5\n | Bergen | 6\n | Bodo | 7\nSouth | Rome | 8\n"
        " | Bari | 9"
    )
    assert [block.text for block in blocks][2:4] == ["North | Bergen | 6", "North | Bodo | 7"]
    assert blocks[-1].text == "South | Bari | 9"


def test_empty_cells_when_in_the_middle() -> None:
    """An empty cell keeps its column, in the first column too where that names no groups."""
    blocks = write("Name | Phone | Room\nAda | | 512\n | 77 | 513\nBo | | 514")
    assert [block.text for block in blocks[1:]] == ["Ada |  | 512", " | 77 | 513", "Bo |  | 514"]


@pytest.mark.parametrize("rows", [3, 100])
def test_header_when_another_follows_at_once(rows: int) -> None:
    """A bold row of other names begins a table of its own, wherever it stands."""
    writer = TableWriter(is_sheet=True)
    blocks: list[Block] = []
    for first, second in (("Staff", "Pay"), ("Machine", "Power")):
        blocks += writer.row([first, second], is_strong=True)
        for i in range(rows):
            blocks += writer.row([f"{first} {i}", str(i)])
    blocks += writer.end()
    assert {block.header for block in blocks if "Machine 1" in block.text} == {"Machine | Power"}
    assert {block.header for block in blocks if "Staff 1" in block.text} == {"Staff | Pay"}


def test_header_when_printed_again() -> None:
    """A header that stands there on every page is said once."""
    blocks = write("Name | Age\nAnn | 33\nName | Age\nBo | 34")
    assert [block.text for block in blocks] == ["Name | Age", "Ann | 33", "Bo | 34"]


def test_rows_when_wide() -> None:
    """Where names and values are too long for one line, each value stands beside its name."""
    names = " | ".join(f"quite a long name {i}" for i in range(40))
    values = " | ".join(f"value {i}" for i in range(40))
    block = write(f"{names}\n{values}")[-1]
    assert "quite a long name 39: value 39" in block.text.split("\n")
    assert block.header == "quite a long name 0: value 0"


def test_spans_when_cells_cover_rows_and_columns() -> None:
    """A cell stands in every place that it covers, and moves none of its neighbours."""
    spans = Spans()
    spans.add("a", rows=2)
    spans.add("b", columns=2)
    first = spans.row()
    spans.add("c")
    spans.add("d")
    assert (first, spans.row()) == (["a", "b", "b"], ["a", "c", "d"])


def test_spans_when_they_claim_everything() -> None:
    """A cell that claims to cover a sheet costs no more than its bound."""
    spans = Spans()
    spans.add("x" * 1000, columns=10**6, rows=10**6)
    assert len(spans.row()) <= 256
    assert sum(map(len, spans.row())) == 0


def test_spans_when_they_never_end() -> None:
    """Cells that claim to reach down for ever stop doing so after a bounded number of places."""
    spans = Spans()
    for _ in range(256):
        spans.add("x", rows=65_534)
    spans.row()
    widths = [len(spans.row()) for _ in range(2_000)]
    assert widths[0] == 256
    assert widths[-1] == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name,notes\nAnn,"a; b; c"\nBo,"d; e; f"\n', ","),
        ('name;notes\nAnn;"one, two\nthree; four"\nBo;"x, y"\n', ";"),
        ("Ware;Preis\nA;1,50\nB;2,50\n", ";"),
        ("a;b;c\n1,5;2,5;3,5\n2,5;3,5;4,5\n", ";"),
        ("name\tprice\nAnn, Dr.\t1,5\nBo\t2,7\n", "\t"),
        ("Sales report\nRegion;Amount\nNorth;5,50\nSouth;6,70\n", ";"),
        ("id;address\n1;Main St 5, Oslo, Norway\n2;High St 7, Rome, Italy\n", ";"),
        ('City,People\nOslo,"700,000"\nRome,"2,800,000"\n', ","),
        ("a|b\n1|2\n3|4\n", "|"),
        ("name\nAnn\n", ","),
    ],
)
def test_delimiter(text: str, expected: str) -> None:
    """The delimiter parts the rows evenly, whatever stands in quotes or behind a decimal comma."""
    assert find_delimiter(text) == expected


def test_csv_when_excel_names_the_delimiter() -> None:
    """Excel's line sep= is followed and is no data."""
    blocks = blocks_of(b"sep=;\nName;Price\nAnn;1,5\n", "a.csv")
    assert [block.text for block in blocks] == ["Name | Price", "Ann | 1,5"]


def test_csv_when_the_index_has_no_name() -> None:
    """A header that is one name short, as R writes it, leaves the corner blank."""
    blocks = blocks_of(b"mpg,cyl\nMazda,21,6\nDatsun,22.8,4\n", "a.csv")
    assert [(block.text, block.header) for block in blocks[1:2]] == [
        ("Mazda | 21 | 6", " | mpg | cyl")
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<tr><td>A<td><td>C<tr><td>1<td>&nbsp;<td>3", ["A |  | C", "1 |  | 3"]),
        (
            "<tr><td rowspan=2>N<td colspan=2>R<tr><td>p<td>q<tr><td>x<td>1<td>2",
            ["N | R | R\nN | p | q", "x | 1 | 2"],
        ),
        (
            "<tr><td>Item<td>Size<tr><td>Pump<td><table><tr><td>w<td>1<tr><td>h<td>2</table>",
            ["Item | Size", "Pump | w: 1; h: 2"],
        ),
        ("<tr><th>Capital<td>Oslo<tr><th>Land<td>Norway", ["Capital | Oslo", "Land | Norway"]),
    ],
    ids=["empty", "spans", "nested", "row names"],
)
def test_html_table(rows: str, expected: list[str]) -> None:
    """Cells of HTML stand where a browser shows them."""
    blocks = blocks_of(f"<html><table>{rows}</table></html>".encode(), "a.html")
    assert [block.text for block in blocks] == expected


def test_html_caption() -> None:
    """A caption goes with every row, as the table's header does."""
    data = b"<html><table><caption>Rain</caption><tr><th>A<th>B<tr><td>1<td>2</table></html>"
    assert blocks_of(data, "a.html")[-1].header == "Rain\nA | B"


def test_csv_of_one_column() -> None:
    """A file of one column stays one, although a line of it has a comma."""
    texts = [block.text for block in blocks_of(b"Name\nAnn\nBob, junior\nCy\n", "a.csv")]
    assert texts == ["Name", "Ann", "Bob, junior", "Cy"]


def test_csv_when_blanks_follow_the_delimiter() -> None:
    """A quote behind a blank begins a field all the same."""
    text = 'a, b, c\n1, "x, y", 3\n2, "z", 4\n'
    assert text_of(text.encode(), "a.csv") == "a | b | c\n1 | x, y | 3\n2 | z | 4"


def test_csv_when_a_title_stands_between_two_tables() -> None:
    """A table that follows another without a blank row has its own header and title."""
    rows = "Name,Power\nHela,1200\nOdin,900\nBarges\nName,Load\nB1,400\nNone,7\n"
    blocks = blocks_of(rows.encode(), "a.csv")
    assert [(block.text, block.header) for block in blocks][-4:] == [
        ("Barges", "Name | Power"),
        ("Name | Load", ""),
        ("B1 | 400", "Barges\nName | Load"),
        ("None | 7", "Barges\nName | Load"),
    ]
