"""Emitters by op, precision and instruction set."""

from __future__ import annotations

from collections.abc import Callable
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
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.neon import int8_backend as neon
from shufflenet_deploy.codegen.emit.portable import int8_backend as portable
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.emit.x86 import int8_backend as x86
from shufflenet_deploy.codegen.ir import int8, planar

FP_EMITTERS: dict[type[planar.PlanarOp], Callable[[Any, TranslationUnit], None]] = {
    planar.PhaseSplit: phase_split.phase_split,
    planar.Convolution: convolution.convolution,
    planar.WinogradInput: winograd_transforms.winograd_input,
    planar.WinogradGemm: convolution.convolution,
    planar.WinogradOutput: winograd_transforms.winograd_output,
    planar.StripConvPool: conv_pool_strips.strip_conv_pool,
    planar.FusedConvPool: conv_pool_registers.fused_conv_pool,
    planar.Direct3x3: dwconv.direct_3x3,
    planar.Pool: pool.pool,
    planar.GlobalAveragePool: pool.global_average_pool,
    planar.AdaptivePool: pool.adaptive_pool,
    planar.FullyConnected: gemv.fully_connected,
    planar.LocalResponseNorm: lrn.local_response_norm,
    planar.Add: elementwise.add,
    planar.ChannelScale: elementwise.channel_scale,
    planar.Copy: copy.copy,
}

Int8Emitters = dict[type[int8.PixelOp], Callable[[Any, Int8Unit], None]]
_NEON: Int8Emitters = {
    **portable.EMITTERS,
    int8.QuantizeInput: neon.quantize_input,
    int8.FillPadding: neon.fill_padding,
    int8.Convolution: neon.convolution,
    int8.DepthwiseConvolution: neon.depthwise,
    int8.MaxPool: neon.pool,
    int8.AveragePool: neon.pool,
    int8.GlobalAveragePool: neon.global_average_pool,
}
_X86: Int8Emitters = {
    **portable.EMITTERS,
    int8.QuantizeInput: x86.quantize_input,
    int8.Convolution: x86.convolution,
    int8.DepthwiseConvolution: x86.depthwise,
    int8.MaxPool: x86.pool,
    int8.AveragePool: x86.pool,
    int8.GlobalAveragePool: x86.global_average_pool,
}


def int8_emitters(cpu: CpuTarget, *, vectorized: bool) -> tuple[Int8Emitters, str]:
    """The int8 emitters for a target, and the header that their kernels need."""
    if vectorized and cpu.arch == "aarch64":
        return _NEON, "neon/int8.h"
    if vectorized and cpu.arch == "x86_64":
        return _X86, "x86/int8.h"
    return portable.EMITTERS, ""
