"""Rerankers: exported as sentence-transformers scores with them, and loaded without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from functions.query.answering.reranking import make_reranker
from infra.model import cross_encoder as export
from shared.embedding.cross_encoder import CrossEncoder
from shared.embedding.tokenizer import GRAPH_FILE
from shared.errors import ExportError, ModelUnavailable

pytestmark = pytest.mark.slow

QUESTION = "How long is a deleted object kept?"
TEXTS = [
    "Soft delete keeps a removed object for seven days by default.",
    "Travel expenses up to 500 euros are approved by the team lead.",
    "Deleted.",
    "The vessel struck a reef on the night of 14 March 1907.",
]


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    shutil.copy(model_dir / "tokenizer.json", folder)
    names = {name: f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    configuration = {f"{name}_token": token for name, token in names.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(configuration | {"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    )
    return folder


def save(kind: str, tokenizer: Path, folder: Path, **options: Any) -> Path:
    """Save a random classifier of *kind* with a tokenizer."""
    import torch
    import transformers

    torch.manual_seed(5)
    configuration = getattr(transformers, f"{kind}Config")(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=30522,
        initializer_range=0.2,
        **{"num_labels": 1, "max_position_embeddings": 66} | options,
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(configuration)
    model.save_pretrained(folder)
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)
    return folder


def reference(folder: Path, texts: list[str]) -> Any:
    import torch
    from sentence_transformers import CrossEncoder as Reference

    model = Reference(str(folder), device="cpu", local_files_only=True)
    return model.predict([(QUESTION, text) for text in texts], activation_fn=torch.nn.Identity())


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
def test_cross_encoder_scores_as_its_source(kind: str, tokenizer: Path, tmp_path: Path) -> None:
    """From the weights of BERT, and traced where it is another model; in eight bits nearly so."""
    options = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
    source = save(kind, tokenizer, tmp_path / "source", **options if kind != "Bert" else {})
    expected = reference(source, TEXTS)
    export.export_cross_encoder(str(source), tmp_path / "float32", precision="float32")
    np.testing.assert_allclose(
        CrossEncoder(tmp_path / "float32").score(QUESTION, TEXTS), expected, atol=1e-4
    )
    result = CliRunner().invoke(
        export.main, ["--model", str(source), "--output", str(tmp_path / "int8")]
    )
    assert result.exit_code == 0, result.output
    scores = CrossEncoder(tmp_path / "int8").score(QUESTION, TEXTS)
    assert list(np.argsort(scores)) == list(np.argsort(expected))
    small, large = ((tmp_path / name / GRAPH_FILE).stat().st_size for name in ("int8", "float32"))
    assert small < large / 3


def test_cross_encoder_reads_the_part_that_speaks_of_the_question(
    tokenizer: Path, tmp_path: Path
) -> None:
    """Of a long passage the window is read that holds the question's words; its place is free."""
    source = save("Bert", tokenizer, tmp_path / "source")
    export.export_cross_encoder(str(source), tmp_path / "model", precision="float32")
    encoder = CrossEncoder(tmp_path / "model")
    part = "a deleted object is kept so long"
    filler = "the ship sailed over the sea and came home in the spring " * 20
    alone, first, last, all_beside = encoder.score(
        QUESTION, [part, f"{part} {filler}", f"{filler} {part}", filler], passage_tokens=24
    )
    assert first != pytest.approx(all_beside, abs=1e-6)
    assert last != pytest.approx(all_beside, abs=1e-6)
    assert encoder.score(QUESTION, [filler + "home"], passage_tokens=12) == pytest.approx(
        encoder.score(QUESTION, [filler + "away"], passage_tokens=12)
    )
    # A question that fills the model by itself is cut, and no error.
    assert np.isfinite(encoder.score("why " * 400, [part])).all()
    assert np.isfinite(alone)


def test_cross_encoder_scores_alike_in_any_company(tokenizer: Path, tmp_path: Path) -> None:
    """Texts of one length are read together, and each has the score that it has alone."""
    source = save("Bert", tokenizer, tmp_path / "source")
    export.export_cross_encoder(str(source), tmp_path / "model", precision="float32")
    encoder = CrossEncoder(tmp_path / "model", threads=1)
    texts = [f"{text} {word}" for text in TEXTS for word in ("today", "here", "again", "twice")] * 3
    together = encoder.score(QUESTION, texts)
    np.testing.assert_allclose(
        together, [encoder.score(QUESTION, [text])[0] for text in texts], atol=1e-5
    )


def test_cross_encoder_of_several_labels_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    """A classifier of three labels has no one score; the folder of before stays."""
    source = save("Bert", tokenizer, tmp_path / "source", num_labels=3)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "kept").touch()
    with pytest.raises(ExportError, match="3 values"):
        export.export_cross_encoder(str(source), tmp_path / "model")
    assert (tmp_path / "model" / "kept").exists()


def test_reranker_of_an_embedding_model_is_refused(model_dir: Path) -> None:
    """RERANKER with the folder of another kind of model says how to make the right one."""
    with pytest.raises(ModelUnavailable, match=r"infra\.model\.cross_encoder"):
        make_reranker(str(model_dir), project="")
