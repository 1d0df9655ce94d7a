"""
The weights of a score's parts, which belong to the model whose vectors are searched.

docs/retrieval.md, "Fusion", says what each is worth. The statement computes the score; combine()
does the same outside of the database, for fitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Weights:
    """
    The weights of a score's parts for one question.

    Attributes:
        vector: The vectors' share; the words have the rest.
        feedback: For likeness to the passage that is best without it.
        other_language: What a document costs that is not in the question's language; what it gains
            if this is negative.
        least_words: The share of what the question's words may score at most that the best passage
            must reach for the words to have all of their weight.
    """

    vector: float
    feedback: float
    other_language: float
    least_words: float = 0.0


@dataclass(frozen=True, slots=True)
class Fusion:
    """
    The weights of a score's parts with one model.

    Attributes:
        vector, feedback: As in Weights, for questions in a language that the model knows well.
        vector_foreign, feedback_foreign: The same for all other questions.
        other_language: As in Weights.
    """

    vector: float
    vector_foreign: float
    feedback: float
    feedback_foreign: float
    other_language: float

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """
        Return the weights that `model fit` stored.

        Raises:
            Misconfigured: It is not what this release stores.
        """
        names = [field.name for field in fields(cls)]
        try:
            values = {name: float(stored[name]) for name in names}
        except (KeyError, TypeError, ValueError) as error:
            raise Misconfigured(
                "the fusion weights that are stored with the model cannot be read: run"
                " kaydangpt model fit again, or model fit --reset"
            ) from error
        return cls(**values)

    def store(self) -> dict[str, float]:
        """Return what read() reads."""
        return asdict(self)

    def weights_for(self, languages: Sequence[str], *, multilingual: bool) -> Weights:
        """Return the weights for a question that may be in *languages* (ISO 639-1)."""
        known = is_known(languages, multilingual=multilingual)
        return Weights(
            vector=self.vector if known else self.vector_foreign,
            feedback=self.feedback if known else self.feedback_foreign,
            other_language=self.other_language,
            least_words=_LEAST_WORDS if multilingual else 0.0,
        )


# Of the lead that the better of the passages before and behind it has: what is asked for goes on
# beyond the end of a chunk. A document's best passage gains nothing, so that documents keep their
# order.
NEIGHBOUR_SHARE = 0.2
# Of models that know English best, as those of this size do ...
ENGLISH = Fusion(
    vector=0.6,
    vector_foreign=0.5,
    feedback=0.5,
    feedback_foreign=0.15,
    # A translation holds the same names and numbers: the one in the question's language is meant.
    other_language=0.08,
)
# ... and of those to which a translation is near: they know all languages alike.
MULTILINGUAL = Fusion(
    vector=0.6,
    vector_foreign=0.6,
    feedback=0.2,
    feedback_foreign=0.2,
    # A gain: passages of the question's language stay nearer than what answers in another one.
    other_language=-0.03,
)
# Where the answer is in another language, a passage that shares one word with the question by
# chance is the best of the text leg, and must not count as if it held them all.
_LEAST_WORDS = 0.5


def default_fusion(*, multilingual: bool) -> Fusion:
    """Return the weights of a model without fitted weights."""
    return MULTILINGUAL if multilingual else ENGLISH


def is_known(languages: Sequence[str], *, multilingual: bool) -> bool:
    """Return whether the model knows well one of the *languages* that a question may be in."""
    return multilingual or "en" in languages


def combine(
    weights: Weights,
    *,
    vector: NDArray[np.float64],
    text: NDArray[np.float64],
    exact: NDArray[np.float64],
    foreign: NDArray[np.float64],
    likeness: NDArray[np.float64],
) -> NDArray[np.float64]:
    """
    Return the fused score of each candidate of a question.

    Args:
        vector, text, exact: Each candidate's parts before they are weighed, 1 for the best.
        foreign: 1 if its document is in another language than the question, else 0.
        likeness: Of each two candidates, 1 for equal ones and 0 for unrelated ones.
    """
    score = (
        weights.vector * vector
        + (1 - weights.vector) * text
        + exact
        - weights.other_language * foreign
    )
    if not len(score):
        return score
    combined: NDArray[np.float64] = score + weights.feedback * likeness[int(np.argmax(score))]
    return combined


def lift_neighbours(
    scores: NDArray[np.float64], places: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """
    Return *scores* with what each candidate gains beside a better one.

    Args:
        places: Build and ordinal of each candidate.
    """
    known = dict(zip(places, scores.tolist(), strict=True))
    best = np.array(
        [
            max(known.get((build, ordinal + step), known[build, ordinal]) for step in (-1, 0, 1))
            for build, ordinal in places
        ]
    ).reshape(len(scores))
    lifted: NDArray[np.float64] = scores + NEIGHBOUR_SHARE * (best - scores)
    return lifted
