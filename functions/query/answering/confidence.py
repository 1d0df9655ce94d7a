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

from .question_kind import ASKING_WORDS, holds_number
from .scoring import Candidates, Part, Scored, describe, terms
from .units import Unit


@dataclass(frozen=True, slots=True)
class ConfidenceWeights:
    """
    The weight of each sign, and a constant *bias*.

    Attributes:
        lead: Of how much more the best part scores than the next.
        meaning: Of being near without a common word.
        passage_words: Of the share of the question's words that the passage holds.
        unsaid: Of the rarest of them that neither the answer holds nor what it stands under.
        no_number: Of lacking the number that is asked for.
    """

    bias: float = 1.24
    lead: float = 1.95
    meaning: float = 2.59
    passage_words: float = 1.56
    unsaid: float = -1.7
    no_number: float = -2.49
    reader: float = 0.0


# Of what the reader has read.
READ = ConfidenceWeights(
    # Half more than the fit gives: docs/answers.md has what it changes.
    bias=1.78,
    lead=0.05,
    meaning=7.43,
    passage_words=1.66,
    unsaid=-2.49,
    no_number=-1.81,
    reader=0.53,
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
    passages, language = candidates.passages, candidates.language
    passage = passages[best.unit.number - 1]
    above = " ".join((passage.name, passage.heading, passage.header))
    whole = set(terms(f"{above} {passage.text}", language))
    total = sum(part.worth.values()) or 1.0
    texts = [describe(unit, passages[unit.number - 1]) for unit in chosen]
    shown = [each for each in ranked if each.unit in chosen]
    said = set(terms(" ".join((above, *texts)), language))
    for unit in chosen:
        if unit in candidates.units:
            said |= candidates.contexts[candidates.units.index(unit)]
    similarity = candidates.scale(passage.similarity)
    compared = [each.features["cosine"] for each in shown if each.features["cosine"]]
    cosine = max(compared, default=similarity)
    foreign = best.unit.number in candidates.foreign
    context_words = 0.0 if foreign else max(each.features["context_words"] for each in shown)
    has_number = any(holds_number(text, beside=part.text) for text in texts)
    return {
        "bias": 1.0,
        "lead": (best.score - ranked[1].score) / 10.0 if len(ranked) > 1 else 1.0,
        "meaning": cosine * (1.0 - context_words) if multilingual or part.language == "en" else 0.0,
        "passage_words": sum(part.worth[word] for word in part.worth if word in whole) / total,
        "unsaid": 0.0 if foreign else _unsaid(part, said, analysis),
        "no_number": float(part.kinds.number and not has_number),
        # 0 where nothing was read.
        "reader": max(each.features["reader"] for each in shown),
    }


def weigh_confidence(signs: Mapping[str, float], weights: ConfidenceWeights) -> float:
    """Return the confidence that *signs* amount to, 0 to 1."""
    total = sum(getattr(weights, name) * value for name, value in signs.items())
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, total))))


def _unsaid(part: Part, said: set[str], analysis: Question | None) -> float:
    """Return the weight of the weightiest word that is not *said*, 1 if no document holds it."""
    if asks_for_unknown(part, analysis):
        return 1.0
    own = {word: weight for word, weight in part.worth.items() if word in part.asked}
    most = max(own.values(), default=0.0) or 1.0
    return max((weight for word, weight in own.items() if word not in said), default=0.0) / most


def asks_for_unknown(part: Part, analysis: Question | None) -> bool:
    """Return whether no document holds a word of *part* that says what it asks about."""
    asked = {word[:4] for word in part.asked}
    return analysis is not None and any(
        # What is not a stop word of the index asks all the same: combien, cuánto.
        any(term.lexeme[:4] in asked and term.lexeme not in ASKING_WORDS for term in word)
        for word in analysis.words
        if not any(term.document_frequency for term in word)
    )
