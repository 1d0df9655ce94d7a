"""
Other spellings of what a text holds, for full-text search.

What a reader takes for the same is written as one more word that both spellings share:
"2024-03-07", "7 March 2024" and "07.03.2024" as d20240307; "1,234.56" and "1.234,56" as n1234d56;
"230V" and "230 V" as 230v; "maxRetryCount" as its three words too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

# At most so many further words of one text: a table of dates stays within a tsvector's bounds.
_MAX_WORDS = 4000

# By number: English, German, Dutch, Spanish, French, Italian, Portuguese, Polish, Turkish.
_MONTH_NAMES = """
january jan januar januari jänner enero janvier janv gennaio gen janeiro stycznia ocak
february feb februar februari febrero février févr febbraio fevereiro fev lutego şubat
march mar märz mär maart marzo mars março marca mart
april apr abril avril avr aprile kwietnia nisan
may mai mei mayo maggio maio maja mayıs
june jun juni junio juin giugno giu junho czerwca haziran
july jul juli julio juillet juil luglio lug julho lipca temmuz
august aug agosto août ago augustus sierpnia ağustos
september sep sept septiembre septembre settembre setembro set września eylül
october oct oktober okt octubre octobre ottobre outubro out października ekim
november nov noviembre novembre novembro listopada kasım
december dec dezember dez diciembre dic décembre déc dicembre dezembro grudnia aralık
"""
_MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.split("\n")[1:13], start=1)
    for name in names.split()
}
_MONTH = "|".join(sorted(map(re.escape, _MONTHS), key=len, reverse=True))
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?!\d)",
        r"(?<!\d)(?P<y>\d{4})\s?年\s?(?P<m>\d{1,2})\s?月\s?(?P<d>\d{1,2})\s?日",
        r"(?<!\d)(?P<y>\d{4})\s?년\s?(?P<m>\d{1,2})\s?월\s?(?P<d>\d{1,2})\s?일",
        r"ngày\s(?P<d>\d{1,2})\s?(?:tháng\s?|[/.-])(?P<m>\d{1,2})\s?(?:năm\s?|[/.-])(?P<y>\d{4})",
        (
            rf"(?<!\d)(?P<d>\d{{1,2}})(?:st|nd|rd|th|er|º|\.)?\s(?:de\s|of\s)?(?P<n>{_MONTH})"
            r"\.?,?\s(?:de\s|del\s)?(?P<y>\d{4})(?!\d)"
        ),
        rf"(?<!\w)(?P<n>{_MONTH})\.?\s(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y>\d{{4}})(?!\d)",
    )
)
# In a question these may be a version or an order number as well: they count as both.
_SHORT_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        (
            r"(?<![\w.-])(?P<y>(?:19|20)\d{2})(?P<m>0[1-9]|1[0-2])"
            r"(?P<d>0[1-9]|[12]\d|3[01])(?![\w.-])"
        ),
        r"(?<![\w.-])(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{2})(?![\w-]|\.\d)",
    )
)
# Day first or month first: where both can be meant, both are written.
_EITHER = re.compile(r"(?<!\d)(?P<a>\d{1,2})([-/.])(?P<b>\d{1,2})\2(?P<y>\d{4})(?!\d)")

# NFKC has made plain spaces of those that keep a number on one line.
_NUMBER = re.compile(
    r"(?<![\w.,])(?:\d{1,3}(?: \d{3}){1,4}(?:[.,]\d{1,15})?|\d{1,15}(?:[.,'’]\d{1,15}){1,6})"
    r"(?![\w]|[.,]\d)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:([.,'’ ])\d{3})(?:\1\d{3})*")
_UNITS = (
    "m3/h|m3/s|l/min|l/h|l/s|km/h|m/s|m3|m2|kwh|mwh|wh|kw|mw|w|kv|mv|v|ma|ah|mah|a|khz|mhz|ghz|hz|kg|mg|g|lb|lbs|oz|km|cm|mm|nm|m"
    "|ft|ml|cl|l|kpa|mpa|hpa|pa|bar|mbar|psi|kb|mb|gb|tb|kib|mib|gib|tib|kbit|mbit|gbit|kbps|mbps"
    "|gbps|ms|dpi|px|db|rpm|°c|°f|%|ω|k|n"
)
_QUANTITY = re.compile(
    rf"(?<![\w.,])(\d{{1,12}}(?:[.,]\d{{1,9}})?)(\s?)({_UNITS})(?![\w/])", re.IGNORECASE
)
# Units of one kind, by the power of ten of the one that stands for all of them.
_SCALES = {
    unit: (base, power)
    for base, units in {
        "w": {"w": 0, "kw": 3, "mw": 6},
        "wh": {"wh": 0, "kwh": 3, "mwh": 6},
        "v": {"v": 0, "kv": 3},
        "a": {"a": 0, "ma": -3},
        "hz": {"hz": 0, "khz": 3, "mhz": 6, "ghz": 9},
        "g": {"g": 0, "mg": -3, "kg": 3},
        "m": {"m": 0, "mm": -3, "cm": -2, "km": 3, "nm": -9},
        "l": {"l": 0, "ml": -3, "cl": -2},
        "pa": {"pa": 0, "hpa": 2, "kpa": 3, "mpa": 6},
    }.items()
    for unit, power in units.items()
}
# "2.45 million" is 2,450,000.
_MULTIPLES = {
    word: power
    for power, words in {
        3: "thousand tausend duizend nghìn ngàn",
        6: "million millions mio mln millionen millones milhões milioni triệu",
        9: "milliard milliards milliarde milliarden mrd billion billions bn miljard tỷ tỉ",
    }.items()
    for word in words.split()
}
_MULTIPLE = re.compile(
    rf"(?<![\w.,])(\d{{1,6}}(?:[.,]\d{{1,6}})?)\s?({'|'.join(_MULTIPLES)})(?!\w)", re.IGNORECASE
)
_UNIT_SIGNS = str.maketrans({"/": "p", "%": "pct", "°": "deg", "ω": "ohm"})

# camelCase and PascalCase; "HTTPServer" is HTTP and Server.
_JOINED = re.compile(
    r"(?<![^\W_])(?=[^\W_]{4,64}(?![^\W_]))"
    r"[^\W_]*(?:[^\W\d_A-Z][A-Z]|[A-Z]{2}[a-z])[^\W_]*"
)
_HUMP = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z\u00df-\u024f]+|[A-Z]+|\d+")

# 4711-AB/09: segments with digits and letters, joined by a slash too.
_SLASHED = re.compile(
    r"(?<![\w/.-])(?=[^\s]{0,32}/)(?:[^\W_]{1,12}[-_./]){1,6}[^\W_]{1,12}(?![\w/])"
)

# Emoji and other pictures; older signs, which serve as bullets too, have no names.
_FIRST_PICTURE = 0x1F000
_OLDER_PICTURES = range(0x2600, 0x27C0)

# Letters that NFD takes no mark from.
_UNMARKED = str.maketrans(
    {"ł": "l", "đ": "d", "ð": "d", "ø": "o", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_LATIN_WORD = re.compile(r"[a-z\u00df-\u024f\u1e00-\u1eff]+")


def find_spellings(text: str) -> list[str]:
    """Return the further words of *text*, those of dates, numbers, quantities and joined words."""
    composed = unicodedata.normalize("NFKC", text)
    words: list[str] = []
    for find in (_dates, _numbers, _multiples, _quantities, _slashed, _joined, _pictures):
        for word in find(composed):
            words.append(word)
            if len(words) >= _MAX_WORDS:
                return words
    return words


def without_dates(question: str) -> str:
    """
    Return *question* without the dates in it, which find_spellings writes as words of their own.

    Else documents of other days of that month would hold more of its words.
    """
    composed = unicodedata.normalize("NFKC", question)
    for pattern in (*_DATES, _EITHER):
        composed = pattern.sub(" ", composed)
    return composed


def unmarked_words(text: str) -> list[str]:
    """
    Return the words of *text* (lower case, composed) that carry marks, as typed without them.

    A German umlaut is also written with an e: Mütze is mutze and muetze.
    """
    words: list[str] = []
    for match in _LATIN_WORD.finditer(text):
        word = match.group()
        if word.isascii():
            continue
        plain = unmark(word)
        if plain != word:
            words.append(plain)
            with_e = unmark(word.translate(_UMLAUTS))
            if with_e != plain:
                words.append(with_e)
        if len(words) >= _MAX_WORDS:
            break
    return words


def unmark(word: str) -> str:
    """Return *word* (lower case) without the marks of its Latin letters."""
    decomposed = unicodedata.normalize("NFD", word.translate(_UNMARKED))
    return "".join(sign for sign in decomposed if unicodedata.category(sign) != "Mn")


def _dates(text: str) -> Iterator[str]:
    for pattern in (*_DATES, *_SHORT_DATES):
        for match in pattern.finditer(text):
            found = match.groupdict()
            month = _MONTHS[found["n"].lower()] if "n" in found else int(found["m"])
            yield from _date(
                found["y"] if len(found["y"]) == 4 else f"20{found['y']}", month, int(found["d"])
            )
    for match in _EITHER.finditer(text):
        first, second = int(match["a"]), int(match["b"])
        yield from _date(match["y"], second, first)
        if match[2] == "/" and first != second:
            yield from _date(match["y"], first, second)


def _date(year: str, month: int, day: int) -> Iterator[str]:
    if 1 <= month <= 12 and 1 <= day <= 31:
        yield f"d{year}{month:02}{day:02}"


def _numbers(text: str) -> Iterator[str]:
    for match in _NUMBER.finditer(text):
        yield from _spell_number(match.group())


def _spell_number(number: str) -> Iterator[str]:
    """Yield what *number*, which holds separators, may mean: n1234d56, or its digits alone."""
    separators = [sign for sign in number if not sign.isdigit()]
    digits = re.sub(r"\D", "", number)
    if len(set(separators)) == 1 and _THOUSANDS.fullmatch(number):
        yield digits
        if len(separators) == 1 and separators[0] in ".,":
            yield _decimal(number, separators[0])
    elif len(separators) == 1 and separators[0] in ".,":
        yield _decimal(number, separators[0])
    elif len(set(separators)) == 2 and separators[-1] in ".,":
        whole, _, part = number.rpartition(separators[-1])
        if separators.count(separators[-1]) == 1 and _THOUSANDS.fullmatch(whole):
            yield f"n{re.sub(r'[^0-9]', '', whole)}d{part.rstrip('0') or '0'}"


def _decimal(number: str, separator: str) -> str:
    whole, _, part = number.partition(separator)
    return f"n{whole}d{part.rstrip('0') or '0'}"


def _quantities(text: str) -> Iterator[str]:
    for match in _QUANTITY.finditer(text):
        number, gap, unit = match.groups()
        unit = unit.lower()
        sign = unit.translate(_UNIT_SIGNS)
        for value in _values(number):
            # "5 m" and "10 a" stand in prose too; beside a number in digits they are units.
            joined = f"{_spell(value)}{sign}"
            if gap or joined != f"{number}{unit}".lower():
                yield joined
            if unit in _SCALES:
                base, power = _SCALES[unit]
                yield f"q{_spell(value.scaleb(power))}{base}"


def _multiples(text: str) -> Iterator[str]:
    for match in _MULTIPLE.finditer(text):
        number, word = match.groups()
        value = Decimal(number.replace(",", ".")).scaleb(_MULTIPLES[word.lower()])
        if value == value.to_integral_value():
            yield f"{value:f}".partition(".")[0]


def _values(number: str) -> Iterator[Decimal]:
    """Yield what *number*, with one separator at most, may be worth: 1,200 is 1.2 too."""
    yield Decimal(number.replace(",", "."))
    if not number.isdigit() and _THOUSANDS.fullmatch(number):
        yield Decimal(re.sub(r"\D", "", number))


def _spell(value: Decimal) -> str:
    """Return a number as a word: 12, or n12d5."""
    whole, _, part = f"{value:f}".partition(".")
    part = part.rstrip("0")
    return f"n{whole}d{part}" if part else whole


def _slashed(text: str) -> Iterator[str]:
    for match in _SLASHED.finditer(text):
        code = match.group()
        if any(map(str.isdigit, code)) and any(map(str.isalpha, code)) and "/" in code:
            yield re.sub(r"[\W_]+", "", code).lower()


def _pictures(text: str) -> Iterator[str]:
    for sign in text:
        if ord(sign) in _OLDER_PICTURES:
            yield f"u{ord(sign):x}"
        elif ord(sign) >= _FIRST_PICTURE and unicodedata.category(sign) == "So":
            yield f"u{ord(sign):x}"
            yield from re.findall(r"[a-z]{3,}", unicodedata.name(sign, "").lower())


def _joined(text: str) -> Iterator[str]:
    for match in _JOINED.finditer(text):
        humps = _HUMP.findall(match.group())
        if len(humps) > 1:
            yield from (hump.lower() for hump in humps if len(hump) > 1)
