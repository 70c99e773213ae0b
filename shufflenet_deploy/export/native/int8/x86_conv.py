"""int8 convolutions on x86: pointwise, grouped, and with any kernel, by the same tile.

A lane of an accumulator is one output channel of one pixel.
"""

from __future__ import annotations

from shufflenet_deploy.export.native.int8.x86_blocking import Block, Conv
from shufflenet_deploy.export.native.int8.x86_tile import Tile, head
from shufflenet_deploy.export.native.text import Code, Unit


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
    return unit.kernel("conv", head("LOOP", conv), code)


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
    return unit.kernel("strip", head("LOOP", conv), code)


def _tile(conv: Conv, unit: Unit, block: Block, blocks: tuple[Block, ...], pixels: int) -> str:
    group = conv.weights(blocks, unit.machine.lanes)
    return Tile(conv, unit.machine, block, pixels, group).emit(unit)
