"""One network in several spellings: module, ONNX of both of torch's exporters, Caffe."""

from __future__ import annotations

from collections import Counter

import caffe_nets as caffe
import numpy as np
import onnx
import onnx_nets
import pytest
import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy.export.onnx import fp32
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.caffe import read_caffe
from shufflenet_deploy.network.frontends.onnx import read_onnx
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph_module import GraphModule
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.macs import complexity

SIZE = Resolution(height=20, width=24)
IMAGE = np.random.default_rng(0).normal(size=(1, 3, 20, 24)).astype(np.float32)


class Residual(nn.Module):
    """Normalised and depthwise convolutions around a sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.project = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(functional.relu(self.stem_bn(self.stem(x))))
        x = functional.relu(x + self.project(functional.relu(self.depthwise(x))))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))

    def as_caffe(self):
        conv, layer = convolution, caffe.layer
        return (
            conv("stem", "data", 8, "kernel_size: 3 stride: 2 pad: 1 bias_term: false")
            + layer("BatchNorm", "bn", "stem", "stem")
            + layer("Scale", "scale", "stem", "stem", "scale_param { bias_term: true }")
            + layer("ReLU", "r1", "stem", "stem")
            + layer("Pooling", "pool", "stem", "pool", "pooling_param { kernel_size: 3 stride: 2 }")
            + conv("depthwise", "pool", 8, "kernel_size: 3 pad: 1 group: 8")
            + layer("ReLU", "r2", "depthwise", "depthwise")
            + conv("project", "depthwise", 8, "kernel_size: 1")
            + layer("Eltwise", "sum", "pool project", "sum")
            + layer("ReLU", "r3", "sum", "sum")
            + layer(
                "Pooling", "mean", "sum", "mean", "pooling_param { pool: AVE global_pooling: true }"
            )
            + layer("InnerProduct", "fc", "mean", "fc", "inner_product_param { num_output: 5 }")
        ), caffe_weights(self, {"bn": self.stem_bn})


class Shuffled(nn.Module):
    """A unit of ShuffleNet v1 with stride 2."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 1)
        self.compress = nn.Conv2d(12, 12, 1, groups=3)
        self.depthwise = nn.Conv2d(12, 12, 3, 2, 1, groups=12)
        self.expand = nn.Conv2d(12, 12, 1, groups=3)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        y = functional.relu(self.compress(x))
        batch, channels, height, width = y.shape
        y = y.view(batch, 3, channels // 3, height, width).transpose(1, 2).contiguous()
        y = self.expand(self.depthwise(y.view(batch, channels, height, width)))
        return functional.relu(torch.cat([functional.avg_pool2d(x, 3, 2, 1), y], 1))

    def as_caffe(self):
        conv, layer = convolution, caffe.layer
        shuffle = "shuffle_channel_param { group: 3 }"
        # Caffe rounds up: a map of 20x24 takes no more windows than with rounding down.
        window = "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR }"
        return (
            conv("stem", "data", 12, "kernel_size: 1")
            + layer("ReLU", "r1", "stem", "stem")
            + layer("Pooling", "pool", "stem", "pool", window)
            + conv("compress", "stem", 12, "kernel_size: 1 group: 3")
            + layer("ReLU", "r2", "compress", "compress")
            + layer("ShuffleChannel", "shuffle", "compress", "shuffle", shuffle)
            + conv("depthwise", "shuffle", 12, "kernel_size: 3 stride: 2 pad: 1 group: 12")
            + conv("expand", "depthwise", 12, "kernel_size: 1 group: 3")
            + layer("Concat", "join", "pool expand", "join")
            + layer("ReLU", "r3", "join", "join")
        ), caffe_weights(self, {})


class Gated(nn.Module):
    """Activations and resamplings that are several operations in ONNX, and three outputs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.slopes = nn.PReLU(8)
        self.up = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1)

    def forward(self, x):
        x = functional.hardswish(self.stem(x))
        gate = functional.silu(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = x * functional.hardsigmoid(self.excite(gate))
        left, right = x.chunk(2, 1)
        x = self.slopes(torch.cat([functional.gelu(right), functional.mish(left)], 1))
        grown = functional.interpolate(self.up(x), scale_factor=2, mode="bilinear")
        near = functional.interpolate(x, size=(15, 7), mode="nearest")
        moved = functional.pixel_shuffle(functional.pad(x, (1, 0, 2, 1), mode="reflect"), 2)
        return grown, functional.elu(near), functional.leaky_relu(moved).softmax(1)


class Normed(nn.Module):
    """Layer, group and instance norms, a block with channels last, and a written root."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.grow = nn.Linear(8, 16)
        self.shrink = nn.Linear(16, 8)
        self.groups = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(x.permute(0, 2, 3, 1))
        x = x + self.shrink(functional.gelu(self.grow(y))).permute(0, 3, 1, 2)
        x = self.groups(x) + self.instance(x)
        size = torch.sqrt(x.square().sum((2, 3), keepdim=True))
        return x * (size / size.mean(1, keepdim=True))


def convolution(name, bottom, outputs, more):
    return caffe.layer(
        "Convolution", name, bottom, name, f"convolution_param {{ num_output: {outputs} {more} }}"
    )


def caffe_weights(module, norms):
    """The weights by Caffe's layers; a normalisation is two of them."""
    weights = {
        name: [parameter.detach().numpy() for parameter in child.parameters()]
        for name, child in module.named_children()
        if isinstance(child, (nn.Conv2d, nn.Linear))
    }
    for name, norm in norms.items():
        weights[name] = [norm.running_mean.numpy(), norm.running_var.numpy(), np.ones(1)]
        weights["scale"] = [norm.weight.detach().numpy(), norm.bias.detach().numpy()]
    return weights


@pytest.fixture(scope="module", params=[Residual, Shuffled, Gated, Normed])
def network(request, tmp_path_factory):
    """A module, and its graphs by spelling."""
    torch.manual_seed(0)
    module = request.param()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            for tensor in (child.weight, child.bias, child.running_mean, child.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    module.eval()
    folder = tmp_path_factory.mktemp("network")
    graphs = {}
    for spelling, more in {
        "onnx": {"dynamo": True, "opset_version": 18, "external_data": False},
        "onnx of TorchScript": {"dynamo": False, "opset_version": 13},
    }.items():
        path = folder / "net.onnx"
        with fp32.quiet():
            torch.onnx.export(module, (torch.from_numpy(IMAGE),), path, **more)
        graphs[spelling] = read_onnx(path, name="net")
    if hasattr(module, "as_caffe"):
        graphs["module"] = trace(module, SIZE, "net")
        text, weights = module.as_caffe()
        graphs["caffe"] = read_caffe(*caffe.write(folder, caffe.image(3, 20, 24) + text, weights))
    return module, graphs


def test_all_spellings_compute_the_same(network):
    module, graphs = network
    with torch.no_grad():
        expected = module(torch.from_numpy(IMAGE))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for graph in graphs.values():
        values = dict(interpreter.execute(graph, IMAGE))
        assert len(graph.outputs) == len(expected)
        for name, wanted in zip(graph.outputs, expected, strict=True):
            np.testing.assert_allclose(values[name], wanted, rtol=1e-4, atol=1e-5)


def test_all_spellings_have_the_same_layers(network):
    module, graphs = network
    kinds = {
        spelling: Counter(type(layer).__name__ for layer in graph.layers)
        for spelling, graph in graphs.items()
    }
    if isinstance(module, Shuffled):
        kinds = {
            spelling: found for spelling, found in kinds.items() if spelling.startswith("onnx")
        }
    first, *others = kinds.values()
    assert all(found == first for found in others), kinds


def test_a_graph_goes_where_modules_go(network, tmp_path):
    module, graphs = network
    made = GraphModule(graphs["onnx"])
    assert {f"{layer}.weight" for layer in ("stem",)} <= set(made.state_dict())
    counted, wanted = (complexity(one, SIZE) for one in (made, module))
    assert counted.multiply_adds == wanted.multiply_adds
    if len(made.graph.outputs) > 1:
        return  # The exporter's files have one output.
    proto = fp32.convert(made, SIZE)
    onnx.save(proto, tmp_path / "again.onnx")
    (found,) = onnx_nets.run(proto, IMAGE)
    np.testing.assert_allclose(found, interpreter.outputs(made.graph, IMAGE), rtol=1e-4, atol=1e-5)
    assert any(one.name == "stem/Conv" for one in proto.graph.node)
