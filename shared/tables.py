"""
Tables of documents as typed columns: what a column holds, and what a cell means. Pure.

A column counts as numbers or dates only if every cell says so in one way; else it is text, with
which nothing is computed. A wrong number is worse than none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

ColumnType = Literal["number", "date", "text"]
DecimalMark = Literal[".", ","]

# What is kept of one document.
MAX_TABLES = 1_000
MAX_COLUMNS = 256
MAX_NAME_CHARS = 200
# Digits of a number that is kept: more than any currency or measurement has.
_MAX_DIGITS = 40

_EMPTY = frozenset(["", "-", "–", "—", "...", "…", "n/a", "n.a.", "na", "null", "#n/a", "?"])
# Rows that add up those above them: adding them to the others would count twice.
_TOTAL = re.compile(
    r"(?:grand |sub[- ]?|running )?totals?\b|(?:zwischen|gesamt)?summen?\b|gesamt(?:ergebnis)?\b"
    r"|insgesamt\b|teilergebnis\b|sums?\b|overall\b|[σ∑]|(?:balance )?(?:carried|brought) forward\b"
    r"|übertrag\b"
    r"|tổng(?: cộng| số)?\b|cộng\b|(?:sub)?total(?:es)?(?: general)?\b|suma(?: total)?\b"
    r"|(?:sous-)?total(?: général)?\b|totaux\b|totale\b|somme\b|合计|总计|合計|総計",
    re.IGNORECASE,
)
_TOTAL_WORDS = 4
# "North Total", as Excel writes below each group.
_TOTAL_BEHIND = re.compile(r"\S.*[\s-](?:totals?|ergebnis|summe)[:.]?", re.IGNORECASE)
# What else is computed of the rows above; such words are names, too.
_OTHER_FIGURE = re.compile(
    r"(?:averages?|avg\.?|mean|median|minimum|maximum|min\.?|max\.?|count|number|ø|durchschnitt"
    r"|mittelwert|anzahl|trung bình|promedio|media|moyenne|平均)[:.]?(?: .*)?",
    re.IGNORECASE,
)
# Rows above one that adds them up by its figures, not by its name, and digits of such a sum.
_LEAST_ADDED = 2
_LEAST_DIGITS = 3
_SIGN = r"[-−–+]?"
_CURRENCY = r"(?:[A-Z]{0,3}[$€£¥₫₹₩₽₺฿₴]|[A-Z]{3})"
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<sign>{_SIGN})\s?(?:(?P<before>{_CURRENCY})\s?)?(?P<sign2>{_SIGN})"
    r"(?P<digits>\d[\d.,'’ ]*|[.,]\d+)(?P<power>[eE][-+]?\d{1,2})?"
    r"(?:\s?(?P<after>%|‰|[$€£¥₫₹₩₽₺฿₴]|[^\W\d_]{1,12}[²³]?(?:/[^\W\d_]{1,6}[²³]?)?|°[CF]?))?"
    r"(?P<behind>-)?(?P<close>\))?"
)
_DATE = re.compile(
    r"(?:(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"|(?P<a>\d{1,2})(?P<mark>[-/.])\s?(?P<b>\d{1,2})(?P=mark)\s?(?P<year2>\d{4}))"
    r"(?:[ T]00:00(?::00)?)?"
)


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a table.

    Attributes:
        unit: What stands with every number of it: "%", "€", "kg"; "" for nothing.
        unit_first: Whether it stands before the number.
        decimal: How the document writes its numbers.
        day_first: How it writes its dates, where that is not year, month, day.
    """

    name: str
    type: ColumnType
    unit: str = ""
    unit_first: bool = False
    decimal: DecimalMark = "."
    day_first: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of data.

    Attributes:
        number: From 1.
        char_start: Where it begins in the document's extracted text; char_end is behind it.
        cells: As the document shows them, one a column.
        numbers: What they mean in columns of numbers, else None.
        dates: The same for dates.
        is_total: It adds up others.
    """

    number: int
    char_start: int
    char_end: int
    page: int | None
    cells: tuple[str, ...]
    numbers: tuple[Decimal | None, ...]
    dates: tuple[date | None, ...]
    is_total: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a document; *page* is the page, slide or sheet that it begins on."""

    number: int
    title: str
    page: int | None
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class _Parts:
    """A number as it is written: its digits have no meaning before its decimal mark is known."""

    digits: str
    is_negative: bool
    power: int
    unit: str
    unit_first: bool


class ColumnReader:
    """
    Learns from all rows of a table what its columns hold.

    Args:
        names: As the header names them; blank and repeated ones get a name of their own.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._states: list[_ColumnState] = []

    def add(self, cells: Sequence[str]) -> None:
        """Look at the cells of one row."""
        while len(self._states) < len(cells):
            self._states.append(_ColumnState())
        for state, cell in zip(self._states, cells, strict=False):
            state.add(cell)

    def columns(self, *, decimal: DecimalMark | None) -> tuple[Column, ...]:
        """
        Return the columns.

        Args:
            decimal: What the document's numbers are written with where no column tells; None if
                that is unknown.
        """
        width = max(len(self._names), len(self._states))
        states = self._states + [_ColumnState() for _ in range(width - len(self._states))]
        told = {mark for state in states for mark in state.decimals if state.is_number}
        known: DecimalMark | None = (
            "." if told == {"."} else "," if told == {","} else None if told else decimal
        )
        names = _unique_names(self._names, width)
        return tuple(
            state.column(name, decimal=known) for name, state in zip(names, states, strict=True)
        )


class _ColumnState:
    """What is known of one column so far."""

    def __init__(self) -> None:
        self.is_number = True
        self.is_date = True
        self.count = 0
        self.units: set[tuple[str, bool]] = set()
        self.decimals: set[DecimalMark] = set()
        self.is_ambiguous = False
        self.orders: set[bool] = set()
        self.has_either_order = False

    def add(self, cell: str) -> None:
        text = _plain(cell)
        if text.lower() in _EMPTY:
            return
        self.count += 1
        if self.is_number:
            self._add_number(text)
        if self.is_date:
            self._add_date(text)

    def _add_number(self, text: str) -> None:
        parts = _split_number(text)
        if parts is None:
            self.is_number = False
            return
        self.units.add((parts.unit, parts.unit_first))
        mark = _decimal_mark(parts.digits)
        if mark == "either":
            self.is_ambiguous = True
        elif mark == "wrong":
            self.is_number = False
        elif mark != "none":
            self.decimals.add(mark)

    def _add_date(self, text: str) -> None:
        found = _DATE.fullmatch(text)
        if found is None:
            self.is_date = False
        elif found["a"] is not None:
            first, second = int(found["a"]), int(found["b"])
            if max(first, second) > 12 or found["mark"] == ".":
                # 31.12.2024 is written where the day comes first, nowhere else.
                self.orders.add(first > 12 or (found["mark"] == "." and second <= 12))
            else:
                self.has_either_order = True

    def column(self, name: str, *, decimal: DecimalMark | None) -> Column:
        if self.count and self.is_date and (self.orders or not self.has_either_order):
            if len(self.orders) <= 1:
                return Column(name, "date", day_first=self.orders == {True})
            return Column(name, "text")
        one_unit = len(self.units) == 1
        if not (self.count and self.is_number and one_unit and len(self.decimals) <= 1):
            return Column(name, "text")
        mark = next(iter(self.decimals), decimal)
        if mark is None:
            if self.is_ambiguous:
                return Column(name, "text")
            mark = "."
        ((unit, unit_first),) = self.units
        return Column(name, "number", unit=unit, unit_first=unit_first, decimal=mark)


def read_cells(
    columns: Sequence[Column], cells: Sequence[str], covered: Sequence[int]
) -> tuple[tuple[Decimal | None, ...], tuple[date | None, ...]]:
    """
    Return what the cells of a row mean: numbers and dates by column.

    Args:
        covered: Columns whose number is a merged cell's, which counts in one row only.
    """
    numbers: list[Decimal | None] = []
    dates: list[date | None] = []
    for place, column in enumerate(columns):
        text = cells[place] if place < len(cells) else ""
        is_number = column.type == "number" and place not in covered
        numbers.append(read_number(text, decimal=column.decimal) if is_number else None)
        dates.append(read_date(text, day_first=column.day_first) if column.type == "date" else None)
    return tuple(numbers), tuple(dates)


def read_number(text: str, *, decimal: DecimalMark) -> Decimal | None:
    """Return the number that *text* writes, None if it writes none."""
    parts = _split_number(_plain(text))
    if parts is None:
        return None
    digits = re.sub(r"[ '’]", "", parts.digits)
    digits = digits.replace("," if decimal == "." else ".", "").replace(",", ".")
    if digits.count(".") > 1 or sum(map(str.isdigit, digits)) > _MAX_DIGITS:
        return None
    value = Decimal(digits).scaleb(parts.power)
    return -value if parts.is_negative else value


def read_date(text: str, *, day_first: bool) -> date | None:
    """Return the date that *text* writes, None if it writes none."""
    found = _DATE.fullmatch(_plain(text))
    if found is None:
        return None
    if found["year"] is not None:
        year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    else:
        first, second = int(found["a"]), int(found["b"])
        year = int(found["year2"])
        day, month = (first, second) if day_first else (second, first)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def is_total(cells: Sequence[str]) -> bool:
    """Return whether a row adds up others, by the name that it has."""
    name = next((cell.strip() for cell in cells if cell.strip()), "")
    if len(name.split()) > _TOTAL_WORDS:
        return False
    return _TOTAL.match(name) is not None or _TOTAL_BEHIND.fullmatch(name) is not None


class TotalFinder:
    """
    Tells the rows of a table that add up others from those of data, from its first to its last.

    "All regions" is a total where its figures are the sum of those above.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._texts = [at for at, column in enumerate(columns) if column.type != "number"]
        self._sums: list[Decimal] = [Decimal(0)] * len(columns)
        # Since the last total.
        self._group: list[Decimal] = [Decimal(0)] * len(columns)
        self._count = self._group_count = 0
        self._always_filled = set(self._texts)

    def is_total(self, cells: Sequence[str], numbers: Sequence[Decimal | None]) -> bool:
        """Return whether the next row adds up others."""
        filled = {at for at in self._texts if at < len(cells) and cells[at].strip()}
        lacks = bool(self._always_filled - filled)
        found = (
            is_total(cells)
            or self._adds_up(numbers, self._sums, self._count, lacks=lacks)
            or self._adds_up(numbers, self._group, self._group_count, lacks=lacks)
            or (lacks and len(filled) == 1 and self._is_other_figure(cells))
        )
        if found:
            self._group, self._group_count = [Decimal(0)] * len(self._group), 0
            return True
        for at, number in enumerate(numbers):
            if number is not None:
                self._sums[at] += number
                self._group[at] += number
        self._count += 1
        self._group_count += 1
        self._always_filled &= filled
        return False

    def _adds_up(
        self, numbers: Sequence[Decimal | None], sums: Sequence[Decimal], count: int, *, lacks: bool
    ) -> bool:
        if count < _LEAST_ADDED:
            return False
        figures = [(number, sums[at]) for at, number in enumerate(numbers) if number is not None]
        equal = [
            number
            for number, added in figures
            if number == added and len(number.as_tuple().digits) >= _LEAST_DIGITS
        ]
        # A share or an average beside the sum is no sum; a row that has all its names adds up all.
        return bool(equal) and (lacks or (len(equal) == len(figures) and count > _LEAST_ADDED))

    def _is_other_figure(self, cells: Sequence[str]) -> bool:
        name = next((cell.strip() for cell in cells if cell.strip()), "")
        return _OTHER_FIGURE.fullmatch(name) is not None


def write_number(value: Decimal, column: Column) -> str:
    """Return *value* as the column writes its numbers, with its unit."""
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    whole, _, rest = digits.lstrip("-").partition(".")
    group = "," if column.decimal == "." else "."
    text = f"{int(whole):,}".replace(",", group) + (column.decimal + rest if rest else "")
    sign = "-" if value < 0 else ""
    if not column.unit:
        return sign + text
    if column.unit_first:
        space = " " if column.unit[-1:].isalpha() else ""
        return f"{sign}{column.unit}{space}{text}"
    space = "" if column.unit in "%‰°" else " "
    return f"{sign}{text}{space}{column.unit}"


def _plain(text: str) -> str:
    """Return *text* in NFKC, which makes plain spaces of all, on one line."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _split_number(text: str) -> _Parts | None:
    found = _NUMBER.fullmatch(text)
    if found is None or (found["open"] is None) != (found["close"] is None):
        return None
    digits = found["digits"].strip()
    signs = [sign for sign in (found["sign"], found["sign2"], found["behind"]) if sign]
    if len(signs) + (found["open"] is not None) > 1 or (found["before"] and found["after"]):
        return None
    if len(digits) > 1 and digits.isdigit() and digits[0] == "0":
        return None  # 00123 is a name
    return _Parts(
        digits,
        is_negative=found["open"] is not None or any(sign != "+" for sign in signs),
        power=int(found["power"][1:]) if found["power"] else 0,
        unit=found["before"] or found["after"] or "",
        unit_first=found["before"] is not None,
    )


def _decimal_mark(digits: str) -> Literal[".", ",", "none", "either", "wrong"]:
    """Return what the decimal mark of a number is, as far as the number itself tells."""
    marks = [character for character in digits if character in ".,"]
    spaced = re.sub(r"[ '’]", "", digits) != digits
    if spaced and not re.match(r"\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d+)?$", digits):
        return "wrong"
    if not marks:
        return "none"
    last: DecimalMark = "." if marks[-1] == "." else ","
    other: DecimalMark = "," if last == "." else "."
    before, _, behind = digits.rpartition(last)
    if spaced:
        return last if len(marks) == 1 else "wrong"
    if other in marks:
        whole = before.split(other)
        fits = last not in before and _are_groups(whole)
        return last if fits else "wrong"
    if len(marks) > 1:
        return other if _are_groups(digits.split(last)) else "wrong"
    if len(behind) != 3 or before in ("", "0") or len(before) > 3:
        return last
    return "either"


def _are_groups(groups: Sequence[str]) -> bool:
    return 1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])


def _unique_names(names: Sequence[str], width: int) -> list[str]:
    unique: list[str] = []
    taken: set[str] = set()
    for place in range(width):
        name = names[place] if place < len(names) else ""
        name = _plain(name)[:MAX_NAME_CHARS].strip() or f"Column {place + 1}"
        again, count = name, 1
        while again.casefold() in taken:
            count += 1
            again = f"{name} ({count})"
        taken.add(again.casefold())
        unique.append(again)
    return unique
