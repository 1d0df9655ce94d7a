"""
The shared connection to Gemini: deadlines, retries, and the meaning of its failures.

google-genai 3.4 has no timeout and no retries by default and ignores RetryInfo.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import httpx2
import stamina
from google import genai
from google.auth import exceptions as google_auth_errors
from google.genai import errors, types
from pydantic import ValidationError

from shared.errors import GenerationUnavailable
from shared.gemini.requests import MODEL_MISSING
from shared.runtime.logs import get_logger
from shared.settings import GeminiSettings

_log = get_logger("gemini")

# https://ai.google.dev/gemini-api/docs/troubleshooting: what another try may help.
_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_WAIT_INITIAL_SECONDS = 0.5
_WAIT_MAX_SECONDS = 8.0
_WAIT_JITTER_SECONDS = 0.5

# https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/gemini/3-5-flash-lite
DEFAULT_MODEL = "gemini-3.5-flash-lite"
MODELS_PAGE = "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/model-versions"


def open_client(settings: GeminiSettings) -> tuple[genai.Client, httpx2.Client]:
    """Return a client, of the Gemini API with a key and else of Vertex AI, and its connections."""
    http = httpx2.Client(transport=_DeadlineTransport(), follow_redirects=False)
    options = types.HttpOptions(
        base_url=settings.google_gemini_base_url or None,
        timeout=int(settings.gemini_read_timeout_seconds * 1000),
        # The client would send the timeout of one read as the server's for everything.
        headers={"X-Server-Timeout": str(max(1, round(settings.gemini_timeout_seconds)))},
        httpx_client=http,
    )
    api_key = settings.gemini_api_key.get_secret_value()
    client = (
        genai.Client(api_key=api_key, vertexai=False, http_options=options)
        if api_key
        else genai.Client(
            vertexai=True,
            project=settings.google_cloud_project,
            location=settings.google_cloud_location,
            http_options=options,
        )
    )
    return client, http


def tries(*, attempts: int, timeout_seconds: float) -> Iterator[tuple[float, stamina.Attempt]]:
    """Yield the deadline (time.monotonic) and each try, to be entered; Retryable asks for more."""
    deadline = time.monotonic() + timeout_seconds
    for attempt in stamina.retry_context(
        on=lambda error: _backoff(error, deadline=deadline),
        attempts=attempts,
        timeout=timeout_seconds,
        wait_initial=_WAIT_INITIAL_SECONDS,
        wait_max=_WAIT_MAX_SECONDS,
        wait_jitter=_WAIT_JITTER_SECONDS,
    ):
        yield deadline, attempt


def _backoff(error: Exception, *, deadline: float) -> bool | float:
    if not isinstance(error, Retryable):
        return False
    left = deadline - time.monotonic()
    if error.wait_seconds is None:
        return left > _WAIT_INITIAL_SECONDS
    # Waiting past the deadline would be pointless: fail now.
    return error.wait_seconds if error.wait_seconds < left else False


@contextlib.contextmanager
def within(deadline: float) -> Iterator[None]:
    """End every exchange of the block at *deadline* (time.monotonic)."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextlib.contextmanager
def translated_errors(model: str) -> Iterator[None]:
    """
    Translate what the client raises.

    Raises:
        Retryable: Another try may help.
        GenerationUnavailable: No other try will.
    """
    try:
        yield
    except errors.APIError as error:
        raise _translate(error, model=model) from error
    except httpx2.TimeoutException as error:
        failure = GenerationUnavailable("timeout", "Gemini did not answer in time")
        raise Retryable(failure, None) from error
    except httpx2.HTTPError as error:
        failure = GenerationUnavailable("unavailable", f"no connection: {type(error).__name__}")
        raise Retryable(failure, None) from error
    except google_auth_errors.GoogleAuthError as error:
        message = f"no credentials for Vertex AI: {type(error).__name__}"
        raise GenerationUnavailable("rejected", message) from error
    except (json.JSONDecodeError, ValidationError, errors.UnknownApiResponseError) as error:
        failure = GenerationUnavailable("unavailable", "Gemini sent no readable answer")
        raise Retryable(failure, None) from error


def _translate(error: errors.APIError, *, model: str) -> Exception:
    status = error.code or 0
    if status == 404:
        message = describe_missing_model(model)
        _log.error("Gemini has no such model", model=model, reason=message)
        return GenerationUnavailable(MODEL_MISSING, message)
    if status == 429:
        if _names_daily_quota(error.details):
            return GenerationUnavailable(
                "quota_exhausted", "Gemini's quota for today is used up; it returns tomorrow"
            )
        failure = GenerationUnavailable("rate_limited", "Gemini takes no more requests just now")
        return Retryable(failure, _retry_delay_seconds(error.details))
    if status in _RETRIED_STATUS:
        failure = GenerationUnavailable("unavailable", f"Gemini answered with status {status}")
        return Retryable(failure, _retry_delay_seconds(error.details))
    # The message names the project or the setting at fault: for the operator, not for callers.
    reason = " ".join(str(error.message or error.status or "").split())[:300]
    _log.error("Gemini refused the request", status=status, reason=reason)
    return GenerationUnavailable(
        "rejected", f"Gemini refused the request ({status}); the service's log says why"
    )


def describe_missing_model(model: str) -> str:
    """Return the advice for a model that Google has retired or never offered."""
    advice = f"set GEMINI_MODEL={DEFAULT_MODEL}; " if model != DEFAULT_MODEL else ""
    return (
        f"Google no longer offers the model {model} to this project and location:"
        f" {advice}{MODELS_PAGE} lists the models and their last days"
    )


def _error_details(details: Any) -> list[dict[str, Any]]:
    inner = details.get("error", details) if isinstance(details, dict) else {}
    listed = inner.get("details") if isinstance(inner, dict) else None
    return [entry for entry in listed or [] if isinstance(entry, dict)]


def _names_daily_quota(details: Any) -> bool:
    """https://ai.google.dev/gemini-api/docs/rate-limits: the violated quota's id says its span."""
    return any(
        "perday" in json.dumps(entry.get("violations", [])).lower()
        for entry in _error_details(details)
        if str(entry.get("@type", "")).endswith("google.rpc.QuotaFailure")
    )


def _retry_delay_seconds(details: Any) -> float | None:
    """Return the delay in google.rpc.RetryInfo, a JSON duration such as "17.5s"."""
    for entry in _error_details(details):
        delay = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(entry.get("retryDelay", "")))
        if str(entry.get("@type", "")).endswith("google.rpc.RetryInfo") and delay:
            return float(delay.group(1))
    return None


class Retryable(Exception):
    """
    A try failed in a way that may pass.

    Attributes:
        wait_seconds: What the service asked to wait; None leaves it to us.
    """

    def __init__(self, failure: GenerationUnavailable, wait_seconds: float | None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_seconds = wait_seconds


# Set around each call: the moment (time.monotonic) at which everything about it ends.
_deadline: ContextVar[float] = ContextVar("deadline")


class _DeadlineTransport(httpx2.HTTPTransport):
    """
    Bounds a whole exchange, which httpx's timeouts do not: they restart with each read.

    A service that drips a byte a second would otherwise be read for ever.
    """

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = _deadline.get()
        left = deadline - time.monotonic()
        if left <= 0:
            raise httpx2.ReadTimeout("the deadline has passed", request=request)
        timeout = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            name: left if seconds is None else min(seconds, left)
            for name, seconds in timeout.items()
        }
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101 - narrows the type
        response.stream = _DeadlineStream(response.stream, deadline=deadline, request=request)
        return response


class _DeadlineStream(httpx2.SyncByteStream):
    def __init__(
        self, stream: httpx2.SyncByteStream, *, deadline: float, request: httpx2.Request
    ) -> None:
        self._stream = stream
        self._deadline = deadline
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if time.monotonic() > self._deadline:
                raise httpx2.ReadTimeout("the deadline has passed", request=self._request)
            yield piece

    def close(self) -> None:
        self._stream.close()
