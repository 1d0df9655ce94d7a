"""Adds to CloudEvent functions what functions-framework lacks: push authentication and probes."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import flask

from shared.errors import KaydangError, KeysUnavailable, TokenRefused
from shared.runtime.logs import get_logger
from shared.settings import GOOGLE_CERTS_URL, GOOGLE_ISSUERS, PushSettings

PROBE_PATH = "/readyz"

_log = get_logger(__name__)


def admit_pushes(settings: PushSettings) -> None:
    """
    Admit only pushes of the push service account to the function that is being loaded.

    It runs before the body is read, and only where PUSH_AUDIENCE is set. A refused push is not
    acknowledged. Call it while main.py is imported; elsewhere, as in a test, it does nothing.
    """
    if not (settings.push_audience and flask.has_app_context()):
        return
    # Imported only where tokens are checked here.
    from shared.runtime.identity import PushGuard, SigningKeys, TokenVerifier

    guard = PushGuard(
        TokenVerifier(
            SigningKeys(GOOGLE_CERTS_URL),
            audiences=settings.push_audience,
            issuers=GOOGLE_ISSUERS,
            signature_removed=settings.tokens_checked_by_cloud_run,
        ),
        service_account=settings.push_service_account,
    )

    @flask.current_app.before_request
    def check() -> flask.Response | None:
        try:
            guard.check(flask.request.headers.get("Authorization", ""))
        except TokenRefused as error:
            _log.warning("push refused", reason=str(error))
            if error.forbidden:
                return _answer(HTTPStatus.FORBIDDEN, "This account may not push here.")
            return _answer(HTTPStatus.UNAUTHORIZED, "Send the push service account's token.")
        except KeysUnavailable:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "Tokens cannot be checked now.")
        return None


def _answer(status: HTTPStatus, text: str) -> flask.Response:
    response = flask.Response(text + "\n", status=status, content_type="text/plain")
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "10"
    return response


def answer_probes(check: Callable[[], None]) -> None:
    """
    Answer GET /readyz of the function that is being loaded: 200 where *check* passes, else 503.

    functions-framework answers every GET of a CloudEvent function with 405. Cloud Run gives a new
    instance no network for up to 80 s; a startup probe that needs the database keeps messages away
    until it has one (https://docs.cloud.google.com/run/docs/configuring/vpc-direct-vpc). Call it
    before admit_pushes, as a probe carries no token; outside an application it does nothing.
    """
    if not flask.has_app_context():
        return

    @flask.current_app.before_request
    def answer() -> flask.Response | None:
        if (flask.request.method, flask.request.path) != ("GET", PROBE_PATH):
            return None
        try:
            check()
        except KaydangError as error:
            _log.warning("not ready", error=f"{type(error).__name__}: {error}")
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready; the log says why.")
        return _answer(HTTPStatus.OK, "ready")


def accept_pushes_without_data() -> None:
    """
    Admit messages without data to the function that is being loaded.

    functions-framework knows a push by its member "data", and Pub/Sub leaves that out where a
    message has none: it would answer 400, and the message would come again for days, as a dead
    letter for ever. Call it while main.py is imported; elsewhere, as in a test, it does nothing.
    """
    if flask.has_app_context():
        flask.current_app.before_request(_complete)


def _complete() -> None:
    # The parsed body is kept with the request: the framework reads this very object.
    try:
        body = flask.request.get_json(silent=True)
    except RecursionError:
        # The framework would answer 500 for what no other try makes readable.
        flask.abort(HTTPStatus.BAD_REQUEST)
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(message, dict):
        message.setdefault("data", "")
