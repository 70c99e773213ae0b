"""Builder of NHWC programs: constants, data movement and padding."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from shufflenet_deploy.export.tflite.program import Array, TfliteOperation, TfliteTensor

#: (top, left, bottom, right)
Padding = tuple[int, int, int, int]

_LOWEST = float(np.finfo(np.float32).min)


class ProgramBuilder:
    """Append operations and the tensors that they write; ``values`` are the names of a graph's."""

    def __init__(self, values: Container[str]) -> None:
        self._values = values
        self.tensors: dict[str, TfliteTensor] = {}
        self.operations: list[TfliteOperation] = []

    def write(
        self,
        code: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
        options: Mapping[str, Any],
        *,
        span: tuple[float, float] | None = None,
        rearranges: str | None = None,
        real: bool = False,
    ) -> None:
        """Append an operation and the tensor ``output``; see ``declare``."""
        self.declare(output, shape, span, rearranges=rearranges, real=real)
        self.operations.append(
            TfliteOperation(code=code, inputs=inputs, output=output, options=options)
        )

    def declare(
        self,
        name: str,
        shape: tuple[int, ...],
        span: tuple[float, float] | None = None,
        *,
        rearranges: str | None = None,
        real: bool = False,
    ) -> str:
        """Add a tensor that is computed at run time; the rest is of ``TfliteTensor``."""
        # Rewrites of shuffles name a value ``source:form``; the lowering's own are no values.
        if name in self._values:
            rearranges = name.partition(":")[0]
        self.tensors[name] = TfliteTensor(
            name=name, shape=shape, rearranges=rearranges, span=span, real=real
        )
        return name

    def constant(self, name: str, data: Array) -> str:
        """Add a constant; several layers may share one that is named by its content."""
        if name not in self.tensors:
            held = np.ascontiguousarray(data)
            self.tensors[name] = TfliteTensor(
                name=name, shape=data.shape, dtype=str(data.dtype), data=held
            )
        return name

    def reshape(
        self, source: str, target: str, shape: tuple[int, ...], *, rearranges: str | None = None
    ) -> None:
        """Append a reshape of ``source``."""
        sizes = self.constant(f"shape:{shape}", np.array(shape, np.int32))
        options = {"newShape": shape}
        self.write("RESHAPE", (source, sizes), target, shape, options, rearranges=rearranges)

    def transpose(
        self, source: str, target: str, order: tuple[int, ...], *, rearranges: str | None = None
    ) -> None:
        """Append a transpose of ``source`` to the axes ``order``."""
        shape = tuple(self.tensors[source].shape[axis] for axis in order)
        axes = self.constant(f"order:{order}", np.array(order, np.int32))
        self.write("TRANSPOSE", (source, axes), target, shape, {}, rearranges=rearranges)

    def pad(self, source: str, name: str, padding: Padding, *, zeros: bool) -> str:
        """Pad with zeros or with the lowest number, as one operation; none for an empty padding."""
        if not any(padding):
            return source
        top, left, bottom, right = padding
        _, height, width, channels = self.tensors[source].shape
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs: tuple[str, ...] = (
            source,
            self.constant(f"padding:{top},{left},{bottom},{right}", amounts),
        )
        if not zeros:
            inputs = (*inputs, self.constant("lowest", np.array(_LOWEST, np.float32)))
        shape = (1, height + top + bottom, width + left + right, channels)
        self.write("PAD" if zeros else "PADV2", inputs, name, shape, {})
        return name

    def pad_by_concat(self, source: str, name: str, padding: Padding, *, zeros: bool) -> str:
        """Pad by concatenation with constants, which some runtimes compute faster than a pad."""
        (top, left, bottom, right), fill = padding, 0.0 if zeros else _LOWEST
        sides = [(axis, pair) for axis, pair in ((2, (left, right)), (1, (top, bottom)))]
        sides = [(axis, pair) for axis, pair in sides if any(pair)]
        for index, (axis, pair) in enumerate(sides):
            shape = list(self.tensors[source].shape)
            parts = [source]
            for place, width in zip((0, len(parts) + pair[0]), pair, strict=True):
                if width:
                    shape[axis] = width
                    content = np.full(shape, fill, np.float32)
                    border = f"border:{name}:{axis}:{place}"
                    parts.insert(place, self.constant(border, content))
            shape[axis] = self.tensors[source].shape[axis] + sum(pair)
            target = name if index == len(sides) - 1 else f"{name}:axis-{axis}"
            options = {"axis": axis}
            self.write("CONCATENATION", tuple(parts), target, tuple(shape), options)
            source = target
        return source
