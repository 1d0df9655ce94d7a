"""Sentences are embedded once; a document's only for its own build."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from functions.query.answering.sentence_vectors import SentenceVectors


class Embedder:
    """Gives each text a vector of its own, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([[len(text), ord(text[-1])] for text in texts], dtype=np.float32)


def test_sentences_are_embedded_once_a_build_and_model() -> None:
    """The order is that of the question; a sentence of another document or model is another one."""
    embedder, kept = Embedder(), SentenceVectors()
    first = [(1, "One."), (1, "Three!"), (1, "One."), (2, "One.")]
    for sentences, model, asked in (
        (first, "a", ["One.", "Three!", "One."]),
        ([(1, "Three!"), (2, "Two?"), (1, "One.")], "a", ["Two?"]),
        ([(1, "One.")], "b", ["One."]),
        (first, "a", []),
    ):
        embedder.asked.clear()
        found = kept.embed(sentences, embed=embedder.embed, model_digest=model)
        assert embedder.asked == asked
        np.testing.assert_array_equal(found, Embedder().embed([text for _, text in sentences]))


def test_sentences_that_were_not_asked_for_lately_make_room() -> None:
    """What is kept has a bound; what was found again is not the oldest."""
    embedder, kept = Embedder(), SentenceVectors(max_bytes=1000)
    for text, is_made in (
        ("a", True),
        ("b", True),
        ("a", False),
        ("c", True),
        ("a", False),
        ("b", True),
    ):
        embedder.asked.clear()
        kept.embed([(1, text)], embed=embedder.embed, model_digest="model")
        assert bool(embedder.asked) == is_made, text
