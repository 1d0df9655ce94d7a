"""When passages are refused before an answer is tried."""

from __future__ import annotations

import pytest

from functions.query.answering.answerability import (
    BEFORE_EXTRACT,
    BEFORE_MODEL,
    Floors,
    choose_floors,
    should_refuse,
)
from shared.search.query_terms import Support


@pytest.mark.parametrize(
    ("coverage", "similarity", "refused"),
    [
        (0.0, 0.1, True),
        (0.19, 0.49, True),
        (0.2, 0.1, False),
        (0.0, 0.5, False),
        (None, 0.0, False),
    ],
)
def test_should_refuse_when_floors_are_missed(
    coverage: float | None, similarity: float, refused: bool
) -> None:
    """Only what reaches neither floor is refused; a question without words never is."""
    reason = should_refuse(Support(coverage, similarity), Floors(coverage=0.2, similarity=0.5))
    assert (reason is not None) == refused


def test_choose_floors_when_calibrated() -> None:
    """An operator's floors replace the measured ones, each by itself."""
    assert choose_floors(extractive=True, coverage=0.4) == Floors(
        coverage=0.4, similarity=BEFORE_EXTRACT.similarity
    )
    assert choose_floors(extractive=False) == BEFORE_MODEL
