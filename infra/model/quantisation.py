"""
Weights and activations of an ONNX graph to eight bits, each row by its own scale.

onnxruntime's dynamic quantisation gives one scale to all activations of a run, so that a text's
vector depends on the texts beside it. Here every token has its own scale: a text has one vector.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

# Activations are stored around 128, unsigned: the only pairing with signed weights that is fast
# on every x86 processor.
ZERO_POINT = 128
ACTIVATION_LEVELS = 127
# Seven bits: processors without VNNI add two products in 16 bits, and 2 x 255 x 63 still fits.
# https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
WEIGHT_LEVELS = 63
TABLE_LEVELS = 127
# A smaller table of embeddings saves nothing worth a rounding error.
LEAST_TABLE_ROWS = 4096
# Keeps a row of zeros from being divided by zero.
LEAST_SCALE = 1e-12

_ZERO_POINT = "quantised_zero_point"
_ONE = "quantised_one"
_LAST = "quantised_last"
_COLUMN = "quantised_column"
_LEAST = "quantised_least"
_STEP = "quantised_step"


def quantise(source: Path, target: Path) -> None:
    """Write *source* to *target* with its weight matrices and embedding tables in eight bits."""
    model = onnx.load(source)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constants = {
        _ZERO_POINT: np.uint8(ZERO_POINT),
        _ONE: np.float32(1),
        _LAST: np.array([-1], dtype=np.int64),
        _COLUMN: np.array([-1, 1], dtype=np.int64),
        _LEAST: np.float32(LEAST_SCALE),
        _STEP: np.float32(1 / ACTIVATION_LEVELS),
    }
    new: dict[str, NDArray[np.generic]] = {
        name: np.asarray(value) for name, value in constants.items()
    }
    nodes: list[NodeProto] = []
    quantised_inputs: set[str] = set()
    for node in graph.node:
        if node.op_type == "MatMul" and _is_matrix(weights.get(node.input[1])):
            activations, name = node.input
            if name + "_int8" not in new:
                new |= _columns(name, numpy_helper.to_array(weights[name]))
            if activations not in quantised_inputs:
                quantised_inputs.add(activations)
                rows = np.array([-1, weights[name].dims[0]], dtype=np.int64)
                new[activations + "_rows_shape"] = rows
                nodes += _quantise_rows(activations)
            nodes += _multiply(activations, name, node.output[0])
        elif node.op_type == "Gather" and _is_table(weights.get(node.input[0])):
            name, indices = node.input
            if name + "_int8" not in new:
                new |= _table(name, numpy_helper.to_array(weights[name]))
            nodes += _look_up(name, indices, node.output[0])
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in new.items())
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)


def _is_matrix(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and len(tensor.dims) == 2


def _is_table(tensor: onnx.TensorProto | None) -> bool:
    return (
        tensor is not None
        and tensor.data_type == onnx.TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.dims[0] >= LEAST_TABLE_ROWS
    )


def _columns(name: str, matrix: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Return a weight matrix as int8 with a scale for each column."""
    scales = np.maximum(np.abs(matrix).max(axis=0), LEAST_SCALE) / WEIGHT_LEVELS
    return {
        name + "_int8": np.rint(matrix / scales).astype(np.int8),
        name + "_scale": scales.astype(np.float32),
    }


def _table(name: str, table: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Return a table of embeddings as int8 with a scale for each row."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), LEAST_SCALE) / TABLE_LEVELS
    return {
        name + "_int8": np.rint(table / scales).astype(np.int8),
        name + "_scale": scales.astype(np.float32),
    }


def _look_up(name: str, indices: str, output: str) -> list[NodeProto]:
    return [
        helper.make_node("Gather", [name + "_int8", indices], [output + "_int8"], axis=0),
        helper.make_node("Gather", [name + "_scale", indices], [output + "_scale"], axis=0),
        helper.make_node("Cast", [output + "_int8"], [output + "_cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [output + "_cast", output + "_scale"], [output]),
    ]


def _quantise_rows(x: str) -> list[NodeProto]:
    """Make x_int8 (rows, columns), x_scale (rows, 1) and x_shape, the shape to go back to."""
    return [
        helper.make_node("Shape", [x], [x + "_prefix"], start=0, end=-1),
        helper.make_node("Concat", [x + "_prefix", _LAST], [x + "_shape"], axis=0),
        helper.make_node("Reshape", [x, x + "_rows_shape"], [x + "_rows"]),
        helper.make_node("Abs", [x + "_rows"], [x + "_abs"]),
        helper.make_node("ReduceMax", [x + "_abs"], [x + "_max"], axes=[1], keepdims=0),
        helper.make_node("Max", [x + "_max", _LEAST], [x + "_safe"]),
        helper.make_node("Mul", [x + "_safe", _STEP], [x + "_scales"]),
        helper.make_node("Shape", [x + "_scales"], [x + "_count"]),
        helper.make_node(
            "ConstantOfShape",
            [x + "_count"],
            [x + "_zero_points"],
            value=numpy_helper.from_array(np.array([ZERO_POINT], dtype=np.uint8)),
        ),
        helper.make_node(
            "QuantizeLinear",
            [x + "_rows", x + "_scales", x + "_zero_points"],
            [x + "_int8"],
            axis=0,
        ),
        helper.make_node("Reshape", [x + "_scales", _COLUMN], [x + "_scale"]),
    ]


def _multiply(x: str, weights: str, output: str) -> list[NodeProto]:
    """Multiply x_int8 by the weights and scale the columns, then the rows."""
    return [
        helper.make_node(
            "MatMulIntegerToFloat",
            [x + "_int8", weights + "_int8", _ONE, weights + "_scale", _ZERO_POINT],
            [output + "_columns"],
            domain="com.microsoft",
        ),
        helper.make_node("Mul", [output + "_columns", x + "_scale"], [output + "_rows"]),
        helper.make_node("Reshape", [output + "_rows", x + "_shape"], [output]),
    ]
