"""
Fits the weights that choose extractive answers to questions with gold answers. Pure.

The trace of an answer tells the features of every part that was looked at. Their weights are those
under which the parts that hold the gold are most probable among all of their question (a
conditional logit, with a penalty on large weights); what was chosen is then weighed once more by a
logistic regression over all questions, with and without an answer: one for what the reader has
read, one for all else.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admin.answer_grading import GoldQuestion, count_parts, measure_precision

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_PENALTY = 0.02
_CONFIDENCE_PENALTY = 0.02
_STEPS = 1_500
_RATE = 0.05
# A part answers if at least so much of it lies in the passages that do.
_LYING_SHARE = 0.5
# Of a hundred questions with an answer, at most so many are refused.
_MAX_FALSE_REFUSALS = 0.005
_FOLDS = 5
_MAX_SHOWN = 4
_LEAST_SHARE = 0.5
_COST_A_SENTENCE = 0.05
# What a part looks like may count for or against it; all else counts for it or not at all, so that
# features which say nearly the same are not played off against each other.
_READER = "reader"
_EITHER = frozenset(["row", "code", "length", "short", "reason", "novelty", "bias"])
_AGAINST = frozenset(["unsaid", "no_number"])
_MARGINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)


@dataclass(frozen=True, slots=True)
class TracedPart:
    """
    The candidates for one part of a question.

    Attributes:
        features: A row a candidate.
        right: Whether each candidate holds the gold, or a part of it.
        signs: What the confidence is weighed from.
        answerable: Something answers the question.
    """

    question: str
    features: Matrix
    right: NDArray[np.bool_]
    signs: Vector
    answerable: bool


@dataclass(frozen=True, slots=True)
class Traces:
    """All questions of the sets, with the names of features and signs."""

    features: Sequence[str]
    signs: Sequence[str]
    parts: Sequence[TracedPart]


@dataclass(frozen=True, slots=True)
class FittedChoosing:
    """
    The fitted weights, and how they do on questions that they were not fitted to.

    Attributes:
        confidence, read: Of what the reader has not read, and of what it has.
        first_right: Share of the parts whose best candidate is right, where one is.
        refused_unanswerable, refused_answerable: Shares; the latter of those answered correctly.
    """

    sentences: Mapping[str, float]
    confidence: Mapping[str, float]
    read: Mapping[str, float]
    margin: float
    least: float
    first_right: float
    refused_unanswerable: float
    refused_answerable: float

    def as_json(self) -> dict[str, Any]:
        """Return what the query function reads from answering.json."""
        return {
            "sentences": {name: round(value, 4) for name, value in self.sentences.items()},
            "confidence": {name: round(value, 4) for name, value in self.confidence.items()},
            "read": {name: round(value, 4) for name, value in self.read.items()},
            "margin": self.margin,
            "least": round(self.least, 4),
        }


def read_trace(question: GoldQuestion, reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the traced parts of *reply* with, for each candidate, whether it is right."""
    extract = (reply.get("trace") or {}).get("extract") or {}
    passages = [passage.get("text") or "" for passage in reply.get("passages") or []]
    traced = []
    for part in extract.get("parts") or []:
        texts = [
            passages[each["number"] - 1][each["start"] : each["end"]] for each in part["candidates"]
        ]
        traced.append(part | {"right": _label(question, texts)})
    return traced


def _label(question: GoldQuestion, texts: Sequence[str]) -> list[bool]:
    if question.gold is None:
        return [False] * len(texts)
    held = [count_parts(text, question.gold) > 0 for text in texts]
    lying = [measure_precision(text, question.passages) >= _LYING_SHARE for text in texts]
    both = [a and b for a, b in zip(held, lying, strict=True)]
    if any(both) or not question.passages:
        return both if any(both) else held
    return lying


def gather_traces(traced: Sequence[tuple[GoldQuestion, Sequence[Mapping[str, Any]]]]) -> Traces:
    """Return the parts of all questions as matrices."""
    first = next(part for _, parts in traced for part in parts if part["candidates"])
    features = list(first["candidates"][0]["features"])
    signs = list(first["signs"])
    parts = [
        TracedPart(
            question=question.id,
            features=np.array(
                [[each["features"][name] for name in features] for each in part["candidates"]]
            ),
            right=np.array(part["right"], dtype=bool),
            signs=np.array([part["signs"][name] for name in signs]),
            answerable=question.gold is not None,
        )
        for question, question_parts in traced
        for part in question_parts
        if part["candidates"]
    ]
    return Traces(features, signs, parts)


def fit(traces: Traces) -> FittedChoosing:
    """Return what all of *traces* give, judged by fitting to four fifths and asking the fifth."""
    places = list(range(len(traces.parts)))
    folds = [_fold_of(traces.parts[at].question) for at in places]
    first: list[bool] = []
    refused: list[tuple[bool, bool]] = []
    for fold in range(_FOLDS):
        known = [at for at in places if folds[at] != fold]
        held_out = [at for at in places if folds[at] == fold]
        if not held_out or not any(traces.parts[at].right.any() for at in known):
            continue
        sentences, gate = _fit_both(traces, known)
        right = _first_right(traces, held_out, sentences)
        first += [right[at] for at in held_out if traces.parts[at].right.any()]
        refused += [
            (traces.parts[at].answerable, gate.weigh(traces, at) < 0)
            for at in held_out
            if right[at] or not traces.parts[at].answerable
        ]
    sentences, gate = _fit_both(traces, places)
    return FittedChoosing(
        sentences=dict(zip(traces.features, map(float, sentences), strict=True)),
        confidence=dict(zip(traces.signs, map(float, gate.unread), strict=True)),
        read=dict(zip(traces.signs, map(float, gate.read), strict=True)),
        margin=_fit_margin(traces, places, sentences),
        least=0.5,
        first_right=_share(first),
        refused_unanswerable=_share([gone for answerable, gone in refused if not answerable]),
        refused_answerable=_share([gone for answerable, gone in refused if answerable]),
    )


@dataclass(frozen=True, slots=True)
class _Gate:
    """Weights of the signs: below a sum of 0 a question is refused."""

    unread: Vector
    read: Vector

    def weigh(self, traces: Traces, at: int) -> float:
        """Return the sum of the weighed signs of the part at place *at*."""
        weights = self.read if _was_read(traces, at) else self.unread
        return float(traces.parts[at].signs @ weights)


def _was_read(traces: Traces, at: int) -> bool:
    return _READER in traces.signs and bool(traces.parts[at].signs[traces.signs.index(_READER)])


def _fit_both(traces: Traces, chosen: Sequence[int]) -> tuple[Vector, _Gate]:
    """Return the weights of the features, and those of the signs."""
    sentences = fit_sentences(traces, chosen)
    right = _first_right(traces, chosen, sentences)
    unread = _fit_gate(_without_reader(traces), chosen, right=right)
    was_read = [at for at in chosen if _was_read(traces, at)]
    enough = {traces.parts[at].answerable for at in was_read} == {True, False}
    read = _fit_gate(traces, was_read, right=right) if enough else unread
    return sentences, _Gate(unread, read)


def _without_reader(traces: Traces) -> Traces:
    """Return *traces* as they are where nothing is read, as far as the signs tell."""
    if _READER not in traces.signs:
        return traces
    kept = np.array([name != _READER for name in traces.signs], dtype=float)
    return replace(traces, parts=[replace(part, signs=part.signs * kept) for part in traces.parts])


def _fit_gate(traces: Traces, chosen: Sequence[int], *, right: Mapping[int, bool]) -> Vector:
    """Return the weights of the signs, so that few of what is right sums up to less than 0."""
    weights = fit_confidence(traces, chosen, right=right)
    sums = [
        float(traces.parts[at].signs @ weights)
        for at in chosen
        if traces.parts[at].answerable and right[at]
    ]
    weights[list(traces.signs).index("bias")] -= (
        float(np.quantile(sums, _MAX_FALSE_REFUSALS)) if sums else 0.0
    )
    return weights


def _first_right(traces: Traces, chosen: Sequence[int], weights: Vector) -> dict[int, bool]:
    best = {at: int(np.argmax(traces.parts[at].features @ weights)) for at in chosen}
    return {at: bool(traces.parts[at].right[place]) for at, place in best.items()}


def _fit_margin(traces: Traces, chosen: Sequence[int], weights: Vector) -> float:
    """Return the margin under which most questions are answered correctly, and with little else."""

    def count(margin: float) -> float:
        good = 0.0
        for at in chosen:
            part = traces.parts[at]
            scores = part.features @ weights
            shown = np.argsort(-scores)[:_MAX_SHOWN]
            shown = shown[scores[shown] >= scores.max() - margin]
            share = float(part.right[shown].mean())
            # What is shown besides costs the reader a little.
            good += share > 0 and share >= _LEAST_SHARE
            good -= _COST_A_SENTENCE * (len(shown) - 1)
        return good

    return max(_MARGINS, key=count)


def _fold_of(question: str) -> int:
    return zlib.crc32(question.encode()) % _FOLDS


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def fit_sentences(traces: Traces, chosen: Sequence[int]) -> Vector:
    """Return a weight for each feature, from the parts at the places *chosen*."""
    groups = [
        traces.parts[at]
        for at in chosen
        if traces.parts[at].right.any() and not traces.parts[at].right.all()
    ]
    stacked = np.concatenate([group.features for group in groups])
    scale = np.maximum(stacked.std(axis=0), 1e-3)
    starts = np.cumsum([0, *(len(group.features) for group in groups[:-1])])
    right = np.concatenate([group.right for group in groups])
    inputs = stacked / scale
    lengths = np.array([len(group.features) for group in groups])

    def gradient(weights: Vector) -> Vector:
        scores = inputs @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), lengths)
        odds = np.exp(scores)
        all_share = odds / np.repeat(np.add.reduceat(odds, starts), lengths)
        good = np.where(right, odds, 0.0)
        good_share = good / np.repeat(np.add.reduceat(good, starts), lengths)
        slope: Vector = inputs.T @ (all_share - good_share) / len(groups) + _PENALTY * weights
        return slope

    weights: Vector = _descend(gradient, *_bounds(traces.features)) / scale
    return weights


def fit_confidence(traces: Traces, chosen: Sequence[int], *, right: Mapping[int, bool]) -> Vector:
    """
    Return a weight for each sign, from the parts at the places *chosen*.

    Questions that nothing answers count as much together as all others.

    Args:
        right: By place, whether what was found best is right.
    """
    signs = np.array([traces.parts[at].signs for at in chosen])
    wanted = np.array([1.0 if traces.parts[at].answerable else 0.0 for at in chosen])
    # An answerable question that was answered wrongly says little of either.
    worth = np.array(
        [1.0 if not traces.parts[at].answerable or right[at] else 0.3 for at in chosen]
    )
    for value in (0.0, 1.0):
        worth[wanted == value] /= max(worth[wanted == value].sum(), 1e-9)
    scale = np.maximum(signs.std(axis=0), 1e-3)
    scale[signs.std(axis=0) == 0] = 1.0
    inputs = signs / scale

    def gradient(weights: Vector) -> Vector:
        predicted = 1.0 / (1.0 + np.exp(-np.clip(inputs @ weights, -50, 50)))
        slope: Vector = inputs.T @ (worth * (predicted - wanted)) + _CONFIDENCE_PENALTY * weights
        return slope

    weights: Vector = _descend(gradient, *_bounds(traces.signs)) / scale
    return weights


def _bounds(names: Sequence[str]) -> tuple[Vector, Vector]:
    low = np.array([-np.inf if name in _EITHER | _AGAINST else 0.0 for name in names])
    high = np.array([0.0 if name in _AGAINST else np.inf for name in names])
    return low, high


def _descend(gradient: Callable[[Vector], Vector], low: Vector, high: Vector) -> Vector:
    """Return where Adam (Kingma and Ba, 2015) comes to from 0, between *low* and *high*."""
    weights, first, second = np.zeros_like(low), np.zeros_like(low), np.zeros_like(low)
    for step in range(1, _STEPS + 1):
        slope = gradient(weights)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        rate = _RATE * min(1.0, 3 * (1 - step / _STEPS))
        weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        weights = np.clip(weights, low, high)
    return weights
