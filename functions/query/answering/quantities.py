"""Numbers and the units that stand with them: 14 days, 16 bar, $120. Pure."""

from __future__ import annotations

import re
from collections import defaultdict

from shared.spellings import UNIT_NAMES, UNITS

# Units that the text index does not join with their numbers; "_" is a space.
_OTHER_NAMES = {
    name.replace("_", " "): unit
    for unit, names in {
        "s": "s sec secs second seconds sekunde sekunden segundo segundos seconde secondes secondo"
        " secondi giây",
        "min": "min mins minute minutes minuten minuto minutos minuti phút",
        "h": "h hr hrs hour hours stunde stunden std hora horas heure heures ora ore giờ tiếng",
        "day": "day days tag tage tagen tages día días dia dias jour jours giorno giorni ngày",
        "week": "week weeks woche wochen semana semanas semaine semaines settimana settimane tuần",
        "month": "month months monat monate monaten monats mes meses mês mois mese mesi tháng",
        "year": "year years jahr jahre jahren jahres año años ano anos ans année années"
        " anno anni năm",
        "eur": "€ eur euro euros",
        "usd": "$ us$ usd dollar dollars dólar dólares đô_la",
        "gbp": "£ gbp",
        "chf": "chf franken",
        "jpy": "¥ jpy yen",
        "vnd": "₫ vnd đồng",
        "%": "per_cent por_ciento pour_cent per_cento phần_trăm",
    }.items()
    for name in names.split()
}
TIMES = ("s", "min", "h", "day", "week", "month", "year")
MONEYS = ("eur", "usd", "gbp", "chf", "jpy", "vnd", "%")
# "5 a month", "10 k": beside a number these are more often something else.
_NO_UNITS = ("a", "k", "n")
_NAMES = sorted({*UNIT_NAMES, *_OTHER_NAMES, *UNITS.split("|")} - {*_NO_UNITS}, key=len)
_AFTER = "|".join(map(re.escape, reversed(_NAMES)))
_NUMBER = r"(?P<number>\d{1,15}(?:[.,']\d{1,15}){0,5})"
_QUANTITY = re.compile(
    r"(?:(?<!\w)(?P<before>us\$|[€$£¥₫]|(?:eur|usd|gbp|chf|jpy|vnd)(?=[ \u00a0]))[ \u00a0]?)?"
    rf"{_NUMBER}(?:[ \u00a0\u202f-]?(?P<after>{_AFTER})(?![\w/]))?",
    re.IGNORECASE,
)


def find_numbers(text: str) -> dict[str, set[str]]:
    """Return the numbers of *text*, without the signs between thousands, and the units of each."""
    found: dict[str, set[str]] = defaultdict(set)
    for match in _QUANTITY.finditer(text):
        number = re.sub(r"(?<=\d)[.,' ](?=\d{3}(?!\d))", "", match["number"])
        units = found[number.rstrip(".,")]
        units.update(_unit(name.lower()) for name in (match["before"], match["after"]) if name)
    return found


def name_units(*units: str) -> str:
    """Return a regular expression of all names of *units* but single letters, longest first."""
    names = {name for name, unit in _OTHER_NAMES.items() if unit in units}
    written = sorted((name for name in {*names, *units} if _is_name(name)), key=len)
    return "|".join(map(re.escape, reversed(written)))


def _is_name(text: str) -> bool:
    return len(text) > 1 or not text.isalpha()


def is_unit(word: str) -> bool:
    """Return whether *word* names a unit."""
    return word.lower() in _NAMES


def _unit(name: str) -> str:
    return _OTHER_NAMES.get(name) or UNIT_NAMES.get(name, name)
