"""
The answer without a model: the parts of the passages that answer the question best.

Each part (units.py) is scored by what the embedding model and the words say together (scoring.py),
and what was found best is weighed once more: does it answer at all (confidence.py)? Each part of a
two-part question is answered by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.search.query_terms import Question
from shared.values import Hit

from .choosing import Choosing
from .confidence import counts, measure_confidence, weigh_confidence
from .question_kind import detect_kinds, split_question
from .scoring import Candidates, Part, Scored, gather, score, terms, understand
from .units import Unit, split_units

MAX_PASSAGES = 8
# Embedding a part takes about 1.4 ms on one core.
MAX_EMBEDDED = 22
# Longer texts cost more than they say.
MAX_COMPARED = 320
MAX_UNITS = 3
# Of a question for one number or date, and of each part of a question that has several.
_MAX_UNITS_OF_ONE = 2
# An item of a list answers by itself if it scores so little less than the whole list.
_ITEM_MARGIN = 2.0
# A part of a question with so few words is understood with the others only.
_UNDERSTOOD_WORDS = 6
# Two units say the same from this share of common words on.
_SAME_WORDS = 0.8

# So many words of a question in their order are no chance.
_ECHO_WORDS = 4
_PLAIN_WORD = re.compile(r"\w+")
# "When was it built?": of the best parts of a passage, one with a date this near to the best.
_DATED_CANDIDATES = 6
_DATED_SHARE = 0.6

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ExtractedPart:
    """
    What was found for one part of the question.

    Attributes:
        ranked: Best first.
        chosen: What answers it, best first.
        confidence: From 0 to 1, that this answers it.
        signs: What the confidence was weighed from.
    """

    text: str
    ranked: list[Scored]
    chosen: list[Unit]
    confidence: float
    signs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Extract:
    """
    What was chosen.

    Attributes:
        units: In the order in which they are shown; of the parts that are answered.
        answers: Whether a part of the question is answered.
    """

    units: list[Unit]
    answers: bool
    parts: list[ExtractedPart] = field(default_factory=list)


def extract(
    question: str,
    passages: Sequence[Hit],
    *,
    asked: str = "",
    analysis: Question | None = None,
    embed: Embed | None = None,
    unrelated_similarity: float = 0.0,
    multilingual: bool = False,
    choosing: Choosing | None = None,
) -> Extract:
    """
    Return the parts of *passages* (best first) that answer *question* best.

    Args:
        asked: The question of *question* that is to be answered, where others stand before it.
        analysis: What the search made of the question's words; None weighs them by the passages.
        embed: Texts to unit vectors; None scores by words alone.
        unrelated_similarity: The cosine from which on these vectors say something.
        multilingual: Whether a text and its translation are near in these vectors.
    """
    choosing = choosing or Choosing()
    considered = passages[:MAX_PASSAGES]
    language = next(iter(analysis.languages), "en") if analysis is not None else "en"
    units = [
        unit
        for number, passage in enumerate(considered, 1)
        for unit in split_units(passage, number=number, language=language)
        if not (unit.kind == "code" and _asks(question, passage.text[unit.start : unit.end]))
    ]
    if not units:
        return Extract([], answers=False)
    candidates = gather(considered, units, unrelated=unrelated_similarity)
    parts = [
        understand(
            part,
            question=question,
            follows=bool(asked),
            kinds=detect_kinds(part),
            analysis=analysis,
            candidates=candidates,
        )
        for part in split_question(asked or question)
    ]
    vectors = (
        [None for _ in parts]
        if embed is None
        else _compare(parts, candidates, question, embed, choosing, follows=bool(asked))
    )
    extracted = [
        _extract_part(
            part,
            candidates,
            cosines,
            analysis=analysis,
            multilingual=multilingual,
            choosing=choosing,
            alone=len(parts) == 1,
        )
        for part, cosines in zip(parts, vectors, strict=True)
    ]
    answered = [part for part in extracted if part.chosen and part.confidence >= choosing.least]
    shown = list(dict.fromkeys(unit for part in answered for unit in part.chosen))
    return Extract(shown, bool(answered), extracted)


def _asks(question: str, code: str) -> bool:
    """Return whether *code* is an example that asks the question: it does not answer it."""
    words = _PLAIN_WORD.findall(question.casefold())
    return len(words) >= _ECHO_WORDS and f" {' '.join(words)} " in (
        f" {' '.join(_PLAIN_WORD.findall(code.casefold()))} "
    )


def _compare(
    parts: Sequence[Part],
    candidates: Candidates,
    question: str,
    embed: Embed,
    choosing: Choosing,
    *,
    follows: bool,
) -> list[Mapping[int, float] | None]:
    """Return the scaled cosines of each part with the units best by words, by their place."""
    share = MAX_EMBEDDED // len(parts)
    places: dict[int, None] = {}
    for part in parts:
        by_words = score(part, candidates, vectors=None, weights=choosing.sentences)
        ranked = sorted(range(len(by_words)), key=lambda place: -by_words[place].score)
        places.update(dict.fromkeys(ranked[:share]))
    vectors = embed(
        [
            *(part.text if follows else _whole(part.text, question) for part in parts),
            *(candidates.texts[place][:MAX_COMPARED] for place in places),
        ]
    )
    return [
        {
            place: candidates.scale(float(vectors[at] @ vectors[len(parts) + row]))
            for row, place in enumerate(places)
        }
        for at in range(len(parts))
    ]


def _whole(part: str, question: str) -> str:
    """Return a part of a question that can be understood by itself."""
    return part if len(part.split()) > _UNDERSTOOD_WORDS else f"{part} {question}"


def _extract_part(
    part: Part,
    candidates: Candidates,
    cosines: Mapping[int, float] | None,
    *,
    analysis: Question | None,
    multilingual: bool,
    choosing: Choosing,
    alone: bool,
) -> ExtractedPart:
    scored = score(part, candidates, vectors=cosines, weights=choosing.sentences)
    ranked = sorted(scored, key=lambda each: -each.score)
    if part.kinds.date:
        ranked = _date_first(ranked)
    ranked = _items_first(ranked)
    one = not alone or part.kinds.number or part.kinds.date
    chosen = _choose(
        ranked, candidates, choosing.margin, most=_MAX_UNITS_OF_ONE if one else MAX_UNITS
    )
    signs = measure_confidence(
        part, ranked, chosen, candidates, analysis=analysis, multilingual=multilingual
    )
    confidence = weigh_confidence(signs, choosing.confidence)
    if not counts(part, chosen, candidates):
        chosen = []
    return ExtractedPart(part.text, ranked, chosen, confidence, signs)


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


def _items_first(ranked: list[Scored]) -> list[Scored]:
    """Return *ranked* with an item before its list, where it holds as much of the question."""
    first = ranked[0]
    if first.unit.kind != "list":
        return ranked
    item = next(
        (
            each
            for each in ranked[1:]
            if each.unit.kind in ("item", "sentence")
            and each.unit.number == first.unit.number
            and first.unit.head_end <= each.unit.start
            and each.unit.end <= first.unit.end
            and each.features["words"] >= first.features["words"]
            and each.score >= first.score - _ITEM_MARGIN
        ),
        None,
    )
    if item is None:
        return ranked
    return [item, *(each for each in ranked if each is not item and each is not first)]


def _choose(
    ranked: Sequence[Scored], candidates: Candidates, margin: float, *, most: int
) -> list[Unit]:
    """Return the best unit, and others that are nearly as good and say something else."""
    chosen: list[Unit] = []
    said: list[set[str]] = []
    for each in ranked:
        if len(chosen) == most or each.score < ranked[0].score - margin:
            break
        unit = each.unit
        passage = candidates.passages[unit.number - 1]
        words = set(terms(passage.text[unit.start : unit.end]))
        if any(len(words & other) >= _SAME_WORDS * min(len(words), len(other)) for other in said):
            continue
        chosen.append(unit)
        said.append(words)
    return chosen
