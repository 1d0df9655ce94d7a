"""What the columns and cells of tables mean."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from shared.tables import (
    Column,
    ColumnReader,
    DecimalMark,
    TotalFinder,
    is_total,
    read_cells,
    write_number,
)


def column_of(*cells: str, decimal: DecimalMark | None = None) -> Column:
    reader = ColumnReader(["X"])
    for cell in cells:
        reader.add([cell])
    return reader.columns(decimal=decimal)[0]


def numbers_of(*cells: str, decimal: DecimalMark | None = None) -> list[Decimal | None]:
    column = column_of(*cells, decimal=decimal)
    return [read_cells([column], [cell], [])[0][0] for cell in cells]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234.50", "7"], ["1234.50", "7"]),
        (["1.234,50", "1.234"], ["1234.50", "1234"]),
        (["1 234,5", "12"], ["1234.5", "12"]),
        (["1'234.50", "-3"], ["1234.50", "-3"]),
        (["(5.00)", "2.50-", "−1"], ["-5.00", "-2.50", "-1"]),
        (["€ 5.10", "€ 1,000.00"], ["5.10", "1000.00"]),
        (["7.5 %", "n/a", "10 %"], ["7.5", None, "10"]),
        (["0.125", "1.234"], ["0.125", "1.234"]),
        (["1e3", "2.5E-2"], ["1000", "0.025"]),
        (["2022", "2023"], ["2022", "2023"]),
    ],
)
def test_numbers_when_the_column_tells_how(cells: list[str], numbers: list[str | None]) -> None:
    """One cell that tells decimals from thousands tells it for its column."""
    expected = [None if number is None else Decimal(number) for number in numbers]
    assert numbers_of(*cells) == expected


@pytest.mark.parametrize(
    "cells",
    [
        ["1.5", "1,5"],
        ["5 kg", "5 g"],
        ["$5", "5 €"],
        ["00123", "00124"],
        ["12", "about 12"],
        ["1.2.3", "4"],
        ["1,23,4", "5"],
        ["1.234", "5.678"],
        ["+49 30 1234567", "+49 30 7654321"],
    ],
)
def test_columns_when_cells_do_not_agree(cells: list[str]) -> None:
    """What may be read in two ways, or has two units, is text."""
    assert column_of(*cells).type == "text"


@pytest.mark.parametrize(("decimal", "value"), [(".", "1.234"), (",", "1234")])
def test_numbers_when_only_the_language_tells(decimal: DecimalMark, value: str) -> None:
    """1.234 is read by the language of the document."""
    assert numbers_of("1.234", "5.678", decimal=decimal)[0] == Decimal(value)


def test_numbers_when_another_column_tells() -> None:
    """All columns of a table are written in one way."""
    reader = ColumnReader(["A", "B"])
    reader.add(["1.234", "0,5"])
    columns = reader.columns(decimal=".")
    assert read_cells(columns, ["1.234", "0,5"], [])[0] == (Decimal(1234), Decimal("0.5"))


def test_numbers_when_a_cell_is_merged() -> None:
    """A number over several rows counts once."""
    assert read_cells([Column("X", "number")], ["5"], [0])[0] == (None,)


@pytest.mark.parametrize(
    ("cells", "dates"),
    [
        (["2024-03-07", "2024-12-31"], [date(2024, 3, 7), date(2024, 12, 31)]),
        (["07.03.2024", "31.12.2024"], [date(2024, 3, 7), date(2024, 12, 31)]),
        (["07/03/2024", "31/12/2024"], [date(2024, 3, 7), date(2024, 12, 31)]),
        (["03/07/2024", "12/31/2024"], [date(2024, 3, 7), date(2024, 12, 31)]),
    ],
)
def test_dates_when_the_column_tells_how(cells: list[str], dates: list[date]) -> None:
    """A day over twelve tells which number is the month."""
    column = column_of(*cells)
    assert [read_cells([column], [cell], [])[1][0] for cell in cells] == dates


def test_dates_when_month_and_day_may_be_exchanged() -> None:
    """Then the column is text."""
    assert column_of("03/07/2024", "05/06/2024").type == "text"


def test_names_when_blank_or_repeated() -> None:
    """Each column has a name of its own."""
    reader = ColumnReader(["Name", "", "Name"])
    reader.add(["a", "b", "c", "d"])
    names = [column.name for column in reader.columns(decimal=None)]
    assert names == ["Name", "Column 2", "Name (2)", "Column 4"]


@pytest.mark.parametrize(
    ("cells", "total"),
    [
        (["Total", "5"], True),
        (["", "Grand total", "5"], True),
        (["Summe", "5"], True),
        (["Tổng cộng", "5"], True),
        (["Total Wine Ltd. of the Northern Isles", "5"], False),
        (["North", "5"], False),
    ],
)
def test_totals_when_named(cells: list[str], total: bool) -> None:
    """A row that adds up others is known by its name."""
    assert is_total(cells) is total


@pytest.mark.parametrize(
    ("rows", "totals"),
    [
        # Named by what it adds up.
        (["North|Pump|12.50", "South|Pump|7.25", "|All regions|19.75"], [2]),
        (["North|Pump|12.50", "South|Pump|7.25", "|Balance|19.75"], [2]),
        # A share beside the sum, which is no sum.
        (["North|Pump|12.50|20", "South|Pump|7.25|30", "Both||19.75|25"], [2]),
        # Sums of groups, and of all.
        (
            [
                "N|a|100",
                "N|b|250",
                "North Total||350",
                "S|a|9",
                "S|b|5",
                "Süd Ergebnis||14",
                "Σ||364",
            ],
            [2, 5, 6],
        ),
        (["N|a|100", "N|b|250", "|N|350", "S|a|40", "S|b|500", "|S|540", "||890"], [2, 5, 6]),
        (["N|a|100", "N|b|250", "Average||175", "Ø||175"], [2, 3]),
        (["N|a|100", "S|b|250", "W|c|300", "All|all|650"], [3]),
        (["N|a|100", "S|b|250", "Σ||350", "Übertrag||350"], [2, 3]),
        # Chance, and names.
        (["N|a|1", "S|b|2", "W|c|3"], []),
        (["N|a|100", "S|b|250", "W|c|350"], []),
        (["Max|a|100", "Mean Street|b|20", "Media|c|7"], []),
        (["N|a|100", "S|b|200", "W||400"], []),
    ],
)
def test_totals_when_found_by_their_figures(rows: list[str], totals: list[int]) -> None:
    """A row that adds up those above is a total whatever it is called, and chance is none."""
    cells = [row.split("|") for row in rows]
    columns = [Column("A", "text"), Column("B", "text"), Column("C", "number")]
    columns += [Column("D", "number")] * (len(cells[0]) - 3)
    finder = TotalFinder(columns)
    found = [
        number
        for number, row in enumerate(cells)
        if finder.is_total(row, read_cells(columns, row, [])[0])
    ]
    assert found == totals


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        ("1234.50", Column("X", "number", unit="€"), "1,234.5 €"),
        ("1234.50", Column("X", "number", unit="$", unit_first=True), "$1,234.5"),
        ("-1234.5", Column("X", "number", decimal=","), "-1.234,5"),
        ("7.5", Column("X", "number", unit="%"), "7.5%"),
    ],
)
def test_numbers_when_written(value: str, column: Column, text: str) -> None:
    """A computed number looks as its column does."""
    assert write_number(Decimal(value), column) == text
