"""Questions that KEEP_QUESTIONS keeps, to see what the documents do not answer."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from shared.errors import DatabaseUnavailable
from shared.runtime.logs import get_logger
from shared.store import Outcome, Pool, connect, keep_question

_PUNCTUATION = "?!.,:;'\"()[]…¿¡«»“”„‘’‚。？！、，"
# Columns of the table are bounded; a question that was made to stand alone may be longer.
_MAX_CHARACTERS = 5_000

logger = get_logger(__name__)


class QuestionKeeper:
    """Keeps the text and the outcome of questions for some days."""

    def __init__(self, pool: Pool, *, which: Literal["unanswered", "all"], days: int) -> None:
        self._pool = pool
        self._which = which
        self._days = days

    def keep(self, answer_id: UUID, *, question: str, outcome: Outcome) -> None:
        """Keep *question* if it is one of those to keep; a failure is logged, not raised."""
        if self._which == "unanswered" and outcome == "answered":
            return
        text = question[:_MAX_CHARACTERS]
        try:
            with connect(self._pool) as connection:
                keep_question(
                    connection,
                    answer_id,
                    question=text,
                    folded=fold(text),
                    outcome=outcome,
                    days=self._days,
                )
        except DatabaseUnavailable as error:
            # The answer is there; it is not taken back for the sake of a record.
            logger.warning("question not kept", error=str(error))


def fold(question: str) -> str:
    """Return *question* without case, and without punctuation around its words."""
    words = (word.strip(_PUNCTUATION) for word in question.casefold().split())
    return " ".join(word for word in words if word)
