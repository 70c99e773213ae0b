"""int8 convolutions on x86: pointwise, grouped and with any kernel, by one microkernel.

A lane of an accumulator is one output channel of one pixel.
"""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.kernel_calls import RANGE_PARAMS
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.emit.x86.int8_microkernel import MicrokernelWriter, signature
from shufflenet_deploy.codegen.schedule.x86_int8_blocking import OutputBlock, X86ConvSpec


def emit_kernel(spec: X86ConvSpec, unit: TranslationUnit, blocks: tuple[OutputBlock, ...]) -> str:
    """Emit ``(x, w, b, [r,] y, begin, end)``, which computes a range of ``work_items``."""
    code = CWriter(depth=1)
    lanes = unit.cpu.lanes
    weights = [spec.vector(unit.cpu) * block.vectors * spec.steps(block.split) for block in blocks]
    ends = [2 * lanes * block.vectors for block in blocks]
    size = 4 if spec.float_output else spec.groups if spec.shuffled else 1
    groups = 1 if spec.shuffled else spec.groups
    by_rows = spec.height > 1
    with (
        code.block("for (int i = begin; i < end; ++i)" if by_rows else ""),
        code.block(f"for (int g = 0; g < {groups}; ++g)" if groups > 1 else ""),
    ):
        if not by_rows and groups > 1:
            code(f"const int first = begin - g * {len(blocks)}, last = end - g * {len(blocks)};")
        elif not by_rows:
            code("const int first = begin, last = end;")
        for at, times in _equal_block_runs(blocks):
            block = blocks[at]
            loops = {"i": spec.height, "g": groups, "k": times}
            first, along = block.first * size, block.vectors * lanes * size
            given = [
                _address(loops, "x", 0, i=spec.x_row, g=spec.group_step),
                _address(loops, "w", sum(weights[:at]), g=sum(weights), k=weights[at]),
                _address(loops, "b", sum(ends[:at]), g=sum(ends), k=ends[at]),
                _address(loops, "r", first, i=spec.r_row, g=spec.outputs, k=along),
                _address(loops, "y", first, i=spec.y_row, g=spec.outputs, k=along),
            ]
            if spec.residual is None:
                del given[3]
            name = _channel_block(spec, unit, block, (sum(weights), sum(ends)))
            if by_rows:
                loop = f"for (int k = 0; k < {times}; ++k)" if times > 1 else ""
            elif times > 1:
                some = [f"clamp_index({end} - {at}, {times})" for end in ("first", "last")]
                loop = f"for (int k = {some[0]}; k < {some[1]}; ++k)"
            else:
                loop = f"if (first <= {at} && {at} < last)"
            with code.block(loop):
                code(f"{name}({', '.join(given)});")
    return unit.kernel("conv", signature("LOOP", spec).replace("*y)", f"*y{RANGE_PARAMS})"), code)


def work_items(spec: X86ConvSpec, blocks: tuple[OutputBlock, ...]) -> int:
    """Independent work items: rows, or with a single row the blocks of all groups."""
    if spec.height > 1:
        return spec.height
    return len(blocks) * (1 if spec.shuffled else spec.groups)


def _address(loops: dict[str, int], pointer: str, first: int, **steps: int) -> str:
    """A pointer expression that advances with the loops that exist."""
    walks = [f" + {name} * {step}" for name, step in steps.items() if loops[name] > 1]
    return f"{pointer} + {first}{''.join(walks)}"


def _equal_block_runs(blocks: tuple[OutputBlock, ...]) -> list[tuple[int, int]]:
    """Runs of equal blocks as (first block, count); the last block is always alone."""
    found: list[tuple[int, int]] = []
    for at, block in enumerate(blocks):
        alike = found and blocks[found[-1][0]].vectors == block.vectors and block.split == 1
        if alike and at < len(blocks) - 1:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((at, 1))
    return found


def _channel_block(
    spec: X86ConvSpec, unit: TranslationUnit, block: OutputBlock, group: tuple[int, int]
) -> str:
    """One block of output channels over all pixels of a row.

    ``group`` is the distance to the next group's weights, and to its biases and multipliers.
    """
    code = CWriter(depth=1)
    times, rest = divmod(spec.width, block.pixels)
    walk = f"x += {block.pixels * spec.x_pixel}, y += {block.pixels * spec.y_pixel}"
    given = "x, w, b, y"
    if spec.residual is not None:
        walk += f", r += {block.pixels * spec.r_pixel}"
        given = "x, w, b, r, y"
    with code.block(f"for (int j = 0; j < {times}; ++j, {walk})" if times > 1 else ""):
        writer = MicrokernelWriter(spec, unit.cpu, block, block.pixels, group)
        code(f"{writer.emit(unit)}({given});")
    if rest:
        if times == 1:
            code(f"{walk};")
        code(f"{MicrokernelWriter(spec, unit.cpu, block, rest, group).emit(unit)}({given});")
    return unit.kernel("conv_block", signature("LOOP", spec), code)
