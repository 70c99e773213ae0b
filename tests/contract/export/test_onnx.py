"""ONNX files: what torch's exporter and onnxruntime's quantiser make of our networks."""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.image_set import Batches, load_image_set
from shufflenet_deploy.export.onnx import fp32, int8
from shufflenet_deploy.export.parity import sqnr_db
from shufflenet_deploy.export.request import CALIBRATION_METHODS
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import AdaptiveAveragePool
from shufflenet_deploy.network.graph_module import GraphModule
from shufflenet_deploy.records import Resolution

SIZE = Resolution(height=96, width=64)


class Shuffle(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)


class Tiny(nn.Module):
    """One of everything that a ShuffleNet has, small enough for a test."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12))
        self.compress = nn.Conv2d(12, 12, 1, groups=3, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.shuffle = Shuffle()
        self.depthwise = nn.Conv2d(12, 12, 3, 1, 1, groups=12)
        self.shortcut = nn.AvgPool2d(3, 2, 1)
        self.pool = nn.AdaptiveAvgPool2d(5)
        self.classifier = nn.Linear(12 * 25, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = self.depthwise(self.shuffle(torch.relu(self.norm(self.compress(x)))))
        return self.classifier(self.pool(self.shortcut(torch.relu(x + y))).flatten(1))


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = Tiny().eval()
    for norm in (module.stem[1], module.norm):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
    return module


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> onnx.ModelProto:
    return fp32.convert(tiny, SIZE)


@pytest.fixture(scope="module")
def batches() -> Batches:
    return Batches(load_image_set(None).calibration[:4], zoo.Preprocessing(), SIZE)


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": image})[0]


def test_computes_what_the_module_computes(
    tiny: Tiny, model: onnx.ModelProto, batches: Batches
) -> None:
    with torch.inference_mode():
        wanted = tiny(torch.from_numpy(batches[0])).numpy()
    np.testing.assert_allclose(run(model, batches[0]), wanted, atol=1e-5)


def test_is_static_folded_and_of_an_old_opset(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert (source.name, sink.name) == ("input", "logits")
    assert [d.dim_value for d in source.type.tensor_type.shape.dim] == [1, 3, 96, 64]
    assert [d.dim_value for d in sink.type.tensor_type.shape.dim] == [1, 10]
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts["BatchNormalization"] == 0
    assert counts["Conv"] == 3
    assert counts["Transpose"] == 1
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version == 8


def test_nodes_carry_the_names_of_modules(model: onnx.ModelProto) -> None:
    names = {node.name for node in model.graph.node}
    assert {"stem.1/Conv", "norm/Conv", "shuffle/Transpose", "classifier/Gemm"} <= names
    assert len(names) == len(model.graph.node)


def test_the_same_module_gives_the_same_bytes_and_nothing_of_this_machine(
    tiny: Tiny, model: onnx.ModelProto
) -> None:
    content = model.SerializeToString(deterministic=True)
    assert fp32.convert(tiny, SIZE).SerializeToString(deterministic=True) == content
    for rest in (b"site-packages", b"test_export_onnx", str(Path.cwd()).encode(), b"stack_trace"):
        assert rest not in content
    assert f"/{getpass.getuser()}/".encode() not in content


def test_the_module_is_left_as_it_was(tiny: Tiny) -> None:
    before = {name: type(child) for name, child in tiny.named_modules()}
    fp32.convert(tiny, SIZE)
    assert {name: type(child) for name, child in tiny.named_modules()} == before


def test_the_exporter_says_nothing(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    fp32.convert(tiny, SIZE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(6, 6), (7, 11), (14, 19), (21, 39), (12, 18), (1, 1), (4, 6)])
@pytest.mark.parametrize("grid", [6, 1, (3, 5)])
def test_grids_are_torchs_adaptive_windows(
    size: tuple[int, int], grid: int | tuple[int, int]
) -> None:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(grid))
    x = torch.rand(2, 3, *size)
    wanted = pool(x)
    with fp32.fixed_pools(pool, x):
        assert not isinstance(pool[0], nn.AdaptiveAvgPool2d)
        torch.testing.assert_close(pool(x), wanted)
    assert isinstance(pool[0], nn.AdaptiveAvgPool2d)


def test_what_cannot_be_exported_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else x * 2

    with pytest.raises(ExportError, match=r"torch\.onnx cannot export this model: ") as caught:
        fp32.convert(Branching().eval(), SIZE)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_a_network_raises_is_one_line() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_compiling():
                raise KeyError("alpha")
            return x

    with pytest.raises(ExportError, match=r"torch\.onnx cannot export this model: .*alpha"):
        fp32.convert(Broken().eval(), SIZE)


def test_a_network_need_not_be_printable() -> None:
    class Unprintable(nn.Conv2d):
        def __repr__(self) -> str:
            raise KeyError("alpha")

    network = nn.Sequential(Unprintable(3, 2, 1), nn.ReLU()).eval()
    printed = nn.Module.__repr__
    found = fp32.convert(network, SIZE)
    assert [node.op_type for node in found.graph.node] == ["Conv", "Relu"]
    assert nn.Module.__repr__ is printed


def test_a_gathered_shuffle_is_the_same_shuffle(model: onnx.ModelProto, batches: Batches) -> None:
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    int8.gathered_shuffles(rewritten)
    onnx.checker.check_model(rewritten, full_check=True)
    counts = Counter(node.op_type for node in rewritten.graph.node)
    assert (counts["Gather"], counts["Transpose"]) == (1, 0)
    np.testing.assert_array_equal(run(rewritten, batches[0]), run(model, batches[0]))


def test_an_average_by_convolution_is_the_same_average(
    model: onnx.ModelProto, batches: Batches
) -> None:
    rewritten = int8.convolved_averages(onnx.shape_inference.infer_shapes(model))
    counts = Counter(node.op_type for node in rewritten.graph.node)
    assert (counts["AveragePool"], counts["Conv"]) == (0, 4)
    np.testing.assert_allclose(run(rewritten, batches[0]), run(model, batches[0]), atol=1e-5)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_int8_is_integer_throughout(
    model: onnx.ModelProto, batches: Batches, method: str, tmp_path: Path
) -> None:
    quantised = int8.quantize(model, batches, method)
    assert sqnr_db(run(model, batches[1]), run(quantised, batches[1])) > 15
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        quantised.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kernels["QLinearConv"] == 4
    assert kernels["Conv"] == kernels["FusedConv"] == 0
    # The image is rounded once; the logits leave the last layer as float.
    assert kernels["QuantizeLinear"] <= 2
    weights = [t for t in quantised.graph.initializer if t.name.endswith("scale") and t.dims]
    assert any(len(onnx.numpy_helper.to_array(scales)) == 12 for scales in weights)


def test_equal_requests_are_equal_bytes_whatever_the_number_of_threads(
    model: onnx.ModelProto, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime calibrates on as many as it likes; its sums do not depend on that."""
    made, options = [], onnxruntime.SessionOptions
    for threads in (1, 3):

        def with_threads(count: int = threads) -> onnxruntime.SessionOptions:
            chosen = options()
            chosen.intra_op_num_threads = count
            return chosen

        monkeypatch.setattr(onnxruntime, "SessionOptions", with_threads)
        quantised = int8.quantize(model, batches, "entropy")
        made.append(quantised.SerializeToString(deterministic=True))
    assert made[0] == made[1]


def test_grouped_transposed_convolutions_and_other_reshapes_are_quantised() -> None:
    class Upsampling(nn.Module):
        """A channel shuffle until its last reshape, by its looks; and groups of two outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 4, 1)
            self.up = nn.ConvTranspose2d(8, 4, 4, 2, 1, groups=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.up(self.stem(x))
            n, c, h, w = x.shape
            mixed = x.view(n, 2, c // 2, h, w).transpose(1, 2)
            return mixed.reshape(n, c // 2, 2 * h, w).mean((2, 3))

    torch.manual_seed(0)
    module = Upsampling().eval()
    model = fp32.convert(module, SIZE)
    random = np.random.default_rng(0)
    pictures = [random.standard_normal((1, 3, 96, 64)).astype(np.float32) for _ in range(4)]
    quantised = int8.quantize(model, pictures, "minmax")
    assert sqnr_db(run(model, pictures[1]), run(quantised, pictures[1])) > 20


def test_a_pool_of_a_graph_keeps_the_layers_that_are_inside_of_it_by_name() -> None:
    class Gated(nn.Module):
        """The gate's own ``forward`` pools; its convolution is a layer inside of it."""

        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Module()
            self.gate.add_module("reduce", nn.Conv2d(3, 3, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.gate.reduce(nn.functional.adaptive_avg_pool2d(x, 1)).sigmoid()

    graph = trace(Gated().eval(), SIZE, "gated")
    (pool,) = (one for one in graph.layers if isinstance(one, AdaptiveAveragePool))
    layers = [replace(one, name="gate") if one is pool else one for one in graph.layers]
    module = GraphModule(replace(graph, layers=tuple(layers)))
    model = fp32.convert(module, SIZE)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = torch.randn(1, 3, SIZE.height, SIZE.width)
    (found,) = session.run(None, {"input": image.numpy()})
    np.testing.assert_allclose(found, module(image).numpy(), rtol=1e-4, atol=1e-5)
