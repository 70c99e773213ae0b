"""A graph as a PyTorch module: what takes modules takes networks that came as files.

Every layer is a submodule of its name, so weights are the parameters ``<layer name>.weight`` and
``<layer name>.bias``, hooks count convolutions, and an exporter names nodes after layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Arithmetic,
    Conv,
    ConvTranspose,
    Dense,
    Graph,
    Layer,
    LeakyRelu,
    Normalize,
    Pool,
    PoolKind,
    Resize,
    ResizeMode,
    Sampling,
)
from shufflenet_deploy.network.resampling import taps


class GraphModule(nn.Module):
    """Computes ``graph``: (N, channels, H, W) -> its output, or a tuple where it has several."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._paths: dict[str, str] = {}
        for layer in graph.layers:
            self._paths[layer.name] = self._add(layer.name, _module_of(layer, graph))
        self.eval()

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of a batch; all parts of the graph are computed in its order."""
        known = {self.graph.input: image}
        for layer in self.graph.layers:
            module = self.get_submodule(self._paths[layer.name])
            known[layer.output] = module(*(known[name] for name in layer.inputs))
        found = tuple(known[name] for name in self.graph.outputs)
        return found[0] if len(found) == 1 else found

    def _add(self, name: str, module: nn.Module) -> str:
        """Register a module by its path; a word that modules have a meaning for gets a ``_``."""
        parent: nn.Module = self
        *outer, leaf = name.split(".")
        path = []
        for part in outer:
            part = _free(parent, part, children=True)  # noqa: PLW2901
            path.append(part)
            if part not in parent._modules:  # noqa: SLF001 - children by name, not attributes
                parent.add_module(part, nn.Module())
            parent = cast("nn.Module", parent._modules[part])  # noqa: SLF001
        leaf = _free(parent, leaf, children=False)
        if isinstance(parent._modules.get(leaf), nn.Module):  # noqa: SLF001
            # A layer inside of this one came first, and its holder is replaced.
            for inner, child in parent.get_submodule(leaf).named_children():
                module.add_module(inner, child)
            parent._modules[leaf] = module  # noqa: SLF001
        else:
            parent.add_module(leaf, module)
        return ".".join((*path, leaf))


def _free(parent: nn.Module, name: str, *, children: bool) -> str:
    """``name``, or with ``_`` behind it while it is an attribute that is no child."""
    while hasattr(parent, name):
        child = parent._modules.get(name)  # noqa: SLF001
        if child is not None and (children or type(child) is nn.Module):
            return name
        name += "_"
    return name


class _Computed(nn.Module):
    """A layer without arrays, by the interpreter's own rule."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        return interpreter.compute(self.layer, list(inputs))


class _Conv(nn.Conv2d):
    def __init__(self, layer: Conv) -> None:
        out, per_group, *kernel = layer.weight.shape
        top, left, bottom, right = layer.padding
        even = (top, left) == (bottom, right)
        super().__init__(
            per_group * layer.groups,
            out,
            (kernel[0], kernel[1]),
            layer.stride,
            (top, left) if even else 0,
            layer.dilation,
            layer.groups,
            device="meta",
        )
        self.around = (0, 0, 0, 0) if even else (left, right, top, bottom)
        self.activation = layer.activation
        _set(self, weight=layer.weight, bias=layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, self.around) if any(self.around) else x
        return interpreter.activate(super().forward(padded), self.activation)


class _ConvTranspose(nn.ConvTranspose2d):
    def __init__(self, layer: ConvTranspose) -> None:
        rows, per_group, *kernel = layer.weight.shape
        top, left, bottom, right = layer.cropping
        extra = (max(0, top - bottom), max(0, left - right))
        plain = (bottom + extra[0], right + extra[1]) == (top, left) and min(top, left) >= 0
        plain = plain and all(
            one < max(step, wide)
            for one, step, wide in zip(extra, layer.stride, layer.dilation, strict=True)
        )
        super().__init__(
            rows,
            per_group * layer.groups,
            (kernel[0], kernel[1]),
            layer.stride,
            (top, left) if plain else 0,
            extra if plain else 0,
            layer.groups,
            bias=True,
            dilation=layer.dilation,
            device="meta",
        )
        self.cut = None if plain else (-left, -right, -top, -bottom)
        self.activation = layer.activation
        _set(self, weight=layer.weight, bias=layer.bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.cut is None:
            return interpreter.activate(super().forward(x, output_size), self.activation)
        whole = functional.conv_transpose2d(
            x, self.weight, None, self.stride, groups=self.groups, dilation=self.dilation
        )
        assert self.bias is not None
        cropped = functional.pad(whole, self.cut) + self.bias[:, None, None]
        return interpreter.activate(cropped, self.activation)


class _Dense(nn.Linear):
    def __init__(self, layer: Dense) -> None:
        super().__init__(layer.weight.shape[1], layer.weight.shape[0], device="meta")
        self.activation = layer.activation
        _set(self, weight=layer.weight, bias=layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return interpreter.activate(super().forward(x), self.activation)


class _LeakyRelu(nn.Module):
    weight: Tensor

    def __init__(self, layer: LeakyRelu) -> None:
        super().__init__()
        self.slope = float(layer.slope[0]) if layer.slope.size == 1 else None
        if self.slope is None:
            _set(self, weight=layer.slope)

    def forward(self, x: Tensor) -> Tensor:
        if self.slope is not None:
            return functional.leaky_relu(x, self.slope)
        return functional.prelu(x, self.weight)


class _Normalize(nn.Module):
    """A norm, whose scale and shift are its weight and bias."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: Normalize) -> None:
        super().__init__()
        self.layer = layer
        _set(self, weight=layer.scale, bias=layer.shift)

    def forward(self, x: Tensor) -> Tensor:
        return interpreter.normalize(self.layer, x, self.weight, self.bias)


class _Arithmetic(nn.Module):
    """An operation with a constant, which is a buffer."""

    def __init__(self, layer: Arithmetic) -> None:
        super().__init__()
        self.layer = layer
        assert layer.constant is not None
        self.register_buffer("constant", torch.from_numpy(layer.constant.copy()))

    def forward(self, x: Tensor) -> Tensor:
        constant = self.get_buffer("constant")[None]
        return interpreter.activate(
            interpreter.combine(self.layer, x, constant), self.layer.activation
        )


class _Pool(nn.Module):
    """A pool by PyTorch's own where that can say it, else of a padded map."""

    def __init__(self, layer: Pool, size: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = layer
        top, left, bottom, right = layer.padding
        half = all(2 * one <= side for one, side in zip((top, left), layer.kernel, strict=True))
        self.own = (top, left) == (bottom, right) and half
        if not self.own and not layer.count_padding:
            inside = functional.pad(torch.ones(1, 1, *size[1:]), (left, right, top, bottom))
            share = functional.avg_pool2d(inside, layer.kernel, layer.stride)
            self.register_buffer("share", share)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        top, left, bottom, right = layer.padding
        pads = (top, left) if self.own else (0, 0)
        if layer.kind is PoolKind.MAX:
            if not self.own:
                x = functional.pad(x, (left, right, top, bottom), value=-torch.inf)
            pooled = functional.max_pool2d(x, layer.kernel, layer.stride, pads)
        else:
            if not self.own:
                x = functional.pad(x, (left, right, top, bottom))
            counted = layer.count_padding or not self.own
            pooled = functional.avg_pool2d(
                x, layer.kernel, layer.stride, pads, count_include_pad=counted
            )
            if not self.own and not layer.count_padding:
                pooled = pooled / self.get_buffer("share")
        return interpreter.activate(pooled, layer.activation)


class _Resize(nn.Module):
    """A resize by PyTorch's own where that can say it, else by the pixels that it takes."""

    def __init__(self, layer: Resize, old: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = layer
        self.own = layer.mode is ResizeMode.BILINEAR or layer.sampling is Sampling.ASYMMETRIC
        if layer.mode is ResizeMode.BILINEAR and layer.sampling is Sampling.ASYMMETRIC:
            self.own = False
        if self.own:
            return
        for axis in (0, 1):
            first, second, share = taps(old[1 + axis], layer.size[axis], layer)
            self.register_buffer(f"first{axis}", torch.from_numpy(first))
            self.register_buffer(f"second{axis}", torch.from_numpy(second))
            shape = (-1, 1) if axis == 0 else (-1,)
            self.register_buffer(f"share{axis}", torch.from_numpy(share).reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        if self.own:
            mode = str(layer.mode)
            corners = layer.sampling is Sampling.ALIGN_CORNERS
            if layer.mode is ResizeMode.NEAREST:
                return functional.interpolate(x, layer.size, mode=mode)
            return functional.interpolate(x, layer.size, mode=mode, align_corners=corners)
        for axis in (0, 1):
            low = x.index_select(2 + axis, self.get_buffer(f"first{axis}"))
            if layer.mode is ResizeMode.BILINEAR:
                high = x.index_select(2 + axis, self.get_buffer(f"second{axis}"))
                share = self.get_buffer(f"share{axis}")
                low = low * (1 - share) + high * share
            x = low
        return x


def _set(module: nn.Module, **arrays: np.ndarray) -> None:
    """Give a module its parameters."""
    for name, array in arrays.items():
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
        setattr(module, name, nn.Parameter(tensor, requires_grad=False))


def _module_of(layer: Layer, graph: Graph) -> nn.Module:
    if isinstance(layer, AdaptiveAveragePool):
        return nn.AdaptiveAvgPool2d(layer.size)
    if isinstance(layer, Pool):
        return _Pool(layer, graph.shapes[layer.inputs[0]])
    if isinstance(layer, Resize):
        return _Resize(layer, graph.shapes[layer.inputs[0]])
    if isinstance(layer, Arithmetic) and layer.constant is None:
        return _Computed(layer)
    return _WITH_ARRAYS.get(type(layer), _Computed)(layer)


_WITH_ARRAYS: dict[type[Layer], Callable[..., nn.Module]] = {
    Conv: _Conv,
    ConvTranspose: _ConvTranspose,
    Dense: _Dense,
    LeakyRelu: _LeakyRelu,
    Normalize: _Normalize,
    Arithmetic: _Arithmetic,
}
