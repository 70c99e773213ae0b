"""From operators of a runtime to layers of a network, by names and by order."""

from __future__ import annotations

import pytest

from shufflenet_deploy.export import formats
from shufflenet_deploy.export.onnx.attribution import layer_of as onnx_layer
from shufflenet_deploy.export.profile_attribution import Network
from shufflenet_deploy.export.tflite.attribution import align, aligned, file_operators
from shufflenet_deploy.records import LayerKind, LayerWork, OperatorTiming

_NAMES = ("u.compress", "u.shuffle", "u.depthwise", "u.expand", "u.concat", "pool")

#: A ShuffleNet unit with a pool before it.
NET = Network(
    layers=tuple(
        LayerWork(name=name, kind=LayerKind.OTHER, multiply_adds=0) for name in _NAMES
    ),
    owners={name: name for name in _NAMES}
    | {"u.compress_bn": "u.compress", "u.compress_relu": "u.compress", "u.relu": "u.concat"},
    shuffled={"u.depthwise": "u.shuffle"},
    feeding={"u.shuffle": "u.compress"},
)  # fmt: skip


def timing(operator, name=""):
    return OperatorTiming(name=name or operator, operator=operator, samples=(1,))


@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("u.compress_bn/Conv", "FusedConv", "u.compress"),
        ("u.compress_relu/Relu_nchwc", "Conv", "u.compress"),
        ("fused u.expand/Gemm", "FusedGemm", "u.expand"),
        ("u.shuffle/Reshape_2", "Reshape", "u.shuffle"),
        ("u.shuffle/Transpose", "Transpose", "u.shuffle"),
        ("u.depthwise/Conv_token_14", "QLinearConv", "u.depthwise"),
        ("u/Concat", "QLinearConcat", "u.concat"),
        ("u.relu/Relu", "Relu", "u.concat"),
        ("ReorderOutput_token_80", "ReorderOutput", None),
        ("Transpose_token_8", "Transpose", None),
        ("u.relu/Relu_QuantizeLinear", "QuantizeLinear", None),
        ("input_QuantizeLinear", "QuantizeLinear", None),
        # A lowered file calls nodes by the values they write.
        ("input:moved/Transpose", "Transpose", "u.compress"),
        ("u.shuffle:dense/QLinearConv", "QLinearConv", "u.compress"),
        ("u.shuffle/QLinearConv", "QLinearConv", "u.compress"),
        ("u.depthwise:blocks:mixed/Transpose", "Transpose", "u.shuffle"),
        ("u.depthwise:blocks/QLinearConv", "QLinearConv", "u.depthwise"),
        ("u.expand:relu/QLinearConv", "QLinearConv", "u.expand"),
        ("logits/QGemm", "QGemm", "pool"),
    ],
)
def test_onnxruntime_keeps_the_names_of_modules(name, operator, layer):
    assert onnx_layer(timing(operator, name), NET) == layer


@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("u.compress_bn/Conv/WithoutBiases", "Convolution (brgconv_avx512_f32)", "u.compress"),
        ("u.shuffle/Reshape_2", "ShuffleChannels (jit_avx512_f32)", "u.shuffle"),
        ("u.relu/Relu", "Subgraph (jit_avx512_f32)", "u.concat"),
        ("logits", "FullyConnected (gemm_mlas_f32)", "pool"),
        ("input_abcd_acdb_u.compress_bn/Conv/WithoutBiases", "Reorder (jit_uni_f32)", None),
    ],
)
def test_openvino_keeps_the_names_of_onnx_nodes(name, operator, layer):
    (found,) = formats.get("openvino").attributed([timing(operator, name)], None, NET)
    assert (found.name, found.layer) == (name, layer)


#: A network whose convolutions have multiply-adds, as MNN sees it: the two in the middle nameless.
CONVOLUTIONS = ("a", "b", "c", "d")
CHAIN = Network(
    layers=tuple(
        LayerWork(name=name, kind=LayerKind.CONVOLUTION, multiply_adds=9) for name in CONVOLUTIONS
    ),
    owners={name: name for name in CONVOLUTIONS},
    shuffled={},
    feeding={},
)


@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("u.compress_bn/Conv", "Convolution", "u.compress"),
        ("u.depthwise/Conv_raster_0", "Raster", "u.shuffle"),
        ("u.depthwise/Conv", "ConvolutionDepthwise", "u.depthwise"),
        ("u.expand/Conv__group__1_raster_0", "Raster [ DT_INT8 ]", "u.expand"),
        ("u.expand/Conv__group__1", "Convolution [ DT_INT8 ]", "u.expand"),
        ("u/Concat_raster_1", "Int8ToFloat", None),
        ("logits__matmul_converted_raster_0", "Raster", "pool"),
        ("logits__matmul_converted", "Convolution", "pool"),
        ("logits_raster_0", "Raster", "pool"),
    ],
)
def test_mnn_adds_to_the_names_of_onnx_nodes(name, operator, layer):
    (found,) = formats.get("mnn").attributed([timing(operator, name)], None, NET)
    assert (found.name, found.layer) == (name, layer)


def test_the_order_tells_convolutions_that_mnn_renamed():
    names = ("a/Conv", "ConvInt814_raster_0", "ConvInt814", "ConvInt815", "d/Conv")
    operators = [timing("Convolution [ DT_INT8 ]", name) for name in names]
    mnn = formats.get("mnn")
    found = mnn.attributed(operators, None, CHAIN)
    assert [one.layer for one in found] == ["a", "b", "b", "c", "d"]
    # One more than there are layers: nothing is guessed.
    more = [*operators, timing("Convolution [ DT_INT8 ]", "ConvInt816")]
    assert [one.layer for one in mnn.attributed(more, None, CHAIN)] == [
        "a", None, None, None, "d", None,
    ]  # fmt: skip


PARTS = [
    ("PAD", ["in", "p"], "in:padded"),
    ("MAX_POOL_2D", ["in:padded"], "pool"),
    ("CONV_2D", ["pool", "u.compress:weight", "b"], "u.shuffle"),
    ("PAD", ["u.shuffle", "p"], "u.shuffle:padded"),
    ("DEPTHWISE_CONV_2D", ["u.shuffle:padded", "u.depthwise:weight"], "u.depthwise:unshuffled"),
    ("RESHAPE", ["u.depthwise:unshuffled", "s"], "u.depthwise:split"),
    ("TRANSPOSE", ["u.depthwise:split", "o"], "u.depthwise:mixed"),
    ("RESHAPE", ["u.depthwise:mixed", "s"], "u.depthwise"),
    ("CONV_2D", ["u.depthwise", "u.expand:weight"], "u.expand:relu"),
    ("CONCATENATION", ["pool", "u.expand:relu"], "u.concat"),
    ("QUANTIZE", ["u.concat"], "u.concat:float"),
]


def test_a_tflite_file_tells_layers_by_weights_values_and_readers():
    assert [one.layer for one in file_operators(PARTS, NET)] == [
        "pool",  # a border is there for who reads it
        "pool",
        "u.compress",  # though it writes the value of the shuffle it absorbed
        "u.depthwise",
        "u.depthwise",
        "u.shuffle",  # moved behind the depthwise convolution
        "u.shuffle",
        "u.shuffle",
        "u.expand",
        "u.concat",
        None,
    ]


XNNPACK = (
    "Constant Pad (ND, X32)",
    "Max Pooling (NHWC, F32)",
    "Fully Connected (NC, F32) GEMM",
    "Convolution (NHWC, F32) DWConv",  # its border is merged into it
    "Static Reshape (NC)",
    "Transpose (ND, X32) Transpose",
    "Static Reshape (NC)",
    "Convolution (NHWC, F32) IGEMM",
    "Copy (NC, X32)",
    "Clamp (NC)",
    "Convert (NC, F32, QS8)",
)


def test_the_order_of_xnnpack_tells_the_rest():
    found = aligned([timing(operator) for operator in XNNPACK], file_operators(PARTS, NET))
    assert [one.layer for one in found] == [
        "pool", "pool", "u.compress", "u.depthwise", "u.shuffle", "u.shuffle", "u.shuffle",
        "u.expand", "u.concat", "u.concat", None,
    ]  # fmt: skip
    assert found[2].name == "u.shuffle"
    assert found[9].name == "u.concat"


@pytest.mark.parametrize("change", ["one convolution less", "one convolution more"])
def test_nothing_is_guessed_when_a_convolution_is_left_over(change):
    operators = [timing(operator) for operator in XNNPACK]
    if change == "one convolution less":
        del operators[7]
    else:
        operators.insert(3, timing("Convolution (NHWC, F32) GEMM"))
    found = aligned(operators, file_operators(PARTS, NET))
    assert {one.layer for one in found} == {None}
    assert found == operators


def test_nodes_outside_of_xnnpack_are_known_by_number():
    operators = [timing("MAX_POOL_2D", "#1"), timing("Convolution (NHWC, F32) IGEMM")]
    assert align(operators, file_operators(PARTS, NET)) == {0: 1, 1: 2}
