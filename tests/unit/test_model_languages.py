"""What the export finds out about languages, on made vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.model.languages import (
    LEAST_NEARNESS,
    TRANSLATIONS,
    embed_translations,
    find_directions,
    measure_nearness,
)
from shared.embedding.embedder import Embedder


def test_translations_say_the_same() -> None:
    """Each language has the same number of sentences, none of them twice."""
    counts = {len(set(texts)) for texts in TRANSLATIONS.values()}
    assert counts == {5}


def test_directions_when_texts_are_meaning_and_language() -> None:
    """Without the directions a sentence and its translation are one, and meanings stay apart."""
    random = np.random.default_rng(1)
    axes = np.linalg.qr(random.normal(size=(40, 40)))[0].astype(np.float32)
    meanings, languages = axes[:5], axes[5:9]
    texts = meanings[None, :, :] + 2 * languages[:, None, :]
    vectors = texts / np.linalg.norm(texts, axis=2, keepdims=True)
    assert measure_nearness(vectors, vectors) < 0.25
    directions = find_directions(vectors, vectors)
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-5)
    left = vectors - vectors @ directions.T @ directions
    left /= np.linalg.norm(left, axis=2, keepdims=True)
    assert measure_nearness(left, vectors) > measure_nearness(vectors, vectors)
    for own in left:
        cosines = own @ left[0].T
        assert cosines.diagonal() == pytest.approx(np.ones(5), abs=1e-3)


def test_nearness_of_the_default_model(model_dir: Path) -> None:
    """A model that knows English alone does not bring translations together."""
    assert measure_nearness(*embed_translations(Embedder(model_dir))) < LEAST_NEARNESS
