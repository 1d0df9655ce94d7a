"""
Numbers of Word's headings and lists, as Word shows them.

Source: ECMA-376 part 1, 17.9. A w:num is a use of a w:abstractNum; all uses count on together
unless one restarts a level by its own w:startOverride.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from .archives import Archive
from .blocks import clean_line

_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_HAN = "〇一二三四五六七八九"
_HAN_FORMATS = frozenset(
    [
        "chineseCounting",
        "chineseCountingThousand",
        "japaneseCounting",
        "koreanCounting",
        "taiwaneseCounting",
        "taiwaneseCountingThousand",
    ]
)
_ONES = tuple(
    tuple(pair.split("/"))
    for pair in """zero/zeroth one/first two/second three/third four/fourth five/fifth six/sixth
        seven/seventh eight/eighth nine/ninth ten/tenth eleven/eleventh twelve/twelfth
        thirteen/thirteenth fourteen/fourteenth fifteen/fifteenth sixteen/sixteenth
        seventeen/seventeenth eighteen/eighteenth nineteen/nineteenth""".split()  # noqa: SIM905
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_PLACE = re.compile(r"%([1-9])")


@dataclass(frozen=True, slots=True)
class Level:
    """How one level of a list is numbered."""

    format: str = "decimal"
    text: str = ""
    start: int = 1
    style: str = ""
    restarts: int | None = None
    is_legal: bool = False


@dataclass(slots=True)
class _Use:
    """A w:num: the levels it changes, and those it starts again."""

    abstract: str = ""
    starts: dict[int, int] = field(default_factory=dict)
    levels: dict[int, Level] = field(default_factory=dict)


class Numberings:
    """The lists of a document, and how far each has counted."""

    def __init__(self) -> None:
        self.abstract: dict[str, dict[int, Level]] = {}
        self.uses: dict[str, _Use] = {}
        # What an abstract list takes its levels from: {abstract: style}, {style: abstract}.
        self.links: dict[str, str] = {}
        self.linked: dict[str, str] = {}
        self.counters: dict[str, dict[int, int]] = {}
        self.started: set[tuple[str, int]] = set()

    @classmethod
    def read(cls, archive: Archive, main: str) -> Numberings:
        """Return the lists that the numbering part describes."""
        found = cls()
        for part in archive.related(main, "numbering"):
            found._read(archive, part)
        return found

    def _read(self, archive: Archive, part: str) -> None:
        abstract, use, level, overridden = "", "", 0, 0
        open_ = Level()
        for event in archive.xml(part):
            name, value = event.name, event.attributes.get("val", "")
            if event.kind == "end":
                if name == "lvl":
                    if use:
                        self.uses[use].levels[level] = open_
                    else:
                        self.abstract.setdefault(abstract, {})[level] = open_
                elif name == "num":
                    use = ""
            elif event.kind == "text":
                continue
            elif name == "abstractNum":
                abstract = event.attributes.get("abstractNumId", "")
                self.abstract[abstract] = {}
            elif name == "numStyleLink":
                self.links[abstract] = value
            elif name == "styleLink":
                self.linked[value] = abstract
            elif name == "num":
                use = event.attributes.get("numId", "")
                self.uses[use] = _Use()
            elif name == "abstractNumId" and use:
                self.uses[use].abstract = value
            elif name == "lvlOverride":
                overridden = _integer(event.attributes.get("ilvl", "0"))
            elif name == "startOverride" and use:
                self.uses[use].starts[overridden] = _integer(value)
            elif name == "lvl":
                level, open_ = _integer(event.attributes.get("ilvl", "0")), Level()
            elif name == "numFmt":
                custom = event.attributes.get("format", "")
                form = "decimalZero" if value == "custom" and custom.startswith("0") else value
                open_ = replace(open_, format=form or "decimal")
            elif name == "lvlText":
                open_ = replace(open_, text=value)
            elif name == "start":
                open_ = replace(open_, start=_integer(value))
            elif name == "pStyle":
                open_ = replace(open_, style=value)
            elif name == "lvlRestart":
                open_ = replace(open_, restarts=_integer(value))
            elif name == "isLgl":
                open_ = replace(open_, is_legal=value not in ("0", "false", "off"))

    def level_of_style(self, number: str, style: str) -> int | None:
        """Return the level of a list that belongs to a paragraph style, None if none does."""
        for level, its in self._levels(number).items():
            if its.style == style and style:
                return level
        return None

    def marker(self, number: str, level: int) -> str:
        """Count a paragraph of a list, and return its number or bullet, "" if it shows none."""
        levels = self._levels(number)
        its = levels.get(level, Level(format="bullet"))
        use = self.uses.get(number, _Use())
        counters = self.counters.setdefault(use.abstract or f"num {number}", {})
        if level in use.starts and (number, level) not in self.started:
            counters[level] = use.starts[level]
            self.started.add((number, level))
        else:
            counters[level] = counters.get(level, its.start - 1) + 1
        for deeper in [other for other in counters if other > level]:
            restarts = levels.get(deeper, its).restarts
            # 0 never starts again; n does so behind a level above it only.
            if restarts is None or (restarts and level < restarts):
                del counters[deeper]
        if its.format == "bullet":
            return "- "
        if its.format == "none" and "%" not in its.text:
            return f"{clean_line(its.text)} " if its.text.strip() else ""

        def number_of(found: re.Match[str]) -> str:
            index = int(found[1]) - 1
            above = levels.get(index, its)
            value = counters.get(index, above.start)
            form = "decimal" if its.is_legal and index != level else above.format
            return show_count(value, form)

        text = clean_line(_PLACE.sub(number_of, its.text))
        return f"{text} " if text else ""

    def _levels(self, number: str) -> dict[int, Level]:
        use = self.uses.get(number)
        if use is None:
            return {}
        abstract = use.abstract
        if not self.abstract.get(abstract) and abstract in self.links:
            abstract = self.linked.get(self.links[abstract], abstract)
        levels = self.abstract.get(abstract, {})
        return {**levels, **use.levels} if use.levels else levels


def _in_words(value: int, form: str) -> str:
    """Return a number as Word writes it out in English."""
    if value < 20:
        ones = _ONES[value]
        text = ones[1 if form == "ordinalText" else 0]
    else:
        ten, one = divmod(value, 10)
        word = _TENS[ten - 2]
        if one:
            text = f"{word}-{_ONES[one][1 if form == 'ordinalText' else 0]}"
        else:
            text = f"{word[:-1]}ieth" if form == "ordinalText" else word
    return text.capitalize()


def show_count(value: int, form: str) -> str:
    """Return a number in one of the forms of ST_NumberFormat; decimal in those not known."""
    if form in ("lowerLetter", "upperLetter") and 0 < value <= 780:
        letter = chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman") and 0 < value < 4000:
        text = ""
        for amount, letters in _ROMAN:
            count, value = divmod(value, amount)
            text += letters * count
        return text.upper() if form == "upperRoman" else text
    if form in ("cardinalText", "ordinalText") and 0 < value < 100:
        return _in_words(value, form)
    if form == "hex":
        return f"{value:X}"
    if form == "chicago" and 0 < value <= 12:
        return "*†‡§"[(value - 1) % 4] * ((value - 1) // 4 + 1)
    if form == "hebrew1" and 0 < value <= 22:
        return "אבגדהוזחטיכלמנסעפצקרשת"[value - 1]
    if form == "numberInDash":
        return f"- {value} -"
    if form == "decimalZero":
        return f"{value:02d}"
    if form == "ordinal":
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
        return f"{value}{'th' if value % 100 in (11, 12, 13) else suffix}"
    if form.startswith("decimalEnclosedCircle") and 0 < value <= 20:
        return chr(0x2460 + value - 1)
    if form in _HAN_FORMATS and 0 < value < 100:
        tens, ones = divmod(value, 10)
        return (
            (_HAN[tens] if tens > 1 else "") + ("十" if tens else "") + (_HAN[ones] if ones else "")
        )
    if form in ("russianLower", "russianUpper") and 0 < value <= 28:
        letter = "абвгдежзиклмнопрстуфхцчшщыэюя"[value - 1]
        return letter.upper() if form == "russianUpper" else letter
    return "" if form == "none" else str(value)


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
