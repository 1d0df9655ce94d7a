"""What readers say of answers, and the questions that are kept where a setting says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

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


@dataclass(frozen=True, slots=True)
class QuestionGroup:
    """
    Questions that differ in case and punctuation alone.

    Attributes:
        question: As it was asked last.
        documents: Names of documents that answers cite which readers rated up.
    """

    question: str
    count: int
    last_asked: datetime
    answered: int
    refused: int
    ungrounded: int
    up: int
    down: int
    documents: list[str]


def list_questions(
    connection: Connection, *, unanswered: bool, days: int, limit: int
) -> list[QuestionGroup]:
    """Return the kept questions of the last *days*, the most frequent first."""
    with connection.cursor(row_factory=class_row(QuestionGroup)) as cursor:
        return cursor.execute(
            """
            WITH recent AS (
                SELECT kept_questions.*, rating, documents
                FROM kept_questions
                LEFT JOIN feedback USING (answer_id)
                WHERE asked > now() - make_interval(days => %(days)s)
                    AND expires > now()
                    AND (outcome <> 'answered' OR NOT %(unanswered)s)
            ),
            grouped AS (
                SELECT folded,
                       (array_agg(question ORDER BY asked DESC))[1] AS question,
                       count(*) AS count,
                       max(asked) AS last_asked,
                       count(*) FILTER (WHERE outcome = 'answered') AS answered,
                       count(*) FILTER (WHERE outcome = 'refused') AS refused,
                       count(*) FILTER (WHERE outcome = 'ungrounded') AS ungrounded,
                       count(*) FILTER (WHERE rating = 'up') AS up,
                       count(*) FILTER (WHERE rating = 'down') AS down
                FROM recent
                GROUP BY folded
                ORDER BY count(*) DESC, max(asked) DESC
                LIMIT %(limit)s
            )
            SELECT question, count, last_asked, answered, refused, ungrounded, up, down,
                   ARRAY(
                       SELECT DISTINCT name
                       FROM recent
                       CROSS JOIN unnest(recent.documents) AS cited (id)
                       JOIN documents ON documents.id = cited.id
                       WHERE recent.folded = grouped.folded
                           AND recent.rating = 'up'
                           AND documents.active_build IS NOT NULL
                       ORDER BY name
                   ) AS documents
            FROM grouped
            ORDER BY count DESC, last_asked DESC
            """,
            {"days": days, "unanswered": unanswered, "limit": limit},
        ).fetchall()


@dataclass(frozen=True, slots=True)
class GivenRating:
    """
    What a reader said of an answer.

    Attributes:
        question: Empty if it is not kept.
        documents: Names of those that the answer cites and that are still there.
    """

    rated: datetime
    rating: Rating
    comment: str
    model: str
    grounded: bool
    question: str
    documents: list[str]


def list_ratings(connection: Connection, *, days: int, limit: int) -> list[GivenRating]:
    """Return the ratings of the last *days*, the newest first."""
    with connection.cursor(row_factory=class_row(GivenRating)) as cursor:
        return cursor.execute(
            """
            SELECT rated, rating, coalesce(comment, '') AS comment, model, grounded,
                   coalesce(kept_questions.question, '') AS question,
                   ARRAY(
                       SELECT name
                       FROM unnest(feedback.documents) WITH ORDINALITY AS cited (id, number)
                       JOIN documents ON documents.id = cited.id
                       WHERE documents.active_build IS NOT NULL
                       ORDER BY number
                   ) AS documents
            FROM feedback
            LEFT JOIN kept_questions
                ON kept_questions.answer_id = feedback.answer_id AND expires > now()
            WHERE rated > now() - make_interval(days => %(days)s)
            ORDER BY rated DESC
            LIMIT %(limit)s
            """,
            {"days": days, "limit": limit},
        ).fetchall()
