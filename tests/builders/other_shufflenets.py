"""Other implementations' ShuffleNets: their published keys and shapes, and their forward passes.

Each is written from its description alone, in plain functions over a state dict, so that it shares
nothing with the zoo. ``state`` draws random weights for a listing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
REPEATS = (4, 8, 4)
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def state(shapes: Mapping[str, tuple[int, ...]], *, output_axis: int = 0) -> State:
    """Random tensors of these shapes that keep the size of a signal."""
    generator = torch.Generator().manual_seed(11)
    made = {}
    for key, shape in shapes.items():
        draw = torch.rand(shape, generator=generator)
        if len(shape) > 1:
            made[key] = (draw - 0.5) * (3.4 / (prod(shape) / shape[output_axis]) ** 0.5)
        elif any(word in key for word in ("bias", "mean", "beta", "_b_0", "_rm_", "linear/b")):
            made[key] = (draw - 0.5) * 0.4
        else:
            made[key] = draw + 0.5
    return made


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def convolved(weight: Tensor, x: Tensor, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    groups, padding = x.shape[1] // weight.shape[1], weight.shape[2] // 2
    return functional.conv2d(x, weight, bias, stride, padding, groups=groups)


def normalised(x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, variance, gain, shift)


def torch_layer(s: State, conv: str, bn: str, x: Tensor, stride: int = 1) -> Tensor:
    y = convolved(s[f"{conv}.weight"], x, stride)
    return normalised(y, *(s[f"{bn}.{name}"] for name in BATCH_NORM))


def torch_shapes(conv: str, bn: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{conv}.weight": shape} | {f"{bn}.{name}": shape[:1] for name in BATCH_NORM}


# --- kuangliu/pytorch-cifar, 2 groups


def kuangliu_shapes(groups: int = 2, widths: tuple[int, ...] = (200, 400, 800)) -> Shapes:
    shapes = torch_shapes("conv1", "bn1", (24, 3, 1, 1))
    inputs = 24
    for layer, width in enumerate(widths, start=1):
        for index in range(REPEATS[layer - 1]):
            unit = f"layer{layer}.{index}"
            made = width if index else width - inputs
            inner = made // 4
            first = 1 if inputs == 24 else groups
            shapes |= torch_shapes(f"{unit}.conv1", f"{unit}.bn1", (inner, inputs // first, 1, 1))
            shapes |= torch_shapes(f"{unit}.conv2", f"{unit}.bn2", (inner, 1, 3, 3))
            shapes |= torch_shapes(f"{unit}.conv3", f"{unit}.bn3", (made, inner // groups, 1, 1))
            inputs = width
    return shapes | {"linear.weight": (10, inputs), "linear.bias": (10,)}


def kuangliu(s: State, x: Tensor) -> Tensor:
    x = torch_layer(s, "conv1", "bn1", x).relu()
    for layer in (1, 2, 3):
        for index in range(REPEATS[layer - 1]):
            unit = f"layer{layer}.{index}"
            y = torch_layer(s, f"{unit}.conv1", f"{unit}.bn1", x).relu()
            y = y if (layer, index) == (1, 0) else shuffled(y, 2)
            y = torch_layer(s, f"{unit}.conv2", f"{unit}.bn2", y, 1 if index else 2).relu()
            y = torch_layer(s, f"{unit}.conv3", f"{unit}.bn3", y)
            joined = y + x if index else torch.cat((y, functional.avg_pool2d(x, 3, 2, 1)), 1)
            x = joined.relu()
    return functional.linear(x.mean((2, 3)), s["linear.weight"], s["linear.bias"])


# --- chenhang98/shuffleNet-cifar10, 3 groups at half width


def chenhang98_shapes(groups: int = 3, width: int = 120) -> Shapes:
    shapes = torch_shapes("conv1", "bn1", (24, 3, 3, 3))
    inputs = 24
    for stage, scale in ((2, 1), (3, 2), (4, 4)):
        outputs = width * scale
        inner = outputs // 4
        for index in range(REPEATS[stage - 2]):
            unit = f"stage{stage}.{index}"
            first = 1 if inputs == 24 else groups
            made = outputs if index else outputs - inputs
            shapes |= torch_shapes(f"{unit}.gconv1", f"{unit}.bn1", (inner, inputs // first, 1, 1))
            shapes |= torch_shapes(f"{unit}.dwconv", f"{unit}.bn", (inner, 1, 3, 3))
            shapes |= torch_shapes(f"{unit}.gconv2", f"{unit}.bn2", (made, inner // groups, 1, 1))
            inputs = outputs
    return shapes | {"fc.weight": (10, inputs), "fc.bias": (10,)}


def chenhang98(s: State, x: Tensor) -> Tensor:
    x = torch_layer(s, "conv1", "bn1", x).relu()
    for stage in (2, 3, 4):
        for index in range(REPEATS[stage - 2]):
            unit = f"stage{stage}.{index}"
            halves = index == 0 and stage > 2
            y = torch_layer(s, f"{unit}.gconv1", f"{unit}.bn1", x).relu()
            y = torch_layer(s, f"{unit}.dwconv", f"{unit}.bn", shuffled(y, 3), 1 + halves)
            y = torch_layer(s, f"{unit}.gconv2", f"{unit}.bn2", y)
            shortcut = functional.avg_pool2d(x, 2) if halves else x
            x = (y + x if index else torch.cat((y, shortcut), 1)).relu()
    return functional.linear(x.mean((2, 3)), s["fc.weight"], s["fc.bias"])


# --- farmingyard/ShuffleNet (Caffe; also ncnn's benchmark), 3 groups

_CAFFE_NORM = ("_scale.weight", "_scale.bias", "_bn.running_mean", "_bn.running_var")


def farmingyard_shapes() -> Shapes:
    def layer(name: str, *shape: int) -> Shapes:
        norm = {f"{name}{field}": shape[:1] for field in _CAFFE_NORM}
        return {f"{name}.weight": shape} | norm

    shapes = layer("conv1", 24, 3, 3, 3)
    inputs, number = 24, 0
    for width, repeats in zip((240, 480, 960), REPEATS, strict=True):
        for index in range(repeats):
            number += 1
            made = width if index else width - inputs
            inner, first = made // 4, 1 if number == 1 else 3
            shapes |= layer(f"resx{number}_conv1", inner, inputs // first, 1, 1)
            shapes |= layer(f"resx{number}_conv2", inner, 1, 3, 3)
            shapes |= layer(f"resx{number}_conv3", made, inner // 3, 1, 1)
            inputs = width
    return shapes | {"fc1000.weight": (1000, inputs, 1, 1), "fc1000.bias": (1000,)}


def farmingyard(s: State, x: Tensor) -> Tensor:
    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        y = convolved(s[f"{name}.weight"], x, stride)
        return normalised(y, *(s[f"{name}{field}"] for field in _CAFFE_NORM))

    x = functional.max_pool2d(layer("conv1", x, 2).relu(), 3, 2, ceil_mode=True)
    for number in range(1, 17):
        strided = number in (1, 5, 13)
        y = layer(f"resx{number}_conv1", x).relu()
        y = y if number == 1 else shuffled(y, 3)
        y = layer(f"resx{number}_conv3", layer(f"resx{number}_conv2", y, 1 + strided))
        pooled = functional.avg_pool2d(x, 3, 2, ceil_mode=True) if strided else x
        x = (torch.cat((pooled, y), 1) if strided else pooled + y).relu()
    pooled = x.mean((2, 3), keepdim=True)
    return convolved(s["fc1000.weight"], pooled, 1, s["fc1000.bias"]).flatten(1)


# --- the ONNX model zoo's, 4 groups, without bottlenecks

_ONNX_NORM = ("bn_s_0", "bn_b_0", "bn_rm_0", "bn_riv_0")


def onnx_zoo_shapes() -> Shapes:
    def layer(name: str, *shape: int) -> Shapes:
        norm = {f"gpu_0/{name}_{field}": shape[:1] for field in _ONNX_NORM}
        return {f"gpu_0/{name}_w_0": shape} | norm

    shapes = layer("conv3_0", 24, 3, 3, 3) | {"gpu_0/conv3_0_b_0": (24,)}
    inputs, unit = 24, 0
    for width, repeats in zip((136, 272, 544), REPEATS, strict=True):
        for index in range(repeats):
            made = width if index else width - inputs
            inner = made
            shapes |= layer(f"gconv1_{2 * unit}", inner, inputs // 4, 1, 1)
            shapes |= layer(f"gconv3_{unit}", inner, 1, 3, 3)
            shapes |= layer(f"gconv1_{2 * unit + 1}", made, inner // 4, 1, 1)
            inputs, unit = width, unit + 1
    return shapes | {"gpu_0/pred_w_0": (1000, inputs), "gpu_0/pred_b_0": (1000,)}


def onnx_zoo(s: State, x: Tensor) -> Tensor:
    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        y = convolved(s[f"gpu_0/{name}_w_0"], x, stride, s.get(f"gpu_0/{name}_b_0"))
        return normalised(y, *(s[f"gpu_0/{name}_{field}"] for field in _ONNX_NORM))

    x = functional.max_pool2d(layer("conv3_0", x, 2).relu(), 3, 2, 1)
    for unit in range(16):
        strided = unit in (0, 4, 12)
        y = shuffled(layer(f"gconv1_{2 * unit}", x).relu(), 4)
        y = layer(f"gconv1_{2 * unit + 1}", layer(f"gconv3_{unit}", y, 1 + strided))
        if strided:
            pooled = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            x = torch.cat((y, pooled), 1).relu()
        else:
            x = (y + x).relu()
    return functional.linear(x.mean((2, 3)), s["gpu_0/pred_w_0"], s["gpu_0/pred_b_0"])


# --- tensorpack's (TensorFlow), 8 groups at half width

_TENSORFLOW_NORM = ("gamma", "beta", "mean/EMA", "variance/EMA")


def tensorpack_shapes() -> Shapes:
    def layer(conv: str, bn: str, *shape: int, channels: int) -> Shapes:
        return {f"{conv}/W": shape} | {f"{bn}/{field}": (channels,) for field in _TENSORFLOW_NORM}

    shapes = layer("conv1", "conv1/bn", 3, 3, 3, 16, channels=16)
    inputs = 16
    for stage, width in ((2, 192), (3, 384), (4, 768)):
        inner = width // 4
        for index in range(REPEATS[stage - 2]):
            unit = f"stage{stage}/block{index}"
            made = width if index else width - inputs
            first = 8 if inputs > 24 else 1
            at = (1, 1, inputs // first, inner)
            shapes |= layer(f"{unit}/conv1", f"{unit}/conv1/bn", *at, channels=inner)
            at = (3, 3, inner, 1)
            shapes |= layer(f"{unit}/dconv", f"{unit}/dconv_bn", *at, channels=inner)
            at = (1, 1, inner // 8, made)
            shapes |= layer(f"{unit}/conv2", f"{unit}/conv2_bn", *at, channels=made)
            inputs = width
    return shapes | {"linear/W": (inputs, 1000), "linear/b": (1000,)}


def _same(x: Tensor, value: float) -> Tensor:
    """TensorFlow's border for 3x3 with stride 2."""
    sides = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(x, sides, value=value)


def tensorpack(s: State, x: Tensor) -> Tensor:
    def layer(conv: str, bn: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = s[f"{conv}/W"]
        weight = weight.permute(2, 3, 0, 1) if "dconv" in conv else weight.permute(3, 2, 0, 1)
        if stride == 2:
            x, border = _same(x, 0.0), 0
        else:
            border = weight.shape[2] // 2
        groups = x.shape[1] // weight.shape[1]
        y = functional.conv2d(x, weight, None, stride, border, groups=groups)
        return normalised(y, *(s[f"{bn}/{field}"] for field in _TENSORFLOW_NORM))

    def averaged(x: Tensor) -> Tensor:
        inside = functional.avg_pool2d(_same(torch.ones_like(x), 0.0), 3, 2)
        return functional.avg_pool2d(_same(x, 0.0), 3, 2) / inside

    x = layer("conv1", "conv1/bn", x, 2).relu()
    x = functional.max_pool2d(_same(x, -torch.inf), 3, 2)
    for stage in (2, 3, 4):
        for index in range(REPEATS[stage - 2]):
            unit = f"stage{stage}/block{index}"
            y = layer(f"{unit}/conv1", f"{unit}/conv1/bn", x).relu()
            y = shuffled(y, y.shape[1] // 8)
            y = layer(f"{unit}/dconv", f"{unit}/dconv_bn", y, 1 if index else 2)
            y = layer(f"{unit}/conv2", f"{unit}/conv2_bn", y)
            x = (x + y).relu() if index else torch.cat((averaged(x), y.relu()), 1)
    return functional.linear(x.mean((2, 3)), s["linear/W"].t(), s["linear/b"])


# --- megvii's ShuffleNet v2


def megvii_v2_shapes(widths: tuple[int, ...] = (116, 232, 464), last: int = 1024) -> Shapes:
    shapes = torch_shapes("first_conv.0", "first_conv.1", (24, 3, 3, 3))
    inputs, number = 24, 0
    for width, repeats in zip(widths, REPEATS, strict=True):
        for index in range(repeats):
            seen, half = (width // 2 if index else inputs), width // 2
            at = f"features.{number}.branch_main"
            shapes |= torch_shapes(f"{at}.0", f"{at}.1", (half, seen, 1, 1))
            shapes |= torch_shapes(f"{at}.3", f"{at}.4", (half, 1, 3, 3))
            shapes |= torch_shapes(f"{at}.5", f"{at}.6", (width - seen, half, 1, 1))
            if index == 0:
                at = f"features.{number}.branch_proj"
                shapes |= torch_shapes(f"{at}.0", f"{at}.1", (inputs, 1, 3, 3))
                shapes |= torch_shapes(f"{at}.2", f"{at}.3", (inputs, inputs, 1, 1))
            inputs, number = width, number + 1
    shapes |= torch_shapes("conv_last.0", "conv_last.1", (last, inputs, 1, 1))
    return shapes | {"classifier.0.weight": (1000, last)}


def megvii_v2(s: State, x: Tensor) -> Tensor:
    x = torch_layer(s, "first_conv.0", "first_conv.1", x, 2).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for number in range(16):
        strided = number in (0, 4, 12)
        kept, y = (x, x) if strided else (x[:, 0::2], x[:, 1::2])
        at = f"features.{number}.branch_main"
        y = torch_layer(s, f"{at}.0", f"{at}.1", y).relu()
        y = torch_layer(s, f"{at}.3", f"{at}.4", y, 1 + strided)
        y = torch_layer(s, f"{at}.5", f"{at}.6", y).relu()
        if strided:
            at = f"features.{number}.branch_proj"
            kept = torch_layer(s, f"{at}.0", f"{at}.1", kept, 2)
            kept = torch_layer(s, f"{at}.2", f"{at}.3", kept).relu()
        x = torch.cat((kept, y), 1)
    x = torch_layer(s, "conv_last.0", "conv_last.1", x).relu()
    return functional.linear(x.mean((2, 3)), s["classifier.0.weight"])


Forward = Callable[[State, Tensor], Tensor]
