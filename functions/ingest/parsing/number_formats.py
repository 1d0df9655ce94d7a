"""
Numbers as a spreadsheet shows them, by their format codes.

Source: ECMA-376 part 1, 18.8.30 (numFmts) and 18.8.31 (built-in formats). Separators are a point
and a comma, whatever the reader's own settings; a whole date is written as ISO 8601, since
03/04/2026 means two days. What a format hides is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from typing import Literal

GENERAL = "General"
# What the ids stand for that a file need not define; 5 to 8 and 37 to 44 are currency without a
# sign of its own, 27 to 36 and 50 to 58 are dates of East Asia.
BUILT_IN = {
    0: GENERAL, 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
    12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yyyy", 16: "d-mmm", 17: "mmm-yy",
    18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm",
    5: "#,##0;-#,##0", 6: "#,##0;-#,##0", 7: "#,##0.00;-#,##0.00", 8: "#,##0.00;-#,##0.00",
    37: "#,##0;-#,##0", 38: "#,##0;-#,##0", 39: "#,##0.00;-#,##0.00", 40: "#,##0.00;-#,##0.00",
    41: "#,##0;-#,##0", 42: "#,##0;-#,##0", 43: "#,##0.00;-#,##0.00", 44: "#,##0.00;-#,##0.00",
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((32, 33, 34, 35, 55, 56), "h:mm:ss"),
}  # fmt: skip

_MAX_CODE_CHARS = 500
_MAX_DECIMALS = 30
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# A sheet's moments have no time zone; one is named here, since naive moments are easily mixed up.
_EPOCH_1900 = datetime(1899, 12, 30, tzinfo=UTC)
_EPOCH_1904 = datetime(1904, 1, 1, tzinfo=UTC)
# 9999-12-31.
_LAST_DAY = 2_958_466

_TOKEN = re.compile(
    r""""(?P<quoted>[^"]*)"?
      | \\(?P<escaped>.)
      | _(?P<space>.)
      | \*(?P<fill>.)
      | \[(?P<elapsed>[hH]+|[mM]+|[sS]+)\]
      | \[(?P<bracket>[^\]]{0,80})\]
      | (?P<general>[Gg][Ee][Nn][Ee][Rr][Aa][Ll])
      | (?P<half>[aA][mM]/[pP][mM]|[aA]/[pP]|上午/下午)
      | (?P<exponent>[eE][+-])
      | (?P<part>\.0{1,9}(?=$|[^0#?]))
      | (?P<date>[yY]+|[mM]+|[dD]+|[hH]+|[sS]+|[eE]+|[gG]+|[bB]{1,4}|a{3,4})
      | (?P<digit>[0#?])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[\d.]+)$")
# Every digit behind the point is shown, and one before it.
_PLAIN = re.compile(r"(?:0|#,##0|#0)(?:\.0{1,15})?")
# How programs in other languages name day, month and year: TT.MM.JJJJ, jj/mm/aaaa, gg/mm/aaaa.
_FOREIGN_DATE = re.compile(
    r"([tdjg])\1{0,3}[\s./-]+m{1,5}[\s./-]+([ja])\2{1,3}$|([ja])\3{3}[./-]m{1,2}[./-]([tdjg])\4?$",
    re.IGNORECASE,
)

_Kind = (
    Literal["literal", "digit", "point", "comma", "percent", "exponent", "slash"]
    | Literal["date", "elapsed", "half", "part", "general", "text"]
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    tokens: tuple[_Token, ...]
    condition: tuple[str, float] | None
    is_date: bool


def show_number(value: float, code: str, *, is_1904: bool = False) -> str:
    """Return *value* as a cell of the format *code* shows it."""
    if code == GENERAL or not code or not isfinite(value):
        return show_general(value)
    return _compiled(code)(value, is_1904)


def show_general(value: float) -> str:
    """Return a number without a format of its own; binary noise beyond 15 digits is left out."""
    if not isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}".replace("e", "E")


def show_text(text: str, code: str) -> str:
    """Return a text as a cell of the format *code* shows it."""
    if "@" not in code and ";" not in code:
        return text
    sections = _sections(code)
    if len(sections) > 3:
        section = sections[3]
    elif any(token.kind == "text" for token in sections[-1].tokens):
        section = sections[-1]
    else:
        return text
    return "".join(
        text if token.kind == "text" else token.text if token.kind == "literal" else ""
        for token in section.tokens
    )


@lru_cache(maxsize=128)
def _compiled(code: str) -> Callable[[float, bool], str]:
    sections = _sections(code)
    plain = _plain(sections[0].tokens) if len(sections) == 1 else None
    if plain is not None:
        return plain

    def show(value: float, is_1904: bool) -> str:
        section, signed = _choose(sections, value)
        if section is None:
            return show_general(value)
        if section.is_date:
            shown = _show_moment(section.tokens, value, is_1904=is_1904)
            return show_general(value) if shown is None else shown
        amount = value if signed else abs(value)
        return _show_amount(section.tokens, amount).strip()

    # Days come again and again in a sheet, amounts do not.
    return lru_cache(maxsize=256)(show) if sections[0].is_date else show


def _plain(tokens: tuple[_Token, ...]) -> Callable[[float, bool], str] | None:
    """Return how to show a number of fixed decimals, such as #,##0.00 kg; None for any other."""
    digits = [i for i, token in enumerate(tokens) if token.kind in ("digit", "comma", "point")]
    others = {token.kind for i, token in enumerate(tokens) if i not in digits}
    if not digits or not others <= {"literal", "percent"}:
        return None
    text = "".join(token.text for token in tokens[digits[0] : digits[-1] + 1])
    if len(text) != len(digits) or not _PLAIN.fullmatch(text):
        return None
    before = "".join(token.text for token in tokens[: digits[0]]).lstrip()
    behind = "".join(token.text for token in tokens[digits[-1] + 1 :]).rstrip()
    scale = 100.0 ** sum(token.kind == "percent" for token in tokens)
    places = len(text.partition(".")[2])
    form = ",f" if "," in text else "f"
    unit = Decimal(1).scaleb(-places)

    def show(value: float, _: bool) -> str:
        try:
            shown = Decimal(f"{value * scale:.15g}").quantize(unit, rounding=ROUND_HALF_UP)
        except InvalidOperation:
            return show_general(value)
        sign = "-" if shown < 0 else ""
        return f"{sign}{before}{abs(shown):{form}}{behind}"

    return show


@lru_cache(maxsize=1024)
def _sections(code: str) -> tuple[_Section, ...]:
    code = code[:_MAX_CODE_CHARS]
    if _FOREIGN_DATE.match(code):
        code = "yyyy-mm-dd"
    parts: list[list[re.Match[str]]] = [[]]
    for found in _TOKEN.finditer(code):
        if found["other"] == ";":
            parts.append([])
        else:
            parts[-1].append(found)
    return tuple(_section(part) for part in parts[:4])


def _section(part: list[re.Match[str]]) -> _Section:
    is_date = any(found["date"] or found["elapsed"] or found["half"] for found in part)
    has_general = any(found["general"] for found in part)
    tokens: list[_Token] = []
    condition = None
    for found in part:
        kind, text = found.lastgroup, found.group(found.lastgroup or 0)
        if kind in ("quoted", "escaped"):
            tokens.append(_Token("literal", text))
        elif kind == "space":
            tokens.append(_Token("literal", " "))
        elif kind == "bracket":
            if compared := _CONDITION.match(text):
                condition = (compared[1], _number(compared[2]))
            elif text.startswith("$"):
                tokens.append(_Token("literal", text[1:].partition("-")[0]))
        elif kind == "general":
            tokens.append(_Token("general", text))
        elif kind in ("elapsed", "half"):
            tokens.append(_Token("elapsed" if kind == "elapsed" else "half", text.lower()))
        elif kind == "date":
            tokens.append(_Token("date", text.lower()))
        elif kind == "part":
            if is_date:
                tokens.append(_Token("part", text))
            else:
                tokens.append(_Token("point", "."))
                tokens += [_Token("digit", "0")] * (len(text) - 1)
        elif kind == "exponent" and not is_date:
            tokens.append(_Token("exponent", text))
        elif kind == "digit" and not is_date and not has_general:
            tokens.append(_Token("digit", text))
        elif kind == "other" and not is_date and text in ".,%/":
            names: dict[str, _Kind] = {".": "point", ",": "comma", "%": "percent", "/": "slash"}
            tokens.append(_Token(names[text], text))
        elif text == "@":
            tokens.append(_Token("text", text))
        elif kind != "fill":
            tokens.append(_Token("literal", text))
    return _Section(tuple(tokens), condition, is_date)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _choose(sections: tuple[_Section, ...], value: float) -> tuple[_Section | None, bool]:
    """Return the section for *value*, and whether it shows the sign itself."""
    numeric = sections[:3] if len(sections) > 3 else sections
    if len(numeric) > 1 and any(token.kind == "text" for token in numeric[-1].tokens):
        numeric = numeric[:-1]
    if any(section.condition for section in numeric):
        for section in numeric:
            if section.condition is None or _holds(section.condition, value):
                hides = section.condition is not None and section.condition[0] in ("<", "<=")
                return section, not (hides and value < 0)
        return None, True
    if len(numeric) == 1:
        only = numeric[0]
        if any(token.kind == "text" for token in only.tokens):
            return None, True
        return only, True
    if value < 0:
        return numeric[1], False
    if value == 0 and len(numeric) > 2:
        return numeric[2], False
    return numeric[0], False


def _holds(condition: tuple[str, float], value: float) -> bool:
    operator, limit = condition
    return {
        "<": value < limit,
        ">": value > limit,
        "=": value == limit,
        "<=": value <= limit,
        ">=": value >= limit,
        "<>": value != limit,
    }[operator]


def _show_amount(tokens: tuple[_Token, ...], value: float) -> str:
    kinds = [token.kind for token in tokens]
    if "general" in kinds:
        general = show_general(value)
        return "".join(general if token.kind == "general" else token.text for token in tokens)
    if "digit" not in kinds:
        sign = "-" if value < 0 else ""
        return sign + "".join(token.text for token in tokens)
    if "exponent" in kinds:
        return _show_exponent(tokens, value)
    if "slash" in kinds and kinds.index("slash") > kinds.index("digit"):
        return _show_fraction(tokens, value)
    point = kinds.index("point") if "point" in kinds else len(kinds)
    whole_places = [i for i in range(point) if kinds[i] == "digit"]
    part_places = [i for i in range(point, len(kinds)) if kinds[i] == "digit"][:_MAX_DECIMALS]
    value *= 100.0 ** kinds.count("percent")
    value /= 1000.0 ** sum(_commas_behind(kinds, places) for places in (whole_places, part_places))
    whole, part, negative = _rounded(value, len(part_places))
    while part and part.endswith("0") and tokens[part_places[len(part) - 1]].text != "0":
        part = part[:-1]
    needed = next(
        (len(whole_places) - n for n, i in enumerate(whole_places) if tokens[i].text == "0"), 0
    )
    whole = "" if whole == "0" and not needed else whole.rjust(needed, "0")
    if whole_places and "comma" in kinds[whole_places[0] : whole_places[-1]]:
        # All digits in one place, since the commas between them are written here.
        digits = {whole_places[-1]: f"{int(whole):,}" if whole.isdecimal() else whole}
        if whole.startswith("0"):
            digits[whole_places[-1]] = whole
    else:
        digits = _spread(whole, whole_places)
    digits.update(zip(part_places, part, strict=False))
    if not whole_places and whole.strip("0"):
        digits[-1] = whole
    shown = ["-"] if negative and (whole + part).strip("0") else []
    shown.append(digits.get(-1, ""))
    for i, token in enumerate(tokens):
        if token.kind == "digit":
            shown.append(digits.get(i, ""))
        elif token.kind == "point":
            shown.append("." if part else "")
        elif token.kind != "comma":
            shown.append(token.text)
    return "".join(shown)


def _commas_behind(kinds: list[_Kind], places: list[int]) -> int:
    """Return how many commas follow the last of *places*: each divides by a thousand."""
    count = 0
    if places:
        while places[-1] + 1 + count < len(kinds) and kinds[places[-1] + 1 + count] == "comma":
            count += 1
    return count


def _spread(whole: str, places: list[int]) -> dict[int, str]:
    """Return a digit for each place from the right; the first takes what is left over."""
    digits = dict(zip(reversed(places), reversed(whole), strict=False))
    if places and len(whole) > len(places):
        digits[places[0]] = whole[: len(whole) - len(places) + 1]
    return digits


def _rounded(value: float, places: int) -> tuple[str, str, bool]:
    """Return the digits before and behind the point, and whether the number is negative."""
    try:
        exact = Decimal(f"{value:.15g}")
        rounded = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    except (InvalidOperation, ValueError):
        return str(value), "", value < 0
    whole, _, fraction = f"{abs(rounded):f}".partition(".")
    return whole, fraction, value < 0


def _show_exponent(tokens: tuple[_Token, ...], value: float) -> str:
    at = next(i for i, token in enumerate(tokens) if token.kind == "exponent")
    before = tokens[:at]
    point = next((i for i, token in enumerate(before) if token.kind == "point"), len(before))
    places = min(_MAX_DECIMALS, sum(1 for token in before[point:] if token.kind == "digit"))
    mantissa, _, exponent = f"{value:.{places}e}".partition("e")
    width = sum(1 for token in tokens[at:] if token.kind == "digit")
    power = int(exponent)
    # With several places before the point the exponent goes in steps of as many.
    step = sum(1 for token in before[:point] if token.kind == "digit")
    if step > 1 and value:
        power = power // step * step
        mantissa = f"{value / 10.0**power:.{places}f}"
    sign = "-" if power < 0 else "+" if tokens[at].text.endswith("+") else ""
    ends = [token.text for token in tokens if token.kind == "literal"]
    return f"{mantissa}E{sign}{abs(power):0{width}d}{''.join(ends)}"


def _show_fraction(tokens: tuple[_Token, ...], value: float) -> str:
    at = next(i for i, token in enumerate(tokens) if token.kind == "slash")
    below = "".join(t.text for t in tokens[at + 1 :] if t.kind in ("digit", "literal")).strip()
    exact = Fraction(f"{abs(value):.15g}")
    fixed = re.match(r"\d+", below)
    if fixed and int(fixed[0]) > 0:
        divisor = int(fixed[0])
        part = Fraction(round(exact * divisor), divisor)
        count = round(exact * divisor)
    else:
        part = exact.limit_denominator(10 ** min(max(1, len(below)), 5) - 1)
        divisor, count = part.denominator, part.numerator
    has_whole = any(token.kind == "literal" and token.text == " " for token in tokens[:at])
    sign = "-" if value < 0 else ""
    if not has_whole:
        return f"{sign}{count}/{divisor}"
    whole, count = divmod(count, divisor)
    if not count:
        return f"{sign}{whole}"
    return f"{sign}{whole} {count}/{divisor}" if whole else f"{sign}{count}/{divisor}"


def _show_moment(tokens: tuple[_Token, ...], value: float, *, is_1904: bool) -> str | None:
    """Return a date, time or duration; None if there is no such day."""
    elapsed = [token.text for token in tokens if token.kind == "elapsed"]
    if not abs(value) < _LAST_DAY or (value < 0 and not elapsed):
        return None
    parts = next((len(token.text) - 1 for token in tokens if token.kind == "part"), 0)
    unit = 10**parts
    seconds_shown = any(token.kind == "date" and token.text[0] == "s" for token in tokens) or any(
        text[0] == "s" for text in elapsed
    )
    ticks = (
        round(abs(value) * 86_400 * unit) if seconds_shown else round(abs(value) * 86_400) * unit
    )
    total, rest = divmod(ticks, unit)
    epoch = _EPOCH_1904 if is_1904 else _EPOCH_1900
    if not is_1904 and value < 60:
        # 1900 is taken for a leap year.
        epoch += timedelta(days=1)
    moment = epoch + timedelta(seconds=total) if not elapsed else epoch
    letters = {token.text[0] for token in tokens if token.kind == "date"}
    units = _with_minutes(tokens)
    if "d" in letters and ("e" in letters or ("y" in letters and "month" in units)):
        date = moment.date().isoformat() if value >= 1 or is_1904 else ""
        if "h" not in letters:
            return date or moment.date().isoformat()
        clock = f"{moment:%H:%M:%S}" if seconds_shown else f"{moment:%H:%M}"
        return f"{date} {clock}".strip()
    half = any(token.kind == "half" for token in tokens)
    shown = ["-"] if value < 0 else []
    for token, name in zip(tokens, units, strict=True):
        if token.kind == "elapsed":
            size = {"h": 3600, "m": 60, "s": 1}[token.text[0]]
            shown.append(f"{total // size:0{len(token.text)}d}")
            total %= size
        elif token.kind == "part":
            shown.append(f".{rest:0{parts}d}")
        elif token.kind == "half":
            shown.append("AM" if moment.hour < 12 else "PM")
        elif token.kind == "date":
            shown.append(_unit(token.text, name, moment, total, half=half, elapsed=bool(elapsed)))
        else:
            shown.append(token.text)
    return "".join(shown).strip()


def _with_minutes(tokens: tuple[_Token, ...]) -> list[str]:
    """Return for each token "month" or "minute" where it is an m, else ""."""
    units = [""] * len(tokens)
    places = [i for i, token in enumerate(tokens) if token.kind in ("date", "elapsed")]
    for number, i in enumerate(places):
        if tokens[i].kind != "date" or tokens[i].text[0] != "m":
            continue
        before = tokens[places[number - 1]].text[0] if number else ""
        after = tokens[places[number + 1]].text[0] if number + 1 < len(places) else ""
        is_minute = len(tokens[i].text) < 3 and (before == "h" or after == "s")
        units[i] = "minute" if is_minute else "month"
    return units


def _unit(text: str, name: str, moment: datetime, total: int, *, half: bool, elapsed: bool) -> str:
    letter, width = text[0], min(len(text), 4)
    if letter in "ye":
        return f"{moment.year % 100:02d}" if width < 3 and letter == "y" else str(moment.year)
    if name == "month":
        if width < 3:
            return f"{moment.month:0{width}d}"
        month = _MONTHS[moment.month - 1]
        return month[0] if len(text) == 5 else month[:3] if width == 3 else month
    if letter in "da":
        day = _DAYS[moment.weekday()]
        return f"{moment.day:0{width}d}" if width < 3 else day[:3] if width == 3 else day
    width = min(width, 2)
    if letter == "h":
        hour = total // 3600 % 24 if elapsed else moment.hour
        return f"{(hour - 1) % 12 + 1 if half else hour:0{width}d}"
    if name == "minute":
        return f"{total // 60 % 60 if elapsed else moment.minute:0{width}d}"
    if letter == "s":
        return f"{total % 60 if elapsed else moment.second:0{width}d}"
    return ""
