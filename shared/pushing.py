"""What functions-framework leaves out where Pub/Sub pushes to a CloudEvent function."""

from __future__ import annotations

import flask


def accept_pushes_without_data() -> None:
    """
    Let messages that have attributes alone reach the function that is being loaded.

    functions-framework knows a push by its member "data", and Pub/Sub leaves that out where a
    message has none: it would answer 400, and the message would come again for days, as a dead
    letter for ever. Call it while main.py is imported; elsewhere, as in a test, it does nothing.
    """
    if flask.has_app_context():
        flask.current_app.before_request(_complete)


def _complete() -> None:
    # The parsed body is kept with the request: the framework reads this very object.
    body = flask.request.get_json(silent=True)
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(message, dict):
        message.setdefault("data", "")
