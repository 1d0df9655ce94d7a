"""
Vectors by Gemini's embedding models through google-genai.

https://ai.google.dev/gemini-api/docs/embeddings
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from google.genai import errors, types
from numpy.typing import NDArray

from shared.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    Misconfigured,
    RejectedByModel,
)
from shared.gemini.connection import (
    MODELS_PAGE,
    Retryable,
    open_client,
    translated_errors,
    tries,
    within,
)
from shared.runtime.logs import get_logger
from shared.runtime.tracing import span
from shared.settings import GeminiSettings

_log = get_logger("gemini")

# Of one call; the Gemini API takes 100 texts, Vertex AI 20,000 tokens (a part is left over, since
# tokens are estimated): https://ai.google.dev/gemini-api/docs/batch-api,
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings
_MAX_TEXTS = 100
_MAX_TOKENS = 12_000


@dataclass(frozen=True, slots=True)
class Embedded:
    """
    Vectors and what they cost.

    Attributes:
        vectors: float32, shape (texts, dimension), rows of unit length.
        tokens: As Google counted them, or else as they were estimated.
    """

    vectors: NDArray[np.float32]
    tokens: int


class EmbeddingClient:
    """
    One of Gemini's embedding models; threads may share it.

    With a key it asks the Gemini API, without one Vertex AI.
    """

    def __init__(self, settings: GeminiSettings, *, model: str, dimension: int) -> None:
        if not settings.gemini_configured:
            raise Misconfigured(
                f"the embedding model {model} needs GEMINI_API_KEY, or GOOGLE_GENAI_USE_VERTEXAI"
                " and GOOGLE_CLOUD_PROJECT"
            )
        self._model = model
        self._dimension = dimension
        self._client, self._http = open_client(settings)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def embed(
        self,
        texts: Sequence[str],
        *,
        tokens: Sequence[int],
        task_type: str | None,
        attempts: int,
        timeout_seconds: float,
    ) -> Embedded:
        """
        Return the vectors of *texts*.

        Args:
            tokens: How many each text has, about.
            task_type: What the vectors are for; None if the model reads that in the text.
            timeout_seconds: For each call, with all its tries and waits.

        Raises:
            EmbeddingUnavailable: Google does not answer, or takes no more requests just now.
            RejectedByModel: Google refuses these texts.
            Misconfigured: The key, the model or its dimension is at fault.
        """
        parts, counted = [np.empty((0, self._dimension), dtype=np.float32)], 0
        for batch in _batches(tokens):
            about = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": self._model}
            with span("gemini", about, kind="client") as note:
                response = self._call(
                    [texts[place] for place in batch],
                    task_type=task_type,
                    attempts=attempts,
                    timeout_seconds=timeout_seconds,
                )
                used = _count(response) or sum(tokens[place] for place in batch)
                note({"gen_ai.usage.input_tokens": used})
            parts.append(self._read(response, texts=len(batch)))
            counted += used
        return Embedded(np.concatenate(parts), counted)

    def _call(
        self,
        texts: Sequence[str],
        *,
        task_type: str | None,
        attempts: int,
        timeout_seconds: float,
    ) -> types.EmbedContentResponse:
        # Newer models make one vector of a list of strings: each text is a content of its own.
        contents = [types.Content(parts=[types.Part.from_text(text=text)]) for text in texts]
        config = types.EmbedContentConfig(
            task_type=task_type, output_dimensionality=self._dimension
        )
        try:
            for deadline, attempt in tries(attempts=attempts, timeout_seconds=timeout_seconds):
                with attempt, within(deadline), translated_errors(self._model):
                    try:
                        return self._client.models.embed_content(
                            model=self._model, contents=list(contents), config=config
                        )
                    except errors.ClientError as error:
                        self._refuse(error)
                        raise
        except Retryable as error:
            raise EmbeddingUnavailable(str(error.failure)) from error
        except GenerationUnavailable as error:
            if error.code == "rejected":
                raise Misconfigured(f"the embedding model {self._model}: {error}") from error
            raise EmbeddingUnavailable(str(error)) from error
        raise AssertionError("stamina raises after the last try")

    def _refuse(self, error: errors.ClientError) -> None:
        """
        Raise what no other try will change; return where one may help.

        Raises:
            RejectedByModel: The texts are at fault.
            Misconfigured: Something else is.
        """
        reason = " ".join(str(error.message or error.status or "").split())[:300]
        if error.code == 404:
            raise Misconfigured(
                f"Google does not offer the embedding model {self._model} to this project and"
                f" location: take another (docs/models.md); {MODELS_PAGE} lists them"
            ) from error
        if error.code in (401, 403) or (error.code == 400 and _blames_settings(reason)):
            raise Misconfigured(
                f"Google refused the embedding model {self._model} ({error.code}): {reason}"
            ) from error
        if error.code in (400, 413):
            _log.error("Gemini refused texts", model=self._model, status=error.code, reason=reason)
            raise RejectedByModel(
                f"{self._model} refused the text ({error.code}); the service's log says why"
            ) from error

    def _read(self, response: types.EmbedContentResponse, *, texts: int) -> NDArray[np.float32]:
        """
        Return the vectors of unit length: cut ones come longer or shorter.

        https://ai.google.dev/gemini-api/docs/embeddings#quality-for-smaller-dimensions

        Raises:
            EmbeddingUnavailable: There are none, or not one for each text.
            Misconfigured: They have another dimension.
        """
        rows = [each.values or [] for each in response.embeddings or []]
        if len(rows) != texts:
            raise EmbeddingUnavailable(f"Gemini sent {len(rows)} vectors for {texts} texts")
        wrong = next((len(row) for row in rows if len(row) != self._dimension), None)
        if wrong is not None:
            raise Misconfigured(
                f"{self._model} gives vectors of {wrong} numbers, not of {self._dimension}: export"
                f" it with --dimension {wrong}"
            )
        vectors = np.array(rows, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise EmbeddingUnavailable("Gemini sent a vector without a direction")
        unit: NDArray[np.float32] = vectors / lengths
        return unit


def _blames_settings(reason: str) -> bool:
    """https://ai.google.dev/gemini-api/docs/troubleshooting: a wrong key is a bad request too."""
    known = ("api key", "api_key", "location is not supported", "dimension", "billing")
    return any(part in reason.lower() for part in known)


def _count(response: types.EmbedContentResponse) -> int:
    if response.usage_metadata is not None and response.usage_metadata.prompt_token_count:
        return response.usage_metadata.prompt_token_count
    each = [one.statistics for one in response.embeddings or []]
    return round(sum(one.token_count or 0 for one in each if one is not None))


def _batches(tokens: Sequence[int]) -> Iterator[list[int]]:
    """Yield the places of *tokens* in groups that one call takes."""
    batch: list[int] = []
    for place, own in enumerate(tokens):
        full = len(batch) == _MAX_TEXTS or sum(tokens[i] for i in batch) + own > _MAX_TOKENS
        if batch and full:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
