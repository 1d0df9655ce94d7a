"""A Gemini embedding model: its folder names the model, and Google computes the vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.embedding.tokenizer import (
    ModelInfo,
    read_description,
    read_model_info,
    read_tokenizer,
)
from shared.gemini.embedding import EmbeddingClient
from shared.settings import GeminiSettings

# Documents wait for a busy model; questions are answered by their words alone.
_DOCUMENT_ATTEMPTS = 5
_QUERY_ATTEMPTS = 2
_QUERY_TIMEOUT_SECONDS = 4.0


class GeminiEmbedder:
    """
    One of Gemini's embedding models; threads may share it.

    Args:
        model_dir: Folder written by infra.model.export for the model's name.
        count_tokens: Called with what each call has cost.

    Raises:
        ModelUnavailable: The folder is missing, incomplete or damaged.
        Misconfigured: There is neither a key nor Vertex AI to ask.
    """

    info: ModelInfo

    def __init__(
        self,
        model_dir: Path,
        settings: GeminiSettings,
        *,
        count_tokens: Callable[[int], None] | None = None,
    ) -> None:
        self.info = read_model_info(model_dir)
        description = read_description(model_dir)
        self._prompts: dict[str, str] = description["prompts"]
        self._task_types: dict[str, str | None] = description["task_types"]
        self._tokenizer = read_tokenizer(model_dir)
        self._count_tokens = count_tokens
        self._timeout_seconds = settings.gemini_timeout_seconds
        self._client = EmbeddingClient(
            settings, model=self.info.name, dimension=self.info.dimension
        )

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """
        Return one vector a text, in the order of *texts*.

        A text longer than the model reads counts by its beginning only.

        Returns:
            float32, shape (len(texts), dimension), rows of unit length.

        Raises:
            EmbeddingUnavailable: Google does not answer, or takes no more requests just now.
            RejectedByModel: Google refuses these texts.
            Misconfigured: The key, the model or its dimension is at fault.
        """
        return self._embed(
            texts,
            purpose="document",
            attempts=_DOCUMENT_ATTEMPTS,
            timeout_seconds=self._timeout_seconds,
        )

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """
        Return the vector of a question: float32, shape (dimension,), unit length.

        Raises:
            EmbeddingUnavailable, RejectedByModel, Misconfigured: As embed_documents().
        """
        vector: NDArray[np.float32] = self._embed(
            [text],
            purpose="query",
            attempts=_QUERY_ATTEMPTS,
            timeout_seconds=min(self._timeout_seconds, _QUERY_TIMEOUT_SECONDS),
        )[0]
        return vector

    def is_word(self, word: str) -> bool:  # noqa: ARG002 -- its vocabulary is not known
        """Return False: which words are common to the model is not known here."""
        return False

    def warm_up(self) -> None:
        """Do nothing: the client is made already, and a call would cost."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(
        self, texts: Sequence[str], *, purpose: str, attempts: int, timeout_seconds: float
    ) -> NDArray[np.float32]:
        lengths, cut = [], []
        for text in texts:
            offsets = self._tokenizer.encode(text).offsets
            lengths.append(len(offsets))
            # A vector of nothing has no direction.
            kept = text[: offsets[-1][1]] if offsets else "-"
            cut.append(self._prompts[purpose] + kept)
        embedded = self._client.embed(
            cut,
            tokens=lengths,
            task_type=self._task_types[purpose],
            attempts=attempts,
            timeout_seconds=timeout_seconds,
        )
        if self._count_tokens is not None:
            self._count_tokens(embedded.tokens)
        return embedded.vectors
