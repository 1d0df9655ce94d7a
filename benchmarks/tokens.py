"""Tokens of texts as the embedding model counts them."""

from __future__ import annotations

from pathlib import Path

from shared.embedding.tokenizer import read_model_info, read_tokenizer


class TokenCounter:
    """Counts tokens as the model's own tokenizer makes them, without loading the model."""

    def __init__(self, model_dir: Path) -> None:
        self.info = read_model_info(model_dir)
        self._tokenizer = read_tokenizer(model_dir)
        self._tokenizer.no_truncation()

    def count(self, text: str) -> int:
        """Return the number of tokens of *text*, special tokens left out; nothing is cut."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of *text* begins and ends, in characters."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(start, end) for start, end in encoding.offsets]
