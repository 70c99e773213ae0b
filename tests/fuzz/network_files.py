"""Hostile networks: ONNX, Caffe and .pt2 files with fields, names and bytes replaced."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import caffe_nets as caffe
import numpy as np
import onnx
import onnx_nets
import torch
from hostile_values import INTEGERS, TEXTS, mutated_json, mutated_text, written
from onnx import numpy_helper
from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends.caffe import read_caffe
from shufflenet_deploy.network.frontends.exported_program import image_shape, load
from shufflenet_deploy.network.frontends.onnx import read_onnx
from shufflenet_deploy.network.frontends.onnx.reader import READERS
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.records import Resolution

_SMALL = (-3, -1, 0, 1, 2, 3, 4, 7, 64, 1 << 20, (1 << 31) - 1, 1 << 40)
_ARRAYS = (
    np.ones((4, 3, 3, 3), np.float32),
    np.ones(4, np.float32),
    np.ones((4, 4), np.float32),
    np.float32(np.nan),
    np.int64([1, 4, -1]),
    np.int64([0, 1 << 40]),
    np.zeros(0, np.float32),
    np.int64(3),
)


def onnx_file(random: Random, folder: Path) -> Any:
    """Read a damaged ONNX file."""
    proto = _network()
    for _ in range(random.randint(1, 4)):
        _mutate(random, proto)
    content = proto.SerializeToString()
    if random.random() < 0.2:
        content = _torn(random, content)
    path = folder / "network.onnx"
    path.write_bytes(content)
    return read_onnx(path, shape=random.choice([None, (1, 3, 8, 8)]))


def caffe_files(random: Random, folder: Path) -> Any:
    """Read a damaged Caffe network."""
    text, weights = _caffe_network()
    if random.random() < 0.8:
        text = mutated_text(random, text)
    if random.random() < 0.3:
        name = random.choice(list(weights))
        weights[name] = random.choice([[], [random.choice(_ARRAYS[:3])], weights[name] * 2])
    paths = caffe.write(folder, "", weights)
    paths[0].write_text(text, encoding="utf-8", errors="replace")
    if random.random() < 0.3:
        paths[1].write_bytes(_torn(random, paths[1].read_bytes()))
    return read_caffe(*paths)


def exported_program(random: Random, folder: Path) -> Any:
    """Read a damaged program of torch.export, its size first, and run and trace what was read."""
    members = dict(_program_members())
    name = random.choice([one for one in members if one.endswith(".json")])
    if random.random() < 0.9:
        text = members[name].decode()
        changed = mutated_json(random, json.loads(text)) if random.random() < 0.8 else None
        members[name] = (
            mutated_text(random, text) if changed is None else written(changed)
        ).encode("utf-8", "replace")
    if random.random() < 0.1:
        del members[random.choice(list(members))]
    if random.random() < 0.1:
        weight = random.choice([one for one in members if "weight_" in one])
        members[weight] = _torn(random, members[weight])
    path = folder / "network.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, content)
    if random.random() < 0.1:
        path.write_bytes(_torn(random, path.read_bytes()))
    with contextlib.suppress(UsageError):
        image_shape(path)
    module = load(path)
    channels, height, width = module.input_shape
    if not (0 < channels <= 8 and 0 < height <= 64 and 0 < width <= 64):
        return module
    return trace(module, Resolution(height=height, width=width), "network", channels=channels)


@cache
def _program_members() -> dict[str, bytes]:
    """What a valid file holds."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.ChannelShuffle(2),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
        torch.export.save(program, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _network() -> onnx.ModelProto:
    node = onnx_nets.node
    return onnx_nets.model(
        [
            node("Conv", "x w b", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]),
            node("Shape", "c", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 rest", "t", axis=0),
            node("Reshape", "c t", "r"),
            node("Transpose", "r", "q", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "q whole", "u"),
            node("MaxPool", "u", "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("Resize", "p - scales", "z", mode="nearest"),
            node("Slice", "z starts ends", "l"),
            node("Split", "l", "k m", num_outputs=2, axis=1),
            node("Concat", "m k", "j", axis=1),
            node("Clip", "j low high", "v"),
            node("ReduceMean", "v hw", "g", keepdims=0),
            node("Gemm", "g f", "y", transB=1),
        ],
        {
            "w": np.ones((4, 3, 3, 3), np.float32),
            "b": np.ones(4, np.float32),
            "zero": np.int64(0),
            "axes": np.int64([0]),
            "rest": np.int64([2, 2, 8, 8]),
            "whole": np.int64([0, 4, 8, -1]),
            "scales": np.float32([1, 1, 2, 2]),
            "starts": np.int64([0, 0, 1, 1]),
            "ends": np.int64([1, 4, 8, 8]),
            "low": np.float32(0),
            "high": np.float32(6),
            "hw": np.int64([2, 3]),
            "f": np.ones((5, 4), np.float32),
        },
        image=(1, 3, 8, 8),
    )


def _mutate(random: Random, proto: onnx.ModelProto) -> None:
    graph = proto.graph
    node = random.choice(graph.node)
    names = [name for one in graph.node for name in (*one.input, *one.output)]
    choice = random.randrange(8)
    if choice == 0:
        node.op_type = random.choice([*sorted(READERS), "If", "Foo", "ConstantOfShape", "Range"])
    elif choice == 1 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice([*names, "", "x"])
    elif choice == 2:
        node.output[0] = random.choice([*names, random.choice(TEXTS)]).encode(errors="replace")
    elif choice == 3 and node.attribute:
        _replace(random, random.choice(node.attribute))
    elif choice == 4:
        tensor = random.choice(graph.initializer)
        tensor.CopyFrom(numpy_helper.from_array(random.choice(_ARRAYS), tensor.name))
    elif choice == 5:
        tensor = random.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_SMALL)
        tensor.data_type = random.choice([tensor.data_type, 1, 7, 8, 10, 16, 22])
    elif choice == 6:
        dims = graph.input[0].type.tensor_type.shape.dim
        dims[random.randrange(4)].dim_value = random.choice(_SMALL)
    else:
        del graph.node[random.randrange(len(graph.node))]


def _replace(random: Random, attribute: onnx.AttributeProto) -> None:
    value: Any = random.choice(_SMALL)
    if attribute.ints:
        attribute.ints[random.randrange(len(attribute.ints))] = value
    elif random.random() < 0.5:
        attribute.i = value
    else:
        attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, random.choice([1.5, "SAME"])))


def _caffe_network() -> tuple[str, dict[str, list[Any]]]:
    layer, convolution = caffe.layer, "convolution_param { num_output: 4 kernel_size: 3 }"
    text = (
        caffe.image(3, 8, 8)
        + layer("Convolution", "c", "data", "c", convolution)
        + layer("BatchNorm", "n", "c", "c")
        + layer("ReLU", "r", "c", "c")
        + layer("ShuffleChannel", "s", "c", "s", "shuffle_channel_param { group: 2 }")
        + layer("Pooling", "p", "s", "p", "pooling_param { kernel_size: 2 stride: 2 pad: 1 }")
        + layer("Slice", "l", "p", "a b", "slice_param { slice_point: 1 }")
        + layer("Concat", "j", "b a", "j")
        + layer("Eltwise", "e", "j p", "e", "eltwise_param { operation: SUM coeff: 1 coeff: 2 }")
        + layer("InnerProduct", "f", "e", "f", "inner_product_param { num_output: 5 }")
        + layer("Softmax", "y", "f", "y")
    )
    return text, {
        "c": [np.ones((4, 3, 3, 3)), np.ones(4)],
        "n": [np.ones(4), np.ones(4), np.ones(1)],
        "f": [np.ones((5, 64)), np.ones(5)],
    }


def _torn(random: Random, content: bytes) -> bytes:
    """Bytes cut off, or some replaced."""
    if random.random() < 0.5:
        return content[: random.randrange(len(content))]
    damaged = bytearray(content)
    for _ in range(random.randint(1, 5)):
        damaged[random.randrange(len(damaged))] = random.choice([*INTEGERS, 0, 255]) % 256
    return bytes(damaged)
