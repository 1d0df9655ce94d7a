"""
Questions whose answer is computed from a table, read by rule: sums, counts, the highest. Pure.

A question is read only if each of its words is accounted for by the table, the values in it, or the
grammar of asking. A word that is left over may be a condition, and without it the number is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.store.tables import (
    Aggregate,
    Combination,
    Condition,
    Function,
    Operator,
    Order,
    TablePlan,
)
from shared.tables import Column, read_number

# The rows that "the highest" may name: more than these share the place.
MAX_TIES = 10
_MAX_TOP = 50

_Kind = Literal["sum", "avg", "min", "max", "count", "top"]

# Longer phrases first; each is words as they stand.
_KINDS: dict[_Kind, str] = {
    "count": "how many|wie viele|bao nhiêu|cuántos|cuántas|combien de|how many rows"
    "|how many entries|how many records|how many lines|number of rows|number of entries"
    "|number of records|count of rows|count rows|wie viele zeilen|wie viele einträge"
    "|anzahl der zeilen|anzahl der einträge|anzahl zeilen|bao nhiêu dòng|bao nhiêu hàng|số dòng"
    "|số hàng|cuántas filas|cuántos registros|número de filas|combien de lignes|nombre de lignes",
    "sum": "sum of|sum|total of|total|overall|altogether|in all|in total|add up|summe der|summe des"
    "|summe von|summe|gesamtsumme|insgesamt|gesamt|tổng cộng|tổng số|tổng|suma de|suma|total de"
    "|somme des|somme de|somme|en tout",
    "avg": "average of|average|mean of|mean|durchschnittliche|durchschnittlicher"
    "|durchschnittliches|durchschnitt der|durchschnitt|mittelwert|trung bình|promedio de"
    "|promedio|media de|moyenne des|moyenne de|moyenne",
    "max": "highest|largest|biggest|greatest|maximum of|maximum|max|höchste|höchster|höchsten"
    "|höchstes|größte|größter|größten|größtes|maximale|cao nhất|lớn nhất|más alto|más alta|mayor"
    "|máximo|máxima|plus élevé|plus élevée|plus grand|plus grande|maximale",
    "min": "lowest|smallest|least|minimum of|minimum|min|niedrigste|niedrigster|niedrigsten"
    "|niedrigstes|kleinste|kleinster|kleinsten|kleinstes|geringste|minimale|thấp nhất|nhỏ nhất"
    "|más bajo|más baja|menor|mínimo|mínima|plus bas|plus basse|plus petit|plus petite",
}
# What says by itself which numbers are meant: those of the column of money.
_OF_MONEY = {
    "max": "most expensive|dearest|priciest|costliest|teuerste|teuersten|teuerster|teuerstes"
    "|más caro|más cara|plus cher|plus chère|più caro|più cara|mais caro|mais cara|đắt nhất",
    "min": "cheapest|least expensive|billigste|billigsten|billigster|billigstes|günstigste"
    "|günstigsten|günstigster|günstigstes|más barato|más barata|moins cher|moins chère"
    "|più economico|più economica|mais barato|mais barata|rẻ nhất",
}
_KINDS |= {
    "max": f"{_KINDS['max']}|the most|die meisten|am meisten|{_OF_MONEY['max']}",
    "min": f"{_KINDS['min']}|the fewest|die wenigsten|am wenigsten|{_OF_MONEY['min']}",
}
_MONEY_UNIT = re.compile(r"[$€£¥₫₹]|(?:eur|usd|gbp|chf|jpy|vnd)\b", re.IGNORECASE)
_MONEY_NAME = re.compile(
    r"\b(?:costs?|prices?|fees?|amount|rent|preis|kosten|betrag|gebühr|miete|precio|coste|importe"
    r"|prix|coût|montant|prezzo|costo|importo|preço|custo|valor|giá|chi phí)\b",
    re.IGNORECASE,
)
_COMPARISONS: dict[Operator, str] = {
    "gte": "at least|no less than|mindestens|ít nhất|al menos|au moins|>=|≥",
    "lte": "at most|no more than|höchstens|nhiều nhất|como máximo|au plus|<=|≤",
    "gt": "greater than|higher than|larger than|more than|over|above|größer als|höher als|mehr als"
    "|über|lớn hơn|cao hơn|hơn|trên|mayor que|más de|superior a|plus de|supérieur à|>",
    "lt": "less than|lower than|smaller than|below|under|kleiner als|weniger als|niedriger als"
    "|unter|nhỏ hơn|thấp hơn|ít hơn|dưới|menor que|menos de|inferior a|moins de|inférieur à|<",
}
_BY = frozenset("by per each je pro nach theo mỗi por cada par chaque".split())  # noqa: SIM905
_NOTHING_WORDS = """
what what's which who is are was were the a an of in for where with whose and all do does did
how much many have has had there at on to from it its value values column row rows table entry
entries give me show tell list please equals equal = made
was ist sind war waren welche welcher welches wer der die das den dem des ein eine einer einem
im in für wo mit und alle aller allen wie hoch viel viele beträgt betrug hat haben bei am an
von vom zum zur zeile zeilen spalte tabelle wert werte
là gì nào ai của trong cho với và các những có bao nhiêu ở tại mà cột hàng dòng bảng giá trị
cuál cuáles qué quién es son era el la los las lo de del en para con y todos todas cuánto
cuánta cuántos cuántas hay tiene donde tabla fila filas columna valor
quel quelle quels quelles qui est sont était le la les l du des de d en pour avec et tous toutes
combien a où tableau ligne lignes colonne valeur
"""
_NOTHING = frozenset(_NOTHING_WORDS.split())
_WORD = re.compile(r"[<>]=|[<>=≥≤]|[^\W_]+(?:[.,'’/-][^\W_]+)*|[$€£¥₫%]")
_LOOKS_COMPUTED = re.compile(
    r"\b(?:"
    + "|".join(
        re.escape(phrase)
        for phrases in _KINDS.values()
        for phrase in sorted(phrases.split("|"), key=len, reverse=True)
    )
    + r"|top|erste[nr]?|first)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class TableQuestion:
    """
    What a question asks of a table.

    Attributes:
        kind: How the answer names it.
        target: The column of numbers, None for a count.
        conditions: What the rows must hold, to be told again.
    """

    kind: _Kind
    plan: TablePlan
    target: int | None
    group: int | None
    conditions: tuple[Condition, ...]


def looks_computed(question: str) -> bool:
    """Return whether a question may ask for what is computed; cheap, for all that do not."""
    return _LOOKS_COMPUTED.search(_folded(question)) is not None


def read_question(
    question: str,
    columns: Sequence[Column],
    *,
    names: Sequence[str],
    distinct: Callable[[int], Sequence[str] | None],
) -> TableQuestion | None:
    """
    Return what *question* asks of the table, None if it asks anything that is not clear.

    Args:
        names: What the table, its sheet and its document are called: such words may be there.
        distinct: Return the different cells of a column of text, None if they are too many.
    """
    words = _WORD.findall(_folded(question))
    reading = _Reading(words, columns)
    kind = reading.take_kind()
    if kind is None:
        return None
    if kind == "count" and words[-2:] == ["bao", "nhiêu"]:
        # How much: what is counted stands behind it.
        return None
    reading.take_columns()
    if not reading.take_comparisons() or not reading.take_values(distinct):
        return None
    if not reading.rest_is_grammar(names):
        return None
    return reading.finish(kind)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


class _Reading:
    """
    The words of a question, and what each was taken for.

    Attributes:
        taken: By word, whether it is accounted for.
        mentions: (first word, word behind, column) of each column that is named.
    """

    def __init__(self, words: list[str], columns: Sequence[Column]) -> None:
        self.words = words
        self.columns = columns
        self.taken = [False] * len(words)
        self.mentions: list[tuple[int, int, int]] = []
        self.conditions: list[Condition] = []
        self.of_condition: set[int] = set()
        self.top = 0
        self.of_money = False

    def find(self, phrase: Sequence[str], *, plural: bool = False) -> int | None:
        """Return the first free place of *phrase*."""
        for at in range(len(self.words) - len(phrase) + 1):
            if any(self.taken[at : at + len(phrase)]):
                continue
            here = self.words[at : at + len(phrase)]
            if all(
                word == wanted or (plural and _singular(word) == _singular(wanted))
                for word, wanted in zip(here, phrase, strict=True)
            ):
                return at
        return None

    def take(self, at: int, length: int) -> None:
        for place in range(at, at + length):
            self.taken[place] = True

    def take_kind(self) -> _Kind | None:
        """Take the words that say what to compute; None if they say nothing, or two things."""
        text = " ".join(self.words)
        found = re.search(r"\b(?:top|first|ersten|obersten) (\d{1,2})\b", text)
        if found and 0 < int(found[1]) <= _MAX_TOP:
            at = self.find(found[0].split())
            assert at is not None, "it was found in the same words"  # noqa: S101
            self.take(at, 2)
            self.top = int(found[1])
            return "top"
        kinds: list[_Kind] = []
        columns = [_words(column.name) for column in self.columns]
        for kind, phrases in _KINDS.items():
            for phrase in sorted(phrases.split("|"), key=len, reverse=True):
                wanted = phrase.split()
                at = self.find(wanted)
                # "Total" may be the name of a column, or a part of one.
                if at is None or any(
                    len(name) > 1 and self.find(name) is not None and set(wanted) <= set(name)
                    for name in columns
                ):
                    continue
                self.take(at, len(wanted))
                self.of_money |= phrase in _OF_MONEY.get(kind, "").split("|")
                if kind not in kinds:
                    kinds.append(kind)
        return kinds[0] if len(kinds) == 1 else None

    def take_columns(self) -> None:
        """Take the names of columns, longer ones first."""
        order = sorted(
            range(len(self.columns)), key=lambda place: -len(_words(self.columns[place].name))
        )
        for place in order:
            name = _words(self.columns[place].name)
            while name and (at := self.find(name, plural=True)) is not None:
                self.take(at, len(name))
                self.mentions.append((at, at + len(name), place))

    def take_comparisons(self) -> bool:
        """Take "NUMBER COLUMN over 100"; False if one names no column before it."""
        for operator, phrases in _COMPARISONS.items():
            for phrase in sorted(phrases.split("|"), key=len, reverse=True):
                wanted = phrase.split()
                while (at := self.find(wanted)) is not None:
                    column = self._column_before(at)
                    behind = at + len(wanted)
                    while behind < len(self.words) and self.words[behind] in "$€£¥₫":
                        self.taken[behind] = True
                        behind += 1
                    if column is None or behind >= len(self.words) or self.taken[behind]:
                        return False
                    number = read_number(self.words[behind], decimal=self.columns[column].decimal)
                    if number is None or self.columns[column].type != "number":
                        return False
                    self.take(at, behind + 1 - at)
                    self.conditions.append(Condition(column, operator, (number,)))
                    self.of_condition.add(column)
        return True

    def _column_before(self, at: int) -> int | None:
        at -= 1
        while at >= 0 and not self.taken[at] and self.words[at] in _NOTHING:
            at -= 1
        return next((column for _, end, column in self.mentions if end == at + 1), None)

    def take_values(self, distinct: Callable[[int], Sequence[str] | None]) -> bool:
        """Take cells of columns of text as conditions; False if one may be of two columns."""
        found: list[tuple[int, int, int, str]] = []
        for place, column in enumerate(self.columns):
            if column.type != "text":
                continue
            cells = distinct(place)
            for cell in cells or ():
                wanted = _words(cell)
                if not wanted or (len(wanted) == 1 and wanted[0] in _NOTHING):
                    continue
                at = self.find(wanted)
                if at is not None:
                    found.append((at, len(wanted), place, cell))
        found.sort(key=lambda each: (-each[1], each[0]))
        by_column: dict[int, list[str]] = {}
        while found:
            at, length, _, _ = found[0]
            same = [each for each in found if each[:2] == (at, length)]
            places = {each[2] for each in same}
            if len(places) > 1:
                near = {place for place in places if self._is_named_beside(place, at, length)}
                if len(near) != 1:
                    return False
                places = near
            (place,) = places
            value = next(each[3] for each in same if each[2] == place)
            self.take(at, length)
            by_column.setdefault(place, []).append(value)
            self.of_condition.add(place)
            found = [each for each in found if not any(self.taken[each[0] : each[0] + each[1]])]
        for place, values in by_column.items():
            operator: Operator = "eq" if len(values) == 1 else "in"
            self.conditions.append(Condition(place, operator, tuple(values)))
        return True

    def _is_named_beside(self, column: int, at: int, length: int) -> bool:
        named = self._column_before(at) == column
        return named or any(
            first == at + length and place == column for first, _, place in self.mentions
        )

    def rest_is_grammar(self, names: Sequence[str]) -> bool:
        known = _NOTHING | _BY | {word for name in names for word in _words(name)}
        # "Which check was the cheapest?" calls a row by what a column is of: "Last check".
        known |= {words[-1] for column in self.columns if (words := _words(column.name))}
        return all(
            taken or word in known for word, taken in zip(self.words, self.taken, strict=True)
        )

    def finish(self, kind: _Kind) -> TableQuestion | None:
        group = None
        for first, _, column in self.mentions:
            before = self.words[first - 1] if first else ""
            if before in _BY and self.columns[column].type == "text":
                if group not in (None, column):
                    return None
                group = column
        numbers = {
            column
            for _, _, column in self.mentions
            if self.columns[column].type == "number" and column not in self.of_condition
        }
        if self.of_money:
            of_money = {place for place, column in enumerate(self.columns) if _is_money(column)}
            # "The cheapest per hour" names one of several.
            numbers = numbers & of_money or (of_money if len(of_money) == 1 else set())
        if len(numbers) > 1 or (kind != "count" and not numbers):
            return None
        if kind == "count" and numbers:
            return None
        target = next(iter(numbers), None)
        conditions = tuple(self.conditions)
        others = {
            column
            for _, _, column in self.mentions
            if column not in self.of_condition and column not in (group, target)
        }
        if kind in ("max", "min", "top") and group is None:
            assert target is not None, "checked above"  # noqa: S101
            filled = Condition(target, "not_empty")
            plan = TablePlan(
                columns=tuple(range(len(self.columns))),
                where=_all([*self.conditions, filled]),
                order=(Order(target, descending=kind != "min"),),
                limit=self.top or MAX_TIES + 1,
            )
            return TableQuestion(kind, plan, target, None, conditions)
        if kind == "top" or len(others) > (kind == "count"):
            return None
        function: Function = kind
        aggregates = [Aggregate(function, target)]
        if others:
            # "How many products" may ask for rows or for different ones: see compute.
            (named,) = others
            aggregates = [Aggregate("count", named), Aggregate("count_distinct", named)]
        plan = TablePlan(
            columns=() if group is None else (group,),
            aggregates=tuple(aggregates),
            where=_all(self.conditions),
            order=() if group is None else (Order(1, descending=True),),
            limit=_MAX_TOP,
        )
        return TableQuestion(kind, plan, target, group, conditions)


def _is_money(column: Column) -> bool:
    return column.type == "number" and bool(
        _MONEY_UNIT.search(column.unit) or _MONEY_NAME.search(column.name)
    )


def _all(conditions: Sequence[Condition]) -> Condition | Combination | None:
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else Combination("and", tuple(conditions))


def _words(text: str) -> list[str]:
    return _WORD.findall(_folded(text))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
