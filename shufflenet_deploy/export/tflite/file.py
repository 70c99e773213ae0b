"""A TFLite file in LiteRT on this machine: its logits, and the values of its layers."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.metadata import TFLITE_ENTRY, from_json
from shufflenet_deploy.export.parity import FloatArray, joined
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import TensorSpec

#: Axes of a feature map.
_MAP_AXES = 4


class TfliteFile:
    """A TFLite file in LiteRT; integer inputs and outputs are converted on the way."""

    emulated = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interpreter = _interpreter(path, keep_all=False)
        self.inputs = tuple(map(_tflite_spec, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_tflite_spec, self._interpreter.get_output_details()))

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as ``joined``."""
        return self._invoke(self._interpreter, image)

    def _invoke(self, interpreter: Any, image: FloatArray) -> FloatArray:
        source = interpreter.get_input_details()[0]
        value = image
        if tuple(source["shape"]) != image.shape:
            value = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        interpreter.set_tensor(source["index"], _quantised(value, source))
        interpreter.invoke()
        results = [
            _dequantised(interpreter.get_tensor(sink["index"]), sink)
            for sink in interpreter.get_output_details()
        ]
        return joined(
            [one.transpose(0, 3, 1, 2) if one.ndim == _MAP_AXES else one for one in results]
        )

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """Every value computed on the way, by name, in order; maps are ``(C, H, W)``."""
        interpreter = _interpreter(self._path, keep_all=True)
        self._invoke(interpreter, image)
        for detail in interpreter.get_tensor_details():
            try:
                value = _dequantised(interpreter.get_tensor(detail["index"]), detail)
            except ValueError:  # an optional or never allocated tensor
                continue
            if value.ndim == 4 and value.shape[0] == 1:
                yield detail["name"], value[0].transpose(2, 0, 1)
            elif value.ndim == 2 and value.shape[0] == 1:
                yield detail["name"], value[0]


def _interpreter(path: Path, *, keep_all: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    try:
        with _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keeping every tensor is just what is wanted here.
            interpreter = Interpreter(
                model_path=str(path), num_threads=1, experimental_preserve_all_tensors=keep_all
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT cannot load the exported file: {error}") from error
    return interpreter


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Redirect the process's stderr: LiteRT's C++ logs there when XNNPACK is loaded."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _tflite_spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    quantised = detail["dtype"] is not np.float32
    return TensorSpec(
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if quantised else None,
        zero_point=int(zero_point) if quantised else None,
    )


def _quantised(value: FloatArray, detail: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return value
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(dtype)
    levels = np.round(value / scale) + zero_point
    rounded: NDArray[Any] = np.clip(levels, limits.min, limits.max).astype(dtype)
    return rounded


def _dequantised(value: NDArray[Any], detail: dict[str, Any]) -> FloatArray:
    scale, zero_point = detail["quantization"]
    if value.dtype.kind == "f" or not scale:
        return value.astype(np.float32)
    result: FloatArray = ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return result


def metadata_in(path: Path) -> Metadata | None:
    """The preprocessing of a file, from its metadata entry; constants are not read.

    Raises:
        MALFORMED: it is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    model = schema.Model.GetRootAs(path.read_bytes())
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == TFLITE_ENTRY.encode():
            return from_json(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
