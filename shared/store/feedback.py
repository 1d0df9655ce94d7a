"""What readers say of answers, and the questions that are kept where a setting says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.store.connection import Connection, fetch_one

Outcome = Literal["answered", "refused", "ungrounded"]
Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """
    What is known of an answer without its text.

    Attributes:
        question: A keyed hash of the question.
        documents: Those that the answer cites.
    """

    id: UUID
    answered: datetime
    model: str
    grounded: bool
    question: bytes
    documents: Sequence[UUID]


def record_feedback(
    connection: Connection, answer: GivenAnswer, *, rating: Rating, comment: str | None
) -> bool:
    """Record a rating; return whether it takes the place of an earlier one of the same answer."""
    replaced: bool = fetch_one(
        connection,
        """
        SELECT record_feedback(
            %(id)s, %(rating)s, %(comment)s, %(answered)s, %(model)s, %(grounded)s, %(question)s,
            %(documents)s::uuid[]
        )
        """,
        {
            "id": answer.id,
            "rating": rating,
            "comment": comment,
            "answered": answer.answered,
            "model": answer.model,
            "grounded": answer.grounded,
            "question": answer.question,
            "documents": list(answer.documents),
        },
    )[0]
    return replaced


def keep_question(
    connection: Connection,
    answer_id: UUID,
    *,
    question: str,
    folded: str,
    outcome: Outcome,
    days: int,
) -> None:
    """
    Keep a question's text for so many days.

    Args:
        folded: What is the same for questions that differ in case and punctuation alone.
    """
    connection.execute(
        "SELECT keep_question(%(id)s, %(question)s, %(folded)s, %(outcome)s, %(days)s)",
        {
            "id": answer_id,
            "question": question,
            "folded": folded,
            "outcome": outcome,
            "days": days,
        },
    )
