"""ONNX files from outside: every damage is one line that names file, operator and the way on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_nets
import pytest
from onnx import TensorProto, helper

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.network.frontends.onnx import model_file, read_onnx
from shufflenet_deploy.records import Resolution

node = onnx_nets.node
PLAIN = onnx_nets.model([node("Relu", "x")])
KERNEL = np.ones((4, 3, 3, 3), np.float32)


def conv(**attributes):
    return onnx_nets.model([node("Conv", "x w", **attributes)], {"w": KERNEL})


def refused(path, **asked):
    with pytest.raises((UsageError, ExportError)) as caught:
        read_onnx(path, **asked)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text.replace(str(path), "FILE")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no protobuf at all " * 50,
        bytes(1000),
        PLAIN.SerializeToString()[:-9],
        b"\x0a\xff\xff\xff\xff\x0f",
    ],
)
def test_no_onnx_file(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert refused(path).startswith("cannot read FILE: ")


def test_nested_groups_end(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x0b" * 100_000)
    assert "it is no ONNX file" in refused(path)


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (onnx_nets.model([node("Foo", "x")]), "Foo 'y' is an operator that no layer here computes"),
        (
            onnx_nets.model([helper.make_node("Bar", ["x"], ["y"], domain="com.x")]),
            "Bar 'y' is an operator of the domain 'com.x'",
        ),
        (
            onnx_nets.model([node("QuantizeLinear", "x s")], {"s": np.float32(1)}),
            "the network is quantised already; measure the file as it is (bench --file)",
        ),
        (
            onnx_nets.model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")]),
            "Add 'a' reads 'b', which is neither stored nor made before it",
        ),
        (
            onnx_nets.model([node("If", "x", then_branch=PLAIN.graph, else_branch=PLAIN.graph)]),
            "If 'y' is control flow",
        ),
        (onnx_nets.model([node("Conv", "x w")]), "Conv 'y' reads 'w', which is neither"),
        (
            onnx_nets.model([node("Conv", "x w")], {"w": np.ones((4, 5, 3, 3), np.float32)}),
            "Conv 'y' has weights for 5 channels and gets 3",
        ),
        (
            onnx_nets.model([node("Conv", "x w b")], {"w": KERNEL, "b": np.ones(3, np.float32)}),
            "Conv 'y' has a bias of 3 for 4 channels",
        ),
        (conv(strides=[0, 1]), "Conv 'y' has windows of 3x3"),
        (conv(pads=[-1, 0, 0, 0]), "Conv 'y' has windows of 3x3"),
        (conv(strides=[1 << 20] * 2, pads=[1 << 20] * 4), "makes a tensor of 2097155x2097155"),
        (
            onnx_nets.model([node("MaxPool", "x", kernel_shape=[1 << 30] * 2, pads=[1 << 29] * 4)]),
            "more than any network has",
        ),
        (
            onnx_nets.model(
                [node("ConvTranspose", "x w", strides=[1 << 20] * 2)], {"w": KERNEL[:3]}
            ),
            "ConvTranspose 'y' makes a tensor of 3x",
        ),
        (onnx_nets.model([node("LRN", "x", size=(1 << 30) + 1)]), "normalises across 1073741825"),
        (conv(strides=1.0), "Conv 'y' has an attribute 'strides' of the wrong type"),
        (conv(group=0), "Conv 'y' makes 4 channels in 0 groups"),
        (conv(auto_pad="SOME"), "the padding rule 'SOME'"),
        (
            onnx_nets.model(
                [node("ConstantOfShape", "s", "c"), node("Add", "x c")],
                {"s": np.int64([1 << 20, 1 << 20])},
            ),
            "ConstantOfShape 'c' makes a constant larger than any network's weights",
        ),
        (
            onnx_nets.model(
                [node("MatMul", "a b", "c"), node("Add", "x c")],
                {"a": np.ones((60_000, 2), np.float32), "b": np.ones((2, 60_000), np.float32)},
            ),
            "MatMul 'c' makes a constant larger",
        ),
        (
            onnx_nets.model([node("Resize", "x - s")], {"s": np.float32([1, 1, 1e9, 1])}),
            "Resize 'y' resizes to 8999999488x11",
        ),
        (
            onnx_nets.model([node("Relu", "x"), node("Relu", "x")]),
            "makes 'y', which is there already",
        ),
        (onnx_nets.model([node("Add", "x")]), "Add 'y' has 1 operands instead of 2"),
        (onnx_nets.model([node("Relu", "x")], outputs=("z",)), "the output 'z' does not depend on"),
        (onnx_nets.model([node("Relu", "x")], outputs=()), "it has no output"),
        (onnx_nets.model([node("Relu", "x")], opset=3), "it is of opset 3, and 7 to 28 are known"),
        (
            onnx_nets.model([node("Relu", "x")], kind=TensorProto.INT64),
            "no tensor of floating-point",
        ),
        (onnx_nets.model([node("Relu", "x")], image=(1, 8, 8, 3)), "channels first"),
        (onnx_nets.model([node("Relu", "x")], image=(8, 3, 4, 4)), "a batch of 8"),
        (onnx_nets.model([node("Relu", "x")], image=(1, 3)), "has 2 axes"),
        (onnx_nets.model([node("Relu", "x")], image=(1, 3, "H", "W")), "of any size: state the"),
        (onnx_nets.model([node("Erf", "x")]), "'y' is Erf outside of GELU and Mish"),
        (onnx_nets.model([node("MatMul", "x x")]), "which do not fit"),
        (onnx_nets.model([node("Relu", "x\x1b[31m")]), "reads 'x?[31m'"),
    ],
)
def test_what_no_graph_can_say(tmp_path, proto, said):
    text = refused(onnx_nets.saved(tmp_path, proto))
    assert said in text
    assert "FILE" in text or "cannot export net" in text
    assert "\x1b" not in text


def test_sizes_that_are_claimed_only(tmp_path):
    proto = conv()
    proto.graph.initializer[0].dims[0] = 2**40
    assert "does not hold the 1099511627776x3x3x3 elements" in refused(
        onnx_nets.saved(tmp_path, proto)
    )


def with_weights_at(location, **more):
    proto = conv()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return proto


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "", "\0", "link", "a/../../weights.bin"]
)
def test_weights_outside_of_the_folder_are_not_read(tmp_path, location):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(KERNEL.tobytes())
    (folder / "link").symlink_to(tmp_path / "weights.bin")
    path = folder / "net.onnx"
    path.write_bytes(with_weights_at(location).SerializeToString())
    assert "lie outside of the file's folder" in refused(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"offset": "8"}, "does not hold"),
        ({"offset": "-1"}, "too short"),
        ({"offset": "many"}, "too short"),
        ({"length": "99999999"}, "too short"),
    ],
)
def test_weights_beside_the_file(tmp_path, more, said):
    (tmp_path / "weights.bin").write_bytes(KERNEL.tobytes())
    path = tmp_path / "net.onnx"
    path.write_bytes(with_weights_at("weights.bin").SerializeToString())
    assert np.array_equal(read_onnx(path).layers[0].weight, KERNEL)
    path.write_bytes(with_weights_at("weights.bin", **more).SerializeToString())
    assert said in refused(path)
    path.write_bytes(with_weights_at("none.bin").SerializeToString())
    assert "none.bin beside it, which is not there" in refused(path)


def test_open_sizes_are_given(tmp_path):
    path = onnx_nets.saved(tmp_path, onnx_nets.model([node("Relu", "x")], image=("N", 3, "H", 8)))
    graph = read_onnx(path, resolution=Resolution(height=5, width=8), name="mine")
    assert (graph.name, graph.shapes[graph.input]) == ("mine", (3, 5, 8))
    assert read_onnx(path, shape=(1, 3, 6, 8)).shapes["input"] == (3, 6, 8)
    assert "?x3x?x8, and ?x?x6x9 was asked for" in refused(
        path, resolution=Resolution(height=6, width=9)
    )


def test_names_are_those_of_modules(tmp_path):
    proto = onnx_nets.model(
        [
            node("Conv", "x stem.weight", "a", name="/features/features.0/Conv"),
            node("Sigmoid", "a", "b", name="/features/features.0/Sigmoid"),
            node("Conv", "b onnx::Conv_12", "c", name="/features/features.1/conv/Conv"),
            node("Tanh", "c", "y", name=""),
        ],
        {"stem.weight": KERNEL, "onnx::Conv_12": np.ones((2, 4, 1, 1), np.float32)},
    )
    graph = read_onnx(onnx_nets.saved(tmp_path, proto))
    assert [layer.name for layer in graph.layers] == ["stem", "features.0", "features.1.conv", "y"]


def test_a_long_chain_is_read(tmp_path):
    names = ["x", *(f"v{index}" for index in range(500)), "y"]
    chain = [node("Tanh", *pair) for pair in pairwise(names)]
    assert len(read_onnx(onnx_nets.saved(tmp_path, onnx_nets.model(chain))).layers) == 501


def test_an_operation_of_several_layers_leaves_its_name_to_the_last(tmp_path):
    proto = onnx_nets.model(
        [
            node("Reshape", "x split", "a", name="shuffle/Reshape"),
            node("Transpose", "a", "b", name="shuffle/Transpose", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "b whole", "c", name="shuffle/Reshape_1"),
            node("Mul", "c two", "d", name="gelu/Mul"),
            node("Erf", "d", "e", name="gelu/Erf"),
            node("Add", "e one", "f", name="gelu/Add"),
            node("Mul", "f c", "g", name="gelu/Mul_1"),
            node("Mul", "g half", "y", name="gelu/Mul_2"),
        ],
        {
            "split": np.int64([1, 2, 2, 9, 11]),
            "whole": np.int64([1, 4, 9, 11]),
            "two": np.float32(np.sqrt(0.5)),
            "one": np.float32(1),
            "half": np.float32(0.5),
        },
        image=(1, 4, 9, 11),
    )
    graph = read_onnx(onnx_nets.saved(tmp_path, proto))
    assert graph.layers[-1].name == graph.output == "gelu"
    assert {layer.name.partition("_")[0] for layer in graph.layers} == {"shuffle", "gelu"}
    assert {*graph.shapes} == {"input", *(layer.output for layer in graph.layers)}


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(PLAIN.SerializeToString().replace(b"Relu", b"Re\xff\xfe"))
    assert "a name is not UTF-8" in refused(path)


def test_halves_and_doubles_are_floats(tmp_path):
    constants = {"w": KERNEL.astype(np.float16), "b": np.ones(4)}
    proto = onnx_nets.model([node("Conv", "x w b")], constants, kind=TensorProto.FLOAT16)
    (layer,) = read_onnx(onnx_nets.saved(tmp_path, proto)).layers
    assert {layer.weight.dtype, layer.bias.dtype} == {np.dtype(np.float32)}


def test_a_file_of_endless_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_MOST_NODES", 1)
    proto = onnx_nets.model([node("Relu", "x", "a"), node("Relu", "a")])
    assert "it has 2 nodes, 1 at most are read" in refused(onnx_nets.saved(tmp_path, proto))
