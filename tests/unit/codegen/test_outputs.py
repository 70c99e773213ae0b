"""Several outputs in ``net.h`` and the metadata, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from shufflenet_deploy import codegen
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import Conv, Flatten, Graph, Layer

TARGET = codegen.cpu_target_named("x86-64")


def graph(*outputs, more=()):
    weight = np.ones((4, 3, 1, 1), np.float32)
    conv = Conv(
        name="conv", inputs=("x",), output="map", weight=weight, bias=np.zeros(4, np.float32)
    )
    flat = Flatten(name="flat", inputs=("map",), output="flat")
    shapes = {"x": (3, 2, 5), "map": (4, 2, 5), "flat": (40,), "odd": (4, 2, 5)}
    layers = (conv, flat, *more)
    return Graph(name="net", input="x", outputs=outputs, layers=layers, shapes=shapes)


def test_a_single_output_is_the_array():
    source = codegen.generate(graph("map"), TARGET)
    assert "#define NET_OUTPUT_SHAPE 1, 4, 2, 5\n" in source.header
    assert "NET_OUTPUTS" not in source.header
    assert "outputs" not in json.loads(source.description)


def test_several_outputs_lie_one_after_the_other():
    source = codegen.generate(graph("flat", "map"), TARGET)
    assert source.output_shape == (80,)
    for line in (
        "NET_OUTPUT_SHAPE 1, 80",
        "NET_OUTPUT_FLOATS 80",
        "NET_OUTPUTS 2",
        'NET_OUTPUT_0_NAME "flat"',
        "NET_OUTPUT_0_SHAPE 1, 40",
        "NET_OUTPUT_0_OFFSET 0",
        "NET_OUTPUT_1_SHAPE 1, 4, 2, 5",
        "NET_OUTPUT_1_OFFSET 40",
    ):
        assert f"#define {line}\n" in source.header
    assert json.loads(source.description)["outputs"] == [
        {"name": "flat", "shape": [40], "offset": 0},
        {"name": "map", "shape": [4, 2, 5], "offset": 40},
    ]


@dataclass(frozen=True, kw_only=True)
class Unheard(Layer):
    """A layer that there is no code for."""


def test_a_layer_without_code_is_named_with_the_way_on():
    odd = Unheard(name="block.odd", inputs=("map",), output="odd")
    message = "block.odd: the native format has no code for Unheard: export onnx or tflite"
    with pytest.raises(ExportError, match=message):
        codegen.generate(graph("odd", more=(odd,)), TARGET)
