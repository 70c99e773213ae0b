"""int8 depthwise 3x3 on x86: a vector of bytes of one pixel, or of several narrow ones.

The three pixels of a column become 32-bit lanes of three taps and a zero, which one dot product
multiplies by their weights and which serve every output above them; without VNNI they become pairs
of 16-bit numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.int8_unit import row_loop
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.emit.x86.int8_store import emit_store
from shufflenet_deploy.codegen.ir.int8 import Multipliers

_UNROLL = 6  # outputs of a loop's turn: a multiple of the period in which columns come round


@dataclass(frozen=True, kw_only=True)
class DwconvSpec:
    """All distances are in bytes; ``overwrite_slack`` bytes after a pixel may be overwritten."""

    channels: int
    height: int
    width: int
    stride: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    overwrite_slack: int = 0

    def pixels_per_vector(self, lanes: int) -> int:
        """Pixels per vector."""
        fit = 4 * lanes // self.x_pixel if 4 * lanes % self.x_pixel == 0 else 0
        alike = (
            self.x_pixel == self.y_pixel and self.channels + self.overwrite_slack >= self.x_pixel
        )
        whole = alike and fit > 1 and self.width >= fit
        return fit if whole and (self.stride == 1 or fit == 2) else 1


def pack_weights(
    spec: DwconvSpec,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: Multipliers,
    cpu: CpuTarget,
) -> NDArray[np.int8]:
    """Pack weights ``(channels, 3, 3)``, biases and multipliers, vector by vector of channels."""
    lanes, pixels_per_vector = cpu.lanes, spec.pixels_per_vector(cpu.lanes)
    size = 4 * lanes
    pixel = spec.x_pixel if pixels_per_vector > 1 else ceil(spec.channels / size) * size
    taps = np.zeros((pixel, 3, 3), np.int8)
    taps[: spec.channels] = weight
    ends = np.zeros((2, pixel), np.int32)
    ends[:, : spec.channels] = bias, multiplier.view(np.int32)
    taps, ends = np.tile(taps, (pixels_per_vector, 1, 1)), np.tile(ends, (1, pixels_per_vector))
    # Words lie as interleaving leaves them: word 4i + j of vector v is byte 16i + 4v + j.
    order = np.arange(size).reshape(lanes // 4, 4, 4).transpose(1, 0, 2).ravel()
    packed: list[NDArray[np.int8]] = []
    for first in range(0, len(taps), size):
        here = taps[first : first + size][order]
        if cpu.dot_product:
            words = np.zeros((size, 3, 4), np.int8)
            words[:, :, :3] = here.transpose(0, 2, 1)
        else:
            pairs = np.zeros((size, 5, 2), np.int16)
            pairs[:, :3] = here[:, :2].transpose(0, 2, 1)
            pairs[:, 3] = here[:, 2, :2]
            pairs[:, 4, 0] = here[:, 2, 2]
            words = pairs.view(np.int8)
        packed += [
            words.transpose(1, 0, 2).ravel(),
            ends[:, first : first + size][:, order].ravel().view(np.int8),
        ]
    return np.concatenate(packed)


def emit_kernel(spec: DwconvSpec, unit: TranslationUnit) -> str:
    """Emit ``(x, w, y, begin, end)`` over a range of rows."""
    lanes, dot_product = unit.cpu.lanes, unit.cpu.dot_product
    size = 4 * lanes
    pixels_per_vector = spec.pixels_per_vector(lanes)
    weights = (5 if dot_product else 7) * 4 * size
    code = CWriter(depth=1)
    before, rows = row_loop({"x": spec.stride * spec.x_row, "y": spec.y_row})
    code(before)
    with code.block(rows):
        whole, rest = divmod(spec.channels, size)
        if rest and (spec.channels + spec.overwrite_slack >= (whole + 1) * size):
            whole, rest = whole + 1, 0
        if pixels_per_vector > 1:
            whole, rest = 1, 0
        if whole > 1:
            code(f"for (int c = 0; c < {whole}; ++c)")
            code(
                f"    {_row(spec, unit, size)}(x + {size} * c, w + {weights} * c, y + {size} * c);"
            )
        elif whole:
            code(f"{_row(spec, unit, size)}(x, w, y);")
        if rest:
            at = size * whole
            code(f"{_row(spec, unit, rest)}(x + {at}, w + {weights * whole}, y + {at});")
    head = "const byte *restrict x, const int8_t *restrict w, byte *restrict y"
    return unit.kernel("dwconv3x3", f"LOOP void @({head}{RANGE_PARAMS})", code)


def _row(spec: DwconvSpec, unit: TranslationUnit, count: int) -> str:
    """One vector of channels of a row, or all channels of several pixels."""
    return _RowWriter(spec, unit.cpu, count).emit(unit)


class _RowWriter:
    def __init__(self, spec: DwconvSpec, cpu: CpuTarget, count: int) -> None:
        self.spec = spec
        self.lanes = cpu.lanes
        self.dot_product = cpu.dot_product
        self.count = count
        self.pixels_per_vector = spec.pixels_per_vector(cpu.lanes)
        self.code = CWriter(depth=1)

    @property
    def input_step(self) -> int:
        """Input pixels from one output vector to the next."""
        return self.pixels_per_vector * self.spec.stride

    def emit(self, unit: TranslationUnit) -> str:
        code, size = self.code, 4 * self.lanes
        taps = 3 if self.dot_product else 5
        for tap in range(taps):
            code(*(f"const vec w{tap}_{v} = LOAD(w + {(4 * tap + v) * size});" for v in range(4)))
        code(f"const byte *const ends = (const byte *)w + {taps * 4 * size};")
        code(*(f"const vec b{v} = LOAD(ends + {v * size});" for v in range(4)))
        code(*(f"const reals m{v} = REALS(ends + {(4 + v) * size});" for v in range(4)))
        outputs, rest = divmod(self.spec.width, self.pixels_per_vector)
        carried = max(0, 3 - self.input_step)
        for column in range(carried):
            code(self._names("vec", f"k{column}") + ";")
            self._load(f"k{column}", column)
        turn = min(outputs, _UNROLL)
        times, left = divmod(outputs, turn)
        walk = f"x += {turn * self.input_step * self.spec.x_pixel}"
        walk += f", y += {turn * self.pixels_per_vector * self.spec.y_pixel}"
        with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
            self._outputs(turn, carried)
        if times == 1 and (left or rest):
            code(f"{walk};")
        if left:
            with code.block(""):
                self._outputs(left, carried)
        if rest:
            with code.block(""):
                self._rest(left, rest, carried)
        head = "LOOP void @(const byte *restrict x, const int8_t *restrict w, byte *restrict y)"
        return unit.kernel("dwconv3x3_row", head, code)

    def _names(self, kind: str, name: str) -> str:
        return f"{kind} " + ", ".join(f"{name}_{v}" for v in range(4 if self.dot_product else 5))

    def _outputs(self, outputs: int, carried: int) -> None:
        """Output vectors in straight-line code; columns of the next ones are carried over."""
        names = {column: f"k{column}" for column in range(carried)}
        for at in range(outputs):
            first = at * self.input_step
            for column in range(first, first + 3):
                if column not in names:
                    names[column] = f"c{column}"
                    self.code(self._names("vec", f"c{column}") + ";")
                    self._load(f"c{column}", column)
            self._output(at, [names[column] for column in range(first, first + 3)], self.count)
        for column in range(carried):
            last = names[outputs * self.input_step + column]
            self.code(
                *(f"k{column}_{v} = {last}_{v};" for v in range(4 if self.dot_product else 5))
            )

    def _rest(self, done: int, pixels: int, carried: int) -> None:
        """Fewer pixels than a vector holds."""
        names = [f"k{column}" for column in range(carried)]
        for column in range(carried, 3):
            self.code(self._names("vec", f"c{column}") + ";")
            self._load(f"c{column}", done * self.input_step + column)
            names.append(f"c{column}")
        self._output(done, names, pixels * self.spec.x_pixel)

    def _load(self, name: str, column: int) -> None:
        spec, code = self.spec, self.code
        with code.block(""):
            for row in range(3):
                at = f"x + {row * spec.x_row + column * spec.x_pixel}"
                load = f"LOAD({at})"
                if self.pixels_per_vector == 2 and spec.stride == 2:
                    load = f"TWO_HALVES({at}, {at} + {2 * spec.x_pixel})"
                code(f"const vec x{row} = {load};")
            parts = ", ".join(f"{name}_{v}" for v in range(4))
            if self.dot_product:
                code(f"SORT({parts}, x0, x1, x2);")
            else:
                code(f"PAIRS({parts}, x0, x1);", f"{name}_4 = x2;")

    def _output(self, at: int, columns: list[str], count: int) -> None:
        code = self.code
        with code.block(""):
            code("vec a0 = b0, a1 = b1, a2 = b2, a3 = b3;")
            for tap, column in enumerate(columns):
                code(*(f"a{v} = DOT(a{v}, {column}_{v}, w{tap}_{v});" for v in range(4)))
            if not self.dot_product:
                one, two, three = (f"{column}_4" for column in columns)
                code("vec d0, d1, d2, d3;")
                for tap, pair in ((3, f"{one}, {two}"), (4, f"{three}, ZERO")):
                    code(f"PAIRS(d0, d1, d2, d3, {pair});")
                    code(*(f"a{v} = DOT(a{v}, d{v}, w{tap}_{v});" for v in range(4)))
            scaled = ", ".join(f"SCALE(a{v}, m{v})" for v in range(4))
            code(f"const vec bytes = PACK({scaled});")
            y = f"y + {at * self.pixels_per_vector * self.spec.y_pixel}"
            emit_store(code, self.lanes, y, "bytes", count)
