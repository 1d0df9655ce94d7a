"""
What speaks for a part of a passage (units.py) as the answer to a question: its features. Pure.

The cosine of question and part, the share of the question's words that the part holds, alone and
with what it stands under, how well its words tell it from the parts around it, what the passage
itself is worth, and whether the part holds the kind of thing that is asked for. What each feature
counts is fitted on questions with answers (`kaydangpt evaluate --fit`) and kept with the model.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from threading import Lock

from Stemmer import Stemmer

from shared.language import UNSPACED
from shared.search.query_terms import Question
from shared.spellings import unmark
from shared.values import Hit

from .question_kind import (
    Kinds,
    holds_duration,
    holds_money,
    holds_number,
    holds_total,
    instructs,
)
from .units import Unit, is_step, row_cells

_WORD = re.compile(r"\w+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DATE = re.compile(r"\b(?:1\d|20)\d\d\b|\b\d{1,2}[./-]\d{1,2}\b|\b\d{1,2}:\d\d\b", re.ASCII)
_NO_NAME = (
    r"(?!(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?)\b)"
)
_NAME = re.compile(
    r"(?<=[\w,;:)] )" + _NO_NAME + r"[A-ZÀ-ÞĐ][\w'’.-]+|^[A-ZÀ-ÞĐ][\w'’.-]+ [A-ZÀ-ÞĐ][\w'’.-]+"
)
# German writes every noun with a capital: two of them, or one behind a title.
_GERMAN_NAME = re.compile(
    r"\b(?:Herrn?|Frau|Dr\.|Prof\.|Firma) [A-ZÄÖÜ][\w-]+|\b[A-ZÄÖÜ][\w.-]+ [A-ZÄÖÜ][\w-]+"
)
# A command, an option, a path, a setting: what prose does not hold.
_LITERAL = re.compile(
    r"(?<![\w-])(?:--?[a-z][\w-]+|\$?(?=\w*[A-Za-z])\w+_\w+|~?/?[\w.-]{1,200}/[\w./*-]+|[a-z]+[A-Z]\w+"
    r"|\$[A-Z]\w+|[A-Z]+(?:-[A-Za-z]+)+|\w+\(\)|<[\w-]+>|[\w-]+\.(?:conf|cfg|d|ini|ya?ml|json|sh|txt))"
)
# The name of a field, which says nothing by itself.
_KEY = re.compile(r"[\w.\[\]-]+: ")
# What points back to the sentence before, at the beginning of a sentence.
_POINTS_BACK = re.compile(
    r"^\W*(?:it|its|they|their|this|these|those|that|he|she|his|her|such|er|sie|es|sein|ihre?|dies\w*"
    r"|dabei|dazu|él|ella|ellos|su|sus|est[aeo]s?|es[aeo]s?|il|ils|elles?|leurs?|ce|cette|ces|cela"
    r"|esso|essa|quest[aeio]|ele|ela|eles|isso|isto|nó|họ|chúng|điều này|việc này)\b"
    r"|^.{0,60}\b(?:this|these|such|dies\w{1,2}|est[ea]|cette|quest[ao]|này|đó) \w+",
    re.IGNORECASE,
)
_BEGINS_POINTING_BACK = re.compile(
    r"\W*(?:it|they|this|these|those|he|she|er|sie|es|dies\w{0,2}|él|ella|ellos|est[aeo]s?|il|ils|elles?|cela"
    r"|esso|essa|quest[aeio]|ele|ela|eles|isso|isto|nó|họ|chúng|điều này|việc này)\b",
    re.IGNORECASE,
)
# What the search stems by: the words of a question are weighed as the index counts them.
_STEMMERS = {
    code: Stemmer(name)
    for code, name in {
        "en": "english",
        "de": "german",
        "es": "spanish",
        "fr": "french",
        "it": "italian",
        "pt": "portuguese",
    }.items()
}
_STEMMING = Lock()
_LEAST_STEMMED = 4
# Words of the whole question count so much for one part of it.
_OTHER_PARTS_SHARE = 0.35
# And those of the questions before a question that follows them.
_EARLIER_SHARE = 0.05


# Of a heading.
_MAX_ABOVE = 100
# Of what stands right above a sentence, and of the sentence before it.
_MAX_LEAD = 160
_MAX_BEFORE = 300


# Question and texts to the log-odds that each answers.
Read = Callable[[str, Sequence[str]], Sequence[float]]
_READ_LANGUAGE = "en"
# What was not read is taken for what does not answer.
_UNREAD = -4.0

# Languages that write compounds as one word, of which the last part says what it is.
_COMPOUNDING = frozenset(["de", "nl", "sv", "da", "nb", "no"])
_LEAST_OF_COMPOUND = 5


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of each feature of a unit."""

    cosine: float = 5.33
    words: float = 0.0
    context_words: float = 4.6
    focus: float = 2.9
    novelty: float = -2.69
    before: float = 1.09
    after: float = 0.1
    passage: float = 0.5
    nearest: float = 0.16
    first: float = 1.24
    fused: float = 2.37
    opening: float = 1.73
    answered: float = 1.84
    number: float = 1.76
    measure: float = 2.11
    name: float = 1.46
    date: float = 0.99
    command: float = 2.74
    literal: float = 0.92
    instruction: float = 1.24
    listing: float = 0.36
    definition: float = 4.4
    reason: float = -0.98
    noun: float = 0.5
    row: float = 0.39
    code: float = -0.41
    length: float = -0.04
    short: float = 0.5
    reader: float = 0.4


FEATURES = tuple(each.name for each in fields(Weights))


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its features and its score."""

    unit: Unit
    features: Mapping[str, float]
    score: float


@dataclass(frozen=True, slots=True)
class Part:
    """
    A part of a question, with the weights of its words.

    Attributes:
        worth: By word, as terms() has them; what only the rest of the question says counts less.
        language: ISO 639-1, as far as the question shows it.
        local: How well each word tells the units from one another, 0 to 1.
        read_as: The part as it can be understood by itself.
    """

    text: str
    kinds: Kinds
    asked: frozenset[str]
    worth: Mapping[str, float]
    local: Mapping[str, float]
    language: str = "en"
    read_as: str = ""


@dataclass(frozen=True, slots=True)
class Candidates:
    """
    The units of some passages, with what they say.

    Attributes:
        language: Of the question, ISO 639-1, as far as it shows; its words are stemmed by it.
        foreign: The numbers of passages in another language than the question, which a model for
            several languages found: no word of theirs has to be the question's.
        texts: Each unit, a row with the names of its columns.
        compared: The same behind what it stands under, as the model is given it.
        own: The words of each.
        contexts: The words of each and of what it stands under.
        leads: The words of the heading, the term or the question right above each.
        unrelated: The cosine from which on the model's vectors say something: 0 on the scale that
            cosines are compared on here, so that the same weights serve models whose cosines all
            lie near one another.
    """

    passages: Sequence[Hit]
    units: Sequence[Unit]
    texts: Sequence[str]
    compared: Sequence[str]
    own: Sequence[set[str]]
    contexts: Sequence[set[str]]
    leads: Sequence[set[str]]
    language: str
    unrelated: float = 0.0
    foreign: frozenset[int] = frozenset()

    def scale(self, cosine: float) -> float:
        """Return *cosine* as a share of the way from unrelated to equal texts."""
        return (cosine - self.unrelated) / max(1e-6, 1.0 - self.unrelated)

    def under(self, place: int) -> str:
        """Return the unit at *place* behind all that it stands under, as it is read."""
        unit, text = self.units[place], self.texts[place]
        passage = self.passages[unit.number - 1]
        before = place - 1
        if (
            before >= 0
            and self.units[before].number == unit.number
            and unit.kind == "sentence"
            and points_back(text)
        ):
            text = f"{self.texts[before][-_MAX_BEFORE:]} {text}"
        lead = " ".join(passage.text[unit.lead[0] : unit.lead[1]].split()).lstrip("#*- ")
        leaf = passage.heading.rpartition(" > ")[2].rstrip("¶")
        above = [leaf[:_MAX_ABOVE]] if leaf and leaf not in lead else []
        above += [lead[:_MAX_LEAD]] if lead else []
        ended = [
            each if each.rstrip().endswith(("?", ".", ":", "!")) else f"{each}." for each in above
        ]
        return " ".join([*ended, text])


def find_foreign(passages: Sequence[Hit], analysis: Question | None) -> frozenset[int]:
    """Return the numbers of the passages in another language than the question, both known."""
    languages = [] if analysis is None else analysis.languages
    return frozenset(
        number
        for number, passage in enumerate(passages, 1)
        if languages and passage.language and passage.language not in languages
    )


def gather(
    passages: Sequence[Hit],
    units: Sequence[Unit],
    *,
    language: str,
    question: str = "",
    unrelated: float = 0.0,
    foreign: frozenset[int] = frozenset(),
) -> Candidates:
    """
    Return *units* of *passages* with their texts and words.

    Args:
        question: What may ask by a part of a compound: Cello for Violoncello.
    """
    texts = [describe(unit, passages[unit.number - 1]) for unit in units]
    own = [
        set(terms(text, language))
        | (_unmarked(text, language) if unit.number in foreign else set())
        for unit, text in zip(units, texts, strict=True)
    ]
    if language in _COMPOUNDING:
        _take_apart(own, terms(question, language))
    leads = [
        set(terms(passages[unit.number - 1].text[unit.lead[0] : unit.lead[1]], language))
        for unit in units
    ]
    headings = [
        set(terms(" ".join(passage.heading.split(" > ")[-2:]), language)) for passage in passages
    ]
    contexts = [
        words | lead | headings[unit.number - 1] | _referred_to(place, units, texts, own)
        for place, (unit, words, lead) in enumerate(zip(units, own, leads, strict=True))
    ]
    compared = [
        _under(passages[unit.number - 1], text) for unit, text in zip(units, texts, strict=True)
    ]
    return Candidates(
        passages, units, texts, compared, own, contexts, leads, language, unrelated, foreign
    )


def _take_apart(own: Sequence[set[str]], asked: Sequence[str]) -> None:
    """Give units the words of *asked* that no unit has, and that end a compound of theirs."""
    for word in asked:
        if len(word) >= _LEAST_OF_COMPOUND and not any(word in held for held in own):
            for held in own:
                if any(each.endswith(word) for each in held):
                    held.add(word)


def _unmarked(text: str, language: str) -> set[str]:
    """Return the words of *text* as other languages write its names: Da Nang for Đà Nẵng."""
    return set() if text.isascii() else set(terms(unmark(text.casefold()), language))


def _under(passage: Hit, text: str) -> str:
    """Return *text* with the last heading of *passage* in front."""
    leaf = passage.heading.rpartition(" > ")[2]
    return f"{leaf[:_MAX_ABOVE]}. {text}" if leaf else text


def _referred_to(
    place: int, units: Sequence[Unit], texts: Sequence[str], own: Sequence[set[str]]
) -> set[str]:
    """Return the words of the sentence that a unit points back to."""
    before = place - 1
    if before < 0 or units[before].number != units[place].number or units[place].kind == "row":
        return set()
    return own[before] if _POINTS_BACK.match(texts[place]) else set()


def understand(
    part: str,
    *,
    question: str,
    read_as: str,
    follows: bool,
    others: Sequence[str],
    kinds: Kinds,
    analysis: Question | None,
    candidates: Candidates,
) -> Part:
    """
    Return a part of *question* with the weights of its words among *candidates*.

    Args:
        read_as: The part as a model is given it.
        follows: *question* begins with the questions before it in a conversation.
        others: What the part is compared with: that answers another part.
    """
    language = candidates.language
    elsewhere = {word for other in others for word in terms(other, language)}
    worth = weigh(part, analysis, candidates.own, language)
    share = _EARLIER_SHARE if follows else _OTHER_PARTS_SHARE
    for word, weight in weigh(question, analysis, candidates.own, language).items():
        # What one part of a question is about, the others hardly repeat.
        worth.setdefault(word, 0.0 if word in elsewhere else share * weight)
    count = len(candidates.units)
    most = math.log(2 * (count + 1))
    local = {
        word: math.log((count + 1) / (sum(word in held for held in candidates.contexts) + 0.5))
        / most
        for word in worth
    }
    return Part(part, kinds, frozenset(terms(part, language)), worth, local, language, read_as)


def read(
    part: Part,
    candidates: Candidates,
    scored: Sequence[Scored],
    *,
    reader: Read,
    most: int,
    weights: Weights,
) -> list[Scored]:
    """
    Return *scored* with what *reader* says of the best of them, where all is in English.

    Args:
        most: So many are read.
    """
    ranked = sorted(scored, key=lambda one: -one.score)
    # Where the best is in another language, what is read is worse.
    if part.language != _READ_LANGUAGE or not ranked or not _is_read(ranked[0].unit, candidates):
        return list(scored)
    places = {unit: place for place, unit in enumerate(candidates.units)}
    best = [each.unit for each in ranked[:most] if _is_read(each.unit, candidates)]
    odds = dict(
        zip(
            best,
            reader(part.read_as, [candidates.under(places[unit]) for unit in best]),
            strict=True,
        )
    )
    return [_with_reading(each, odds.get(each.unit, _UNREAD), weights) for each in scored]


def _is_read(unit: Unit, candidates: Candidates) -> bool:
    return candidates.passages[unit.number - 1].language in ("", _READ_LANGUAGE)


def _with_reading(scored: Scored, odds: float, weights: Weights) -> Scored:
    features = {**scored.features, "reader": odds}
    return Scored(scored.unit, features, scored.score + weights.reader * odds)


def score(
    part: Part,
    candidates: Candidates,
    *,
    vectors: Mapping[int, float] | None,
    weights: Weights,
) -> list[Scored]:
    """
    Return the candidates with their scores, in their order.

    Args:
        vectors: Scaled cosine of question and unit by place; units that are not in it are left
            out. None scores all of them by words alone.
    """
    total = sum(part.worth.values()) or 1.0
    focused = {word: weight * part.local[word] for word, weight in part.worth.items()}
    focus_total = sum(focused.values()) or 1.0
    passages = candidates.passages
    similarities = [candidates.scale(passage.similarity) for passage in passages]
    nearest = max(max(similarities), 1e-6)
    best = max((passage.score for passage in passages), default=1.0) or 1.0
    closeness = (
        [_share(held, part.worth, total) for held in candidates.own]
        if vectors is None
        else [max(0.0, vectors.get(place, 0.0)) for place in range(len(candidates.units))]
    )
    nouns = set(terms(part.kinds.noun, part.language))
    asks_literal = part.kinds.how_to or part.kinds.literal
    scored = []
    for place, unit in enumerate(candidates.units):
        if vectors is not None and place not in vectors:
            continue
        passage = passages[unit.number - 1]
        own, text = candidates.own[place], candidates.texts[place]
        lead = _share(candidates.leads[place], part.worth, total)
        lead_asks = passage.text[unit.lead[0] : unit.lead[1]].rstrip().endswith(("?", "？"))
        behind_lead = bool(unit.lead[1]) and not passage.text[unit.lead[1] : unit.start].strip()
        features = {
            "cosine": 0.0 if vectors is None else vectors[place],
            "words": _share(own, part.worth, total),
            "context_words": _share(candidates.contexts[place], part.worth, total),
            "focus": _share(own, focused, focus_total),
            "novelty": len(own - part.asked) / (len(own) or 1),
            "before": _beside(candidates.units, closeness, place, -1),
            "after": _beside(candidates.units, closeness, place, 1),
            "passage": similarities[unit.number - 1],
            "nearest": similarities[unit.number - 1] / nearest,
            "first": 1.0 / unit.number,
            "fused": passage.score / best,
            "opening": lead * behind_lead,
            "answered": lead * lead_asks,
            **_answer_type(text, unit, part, is_step=is_step(unit, passage.text)),
            "noun": float(bool(nouns & own)),
            "literal": float((asks_literal or part.kinds.place) and _holds_literal(text, part)),
            "instruction": float(part.kinds.how_to and instructs(text)),
            "row": float(unit.kind == "row"),
            "code": float(unit.kind == "code" and unit.head_end == unit.start),
            "length": math.log(max(20, len(text)) / 100),
            "short": float(len(own) < 4),
            "reader": 0.0,
        }
        if unit.number in candidates.foreign:
            # Meaning stands for the words that cannot be shared, and words in common are chance.
            near = similarities[unit.number - 1] if vectors is None else vectors[place]
            for name in ("context_words", "focus"):
                features[name] = max(features[name], near)
            features["first"] = 1.0 / (
                1 + sum(each > similarities[unit.number - 1] for each in similarities)
            )
            features["fused"] = features["nearest"]
        total_score = sum(getattr(weights, name) * value for name, value in features.items())
        scored.append(Scored(unit, features, total_score))
    return scored


def describe(unit: Unit, passage: Hit) -> str:
    """Return the unit as text that can be compared: a row with the names of its columns."""
    text = passage.text[unit.start : unit.end]
    if unit.kind == "row" and unit.header:
        names, cells = row_cells(unit.header), row_cells(text)
        return "; ".join(
            f"{name}: {cell}" if name else cell
            for name, cell in zip([*names, *[""] * len(cells)], cells, strict=False)
            if cell
        )
    return " ".join(text.split())


def terms(text: str, language: str) -> list[str]:
    """
    Return the stems of the words of *text*; scripts without spaces give pairs of characters.

    camelCase and snake_case are also their words.

    Args:
        language: ISO 639-1; where there is no stemmer for it, long words count by their first
            letters.
    """
    found: list[str] = []
    stem = partial(_stem, language=language)
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        folded = word.casefold()
        position = 0
        for run in UNSPACED.finditer(folded):
            if folded[position : run.start()]:
                found.append(stem(folded[position : run.start()]))
            pairs = run.group()
            found.extend(pairs[index : index + 2] for index in range(max(1, len(pairs) - 1)))
            position = run.end()
        if rest := folded[position:]:
            found.append(stem(rest))
            if position == 0 and ("_" in word or _HUMP.search(word)):
                pieces = _HUMP.sub("_", word).casefold().split("_")
                found.extend(stem(piece) for piece in pieces if piece and piece != rest)
    return found


@lru_cache(maxsize=20_000)
def _stem(word: str, language: str) -> str:
    if word.isdigit() or len(word) < _LEAST_STEMMED:
        return word
    if language in _STEMMERS:
        # Its threads must not share a stemmer.
        with _STEMMING:
            stem: str = _STEMMERS[language].stemWord(word)
        return stem
    if len(word) <= 5:
        return word.rstrip("s")
    return word[: max(5, len(word) - 3)]


def weigh(
    question: str, analysis: Question | None, own: Sequence[set[str]], language: str
) -> dict[str, float]:
    """
    Return the weight of each word of *question*: its rarity in the index, 0 for a stop word.

    Words that stand nowhere are left out: no part can hold them.
    """
    asked = dict.fromkeys(terms(question, language))
    counts = {word: sum(word in held for held in own) for word in asked}
    if analysis is None:
        return {word: math.log(1 + (len(own) + 1) / (counts[word] + 0.5)) for word in asked}
    rarities = {term.lexeme: term.rarity for term in analysis.terms if term.document_frequency > 0}
    weights: dict[str, float] = {}
    for word in asked:
        # Stemmers take the marks off too: Hühner is huhn.
        plain = unmark(word)
        if (rarity := rarities.get(word, rarities.get(plain))) is not None:
            weights[word] = rarity
            continue
        near = [
            rarity
            for lexeme, rarity in rarities.items()
            if lexeme.startswith((word[:5], plain[:5]))
            or (len(lexeme) >= 3 and (word.startswith(lexeme[:5]) or plain.startswith(lexeme[:5])))
        ]
        if near:
            weights[word] = min(near)
    return weights


def _share(held: set[str], worth: Mapping[str, float], total: float) -> float:
    return sum(worth.get(word, 0.0) for word in held) / total


def _beside(units: Sequence[Unit], closeness: Sequence[float], place: int, step: int) -> float:
    """
    Return how close to the question the unit beside is; an answer often follows its subject.

    A row of a table says nothing of the next.
    """
    other = place + step
    if units[place].kind == "row":
        return 0.0
    if not 0 <= other < len(units) or units[other].number != units[place].number:
        return 0.0
    return closeness[other]


def _answer_type(text: str, unit: Unit, part: Part, *, is_step: bool) -> dict[str, float]:
    """Return which kinds of thing that the question asks for the unit contains, 1 or 0 each."""
    kinds = part.kinds
    new_number = holds_number(text, beside=part.text)
    measured = (kinds.duration and holds_duration(text)) or (kinds.money and holds_money(text))
    return {
        "number": float(kinds.number and new_number),
        "measure": float(measured and new_number) * (1 + (kinds.total and holds_total(text))),
        "date": float(kinds.date and bool(_DATE.search(text))),
        "name": float(kinds.person and holds_name(text, part)),
        "command": float(kinds.how_to and (unit.kind == "code" or (is_step and not kinds.command))),
        "listing": float(kinds.listing and (unit.kind == "list" or text.count(", ") >= 2)),
        "definition": float(kinds.is_definition_in(text)),
        "reason": float(kinds.reason and kinds.gives_reason(text)),
    }


def holds_name(text: str, part: Part) -> bool:
    """Return whether *text* contains a name that the question does not."""
    pattern = _GERMAN_NAME if part.language == "de" else _NAME
    return any(
        word not in part.asked
        for match in pattern.finditer(text)
        for word in terms(match.group(), part.language)
    )


def _holds_literal(text: str, part: Part) -> bool:
    key = _KEY.match(text)
    return any(
        match.group() not in part.text for match in _LITERAL.finditer(text, key.end() if key else 0)
    )


def holds_literal(text: str) -> bool:
    """Return whether *text* contains a command, an option, a path or a setting."""
    return bool(_LITERAL.search(text))


def points_back(text: str) -> bool:
    """Return whether *text* begins with a word that stands for what was named before."""
    return bool(_BEGINS_POINTING_BACK.match(text))
