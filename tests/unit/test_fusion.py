"""Weighing meaning, words and likeness, and fitting the weights to questions with answers."""

from __future__ import annotations

import numpy as np
import pytest

from admin.evaluation import Question, Span
from admin.fusion_fitting import JudgedQuestion, fit
from shared.errors import Misconfigured
from shared.search.fusion import ENGLISH, MULTILINGUAL, Fusion, Weights, combine, default_fusion


def judged(
    number: int, *, vector: list[float], text: list[float], known: bool = True
) -> JudgedQuestion:
    """Return a question that the first of its candidates answers."""
    count = len(vector)
    return JudgedQuestion(
        question=Question(id=str(number), text="?", language="", gains={"0": 1.0}),
        known=known,
        places=[Span(str(place), 0, 1) for place in range(count)],
        chunks=[(place, 0) for place in range(count)],
        vector=np.array(vector),
        text=np.array(text),
        exact=np.zeros(count),
        foreign=np.zeros(count),
        likeness=np.eye(count),
    )


def test_weights_when_the_language_is_known() -> None:
    """English for a model of its size, all for a multilingual one; all else is foreign."""
    assert default_fusion(multilingual=False) is ENGLISH
    assert default_fusion(multilingual=True) is MULTILINGUAL
    english = ENGLISH.weights_for(["en"], multilingual=False)
    foreign = ENGLISH.weights_for(["de"], multilingual=False)
    assert (english.vector, foreign.vector) == (ENGLISH.vector, ENGLISH.vector_foreign)
    assert ENGLISH.weights_for(["de"], multilingual=True).vector == ENGLISH.vector


def test_fusion_when_stored() -> None:
    """What is stored is read again; what is no longer whole is refused, and says what to do."""
    assert Fusion.read(ENGLISH.store()) == ENGLISH
    with pytest.raises(Misconfigured, match="model fit"):
        Fusion.read(ENGLISH.store() | {"vector": "much"})


def test_combine_when_a_candidate_is_like_the_best() -> None:
    """Likeness is counted to the one that is best without it, which keeps its place."""
    likeness = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    scores = combine(
        Weights(vector=0.5, feedback=0.5, other_language=0.1),
        vector=np.array([1.0, 0.5, 0.4]),
        text=np.array([1.0, 0.5, 0.4]),
        exact=np.zeros(3),
        foreign=np.array([0.0, 1.0, 0.0]),
        likeness=likeness,
    )
    assert scores == pytest.approx([1.5, 0.45, 0.85])
    empty = np.zeros(0)
    nothing = Weights(0.5, 0.5, 0.0)
    assert not len(
        combine(nothing, vector=empty, text=empty, exact=empty, foreign=empty, likeness=np.eye(0))
    )


def test_fit_when_one_leg_is_right() -> None:
    """Where the words alone find the answers, they get the weight, on questions left out too."""
    questions = [judged(n, vector=[0.2, 1.0, 0.9], text=[1.0, 0.6, 0.5]) for n in range(40)]
    fitted = fit({"a": questions[:20], "b": questions[20:]}, before=ENGLISH, multilingual=False)
    assert fitted.wins
    assert fitted.fusion.vector < 0.4
    assert fitted.fusion.vector_foreign == ENGLISH.vector_foreign
    assert [each.vector for each in fitted.sets] == pytest.approx([0.5, 0.5])
    assert [each.held_out for each in fitted.sets] == [1.0, 1.0]


def test_fit_when_sets_contradict_each_other() -> None:
    """What one set gains another loses: the weights of before stay."""
    words = [judged(n, vector=[0.2, 1.0], text=[1.0, 0.7]) for n in range(20)]
    meaning = [judged(n, vector=[1.0, 0.7], text=[0.2, 1.0]) for n in range(20)]
    fitted = fit({"a": words, "b": meaning}, before=ENGLISH, multilingual=False)
    assert not fitted.wins
    assert fitted.fusion == ENGLISH


def test_fit_when_there_is_one_set() -> None:
    """It is fitted to one half and scored on the other."""
    questions = [judged(n, vector=[0.2, 1.0], text=[1.0, 0.6]) for n in range(10)]
    fitted = fit({"mine": questions}, before=ENGLISH, multilingual=False)
    assert [each.name for each in fitted.sets] == ["mine, first half", "mine, second half"]
    assert fitted.wins
