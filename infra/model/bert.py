"""
Write a BERT sentence embedder as an ONNX graph straight from its weights: no torch is needed.

Most small embedding models are BERT with mean or first-token pooling (all-MiniLM, bge, gte, e5).
Their graph is written here operator by operator, in the form of one text, or of pairs of one
length: no mask, and attention reads each head where the projection wrote it. Every other
architecture is traced by torch (infra.model.graph_tracing).

Devlin et al., https://arxiv.org/abs/1810.04805; names of the weights as in
https://github.com/huggingface/transformers/blob/main/src/transformers/models/bert/modeling_bert.py
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"
_MODULES = ("Transformer", "Pooling", "Normalize")
# How older releases of sentence-transformers wrote the pooling: one flag a mode.
_FLAGS = {
    f"pooling_mode_{name}": mode
    for name, mode in {
        "mean_tokens": "mean",
        "cls_token": "cls",
        "max_tokens": "max",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "weightedmean_tokens": "weightedmean",
        "lasttoken": "lasttoken",
    }.items()
}
_PREFIXES = ("", "bert.")


@dataclass(frozen=True, slots=True)
class BertEmbedder:
    """
    A sentence-transformers model that consists of BERT, a pooling and perhaps a normalisation.

    Attributes:
        pooling: "mean" over the tokens, or "cls", the first one.
        sequence: Tokens that it reads, special ones included.
        modules: The names of its modules and of the pooling, as in the model's digest.
    """

    folder: Path
    configuration: dict[str, Any]
    pooling: str
    sequence: int
    modules: list[list[str]]
    prompts: dict[str, str]

    @property
    def dimension(self) -> int:
        """Return the length of a vector."""
        return int(self.configuration["hidden_size"])


def read_bert(folder: Path) -> BertEmbedder | None:
    """Return the model in *folder*, or None if it is anything but plain BERT in safetensors."""
    if not (folder / "model.safetensors").is_file() or not (folder / "tokenizer.json").is_file():
        return None
    configuration = _read_json(folder / "config.json")
    modules = [each["type"].rpartition(".")[2] for each in _read_json(folder / "modules.json", [])]
    pooling = _read_json(folder / "1_Pooling" / "config.json")
    modes = [name for name, value in pooling.items() if name in _FLAGS and value is True]
    modes = [_FLAGS[name] for name in modes] or [str(pooling.get("pooling_mode"))]
    sequence = _read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if sequence is None:
        sequence = _read_json(folder / "tokenizer_config.json").get("model_max_length")
    if (
        not _is_plain(configuration)
        or tuple(modules) not in (_MODULES, _MODULES[:2])
        or modes not in (["mean"], ["cls"])
        or not pooling.get("include_prompt", True)
        or not sequence
    ):
        return None
    (mode,) = modes
    return BertEmbedder(
        folder=folder,
        configuration=configuration,
        pooling=mode,
        sequence=min(int(sequence), int(configuration["max_position_embeddings"])),
        modules=[[name, mode if name == "Pooling" else ""] for name in modules],
        prompts=_read_json(folder / "config_sentence_transformers.json").get("prompts") or {},
    )


@dataclass(frozen=True, slots=True)
class BertClassifier:
    """BERT with its own pooling and one value for a text or a pair of texts."""

    folder: Path
    configuration: dict[str, Any]


def read_bert_classifier(folder: Path) -> BertClassifier | None:
    """Return the model in *folder*, or None if it is anything but plain BERT in safetensors."""
    if not (folder / "model.safetensors").is_file() or not (folder / "tokenizer.json").is_file():
        return None
    configuration = _read_json(folder / "config.json")
    if not _is_plain(configuration) or configuration.get("architectures") != [
        "BertForSequenceClassification"
    ]:
        return None
    return BertClassifier(folder, configuration)


def _is_plain(configuration: dict[str, Any]) -> bool:
    return (
        configuration.get("model_type") == "bert"
        and configuration.get("hidden_act") == "gelu"
        and configuration.get("position_embedding_type", "absolute") == "absolute"
        and not configuration.get("is_decoder")
        and not configuration.get("add_cross_attention")
    )


def write_classifier_graph(model: BertClassifier, target: Path) -> None:
    """
    Write *model*: input_ids and token_type_ids, (pairs, tokens), in; score out.

    The pairs of a run have one length. The last layer computes the first token alone, which the
    score is made of.

    Raises:
        KeyError: A weight is missing.
    """
    from safetensors.numpy import load_file

    graph = _Graph(load_file(model.folder / "model.safetensors"), model.configuration, pairs=True)
    hidden = graph.embed_tokens()
    last = model.configuration["num_hidden_layers"] - 1
    for layer in range(last + 1):
        hidden = graph.add_layer(hidden, f"encoder.layer.{layer}.", first_only=layer == last)
    graph.classify(hidden)
    onnx.save(graph.finish_classifier(), target)


def write_graph(model: BertEmbedder, target: Path) -> None:
    """
    Write *model* with the input input_ids, (1, tokens), and the output sentence_embedding.

    Raises:
        KeyError: A weight is missing.
    """
    from safetensors.numpy import load_file

    graph = _Graph(load_file(model.folder / "model.safetensors"), model.configuration)
    hidden = graph.embed_tokens()
    for layer in range(model.configuration["num_hidden_layers"]):
        hidden = graph.add_layer(hidden, f"encoder.layer.{layer}.")
    graph.pool(hidden, model.pooling)
    onnx.save(graph.finish(), target)


class _Graph:
    """
    The nodes and weights written so far; each method adds some and names its result.

    Args:
        pairs: Of pairs of texts, several in a run: what is hidden has the form (tokens, pairs,
            size), so that heads of all pairs lie side by side; else (1, tokens, size).
    """

    def __init__(
        self,
        weights: dict[str, NDArray[np.generic]],
        configuration: dict[str, Any],
        *,
        pairs: bool = False,
    ) -> None:
        self._pairs = pairs
        self._weights = weights
        self._prefix = next(
            prefix
            for prefix in _PREFIXES
            if f"{prefix}embeddings.word_embeddings.weight" in weights
        )
        self._heads = int(configuration["num_attention_heads"])
        self._size = int(configuration["hidden_size"])
        self._epsilon = float(configuration["layer_norm_eps"])
        self._nodes: list[NodeProto] = []
        self._tensors: dict[str, TensorProto] = {}

    def embed_tokens(self) -> str:
        """Sum the embeddings of words, positions and types; of pairs the types are an input."""
        ids, types = (
            (self._add("Transpose", name, perm=[1, 0]) for name in ("input_ids", "token_type_ids"))
            if self._pairs
            else ("input_ids", "")
        )
        words = self._add("Gather", self._weight("embeddings.word_embeddings.weight"), ids)
        tokens = self._add(
            "Slice",
            self._add("Shape", "input_ids"),
            self._integers("one", [1]),
            self._integers("two", [2]),
        )
        positions = self._add(
            "Slice",
            self._weight("embeddings.position_embeddings.weight"),
            self._integers("zero", [0]),
            tokens,
        )
        if self._pairs:
            positions = self._add("Unsqueeze", positions, self._integers("one", [1]))
        kinds = "embeddings.token_type_embeddings.weight"
        kind = (
            self._add("Gather", self._weight(kinds), types)
            if self._pairs
            else self._tensor("kind", self._read(kinds)[0])
        )
        summed = self._add("Add", self._add("Add", words, positions), kind)
        return self._normalise(summed, "embeddings.LayerNorm.")

    def add_layer(self, hidden: str, layer: str, *, first_only: bool = False) -> str:
        """
        Attend, then project through the wider layer; each result is added to its input.

        Args:
            first_only: Of pairs, compute the first token alone.
        """
        own = f"{layer}attention."
        width = self._size // self._heads
        # 0 keeps the number of tokens.
        heads = self._integers("heads", [0, -1, width] if self._pairs else [-1, self._heads, width])
        asking = hidden
        if first_only:
            asking = self._add(
                "Slice", hidden, self._integers("zero", [0]), self._integers("one", [1])
            )
        queries, keys, values = (
            self._add("Reshape", self._project(source, f"{own}self.{name}."), heads)
            for source, name in ((asking, "query"), (hidden, "key"), (hidden, "value"))
        )
        # (tokens, heads, width) by the same: each head is read in place.
        # https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftfusedmatmul
        scores = self._add(
            "FusedMatMul",
            queries,
            keys,
            domain=MICROSOFT,
            alpha=(self._size // self._heads) ** -0.5,
            transBatchA=1,
            transBatchB=1,
            transB=1,
        )
        weights = self._add("Softmax", scores, axis=-1)
        mixed = self._add("FusedMatMul", weights, values, domain=MICROSOFT, transBatchB=1)
        flat = self._add(
            "Reshape",
            self._add("Transpose", mixed, perm=[1, 0, 2]),
            self._integers("flat", [0 if self._pairs else 1, -1, self._size]),
        )
        attended = self._normalise(
            self._add("Add", self._project(flat, f"{own}output.dense."), asking),
            f"{own}output.LayerNorm.",
        )
        wide = self._gelu(self._project(attended, f"{layer}intermediate.dense."))
        return self._normalise(
            self._add("Add", self._project(wide, f"{layer}output.dense."), attended),
            f"{layer}output.LayerNorm.",
        )

    def pool(self, hidden: str, pooling: str) -> None:
        """Reduce the tokens to one vector of unit length, sentence_embedding."""
        if pooling == "mean":
            pooled = self._add("ReduceMean", hidden, axes=[1], keepdims=0)
        else:
            pooled = self._add("Gather", hidden, self._tensor("first", np.int64(0)), axis=1)
        length = self._add("ReduceL2", pooled, axes=[-1], keepdims=1)
        # As torch.nn.functional.normalize.
        length = self._add("Max", length, self._tensor("least", np.float32(1e-12)))
        self._nodes.append(helper.make_node("Div", [pooled, length], ["sentence_embedding"]))

    def classify(self, hidden: str) -> None:
        """Reduce the tokens to one score by BERT's pooler and the classifier."""
        first = self._add("Gather", hidden, self._tensor("first", np.int64(0)), axis=0)
        pooled = self._add("Tanh", self._project(first, "pooler.dense."))
        kernel = self._tensor("classifier_kernel", self._whole("classifier.weight").T)
        bias = self._tensor("classifier_bias", self._whole("classifier.bias"))
        product = self._add("MatMul", pooled, kernel)
        self._nodes.append(helper.make_node("Add", [product, bias], ["score"]))

    def finish(self) -> onnx.ModelProto:
        """Return the model of an embedder."""
        return self._finish(["input_ids"], "sentence_embedding", self._size)

    def finish_classifier(self) -> onnx.ModelProto:
        """Return the model of a classifier."""
        return self._finish(["input_ids", "token_type_ids"], "score", 1)

    def _finish(self, names: list[str], output: str, width: int) -> onnx.ModelProto:
        texts = "pairs" if self._pairs else 1
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, [texts, "tokens"])
            for name in names
        ]
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [texts, width])
        graph = helper.make_graph(
            self._nodes, "bert", inputs, [result], initializer=list(self._tensors.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _project(self, hidden: str, name: str) -> str:
        kernel = self._tensor(f"{name}kernel", self._read(f"{name}weight").T)
        product = self._add("MatMul", hidden, kernel)
        return self._add("Add", product, self._weight(f"{name}bias"))

    def _normalise(self, hidden: str, name: str) -> str:
        scale, bias = (self._weight(f"{name}{part}") for part in ("weight", "bias"))
        return self._add("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=self._epsilon)

    def _gelu(self, hidden: str) -> str:
        """x / 2 * (1 + erf(x / sqrt 2)), in the operators that onnxruntime fuses."""
        root = self._tensor("root", np.float32(math.sqrt(2)))
        error = self._add("Erf", self._add("Div", hidden, root))
        scaled = self._add(
            "Mul", hidden, self._add("Add", error, self._tensor("unit", np.float32(1)))
        )
        return self._add("Mul", scaled, self._tensor("half", np.float32(0.5)))

    def _add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def _read(self, name: str) -> NDArray[np.float32]:
        return self._weights[self._prefix + name].astype(np.float32)

    def _whole(self, name: str) -> NDArray[np.float32]:
        """Return a weight that is not BERT's own."""
        return self._weights[name].astype(np.float32)

    def _weight(self, name: str) -> str:
        return self._tensor(name, self._read(name))

    def _integers(self, name: str, values: list[int]) -> str:
        return self._tensor(name, np.array(values, dtype=np.int64))

    def _tensor(self, name: str, value: Any) -> str:
        if name not in self._tensors:
            array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
            self._tensors[name] = numpy_helper.from_array(array, name)
        return name


def _read_json(path: Path, default: Any = None) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {} if default is None else default
