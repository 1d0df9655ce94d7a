"""EMBEDDING_RUNTIME=torch, on a processor: the vectors are those that onnxruntime serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infra.model.export import DEFAULT_MODEL, export_model
from shared.embedding.embedder import Embedder
from shared.errors import Misconfigured

pytestmark = pytest.mark.slow


def test_torch_gives_the_served_vectors(tmp_path: Path) -> None:
    """Every component is within 1e-3 of onnxruntime's, alone and in padded batches."""
    export_model(DEFAULT_MODEL, tmp_path / "model", precision="float32")
    texts = ["a cat", "The pump needs 40 litres. " * 9, "", "Hồ sơ phải được nộp. " * 60]
    served = Embedder(tmp_path / "model")
    by_torch = Embedder(tmp_path / "model", runtime="torch")
    np.testing.assert_allclose(
        by_torch.embed_documents(texts), served.embed_documents(texts), atol=1e-3
    )
    np.testing.assert_allclose(
        by_torch.embed_query("a cat?"), served.embed_query("a cat?"), atol=1e-3
    )


def test_torch_refuses_eight_bits(model_dir: Path) -> None:
    """Two runtimes round to eight bits differently: the served vectors would not be kept."""
    with pytest.raises(Misconfigured, match="--precision float32"):
        Embedder(model_dir, runtime="torch")
