"""The registry of emitters, keyed by op, data type and instruction set.

An emitter writes an op's kernels and calls into a translation unit. Where an instruction set has
none of its own, the generic one is taken: C with vector extensions for fp32 and fp16, plain loops
for int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.emit.c import (
    conv_pool_registers,
    conv_pool_strips,
    convolution,
    copy,
    dwconv,
    elementwise,
    gemv,
    lrn,
    phase_split,
    pool,
    winograd_transforms,
)
from shufflenet_deploy.codegen.emit.neon import int8_backend as neon
from shufflenet_deploy.codegen.emit.portable import int8_backend as portable
from shufflenet_deploy.codegen.emit.portable import int8_elementwise
from shufflenet_deploy.codegen.emit.x86 import int8_backend as x86
from shufflenet_deploy.codegen.ir import int8, planar
from shufflenet_deploy.codegen.ir.op import Op

Emitter = Callable[[Any, Any], None]


class DataType(StrEnum):
    """The data type of an op's values; fp32 and fp16 share emitters."""

    FP = "fp"
    INT8 = "int8"


class Isa(StrEnum):
    """An instruction set with emitters of its own; ``GENERIC`` runs on every target."""

    GENERIC = "generic"
    NEON = "neon"
    X86 = "x86"


Key = tuple[type[Op[Any]], DataType, Isa]


def _registered() -> Iterator[tuple[Key, Emitter]]:
    for op, dtype, isa, emitter in (
        (planar.PhaseSplit, DataType.FP, Isa.GENERIC, phase_split.phase_split),
        (planar.Convolution, DataType.FP, Isa.GENERIC, convolution.convolution),
        (planar.WinogradInput, DataType.FP, Isa.GENERIC, winograd_transforms.winograd_input),
        (planar.WinogradGemm, DataType.FP, Isa.GENERIC, convolution.convolution),
        (planar.WinogradOutput, DataType.FP, Isa.GENERIC, winograd_transforms.winograd_output),
        (planar.StripConvPool, DataType.FP, Isa.GENERIC, conv_pool_strips.strip_conv_pool),
        (planar.FusedConvPool, DataType.FP, Isa.GENERIC, conv_pool_registers.fused_conv_pool),
        (planar.Direct3x3, DataType.FP, Isa.GENERIC, dwconv.direct_3x3),
        (planar.Pool, DataType.FP, Isa.GENERIC, pool.pool),
        (planar.GlobalAveragePool, DataType.FP, Isa.GENERIC, pool.global_average_pool),
        (planar.AdaptivePool, DataType.FP, Isa.GENERIC, pool.adaptive_pool),
        (planar.FullyConnected, DataType.FP, Isa.GENERIC, gemv.fully_connected),
        (planar.LocalResponseNorm, DataType.FP, Isa.GENERIC, lrn.local_response_norm),
        (planar.Add, DataType.FP, Isa.GENERIC, elementwise.add),
        (planar.ChannelScale, DataType.FP, Isa.GENERIC, elementwise.channel_scale),
        (planar.Copy, DataType.FP, Isa.GENERIC, copy.copy),
        (int8.QuantizeInput, DataType.INT8, Isa.GENERIC, portable.quantize_input),
        (int8.QuantizeInput, DataType.INT8, Isa.NEON, neon.quantize_input),
        (int8.QuantizeInput, DataType.INT8, Isa.X86, x86.quantize_input),
        (int8.FillPadding, DataType.INT8, Isa.GENERIC, portable.fill_padding),
        (int8.FillPadding, DataType.INT8, Isa.NEON, neon.fill_padding),
        (int8.Convolution, DataType.INT8, Isa.GENERIC, portable.convolution),
        (int8.Convolution, DataType.INT8, Isa.NEON, neon.convolution),
        (int8.Convolution, DataType.INT8, Isa.X86, x86.convolution),
        (int8.DepthwiseConvolution, DataType.INT8, Isa.GENERIC, portable.depthwise),
        (int8.DepthwiseConvolution, DataType.INT8, Isa.NEON, neon.depthwise),
        (int8.DepthwiseConvolution, DataType.INT8, Isa.X86, x86.depthwise),
        (int8.MaxPool, DataType.INT8, Isa.GENERIC, portable.pool),
        (int8.MaxPool, DataType.INT8, Isa.NEON, neon.pool),
        (int8.MaxPool, DataType.INT8, Isa.X86, x86.pool),
        (int8.AveragePool, DataType.INT8, Isa.GENERIC, portable.pool),
        (int8.AveragePool, DataType.INT8, Isa.NEON, neon.pool),
        (int8.AveragePool, DataType.INT8, Isa.X86, x86.pool),
        (int8.GlobalAveragePool, DataType.INT8, Isa.GENERIC, portable.global_average_pool),
        (int8.GlobalAveragePool, DataType.INT8, Isa.NEON, neon.global_average_pool),
        (int8.GlobalAveragePool, DataType.INT8, Isa.X86, x86.global_average_pool),
        (int8.AdaptivePool, DataType.INT8, Isa.GENERIC, int8_elementwise.adaptive_pool),
        (int8.LookupTable, DataType.INT8, Isa.GENERIC, int8_elementwise.lookup_table),
        (int8.Add, DataType.INT8, Isa.GENERIC, int8_elementwise.add),
        (int8.ChannelScale, DataType.INT8, Isa.GENERIC, int8_elementwise.channel_scale),
        (int8.LocalResponseNorm, DataType.INT8, Isa.GENERIC, int8_elementwise.local_response_norm),
        (int8.DequantizeOutput, DataType.INT8, Isa.GENERIC, portable.dequantize_output),
    ):
        yield (op, dtype, isa), emitter


EMITTERS: dict[Key, Emitter] = dict(_registered())

#: Headers of the int8 kernels of an instruction set.
INT8_HEADERS = {Isa.GENERIC: "", Isa.NEON: "neon/int8.h", Isa.X86: "x86/int8.h"}


def emitter(op: Op[Any], dtype: DataType, isa: Isa) -> Emitter:
    """The emitter of an op: that of the instruction set, or else the generic one."""
    found = EMITTERS.get((type(op), dtype, isa))
    return found or EMITTERS[type(op), dtype, Isa.GENERIC]


def isa_of(cpu: CpuTarget) -> Isa:
    """The instruction set whose emitters serve a target."""
    return {"aarch64": Isa.NEON, "x86_64": Isa.X86}.get(cpu.arch, Isa.GENERIC)
