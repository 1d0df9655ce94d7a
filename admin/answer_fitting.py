"""
Fitting what the answer without a model is chosen by, on questions with gold answers. Pure.

The trace of an answer tells the features of every part that was looked at. Their weights are those
under which the parts that hold the gold are most probable among all of their question (a
conditional logit, with a penalty on large weights); what was chosen is then weighed once more by a
logistic regression over all questions, with and without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admin.answer_grading import GoldQuestion, count_parts, measure_precision

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_PENALTY = 0.02
_CONFIDENCE_PENALTY = 0.004
_STEPS = 1_500
_RATE = 0.05
# A part answers if at least so much of it lies in the passages that do.
_LYING_SHARE = 0.5
# Of a hundred questions with an answer, at most so many are refused.
_MAX_FALSE_REFUSALS = 0.03
_MARGINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)


@dataclass(frozen=True, slots=True)
class TracedPart:
    """
    What was looked at for a part of one question.

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


def read_trace(question: GoldQuestion, reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the traced parts of *reply* with, for each candidate, whether it is right."""
    extract = (reply.get("trace") or {}).get("extract") or {}
    passages = [passage.get("text") or "" for passage in reply.get("passages") or []]
    traced = []
    for part in extract.get("parts") or []:
        texts = [
            passages[each["number"] - 1][each["start"] : each["end"]]
            for each in part["candidates"]
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
        return inputs.T @ (all_share - good_share) / len(groups) + _PENALTY * weights

    weights: Vector = _descend(gradient, np.zeros(inputs.shape[1])) / scale
    return weights


def fit_confidence(
    traces: Traces, chosen: Sequence[int], *, right: Mapping[int, bool]
) -> Vector:
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
        return inputs.T @ (worth * (predicted - wanted)) + _CONFIDENCE_PENALTY * weights

    weights: Vector = _descend(gradient, np.zeros(inputs.shape[1])) / scale
    return weights


def _descend(gradient: Callable[[Vector], Vector], start: Vector) -> Vector:
    """Return where Adam (Kingma and Ba, 2015) comes to from *start*."""
    weights, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, _STEPS + 1):
        slope = gradient(weights)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        rate = _RATE * min(1.0, 3 * (1 - step / _STEPS))
        weights -= (
            rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        )
    return weights
