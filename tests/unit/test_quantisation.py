"""Eight-bit graphs, on a graph of one table and one matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from infra.model.quantisation import LEAST_TABLE_ROWS, quantise

WIDTH = 32


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Write a graph that looks rows up and multiplies them by a matrix."""
    random = np.random.default_rng(1)
    table = random.normal(size=(LEAST_TABLE_ROWS, WIDTH)).astype(np.float32)
    table[0] = 0
    matrix = random.normal(size=(WIDTH, 8)).astype(np.float32)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gather", ["table", "ids"], ["looked_up"]),
                helper.make_node("Mul", ["looked_up", "factors"], ["scaled"]),
                helper.make_node("MatMul", ["scaled", "matrix"], ["product"]),
            ],
            "look_up_and_multiply",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
                helper.make_tensor_value_info("factors", TensorProto.FLOAT, ["texts", 1, 1]),
            ],
            [helper.make_tensor_value_info("product", TensorProto.FLOAT, ["texts", "tokens", 8])],
            [numpy_helper.from_array(table, "table"), numpy_helper.from_array(matrix, "matrix")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = tmp_path / "graph.onnx"
    onnx.save(model, path)
    return path


def _run(path: Path, ids: list[list[int]], factors: list[float]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {
        "ids": np.array(ids, dtype=np.int64),
        "factors": np.array(factors, dtype=np.float32).reshape(-1, 1, 1),
    }
    (product,) = session.run(None, inputs)
    return np.asarray(product)


def test_quantised_product_is_close(graph: Path) -> None:
    """Eight bits keep a product to about a hundredth, in a quarter of the size."""
    quantised = graph.with_name("quantised.onnx")
    quantise(graph, quantised)
    ids = np.arange(1, 121).reshape(4, 30).tolist()
    expected, found = (_run(path, ids, [1, 1, 1, 1]) for path in (graph, quantised))
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    assert quantised.stat().st_size < 0.35 * graph.stat().st_size


def test_rows_do_not_depend_on_each_other(graph: Path) -> None:
    """A neighbour a thousand times as large changes nothing."""
    quantise(graph, graph)
    both = _run(graph, [[5, 6], [7, 8]], [1, 1000])
    np.testing.assert_array_equal(both[:1], _run(graph, [[5, 6]], [1]))


def test_row_of_zeros_stays_zero(graph: Path) -> None:
    """A row without any size is not divided by it."""
    quantise(graph, graph)
    np.testing.assert_array_equal(_run(graph, [[0]], [1]), 0)
