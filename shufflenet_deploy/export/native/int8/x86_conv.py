"""int8 convolutions on x86: pointwise, grouped, and with any kernel, by the same tile.

A lane of an accumulator is one output channel of one pixel. A step multiplies four bytes of a
pixel, spread to all lanes, by four weights of each output; without dot products of bytes two
16-bit numbers, to which the inputs are widened beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.export.native.int8.x86_store import store
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.text import Code, Unit

_UNROLLED = 60  # multiply-adds of a tile that are written out
_LOOPED = 4  # steps of a loop's turn
_ALONE = 16  # vectors of outputs of a single pixel
_WORTH = 8  # steps from which on lanes of different inputs pay for adding them up
_CHAINS = 12  # accumulators above which more hide no latency


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution as the tile sees it; all distances are in bytes.

    ``rows`` are where the contiguous runs of ``run`` bytes of inputs begin, relative to a pixel.
    Outputs come in ``groups`` of ``outputs``; the inputs of a group begin ``group_step`` behind
    those of the one before. ``room`` is how many bytes behind the last output may be overwritten.
    With ``shuffled`` the groups' outputs are interleaved.
    """

    rows: tuple[int, ...]
    run: int
    groups: int
    outputs: int
    group_step: int
    height: int
    width: int
    x_pixel: int
    x_row: int
    y_pixel: int
    y_row: int
    r_pixel: int = 0
    r_row: int = 0
    residual: int | None = None
    fraction: int = 0
    real: bool = False
    shuffled: bool = False
    room: int = 0

    @property
    def steps(self) -> int:
        """Multiply-adds of an accumulator."""
        return len(self.rows) * ceil(self.run / 4)

    def vectors(self, lanes: int) -> int:
        """Accumulators of a group and pixel."""
        return ceil(self.outputs / lanes)

    def weights(self, blocks: tuple[Block, ...], lanes: int) -> int:
        """Bytes of weights of one group, in the first blocks of it."""
        return sum(4 * lanes * one.vectors * self.turns(one.split) for one in blocks)

    def turns(self, split: int) -> int:
        """Multiply-adds of an accumulator whose outputs have ``split`` lanes each."""
        return len(self.rows) * ceil(self.run / 4 / split)


def widened(conv: Conv) -> Conv:
    """The same over inputs of 16 bits."""
    return replace(
        conv,
        rows=tuple(2 * row for row in conv.rows),
        run=2 * conv.run,
        group_step=2 * conv.group_step,
        x_pixel=2 * conv.x_pixel,
        x_row=2 * conv.x_row,
    )


@dataclass(frozen=True)
class Block:
    """Output vectors of a group from ``first`` on, of so many ``pixels`` at a time.

    With ``split`` there are few outputs, and each has that many lanes, of different inputs.
    """

    first: int
    vectors: int
    pixels: int
    split: int = 1


def cut(conv: Conv, machine: Machine) -> tuple[Block, ...]:
    """Blocks of accumulators that fit the registers."""
    every = conv.vectors(machine.lanes)
    together = conv.groups if conv.shuffled else 1
    split = _split(conv, machine)
    every -= split > 1
    if conv.height * conv.width == 1 and not conv.shuffled:
        sizes = _even(every, _ALONE if machine.registers == 32 else 8)
    elif conv.shuffled:
        sizes = _even(every, 2 if together <= 3 and machine.registers == 32 else 1)
    else:
        most = 5 if machine.registers == 32 else 3
        sizes = [4] * (every // 4) if every % 4 == 0 and most > 4 else _even(every, most)
    blocks, first = [], 0
    for size in sizes:
        # One register is for what is spread, and without byte products one for the product.
        free = machine.registers - (1 if machine.dot else 2)
        if machine.registers == 32:
            free -= size
        fitting = max(1, free // (size * together))
        fitting = min(fitting, max(_CHAINS // size, 4))
        times = ceil(conv.width / fitting)
        blocks.append(Block(first, size, ceil(conv.width / times)))
        first += size
    if split > 1:
        times = ceil(conv.width / (machine.registers // together - 2))
        pixels = min(ceil(ceil(conv.width / times) / split) * split, conv.width)
        blocks.append(Block(first, 1, pixels, split))
    return tuple(blocks)


def _split(conv: Conv, machine: Machine) -> int:
    """How many lanes each of the last outputs of a group may have."""
    last = conv.outputs % machine.lanes
    if not (conv.shuffled and 0 < last <= 8 and len(conv.rows) == 1 and conv.steps >= _WORTH):
        return 1
    return 4 if last <= 4 else 2


def _even(whole: int, most: int) -> list[int]:
    count = max(1, ceil(whole / most))
    return [whole // count + (at < whole % count) for at in range(count)] if whole else []


def pack(
    conv: Conv, weight: NDArray[np.int8], bias: NDArray[np.int32], factor: NDArray[np.float32],
    blocks: tuple[Block, ...], machine: Machine,
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:  # fmt: skip
    """Weights ``(groups * outputs, rows, run)`` in the order in which tiles read them.

    Biases and factors come as one array: those of each block side by side.
    """
    lanes, every = machine.lanes, conv.vectors(machine.lanes)
    kind, taps = (np.int8, 4) if machine.dot else (np.int16, 2)
    given = weight.shape[-1]
    run = ceil(given / taps) * taps
    whole = np.zeros((conv.groups, every * lanes, len(conv.rows), run), kind)
    whole[:, : conv.outputs, :, :given] = weight.reshape(conv.groups, conv.outputs, -1, given)
    whole = whole.reshape(conv.groups, every, lanes, conv.steps, taps)
    ends = np.zeros((2, conv.groups, every * lanes), np.int32)
    ends[0, :, : conv.outputs] = bias.reshape(conv.groups, -1)
    ends[1, :, : conv.outputs] = factor.view(np.int32).reshape(conv.groups, -1)
    packed, constants = [], []
    for group in range(conv.groups):
        for block in blocks:
            last = block.first + block.vectors
            here = whole[group, block.first : last]
            there = ends[:, group, lanes * block.first : lanes * last]
            if block.split > 1:
                here, there = _apart(here, there, block.split)
            packed.append(here.transpose(2, 0, 1, 3).ravel())
            constants.append(there.ravel())
    return np.concatenate(packed).view(np.int8), np.concatenate(constants)


def _apart(
    weight: NDArray[np.int8], ends: NDArray[np.int32], split: int
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Weights ``(1, lanes, steps, taps)`` of few outputs with ``split`` lanes for each.

    The first of them begins with the bias. Factors are in the order that adding up leaves.
    """
    _, lanes, steps, taps = weight.shape
    outputs = lanes // split
    whole = np.zeros((outputs, ceil(steps / split) * split, taps), weight.dtype)
    whole[:, :steps] = weight[0, :outputs]
    apart = (
        whole.reshape(outputs, -1, split, taps).transpose(0, 2, 1, 3).reshape(1, lanes, -1, taps)
    )
    bias = np.zeros((outputs, split), np.int32)
    bias[:, 0] = ends[0, :outputs]
    factor = np.tile(ends[1, :outputs].reshape(4, 1, -1), (1, split, 1))
    return apart, np.stack([bias.ravel(), factor.ravel()])


def emit(conv: Conv, unit: Unit, blocks: tuple[Block, ...]) -> str:
    """The name of a function ``(x, w, b, [r,] y)`` that computes the whole convolution."""
    code = Code(depth=1)
    lanes = unit.machine.lanes
    every = conv.vectors(lanes)
    weights, ends = conv.steps * 4 * lanes, 2 * lanes
    with code.block(f"for (int i = 0; i < {conv.height}; ++i)" if conv.height > 1 else ""):
        row = [
            f" + i * {n}" if conv.height > 1 else "" for n in (conv.x_row, conv.r_row, conv.y_row)
        ]
        if conv.shuffled:
            for block in blocks:
                name = _strip(conv, unit, block, blocks)
                y = f"y + {block.first * lanes * conv.groups}{row[2]}"
                code(
                    f"{name}(x{row[0]}, w + {block.first * weights}, b + {block.first * ends}, {y});"
                )
        else:
            with code.block(f"for (int g = 0; g < {conv.groups}; ++g)" if conv.groups > 1 else ""):
                if conv.groups == 1:
                    code("const int g = 0;")
                for block, times in _grouped(blocks):
                    k = " + k * " if times > 1 else ""
                    end = f"{k}{block.vectors * ends}" if k else ""
                    step = f"{k}{block.vectors * weights}" if k else ""
                    size = lanes * (4 if conv.real else 1)
                    there = f" + g * {conv.outputs} + {block.first * size}"
                    there += f"{k}{block.vectors * size}" if k else ""
                    given = [
                        f"x + g * {conv.group_step}{row[0]}",
                        f"w + (g * {every} + {block.first}) * {weights}{step}",
                        f"b + (g * {every} + {block.first}) * {ends}{end}",
                        *([f"r{there}{row[1]}"] if conv.residual is not None else []),
                        f"y{there}{row[2]}",
                    ]
                    if k:
                        code(f"for (int k = 0; k < {times}; ++k)")
                    code(
                        f"{'    ' if k else ''}{_strip(conv, unit, block, blocks)}({', '.join(given)});"
                    )
    return unit.kernel("conv", _head("LOOP", conv), code)


def _head(kind: str, conv: Conv) -> str:
    residual = "const byte *r, " if conv.residual is not None else ""
    return f"{kind} void @(const byte *x, const int8_t *w, const int32_t *b, {residual}byte *y)"


def _grouped(blocks: tuple[Block, ...]) -> list[tuple[Block, int]]:
    """Equal blocks that follow each other, but the last one, which may be cut short."""
    found: list[tuple[Block, int]] = []
    for at, block in enumerate(blocks):
        alike = found and found[-1][0].vectors == block.vectors
        if alike and at < len(blocks) - 1:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((block, 1))
    return found


def _strip(conv: Conv, unit: Unit, block: Block, blocks: tuple[Block, ...]) -> str:
    """One block of channels over all pixels of a row."""
    code = Code(depth=1)
    times, rest = divmod(conv.width, block.pixels)
    walk = f"x += {block.pixels * conv.x_pixel}, y += {block.pixels * conv.y_pixel}"
    given = "x, w, b, y"
    if conv.residual is not None:
        walk += f", r += {block.pixels * conv.r_pixel}"
        given = "x, w, b, r, y"
    with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
        code(f"{_tile(conv, unit, block, blocks, block.pixels)}({given});")
    if rest:
        if times == 1:
            code(f"{walk};")
        code(f"{_tile(conv, unit, block, blocks, rest)}({given});")
    return unit.kernel("strip", _head("LOOP", conv), code)


def _tile(conv: Conv, unit: Unit, block: Block, blocks: tuple[Block, ...], pixels: int) -> str:
    group = conv.weights(blocks, unit.machine.lanes)
    return _Tile(conv, unit.machine, block, pixels, group).emit(unit)


class _Tile:
    """Code for one block of some pixels."""

    def __init__(self, conv: Conv, machine: Machine, block: Block, pixels: int, group: int) -> None:
        self.conv = conv
        self.group = group  # bytes from a group's weights to the next one's
        self.lanes = machine.lanes
        self.first = block.first
        self.split = block.split
        self.vectors = block.vectors
        self.pixels = pixels
        self.groups = conv.groups if conv.shuffled else 1
        self.code = Code(depth=1)

    def emit(self, unit: Unit) -> str:
        """The name of the tile's function."""
        code, every = self.code, self.conv.vectors(self.lanes)
        for group in range(self.groups):
            names = (f"a{group}_{p}_{v}" for p in range(self.pixels) for v in range(self.vectors))
            code(f"vec {', '.join(names)};")
            with code.block(""):
                if self.groups > 1:
                    code(f"const byte *const x0 = x + {group * self.conv.group_step};")
                    code(f"const int8_t *v = w + {group * self.group};")
                    code(f"const int32_t *const ends = b + {group * every * 2 * self.lanes};")
                else:
                    code(
                        "const byte *const x0 = x;",
                        "const int8_t *v = w;",
                        "const int32_t *const ends = b;",
                    )
                self._sums(group)
                if self.split > 1:
                    self._added(group)
                if not self.conv.real:
                    self._scale(group)
        if self.conv.real:
            self._reals()
        elif self.split > 1:
            self._few()
        elif self.conv.shuffled:
            self._interleaved()
        else:
            self._bytes()
        kind = f"tile{self.pixels}x{self.vectors}"
        return unit.kernel(kind, _head("INLINE", self.conv), code)

    def _sums(self, group: int) -> None:
        """All products, beginning with the biases; weights are read one after another."""
        code, conv = self.code, self.conv
        for v in range(self.vectors):
            code(f"const vec b{v} = LOAD(ends + {v * self.lanes});")
            code(*(f"a{group}_{p}_{v} = b{v};" for p in range(self.pixels)))
        steps = ceil(conv.run / 4 / self.split)
        work = self.pixels * self.vectors
        if len(conv.rows) * steps * work <= _UNROLLED:
            done = 0
            for row in conv.rows:
                self._products(group, "x0", row, steps, done)
                done += steps
            return
        even = {two - one for one, two in zip(conv.rows, conv.rows[1:], strict=False)}
        if len(conv.rows) > 1:
            if len(even) > 1:
                code(f"static const int rows[] = {{{', '.join(map(str, conv.rows))}}};")
            at = "rows[t]" if len(even) > 1 else f"{conv.rows[0]} + t * {even.pop()}"
            with code.block(f"for (int t = 0; t < {len(conv.rows)}; ++t)"):
                code(f"const byte *from = x0 + {at};")
                self._run(group, steps, work)
        else:
            code(f"const byte *from = x0 + {conv.rows[0]};")
            self._run(group, steps, work)

    def _run(self, group: int, steps: int, work: int) -> None:
        """The products of one run from ``from`` on."""
        code, size = self.code, 4 * self.lanes * self.vectors
        if steps * work <= _UNROLLED:
            self._products(group, "from", 0, steps, 0)
            code(f"v += {steps * size};")
            return
        turn = next((n for n in (_LOOPED, 3, 2, 5) if steps % n == 0), _LOOPED)
        times, rest = divmod(steps, turn)
        with code.block(
            f"for (int k = 0; k < {times}; ++k, from += {4 * turn * self.split}, v += {turn * size})"
        ):
            self._products(group, "from", 0, turn, 0)
        if rest:
            self._products(group, "from", 0, rest, 0)
            code(f"v += {rest * size};")

    def _products(self, group: int, x: str, offset: int, steps: int, done: int) -> None:
        code, size = self.code, 4 * self.lanes
        for step in range(steps):
            with code.block(""):
                for v in range(self.vectors):
                    place = ((done + step) * self.vectors + v) * size
                    code(f"const vec w{v} = LOAD(v + {place});")
                for p in range(self.pixels):
                    at = p * self.conv.x_pixel + offset + 4 * step * self.split
                    spread = {1: "SPREAD", 2: "SPREAD_8", 4: "SPREAD_16"}[self.split]
                    code(f"const vec s{p} = {spread}({x} + {at});")
                    for v in range(self.vectors):
                        a = f"a{group}_{p}_{v}"
                        code(f"{a} = DOT({a}, s{p}, w{v});")

    def _added(self, group: int) -> None:
        """Lanes of one output become one, those of as many pixels side by side."""
        for p in range(0, self.pixels, self.split):
            here = [f"a{group}_{min(p + q, self.pixels - 1)}_0" for q in range(self.split)]
            self.code(f"{here[0]} = ADDED_{self.split}({', '.join(here)});")

    def _scale(self, group: int) -> None:
        code = self.code
        for v in range(self.vectors):
            code(f"const reals m{v} = REALS(ends + {(self.vectors + v) * self.lanes});")
            for p in range(0, self.pixels, self.split):
                code(f"a{group}_{p}_{v} = SCALE(a{group}_{p}_{v}, m{v});")

    def _reals(self) -> None:
        code, lanes = self.code, self.lanes
        for v in range(self.vectors):
            code(f"const reals m{v} = REALS(b + {(self.vectors + v) * lanes});")
            count = min(lanes, self.conv.outputs - (self.first + v) * lanes)
            for p in range(self.pixels):
                to = f"(float *)(void *)(y + {p * self.conv.y_pixel + 4 * v * lanes})"
                value = f"REAL(a0_{p}_{v}, m{v})"
                if count == lanes:
                    code(f"OP(storeu_ps)({to}, {value});")
                else:
                    code(f"STORE_REALS({to}, {value}, {count});")

    def _counted(self, v: int, vectors: int) -> tuple[int, int]:
        """Bytes of these vectors that are outputs, and those that may be written."""
        conv = self.conv
        behind = conv.outputs - (self.first + v) * self.lanes
        count = min(vectors * self.lanes, behind)
        return count, count + conv.room if conv.groups == 1 and count == behind else count

    def _bytes(self) -> None:
        """Pixels one by one, and several in a vector where they are small."""
        for v in range(0, self.vectors, 4):
            some = min(4, self.vectors - v)
            if self.conv.residual is not None:
                self._sum(v, some)
            elif some == 1 and self.lanes == 16:
                count, _ = self._counted(v, 1)
                for p in range(self.pixels):
                    y = f"y + {p * self.conv.y_pixel + v * self.lanes}"
                    self.code(f"STORE_WORDS({y}, a0_{p}_{v}, {count});")
            else:
                self._together(v, some)

    def _together(self, v: int, some: int) -> None:
        beside = 4 // some
        count, most = self._counted(v, some)
        for p in range(0, self.pixels, beside):
            here = [
                f"a0_{q}_{w}"
                for q in range(p, min(p + beside, self.pixels))
                for w in range(v, v + some)
            ]
            with self.code.block(""):
                self.code(f"const vec bytes = TURN(PACK({', '.join(_four(here))}));")
                for at, q in enumerate(range(p, min(p + beside, self.pixels))):
                    y = f"y + {q * self.conv.y_pixel + v * self.lanes}"
                    store(
                        self.code,
                        self.lanes,
                        y,
                        "bytes",
                        count,
                        at=at * some * self.lanes,
                        most=most if at == 0 else 0,
                    )

    def _sum(self, v: int, some: int) -> None:
        """What is added is read before anything of the same place is written."""
        conv, code = self.conv, self.code
        beside = {1: 4, 2: 2}.get(some, 1) if self.lanes == 16 else 1
        count, _ = self._counted(v, some)
        code(f"const vec times{v} = TIMES({conv.residual});")
        code(f"const vec round{v} = OP(set1_epi16)({1 << 15 - conv.fraction});")
        for p in range(0, self.pixels, beside):
            pixels = range(p, min(p + beside, self.pixels))
            here = _four([f"a0_{q}_{w}" for q in pixels for w in range(v, v + some)])
            with code.block(""):
                parts = [f"r + {q * conv.r_pixel + v * self.lanes}" for q in pixels]
                parts += parts[-1:] * (beside - len(parts))
                load = {1: "LOAD", 2: "TWO_HALVES", 4: "FOUR_QUARTERS"}[beside]
                code(f"const vec other = OTHER({load}({', '.join(parts)}));")
                given = f"{', '.join(here)}, other, times{v}, round{v}"
                code(f"const vec bytes = TURN(SUM_OF({given}));")
                for at, q in enumerate(pixels):
                    y = f"y + {q * conv.y_pixel + v * self.lanes}"
                    store(code, self.lanes, y, "bytes", count, at=at * some * self.lanes)

    def _interleaved(self) -> None:
        """One vector of each group at a time, interleaved by one permutation of bytes."""
        code, groups = self.code, self.groups
        table = [0] * (4 * self.lanes)
        for output in range(self.lanes):
            for group in range(groups):
                table[output * groups + group] = 16 * (output // 4) + 4 * group + output % 4
        self._order(table)
        for v in range(self.vectors):
            count = groups * min(self.lanes, self.conv.outputs - (self.first + v) * self.lanes)
            last = self.first + v == self.conv.vectors(self.lanes) - 1
            for p in range(self.pixels):
                here = _four([f"a{group}_{p}_{v}" for group in range(groups)])
                y = f"y + {p * self.conv.y_pixel + v * self.lanes * groups}"
                value = f"_mm512_permutexvar_epi8(order, PACK({', '.join(here)}))"
                most = count + self.conv.room if last else 0
                store(code, self.lanes, y, value, count, most=most)

    def _few(self) -> None:
        """The few last outputs of each group: those of several pixels in one vector."""
        code, groups, split = self.code, self.groups, self.split
        outputs = self.lanes // split
        table = [0] * (4 * self.lanes)
        for pixel in range(split):
            for output in range(outputs):
                for group in range(groups):
                    quarter, within = divmod(output, 4 // split)
                    at = 16 * quarter + 4 * group + pixel * (4 // split) + within
                    table[4 * outputs * pixel + output * groups + group] = at
        self._order(table)
        count = groups * (self.conv.outputs - self.first * self.lanes)
        for p in range(0, self.pixels, split):
            here = _four([f"a{group}_{p}_0" for group in range(groups)])
            with code.block(""):
                code(f"const vec bytes = _mm512_permutexvar_epi8(order, PACK({', '.join(here)}));")
                for q in range(p, min(p + split, self.pixels)):
                    y = f"y + {q * self.conv.y_pixel}"
                    at = 4 * outputs * (q - p)
                    store(code, self.lanes, y, "bytes", count, at=at, most=count + self.conv.room)

    def _order(self, table: list[int]) -> None:
        """A permutation of bytes."""
        whole = (
            sum(byte << 8 * k for k, byte in enumerate(table[i : i + 8])) for i in range(0, 64, 8)
        )
        numbers = ", ".join(f"{number:#x}" for number in whole)
        self.code(f"const vec order = _mm512_setr_epi64({numbers});")


def _four(names: list[str]) -> list[str]:
    return names + names[-1:] * (4 - len(names))
