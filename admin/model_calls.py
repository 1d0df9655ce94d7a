"""Asks Gemini for JSON on behalf of the evaluation, counts the cost, and may cache replies."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from shared.errors import GenerationUnavailable
from shared.gemini.client import GeminiClient
from shared.gemini.requests import GenerationRequest, Usage
from shared.settings import GeminiSettings, load

_ATTEMPTS = 3
_MAX_OUTPUT_TOKENS = 2_048


class ModelCalls:
    """
    Asks Gemini for JSON.

    Args:
        folder: Where replies are kept by what was asked; None keeps none.

    Attributes:
        usage: What the calls of this run took.
        kept: Replies that were known from before.
    """

    def __init__(
        self, client: GeminiClient, *, timeout_seconds: float, folder: Path | None
    ) -> None:
        self.usage = Usage()
        self.kept = 0
        self.model = client.model
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._folder = folder

    @classmethod
    def open(cls, *, keep: bool) -> ModelCalls:
        """
        Return one for the settings of the environment.

        Raises:
            click.ClickException: Gemini is not configured.
        """
        settings = load(GeminiSettings)
        if not settings.gemini_configured:
            raise click.ClickException(
                "Gemini is not configured. Set GEMINI_API_KEY, or GOOGLE_GENAI_USE_VERTEXAI and"
                " GOOGLE_CLOUD_PROJECT."
            )
        return cls(
            GeminiClient(settings, attempts=_ATTEMPTS),
            timeout_seconds=settings.gemini_timeout_seconds,
            folder=_cache() / "judged" if keep else None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, text: str, *, rules: str, schema: dict[str, Any]) -> Any:
        """
        Return the JSON that the model answers, None if it refuses or answers something else.

        Raises:
            click.ClickException: Gemini does not answer.
        """
        file = self._file(text, rules, schema)
        if file is not None and file.exists():
            self.kept += 1
            return json.loads(file.read_text("utf-8"))
        request = GenerationRequest(
            text=text, rules=rules, schema=schema, max_output_tokens=_MAX_OUTPUT_TOKENS
        )
        words: list[str] = []
        try:
            for part in self._client.stream(
                request, timeout_seconds=self._timeout_seconds, whole=True
            ):
                if isinstance(part, Usage):
                    self.usage += part
                else:
                    words.append(part)
        except GenerationUnavailable as error:
            if error.code in ("blocked", "cut_off", "empty"):
                return None
            raise click.ClickException(f"{error}. What was judged so far is kept.") from error
        try:
            reply = json.loads("".join(words))
        except ValueError:
            return None
        if file is not None:
            _write(file, json.dumps(reply, ensure_ascii=False))
        return reply

    def _file(self, text: str, rules: str, schema: dict[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        about = json.dumps([self.model, rules, schema, text], sort_keys=True)
        return self._folder / f"{hashlib.sha256(about.encode()).hexdigest()}.json"


def _cache() -> Path:
    """https://specifications.freedesktop.org/basedir-spec/latest/."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaydangpt"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as new:
        new.write(text)
    Path(new.name).replace(file)
