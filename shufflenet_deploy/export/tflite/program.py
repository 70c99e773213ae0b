"""Intermediate representation of NHWC programs: operations and tensors, before any file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """``real = scale * (stored - zero_point)``; more than one scale means one per ``axis``."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, kw_only=True)
class TfliteTensor:
    """A value at run time, or a constant when ``data`` is there.

    ``rearranges`` names the value of the graph whose channels it holds in another order. ``span``
    is the range of a value that calibration does not know because no layer makes it. ``real`` marks
    a step within a layer whose range nobody knows: int8 files compute it in float.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None
    quantization: Quantization | None = None
    rearranges: str | None = None
    span: tuple[float, float] | None = None
    real: bool = False


@dataclass(frozen=True, kw_only=True)
class TfliteOperation:
    """One operation; ``code`` and the keys of ``options`` are those of TFLite's schema."""

    code: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TfliteProgram:
    """Operations in order, and every tensor they name; ``outputs`` are in the graph's order."""

    name: str
    input: str
    outputs: tuple[str, ...]
    operations: tuple[TfliteOperation, ...]
    tensors: Mapping[str, TfliteTensor]

    @property
    def output(self) -> str:
        """The first output, a classifier's only one."""
        return self.outputs[0]
