"""
Trace a sentence-transformers model, from token ids to unit vector, into one ONNX file.

In two forms. That of batches pads its texts and masks the padding: what a GPU wants. That of one
text has no mask, and attention reads each head where the projection wrote it, instead of from a
copy in another order: the same vectors in less time on a processor (benchmarks/embedding.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import AttentionInterface

OPSET = 17
MICROSOFT = "com.microsoft"
# transformers knows no mask for an attention of this name, so models make none.
_IN_PLACE = "kaydangpt_heads_in_place"
# What models hand to an attention that changes its scores.
_NOT_IN_PLACE = ("position_bias", "sliding_window", "softcap", "s_aux")


class _Whole(torch.nn.Module):
    """Token ids and mask in, unit vector out; the types of a single text are all zero."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model
        self.has_types = "token_type_ids" in model.tokenizer.model_input_names

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        features = {"input_ids": input_ids}
        if attention_mask is not None:
            features["attention_mask"] = attention_mask
        if self.has_types:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        vectors = self.model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(vectors, p=2, dim=-1)


def trace_batches(model: SentenceTransformer, path: Path, *, texts: list[str]) -> None:
    """Write *model* with the inputs input_ids and attention_mask, (texts, tokens) each."""
    features = model.preprocess(texts)
    names = ("input_ids", "attention_mask")
    _trace(
        model,
        path,
        inputs={name: features[name] for name in names},
        dynamic={name: {0: "texts", 1: "tokens"} for name in names}
        | {"sentence_embedding": {0: "texts"}},
    )


def trace_one_text(model: SentenceTransformer, path: Path, *, texts: list[str]) -> None:
    """
    Write *model* with the input input_ids alone, (1, tokens).

    Raises:
        Exception: The model cannot do without a mask or has an attention of its own: whatever its
            code raises. Where nothing is raised, its vectors may still be others than its source's.
    """
    transformer: Any = model[0]
    before = transformer.auto_model.config._attn_implementation
    transformer.auto_model.set_attn_implementation(_IN_PLACE)
    try:
        _trace(
            model,
            path,
            inputs={"input_ids": model.preprocess(texts[:1])["input_ids"]},
            dynamic={"input_ids": {1: "tokens"}},
            opsets={MICROSOFT: 1},
        )
    finally:
        transformer.auto_model.set_attn_implementation(before)


def _trace(
    model: SentenceTransformer,
    path: Path,
    *,
    inputs: dict[str, torch.Tensor],
    dynamic: dict[str, dict[int, str]],
    opsets: dict[str, int] | None = None,
) -> None:
    with torch.no_grad():
        torch.onnx.export(
            _Whole(model).eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["sentence_embedding"],
            dynamic_axes=dynamic,
            opset_version=OPSET,
            custom_opsets=opsets,
            # The newer exporter needs onnxscript and does not trace these models (torch 2.13).
            dynamo=False,
        )


class _Scores(torch.autograd.Function):
    """Queries by keys, (tokens, heads, width) each: (heads, tokens, tokens)."""

    @staticmethod
    def forward(_: Any, queries: torch.Tensor, keys: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.einsum("qhd,khd->hqk", queries, keys)

    @staticmethod
    def symbolic(graph: Any, queries: Any, keys: Any, scale: float) -> Any:
        return _multiply(
            graph, queries, keys, alpha_f=scale, transBatchA_i=1, transBatchB_i=1, transB_i=1
        )


class _Mixture(torch.autograd.Function):
    """Weights (heads, tokens, tokens) by values (tokens, heads, width): (heads, tokens, width)."""

    @staticmethod
    def forward(_: Any, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return torch.einsum("hqk,khd->hqd", weights, values)

    @staticmethod
    def symbolic(graph: Any, weights: Any, values: Any) -> Any:
        return _multiply(graph, weights, values, transBatchB_i=1)


def _multiply(graph: Any, left: Any, right: Any, **attributes: float) -> Any:
    """
    Return a product that reads the heads of (tokens, heads, width) in place.

    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftfusedmatmul
    """
    product = graph.op(f"{MICROSOFT}::FusedMatMul", left, right, **attributes)
    product.setType(left.type().with_sizes([None, None, None]))
    return product


def _attend_in_place(
    module: torch.nn.Module,  # noqa: ARG001  # transformers calls all of them alike
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within one text: (1, heads, tokens, width) each in, (1, tokens, heads, width) out."""
    asked = {name for name in _NOT_IN_PLACE if options.get(name) is not None}
    if asked or attention_mask is not None or key.shape != query.shape:
        raise NotImplementedError(f"attention with more than queries, keys and values: {asked}")
    heads, width = int(query.shape[1]), int(query.shape[3])
    # They were turned to this order just before; the exporter leaves out what is turned back.
    queries, keys, values = (
        each.transpose(1, 2).reshape(-1, heads, width) for each in (query, key, value)
    )
    multiply: Any = _Scores.apply
    mix: Any = _Mixture.apply
    scores = multiply(queries, keys, width**-0.5 if scaling is None else scaling)
    mixed = mix(torch.softmax(scores, dim=-1), values)
    return mixed.transpose(0, 1).unsqueeze(0), None


AttentionInterface.register(_IN_PLACE, _attend_in_place)
