"""The TFLite writer against LiteRT: every operation, with and without XNNPACK, and whole files."""

import itertools
import math

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    LocalResponseNorm,
    Multiply,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.records import Precision, Resolution

torch.set_num_threads(1)

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
ACTIVATIONS = (Activation.NONE, Activation.RELU, Activation.RELU6)


def litert(content, resolver=OpResolverType.AUTO):
    loaded = Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, num_threads=1
    )
    loaded.allocate_tensors()
    return loaded


def infer(loaded, image):
    """One float image (C, H, W) through a file; maps come back as (C, H, W)."""
    (source,), (result,) = loaded.get_input_details(), loaded.get_output_details()
    value = image.transpose(1, 2, 0)[None]
    if source["dtype"] is np.int8:
        scale, zero_point = source["quantization"]
        value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
    loaded.set_tensor(source["index"], value)
    loaded.invoke()
    output = loaded.get_tensor(result["index"])
    if result["dtype"] is np.int8:
        scale, zero_point = result["quantization"]
        output = (output.astype(np.float32) - zero_point) * np.float32(scale)
    return output[0].transpose(2, 0, 1) if output.ndim == 4 else output[0]


def graph_of(*layers, shape):
    """A graph whose shapes are what the reference computes."""
    image = torch.zeros(1, *shape)
    values, shapes = {"input": image}, {"input": shape}
    for layer in layers:
        values[layer.output] = interpreter.compute(layer, [values[name] for name in layer.inputs])
        shapes[layer.output] = tuple(values[layer.output].shape[1:])
    return Graph(
        name="net", input="input", outputs=(layers[-1].output,), layers=layers, shapes=shapes
    )


def agree(graph, *, tolerance=1e-5, seed=0):
    """Every lowering, with and without XNNPACK, computes what the reference computes."""
    image = np.random.default_rng(seed).standard_normal(graph.shapes["input"], np.float32)
    expected = interpreter.outputs(graph, image[None])[0]
    for lowering, resolver in itertools.product(
        formats.get("tflite").lowerings[Precision.FP32], RESOLVERS
    ):
        content = writer.to_bytes(graph, lowering=lowering)
        actual = infer(litert(content, resolver), image)
        assert actual.shape == expected.shape
        limit = tolerance * max(1.0, float(abs(expected).max()))
        assert abs(actual - expected).max() <= limit, (lowering, resolver)
    return content


def operations(content):
    """Names of the operations of a file, in order."""
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    return [
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for operator in model.subgraphs[0].operators
    ]


def conv(channels, out, kernel=(1, 1), groups=1, *, name="conv", source="input", **fields):
    random = np.random.default_rng(channels * 1000 + out)
    shape = (out, channels // groups, *kernel)
    return Conv(
        name=name,
        inputs=(source,),
        output=name,
        weight=random.standard_normal(shape, np.float32) / math.sqrt(math.prod(shape[1:])),
        bias=random.standard_normal(out, np.float32),
        groups=groups,
        **fields,
    )


sides = st.integers(4, 13)
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))


def padded(padding, size, kernel, stride):
    """Explicit padding: "same" as TFLite means it (the odd pixel after), or all of it before."""
    if isinstance(padding, tuple):
        return padding
    totals = [
        max(0, (-(-extent // step) - 1) * step + window - extent)
        for extent, window, step in zip(size, kernel, stride, strict=True)
    ]
    before = [total // 2 if padding == "same" else total for total in totals]
    after = [total - first for total, first in zip(totals, before, strict=True)]
    return (0, 0, 0, 0) if padding == "none" else (*before, *after)


paddings = st.sampled_from(["same", "before", "none"]) | st.tuples(*[st.integers(0, 3)] * 4)
strides = st.integers(1, 3).map(lambda step: (step, step))


@given(
    size=st.tuples(sides, sides),
    kernel=kernels,
    stride=strides,
    padding=paddings,
    groups=st.sampled_from([1, 2, 3, 6]),
    per_group=st.integers(1, 3),
    activation=st.sampled_from(ACTIVATIONS),
)
@settings(max_examples=40, deadline=None)
def test_convolutions(size, kernel, stride, padding, groups, per_group, activation):
    padding = padded(padding, size, kernel, stride)
    layer = conv(
        6,
        groups * per_group,
        kernel,
        groups,
        stride=stride,
        padding=padding,
        activation=activation,
    )
    agree(graph_of(layer, shape=(6, *size)))


@given(
    size=st.tuples(sides, sides),
    kernel=kernels,
    stride=strides,
    padding=paddings,
    kind=st.sampled_from(PoolKind),
    count=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    after_relu=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_pools(size, kernel, stride, padding, kind, count, activation, after_relu):
    # As in PyTorch, every window touches the image.
    padding = padded(padding, size, kernel, stride)
    padding = tuple(min(pad, (kernel[i % 2] - 1) // 2) for i, pad in enumerate(padding))
    first = conv(3, 5, activation=Activation.RELU if after_relu else Activation.NONE)
    pool = Pool(
        name="pool",
        inputs=("conv",),
        output="pool",
        kind=kind,
        kernel=kernel,
        stride=stride,
        padding=padding,
        count_padding=count,
        activation=activation,
    )
    agree(graph_of(first, pool, shape=(3, *size)))


@given(size=st.tuples(sides, sides), cells=st.tuples(st.integers(1, 7), st.integers(1, 7)))
@settings(max_examples=25, deadline=None)
def test_adaptive_pools_and_what_reads_them(size, cells):
    pool = AdaptiveAveragePool(name="pool", inputs=("input",), output="pool", size=cells)
    flat = Flatten(name="flat", inputs=("pool",), output="flat")
    features = 5 * cells[0] * cells[1]
    random = np.random.default_rng(1)
    dense = Dense(
        name="dense",
        inputs=("flat",),
        output="dense",
        weight=random.standard_normal((4, features), np.float32) / math.sqrt(features),
        bias=random.standard_normal(4, np.float32),
    )
    agree(graph_of(pool, shape=(5, *size)))
    agree(graph_of(pool, flat, shape=(5, *size)))
    agree(graph_of(pool, flat, dense, shape=(5, *size)))
    agree(graph_of(pool, flat, dense, conv(5, 3, source="pool"), shape=(5, *size)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_flatten_then_dense_reorders_weights_instead_of_pixels(activation):
    flat = Flatten(name="flat", inputs=("input",), output="flat")
    weight = np.random.default_rng(0).standard_normal((7, 60), np.float32)
    bias = np.arange(7, dtype=np.float32)
    dense = Dense(
        name="d", inputs=("flat",), output="d", weight=weight, bias=bias, activation=activation
    )
    content = agree(graph_of(flat, dense, shape=(3, 4, 5)), tolerance=1e-5)
    assert operations(content) == ["RESHAPE", "FULLY_CONNECTED"]
    assert "TRANSPOSE" in operations(agree(graph_of(flat, shape=(3, 4, 5))))


@given(size=st.tuples(sides, sides), groups=st.sampled_from([2, 3, 4, 8]), width=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_shuffle_is_one_transpose(size, groups, width):
    layer = Shuffle(name="shuffle", inputs=("input",), output="shuffle", groups=groups)
    content = agree(graph_of(layer, shape=(groups * width, *size)), tolerance=0)
    assert operations(content) == ["RESHAPE", "TRANSPOSE", "RESHAPE"]


@given(
    channels=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5, 9]),
    alpha=st.floats(1e-5, 1),
    beta=st.floats(0.5, 1),
    k=st.floats(1, 2),
)
@settings(max_examples=15, deadline=None)
def test_response_norm(channels, size, alpha, beta, k):
    norm = LocalResponseNorm(
        name="n", inputs=("input",), output="n", size=size, alpha=alpha, beta=beta, k=k
    )
    agree(graph_of(norm, shape=(channels, 3, 4)))


@pytest.mark.parametrize("gate", [Activation.SIGMOID, Activation.HARD_SIGMOID, Activation.RELU])
def test_gates(gate):
    layers = (
        AdaptiveAveragePool(name="squeeze", inputs=("input",), output="squeeze", size=(1, 1)),
        conv(6, 6, source="squeeze"),
        Elementwise(name="gate", inputs=("conv",), output="gate", activation=gate),
        Multiply(name="scaled", inputs=("input", "gate"), output="scaled"),
    )
    agree(graph_of(*layers, shape=(6, 5, 7)))
    fused = conv(6, 6, activation=gate)
    agree(graph_of(fused, shape=(6, 5, 7)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shared", [False, True])
def test_sum_and_concat_with_activation(activation, shared):
    layers = [
        conv(4, 4, activation=Activation.RELU),
        conv(4, 4, name="other", source="conv"),
        Add(name="add", inputs=("conv", "other"), output="add", activation=activation),
        Concat(name="cat", inputs=("add", "other", "conv"), output="cat", activation=activation),
    ]
    if shared:
        layers.append(conv(12, 3, name="last", source="cat"))
    else:
        layers[2] = Add(name="add", inputs=("conv", "conv"), output="add", activation=activation)
    content = agree(graph_of(*layers, shape=(4, 5, 6)))
    standing = operations(content).count("RELU") + operations(content).count("RELU6")
    # Read by the sum as well, the convolution cannot take the activation of the concat.
    assert standing == (activation is not Activation.NONE) * (
        shared or activation is Activation.RELU6
    )


def small_net():
    """A convolution, a pool, a shuffle and a head: most of what a file can hold."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.ChannelShuffle(3),
        nn.Conv2d(12, 12, 3, 1, 1, groups=12),
        nn.Conv2d(12, 24, 1, groups=3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    ).eval()


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    resolution = Resolution(height=33, width=48)
    graph = trace(small_net(), resolution, "net")
    content = writer.to_bytes(graph)
    assert content == writer.to_bytes(trace(small_net(), resolution, "net"))
    writer.write(graph, tmp_path / "net.tflite")
    assert (tmp_path / "net.tflite").read_bytes() == content
    with pytest.raises(UsageError, match="choose one of auto, paper"):
        writer.write(graph, tmp_path / "other.tflite", lowering="magic")
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]


def test_what_a_file_says_about_itself():
    graph = trace(small_net(), Resolution(height=33, width=48), "net")
    content = writer.to_bytes(graph)
    assert content[4:8] == b"TFL3"
    loaded = litert(content, RESOLVERS[1])
    (source,), (result,) = loaded.get_input_details(), loaded.get_output_details()
    assert (source["name"], tuple(source["shape"]), source["dtype"]) == (
        "input",
        (1, 33, 48, 3),
        np.float32,
    )
    assert (result["name"], tuple(result["shape"])) == (graph.output, (1, 10))
    assert list(loaded.get_signature_list()) == ["serving_default"]
    model = schema.Model.GetRootAs(content)
    assert model.Description() == b"net, written by shufflenet-deploy"
    assert model.Metadata(0).Name() == b"min_runtime_version"
    versions = {model.OperatorCodes(i).Version() for i in range(model.OperatorCodesLength())}
    assert versions == {1, 6}  # Six is the first with groups.


def test_buffers_are_aligned_and_shared():
    graph = trace(small_net(), Resolution(height=33, width=48), "net")
    content = writer.to_bytes(graph)
    model = schema.Model.GetRootAs(content)
    seen = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0
            seen.append(buffer.DataAsNumpy().tobytes())
    assert len(seen) == len(set(seen))


def test_values_of_the_graph_keep_their_names():
    graph = trace(small_net(), Resolution(height=33, width=48), "net")
    content = writer.to_bytes(graph, lowering="paper")
    loaded = Interpreter(
        model_content=content,
        experimental_op_resolver_type=RESOLVERS[1],
        experimental_preserve_all_tensors=True,
    )
    loaded.allocate_tensors()
    image = np.random.default_rng(3).standard_normal((3, 33, 48), np.float32)
    infer(loaded, image)
    expected = interpreter.activations(graph, image)
    found = {tensor["name"]: tensor["index"] for tensor in loaded.get_tensor_details()}
    assert set(expected) <= set(found)
    for name, value in expected.items():
        actual = loaded.get_tensor(found[name])[0]
        actual = actual.transpose(2, 0, 1) if actual.ndim == 3 else actual
        np.testing.assert_allclose(actual, value, atol=1e-5, rtol=1e-5)
