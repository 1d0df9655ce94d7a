"""
Whether what was chosen holds the value that is asked for, of the thing that is asked about. Pure.

A passage that speaks of all that a question names still answers it only if it says what is asked:
the colour, not the number of the slates; how many plots, not what the association spent. These
rules look for the value by its form and for what binds it to the question. They decide nothing
where a question asks for no such value.
"""

# ruff: noqa: E501 -- patterns of one language each stand in one line

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .missing import find_missing
from .quantities import MONEYS, TIMES, name_units
from .question_kind import NUMBER_WORDS, holds_number, holds_price
from .scoring import Candidates, Part, Scored, describe, holds_name, terms
from .units import Unit

_FLAGS = re.IGNORECASE

# Nearer in meaning than this a part may answer without a common word.
_NEAR_COSINE = 0.5
# A shorter word of "the chair of the club" names no role.
_LEAST_ROLE = 3


@dataclass(frozen=True, slots=True)
class _Value:
    """
    A kind of value.

    Attributes:
        asks: What a question says that asks for one.
        holds: What a text holds that says one.
    """

    asks: re.Pattern[str]
    holds: re.Pattern[str]


def _value(asks: str, holds: str) -> _Value:
    return _Value(re.compile(asks, _FLAGS), re.compile(holds, _FLAGS))


# With what counts as one in an answer: nights, and the time of day.
_TIME_UNIT = rf"(?:{name_units(*TIMES)}|nights?|nächten?|noches?|nuits?|h|uhr|am|pm|o'clock)"
_MONEY_UNIT = (
    rf"(?:{name_units(*MONEYS)}|pounds?|pence|cents?|francs?|pesos?|libras?|reais|percent|prozent)"
)
_LENGTH_UNIT = r"(?:mm|cm|m|km|metres?|meters?|kilomet(?:re|er)s?|centimet(?:re|er)s?|millimet(?:re|er)s?|miles?|yards?|feet|foot|ft|inch(?:es)?|metros?|kilómetros?|centímetros?|mètres?|kilomètres?|metri|metro|quilômetros?|mét|knots?)"
_AREA_UNIT = r"(?:m²|m2|km²|ha|hectares?|hektar|acres?|square \w+|quadratmetern?|sqm|sq|metros cuadrados|mètres carrés|metri quadrat\w+|mét vuông)"
_WEIGHT_UNIT = r"(?:mg|g|kg|t|grams?|gramm?e?s?|kilos?|kilogram\w*|tonn?e?s?|tons?|pounds?|lbs?|ounces?|oz|stone|gramos?|kilogramos?|grammi|chili|gam|ký|cân)"
_HEAT_UNIT = r"(?:°\s?[cf]?|degrees?|grad|celsius|fahrenheit|kelvin|grados|degrés|gradi|graus|độ)"
_MONTH = (
    r"(?:jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|mar(?:ch|zo|s|ço)?|märz|apr(?:il)?|may|mai|mayo|june?|juni|juin|junio|july?|juli|juillet|julio"
    r"|aug(?:ust)?|août|agosto|sep(?:t(?:ember)?)?|septiembre|septembre|oct(?:ober)?|oktober|octubre|octobre|nov(?:ember|iembre|embre)?"
    r"|dec(?:ember)?|dezember|diciembre|décembre|enero|febrero|février|abril|avril|maggio|aprile|giugno|luglio|settembre|ottobre|dicembre|gennaio"
    r"|febbraio|janeiro|fevereiro|maio|junho|julho|setembro|outubro|novembro|dezembro|tháng (?:\d+|\w+))"
)
_VALUES = (
    _value(
        r"\b(?:what|which) colou?rs?\b|\bwelche[rnms]? farben?\b|\bqué color\b|\bquelle couleur\b|\bche colore\b|\bque cor\b|\bmàu (?:gì|nào|sắc)\b",
        r"\b(?:colou?r\w*|black|white|red|green|blue|yellow|gr[ae]y|brown|orange|purple|violet|pink|silver|gold(?:en)?|beige|cream|navy|turquoise|dark|light"
        r"|farb\w*|schwarz\w*|weiß\w*|rote?[nrsm]?|grüne?[nrsm]?|blaue?[nrsm]?|gelbe?[nrsm]?|graue?[nrsm]?|braune?[nrsm]?|lila|rosa|silber\w*|golden\w*"
        r"|negr[oa]s?|blanc[oa]s?|roj[oa]s?|verdes?|azul(?:es)?|amarill[oa]s?|gris(?:es)?|marr[óo]n|naranja|noire?s?|blanc(?:he)?s?|rouges?|verte?s?|bleue?s?|jaunes?"
        r"|nero|bianco|rosso|blu|giallo|preto|branco|vermelho|amarelo|màu|đen|trắng|đỏ|xanh|vàng|xám|nâu|cam|tím|hồng)\b|#[0-9a-f]{6}\b",
    ),
    _value(
        r"\bhow old\b|\bwie alt\b|\bqué edad\b|\bquel âge\b|\bche età\b|\bque idade\b|\bbao nhiêu tuổi\b",
        rf"\b(?:years?[ -]old|aged?|born|founded|built|established|since|geboren|gegründet|gebaut|erbaut|alter|jahre alt|seit|nacid[oa]|edad|fundad[oa]|construid[oa]|née?|âgée?|fondée?|construite?|nat[oa]|tuổi|sinh|thành lập)\b|\b\w+ {_TIME_UNIT}\b",
    ),
    _value(
        r"\b(?:tele)?phone number\b|\bmobile number\b|\bfax number\b|\btelefonnummer\b|\bhandynummer\b|\bnúmero de teléfono\b|\bnuméro de téléphone\b|\bnumero di telefono\b|\bnúmero de telefone\b|\bsố điện thoại\b",
        r"\+?\(?\d[\d ()/.-]{4,}\d|\b(?:11\d|911|999)\b",
    ),
    _value(
        r"\b(?:which|what) year\b|\b(?:in )?welchem jahr\b|\bqué año\b|\bquelle année\b|\bche anno\b|\bque ano\b|\bnăm (?:nào|bao nhiêu)\b",
        r"(?<![\d.,])(?:1\d|20)\d\d(?![\d.,]\d|\d)|\b\d{1,2}[./]\d{1,2}[./]\d{2}\b",
    ),
    _value(
        r"\bhow (?:far|high|tall|deep|wide|thick)\b|\bwie (?:weit|hoch|tief|breit|dick)\b|\bqué (?:altura|profundidad|anchura|distancia)\b|\bquelle (?:est la )?(?:hauteur|profondeur|largeur|distance)\b|\b(?:cao|sâu|rộng|xa) bao nhiêu\b",
        rf"\d\s?{_LENGTH_UNIT}\b|\b\w+ {_LENGTH_UNIT}\b|\b\w+[ -]{_TIME_UNIT}\b|(?:height|width|depth|distance|höhe|breite|tiefe|entfernung|altura|hauteur|profondeur|largeur)\w*\W+\d|\d\s?{_MONEY_UNIT}|\b(?:level|degree|storey|floor|stufe)\w*\b",
    ),
    _value(
        r"\bsquare (?:met(?:re|er)s?|feet|foot|yards?|miles?)\b|\b(?:floor )?area of\b|\bwie viele? quadratmeter\b|\bmetros cuadrados\b|\bmètres carrés\b|\bmetri quadrat\w\b|\bmét vuông\b",
        rf"\d\s?{_AREA_UNIT}|\b\w+ {_AREA_UNIT}|(?:area|fläche|superficie|surface)\w*\W+\d",
    ),
    _value(
        r"\bhow heavy\b|\bhow much (?:does|do|did) .{1,60} weigh\b|\bwie schwer\b|\bwie ?viel wiegt\b|\bcuánto pesa\b|\bcombien pèse\w*\b|\bquanto pesa\b|\bnặng bao nhiêu\b",
        rf"\d\s?{_WEIGHT_UNIT}\b|\b\w+ {_WEIGHT_UNIT}\b|(?:weigh|gewicht|wieg|peso|pesa|poids|pèse|nặng|kg)\w*\W+(?:\w+\W+){{0,2}}\d",
    ),
    _value(
        r"\bwhat time\b|\bum (?:wie ?viel|welche) uhr\b|\ba qué hora\b|\bà quelle heure\b|\ba che ora\b|\ba que horas?\b|\bmấy giờ\b",
        rf"\d\s?(?:{_TIME_UNIT}|[ap]\.m\.|:\d|h\d|\.\d\d\b)|\b\d{{1,2}} ?(?:to|bis|a|à|alle|às|đến|[-–]) ?\d|\b\w+ o['’]clock"
        r"|\b(?:noon|midnight|midday|sunrise|sunset|dawn|dusk|closed|always|all day|round the clock|mittags?|mitternacht|immer|ganztägig|geschlossen"
        r"|mediodía|medianoche|siempre|cerrad[oa]|midi|minuit|toujours|fermée?|mezzogiorno|mezzanotte|sempre|chius[oa]|meio-dia|fechad[oa]|trưa|suốt)\b",
    ),
    _value(
        r"\bhow long\b(?! ago)|\bwie lange\b|\bcuánto (?:tiempo|dura)\b|\bcombien de temps\b|\bquanto tempo\b|\bbao lâu\b",
        rf"\b\w+[ -](?:\w+ )?{_TIME_UNIT}\b|\d\s?(?:{_TIME_UNIT}|{_LENGTH_UNIT}|s|ms|min)\b|\b\w+ {_LENGTH_UNIT}\b|\b\d{{1,2}}:\d\d\b|\d.{{0,12}}(?:\bcharacters?|\bbytes?|\bpages?|\bwords?|\blines?|\bzeichen|\bseiten)"
        r"|\b(?:until|till|forever|permanent\w*|indefinite\w*|without (?:end|limit\w*)|as long as|unlimited|length|long|overnight|brief\w*|bis|unbefristet|dauerhaft|solange|länge|lang"
        r"|hasta|indefinid\w*|siempre|jusqu\w*|toujours|indéfini\w*|fino|sempre|até|đến|cho tới|suốt|mãi)\b",
    ),
)
# What is counted: all words up to the verb, of which the last one is the thing.
_COUNTED = re.compile(
    r"\bhow many (?P<en>(?:[\w'-]+ ){1,4}?)(?:is|are|was|were|do|does|did|can|could|may|might|must|should|will|would|have|has|had|fit|belong|take|took|go|came|come)\b"
    r"|\bhow many (?P<en_alone>[\w'-]+)|\bwie viele (?P<de>\w+)|\bcu[áa]nt[oa]s (?P<es>\w+)|\bcombien (?:de |d['’])(?P<fr>\w+)|\bquant[ie] (?P<it>\w+)|\bquant[oa]s (?P<pt>\w+)"
    r"|\b(?:bao nhiêu|mấy) (?P<vi>\w+ \w+)",
    _FLAGS,
)
_OF_MEASURE = re.compile(
    rf"(?:{_TIME_UNIT}|{_MONEY_UNIT}|{_LENGTH_UNIT}|{_WEIGHT_UNIT}|{_HEAT_UNIT}|\w*bytes?|[kmgt]i?b|bits?|litres?|liters?|liter|litros?|litri|lít)",
    _FLAGS,
)
# Answers name the members of these by other words.
_ANYTHING = frozenset(
    word
    for words in (
        "times things others kinds types sorts ways leute menschen personen",
        "dinge arten personas veces cosas personnes fois choses persone volte cose pessoas vezes",
        "coisas người temps tempo tiempo zeit time",
    )
    for word in words.split()
)
_PEOPLE = re.compile(
    r"people|persons?|folks|leute|menschen|personen|personas|personnes|persone|pessoas"
)
_NUMERAL = re.compile(
    rf"(?<![\w.,])(?P<sign>[$€£¥₫#§]\s?)?(?P<number>\d[\d.,’' ]*\d|\d|{'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))})"
    rf"(?P<unit>\s?(?:-|–|to|bis|a|à|đến)\s?\d+)?(?P<what>\s?{_MONEY_UNIT}|[\s-]{_TIME_UNIT}\b|\s?(?:nautical )?{_LENGTH_UNIT}\b|\s?{_WEIGHT_UNIT}\b|\.?\s(?:de\s)?{_MONTH}\b|:\d\d)?(?!\w)",
    _FLAGS,
)
_MONTH_BEFORE = re.compile(rf"\b{_MONTH}\s$", _FLAGS)
_LABEL_OF_MEASURE = re.compile(
    rf"(?:^|; )[^;:]*(?:{_MONEY_UNIT}|price|cost|rate|preis|precio|prix|prezzo|giá|date|datum|fecha)[^;:]*: ?$",
    _FLAGS,
)
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_ROLE = re.compile(
    r"\bwho(?: is|'s|’s| was| are| were)? (?:the|your|our|its) (?P<en>[\w' -]{3,50}?)(?: (?:of|at|in|for)\b(?!.* by\b)|\W*$)"
    r"|\bwer (?:ist|war|sind) (?:der|die|das) (?P<de>[\w-]{3,40})|\bquién(?:es)? (?:es|fue|son) (?:el|la|los|las) (?P<es>[\w-]{3,40})"
    r"|\bqui (?:est|était|sont) (?:le |la |l['’]|les )(?P<fr>[\w-]{3,40})|\bchi (?:è|era) (?:il |la |lo |l['’])(?P<it>[\w-]{3,40})"
    r"|\bquem (?:é|foi) [oa] (?P<pt>[\w-]{3,40})|\bai là (?P<vi>\w+ \w+)",
    _FLAGS,
)
# Before a noun they are articles more often than numbers.
_ALSO_ARTICLES = frozenset(["ein", "eine", "einen", "một", "once", "no", "none", "half", "one"])
# From the thing to its number: "seats: 90", "the number of members is limited to 40".
_FROM_THING = re.compile(
    r"(?:\W+(?:is|are|was|were|be|has|have|ist|sind|beträgt|es|son|est|sont|è|é|là|có|limited|set|to|up|of|at|currently|now|per|a|the|each|về|là)){0,4}\W*$",
    _FLAGS,
)
_NUMBER_OF = re.compile(
    r"\b(?:number|total|count|anzahl|zahl|gesamtzahl|número|nombre|numero|total de|số lượng|tổng số)\b",
    _FLAGS,
)
# A number belongs to what stands so few words behind it.
_WORDS_TO_THING = 4
_NAME = re.compile(r"(?<=[\w,;:'’] )[A-ZÀ-ÞĐ][\w-]{2,}")


_ORDINALS = {
    word: number
    for line in (
        "first second third fourth fifth sixth seventh eighth ninth tenth",
        "erst zweit dritt viert fünft sechst siebt acht neunt zehnt",
        "primer segund tercer cuart quint sext séptim octav noven décim",
        "premi deuxièm troisièm quatrièm cinquièm sixièm septièm huitièm neuvièm dixièm",
        "prim second terz quart quint sest settim ottav non decim",
    )
    for number, word in enumerate(line.split(), start=1)
}
_SAID_ORDINAL = (
    rf"(?<!per )(?<!each )(?<!every )\b({'|'.join(sorted(_ORDINALS, key=len, reverse=True))})"
    r"(?:e[rnsm]?|[oa]s?|er|ère)?\b"
)
# With the thing that it numbers: "a third appointment", and not "per second".
_ORDINAL = re.compile(rf"{_SAID_ORDINAL}(?= [^\W\d_]{{3}})", _FLAGS)
# "The first costs 30 euros, the second 95": a text need not say the thing again.
_ANY_ORDINAL = re.compile(_SAID_ORDINAL, _FLAGS)


def binds(part: Part, chosen: Sequence[Scored], candidates: Candidates) -> bool:
    """Return whether one of *chosen* says the value asked for of the thing asked about."""
    if not chosen or any(each.unit.number in candidates.foreign for each in chosen):
        return True
    documents = {candidates.passages[each.unit.number - 1].name for each in chosen}
    own = [passage for passage in candidates.passages if passage.name in documents]
    # The rent of 2024 is not that of a document of 2026.
    if find_missing(part.text, own):
        return False
    return _names(part, chosen, candidates) and any(
        _binds(part, each, candidates) for each in chosen
    )


def _binds(part: Part, each: Scored, candidates: Candidates) -> bool:
    rules = _rules(part)
    valued = bool(rules) or part.kinds.price or part.kinds.quantity or part.kinds.date
    text = _text(each.unit, candidates)
    if not all(rule(text) for rule in rules) or not _agrees_in_order(part.text, text):
        return False
    if part.kinds.quantity and not holds_number(text, beside=part.text):
        return False
    if (
        (valued or each.unit.kind == "row")
        and not each.features["context_words"]
        and each.features["cosine"] < _NEAR_COSINE
    ):
        return False
    return _counts(part, each, candidates)


def _agrees_in_order(question: str, text: str) -> bool:
    """Return whether *text* does not speak of the second where the third is asked for."""
    asked, said = (
        {_ORDINALS[match[1].casefold()] for match in pattern.finditer(each)}
        for pattern, each in ((_ORDINAL, question), (_ANY_ORDINAL, text))
    )
    return not asked or not said or bool(asked & said)


def _names(part: Part, chosen: Sequence[Scored], candidates: Candidates) -> bool:
    """
    Return whether *chosen* hold the role that is asked for, and rows come from a table of a name.

    German writes all nouns with a capital, so that no name can be told there.
    """
    if asked := _ROLE.search(part.text):
        # Of "the landlord's solicitor" the landlord is no role.
        said = re.sub(r"\b\w+['’]s\b", "", next(filter(None, asked.groups())))
        role = {term for term in terms(said, part.language) if len(term) >= _LEAST_ROLE}
        held = {
            word
            for each in chosen
            for word in candidates.contexts[candidates.units.index(each.unit)]
        }
        if role and not role & held:
            return False
        units = [each.unit for each in chosen]
        if part.language != "de" and not any(
            unit.kind == "row" or holds_name(_text(unit, candidates), part) for unit in units
        ):
            return False
    rows = [each.unit for each in chosen if each.unit.kind == "row"]
    if part.language == "de" or len(rows) < len(chosen):
        return True
    documents = {candidates.passages[unit.number - 1].name for unit in rows}
    passages = [passage for passage in candidates.passages if passage.name in documents]
    whole = {
        word
        for passage in passages
        for word in terms(
            f"{passage.name} {passage.heading} {passage.header} {passage.text}", part.language
        )
    }
    names = {
        term
        for name in _NAME.findall(part.text)
        if not name.isupper()
        for term in terms(name, part.language)
    }
    known = names & part.worth.keys()
    return not known or bool(known & whole)


def _rules(part: Part) -> list[Callable[[str], object]]:
    """Return what a text must fulfil to say the value that *part* asks for."""
    rules: list[Callable[[str], object]] = [
        value.holds.search for value in _VALUES if value.asks.search(part.text)
    ]
    if part.kinds.price:
        rules.append(holds_price)
    return rules


def _counts(part: Part, each: Scored, candidates: Candidates) -> bool:
    """Return whether a number that measures nothing else stands with what *part* counts."""
    asked = _COUNTED.search(part.text)
    if asked is None:
        return True
    words = next(filter(None, asked.groups()), "").casefold().split()
    if asked["vi"] is None:
        # "Days of annual leave" are days.
        words = words[: words.index("of")][-1:] if "of" in words[1:] else words[-1:]
    if words and _PEOPLE.fullmatch(words[-1]):
        return _has_free_number(_text(each.unit, candidates), part=part, of_thing=set())
    measures = (_OF_MEASURE.fullmatch(word) for word in (*words, " ".join(words)))
    if not words or words[-1] in _ANYTHING or any(measures):
        return True
    things = {term for word in words for term in terms(word, part.language)}
    # Where the documents do not know the word, they say it by another one.
    known = bool(things & part.worth.keys())
    of_thing = things if known and each.unit.kind != "row" else set[str]()
    if not _has_free_number(_text(each.unit, candidates), part=part, of_thing=of_thing):
        return False
    # A column of numbers has what it counts in its name, or in another word.
    held = candidates.contexts[candidates.units.index(each.unit)]
    return not known or each.unit.kind == "row" or bool(things & held)


def _has_free_number(text: str, *, part: Part, of_thing: set[str]) -> bool:
    """
    Return whether *text* holds a number that is no sum, time, date or share.

    Args:
        of_thing: The words one of which stands with the number; empty for any.
    """
    known = set(re.findall(r"\w+", part.text.casefold())) | _ALSO_ARTICLES
    for match in _NUMERAL.finditer(text):
        number = match["number"].strip(" .,")
        if match["sign"] or match["what"] or number.casefold() in known or _YEAR.fullmatch(number):
            continue
        if _MONTH_BEFORE.search(text, 0, match.start()) or _LABEL_OF_MEASURE.search(
            text, 0, match.start()
        ):
            continue
        if not of_thing or _stands_with(
            of_thing, text, match.start(), match.end(), language=part.language
        ):
            return True
    return False


def _stands_with(thing: set[str], text: str, start: int, end: int, *, language: str) -> bool:
    """Return whether one of the words *thing* stands right behind a number, or leads to it."""
    behind = re.split(r"[.;!?]\s", text[end:], maxsplit=1)[0].split()[:_WORDS_TO_THING]
    if thing & set(terms(" ".join(behind), language)):
        return True
    sentence = re.split(r"[.;!?]\s", text[:start])[-1]
    if _NUMBER_OF.search(sentence) and thing & set(terms(sentence, language)):
        return True
    leading = _FROM_THING.search(text[:start])
    before = text[: leading.start() if leading else start].split()[-1:]
    return bool(thing & set(terms(" ".join(before), language)))


def _text(unit: Unit, candidates: Candidates) -> str:
    passage = candidates.passages[unit.number - 1]
    lead = passage.text[unit.term[0] : unit.term[1]]
    return f"{lead} {describe(unit, passage)}"
