"""From an eval-mode module to a ``Graph``: torch.fx records the calls, one reader per call.

The recorded program is interpreted with shapes instead of tensors, so reading a network costs
milliseconds at any resolution. ``simplify`` then folds what inference does not need.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from shufflenet_deploy.errors import DeployError, ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    FloatArray,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pair,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.network.passes.simplify import ChannelAffine, Unflatten, simplify
from shufflenet_deploy.records import Resolution

INPUT_NAME = "input"


def trace(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """Read an eval-mode ``module`` as a graph for one ``(1, channels, H, W)`` input.

    Batch normalisation is folded in float64, dropout disappears, and a ReLU becomes the
    activation of the layer before it. A layer is named by its module path.

    Raises:
        ExportError: the module does something a graph cannot express; the message names where.
    """
    return simplify(read(module, resolution, name, channels=channels))


def read(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """The network as it is written: nothing folded, every module that computes is a layer.

    Raises:
        ExportError: the module does something a graph cannot express; the message names where.
    """
    shape = (channels, resolution.height, resolution.width)
    reader = _Reader(module, name)
    output = reader.read(_record(module, name), _Value(INPUT_NAME, shape))
    return Graph(
        name=name,
        input=INPUT_NAME,
        output=output,
        layers=tuple(reader.layers),
        shapes=reader.shapes,
    )


@dataclass(frozen=True)
class _Value:
    """A tensor of the network without its batch of one: a map (C, H, W) or a vector (F,).

    ``split`` is the number of groups while the channels are viewed as (groups, C / groups), and
    ``transposed`` whether those two have been exchanged: the inside of a hand-written shuffle.
    """

    name: str
    shape: tuple[int, ...]
    split: int = 0
    transposed: bool = False

    @property
    def batched(self) -> tuple[int, ...]:
        """The shape the network itself sees."""
        if not self.split:
            return (1, *self.shape)
        pair = (self.split, self.shape[0] // self.split)
        return (1, *(reversed(pair) if self.transposed else pair), *self.shape[1:])


class _Tracer(fx.Tracer):
    """Records a forward pass; remembers where it stands, for error messages."""

    where = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """A shuffle is one layer, however it is written."""
        return _is_shuffle(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Keep the path of the module in which recording fails."""
        before, self.where = self.where, self.path_of_module(m)
        result = super().call_module(m, forward, args, kwargs)
        self.where = before
        return result


def _is_shuffle(module: nn.Module) -> bool:
    return type(module).__name__ == "ChannelShuffle" and isinstance(
        getattr(module, "groups", None), int
    )


def _record(module: nn.Module, name: str) -> fx.Graph:
    if module.training:
        raise ExportError(f"{name} is in training mode: call .eval() before exporting it")
    tracer = _Tracer()
    try:
        return tracer.trace(module)
    except DeployError:
        raise
    except Exception as error:  # Recording runs the module's own code, which may raise anything.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"module '{tracer.where}'" if tracer.where else "its forward()"
        raise ExportError(f"{name}: {where} cannot be recorded: {reason}") from error


class _Reader:
    """Turns recorded calls into layers, one at a time."""

    def __init__(self, root: nn.Module, name: str) -> None:
        self._modules = dict(root.named_modules())
        self._root = root
        self._name = name
        self._names: set[str] = {INPUT_NAME}
        self._where = ""  # The module being read, and the function it calls, if it is no layer.
        self._called = ""
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def read(self, program: fx.Graph, image: _Value) -> str:
        """Read the whole program; returns the name of its output value."""
        self.shapes[image.name] = image.shape
        known: dict[fx.Node, Any] = {}
        for node in program.nodes:
            args = fx.map_arg(node.args, known.__getitem__)
            kwargs = fx.map_arg(node.kwargs, known.__getitem__)
            self._where, self._called = _where(node), _called(node)
            if node.op == "placeholder":
                if any(isinstance(value, _Value) for value in known.values()):
                    self._fail("takes more than one input")
                known[node] = image
            elif node.op == "output":
                return self._output(args[0])
            else:
                known[node] = self._call(node, args, kwargs)
                if _in_place(node, self._modules):  # Later readers of the operand see the result.
                    known[node.args[0]] = known[node]
        raise AssertionError("a recorded program always ends with its output")

    def _output(self, value: Any) -> str:
        self._where = ""
        if not isinstance(value, _Value) or value.split:
            self._fail("must return one tensor")
        return value.name

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "call_module":
            return self._module(self._modules[str(node.target)], args, kwargs)
        if node.op == "get_attr":
            self._fail(f"uses the tensor '{node.target}' outside of a layer")
        if callable(node.target) and not _holds_value((args, kwargs)):
            return node.target(*args, **kwargs)  # Arithmetic on sizes.
        return self._function(node, args, kwargs)

    def _module(self, module: nn.Module, args: Any, kwargs: Any) -> _Value:
        if len(args) != 1 or kwargs:
            self._fail(f"calls {type(module).__name__} with more than one tensor")
        value = self._map(args[0])
        if _is_shuffle(module):
            return self._shuffle(value, cast("int", module.groups))
        for kind, read in _MODULES.items():
            if isinstance(module, kind):
                return read(self, module, value)
        return self._fail(f"is a {type(module).__name__}, which no exported graph can express")

    def _function(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target = node.target
        key = f".{target}" if node.op == "call_method" else target
        if key in _AS_MODULES:
            return self._module(_AS_MODULES[key](*args[1:], **kwargs), args[:1], {})
        if key in _FUNCTIONS:
            return _FUNCTIONS[key](self, *args, **kwargs)
        return self._fail(f"calls {self._called}(), which no exported graph can express")

    # Everything below reads one kind of call.

    def conv(self, module: nn.Module, x: _Value) -> _Value:
        conv = cast("nn.Conv2d", module)
        if conv.dilation != (1, 1) or conv.padding_mode != "zeros":
            self._fail("is a dilated or non-zero padded convolution, which is not supported")
        if x.shape[0] != conv.in_channels:
            self._fail(f"expects {conv.in_channels} channels and gets {x.shape[0]}")
        kernel, stride = _pair(conv.kernel_size), _pair(conv.stride)
        if isinstance(conv.padding, str):
            declared = _same_padding(kernel) if conv.padding == "same" else (0, 0, 0, 0)
        else:
            declared = _both_sides(_pair(conv.padding))
        padding, size = self._windows(x, kernel, stride, declared)
        return self._emit(
            Conv,
            (x,),
            (conv.out_channels, *size),
            weight=_array(conv.weight),
            bias=_bias(conv.bias, conv.out_channels),
            stride=stride,
            padding=padding,
            groups=conv.groups,
        )

    def batch_norm(self, module: nn.Module, x: _Value) -> _Value:
        norm = cast("nn.BatchNorm2d", module)
        if norm.training or norm.running_mean is None or norm.running_var is None:
            self._fail("normalises with the statistics of the batch: call .eval() before exporting")
        mean = norm.running_mean.detach().double().numpy()
        var = norm.running_var.detach().double().numpy()
        scale = 1.0 / np.sqrt(var + norm.eps)
        shift = -mean * scale
        if norm.affine:
            gain = norm.weight.detach().double().numpy()
            scale, shift = scale * gain, shift * gain + norm.bias.detach().double().numpy()
        return self._emit(ChannelAffine, (x,), x.shape, scale=scale, shift=shift)

    def relu(self, _: nn.Module, x: _Value) -> _Value:
        return self._elementwise(x, Activation.RELU)

    def relu6(self, _: nn.Module, x: _Value) -> _Value:
        return self._elementwise(x, Activation.RELU6)

    def sigmoid(self, _: nn.Module, x: _Value) -> _Value:
        return self._elementwise(x, Activation.SIGMOID)

    def hard_sigmoid(self, _: nn.Module, x: _Value) -> _Value:
        return self._elementwise(x, Activation.HARD_SIGMOID)

    def _elementwise(self, x: _Value, activation: Activation) -> _Value:
        return self._emit(Elementwise, (x,), x.shape, activation=activation)

    def dropped(self, module: nn.Module, x: _Value) -> _Value:
        if module.training and not isinstance(module, nn.Identity):
            self._fail("drops values at inference: call .eval() before exporting")
        return x

    def max_pool(self, module: nn.Module, x: _Value) -> _Value:
        pool = cast("nn.MaxPool2d", module)
        if _pair(pool.dilation) != (1, 1) or pool.return_indices:
            self._fail("is a dilated or index-returning max pool, which is not supported")
        kernel = _pair(pool.kernel_size)
        stride = _pair(pool.stride if pool.stride is not None else pool.kernel_size)
        padding, size = self._windows(
            x, kernel, stride, _both_sides(_pair(pool.padding)), ceil=pool.ceil_mode
        )
        return self._emit(
            Pool,
            (x,),
            (x.shape[0], *size),
            kind=PoolKind.MAX,
            kernel=kernel,
            stride=stride,
            padding=padding,
        )

    def average_pool(self, module: nn.Module, x: _Value) -> _Value:
        pool = cast("nn.AvgPool2d", module)
        if pool.divisor_override is not None:
            self._fail("is an average pool with a divisor of its own, which is not supported")
        kernel = _pair(pool.kernel_size)
        stride = _pair(pool.stride if pool.stride is not None else pool.kernel_size)
        declared = _both_sides(_pair(pool.padding))
        padding, size = self._windows(x, kernel, stride, declared, ceil=pool.ceil_mode)
        count = pool.count_include_pad
        if padding[2] > declared[2] or padding[3] > declared[3]:
            # PyTorch never counts what ceil_mode adds beyond the declared padding.
            if count and any(declared):
                self._fail("is an average pool that counts only a part of its padding")
            count = False
        return self._emit(
            Pool,
            (x,),
            (x.shape[0], *size),
            kind=PoolKind.AVERAGE,
            kernel=kernel,
            stride=stride,
            padding=padding,
            count_padding=count,
        )

    def adaptive_pool(self, module: nn.Module, x: _Value) -> _Value:
        wanted = cast("nn.AdaptiveAvgPool2d", module).output_size
        self._maps(x)
        pair = wanted if isinstance(wanted, (tuple, list)) else (wanted, wanted)
        height, width = (
            own if want is None else want for want, own in zip(pair, x.shape[1:], strict=True)
        )
        if (height, width) == x.shape[1:]:
            return x
        return self._emit(
            AdaptiveAveragePool, (x,), (x.shape[0], height, width), size=(height, width)
        )

    def linear(self, module: nn.Module, x: _Value) -> _Value:
        dense = cast("nn.Linear", module)
        if x.shape != (dense.in_features,):
            self._fail(
                f"expects a vector of {dense.in_features} features and gets {x.shape}: the input "
                "resolution does not suit this head"
            )
        return self._emit(
            Dense,
            (x,),
            (dense.out_features,),
            weight=_array(dense.weight),
            bias=_bias(dense.bias, dense.out_features),
        )

    def response_norm(self, module: nn.Module, x: _Value) -> _Value:
        norm = cast("nn.LocalResponseNorm", module)
        if norm.size % 2 == 0:
            self._fail(f"normalises over {norm.size} channels: only odd sizes are supported")
        self._maps(x)
        return self._emit(
            LocalResponseNorm,
            (x,),
            x.shape,
            size=norm.size,
            alpha=float(norm.alpha),
            beta=float(norm.beta),
            k=float(norm.k),
        )

    def flatten_module(self, module: nn.Module, x: _Value) -> _Value:
        flatten = cast("nn.Flatten", module)
        return self.flatten(x, flatten.start_dim, flatten.end_dim)

    def flatten(self, x: _Value, start_dim: int = 0, end_dim: int = -1) -> _Value:
        if start_dim != 1 or end_dim not in {-1, len(x.batched) - 1}:
            self._fail("flattens something other than everything but the batch")
        return self._flat(x)

    def _flat(self, x: _Value) -> _Value:
        x = self._map(x)
        if len(x.shape) == 1:
            return x
        return self._emit(Flatten, (x,), (math.prod(x.shape),), word="flatten")

    def _shuffle(self, x: _Value, groups: int) -> _Value:
        self._maps(x)
        if groups < 1 or x.shape[0] % groups:
            self._fail(f"shuffles {x.shape[0]} channels in {groups} groups")
        if groups in {1, x.shape[0]}:
            return x  # One group, or groups of one channel: nothing moves.
        return self._emit(Shuffle, (x,), x.shape, groups=groups, word="shuffle")

    def mean(self, x: _Value, dim: Any = None, keepdim: bool = False) -> _Value:  # noqa: FBT001, FBT002 - the signature of torch.mean
        axes = {axis % 4 for axis in dim} if isinstance(dim, (tuple, list)) else None
        if axes != {2, 3}:
            self._fail("takes a mean over something other than height and width")
        self._maps(x)
        pooled = self._emit(AdaptiveAveragePool, (x,), (x.shape[0], 1, 1), size=(1, 1))
        return pooled if keepdim else self._flat(pooled)

    def add(self, a: Any, b: Any, alpha: Any = 1) -> _Value:
        if not isinstance(a, _Value) or not isinstance(b, _Value) or alpha != 1:
            self._fail("adds a constant, which is not supported")
        a, b = self._map(a), self._map(b)
        if a.shape != b.shape:
            self._fail(f"adds values of shapes {a.shape} and {b.shape}")
        return self._emit(Add, (a, b), a.shape)

    def multiply(self, a: Any, b: Any) -> _Value:
        if not isinstance(a, _Value) or not isinstance(b, _Value):
            self._fail("multiplies by a constant, which is not supported")
        a, b = self._map(a), self._map(b)
        if a.shape[1:] == (1, 1) and b.shape[1:] != (1, 1):
            a, b = b, a
        if len(a.shape) != 3 or b.shape != (a.shape[0], 1, 1):
            self._fail(f"multiplies shapes {a.shape} and {b.shape}: only channel gates are known")
        return self._emit(Multiply, (a, b), a.shape)

    def concat(self, values: Any, dim: int = 0) -> _Value:
        parts = tuple(self._map(value) for value in values)
        for part in parts:
            self._maps(part)
        if dim not in {1, -3} or len({part.shape[1:] for part in parts}) != 1:
            self._fail("joins values along something other than channels")
        channels = sum(part.shape[0] for part in parts)
        return self._emit(Concat, parts, (channels, *parts[0].shape[1:]), word="concat")

    def same(self, x: _Value, *_: Any, **__: Any) -> _Value:
        return x

    def size(self, x: _Value, dim: int | None = None) -> Any:
        return x.batched if dim is None else x.batched[dim]

    def attribute(self, x: _Value, what: str) -> Any:
        if what != "shape":
            self._fail(f"reads '{what}' of a tensor")
        return x.batched

    def item(self, sizes: Any, index: Any) -> Any:
        if isinstance(sizes, _Value):
            self._fail("cuts a tensor into pieces, which is not supported")
        return sizes[index]

    def transpose(self, x: _Value, first: int, second: int) -> _Value:
        if not x.split or {first % 5, second % 5} != {1, 2}:
            self._fail("exchanges dimensions other than the two of a channel shuffle")
        return _Value(x.name, x.shape, x.split, not x.transposed)

    def permute(self, x: _Value, *dims: Any) -> _Value:
        order = dims[0] if len(dims) == 1 else dims
        if tuple(order) != (0, 2, 1, 3, 4):
            self._fail("permutes dimensions other than the two of a channel shuffle")
        return self.transpose(x, 1, 2)

    def view(self, x: _Value, *sizes: Any) -> _Value:
        given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        wanted = self._resolve(given, math.prod(x.shape))
        if wanted == x.batched:
            return x
        if x.split:
            if wanted != (1, *x.shape):
                self._fail(f"views {x.batched} as {wanted} in the middle of a channel shuffle")
            whole = _Value(x.name, x.shape)
            # Transposing (g, n) and flattening is a shuffle of g groups.
            return self._shuffle(whole, x.split) if x.transposed else whole
        if len(wanted) == 2 and wanted[0] == 1:
            return self._flat(x)
        if len(x.shape) == 1 and wanted == (1, *x.shape, 1, 1):
            return self._emit(Unflatten, (x,), (*x.shape, 1, 1), word="unflatten")
        channels = wanted[1] * wanted[2] if len(wanted) == 5 else 0
        if len(x.shape) != 3 or (channels, *wanted[3:]) != x.shape:
            self._fail(f"views {x.batched} as {wanted}, which is no channel shuffle")
        return _Value(x.name, x.shape, wanted[1])

    def _resolve(self, sizes: Any, elements: int) -> tuple[int, ...]:
        known = math.prod(size for size in sizes if size != -1)
        unknown = elements // known if known and elements % known == 0 else 0
        wanted = tuple(unknown if size == -1 else size for size in sizes)
        if math.prod(wanted) != elements:
            self._fail(f"views {elements} values as {tuple(sizes)}")
        return wanted

    def _windows(
        self,
        x: _Value,
        kernel: Pair,
        stride: Pair,
        padding: tuple[int, int, int, int],
        *,
        ceil: bool = False,
    ) -> tuple[tuple[int, int, int, int], Pair]:
        """The padding that windows really touch, and the size of the output."""
        self._maps(x)
        ends, sizes = [], []
        for axis in (0, 1):
            extent, before, after = x.shape[1 + axis], padding[axis], padding[2 + axis]
            room = extent + before + after - kernel[axis]
            count = (math.ceil(room / stride[axis]) if ceil else room // stride[axis]) + 1
            if ceil and (count - 1) * stride[axis] >= extent + before:
                count -= 1  # PyTorch: every window starts inside the image or its left padding.
            if count < 1:
                self._fail(
                    f"needs windows of {kernel[0]}x{kernel[1]} and gets a map of "
                    f"{x.shape[1]}x{x.shape[2]}: choose a larger resolution"
                )
            sizes.append(count)
            ends.append(max(0, (count - 1) * stride[axis] + kernel[axis] - extent - before))
        return (padding[0], padding[1], ends[0], ends[1]), (sizes[0], sizes[1])

    def _map(self, value: Any) -> _Value:
        """A finished value: a hand-written shuffle must not be used half way."""
        if not isinstance(value, _Value) or value.split:
            self._fail("uses something other than a feature map")
        return value

    def _maps(self, x: _Value) -> None:
        if len(x.shape) != 3:
            self._fail(f"expects a feature map and gets a vector of {x.shape[0]} values")

    def _emit(
        self,
        make: Callable[..., Layer],
        inputs: tuple[_Value, ...],
        shape: tuple[int, ...],
        word: str = "",
        **fields: Any,
    ) -> _Value:
        """Append a layer: named by its module, or by the module that does it and a word."""
        path = ".".join(
            part for part in (self._where, self._called and (word or self._called)) if part
        )
        name = self._unique(path)
        self.layers.append(
            make(name=name, inputs=tuple(value.name for value in inputs), output=name, **fields)
        )
        self.shapes[name] = shape
        return _Value(name, shape)

    def _unique(self, path: str) -> str:
        name, count = path, 1
        while name in self._names:
            count += 1
            name = f"{path}_{count}"
        self._names.add(name)
        return name

    def _fail(self, what: str) -> NoReturn:
        where = f"module '{self._where}'" if self._where else "forward()"
        raise ExportError(f"cannot export {self._name}: {where} {what}")


_Read = Callable[[_Reader, nn.Module, _Value], _Value]

_MODULES: dict[type[nn.Module], _Read] = {
    nn.Conv2d: _Reader.conv,
    nn.BatchNorm2d: _Reader.batch_norm,
    nn.ReLU6: _Reader.relu6,
    nn.ReLU: _Reader.relu,
    nn.Sigmoid: _Reader.sigmoid,
    nn.Hardsigmoid: _Reader.hard_sigmoid,
    nn.Dropout: _Reader.dropped,
    nn.Dropout2d: _Reader.dropped,
    nn.Identity: _Reader.dropped,
    nn.MaxPool2d: _Reader.max_pool,
    nn.AvgPool2d: _Reader.average_pool,
    nn.AdaptiveAvgPool2d: _Reader.adaptive_pool,
    nn.Linear: _Reader.linear,
    nn.LocalResponseNorm: _Reader.response_norm,
    nn.Flatten: _Reader.flatten_module,
}


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:  # noqa: FBT001, FBT002 - the signature of torch's
    return nn.Dropout(p, inplace).train(training)


#: Functions that are a module applied at once: read as that module.
_AS_MODULES: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: nn.ReLU,
    functional.relu6: nn.ReLU6,
    functional.hardsigmoid: nn.Hardsigmoid,
    functional.sigmoid: nn.Sigmoid,
    torch.relu: nn.ReLU,
    torch.relu_: nn.ReLU,
    torch.sigmoid: nn.Sigmoid,
    ".relu": nn.ReLU,
    ".relu_": nn.ReLU,
    ".sigmoid": nn.Sigmoid,
    ".sigmoid_": nn.Sigmoid,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.local_response_norm: nn.LocalResponseNorm,
    functional.dropout: _dropout,
}

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.flatten: _Reader.flatten,
    ".flatten": _Reader.flatten,
    torch.cat: _Reader.concat,
    torch.concat: _Reader.concat,
    torch.add: _Reader.add,
    ".add": _Reader.add,
    ".add_": _Reader.add,
    operator.add: _Reader.add,
    operator.iadd: _Reader.add,
    torch.mul: _Reader.multiply,
    ".mul": _Reader.multiply,
    ".mul_": _Reader.multiply,
    operator.mul: _Reader.multiply,
    operator.imul: _Reader.multiply,
    torch.mean: _Reader.mean,
    ".mean": _Reader.mean,
    ".contiguous": _Reader.same,
    ".size": _Reader.size,
    getattr: _Reader.attribute,
    operator.getitem: _Reader.item,
    torch.transpose: _Reader.transpose,
    ".transpose": _Reader.transpose,
    torch.permute: _Reader.permute,
    ".permute": _Reader.permute,
    torch.reshape: _Reader.view,
    ".reshape": _Reader.view,
    ".view": _Reader.view,
}


def _holds_value(argument: Any) -> bool:
    if isinstance(argument, dict):
        return _holds_value(tuple(argument.values()))
    if isinstance(argument, (tuple, list)):
        return any(_holds_value(item) for item in argument)
    return isinstance(argument, _Value)


def _where(node: fx.Node) -> str:
    """The path of the module a call was recorded in, or of the module it calls."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _called(node: fx.Node) -> str:
    """The function or method a module calls; empty where it calls another module."""
    if node.op == "call_module":
        return ""
    return (
        node.target
        if isinstance(node.target, str)
        else getattr(node.target, "__name__", "function")
    )


def _in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_")
    return bool(node.kwargs.get("inplace")) or node.target is torch.relu_


def _pair(value: Any) -> Pair:
    return (int(value[0]), int(value[1])) if isinstance(value, (tuple, list)) else (value, value)


def _both_sides(padding: Pair) -> tuple[int, int, int, int]:
    return (*padding, *padding)


def _same_padding(kernel: Pair) -> tuple[int, int, int, int]:
    before = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return (*before, kernel[0] - 1 - before[0], kernel[1] - 1 - before[1])


def _array(parameter: torch.Tensor) -> FloatArray:
    return np.ascontiguousarray(parameter.detach().float().numpy())


def _bias(parameter: torch.Tensor | None, channels: int) -> FloatArray:
    return np.zeros(channels, np.float32) if parameter is None else _array(parameter)
