"""int8 ONNX in onnxruntime's own layout: integer throughout, and accurate."""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.image_set import Batches, load_image_set
from shufflenet_deploy.export.lowering_names import parse
from shufflenet_deploy.export.onnx import channels_last
from shufflenet_deploy.export.parity import sqnr_db
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.export.tflite.file import TfliteFile
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import Precision, Resolution
from tests.builders.operator_graphs import conv, graph_of, layer

SIZE = Resolution(height=96, width=64)

#: Integer operators, and what only moves bytes.
INTEGER = {
    "QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearGlobalAveragePool",
    "QLinearAveragePool", "QGemm", "NhwcMaxPool",
    "QuantizeLinear", "Transpose", "Reshape", "Concat",
}  # fmt: skip


def choices(text="channels-last"):
    return plan(parse(text, "onnx", Precision.INT8))


def prepared(module, size=SIZE):
    graph = trace(module.eval(), size, "net")
    shipped, how = load_image_set(None), zoo.Preprocessing()
    ranges = calibration.calibrate(graph, list(Batches(shipped.calibration[:4], how, size)))
    return graph, ranges, list(Batches(shipped.held_out[:2], how, size))


def run(model, image):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": image})[0]


@pytest.fixture(scope="module")
def shufflenet():
    torch.set_num_threads(1)
    return prepared(zoo.load("shufflenet-g3-0.5x").module)


@pytest.mark.parametrize(
    "text", ["channels-last", "channels-last:stage2=blocks+stage3=transpose+stage4=dense"]
)
def test_a_shufflenet_is_integer_throughout_and_accurate(shufflenet, text):
    graph, ranges, validation = shufflenet
    model = channels_last.convert(graph, ranges, choices(text))
    kinds = [node.op_type for node in model.graph.node]
    assert set(kinds) <= INTEGER
    assert kinds.count("QuantizeLinear") == 1
    (source,), (sink,) = model.graph.input, model.graph.output
    assert (source.name, sink.name) == ("input", "logits")
    assert source.type.tensor_type.elem_type == sink.type.tensor_type.elem_type == 1
    for image in validation:
        assert sqnr_db(interpreter.outputs(graph, image)[0], run(model, image)) >= 10


def test_every_depthwise_kernel_gets_whole_vectors_of_channels(shufflenet):
    graph, ranges, _ = shufflenet
    model = channels_last.convert(graph, ranges, choices())
    widths = {one.name: one.dims for one in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "QLinearConv"]
    groups = [onnx.helper.get_node_attr_value(node, "group") for node in convs]
    depthwise = [
        group
        for node, group in zip(convs, groups, strict=True)
        if widths[node.input[3]][1] == 1 and "shortcut" not in node.name
    ]
    assert len(depthwise) == 16
    assert all(group % 8 == 0 for group in depthwise)


def test_int8_and_uint8_hold_the_same_numbers(shufflenet):
    graph, ranges, validation = shufflenet
    one, other = (
        channels_last.convert(graph, ranges, choices(), unsigned=unsigned)
        for unsigned in (True, False)
    )
    wanted = run(one, validation[0])
    assert (
        sqnr_db(wanted, run(other, validation[0])) >= 25
    )  # Kernels round half a step differently.


def test_the_same_graph_gives_the_same_bytes(shufflenet):
    graph, ranges, _ = shufflenet
    first, second = (
        channels_last.convert(graph, ranges, choices()).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


def test_gates_are_integer_and_agree_with_the_tflite_file(tmp_path):
    """Untrained gates make noise of roundings; both files must make the same."""
    graph, ranges, validation = prepared(zoo.load("shufflenet-g3-0.5x-se").module)
    model = channels_last.convert(graph, ranges, choices())
    assert {node.op_type for node in model.graph.node} <= INTEGER
    writer.write_int8(graph, ranges, tmp_path / "se.tflite")
    twin = TfliteFile(tmp_path / "se.tflite")
    assert sqnr_db(twin.run(validation[0]), run(model, validation[0])) >= 12


class Odd(nn.Module):
    """Layers that a ShuffleNet lacks: response norm, uneven pools, a ReLU after an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 5, 3, 1)
        self.norm = nn.LocalResponseNorm(5, 1e-2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.average = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.norm(self.stem(x)))
        x = torch.relu(x + self.conv(x))
        return self.head(self.average(x)).mean((2, 3))


def test_other_layers_and_heads():
    torch.manual_seed(1)
    graph, ranges, validation = prepared(Odd())
    model = channels_last.convert(graph, ranges, choices())
    for image in validation:
        assert sqnr_db(interpreter.outputs(graph, image)[0], run(model, image)) >= 15


def test_an_operation_without_an_integer_operator_is_named():
    graph, ranges, _ = prepared(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 1)))
    lifted = {name: (low, 9.0) for name, (low, _) in ranges.spans.items()}
    ranges = replace(ranges, spans=lifted)
    with pytest.raises(ExportError, match="more than its activation lets through"):
        channels_last.convert(graph, ranges, choices())


def test_layers_whose_operations_would_be_read_wrongly_are_named():
    ranges = Ranges(method="minmax", pictures=1, spans={}, means={})
    bordered = layer(g.Pad, "border", padding=(1, 1, 1, 1), value=1.0)
    dilated = conv(3, 4, (3, 3), dilation=(2, 2))
    two = graph_of(conv(3, 4), conv(4, 4, name="b", source="conv"), shape=(3, 8, 8))
    for graph, words in (
        (graph_of(bordered, conv(3, 4, source="border"), shape=(3, 8, 8)), "'border' is a Pad"),
        (graph_of(dilated, shape=(3, 8, 8)), "'conv' is a dilated convolution"),
        (replace(two, outputs=("b", "conv")), "net has 2 outputs"),
    ):
        with pytest.raises(ExportError, match=words):
            channels_last.convert(graph, ranges, choices())
