"""
Weighs the signs that the best unit answers the question. Pure.

No single figure tells: a sentence near to the question may be about its neighbour. So the best
part is looked at from several sides: how much of the question it and its passage hold, whether the
rarest word of the question is among that, how near it is, and whether it holds the kind of thing
that is asked for. The weights are fitted on questions with and without answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from shared.search.query_terms import Question

from .question_kind import ASKING_WORDS, holds_duration, holds_money, holds_number, holds_price
from .scoring import Candidates, Part, Scored, describe, terms
from .units import Unit


@dataclass(frozen=True, slots=True)
class ConfidenceWeights:
    """The weight of each sign, and a constant *bias*."""

    bias: float = -1.0
    score: float = 0.0
    lead: float = 2.71
    cosine: float = 0.0
    meaning: float = 4.97
    words: float = 1.43
    context_words: float = 0.0
    focus: float = 0.0
    passage_words: float = 0.08
    missing: float = -1.92
    unsaid: float = 0.0
    unknown: float = -4.18
    similarity: float = 1.98
    coverage: float = 0.49
    no_number: float = -1.48
    no_measure: float = 0.0
    no_name: float = 0.0
    no_date: float = 0.0
    reader: float = 0.0


# Of what the reader has read.
READ = ConfidenceWeights(
    bias=-1.3,
    score=0.0,
    lead=3.28,
    cosine=0.0,
    meaning=8.79,
    words=0.0,
    context_words=0.0,
    focus=0.0,
    passage_words=0.46,
    missing=-2.66,
    unsaid=0.0,
    unknown=0.0,
    similarity=3.44,
    coverage=0.0,
    no_number=0.0,
    no_measure=0.0,
    no_name=0.0,
    no_date=-1.61,
    reader=0.37,
)


SIGNS = tuple(each.name for each in fields(ConfidenceWeights))


def measure_confidence(
    part: Part,
    ranked: Sequence[Scored],
    chosen: Sequence[Unit],
    candidates: Candidates,
    *,
    analysis: Question | None,
    multilingual: bool = False,
) -> dict[str, float]:
    """
    Return the signs that *chosen* answers *part*, each about 0 to 1.

    Args:
        ranked: All that was scored, best first.
        multilingual: Whether the model knows other languages than English: texts in one that it
            does not know are near one another whatever they say.
    """
    best = ranked[0]
    passages = candidates.passages
    passage = passages[best.unit.number - 1]
    language = candidates.language
    whole = set(
        terms(" ".join((passage.name, passage.heading, passage.header, passage.text)), language)
    )
    foreign = best.unit.number in candidates.foreign
    total = sum(part.worth.values()) or 1.0
    own = {word: weight for word, weight in part.worth.items() if word in part.asked}
    missing = [weight for word, weight in own.items() if word not in whole]
    texts = [describe(unit, passages[unit.number - 1]) for unit in chosen]
    new_number = any(holds_number(text, beside=part.text) for text in texts)
    measured = not (part.kinds.duration and not any(map(holds_duration, texts))) and not (
        part.kinds.money and not any(map(holds_money, texts))
    )
    shown = [each for each in ranked if each.unit in chosen]
    said = set(terms(" ".join((passage.name, passage.heading, passage.header)), language))
    for unit in chosen:
        if unit in candidates.units:
            said |= candidates.contexts[candidates.units.index(unit)]
        else:
            said |= set(terms(describe(unit, passages[unit.number - 1]), language))
    most = max(own.values(), default=0.0) or 1.0
    unsaid = [weight for word, weight in own.items() if word not in said]
    strange = _unknown_share(part, analysis) * len(own)
    unsaid += [most] * round(strange)
    similarity = candidates.scale(passage.similarity)
    held = sum(weight for word, weight in part.worth.items() if word in whole) / total
    compared = [each.features["cosine"] for each in shown if each.features["cosine"]]
    cosine = max(compared, default=similarity)
    context_words = 0.0 if foreign else max(each.features["context_words"] for each in shown)
    return {
        "bias": 1.0,
        "score": best.score / 10.0,
        "lead": (best.score - ranked[1].score) / 10.0 if len(ranked) > 1 else 1.0,
        "cosine": cosine,
        # Near without a common word, so meaning brings them together.
        "meaning": cosine * (1.0 - context_words) if multilingual or part.language == "en" else 0.0,
        "words": max(each.features["words"] for each in shown),
        "context_words": context_words,
        "focus": max(each.features["focus"] for each in shown),
        "passage_words": held,
        "missing": 0.0
        if foreign
        else max(missing, default=0.0) / (max(own.values(), default=0.0) or 1.0),
        "unsaid": 0.0 if foreign else max(unsaid, default=0.0) / most,
        "unknown": 0.0 if foreign else _unknown_share(part, analysis),
        "similarity": similarity,
        "coverage": held if passage.coverage is None else passage.coverage,
        "no_number": float(part.kinds.number and not new_number),
        "no_measure": float((part.kinds.duration or part.kinds.money) and not measured),
        "no_name": float(part.kinds.person and not any(each.features["name"] for each in shown)),
        "no_date": float(part.kinds.date and not any(each.features["date"] for each in shown)),
        # 0 where nothing was read.
        "reader": max(each.features["reader"] for each in shown),
    }


def weigh_confidence(signs: Mapping[str, float], weights: ConfidenceWeights) -> float:
    """Return the confidence that *signs* amount to, 0 to 1."""
    total = sum(getattr(weights, name) * value for name, value in signs.items())
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, total))))


def _unknown_share(part: Part, analysis: Question | None) -> float:
    """Return the share of the question's words that occur in no document."""
    if analysis is None or not analysis.words:
        return 0.0
    asked = {word[:4] for word in part.asked}
    own = [
        word for word in analysis.words if any(term.lexeme[:4] in asked for term in word)
    ] or analysis.words
    # What is not a stop word of the index asks all the same: combien, cuánto.
    unknown = sum(
        all(term.document_frequency == 0 and term.lexeme not in ASKING_WORDS for term in word)
        for word in own
    )
    return unknown / len(own)


def counts(part: Part, chosen: Sequence[Unit], candidates: Candidates) -> bool:
    """Return whether *chosen* hold the sum or the number that *part* asks for, if it does."""
    kinds, passages = part.kinds, candidates.passages
    texts = [describe(unit, passages[unit.number - 1]) for unit in chosen]
    prose = all(unit.kind != "row" for unit in chosen)
    if kinds.price and prose and not any(map(holds_price, texts)):
        return False
    if not kinds.quantity:
        return True
    if not any(holds_number(text, beside=part.text) for text in texts):
        return False
    words = [word for word in kinds.counted.casefold().split() if len(word) >= _LEAST_COUNTED]
    counted = {term for word in words for term in terms(word, candidates.language)}
    foreign = any(unit.number in candidates.foreign for unit in chosen)
    if not counted or _MEASURED & set(words) or foreign:
        return True
    around = " ".join(
        f"{passages[unit.number - 1].heading} {passages[unit.number - 1].text}" for unit in chosen
    )
    return bool(counted & set(terms(around, candidates.language)))


# "How much dos it cost": a slip is not what is counted.
_LEAST_COUNTED = 4
# What is asked for by another word than the answer has: "how many people", "how much does it".
_MEASURED = frozenset(
    word
    for words in (
        "people persons person times money time is are does do did can will would of costs cost",
        "the a leute menschen personen mal geld zeit kostet personas veces dinero tiempo cuesta",
        "costó personnes fois temps coûte persone volte tempo costa pessoas vezes custa người lần",
    )
    for word in words.split()
)
