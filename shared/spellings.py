"""
Other spellings of what a text holds, for full-text search.

What a reader takes for the same is written as one more word that both spellings share:
"2024-03-07", "7 March 2024" and "07.03.2024" as d20240307; "1,234.56" and "1.234,56" as n1234d56;
"230V" and "230 V" as 230v; "maxRetryCount" as its three words too; "+49 89 4140-2233" and "089
41402233" as 8941402233. Some spellings are added to questions only, so that the index does not
grow: "DIN912" is also searched as "DIN 912", "1.2.3" as v123.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

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
MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.split("\n")[1:13], start=1)
    for name in names.split()
}
_MONTH = "|".join(sorted(map(re.escape, MONTHS), key=len, reverse=True))
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
    r"(?<![\w.,])(?:\d{1,3}(?: \d{3}){1,4}(?:[.,]\d{1,15})?|\d{0,15}(?:[.,'’]\d{1,15}){1,6})"
    r"(?![\w]|[.,]\d)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:([.,'’ ])\d{3})(?:\1\d{3})*")
UNITS = (
    "m3/h|m3/s|l/min|l/h|l/s|km/h|m/s|m3|m2|kwh|mwh|wh|kw|mw|w|kv|mv|v|ma|ah|mah|a|khz|mhz|ghz|hz|kg|mg|g|lb|lbs|oz|km|cm|mm|nm|m"
    "|ft|ml|cl|l|kpa|mpa|hpa|pa|bar|mbar|psi|kb|mb|gb|tb|kib|mib|gib|tib|kbit|mbit|gbit|kbps|mbps"
    "|gbps|ms|dpi|px|db|rpm|°c|°f|%|ω|k|n"
)
# Names of units, and signs for what has another sign above.
UNIT_NAMES = {
    name: unit
    for unit, names in {
        "kg": "kilogram kilograms kilogramm kilogramme kilogrammes kilogramos kilo kilos",
        "g": "gram grams gramm gramme grammes gramos",
        "mg": "milligram milligrams milligramm milligrammes miligramos",
        "km": "kilometre kilometres kilometer kilometers kilomètres kilómetros",
        "m": "metre metres meter meters mètre mètres metro metros",
        "cm": "centimetre centimetres centimeter centimeters zentimeter centimètres centímetros",
        "mm": "millimetre millimetres millimeter millimeters millimètres milímetros",
        "ft": "foot feet",
        "in": "inch inches zoll",
        "l": "litre litres liter liters litro litros",
        "ml": "millilitre millilitres milliliter milliliters mililitros",
        "kw": "kilowatt kilowatts",
        "w": "watt watts",
        "kwh": "kilowattstunden kilowatt-hours",
        "v": "volt volts",
        "a": "ampere amperes amp amps ampère ampères",
        "hz": "hertz",
        "kb": "kilobyte kilobytes",
        "mb": "megabyte megabytes",
        "gb": "gigabyte gigabytes",
        "tb": "terabyte terabytes",
        "mbps": "mbit/s",
        "gbps": "gbit/s",
        "kbps": "kbit/s",
        "km/h": "kph kmh",
        "%": "percent prozent procent",
        "lb": "pound pounds",
        "oz": "ounce ounces",
    }.items()
    for name in names.split()
}
_QUANTITY = re.compile(
    rf"(?<![\w.,])(\d{{1,12}}(?:[.,]\d{{1,9}})?)(\s?)"
    rf"({'|'.join(sorted(UNIT_NAMES, key=len, reverse=True))}|{UNITS})(?![\w/])",
    re.IGNORECASE,
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

# M8x40, 12 x 40 mm.
_TIMES = re.compile(r"(?<![\w.,])([a-z]?\d{1,9}(?:[.,]\d{1,6})?)\s?[x×]\s?(?=\d)", re.IGNORECASE)
_SIZE = re.compile(
    rf"{_TIMES.pattern}(?:\d{{1,9}}(?:[.,]\d{{1,6}})?\s?[x×]\s?){{0,2}}\d{{1,9}}", re.IGNORECASE
)
_CLOCK = re.compile(
    r"(?<![\w.,])(\d{1,2})(?:[:.](\d{2}))?\s?([ap])(?:\.\s?m\.|m(?!\w))", re.IGNORECASE
)
# 19:45, 19h45, 19.45 Uhr, 19 Uhr.
_DAY_CLOCKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<![\w.,:/-])(?P<h>\d{1,2})(?::|\s?h\s?)(?P<m>\d{2})(?![\w:/]|[.,]\d)",
        r"(?<![\w.,:/-])(?P<h>\d{1,2})(?:[.:](?P<m>\d{2}))?\s(?:uhr|uur)(?!\w)",
    )
)
# Q3, 3rd quarter.
_QUARTERS = {
    name: number
    for number, names in enumerate(
        (
            "first 1st erstes ersten premier primer",
            "second 2nd zweites zweiten deuxième segundo",
            "third 3rd drittes dritten troisième tercer",
            "fourth 4th viertes vierten quatrième cuarto",
        ),
        start=1,
    )
    for name in names.split()
}
_QUARTER = re.compile(
    rf"(?<!\w)(?:(?P<name>{'|'.join(_QUARTERS)})|(?P<number>[1-4])[.eº]?)"
    r"\s(?:quarter|quartals?|trimestre)(?!\w)",
    re.IGNORECASE,
)

# Groups of digits: accounts, cards and telephone numbers.
_GROUPED = re.compile(
    r"(?<![\w.,/+-])(?P<plus>\+|00(?=[1-9]))?"
    r"(?P<groups>\(?\d{1,15}\)?"
    # No two groups without a sign between them: a run of digits is read in one way.
    r"(?:(?:(?:[./-]|\s[-/]\s|\s)\(?|\(|(?<=\)))\d{1,12}\)?){0,8})(?![\w]|[.,]\d)"
)
_ACCOUNT = re.compile(
    r"(?<![\w])[a-z]{2}\d{2}[ -](?:[a-z]{4}[ -])?\d{2,30}(?:[ -]\d{1,8}){0,8}(?!\w)", re.IGNORECASE
)
# ITU-T E.164: at most 15 digits, 1 to 3 of them the country code.
_TELEPHONE_DIGITS = range(7, 16)
_COUNTRY_DIGITS = (1, 2, 3)
_LEAST_SUBSCRIBER_DIGITS = 6
# More groups are a row of a table.
_MOST_GROUPS = 7

# Emoji and other pictures; older signs, which serve as bullets too, have no names.
_FIRST_PICTURE = 0x1F000
_OLDER_PICTURES = (range(0x2300, 0x2400), range(0x2600, 0x27C0), range(0x2B00, 0x2C00))

# Spellings that are added to questions only.
_CODE_TOKEN = re.compile(r"[^\W_]+")
_CODE_GAP = re.compile(r"[ \-/_]{1,2}")
_MOST_CODE_TOKENS = 6
_MOST_JOINED = 12
# "of item 7" is no code, although the words of one are as short.
_FUNCTION_WORDS_OF_LANGUAGES = """
a an and are as at by for from in is it of on or the to was
am das dem den der des die ein für im mit und von vom zu zum zur
au aux de du en et la le les un une
con del el las los por que una y
al da di do e il lo na no per
het met van
của cho ở và là
"""
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_OF_LANGUAGES.split())
_LETTERS_AND_DIGITS = re.compile(r"[^\W\d_]+|\d+")
_VERSION = re.compile(
    r"(?<![\w.])(v\.?\s?|(?:version|release|ver\.?)\s)?(\d{1,4}(?:\.\d{1,6}){0,3})(?![\w]|\.\d)",
    re.IGNORECASE,
)
_KANA = re.compile("[\u3041-\u3096\u30fc]{2,}|[\u30a1-\u30fc]{2,}")
_KANA_STEP = 0x60

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
    for find in (
        _dates,
        _numbers,
        _multiples,
        _quantities,
        _sizes,
        _clock_times,
        _quarters,
        _slashed,
        _joined,
        _pictures,
        _grouped,
    ):
        for word in find(composed):
            words.append(word)
            if len(words) >= _MAX_WORDS:
                return words
    return words


# This and the asked spellings are made twice of each question.
@lru_cache(maxsize=64)
def without_dates(question: str) -> str:
    """
    Return *question* without the dates in it, which find_spellings writes as words of their own.

    Else documents of other days of that month would hold more of its words.
    """
    composed = unicodedata.normalize("NFKC", question)
    for pattern in _DATES:
        composed = pattern.sub(lambda match: " " if [*_date_of(match)] else match.group(), composed)
    return _EITHER.sub(lambda match: " " if [*_either(match)] else match.group(), composed)


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
            yield from _date_of(match)
    for match in _EITHER.finditer(text):
        yield from _either(match)


def _date_of(match: re.Match[str]) -> Iterator[str]:
    found = match.groupdict()
    month = MONTHS[found["n"].lower()] if "n" in found else int(found["m"])
    year = found["y"] if len(found["y"]) == 4 else f"20{found['y']}"
    yield from _date(year, month, int(found["d"]))


def _either(match: re.Match[str]) -> Iterator[str]:
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
        whole, _, part = number.partition(separators[0])
        if whole and not part.strip("0"):
            yield whole
    elif len(set(separators)) == 2 and separators[-1] in ".,":
        whole, _, part = number.rpartition(separators[-1])
        if separators.count(separators[-1]) == 1 and _THOUSANDS.fullmatch(whole):
            plain = re.sub(r"\D", "", whole)
            yield f"n{plain}d{part.rstrip('0') or '0'}"
            if not part.strip("0"):
                yield plain


def _decimal(number: str, separator: str) -> str:
    whole, _, part = number.partition(separator)
    return f"n{whole or '0'}d{part.rstrip('0') or '0'}"


def _quantities(text: str) -> Iterator[str]:
    for match in _QUANTITY.finditer(text):
        number, gap, unit = match.groups()
        unit = UNIT_NAMES.get(unit.lower(), unit.lower())
        sign = unit.translate(_UNIT_SIGNS)
        for value in _values(number):
            # "5 m" and "10 a" stand in prose too; beside a number in digits they are units.
            joined = f"{_spell(value)}{sign}"
            if gap or joined != match.group().lower():
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


def _sizes(text: str) -> Iterator[str]:
    for match in _SIZE.finditer(text):
        size = match.group()
        joined = re.sub(r"\s", "", size).lower().replace("×", "x")
        if joined != size.lower():
            yield joined


def _clock_times(text: str) -> Iterator[str]:
    for match in _CLOCK.finditer(text):
        hour, minute, half = match.groups()
        yield f"{hour}{minute or ''}{half.lower()}m"
        if 1 <= int(hour) <= 12:
            yield from _time_of_day(int(hour) % 12 + 12 * (half in "pP"), int(minute or 0))
    for pattern in _DAY_CLOCKS:
        for match in pattern.finditer(text):
            yield from _time_of_day(int(match["h"]), int(match["m"] or 0))


def _time_of_day(hour: int, minute: int) -> Iterator[str]:
    if hour <= 24 and minute < 60:
        yield f"t{hour:02}{minute:02}"


def _quarters(text: str) -> Iterator[str]:
    for match in _QUARTER.finditer(text):
        yield f"q{match['number'] or _QUARTERS[match['name'].lower()]}"


def _grouped(text: str) -> Iterator[str]:
    """
    Yield the digits of accounts, cards and telephone numbers as one word.

    Telephone numbers also without the country code or the leading 0, and their local parts.
    """
    for match in _ACCOUNT.finditer(text):
        yield re.sub(r"[ -]", "", match.group()).lower()
    for match in _GROUPED.finditer(text):
        groups = re.findall(r"\d+", match["groups"])
        digits = "".join(groups)
        if len(groups) > _MOST_GROUPS:
            continue
        international = bool(match["plus"])
        if not (international or digits.startswith("0") or match["groups"].startswith("(")):
            # Cards, and North America's numbers.
            if len(groups) >= 3 and len(digits) >= 10 and min(map(len, groups[:-1])) >= 3:
                yield digits
            continue
        if len(digits) not in _TELEPHONE_DIGITS:
            continue
        words = {digits: None}
        if international:
            words |= dict.fromkeys(digits[country:] for country in _COUNTRY_DIGITS)
            # 49 (0) 89
            if len(groups) > 1 and groups[1] == "0":
                words["".join(groups[2:])] = None
        elif digits.startswith("0"):
            words[digits[1:]] = None
        for place in range(1, len(groups)):
            words["".join(groups[place:])] = None
        yield from (word for word in words if len(word) >= _LEAST_SUBSCRIBER_DIGITS)


@lru_cache(maxsize=64)
def find_asked_spellings(question: str) -> tuple[str, ...]:
    """Return further words for *question*: other spellings that documents may use."""
    composed = unicodedata.normalize("NFKC", question)
    words: dict[str, None] = {}
    for find in (_joined_codes, _split_codes, _versions, _other_kana):
        words |= dict.fromkeys(find(composed))
    return tuple(words)


def find_alternatives(question: str) -> frozenset[str]:
    """Return the words that only repeat a word of *question* in another spelling."""
    composed = unicodedata.normalize("NFKC", question)
    return frozenset(
        [*find_asked_spellings(question), *_grouped(composed), *_clock_times(composed)]
    )


def _joined_codes(text: str) -> Iterator[str]:
    """Yield "TN 2420 XL" and its parts as one word."""
    tokens = list(_CODE_TOKEN.finditer(text))
    capitals = any(_may_be_code(token.group()) == _CAPITALS for token in tokens)
    joined = 0
    for start, first in enumerate(tokens):
        if not _belongs_to_code(first.group(), capitals=capitals):
            continue
        run = first.group()
        for before, token in pairwise(tokens[start : start + _MOST_CODE_TOKENS]):
            gap = text[before.end() : token.start()]
            if (
                not _CODE_GAP.fullmatch(gap)
                or not _belongs_to_code(token.group(), capitals=capitals)
                or (not capitals and before.group().isalpha() and token.group().isalpha())
                or (before.group() in _FUNCTION_WORDS and token.group()[0].isalpha())
            ):
                break
            run += token.group()
            if any(map(str.isdigit, run)):
                yield run.lower()
                joined += 1
                if joined >= _MOST_JOINED:
                    return


_DIGITS, _CAPITALS, _SHORT = "digits", "capitals", "short"


def _may_be_code(token: str) -> str | None:
    if any(map(str.isdigit, token)):
        return _DIGITS
    if len(token) <= 5 and token.isupper():
        return _CAPITALS
    return _SHORT if len(token) <= 3 else None


def _belongs_to_code(token: str, *, capitals: bool) -> bool:
    # If the question has capitals, "in" and "of" are not part of a code.
    return _may_be_code(token) in ({_DIGITS, _CAPITALS} if capitals else {_DIGITS, _SHORT})


def _split_codes(text: str) -> Iterator[str]:
    """Yield the letters and the digits of DIN912, but not of E1234: one letter is no word."""
    for match in _CODE_TOKEN.finditer(text):
        parts = _LETTERS_AND_DIGITS.findall(match.group())
        if len(parts) in (2, 3) and parts[0].isalpha() and len(parts[0]) > 1:
            # Python3.11: what follows the point belongs to it.
            rest = re.match(r"(?:\.\d+)+", text[match.end() :]) if parts[-1].isdigit() else None
            yield from (part.lower() for part in parts[:-1])
            yield parts[-1].lower() + (rest.group() if rest else "")


def _versions(text: str) -> Iterator[str]:
    for match in _VERSION.finditer(text):
        sign, number = match.groups()
        closed = number.replace(".", "")
        if sign:
            yield number
        if sign or number.count(".") >= 2:
            yield from (closed, f"v{closed}")


def _other_kana(text: str) -> Iterator[str]:
    """Yield pairs of katakana for hiragana, and the other way round: ごみ is ゴミ."""
    for match in _KANA.finditer(text):
        signs = match.group()
        step = _KANA_STEP if any("\u3041" <= sign <= "\u3096" for sign in signs) else -_KANA_STEP
        other = "".join(
            chr(ord(sign) + step) if "\u3041" <= sign <= "\u30f6" else sign for sign in signs
        )
        yield from (first + second for first, second in pairwise(other))


def _pictures(text: str) -> Iterator[str]:
    if text.isascii():
        return
    for sign in text:
        if any(ord(sign) in signs for signs in _OLDER_PICTURES):
            yield f"u{ord(sign):x}"
        elif ord(sign) >= _FIRST_PICTURE and unicodedata.category(sign) == "So":
            yield f"u{ord(sign):x}"
            yield from re.findall(r"[a-z]{3,}", unicodedata.name(sign, "").lower())


def find_joined_words(text: str) -> list[str]:
    """Return the words of *text* in camelCase or PascalCase, as they stand there."""
    return [
        match.group()
        for match in _JOINED.finditer(text)
        if len([hump for hump in _HUMP.findall(match.group()) if len(hump) > 1]) > 1
    ]


def _joined(text: str) -> Iterator[str]:
    for match in _JOINED.finditer(text):
        humps = _HUMP.findall(match.group())
        if len(humps) > 1:
            yield from (hump.lower() for hump in humps if len(hump) > 1)
