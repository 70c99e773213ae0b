"""The two files of a Caffe network as checked layers and arrays: the text, and the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from shufflenet_deploy import atomic_files
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends.caffe.schema import V1_TYPES, message_class
from shufflenet_deploy.network.graph import FloatArray
from shufflenet_deploy.printing import first_line

#: The largest networks have texts of 300 KB; the parser takes 3 s for this.
_MOST_TEXT_BYTES = 1 << 20
_MOST_BYTES = 2 << 30
_MOST_LAYERS = 20_000
_TEST = 1

_V1_NAMES = dict(V1_TYPES.values())


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of the text: its type in today's spelling, and its parameters."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Any

    def parameter(self, name: str) -> Any:
        """A message of parameters; empty where the file gives none."""
        return getattr(self.message, name)


class NetText:
    """A prototxt: the declared inputs and the layers that exist in the phase TEST.

    Raises:
        UsageError: it is not the text of a Caffe network.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = atomic_files.read_text(path, what="the Caffe network", limit_bytes=_MOST_TEXT_BYTES)
        self._net = message_class("Net")()
        try:
            text_format.Parse(text, self._net, allow_unknown_field=True)
        except (text_format.ParseError, RecursionError, ValueError, LookupError) as error:
            reason = first_line(str(error), 100) or type(error).__name__
            raise UsageError(f"cannot read {path}: it is no Caffe network ({reason})") from None
        if len(self._net.layer) + len(self._net.layers) > _MOST_LAYERS:
            raise UsageError(f"cannot read {path}: it has more than {_MOST_LAYERS} layers")
        if self._net.layer and self._net.layers:
            raise UsageError(
                f"cannot read {path}: it has layers in both spellings, 'layer' and 'layers'"
            )
        self.layers = tuple(self._layers())
        if not self.layers:
            raise UsageError(f"cannot read {path}: there is no layer in it")

    def inputs(self) -> list[tuple[str, tuple[int, ...]]]:
        """Inputs that the net declares itself (Input layers are layers)."""
        sizes = [tuple(shape.dim) for shape in self._net.input_shape]
        dims = tuple(self._net.input_dim)
        sizes += [dims[at : at + 4] for at in range(0, len(dims), 4)]
        return [
            (name, sizes[index] if index < len(sizes) else ())
            for index, name in enumerate(self._net.input)
        ]

    def _layers(self) -> Iterator[CaffeLayer]:
        for layer in self._net.layer:
            if _in_test(layer):
                yield CaffeLayer(
                    layer.name, layer.type, tuple(layer.bottom), tuple(layer.top), layer
                )
        for layer in self._net.layers:
            if _in_test(layer):
                kind = _V1_NAMES.get(layer.type, "None")
                yield CaffeLayer(layer.name, kind, tuple(layer.bottom), tuple(layer.top), layer)


def _in_test(layer: Any) -> bool:
    """True if the layer's rules keep it in the phase TEST, at level 0 and in no stage."""
    if any(_meets(rule) for rule in layer.exclude):
        return False
    return not layer.include or any(_meets(rule) for rule in layer.include)


def _meets(rule: Any) -> bool:
    if rule.HasField("phase") and rule.phase != _TEST:
        return False
    if rule.HasField("min_level") and rule.min_level > 0:
        return False
    if rule.HasField("max_level") and rule.max_level < 0:
        return False
    return not rule.stage


class Weights:
    """A caffemodel: the blobs of each layer.

    Raises:
        UsageError: it is not a file of Caffe weights.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = atomic_files.read_bytes(path, what="the Caffe weights", limit_bytes=_MOST_BYTES)
        message = message_class("Weights")()
        try:
            message.ParseFromString(content)
        except (DecodeError, RecursionError, ValueError):
            raise UsageError(f"cannot read {path}: it is no caffemodel, or a damaged one") from None
        self._blobs = {
            layer.name: layer.blobs for layer in (*message.layers, *message.layer) if layer.blobs
        }
        if not self._blobs:
            raise UsageError(f"cannot read {path}: there are no weights in it")

    def of(self, layer: str) -> list[FloatArray]:
        """The arrays of a layer, empty if the file has none."""
        return [self._array(layer, blob) for blob in self._blobs.get(layer, ())]

    def _array(self, layer: str, blob: Any) -> FloatArray:
        shape = tuple(blob.shape.dim)
        if not blob.HasField("shape"):
            shape = (blob.num or 1, blob.channels or 1, blob.height or 1, blob.width or 1)
        content = b"".join(blob.data) or b"".join(blob.double_data)
        kind = "<f4" if blob.data else "<f8"
        if len(content) % np.dtype(kind).itemsize:
            content = b""
        values = np.frombuffer(content, kind).astype(np.float32)
        if min(shape, default=1) < 1 or math.prod(shape) != values.size:
            claimed = "x".join(map(str, shape))
            raise UsageError(
                f"cannot read {self.path}: '{first_line(layer, 80)}' claims {claimed} weights and "
                f"holds {values.size}: the file is damaged"
            )
        return values.reshape(shape)
