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
    functions,
    gemv,
    lrn,
    matmul,
    norm,
    phase_split,
    pool,
    sample,
    strided,
    winograd_transforms,
)
from shufflenet_deploy.codegen.emit.neon import int8_backend as neon
from shufflenet_deploy.codegen.emit.neon import int8_lookup as neon_lookup
from shufflenet_deploy.codegen.emit.portable import int8_backend as portable
from shufflenet_deploy.codegen.emit.portable import int8_borders, int8_elements, int8_elementwise
from shufflenet_deploy.codegen.emit.x86 import int8_backend as x86
from shufflenet_deploy.codegen.ir import border_ops, element_ops, ops
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.records import Precision

Emitter = Callable[[Any, Any], None]


class Isa(StrEnum):
    """An instruction set with emitters of its own; ``GENERIC`` runs on every target."""

    GENERIC = "generic"
    NEON = "neon"
    X86 = "x86"


Key = tuple[type[Op[Any]], Precision, Isa]

_FP = (Precision.FP32, Precision.FP16)
_INT8 = (Precision.INT8,)


def _registered() -> Iterator[tuple[Key, Emitter]]:
    for op, dtypes, isa, emitter in (
        (ops.PhaseSplit, _FP, Isa.GENERIC, phase_split.phase_split),
        (ops.Convolution, _FP, Isa.GENERIC, convolution.convolution),
        (ops.WinogradInput, _FP, Isa.GENERIC, winograd_transforms.winograd_input),
        (ops.WinogradGemm, _FP, Isa.GENERIC, convolution.convolution),
        (ops.WinogradOutput, _FP, Isa.GENERIC, winograd_transforms.winograd_output),
        (ops.StripConvPool, _FP, Isa.GENERIC, conv_pool_strips.strip_conv_pool),
        (ops.FusedConvPool, _FP, Isa.GENERIC, conv_pool_registers.fused_conv_pool),
        (ops.Direct3x3, _FP, Isa.GENERIC, dwconv.direct_3x3),
        (ops.Pool, _FP, Isa.GENERIC, pool.pool),
        (ops.GlobalAveragePool, _FP, Isa.GENERIC, pool.global_average_pool),
        (ops.AdaptivePool, _FP, Isa.GENERIC, pool.adaptive_pool),
        (ops.FullyConnected, _FP, Isa.GENERIC, gemv.fully_connected),
        (ops.LocalResponseNorm, _FP, Isa.GENERIC, lrn.local_response_norm),
        (ops.Add, _FP, Isa.GENERIC, elementwise.add),
        (ops.ChannelScale, _FP, Isa.GENERIC, elementwise.channel_scale),
        (ops.Copy, _FP, Isa.GENERIC, copy.copy),
        (element_ops.Apply, _FP, Isa.GENERIC, functions.apply),
        (element_ops.Move, _FP, Isa.GENERIC, strided.move),
        (element_ops.Sample, _FP, Isa.GENERIC, sample.sample),
        (element_ops.Arithmetic, _FP, Isa.GENERIC, strided.arithmetic),
        (element_ops.MatMul, _FP, Isa.GENERIC, matmul.matmul),
        (element_ops.Reduce, _FP, Isa.GENERIC, strided.reduce),
        (element_ops.Normalize, _FP, Isa.GENERIC, norm.normalize),
        (element_ops.Softmax, _FP, Isa.GENERIC, strided.softmax),
        (ops.QuantizeInput, _INT8, Isa.GENERIC, portable.quantize_input),
        (ops.QuantizeInput, _INT8, Isa.NEON, neon.quantize_input),
        (ops.QuantizeInput, _INT8, Isa.X86, x86.quantize_input),
        (ops.FillPadding, _INT8, Isa.GENERIC, portable.fill_padding),
        (ops.FillPadding, _INT8, Isa.NEON, neon.fill_padding),
        (ops.Convolution, _INT8, Isa.GENERIC, portable.convolution),
        (ops.Convolution, _INT8, Isa.NEON, neon.convolution),
        (ops.Convolution, _INT8, Isa.X86, x86.convolution),
        (ops.DepthwiseConvolution, _INT8, Isa.GENERIC, portable.depthwise),
        (ops.DepthwiseConvolution, _INT8, Isa.NEON, neon.depthwise),
        (ops.DepthwiseConvolution, _INT8, Isa.X86, x86.depthwise),
        (ops.MaxPool, _INT8, Isa.GENERIC, portable.pool),
        (ops.MaxPool, _INT8, Isa.NEON, neon.pool),
        (ops.MaxPool, _INT8, Isa.X86, x86.pool),
        (ops.AveragePool, _INT8, Isa.GENERIC, portable.pool),
        (ops.AveragePool, _INT8, Isa.NEON, neon.pool),
        (ops.AveragePool, _INT8, Isa.X86, x86.pool),
        (ops.GlobalAveragePool, _INT8, Isa.GENERIC, portable.global_average_pool),
        (ops.GlobalAveragePool, _INT8, Isa.NEON, neon.global_average_pool),
        (ops.GlobalAveragePool, _INT8, Isa.X86, x86.global_average_pool),
        (ops.AdaptivePool, _INT8, Isa.GENERIC, int8_elementwise.adaptive_pool),
        (ops.LookupTable, _INT8, Isa.GENERIC, int8_elementwise.lookup_table),
        (ops.LookupTable, _INT8, Isa.NEON, neon_lookup.lookup_table),
        (ops.Add, _INT8, Isa.GENERIC, int8_elementwise.add),
        (ops.ChannelScale, _INT8, Isa.GENERIC, int8_elementwise.channel_scale),
        (ops.LocalResponseNorm, _INT8, Isa.GENERIC, int8_elementwise.local_response_norm),
        (element_ops.StoreConstant, _INT8, Isa.GENERIC, int8_elements.store_constant),
        (element_ops.Move, _INT8, Isa.GENERIC, int8_elements.move),
        (element_ops.Sample, _INT8, Isa.GENERIC, int8_elements.sample),
        (element_ops.Arithmetic, _INT8, Isa.GENERIC, int8_elements.arithmetic),
        (element_ops.MatMul, _INT8, Isa.GENERIC, int8_elements.matmul),
        (element_ops.Reduce, _INT8, Isa.GENERIC, int8_elements.reduce),
        (element_ops.Normalize, _INT8, Isa.GENERIC, int8_elements.normalize),
        (element_ops.Softmax, _INT8, Isa.GENERIC, int8_elements.softmax),
        (border_ops.Dequantize, _INT8, Isa.GENERIC, int8_borders.dequantize),
        (border_ops.Quantize, _INT8, Isa.GENERIC, int8_borders.quantize),
        (ops.DequantizeOutput, _INT8, Isa.GENERIC, portable.dequantize_output),
    ):
        for dtype in dtypes:
            yield (op, dtype, isa), emitter


EMITTERS: dict[Key, Emitter] = dict(_registered())

#: Headers of the int8 kernels of an instruction set.
INT8_HEADERS = {Isa.GENERIC: "", Isa.NEON: "neon/int8.h", Isa.X86: "x86/int8.h"}


def emitter(op: Op[Any], dtype: Precision, isa: Isa) -> Emitter:
    """The emitter of an op: that of the instruction set, or else the generic one."""
    found = EMITTERS.get((type(op), dtype, isa))
    return found or EMITTERS[type(op), dtype, Isa.GENERIC]


def isa_of(cpu: CpuTarget) -> Isa:
    """The instruction set whose emitters serve a target."""
    return {"aarch64": Isa.NEON, "x86_64": Isa.X86}.get(cpu.arch, Isa.GENERIC)
