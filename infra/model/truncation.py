"""
Shorter vectors: the first so many numbers of each, made unit length again.

Models that were trained for it (Matryoshka) keep nearly all of their quality so:
Kusupati et al., https://arxiv.org/abs/2205.13147
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_OUTPUT = "sentence_embedding"
_WHOLE = "whole_embedding"


def truncate(graph_file: Path, dimension: int) -> None:
    """Change the graph in *graph_file* so that its vectors have *dimension* numbers."""
    model = onnx.load(graph_file)
    graph = model.graph
    for node in graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                if name == _OUTPUT:
                    values[place] = _WHOLE
    constants = {
        "truncation_start": np.array([0], dtype=np.int64),
        "truncation_end": np.array([dimension], dtype=np.int64),
        "truncation_axis": np.array([-1], dtype=np.int64),
        # As torch.nn.functional.normalize.
        "truncation_least": np.float32(1e-12),
    }
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    graph.node.extend(
        [
            helper.make_node(
                "Slice",
                [_WHOLE, "truncation_start", "truncation_end", "truncation_axis"],
                ["cut"],
            ),
            helper.make_node("ReduceL2", ["cut"], ["cut_length"], axes=[-1], keepdims=1),
            helper.make_node("Max", ["cut_length", "truncation_least"], ["cut_divisor"]),
            helper.make_node("Div", ["cut", "cut_divisor"], [_OUTPUT]),
        ]
    )
    (output,) = graph.output
    output.type.tensor_type.shape.dim[-1].dim_value = dimension
    onnx.save(model, graph_file)
