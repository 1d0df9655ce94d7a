"""
A float32 graph run by torch, on a GPU where there is one: for bulk back-fills.

The only module that needs torch at run time; shared.embedding.embedder imports it by its name where
EMBEDDING_RUNTIME=torch, because no image has torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from shared.errors import Misconfigured

Attributes = Mapping[str, Any]
Operator = Callable[[Sequence[Any], Attributes], torch.Tensor]

_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


class TorchGraph:
    """
    A graph written by infra.model.export, loaded; threads may share it.

    Raises:
        Misconfigured: The graph has an operator that is not known here.
    """

    def __init__(self, path: Path) -> None:
        # float32 throughout: TF32 would change the vectors.
        torch.backends.cuda.matmul.allow_tf32 = False
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        graph = onnx.load(path).graph
        self._known: dict[str, Any] = {
            tensor.name: self._load(tensor) for tensor in graph.initializer
        }
        self._steps: list[tuple[Operator, NodeProto, Attributes]] = []
        for node in graph.node:
            if node.op_type not in _OPERATORS and node.op_type != "Constant":
                raise Misconfigured(
                    f"EMBEDDING_RUNTIME=torch cannot run {path}: the operator {node.op_type} is"
                    " not known to it; use EMBEDDING_RUNTIME=onnxruntime"
                )
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if node.op_type == "Constant":
                self._known[node.output[0]] = self._load(attributes["value"])
            else:
                self._steps.append((_OPERATORS[node.op_type], node, attributes))
        self._output = graph.output[0].name
        self._last_use = {
            name: position
            for position, (_, node, _) in enumerate(self._steps)
            for name in node.input
        }

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return a unit vector a row: float32, shape (rows, dimension)."""
        made: dict[str, Any] = {
            "input_ids": torch.from_numpy(input_ids).to(self.device),
            "attention_mask": torch.from_numpy(attention_mask).to(self.device),
        }
        with torch.inference_mode():
            for position, (operator, node, attributes) in enumerate(self._steps):
                inputs = [
                    made[name] if name in made else self._known.get(name) for name in node.input
                ]
                made[node.output[0]] = operator(inputs, attributes)
                for name in node.input:
                    if self._last_use[name] == position:
                        made.pop(name, None)
        vectors: NDArray[np.float32] = made[self._output].cpu().numpy()
        return vectors

    def _load(self, tensor: TensorProto) -> torch.Tensor:
        array = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
        # Shapes and indices are read by the host.
        return array.to(self.device) if array.is_floating_point() else array


def _integers(tensor: torch.Tensor) -> list[int]:
    return [int(number) for number in tensor.reshape(-1).tolist()]


def _gather(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    data, indices = inputs
    axis = attributes.get("axis", 0)
    indices = indices.to(data.device)
    picked = torch.index_select(data, axis, indices.reshape(-1) % data.shape[axis])
    return picked.reshape([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]])


def _unsqueeze(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    data, axes = inputs
    rank = data.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in _integers(axes)):
        data = data.unsqueeze(axis)
    result: torch.Tensor = data
    return result


def _slice(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    data, starts, ends, axes, steps = inputs
    for start, end, axis, step in zip(*map(_integers, (starts, ends, axes, steps)), strict=True):
        index = [slice(None)] * data.ndim
        index[axis] = slice(start, end, step)
        data = data[tuple(index)]
    result: torch.Tensor = data
    return result


def _reshape(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    data, shape = inputs
    sizes = [size or data.shape[axis] for axis, size in enumerate(_integers(shape))]
    result: torch.Tensor = data.reshape(sizes)
    return result


def _clip(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    least, most = ([*inputs, None, None])[1:3]
    return torch.clamp(
        inputs[0],
        min=None if least is None else least.to(inputs[0].device),
        max=None if most is None else most.to(inputs[0].device),
    )


def _layer_normalization(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    data, scale, bias = inputs
    return torch.nn.functional.layer_norm(
        data, data.shape[attributes["axis"] :], scale, bias, attributes["epsilon"]
    )


def _shape(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    sizes = list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")]
    return torch.tensor(sizes, dtype=torch.int64)


def _constant_of_shape(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    value = torch.from_numpy(np.array(numpy_helper.to_array(attributes["value"])))
    return torch.full(_integers(inputs[0]), value.item(), dtype=value.dtype)


def _range(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    start, limit, delta = (value.item() for value in inputs)
    return torch.arange(start, limit, delta, dtype=inputs[0].dtype)


def _together(operate: Callable[..., torch.Tensor]) -> Operator:
    """Return *operate* with its inputs on one device: shapes are the host's, the rest is not."""

    def run(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
        device = next((each.device for each in inputs if each.device.type != "cpu"), None)
        return operate(*(each if device is None else each.to(device) for each in inputs))

    return run


_OPERATORS: dict[str, Operator] = {
    "Add": _together(torch.add),
    "And": _together(torch.logical_and),
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), dim=attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Div": _together(torch.div),
    "Equal": _together(torch.eq),
    "Erf": _together(torch.erf),
    "Expand": lambda inputs, _: torch.mul(inputs[0], inputs[0].new_ones(_integers(inputs[1]))),
    "Flatten": lambda inputs, attributes: inputs[0].reshape(
        int(np.prod(inputs[0].shape[: attributes["axis"]])), -1
    ),
    "Gather": _gather,
    "GreaterOrEqual": _together(torch.ge),
    "LayerNormalization": _layer_normalization,
    "MatMul": _together(torch.matmul),
    "Mul": _together(torch.mul),
    "Pow": _together(torch.pow),
    "Range": _range,
    "ReduceL2": lambda inputs, attributes: torch.linalg.vector_norm(
        inputs[0], dim=list(attributes["axes"]), keepdim=bool(attributes.get("keepdims", 1))
    ),
    "ReduceSum": lambda inputs, attributes: torch.sum(
        inputs[0], dim=_integers(inputs[1]), keepdim=bool(attributes.get("keepdims", 1))
    ),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(inputs[0], dim=attributes["axis"]),
    "Sqrt": _together(torch.sqrt),
    "Sub": _together(torch.sub),
    "Tanh": _together(torch.tanh),
    "Transpose": lambda inputs, attributes: inputs[0].permute(tuple(attributes["perm"])),
    "Unsqueeze": _unsqueeze,
    "Where": _together(torch.where),
}
