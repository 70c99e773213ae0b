"""The blobs of a Caffe net while it is read: what every reader of a layer works with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends.caffe.model_files import CaffeLayer, NetText, Weights
from shufflenet_deploy.network.frontends.file_builder import INPUT_NAME, FileBuilder, Value
from shufflenet_deploy.network.graph import FloatArray, Graph
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Resolution

_LOSSES = frozenset({"Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "InfogainLoss"})
_DATA = frozenset({
    "Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "Python", "WindowData",
})  # fmt: skip


class NetReader:
    """The blobs of a net by name; ``layer`` is the one that is being read."""

    def __init__(
        self,
        text: NetText,
        weights: Weights,
        readers: Mapping[str, Callable[..., Any]],
        resolution: Resolution | None,
    ) -> None:
        self._readers = readers
        self._text = text
        self._weights = weights
        self._blobs: dict[str, Value] = {}
        self._unread: dict[str, Value] = {}
        name, image = self._image(resolution)
        self.builder = FileBuilder(str(text.path), image)
        self._made(name, Value(INPUT_NAME, image))
        self.layer = text.layers[0]

    def read(self, name: str) -> Graph:
        """All layers in order; blobs that no layer reads are the outputs."""
        for layer in self._text.layers:
            self.layer = layer
            self.builder.what = f"{layer.type} '{layer.name}'"
            self.builder.name = layer.name.replace("/", ".")
            if layer.type != "Input":
                with self.builder.malformed():
                    self._read(layer)
        self.builder.what = "it"
        outputs = list(self._unread.values())
        if not outputs or outputs[0].name == INPUT_NAME:
            self.builder.fail("computes nothing of its image")
        return self.builder.graph(name, outputs)

    def _read(self, layer: CaffeLayer) -> None:
        reader = self._readers.get(layer.type)
        if reader is None:
            self.fail(self._unknown(layer.type))
        values = [self._blob(name) for name in layer.bottoms]
        for name in layer.bottoms:
            self._unread.pop(name, None)
        try:
            inspect.signature(reader).bind(self, *values)
        except TypeError:
            self.fail(f"has {len(values)} bottoms, which its type does not take")
        made = reader(self, *values)
        several = made if isinstance(made, tuple) else (made,)
        if len(several) != len(layer.tops):
            self.fail(f"has {len(layer.tops)} tops, and {len(several)} are made")
        for name, value in zip(layer.tops, several, strict=True):
            self._made(name, value)

    def _unknown(self, kind: str) -> str:
        if kind in _DATA or kind in _LOSSES or kind.endswith("Loss"):
            return "is of training: name the network for inference (deploy.prototxt)"
        return (
            "is a layer that is not known here: convert the network to ONNX where it computes "
            "the same"
        )

    def _made(self, name: str, value: Value) -> None:
        self._blobs[name] = self._unread[name] = value

    def _blob(self, name: str) -> Value:
        if name not in self._blobs:
            self.fail(f"reads '{first_line(name, 80)}', which no layer before it makes")
        return self._blobs[name]

    def _image(self, resolution: Resolution | None) -> tuple[str, tuple[int, int, int]]:
        declared = self._text.inputs()
        for layer in self._text.layers:
            if layer.type == "Input":
                shapes = layer.parameter("input_param").shape
                for index, top in enumerate(layer.tops):
                    shape = shapes[min(index, len(shapes) - 1)].dim if shapes else ()
                    declared.append((top, tuple(shape)))
        if len(declared) != 1:
            names = ", ".join(first_line(name, 40) for name, _ in declared[:6]) or "none"
            self._refuse(
                f"it has {len(declared)} inputs ({names}), and networks here take one image: name "
                "the network for inference (deploy.prototxt)"
            )
        name, shape = declared[0]
        shown = "x".join(map(str, shape))
        if len(shape) != 4 or not 1 <= shape[1] <= 4:
            self._refuse(f"its input is {shown}: (1, channels, height, width) is needed")
        height, width = shape[2:] if resolution is None else (resolution.height, resolution.width)
        if min(height, width) < 1 or height * width > 1 << 26:
            self._refuse(f"its input is {shown}: state the resolution")
        return name, (int(shape[1]), int(height), int(width))

    def _refuse(self, reason: str) -> NoReturn:
        raise UsageError(f"cannot read {self._text.path}: {reason}")

    # --- for the readers of layers --------------------------------------------------------------

    def fail(self, reason: str) -> NoReturn:
        """Raise a ``UsageError`` that names the file and the layer."""
        self.builder.fail(reason)

    def parameter(self, name: str) -> Any:
        """The parameters of the layer; a layer of before 2014 may not have them at all."""
        try:
            return self.layer.parameter(name)
        except AttributeError:
            return self.fail(f"has no '{name}' in this spelling of Caffe's layers")

    def arrays(self, *counts: int) -> list[FloatArray]:
        """The layer's weights, of which there must be as many as one of ``counts``."""
        found = self._weights.of(self.layer.name)
        if not found and 0 not in counts:
            self.fail(f"has no weights in {self._weights.path}")
        if len(found) not in counts:
            wanted = " or ".join(map(str, counts))
            self.fail(f"has {len(found)} arrays of weights, and {wanted} are needed")
        return found

    def shaped(self, array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Weights in the shape that the text says; old files write leading ones."""
        if array.size != math.prod(shape) or _core(array.shape) != _core(shape):
            found, wanted = ("x".join(map(str, one)) for one in (array.shape, shape))
            self.fail(f"has weights of {found} in {self._weights.path}, and needs {wanted}")
        return np.require(array.reshape(shape), np.float32, ["C", "W"])

    def axis(self, axis: int, x: Value) -> int:
        """A Caffe axis, which counts the batch, as an axis of the value."""
        rank = len(x.shape) + 1
        counted = axis + rank if axis < 0 else axis
        if not 1 <= counted < rank:
            self.fail(f"works along axis {axis} of {rank}, the batch among them")
        return counted - 1


def given(parameter: Any, name: str, default: Any) -> Any:
    """A field of a message, or Caffe's default where the text does not give it."""
    return getattr(parameter, name) if parameter.HasField(name) else default


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
