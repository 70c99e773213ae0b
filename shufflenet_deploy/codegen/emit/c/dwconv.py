"""Depthwise 3x3 and 3x3 pooling of planar maps: the kernel for each instruction set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c import dwconv3x3_rows
from shufflenet_deploy.codegen.emit.c.dwconv3x3_rows import BIAS_INDEX, PACKED_WEIGHTS, SIXTH_INDEX
from shufflenet_deploy.codegen.emit.kernel_calls import Arguments, emit_calls
from shufflenet_deploy.codegen.emit.neon import dwconv3x3
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, strided_runs
from shufflenet_deploy.codegen.emit.x86 import dwconv3x3_s2_avx512, dwconv3x3_small_avx512
from shufflenet_deploy.codegen.ir.ops import Direct3x3
from shufflenet_deploy.network.graph import Activation

#: Kernels in order of preference: the first that supports an op emits it.
_KERNELS: tuple[
    tuple[
        Callable[[Direct3x3, TranslationUnit], bool],
        Callable[[Direct3x3, TranslationUnit], CWriter],
    ],
    ...,
] = (
    (dwconv3x3.is_supported, dwconv3x3.kernel_body),
    (dwconv3x3_small_avx512.is_supported, dwconv3x3_small_avx512.kernel_body),
    (dwconv3x3_s2_avx512.is_supported, dwconv3x3_s2_avx512.kernel_body),
    (dwconv3x3_rows.is_supported, dwconv3x3_rows.kernel_body),
)


def direct_3x3_kernel(op: Direct3x3, unit: TranslationUnit) -> str:
    """The kernel for one channel: the first implementation that supports the op."""
    body = next(body for is_supported, body in _KERNELS if is_supported(op, unit))
    code = body(op, unit)
    weights = "const real *w, " if op.weight is not None else ""
    head = f"LOOP void @(const real *restrict x, {weights}real *restrict y)"
    return unit.kernel("pool3x3" if op.weight is None else "dwconv3x3", head, code)


def direct_3x3(op: Direct3x3, unit: TranslationUnit) -> None:
    """Emit a depthwise 3x3 or 3x3 pool over every channel."""
    name, at = direct_3x3_kernel(op, unit), 0
    if op.weight is not None and op.bias is not None:
        packed = np.zeros((op.source.layout.channels, PACKED_WEIGHTS), np.float32)
        packed[:, :BIAS_INDEX] = op.weight
        packed[:, BIAS_INDEX] = op.bias
        if op.activation is Activation.HARD_SWISH:
            packed[:, SIXTH_INDEX] = 1 / 6
        at = unit.add_weights(packed)
    for run in strided_runs(op.target.planes):
        channels = range(run.first, run.first + run.count)
        columns: Arguments = [(op.source, [op.source.offset(channel) for channel in channels])]
        if op.weight is not None:
            columns.append((None, [at + channel * PACKED_WEIGHTS for channel in channels]))
        columns.append((op.target, [op.target.offset(channel) for channel in channels]))
        cost = 12 * op.target.layout.vectors(unit.cpu.lanes)
        emit_calls(unit, name, columns, run.count, op.name, cost=cost)
