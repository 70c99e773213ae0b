"""int8 for ncnn: its fp32 layers and weights rewritten as its own quantiser would leave them.

ncnn's int8 is symmetric: a value is a whole number from -127 to 127 over a scale. A layer with
weights has a scale for the weights of each output channel and one for its input; sums are whole
numbers of 32 bits, and what it hands on is in floats again.

A grouped convolution becomes slices, a convolution for each group, and their concatenation. ncnn's
own grouped layer has one scale for all channels of a group, and on x86 its release 20261020 answers
with memory that nobody wrote where a group makes a multiple of 8 channels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.ncnn.param import Layer, layers_in, listed, text_of

FloatArray = NDArray[np.float32]

#: How stored weights begin, by their type.
_FLOATS, _BYTES = struct.pack("<I", 0), struct.pack("<I", 0x000D4B38)
_MOST = 127
#: Weights that are no larger are zeros, whose scale ncnn wants to be zero.
_NOTHING = 1e-30
#: Where a layer keeps the number of its outputs, whether it has a bias, and its number of weights.
_KEYS = {
    "Convolution": (0, 5, 6),
    "ConvolutionDepthWise": (0, 5, 6),
    "InnerProduct": (0, 1, 2),
    "Deconvolution": (0, 5, 6),
    "DeconvolutionDepthWise": (0, 5, 6),
}
#: Layers that ncnn computes in int8.
_IN_INT8 = ("Convolution", "ConvolutionDepthWise", "InnerProduct")
_GROUPS, _SCALES, _WEIGHTS_ARE_READ = 7, 8, 19
#: What stands there for scales: of each channel of a depthwise layer, of each output of another.
_OF_CHANNELS, _OF_OUTPUTS = "1", "2"


_Number = Callable[[int, int], int]
#: How many floats other layers store, without anything before them.
_PLAIN: dict[str, Callable[[_Number], int]] = {
    "BatchNorm": lambda number: 4 * number(0, 0),
    "Scale": lambda number: max(0, number(0, 0)) * (1 + (number(1, 0) != 0)),
    "Bias": lambda number: number(0, 0),
    "PReLU": lambda number: number(0, 0),
    "GroupNorm": lambda number: 2 * number(1, 0) * (number(3, 1) != 0),
    "LayerNorm": lambda number: 2 * number(0, 0) * (number(2, 1) != 0),
    "InstanceNorm": lambda number: 2 * number(0, 0) * (number(2, 1) != 0),
}


def inputs_of(text: str) -> list[str]:
    """The values that layers in int8 read, whose ranges ``quantised`` wants."""
    return sorted({layer.inputs[0] for layer in layers_in(text) if _is_quantised(layer)})


def quantised(text: str, weights: bytes, peaks: Mapping[str, float]) -> tuple[str, bytes]:
    """The text and the weights of a network in int8, from those of one in fp32.

    ``peaks`` are the largest magnitudes that values may have, of each of ``inputs_of``.

    Raises:
        ExportError: the weights are not laid out as the layers that are known here lay them.
    """
    layers: list[Layer] = []
    stored: list[bytes] = []
    for layer, floats in _with_weights(layers_in(text), weights):
        if not _is_quantised(layer):
            layers.append(layer)
            stored.append(floats)
            continue
        known = _Weights.read(layer, floats)
        scale = _MOST / (peaks[layer.inputs[0]] or 1)
        if layer.kind == "ConvolutionDepthWise" and known.groups < len(known.values):
            layers += _ungrouped(layer, known.groups)
            stored += [part.in_int8(scale) for part in known.parts()]
        else:
            of = _OF_CHANNELS if layer.kind == "ConvolutionDepthWise" else _OF_OUTPUTS
            layers.append(layer._replace(parameters={**layer.parameters, _SCALES: of}))
            stored.append(known.in_int8(scale))
    return text_of(layers), b"".join(stored)


@dataclass(frozen=True)
class _Weights:
    """Weights of a layer, a row for each output, and its bias if there is one."""

    values: FloatArray
    bias: FloatArray | None
    groups: int

    @classmethod
    def read(cls, layer: Layer, stored: bytes) -> _Weights:
        outputs, biased, count = (layer.number(key, 0) for key in _KEYS[layer.kind])
        floats = np.frombuffer(stored, "<f4", offset=len(_FLOATS))
        rows = floats[:count].reshape(outputs, -1)
        return cls(rows, floats[count:] if biased else None, layer.number(_GROUPS, 1))

    def parts(self) -> Iterator[_Weights]:
        """Those of each group."""
        biases = [None] * self.groups if self.bias is None else np.split(self.bias, self.groups)
        for values, bias in zip(np.split(self.values, self.groups), biases, strict=True):
            yield _Weights(values, bias, 1)

    def in_int8(self, input_scale: float) -> bytes:
        """As they are stored, with the scales behind them."""
        peaks = np.abs(self.values).max(axis=1)
        scales = _MOST / np.where(peaks > _NOTHING, peaks, np.inf)
        levels = np.clip(np.rint(self.values * scales[:, None]), -_MOST, _MOST).astype(np.int8)
        content = levels.tobytes()
        aligned = content + bytes(-len(content) % 4)
        bias = b"" if self.bias is None else self.bias.tobytes()
        own, given = (np.asarray(one, "<f4").tobytes() for one in (scales, [input_scale]))
        return _BYTES + aligned + bias + own + given


def _is_quantised(layer: Layer) -> bool:
    return layer.kind in _IN_INT8 and not _reads_weights(layer)


def _reads_weights(layer: Layer) -> bool:
    """True if a convolution's weights are a value of the network."""
    return layer.kind != "InnerProduct" and layer.number(_WEIGHTS_ARE_READ, 0) != 0


def _ungrouped(layer: Layer, groups: int) -> list[Layer]:
    """A grouped convolution as slices of channels, convolutions and their concatenation."""
    (given,), (made,) = layer.inputs, layer.outputs
    parts = [(f"{made}_{index}_in", f"{made}_{index}_out") for index in range(groups)]
    sliced = {**listed(0, [-233] * groups), 1: "0"}
    outputs, _, count = _KEYS[layer.kind]
    each = {key: value for key, value in layer.parameters.items() if key != _GROUPS}
    each |= {key: str(layer.number(key, 0) // groups) for key in (outputs, count)}
    each[_SCALES] = _OF_OUTPUTS
    return [
        Layer("Slice", f"{layer.name}_slice", (given,), tuple(one for one, _ in parts), sliced),
        *(
            Layer("Convolution", f"{layer.name}_{index}", (read,), (answer,), each)
            for index, (read, answer) in enumerate(parts)
        ),
        Layer(
            "Concat", f"{layer.name}_concat", tuple(one for _, one in parts), (made,), {0: "0"}
        ),
    ]  # fmt: skip


def _with_weights(layers: Sequence[Layer], weights: bytes) -> Iterator[tuple[Layer, bytes]]:
    """Each layer with what is stored for it.

    Raises:
        ExportError: it is not what these layers store.
    """
    place, problem = 0, ExportError(
        "ncnn's weights are not laid out as its layers say: a layer keeps some in a way that is not"
        " known here; take --precision fp32 or fp16, or another --fmt"
    )  # fmt: skip
    for layer in layers:
        size = _stored_bytes(layer)
        content = weights[place : place + size]
        plain = layer.kind not in _KEYS or not size or content.startswith(_FLOATS)
        if len(content) != size or not plain:
            raise problem
        yield layer, content
        place += size
    if place != len(weights):
        raise problem


def _stored_bytes(layer: Layer) -> int:
    """How many bytes of weights an fp32 file has for a layer, as far as layers are known here."""
    number = layer.number
    if layer.kind in _KEYS:
        if _reads_weights(layer):
            return 0
        outputs, biased, count = (number(key, 0) for key in _KEYS[layer.kind])
        return len(_FLOATS) + 4 * (count + (outputs if biased else 0))
    if layer.kind == "MemoryData":
        return 4 * math.prod(max(1, number(key, 0)) for key in (0, 1, 11, 2))
    known = _PLAIN.get(layer.kind)
    return 4 * known(number) if known else 0
