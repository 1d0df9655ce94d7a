"""
Trace a sentence-transformers model, from token ids to unit vector, into one ONNX file by torch.

The graph takes batches: texts of one length, padded and masked. Plain BERT in eight bits needs no
torch and has a faster graph of its own (infra.model.bert).
"""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

OPSET = 17


class _Whole(torch.nn.Module):
    """Token ids and mask in, unit vector out; the types of a single text are all zero."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model
        self.has_types = "token_type_ids" in model.tokenizer.model_input_names

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.has_types:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        vectors = self.model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(vectors, p=2, dim=-1)


def trace(model: SentenceTransformer, path: Path, *, texts: list[str]) -> None:
    """Write *model* with the inputs input_ids and attention_mask, (texts, tokens) each."""
    features = model.preprocess(texts)
    names = ("input_ids", "attention_mask")
    with torch.no_grad():
        torch.onnx.export(
            _Whole(model).eval(),
            tuple(features[name] for name in names),
            str(path),
            input_names=list(names),
            output_names=["sentence_embedding"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names}
            | {"sentence_embedding": {0: "texts"}},
            opset_version=OPSET,
            # The newer exporter needs onnxscript and does not trace these models (torch 2.13).
            dynamo=False,
        )


class _Score(torch.nn.Module):
    """Token ids and mask of pairs in, one value for each out."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return scores


def trace_classifier(folder: Path, path: Path, *, pair: tuple[str, str]) -> None:
    """Write the classifier in *folder* with the inputs that its tokenizer makes of a pair."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    features = tokenizer(*pair, return_tensors="pt")
    names = list(features)
    with torch.no_grad():
        torch.onnx.export(
            _Score(model.float().eval(), names).eval(),
            tuple(features[name] for name in names),
            str(path),
            input_names=names,
            output_names=["score"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names}
            | {"score": {0: "texts"}},
            opset_version=OPSET,
            dynamo=False,
        )
