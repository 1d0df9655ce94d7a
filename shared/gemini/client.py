"""
Gemini's answers through google-genai: either whole, or an error.

google-genai 3.4 raises nothing for a blocked, empty or cut answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.genai import types

from shared.errors import GenerationUnavailable, TriesExhausted
from shared.gemini.connection import (
    Retryable,
    open_client,
    translated_errors,
    tries,
    within,
)
from shared.gemini.requests import GenerationRequest, Usage
from shared.runtime.tracing import span
from shared.settings import GeminiSettings

_BLOCKED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"}
)


class GeminiClient:
    """
    One Gemini model; the threads of a process may share it.

    With a key it asks the Gemini API, without one Vertex AI.
    """

    def __init__(self, settings: GeminiSettings, *, attempts: int) -> None:
        self.model = settings.gemini_model
        self._attempts = attempts
        self._client, self._http = open_client(settings)

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
        try:
            for deadline, attempt in tries(
                attempts=self._attempts, timeout_seconds=timeout_seconds
            ):
                with attempt:
                    parts = self._try(request, deadline=deadline)
                    begin = list(parts) if whole else [next(parts)]
            yield from begin
            yield from parts
        except Retryable as error:
            raise TriesExhausted(error.failure.code, str(error.failure)) from error

    def _try(self, request: GenerationRequest, *, deadline: float) -> Iterator[str | Usage]:
        usage: types.GenerateContentResponseUsageMetadata | None = None
        finish_reason = ""
        some_text = False
        with within(deadline), translated_errors(self.model):
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
            with within(deadline), translated_errors(self.model):
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
        raise Retryable(failure, None)


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage(calls=1)
    return Usage(
        prompt_tokens=metadata.prompt_token_count or 0,
        answer_tokens=metadata.candidates_token_count or 0,
        thinking_tokens=metadata.thoughts_token_count or 0,
        calls=1,
    )
