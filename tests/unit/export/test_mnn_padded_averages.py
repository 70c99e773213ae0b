"""Padded averages as a pad and an average: the same numbers, as onnxruntime computes them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from shufflenet_deploy.export.mnn.padded_averages import bordered


def pooled(*, counted: int, pads: list[int]) -> onnx.ModelProto:
    """One average over windows of 3x3 with stride 2."""
    shapes = {"x": [1, 2, 7, 6], "y": [1, 2, None, None]}
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=pads,
        count_include_pad=counted,
    )  # fmt: skip
    graph = helper.make_graph([node], "net", [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answer(model: onnx.ModelProto) -> np.ndarray:
    image = np.random.default_rng(0).normal(size=(1, 2, 7, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"x": image})[0])


@pytest.mark.parametrize(
    ("counted", "pads", "kinds"),
    [
        (1, [1, 0, 1, 2], ["Pad", "AveragePool"]),
        (0, [1, 1, 1, 1], ["AveragePool"]),
        (1, [0, 0, 0, 0], ["AveragePool"]),
    ],
)
def test_a_border_that_counts_is_padded(counted: int, pads: list[int], kinds: list[str]) -> None:
    before = answer(pooled(counted=counted, pads=pads))
    model = bordered(pooled(counted=counted, pads=pads))
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == kinds
    assert np.allclose(answer(model), before, atol=1e-6)
