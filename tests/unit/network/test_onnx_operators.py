"""ONNX operators as graphs, and these as modules: each against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx_nets
import pytest
import torch

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.onnx import read_onnx
from shufflenet_deploy.network.graph_module import GraphModule

node = onnx_nets.node
TRIALS = 25


def normal(random, *shape):
    return random.normal(size=shape).astype(np.float32)


def compare(tmp_path, proto, image):
    """The graph, after its outputs, and those of its module, were those of onnxruntime."""
    graph = read_onnx(onnx_nets.saved(tmp_path, proto))
    values = dict(interpreter.execute(graph, image))
    found = [values[name].numpy() for name in graph.outputs]
    made = GraphModule(graph)(torch.from_numpy(image))
    module = [one.numpy() for one in (made if isinstance(made, tuple) else (made,))]
    expected = onnx_nets.run(proto, image)
    assert len(found) == len(expected)
    for here, there, wanted in zip(found, module, expected, strict=True):
        np.testing.assert_allclose(here.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(there.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
    return graph


def trials(random):
    """Sizes of small maps, each with a generator of its own."""
    for _ in range(TRIALS):
        yield int(random.integers(3, 10)), int(random.integers(3, 10))


def two(random, low, high):
    return [int(one) for one in random.integers(low, high, 2)]


def padding(random, window, stride, *, dilated=False):
    """Attributes of a random rule of padding."""
    rule = random.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    # onnxruntime refuses SAME where the windows do not touch, or are dilated.
    apart = any(step > size for step, size in zip(stride, window, strict=True))
    if rule == "VALID" or (rule != "NOTSET" and not apart and not dilated):
        return {"auto_pad": str(rule)}
    return {"pads": [int(random.integers(0, side)) for side in (*window, *window)]}


def test_convolutions(tmp_path):
    random = np.random.default_rng(1)
    for height, width in trials(random):
        groups = int(random.choice([1, 2, 4]))
        kernel, dilation = two(random, 1, 4), two(random, 1, 3)
        if random.random() < 0.5:
            dilation = [1, 1]
        window = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
        stride = two(random, 1, 4)
        rule = padding(random, window, stride, dilated=dilation != [1, 1])
        if height < window[0] or width < window[1]:
            continue
        constants = {"w": normal(random, 8, 4 // groups, *kernel), "b": normal(random, 8)}
        proto = onnx_nets.model(
            [node("Conv", "x w b", group=groups, strides=stride, dilations=dilation, **rule)],
            constants,
            image=(1, 4, height, width),
        )
        compare(tmp_path, proto, normal(random, 1, 4, height, width))


def test_transposed_convolutions(tmp_path):
    random = np.random.default_rng(2)
    for height, width in trials(random):
        groups, kernel = int(random.choice([1, 2])), two(random, 1, 5)
        stride, dilation = two(random, 1, 4), two(random, 1, 3)
        attributes = {"strides": stride, "dilations": dilation, "group": groups}
        if random.random() < 0.5:
            attributes["pads"] = [int(random.integers(0, side)) for side in (*kernel, *kernel)]
            attributes["output_padding"] = [int(random.integers(0, one)) for one in stride]
        constants = {"w": normal(random, 4, 3, *kernel)}
        proto = onnx_nets.model(
            [node("ConvTranspose", "x w", **attributes)], constants, image=(1, 4, height, width)
        )
        try:
            compare(tmp_path, proto, normal(random, 1, 4, height, width))
        except UsageError as error:
            assert "leaves nothing" in str(error)  # noqa: PT017


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools(tmp_path, kind):
    random = np.random.default_rng(3)
    for height, width in trials(random):
        kernel, stride = two(random, 1, 4), two(random, 1, 4)
        attributes = {"kernel_shape": kernel, "strides": stride}
        attributes |= padding(random, kernel, stride)
        if "pads" in attributes:
            attributes["ceil_mode"] = int(random.integers(0, 2))
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(random.integers(0, 2))
        proto = onnx_nets.model(
            [node(kind, "x", **attributes)], image=(1, 3, height, width), opset=22
        )
        compare(tmp_path, proto, normal(random, 1, 3, height, width))


def test_pads(tmp_path):
    random = np.random.default_rng(4)
    for height, width in trials(random):
        mode = str(random.choice(["constant", "reflect", "edge"]))
        sides = [int(one) for one in random.integers(-1, 3, 4)]
        pads = [0, 0, sides[0], sides[1], 0, 0, sides[2], sides[3]]
        if mode != "constant":
            pads = [abs(one) for one in pads]
        constants = {"pads": np.int64(pads), "value": np.float32(0.5)}
        proto = onnx_nets.model(
            [node("Pad", "x pads value", mode=mode)], constants, image=(1, 2, height, width)
        )
        compare(tmp_path, proto, normal(random, 1, 2, height, width))


def test_resizes(tmp_path):
    random = np.random.default_rng(5)
    refused = 0
    for height, width in trials(random):
        mode = str(random.choice(["nearest", "linear"]))
        rule = str(
            random.choice(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
        )
        size = np.int64([1, 2, *random.integers(2, 14, 2)])
        rounding = str(random.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
        proto = onnx_nets.model(
            [
                node(
                    "Resize",
                    "x - - size",
                    mode=mode,
                    coordinate_transformation_mode=rule,
                    nearest_mode=rounding,
                )
            ],
            {"size": size},
            image=(1, 2, height, width),
        )
        try:
            compare(tmp_path, proto, normal(random, 1, 2, height, width))
        except UsageError as error:
            assert "other pixels" in str(error)  # noqa: PT017
            refused += 1
    assert refused < TRIALS // 2


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize(
    "rule", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]
)
def test_cubic_resizes(tmp_path, rule, outside):
    random = np.random.default_rng(8)
    words = {
        "coordinate_transformation_mode": rule,
        "cubic_coeff_a": float(random.choice([-0.75, -0.5])),
        "exclude_outside": outside,
    }
    proto = onnx_nets.model(
        [node("Resize", "x - - size", mode="cubic", **words)],
        {"size": np.int64([1, 2, *random.integers(2, 14, 2)])},
        image=(1, 2, 5, 8),
    )
    compare(tmp_path, proto, normal(random, 1, 2, 5, 8))


@pytest.mark.parametrize("rounding", ["floor", "round_prefer_floor"])
@pytest.mark.parametrize("scale", [2.0, 3.0, 0.5])
def test_upsampling_as_exporters_write_it(tmp_path, rounding, scale):
    proto = onnx_nets.model(
        [
            node(
                "Resize",
                "x - scales",
                coordinate_transformation_mode="asymmetric",
                nearest_mode=rounding,
            )
        ],
        {"scales": np.float32([1, 1, scale, scale])},
        image=(1, 2, 6, 8),
    )
    if scale == 3.0 and rounding != "floor":
        with pytest.raises(UsageError, match="Resize 'y' resizes 6x8 to 18x24 by 'asymmetric'"):
            read_onnx(onnx_nets.saved(tmp_path, proto))
        return
    compare(tmp_path, proto, normal(np.random.default_rng(0), 1, 2, 6, 8))


def test_slices(tmp_path):
    random = np.random.default_rng(6)
    for height, width in trials(random):
        axes = [int(one) for one in random.permutation([1, 2, 3])[: random.integers(1, 4)]]
        sizes = {1: 4, 2: height, 3: width}
        starts = [int(random.integers(-sizes[axis] - 2, sizes[axis])) for axis in axes]
        ends = [int(random.choice([sizes[axis], 2**60, -1])) for axis in axes]
        steps = [int(one) for one in random.integers(1, 4, len(axes))]
        firsts = [
            slice(*one).indices(sizes[axis])
            for *one, axis in zip(starts, ends, steps, axes, strict=True)
        ]
        if any(start >= stop for start, stop, _ in firsts):
            continue
        constants = {
            "starts": np.int64(starts),
            "ends": np.int64(ends),
            "axes": np.int64([axis - 4 if axis == 3 else axis for axis in axes]),
            "steps": np.int64(steps),
        }
        proto = onnx_nets.model(
            [node("Slice", "x starts ends axes steps")], constants, image=(1, 4, height, width)
        )
        compare(tmp_path, proto, normal(random, 1, 4, height, width))


@pytest.mark.parametrize("axis", range(4))
def test_constants_are_joined(tmp_path, axis):
    random, image = np.random.default_rng(9), (1, 3, 4, 5)
    shape = [*image[:axis], 2, *image[axis + 1 :]]
    constants = {"before": normal(random, *shape), "after": normal(random, *shape)}
    proto = onnx_nets.model([node("Concat", "before x after", axis=axis)], constants, image=image)
    compare(tmp_path, proto, normal(random, *image))


@pytest.mark.parametrize(
    ("order", "layers"),
    [
        (range(3, 40), ["Slice"]),
        (range(2, 40, 3), ["Slice"]),
        ([2], ["Slice"]),
        (np.arange(40).reshape(8, 5).T.reshape(-1), ["Shuffle"]),
        ([5, 6, 7, 0, 1, 9], ["Slice", "Slice", "Slice", "Concat"]),
        (np.random.default_rng(0).permutation(160) % 40, ["Conv"]),
    ],
)
def test_channels_in_any_order(tmp_path, order, layers):
    constants = {"w": normal(np.random.default_rng(1), 40, 2, 1, 1), "order": np.int64(list(order))}
    nodes = [node("Conv", "x w", "c"), node("Gather", "c order", axis=1)]
    proto = onnx_nets.model(nodes, constants, image=(1, 2, 4, 3))
    graph = compare(tmp_path, proto, normal(np.random.default_rng(2), 1, 2, 4, 3))
    assert [type(layer).__name__ for layer in graph.layers] == ["Conv", *layers]


def test_products_along_any_axis(tmp_path):
    random = np.random.default_rng(7)
    constants = {
        "rows": normal(random, 4, 5),
        "columns": normal(random, 6, 2),
        "flat": np.int64([1, 8, 3]),
        "w": normal(random, 3, 7),
        "b": normal(random, 7),
    }
    nodes = [
        node("MatMul", "rows x", "r"),
        node("MatMul", "r columns", "c"),
        node("Reshape", "c flat", "f"),
        node("MatMul", "f w", "m"),
        node("Add", "m b", "y"),
    ]
    proto = onnx_nets.model(nodes, constants, image=(1, 3, 5, 6))
    compare(tmp_path, proto, normal(random, 1, 3, 5, 6))


def test_everything_but_one_axis_is_sliced_whole(tmp_path):
    constants = {"starts": np.int64([0, 0, 1, 1]), "ends": np.int64([1, 3, 8, 8])}
    proto = onnx_nets.model([node("Slice", "x starts ends")], constants)
    compare(tmp_path, proto, normal(np.random.default_rng(8), 1, 3, 9, 11))


ROW = np.float32([[[[0.5, -1.0, 2.0, 3.0, -0.25]]]])
PER_CHANNEL = np.float32([0.5, -2.0, 3.0]).reshape(3, 1, 1)


@pytest.mark.parametrize(
    ("operator", "constants", "attributes", "opset"),
    [
        *((name, [PER_CHANNEL], {}, 18) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
        ("Sub", [ROW], {}, 18),
        ("Sum", [PER_CHANNEL, ROW], {}, 18),
        ("Mean", [PER_CHANNEL, ROW], {}, 18),
        *((name, [], {}, 18) for name in ("Neg", "Abs", "Reciprocal", "Relu", "Sigmoid", "Tanh")),
        *((name, [], {}, 18) for name in ("HardSwish", "Mish", "Selu", "Identity", "Dropout")),
        ("Pow", [np.float32(3)], {}, 18),
        ("Clip", [np.float32(-0.5), np.float32(0.25)], {}, 18),
        ("Clip", [], {"min": -0.5, "max": 0.25}, 10),
        ("HardSigmoid", [], {}, 18),
        ("HardSigmoid", [], {"alpha": 1 / 6, "beta": 0.5}, 18),
        ("LeakyRelu", [], {"alpha": 0.2}, 18),
        ("PRelu", [PER_CHANNEL], {}, 18),
        ("PRelu", [np.float32([0.3])], {}, 18),
        ("Elu", [], {"alpha": 0.7}, 18),
        ("Gelu", [], {}, 20),
        ("Gelu", [], {"approximate": "tanh"}, 20),
        ("Softmax", [], {"axis": 1}, 13),
        ("Softmax", [], {"axis": 1}, 11),
        ("Softmax", [], {}, 13),
        ("LogSoftmax", [], {"axis": -1}, 13),
        ("LRN", [], {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.5}, 18),
        ("LayerNormalization", [np.float32([1, 2, 3, 4, 5])], {"epsilon": 0.1}, 17),
        ("LayerNormalization", [PER_CHANNEL, PER_CHANNEL], {"axis": 1}, 17),
        ("InstanceNormalization", [np.float32([1, 2, 3])] * 2, {"epsilon": 0.1}, 18),
        ("GroupNormalization", [np.float32([1, 2, 3])] * 2, {"num_groups": 1}, 21),
        ("GroupNormalization", [np.float32([1, 2, 3])] * 2, {"num_groups": 3}, 18),
        ("Pow", [np.float32(-2)], {}, 18),
        ("BatchNormalization", [np.float32([1, 2, 3])] * 4, {"epsilon": 0.1}, 15),
        *(("ReduceMean", [], {"axes": axes}, 13) for axes in ([2, 3], [1], [0, 1, 2, 3], [0])),
        ("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}, 13),
        ("ReduceSum", [np.int64([1, -1])], {"keepdims": 0}, 13),
        ("ReduceMax", [np.int64([2])], {}, 18),
        ("GlobalAveragePool", [], {}, 18),
        ("GlobalMaxPool", [], {}, 18),
        ("Flatten", [], {"axis": 2}, 18),
        ("Squeeze", [np.int64([0])], {}, 18),
        ("Unsqueeze", [np.int64([0, 3])], {}, 18),
        ("Transpose", [], {"perm": [0, 2, 3, 1]}, 18),
        ("Transpose", [], {"perm": [2, 0, 1, 3]}, 18),
        ("Reshape", [np.int64([0, -1, 2])], {}, 18),
        ("Expand", [np.int64([1, 3, 4, 5])], {}, 18),
        ("Expand", [np.int64([2, 1, 1, 1, 1])], {}, 18),
        ("Tile", [np.int64([1, 2, 1, 3])], {}, 18),
        ("Tile", [np.int64([2, 1, 1, 1])], {}, 18),
        ("Gather", [np.int64(1)], {"axis": 2}, 18),
        ("Gather", [np.int64([[2, 0], [1, 1]])], {"axis": 1}, 18),
        ("Pad", [np.int64([0, 1, 0, 0, 0, 2, 0, 0])], {}, 18),
        ("Pad", [], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 2.0}, 10),
        ("Upsample", [np.float32([1, 1, 2, 3])], {}, 9),
        ("Upsample", [np.float32([1, 1, 2, 2])], {"mode": "linear"}, 9),
    ],
)
def test_operators_of_one_tensor(tmp_path, operator, constants, attributes, opset):
    names = [f"c{index}" for index in range(len(constants))]
    proto = onnx_nets.model(
        [node(operator, " ".join(["x", *names]), **attributes)],
        dict(zip(names, constants, strict=True)),
        image=(1, 3, 4, 5),
        opset=opset,
    )
    image = np.linspace(-3, 3, 60, dtype=np.float32).reshape(1, 3, 4, 5) + 0.01
    compare(
        tmp_path,
        proto,
        np.random.default_rng(9).permutation(image.reshape(-1)).reshape(image.shape),
    )


@pytest.mark.parametrize("image", [(1, 3, 4, 5), (1, 1, 4, 5)])
def test_products_of_computed_matrices(tmp_path, image):
    nodes = [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")]
    proto = onnx_nets.model(nodes, {}, image=image)
    compare(tmp_path, proto, np.random.default_rng(0).normal(size=image).astype(np.float32))


@pytest.mark.parametrize("operator", ["Sub", "Div"])
def test_a_constant_on_the_left(tmp_path, operator):
    proto = onnx_nets.model([node(operator, "c x")], {"c": PER_CHANNEL}, image=(1, 3, 2, 2))
    compare(
        tmp_path, proto, np.random.default_rng(0).uniform(1, 2, (1, 3, 2, 2)).astype(np.float32)
    )


@pytest.mark.parametrize(("blocks", "mode"), [("DepthToSpace", "DCR"), ("DepthToSpace", "CRD")])
def test_blocks(tmp_path, blocks, mode):
    weight = normal(np.random.default_rng(0), 12, 3, 1, 1)
    nodes = [
        node("SpaceToDepth", "x", "s", blocksize=2),
        node("Conv", "s w", "c"),
        node(blocks, "c", blocksize=2, mode=mode),
    ]
    proto = onnx_nets.model(nodes, {"w": np.repeat(weight, 4, 1)}, image=(1, 3, 4, 6))
    compare(tmp_path, proto, normal(np.random.default_rng(1), 1, 3, 4, 6))


def test_shapes_are_computed_when_the_file_is_read(tmp_path):
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape two", "height"),
        node("Div", "height two", "half"),
        node("Unsqueeze", "half zero", "row"),
        node("Concat", "start row rest", "target", axis=0),
        node("Cast", "target", "float", to=1),
        node("Cast", "float", "integer", to=7),
        node("Reshape", "x integer", "split"),
        node("ConstantOfShape", "length", "zeros"),
        node("Add", "split zeros", "y"),
    ]
    constants = {
        "two": np.int64(2),
        "zero": np.int64([0]),
        "start": np.int64([1, -1]),
        "rest": np.int64([5]),
        "length": np.int64([5]),
    }
    proto = onnx_nets.model(nodes, constants, image=(1, 3, 4, 5))
    graph = compare(tmp_path, proto, normal(np.random.default_rng(1), 1, 3, 4, 5))
    assert graph.shapes[graph.output] == (6, 2, 5)
