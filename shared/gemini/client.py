"""
Gemini through google-genai: bounded in time, retried with care, whole or named as failed.

google-genai 3.4 has no timeout and no retries by default, ignores RetryInfo, and raises nothing
for a blocked, empty or cut answer. This module translates its failures into our own errors.
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

from shared.errors import GenerationUnavailable, TriesExhausted
from shared.gemini.requests import MODEL_MISSING, GenerationRequest, Usage
from shared.runtime.logs import get_logger
from shared.runtime.tracing import span
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

_BLOCKED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"}
)


class GeminiClient:
    """
    One Gemini model; the threads of a process may share it.

    With a key it asks the Gemini API, without one Vertex AI.
    """

    def __init__(self, settings: GeminiSettings, *, attempts: int) -> None:
        api_key = settings.gemini_api_key.get_secret_value()
        self.model = settings.gemini_model
        self._attempts = attempts
        self._http = httpx2.Client(transport=_DeadlineTransport(), follow_redirects=False)
        options = types.HttpOptions(
            base_url=settings.google_gemini_base_url or None,
            timeout=int(settings.gemini_read_timeout_seconds * 1000),
            # The client would send the timeout of one read as the server's for everything.
            headers={"X-Server-Timeout": str(max(1, round(settings.gemini_timeout_seconds)))},
            httpx_client=self._http,
        )
        self._client = (
            genai.Client(api_key=api_key, vertexai=False, http_options=options)
            if api_key
            else genai.Client(
                vertexai=True,
                project=settings.google_cloud_project,
                location=settings.google_cloud_location,
                http_options=options,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def stream(
        self, request: GenerationRequest, *, timeout_seconds: float, whole: bool
    ) -> Iterator[str | Usage]:
        """
        Yield the model's text as it arrives, and the usage.

        A try that fails before its first text is repeated; after it, the caller has shown text
        that another try would contradict. With *whole* nothing is yielded before the answer is
        whole, and any try can be repeated.

        Args:
            timeout_seconds: For the request, with all its tries and waits.

        Raises:
            TriesExhausted: The service failed every time; the request was not at fault.
            GenerationUnavailable: No whole answer; the text so far is void.
        """
        # https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
        about = {"gen_ai.operation.name": "generate_content", "gen_ai.request.model": self.model}
        with span("gemini", about, kind="client", current=False) as note:
            try:
                for part in self._ask(request, timeout_seconds=timeout_seconds, whole=whole):
                    if isinstance(part, Usage):
                        note(
                            {
                                "gen_ai.usage.input_tokens": part.prompt_tokens,
                                "gen_ai.usage.output_tokens": part.answer_tokens,
                            }
                        )
                    yield part
            except GenerationUnavailable as error:
                note({"failure": error.code})
                raise

    def _ask(
        self, request: GenerationRequest, *, timeout_seconds: float, whole: bool
    ) -> Iterator[str | Usage]:
        deadline = time.monotonic() + timeout_seconds
        try:
            for attempt in stamina.retry_context(
                on=lambda error: _backoff(error, deadline=deadline),
                attempts=self._attempts,
                timeout=timeout_seconds,
                wait_initial=_WAIT_INITIAL_SECONDS,
                wait_max=_WAIT_MAX_SECONDS,
                wait_jitter=_WAIT_JITTER_SECONDS,
            ):
                with attempt:
                    parts = self._try(request, deadline=deadline)
                    begin = list(parts) if whole else [next(parts)]
            yield from begin
            yield from parts
        except _Retryable as error:
            raise TriesExhausted(error.failure.code, str(error.failure)) from error

    def _try(self, request: GenerationRequest, *, deadline: float) -> Iterator[str | Usage]:
        usage: types.GenerateContentResponseUsageMetadata | None = None
        finish_reason = ""
        some_text = False
        with _within(deadline), _translated_errors(self.model):
            chunks = iter(
                self._client.models.generate_content_stream(
                    model=self.model,
                    contents=_contents(request),
                    config=_config(request, model=self.model),
                )
            )
            chunk = next(chunks, None)
        while chunk is not None:
            usage = chunk.usage_metadata or usage
            _refuse_blocked_prompt(chunk)
            candidate = chunk.candidates[0] if chunk.candidates else None
            if candidate is not None:
                if candidate.finish_reason is not None:
                    finish_reason = str(getattr(candidate.finish_reason, "value", ""))
                parts = candidate.content.parts if candidate.content is not None else None
                for part in parts or []:
                    if part.text and not part.thought:
                        some_text = True
                        yield part.text
            with _within(deadline), _translated_errors(self.model):
                chunk = next(chunks, None)
        # An unusable answer is paid for, too.
        yield _usage(usage)
        _refuse_unfinished(finish_reason, some_text=some_text)


def _contents(request: GenerationRequest) -> types.Content:
    parts = [types.Part.from_text(text=request.text)]
    if request.picture is not None:
        is_png = request.picture.startswith(b"\x89PNG")
        mime_type = "image/png" if is_png else "image/jpeg"
        parts.insert(0, types.Part.from_bytes(data=request.picture, mime_type=mime_type))
    return types.Content(role="user", parts=parts)


def _config(request: GenerationRequest, *, model: str) -> types.GenerateContentConfig:
    before_gemini_3 = _is_before_gemini_3(model)
    return types.GenerateContentConfig(
        system_instruction=request.rules or None,
        # Gemini 3 ignores it or, below its default of 1, repeats itself:
        # https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/start/gemini-3-prompting-guide
        temperature=0.0 if before_gemini_3 else None,
        candidate_count=1,
        max_output_tokens=request.max_output_tokens,
        response_mime_type="application/json" if request.schema is not None else None,
        response_schema=request.schema,
        thinking_config=_thinking(request, before_gemini_3=before_gemini_3),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _is_before_gemini_3(model: str) -> bool:
    """Return whether *model* is of an older family; an alias such as gemini-flash-latest is not."""
    version = re.search(r"gemini-(\d+)", model)
    return version is not None and int(version[1]) < 3


def _thinking(request: GenerationRequest, *, before_gemini_3: bool) -> types.ThinkingConfig | None:
    """A family knows one of the two: https://ai.google.dev/gemini-api/docs/thinking."""
    if before_gemini_3:
        if request.thinking_budget is not None:
            return types.ThinkingConfig(thinking_budget=request.thinking_budget)
    elif request.thinking_level is not None:
        return types.ThinkingConfig(
            thinking_level=types.ThinkingLevel(request.thinking_level.upper())
        )
    return None


def _backoff(error: Exception, *, deadline: float) -> bool | float:
    if not isinstance(error, _Retryable):
        return False
    left = deadline - time.monotonic()
    if error.wait_seconds is None:
        return left > _WAIT_INITIAL_SECONDS
    # Waiting past the deadline would be pointless: fail now.
    return error.wait_seconds if error.wait_seconds < left else False


@contextlib.contextmanager
def _within(deadline: float) -> Iterator[None]:
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextlib.contextmanager
def _translated_errors(model: str) -> Iterator[None]:
    try:
        yield
    except errors.APIError as error:
        raise _translate(error, model=model) from error
    except httpx2.TimeoutException as error:
        failure = GenerationUnavailable("timeout", "Gemini did not answer in time")
        raise _Retryable(failure, None) from error
    except httpx2.HTTPError as error:
        failure = GenerationUnavailable("unavailable", f"no connection: {type(error).__name__}")
        raise _Retryable(failure, None) from error
    except google_auth_errors.GoogleAuthError as error:
        message = f"no credentials for Vertex AI: {type(error).__name__}"
        raise GenerationUnavailable("rejected", message) from error
    except (json.JSONDecodeError, ValidationError, errors.UnknownApiResponseError) as error:
        failure = GenerationUnavailable("unavailable", "Gemini sent no readable answer")
        raise _Retryable(failure, None) from error


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
        return _Retryable(failure, _retry_delay_seconds(error.details))
    if status in _RETRIED_STATUS:
        failure = GenerationUnavailable("unavailable", f"Gemini answered with status {status}")
        return _Retryable(failure, _retry_delay_seconds(error.details))
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


def _refuse_blocked_prompt(chunk: types.GenerateContentResponse) -> None:
    feedback = chunk.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        reason = str(getattr(feedback.block_reason, "value", feedback.block_reason))
        raise GenerationUnavailable("blocked", f"Gemini declined the prompt ({reason})")


def _refuse_unfinished(finish_reason: str, *, some_text: bool) -> None:
    """Only STOP is a whole answer (https://ai.google.dev/api/generate-content#FinishReason)."""
    if finish_reason in _BLOCKED:
        raise GenerationUnavailable("blocked", f"Gemini stopped its answer ({finish_reason})")
    if finish_reason == "MAX_TOKENS":
        raise GenerationUnavailable("cut_off", "the answer was cut at GEMINI_MAX_OUTPUT_TOKENS")
    if finish_reason == "STOP" and not some_text:
        raise GenerationUnavailable("empty", "Gemini finished without any text")
    if finish_reason != "STOP":
        what = finish_reason or "the connection ended before the answer did"
        failure = GenerationUnavailable("cut_off", f"Gemini's answer is not whole ({what})")
        raise _Retryable(failure, None)


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage(calls=1)
    return Usage(
        prompt_tokens=metadata.prompt_token_count or 0,
        answer_tokens=metadata.candidates_token_count or 0,
        thinking_tokens=metadata.thoughts_token_count or 0,
        calls=1,
    )


class _Retryable(Exception):
    """
    A try failed in a way that another may not.

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
