"""Local response normalization across channels."""

from __future__ import annotations

from math import ceil

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, float_literal
from shufflenet_deploy.codegen.ir.ops import FpLocalResponseNorm


def local_response_norm(op: FpLocalResponseNorm, unit: TranslationUnit) -> None:
    """Emit the normalization of every channel by the squares of its neighbours."""
    layout = op.source.layout
    code = CWriter(depth=1)
    end = layout.span
    with code.block(f"for (int p = 0; p < {end}; ++p)"):
        code("float total = 0.0f;")
        code("for (int c = first; c < last; ++c)")
        code(f"    total += squared(x[c * {layout.channel_stride} + p]);")
        base = f"{float_literal(op.k)} + {float_literal(op.alpha / op.size)} * total"
        code(f"const float d = {base};")
        power = f"powf(d, {float_literal(op.beta)})"
        if op.beta == 0.75:
            power = "(sqrtf(d) * sqrtf(sqrtf(d)))"
        code(f"y[p] = x[channel * {layout.channel_stride} + p] / {power};")
    head = "LOOP void @(const real *restrict x, real *restrict y, "
    head += "int channel, int first, int last)"
    name = unit.kernel("lrn", head, code)
    source, target = unit.address(op.source, op.source.offset()), op.target
    body = unit.body
    planes = ", ".join(str(target.offset(channel)) for channel in range(layout.channels))
    cost = 25 * ceil(end / unit.cpu.lanes)  # roots and divisions
    with unit.parallel(layout.channels, cost):
        body(f"static const int to[] = {{{planes}}};")
        with body.block("for (int i = begin; i < end; ++i)"):
            body(f"const int first = i - {op.size // 2}, last = i + {(op.size - 1) // 2 + 1};")
            body(
                f"{name}({source}, {unit.address(target)} + to[i], i, first < 0 ? 0 : first, "
                f"last > {layout.channels} ? {layout.channels} : last); /* {op.name} */"
            )
