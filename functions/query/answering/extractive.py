"""
The answer without a model: the parts of the passages that answer the question best.

Each part (units.py) is scored by what the embedding model and the words say together: the cosine
of question and part, the share of the question's rare words that it holds, alone and with what it
stands under, the passage's own cosine, and whether it holds the kind of thing that is asked for.
The weights are fitted on questions with answers (`kaydangpt evaluate --answers SET
--fit`) and kept with the model. Each part of a two-part question is answered by itself.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.language import UNSPACED
from shared.search.query_terms import Question
from shared.values import Hit

from .question_kind import Kinds, detect_kinds, holds_number, split_question
from .units import Unit, row_cells, split_units

MAX_PASSAGES = 8
# Embedding a part takes about 1.4 ms on one core.
MAX_EMBEDDED = 22
# Longer texts cost more than they say.
MAX_COMPARED = 320
MAX_UNITS = 4
MAX_ANSWER_CHARACTERS = 1_500

WEIGHTS_FILE = "answering.json"

_WORD = re.compile(r"\w+")
_DATE = re.compile(r"\b(?:1\d|20)\d\d\b|\b\d{1,2}[./-]\d{1,2}\b", re.ASCII)
_NAME = re.compile(r"(?<=[\w,;:] )[A-ZÀ-ÞĐ][\w'’.-]+")
# Words of the whole question count so much for one part of it.
_OTHER_PARTS_SHARE = 0.35
# And those of the questions before a question that follows them.
_EARLIER_SHARE = 0.05
# A part of a question with so few words is understood with the others only.
_UNDERSTOOD_WORDS = 6

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


# "When was it built?": of the best parts of a passage, one with a date this near to the best.
_DATED_CANDIDATES = 6
_DATED_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Weights:
    """What each feature of a part is worth, and from which score on a part answers."""

    cosine: float = 4.03
    words: float = 2.72
    context_words: float = 5.47
    before: float = 0.76
    after: float = 1.87
    novelty: float = -0.23
    passage: float = 0.5
    nearest: float = 0.99
    first: float = 1.79
    number: float = 1.68
    name: float = 1.02
    date: float = 1.13
    command: float = 2.17
    listing: float = 0.72
    definition: float = 2.31
    reason: float = -0.24
    length: float = -0.58
    # How much lower than the best another part may score and be shown as well; the least of any.
    margin: float = 0.6
    least: float = 4.6


FEATURES = tuple(f.name for f in fields(Weights) if f.name not in ("margin", "least"))


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its features and its score."""

    unit: Unit
    features: Mapping[str, float]
    score: float


@dataclass(frozen=True, slots=True)
class Extract:
    """
    What was chosen.

    Attributes:
        units: In the order in which they are shown.
        best: The score of the best part of the worst answered part of the question.
        answers: Whether a part of the question is answered by what was chosen for it.
        candidates: All that was scored, best first.
    """

    units: list[Unit]
    best: float
    answers: bool
    candidates: list[Scored] = field(default_factory=list)


def read_weights(model_dir: Path | None) -> Weights:
    """Return the weights kept with a model, or the defaults, fitted for the default model."""
    file = None if model_dir is None else model_dir / WEIGHTS_FILE
    if file is None or not file.is_file():
        return Weights()
    given = json.loads(file.read_text())
    known = asdict(Weights())
    return Weights(**{name: float(given.get(name, default)) for name, default in known.items()})


def extract(
    question: str,
    passages: Sequence[Hit],
    *,
    asked: str = "",
    analysis: Question | None = None,
    embed: Embed | None = None,
    weights: Weights | None = None,
) -> Extract:
    """
    Return the parts of *passages* (best first) that answer *question* best.

    Args:
        asked: The question of *question* that is to be answered, where others stand before it.
        analysis: What the search made of the question's words; None weighs them by the passages.
        embed: Texts to unit vectors; None scores by words alone.
    """
    weights = weights or Weights()
    considered = passages[:MAX_PASSAGES]
    units = [
        unit
        for number, passage in enumerate(considered, 1)
        for unit in split_units(passage, number=number)
    ]
    if not units:
        return Extract([], -math.inf, answers=False)
    texts = [describe(unit, considered[unit.number - 1]) for unit in units]
    own = [set(terms(text)) for text in texts]
    contexts = [
        words | set(terms(context_of(unit, considered[unit.number - 1])))
        for unit, words in zip(units, own, strict=True)
    ]
    parts = split_question(asked or question)
    scored_parts = [
        _score_part(
            part,
            question=question,
            follows=bool(asked),
            units=units,
            texts=texts,
            own=own,
            contexts=contexts,
            passages=considered,
            analysis=analysis,
            vectors=None,
            weights=weights,
        )
        for part in parts
    ]
    if embed is not None:
        places = _to_embed(scored_parts, units)
        vectors = embed(
            [
                *(part if asked else _whole(part, question) for part in parts),
                *(texts[place][:MAX_COMPARED] for place in places),
            ]
        )
        scored_parts = [
            _score_part(
                part,
                question=question,
                follows=bool(asked),
                units=units,
                texts=texts,
                own=own,
                contexts=contexts,
                passages=considered,
                analysis=analysis,
                vectors={
                    place: float(vectors[at] @ vectors[len(parts) + row])
                    for row, place in enumerate(places)
                },
                weights=weights,
            )
            for at, part in enumerate(parts)
        ]
    chosen: list[Unit] = []
    answered: list[bool] = []
    best = math.inf
    for part, scored in zip(parts, scored_parts, strict=True):
        ranked = sorted(scored, key=lambda each: -each.score)
        kinds = detect_kinds(part)
        if kinds.date:
            ranked = _date_first(ranked)
        best = min(best, ranked[0].score)
        picked = _choose(ranked, considered, weights, alone=len(parts) == 1)
        if kinds.quantity and not _counts(picked, kinds, part, considered):
            picked = []
        answered.append(bool(picked) and ranked[0].score >= weights.least)
        chosen += picked
    units_shown = _order(chosen)
    everything = sorted(
        (each for scored in scored_parts for each in scored), key=lambda e: -e.score
    )
    return Extract(units_shown, best, any(answered), everything)


def _date_first(ranked: list[Scored]) -> list[Scored]:
    """Return *ranked* with a date of the same passage first, where the best part has none."""
    first = ranked[0]
    if first.features["date"]:
        return ranked
    dated = next(
        (
            each
            for each in ranked[1:_DATED_CANDIDATES]
            if each.features["date"]
            and each.unit.number == first.unit.number
            and each.score >= _DATED_SHARE * first.score > 0
        ),
        None,
    )
    if dated is None:
        return ranked
    return [dated, *(each for each in ranked if each is not dated)]


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


def context_of(unit: Unit, passage: Hit) -> str:
    """Return what the unit stands under: the lead in the passage, and the last headings."""
    lead = passage.text[unit.lead[0] : unit.lead[1]]
    headings = passage.heading.split(" > ")[-2:]
    return " ".join([*headings, lead])


def terms(text: str) -> list[str]:
    """
    Return the words of *text*, folded; scripts without spaces give pairs of characters.

    A word of more than five letters counts by its first letters: endings differ between a
    question and its answer, beginnings hardly.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for word in _WORD.findall(folded):
        position = 0
        for run in UNSPACED.finditer(word):
            if word[position : run.start()]:
                found.append(_stem(word[position : run.start()]))
            pairs = run.group()
            found.extend(pairs[index : index + 2] for index in range(max(1, len(pairs) - 1)))
            position = run.end()
        if word[position:]:
            found.extend(_stem(piece) for piece in {word[position:], *word[position:].split("_")})
    return found


def _stem(word: str) -> str:
    if word.isdigit() or len(word) <= 3:
        return word
    if len(word) <= 5:
        return word.rstrip("s")
    return word[: max(5, len(word) - 3)]


def weigh(question: str, analysis: Question | None, own: Sequence[set[str]]) -> dict[str, float]:
    """
    Return what each word of *question* is worth: its rarity in the index, 0 for a stop word.

    Words that stand nowhere are left out: no part can hold them.
    """
    asked = dict.fromkeys(terms(question))
    counts = {word: sum(word in held for held in own) for word in asked}
    if analysis is None:
        return {word: math.log(1 + (len(own) + 1) / (counts[word] + 0.5)) for word in asked}
    rarities = {term.lexeme: term.rarity for term in analysis.terms if term.document_frequency > 0}
    weights: dict[str, float] = {}
    for word in asked:
        near = [
            rarity
            for lexeme, rarity in rarities.items()
            if lexeme.startswith(word[:5]) or (word.startswith(lexeme[:5]) and len(lexeme) >= 3)
        ]
        if near:
            weights[word] = min(near)
    return weights


def _whole(part: str, question: str) -> str:
    """Return a part of a question that can be understood by itself."""
    return part if len(part.split()) > _UNDERSTOOD_WORDS else f"{part} {question}"


def _score_part(
    part: str,
    *,
    question: str,
    follows: bool,
    units: Sequence[Unit],
    texts: Sequence[str],
    own: Sequence[set[str]],
    contexts: Sequence[set[str]],
    passages: Sequence[Hit],
    analysis: Question | None,
    vectors: Mapping[int, float] | None,
    weights: Weights,
) -> list[Scored]:
    worth = weigh(part, analysis, own)
    share = _EARLIER_SHARE if follows else _OTHER_PARTS_SHARE
    for word, weight in weigh(question, analysis, own).items():
        # What one part of a question is about, the others hardly repeat.
        worth.setdefault(word, share * weight)
    total = sum(worth.values()) or 1.0
    kinds = detect_kinds(part)
    asked = set(terms(part))
    nearest = max((passage.similarity for passage in passages), default=1.0) or 1.0
    closeness = (
        [sum(worth.get(word, 0.0) for word in held) / total for held in own]
        if vectors is None
        else [max(0.0, vectors.get(place, 0.0)) for place in range(len(units))]
    )
    scored = []
    for place, unit in enumerate(units):
        if vectors is not None and place not in vectors:
            continue
        passage = passages[unit.number - 1]
        features = {
            "cosine": 0.0 if vectors is None else vectors[place],
            "words": sum(worth.get(word, 0.0) for word in own[place]) / total,
            "context_words": sum(worth.get(word, 0.0) for word in contexts[place]) / total,
            "before": _beside(units, closeness, place, -1),
            "after": _beside(units, closeness, place, 1),
            "novelty": len(own[place] - asked) / (len(own[place]) or 1),
            "passage": passage.similarity,
            "nearest": passage.similarity / nearest,
            "first": 1.0 / unit.number,
            "length": math.log(max(20, len(texts[place])) / 100),
            **_answer_type(texts[place], unit, kinds, asked),
        }
        score = sum(getattr(weights, name) * value for name, value in features.items())
        scored.append(Scored(unit, features, score))
    return scored


def _beside(units: Sequence[Unit], closeness: Sequence[float], place: int, step: int) -> float:
    """Return how close to the question the unit beside is; an answer often follows its subject."""
    other = place + step
    if not 0 <= other < len(units) or units[other].number != units[place].number:
        return 0.0
    return closeness[other]


def _answer_type(text: str, unit: Unit, kinds: Kinds, asked: set[str]) -> dict[str, float]:
    """Return how far the unit holds the kind of thing that is asked for, 1 or 0 each."""
    new_number = any(any(map(str.isdigit, word)) and word not in asked for word in terms(text))
    return {
        "number": float(kinds.number and new_number),
        "date": float(kinds.date and bool(_DATE.search(text))),
        "name": float(kinds.person and bool(_NAME.search(text))),
        "command": float(kinds.how_to and unit.kind == "code"),
        "listing": float(kinds.listing and (unit.kind == "list" or text.count(", ") >= 2)),
        "definition": float(kinds.is_definition_in(text)),
        "reason": float(kinds.reason and kinds.gives_reason(text)),
    }


def _to_embed(scored_parts: Sequence[Sequence[Scored]], units: Sequence[Unit]) -> list[int]:
    """Return the places of the units whose meaning is compared, the best by words of each part."""
    share = MAX_EMBEDDED // len(scored_parts)
    places: dict[int, None] = {}
    for scored in scored_parts:
        ranked = sorted(range(len(units)), key=lambda place: -scored[place].score)
        places.update(dict.fromkeys(ranked[:share]))
    return list(places)


def _choose(
    ranked: Sequence[Scored],
    passages: Sequence[Hit],
    weights: Weights,
    *,
    alone: bool,
) -> list[Unit]:
    """Return the best unit, and others that are nearly as good and say something else."""
    most = MAX_UNITS if alone else 2
    chosen: list[Unit] = []
    said: list[set[str]] = []
    for each in ranked:
        if len(chosen) == most or each.score < ranked[0].score - weights.margin:
            break
        unit = each.unit
        text = passages[unit.number - 1].text[unit.start : unit.end]
        words = set(terms(text))
        if any(len(words & other) >= 0.8 * min(len(words), len(other)) for other in said):
            continue
        chosen.append(unit)
        said.append(words)
    return chosen


def _counts(chosen: Sequence[Unit], kinds: Kinds, question: str, passages: Sequence[Hit]) -> bool:
    """Return whether *chosen* hold a number that answers, of what the question counts."""
    texts = [describe(unit, passages[unit.number - 1]) for unit in chosen]
    if not any(holds_number(text, beside=question) for text in texts):
        return False
    counted = set(terms(kinds.counted))
    if not counted or counted & _MEASURED:
        return True
    around = {word for unit in chosen for word in terms(passages[unit.number - 1].text)}
    around |= {word for unit in chosen for word in terms(passages[unit.number - 1].heading)}
    return bool(counted & around)


# What is asked for by another word than the answer has: "how many people", "how much does it".
_MEASURED = frozenset(
    term
    for word in [
        "people",
        "persons",
        "person",
        "times",
        "money",
        "time",
        "is",
        "are",
        "does",
        "do",
        "did",
        "can",
        "will",
        "would",
        "of",
        "costs",
        "cost",
        "the",
        "a",
        "leute",
        "menschen",
        "personen",
        "mal",
        "geld",
        "zeit",
        "kostet",
        "personas",
        "veces",
        "dinero",
        "tiempo",
        "cuesta",
        "costó",
        "personnes",
        "fois",
        "temps",
        "coûte",
        "persone",
        "volte",
        "tempo",
        "costa",
        "pessoas",
        "vezes",
        "custa",
        "người",
        "lần",
    ]
    for term in [word[:5] if len(word) > 5 else word.rstrip("s")]
)


def _order(chosen: Sequence[Unit]) -> list[Unit]:
    """Return *chosen* once each: parts of the question in turn, within one in reading order."""
    return list(dict.fromkeys(chosen))
