"""Caffe networks as graphs, against OpenCV's own reader of them."""

from __future__ import annotations

import caffe_nets as caffe
import cv2
import numpy as np
import pytest

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.caffe import read_caffe
from shufflenet_deploy.network.graph import Shuffle
from shufflenet_deploy.records import Resolution

RANDOM = np.random.default_rng(0)
STEM = caffe.layer(
    "Convolution", "stem", "data", "stem", "convolution_param { num_output: 8 kernel_size: 1 }"
)
STEM_WEIGHTS = {"stem": [RANDOM.normal(size=(8, 3, 1, 1)), RANDOM.normal(size=8)]}


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def compare(tmp_path, text, weights, *, old=False, size=(9, 11), atol=1e-5):
    """The graph, after its outputs were those of OpenCV."""
    prototxt, model = caffe.write(tmp_path, text, weights, old=old)
    graph = read_caffe(prototxt, model)
    image = normal(1, graph.shapes[graph.input][0], *size)
    network = cv2.dnn.readNetFromCaffe(str(prototxt), str(model))
    network.setInput(image)
    expected = network.forward()
    found = interpreter.outputs(graph, image)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=atol)
    return graph


def after_stem(tmp_path, text, weights=(), **more):
    return compare(tmp_path, caffe.image() + STEM + text, STEM_WEIGHTS | dict(weights), **more)


@pytest.mark.parametrize(
    ("more", "shape"),
    [
        ("kernel_size: 3", (4, 8, 3, 3)),
        ("kernel_size: 3 pad: 1 stride: 2 group: 2", (4, 4, 3, 3)),
        ("kernel_h: 1 kernel_w: 5 pad_h: 0 pad_w: 2 stride_h: 2 stride_w: 1", (4, 8, 1, 5)),
        ("kernel_size: 3 dilation: 2 pad: 2", (4, 8, 3, 3)),
    ],
)
def test_convolution(tmp_path, more, shape):
    text = caffe.layer(
        "Convolution", "c", "stem", "c", f"convolution_param {{ num_output: 4 {more} }}"
    )
    after_stem(tmp_path, text, {"c": [normal(*shape), normal(4)]})


@pytest.mark.parametrize("kind", ["ConvolutionDepthwise", "DepthwiseConvolution"])
def test_depthwise_convolution_is_one_in_groups(tmp_path, kind):
    parameter = "convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 bias_term: false {} }}"
    weights = STEM_WEIGHTS | {"c": [normal(8, 1, 3, 3)]}
    graphs = []
    for each, more in ((kind, ""), ("Convolution", "group: 8")):
        text = caffe.image() + STEM + caffe.layer(each, "c", "stem", "c", parameter.format(more))
        graphs.append(read_caffe(*caffe.write(tmp_path, text, weights)))
    image = normal(1, 3, 9, 11)
    a, b = (interpreter.outputs(graph, image) for graph in graphs)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("more", "shape"),
    [
        ("kernel_size: 4 stride: 2 pad: 1", (8, 4, 4, 4)),
        ("kernel_size: 3 stride: 2 group: 2", (8, 2, 3, 3)),
    ],
)
def test_deconvolution(tmp_path, more, shape):
    text = caffe.layer(
        "Deconvolution", "c", "stem", "c", f"convolution_param {{ num_output: 4 {more} }}"
    )
    after_stem(tmp_path, text, {"c": [normal(*shape), normal(4)]})


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(9, 11), (8, 7), (5, 6)])
@pytest.mark.parametrize(
    "window",
    [
        "kernel_size: 3 stride: 2",
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_size: 2 stride: 2",
        "kernel_size: 3 stride: 3 pad: 1",
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1",
        "global_pooling: true",
    ],
)
def test_pool(tmp_path, method, size, window):
    text = caffe.layer("Pooling", "p", "data", "p", f"pooling_param {{ pool: {method} {window} }}")
    compare(tmp_path, caffe.image(3, *size) + text, STEM_WEIGHTS, size=size)


def test_pool_that_rounds_down(tmp_path):
    text = caffe.image(3, 8, 8) + caffe.layer(
        "Pooling", "p", "data", "p", "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }"
    )
    graph = read_caffe(*caffe.write(tmp_path, text, STEM_WEIGHTS))
    assert graph.shapes[graph.output] == (3, 3, 3)


def test_normalisation_folds_into_the_convolution(tmp_path):
    text = caffe.layer("BatchNorm", "bn", "stem", "stem", "batch_norm_param { eps: 0.001 }")
    text += caffe.layer("Scale", "scale", "stem", "stem", "scale_param { bias_term: true }")
    text += caffe.layer("ReLU", "relu", "stem", "stem")
    statistics = [normal(8), np.abs(normal(8)) + 1, np.float32([2.5])]
    weights = {"bn": statistics, "scale": [normal(8), normal(8)]}
    graph = after_stem(tmp_path, text, weights)
    assert [type(layer).__name__ for layer in graph.layers] == ["Conv"]
    assert [layer.name for layer in graph.layers] == ["stem"]


@pytest.mark.parametrize(
    ("kind", "more", "weights"),
    [
        ("ReLU", "relu_param { negative_slope: 0.1 }", []),
        ("PReLU", "", [normal(8)]),
        ("PReLU", "prelu_param { channel_shared: true }", [normal(1)]),
        ("ELU", "elu_param { alpha: 1 }", []),
        ("Sigmoid", "", []),
        ("TanH", "", []),
        ("Power", "power_param { scale: 0.5 shift: 2 }", []),
        ("Softmax", "", []),
        ("LRN", "lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 }", []),
        ("Dropout", "", []),
        ("Flatten", "", []),
        ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 11 } }", []),
        ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", []),
        ("ShuffleChannel", "shuffle_channel_param { group: 2 }", []),
        ("InnerProduct", "inner_product_param { num_output: 5 }", [normal(5, 792), normal(5)]),
    ],
)
def test_layers_of_one_blob(tmp_path, kind, more, weights):
    after_stem(tmp_path, caffe.layer(kind, "it", "stem", "it", more), {"it": weights})


@pytest.mark.parametrize(
    "more",
    [
        "operation: SUM",
        "operation: SUM coeff: 1 coeff: -0.5",
        "operation: PROD",
        "operation: MAX",
    ],
)
def test_eltwise(tmp_path, more):
    text = caffe.layer("Sigmoid", "s", "stem", "s")
    text += caffe.layer("Eltwise", "e", "stem s", "e", f"eltwise_param {{ {more} }}")
    after_stem(tmp_path, text)


def test_slices_and_joins(tmp_path):
    text = caffe.layer("Slice", "s", "stem", "a b", "slice_param { slice_point: 3 }")
    text += caffe.layer("Concat", "c", "b a", "c")
    after_stem(tmp_path, text)


def test_a_gate_per_channel(tmp_path):
    text = caffe.layer(
        "Pooling", "p", "stem", "p", "pooling_param { pool: AVE global_pooling: true }"
    )
    text += caffe.layer("Sigmoid", "g", "p", "g")
    text += caffe.layer("Axpy", "x", "g stem stem", "x")
    prototxt, model = caffe.write(tmp_path, caffe.image() + STEM + text, STEM_WEIGHTS)
    graph, image = read_caffe(prototxt, model), normal(1, 3, 9, 11)
    values = interpreter.activations(graph, image[0])
    stem = values["stem"]
    gate = 1 / (1 + np.exp(-stem.mean((1, 2), keepdims=True)))
    np.testing.assert_allclose(values[graph.output], gate * stem + stem, rtol=1e-5, atol=1e-6)


def shufflenet_unit():
    """A unit of ShuffleNet v1 with stride 2 in the layers of its Caffe re-implementations."""

    def conv(name, bottom, outputs, more):
        parameter = f"convolution_param {{ num_output: {outputs} bias_term: false {more} }}"
        text = caffe.layer("Convolution", name, bottom, name, parameter)
        text += caffe.layer("BatchNorm", f"{name}_bn", name, name)
        return text + caffe.layer(
            "Scale", f"{name}_scale", name, name, "scale_param { bias_term: true }"
        )

    text = caffe.image(3, 20, 20)
    text += conv("conv1", "data", 12, "kernel_size: 3 stride: 2 pad: 1")
    text += caffe.layer("ReLU", "relu1", "conv1", "conv1")
    text += caffe.layer(
        "Pooling", "match", "conv1", "match", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"
    )
    text += conv("a", "conv1", 12, "kernel_size: 1 group: 3")
    text += caffe.layer("ReLU", "a_relu", "a", "a")
    text += caffe.layer(
        "ShuffleChannel", "shuffle", "a", "shuffle", "shuffle_channel_param { group: 3 }"
    )
    text += conv("b", "shuffle", 12, "kernel_size: 3 stride: 2 pad: 1 group: 12")
    text += conv("c", "b", 24, "kernel_size: 1 group: 3")
    text += caffe.layer("Concat", "join", "match c", "join")
    text += caffe.layer("ReLU", "join_relu", "join", "join")
    text += caffe.layer(
        "Pooling", "pool", "join", "pool", "pooling_param { pool: AVE global_pooling: true }"
    )
    text += caffe.layer("InnerProduct", "fc", "pool", "fc", "inner_product_param { num_output: 7 }")
    text += caffe.layer("Softmax", "prob", "fc", "prob")
    weights = {"fc": [normal(7, 36), normal(7)]}
    for name, shape in {
        "conv1": (12, 3, 3, 3),
        "a": (12, 4, 1, 1),
        "b": (12, 1, 3, 3),
        "c": (24, 4, 1, 1),
    }.items():
        weights[name] = [normal(*shape)]
        weights[f"{name}_bn"] = [normal(shape[0]), np.abs(normal(shape[0])) + 0.5, np.float32([1])]
        weights[f"{name}_scale"] = [normal(shape[0]), normal(shape[0])]
    return text, weights


def test_a_shufflenet(tmp_path):
    graph = compare(tmp_path, *shufflenet_unit(), size=(20, 20))
    assert sum(isinstance(layer, Shuffle) for layer in graph.layers) == 1
    assert len(graph.layers) == 11


def test_layers_of_before_2014(tmp_path):
    text = """name: "old"
    input: "data" input_dim: 10 input_dim: 3 input_dim: 9 input_dim: 11
    layers { name: "c" type: CONVOLUTION bottom: "data" top: "c"
             convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
    layers { name: "r" type: RELU bottom: "c" top: "c" }
    layers { name: "f" type: INNER_PRODUCT bottom: "c" top: "f"
             inner_product_param { num_output: 5 } }
    layers { name: "p" type: SOFTMAX bottom: "f" top: "p" }
    """
    weights = {"c": [normal(4, 3, 3, 3), normal(4)], "f": [normal(5, 80), normal(5)]}
    graph = compare(tmp_path, text, weights, old=True)
    assert [type(layer).__name__ for layer in graph.layers] == [
        "Conv",
        "Flatten",
        "Dense",
        "Softmax",
    ]


def test_another_resolution_and_phase(tmp_path):
    text = caffe.image() + STEM
    text += caffe.layer("Dropout", "train", "stem", "dropped", "include { phase: TRAIN }")
    text += caffe.layer("Sigmoid", "test", "stem", "out", "include { phase: TEST }")
    text += caffe.layer("TanH", "not", "stem", "other", "exclude { phase: TEST }")
    paths = caffe.write(tmp_path, text, STEM_WEIGHTS)
    graph = read_caffe(*paths, resolution=Resolution(height=5, width=4))
    assert graph.shapes[graph.output] == (8, 5, 4)
    assert len(graph.outputs) == 1
