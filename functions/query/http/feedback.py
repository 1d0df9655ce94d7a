"""Ratings of answers: anyone who has an answer's id may say whether it was helpful."""

from __future__ import annotations

import time
from http import HTTPStatus

from flask import Response
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from shared.runtime.logs import get_logger
from shared.store import connect, read_link_secret, record_feedback

from ..dependencies import Dependencies
from .answer_ids import LIFETIME_DAYS, read_answer_id
from .openapi import SECURITY, responses
from .problems import ProblemRaised
from .replies import reply
from .schemas import FeedbackRequest, FeedbackResponse

_FEEDBACK = Tag(name="feedback", description="What readers say of answers.")

logger = get_logger(__name__)


def add_feedback(app: OpenAPI, dependencies: Dependencies) -> None:
    """Add the route to *app*."""

    @app.post(
        "/feedback",
        tags=[_FEEDBACK],
        summary="Rate an answer",
        operation_id="rate_answer",
        description=(
            f"An answer can be rated for {LIFETIME_DAYS} days, and counts once: the last rating"
            " stands. Ratings change no answer."
        ),
        responses=responses(FeedbackResponse, 403, 404, 503),
        security=SECURITY,
    )
    def feedback(body: FeedbackRequest) -> Response:
        if not dependencies.settings.feedback_enabled:
            raise ProblemRaised(
                HTTPStatus.FORBIDDEN,
                "feedback_disabled",
                "This service takes no ratings; see FEEDBACK_ENABLED.",
            )
        with connect(dependencies.pool) as connection:
            secret = read_link_secret(connection)
            answer = read_answer_id(body.answer_id, secret=secret, now=time.time())
            if answer is None:
                raise ProblemRaised(
                    HTTPStatus.NOT_FOUND,
                    "unknown_answer",
                    f"This service gave no answer with this answer_id within the last"
                    f" {LIFETIME_DAYS} days.",
                )
            replaced = record_feedback(
                connection, answer, rating=body.rating, comment=body.comment or None
            )
        logger.info("answer rated", rating=body.rating, grounded=answer.grounded)
        return reply(FeedbackResponse(rating=body.rating, replaced=replaced))
