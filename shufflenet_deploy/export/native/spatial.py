"""Kernels that look at neighbouring pixels: depthwise 3x3, windows, means, padding."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.export.graph import PoolKind
from shufflenet_deploy.export.native.convolution import Columns, activate, call, constants
from shufflenet_deploy.export.native.program import (
    AdaptiveAverage,
    Depthwise3x3,
    GlobalAverage,
    Split,
    Step,
    Window,
)
from shufflenet_deploy.export.native.text import Code, Unit, runs

_ROWS_AT_ONCE = 4
_PACKED = 12  # nine weights, a bias, and two to make whole vectors


def split(step: Split, unit: Unit) -> None:
    """Pad a picture and sort its pixels by phase."""
    source, target = step.source.layout, step.target.layout
    down, right = step.stride
    code = Code(depth=1)
    for at, (row_phase, phase) in enumerate(step.phases):
        start = phase - step.left
        first = max(0, -(start // right))
        columns = target.width
        count = max(0, min(columns, (source.width - 1 - start) // right + 1) - first)
        with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
            code(
                f"const int row = i * {down} + {row_phase - step.top};",
                f"float *to = y + {at * target.plane} + i * {target.row};",
            )
            with code.block(f"if (row < 0 || row >= {source.height})"):
                code(f"fill(to, {columns}, {_number(step.outside)});", "continue;")
            before, behind = min(first, columns), columns - first - count
            if before:
                code(f"fill(to, {before}, {_number(step.outside)});")
            if count:
                code(
                    f"gather(x + row * {source.row} + {first * right + start}, "
                    f"to + {first}, {count}, {right});"
                )
            if behind > 0:
                code(f"fill(to + {first + count}, {behind}, {_number(step.outside)});")
    name = unit.kernel("split", "LOOP void @(const float *restrict x, float *restrict y)", code)
    size = target.plane * len(step.phases)
    _each(step, unit, name, size)


def _each(step: Step, unit: Unit, name: str, target_size: int = 0) -> None:
    """Call a kernel for every channel."""
    source, target = step.source, step.target
    channels = range(source.layout.channels if target_size else len(target.planes))
    columns: Columns = [
        (source, [source.offset(channel) for channel in channels]),
        (
            target,
            [
                channel * target_size if target_size else target.offset(channel)
                for channel in channels
            ],
        ),
    ]
    call(unit, name, columns, len(channels), step.name)


def _number(value: float) -> str:
    return "-INFINITY" if value == float("-inf") else f"{value:.9g}f" if value else "0.0f"


def depthwise(step: Depthwise3x3, unit: Unit) -> None:
    """Depthwise 3x3 by rows: each row is loaded once for the three rows of output it feeds."""
    source, target = step.source.layout, step.target.layout
    lanes = max(size for size in (16, 8, 4) if size <= min(unit.machine.lanes, source.width))
    packed = np.zeros((source.channels, _PACKED), np.float32)
    packed[:, :9] = step.weight
    packed[:, 9] = step.bias
    starts = list(range(0, source.width - lanes + 1, lanes))
    if starts[-1] + lanes < source.width:
        starts.append(source.width - lanes)
    at_once = _ROWS_AT_ONCE if unit.machine.registers > 16 else 2
    code = Code(depth=1)
    kind, suffix = f"v{lanes}", str(lanes)
    if unit.machine.by_lane:
        code("const v4 w0 = LOAD4(w), w1 = LOAD4(w + 4), w2 = LOAD4(w + 8);")
    else:
        code(*(f"const {kind} w{i} = SPLAT{suffix}(w[{i}]);" for i in range(10)))
    code(*constants(step.activation, kind))
    row = 0
    while row < source.height:
        rows = min(at_once, source.height - row)
        times = 1
        if row:
            times = max(1, (source.height - 1 - row) // rows)
        with code.block(f"for (int i = {row}; i < {row + rows * times}; i += {rows})"):
            code(f"const float *from = x + i * {source.row};")
            code(f"float *to = y + i * {target.row};")
            top, bottom = row == 0, row + rows * times == source.height
            _columns(code, step, unit, starts, lanes, rows, top=top, bottom=bottom)
        row += rows * times
    name = unit.kernel(
        "depthwise", "LOOP void @(const float *restrict x, const float *w, float *restrict y)", code
    )
    at = unit.weights(packed) // 4
    for run in runs(step.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Columns = [
            (step.source, [step.source.offset(channel) for channel in channels]),
            (None, [at + channel * _PACKED for channel in channels]),
            (step.target, [step.target.offset(channel) for channel in channels]),
        ]
        call(unit, name, columns, run.count, step.name)


def _columns(
    code: Code, step: Depthwise3x3, unit: Unit, starts: list[int], lanes: int, rows: int,
    *, top: bool, bottom: bool,
) -> None:
    """Every vector of a few rows; those at an edge get zeros from beyond it."""
    width = step.source.layout.width
    inner = [at for at in starts[1:] if at % lanes == 0 and at + lanes < width]
    looped = len(inner) > 2
    for at in starts:
        if looped and at in inner:
            if at == inner[0]:
                head = f"for (int j = {at}; j <= {inner[-1]}; j += {lanes})"
                with code.block(head):
                    _tile(code, step, unit, "j", lanes, rows, (top, bottom, False, False))
            continue
        edges = (top, bottom, at == 0, at + lanes == width)
        with code.block(""):
            _tile(code, step, unit, str(at), lanes, rows, edges)


def _tile(
    code: Code, step: Depthwise3x3, unit: Unit, at: str, lanes: int, rows: int,
    edges: tuple[bool, bool, bool, bool],
) -> None:
    top, bottom, left, right = edges
    row = step.source.layout.row
    kind, n = f"v{lanes}", str(lanes)
    for i in range(rows):
        start = "SPLAT4(w2[1])" if unit.machine.by_lane else "w9"
        code(f"{kind} a{i} = {start if i == 0 or not unit.machine.by_lane else 'a0'};")
    for i in range(-1, rows + 1):
        if (i < 0 and top) or (i == rows and bottom):
            continue
        here = f"from + {i * row} + {at}"
        name = f"m{i + 1}"
        code(f"const {kind} {name} = LOAD{n}({here});")
        code(
            f"const {kind} l{i + 1} = "
            + (f"FROM_LEFT{n}({name});" if left else f"LOAD{n}({here} - 1);")
        )
        code(
            f"const {kind} r{i + 1} = "
            + (f"FROM_RIGHT{n}({name});" if right else f"LOAD{n}({here} + 1);")
        )
        for output in range(max(0, i - 1), min(rows, i + 2)):
            tap = 3 * (i - output + 1)
            for add, pixel in enumerate("lmr"):
                k = tap + add
                if unit.machine.by_lane:
                    code(
                        f"a{output} = FMA_LANE(a{output}, {pixel}{i + 1}, w{k // 4}, {k % 4});"
                    )
                else:
                    code(f"a{output} += {pixel}{i + 1} * w{k};")
    for i in range(rows):
        value = activate(step.activation, f"a{i}", n)
        code(f"STORE{n}(to + {i * step.target.layout.row} + {at}, {value});")


def window(step: Window, unit: Unit) -> None:
    """Max or mean over the taps of a split picture, all pixels as one flat vector."""
    lanes = unit.machine.lanes
    layout = step.target.layout
    vectors = layout.vectors(lanes)
    code = Code(depth=1)
    code(*constants(step.activation))
    scaled = step.scale is not None and step.scale.size > 1
    at = 0
    if step.scale is not None:
        table = np.zeros((layout.height, layout.row), np.float32)
        table[:, : layout.width] = step.scale
        flat = np.zeros(vectors * lanes, np.float32)
        kept = min(flat.size, table.size)
        flat[:kept] = table.ravel()[:kept]
        at = unit.weights(flat if scaled else step.scale.astype(np.float32)) // 4
    with code.block(f"for (int p = 0; p < {vectors * lanes}; p += LANES)"):
        code(f"vf a = LOAD(x + p + {step.taps[0]});")
        for tap in step.taps[1:]:
            if step.kind is PoolKind.MAX:
                code(f"a = MAX(a, LOAD(x + p + {tap}));")
            else:
                code(f"a += LOAD(x + p + {tap});")
        if step.scale is not None:
            code("a *= LOAD(w + p);" if scaled else "a *= w[0];")
        code(f"STORE(y + p, {activate(step.activation, 'a')});")
    weights = "const float *w, " if step.scale is not None else ""
    name = unit.kernel("window", f"LOOP void @(const float *x, {weights}float *y)", code)
    size = step.source.layout.plane * step.spread
    for run in runs(step.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Columns = [(step.source, [channel * size for channel in channels])]
        if step.scale is not None:
            columns.append((None, [at for _ in channels]))
        columns.append((step.target, [step.target.offset(channel) for channel in channels]))
        call(unit, name, columns, run.count, step.name)


def global_average(step: GlobalAverage, unit: Unit) -> None:
    """The mean of a plane."""
    layout = step.source.layout
    lanes = unit.machine.lanes
    code = Code(depth=1)
    rows, width = layout.height, layout.width
    if layout.row == width:
        rows, width = 1, rows * width
    whole = width // lanes * lanes
    code("vf a = {0};", "float total = 0.0f;")
    with code.block(f"for (int i = 0; i < {rows}; ++i, x += {layout.row})"):
        if whole:
            with code.block(f"for (int p = 0; p < {whole}; p += LANES)"):
                code("a += LOAD(x + p);")
        code(*(f"total += x[{p}];" for p in range(whole, width)))
    code(f"total += {' + '.join(f'a[{i}]' for i in range(lanes))};")
    code(f"*y = total * {np.float32(1 / (rows * width)):.9g}f;")
    name = unit.kernel("mean", "LOOP void @(const float *x, float *y)", code)
    _each(step, unit, name)


def adaptive_average(step: AdaptiveAverage, unit: Unit) -> None:
    """Means over a grid of windows whose borders are PyTorch's."""
    source, target = step.source.layout, step.target.layout
    code = Code(depth=1)
    with code.block(f"for (int i = 0; i < {target.height}; ++i)"):
        code(*_borders("i", "top", "bottom", source.height, target.height))
        with code.block(f"for (int j = 0; j < {target.width}; ++j)"):
            code(*_borders("j", "left", "right", source.width, target.width))
            code("float total = 0.0f;")
            with code.block("for (int row = top; row < bottom; ++row)"):
                with code.block("for (int column = left; column < right; ++column)"):
                    code(f"total += x[row * {source.row} + column];")
            code(
                f"y[i * {target.row} + j] = "
                "total / (float)((bottom - top) * (right - left));"
            )
    name = unit.kernel("grid", "LOOP void @(const float *x, float *y)", code)
    _each(step, unit, name)


def _borders(index: str, first: str, last: str, size: int, parts: int) -> list[str]:
    return [
        f"const int {first} = {index} * {size} / {parts};",
        f"const int {last} = (({index} + 1) * {size} + {parts - 1}) / {parts};",
    ]
