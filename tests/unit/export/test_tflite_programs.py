"""Lowered programs as such: nothing is read before it is written, and int8 keeps kernels' rules."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.inspection.contents import inspect
from shufflenet_deploy.export.layer_sqnr import compare
from shufflenet_deploy.export.lowering_names import parse
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.export.tflite.file import TfliteFile
from shufflenet_deploy.export.tflite.int8 import computed_in_float, quantised
from shufflenet_deploy.export.tflite.lowering import lower
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import Precision
from tests.builders.operator_graphs import (
    conv,
    graph_of,
    layer,
    numbers,
    random_network,
    transposed,
)

#: Operations that hand stored numbers on, so that all their tensors have one scale.
MOVING = {
    *("CONCATENATION", "DEPTH_TO_SPACE", "GATHER", "MAXIMUM", "MAX_POOL_2D", "MINIMUM"),
    *("MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "STRIDED_SLICE", "TRANSPOSE"),
}
FIXED = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}


def program_of(graph):
    return lower(graph, plan(parse("paper", "tflite", Precision.FP32)))


def in_order(program):
    """Every tensor is written once and before it is read, and moves keep the elements."""
    written = {program.input}
    for operation in program.operations:
        for name in operation.inputs:
            assert name in written or program.tensors[name].data is not None, name
        assert operation.output not in written
        written.add(operation.output)
        shapes = [program.tensors[name].shape for name in (*operation.inputs, operation.output)]
        if operation.code in ("RESHAPE", "TRANSPOSE"):
            assert math.prod(shapes[0]) == math.prod(shapes[-1])
    assert {*program.outputs} <= written
    assert len({*program.outputs}) == len(program.outputs)


def scale_of(tensor):
    return tensor.quantization.scale[0], tensor.quantization.zero_point[0]


@pytest.mark.parametrize("seed", range(100, 124))
def test_random_networks(seed):
    graph = random_network(seed)
    program = program_of(graph)
    in_order(program)
    images = [numbers(1, *graph.shapes["input"], seed=one) for one in range(2)]
    rounded = quantised(program, calibration.calibrate(graph, images))
    in_order(rounded)
    floats = computed_in_float(rounded)
    for operation in rounded.operations:
        tensors = [rounded.tensors[name] for name in (*operation.inputs, operation.output)]
        stored = [tensor for tensor in tensors if tensor.dtype == "int8"]
        if operation.output in floats:
            assert not stored
        elif operation.code in MOVING:
            assert len({scale_of(tensor) for tensor in stored}) == 1
        elif operation.code in FIXED:
            scale, zero_point = scale_of(tensors[-1])
            assert (scale, zero_point) == FIXED[operation.code]
    assert len(writer.pack(rounded)) < len(writer.pack(program)) + 20_000


def test_what_tflite_lacks_is_refused_by_the_layers_name():
    rows = layer(g.Reshape, "rows", shape=(3, 16))
    dense = layer(g.Dense, "dense", "rows", weight=numbers(2, 16), bias=numbers(2))
    even = layer(g.LocalResponseNorm, "norm", size=4, alpha=1.0, beta=0.5, k=1.0)
    for layers, words in (
        ([rows, dense], "'dense' multiplies the rows of a matrix"),
        ([layer(g.Pad, "pad", padding=(0, 0, -1, 0))], "'pad' pads by less than nothing"),
        ([even], "'norm' normalises over an even number of channels"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            writer.to_bytes(graph_of(*layers, shape=(3, 4, 4)))


def test_a_convolution_whose_channels_were_reordered_is_compared_all_the_same(tmp_path):
    layers = [conv(3, 12, (3, 3)), layer(g.DepthToSpace, "wide", "conv", block=2)]
    graph = graph_of(*layers, shape=(3, 6, 7))
    writer.write(graph, tmp_path / "net.tflite")
    rows = compare(graph, TfliteFile(tmp_path / "net.tflite"), [numbers(1, 3, 6, 7)])
    found = {row.layer: (row.tensor, row.sqnr_db) for row in rows}
    assert found["conv"][0] == "conv:blockwise"
    assert min(found[name][1] for name in ("conv", "wide")) > 100
    assert np.isfinite(found["wide"][1])


def test_inspect_counts_what_a_transposed_convolution_multiplies(tmp_path):
    up = transposed(4, 6, (3, 3), stride=(2, 2))
    writer.write(graph_of(up, shape=(4, 5, 7)), tmp_path / "net.tflite")
    found = inspect(tmp_path / "net.tflite")
    assert found.multiply_adds == 5 * 7 * up.weight.size
    assert found.parameters == up.weight.size + up.bias.size
