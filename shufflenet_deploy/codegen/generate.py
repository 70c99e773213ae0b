"""From a graph to C, in any precision: passes, lowering, scheduling, emission, one file.

fp32 and fp16 share planar feature maps (channels first) and the emitters of ``emit.c``; int8 has
NHWC feature maps and emitters of its own for every instruction set. ``passes.pipeline`` lists what
happens to a graph before emission, ``emit.registry`` which kernel computes an op.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.c_file import GeneratedC, assemble, fp_preamble, int8_preamble
from shufflenet_deploy.codegen.cpu_target import CpuTarget, host
from shufflenet_deploy.codegen.emit import registry
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import Int8Program, Requantization
from shufflenet_deploy.codegen.ir.planar import (
    Convolution,
    PlanarProgram,
    Pool,
    StripConvPool,
)
from shufflenet_deploy.codegen.lower.fp import lower as lower_fp
from shufflenet_deploy.codegen.lower.int8 import lower as lower_int8
from shufflenet_deploy.codegen.schedule.memory_planner import plan_memory
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization.ranges import Ranges

#: Lanes of fp16 vectors on hosts without fp16 arithmetic; the compiler splits them.
_FP16_HOST_LANES = 8
_INT8_ALIGN_BYTES = 64
#: Bytes before and after an int8 buffer that kernels may read, and overwrite unread.
_INT8_SLACK_BYTES = 128


def generate(graph: Graph, machine: CpuTarget, ranges: Ranges | None = None) -> GeneratedC:
    """Write ``graph`` as C for ``machine``: int8 given the ``ranges`` of its values, else fp32.

    For a target ``with_fp16()`` it is fp16.

    Raises:
        ExportError: the graph has a layer that there is no code for.
    """
    if ranges is None:
        return _emit_fp(lower_fp(graph, machine), machine)
    return emit_int8(lower_int8(graph, ranges, arithmetic_of(machine)), machine)


def host_equivalent(graph: Graph, machine: CpuTarget, ranges: Ranges | None = None) -> GeneratedC:
    """C that runs on this machine in place of that for ``machine``.

    In fp32 and fp16 sums are added in another order. In int8 the logits are equal to the last bit:
    the requantization is that of ``machine``, as plain loops where the host's own is another.

    Raises:
        ExportError: as ``generate``.
    """
    if ranges is None:
        here = _host_cpu_for(machine)
        return _emit_fp(lower_fp(graph, here), here)
    arithmetic = arithmetic_of(machine)
    program = lower_int8(graph, ranges, arithmetic)
    return emit_int8(program, host(), vectorized=arithmetic is arithmetic_of(host()))


def arithmetic_of(machine: CpuTarget) -> Requantization:
    """The requantization arithmetic of int8 programs for a target."""
    return Requantization.FLOAT if machine.arch == "x86_64" else Requantization.FIXED


def emit_int8(program: Int8Program, machine: CpuTarget, *, vectorized: bool = True) -> GeneratedC:
    """Write an int8 program as C for ``machine``, ``vectorized`` or as plain loops."""
    plan = plan_memory(program, align=_INT8_ALIGN_BYTES, slack=_INT8_SLACK_BYTES)
    unit = Int8Unit(machine=machine, offsets=plan.offsets)
    emitters, header = registry.int8_emitters(machine, vectorized=vectorized)
    for index, step in enumerate(program.steps):
        # Padding is written next to what the op before it stores.
        unit.begin(joins=isinstance(step, ir.FillPadding))
        emitters[type(step)](step, unit)
        unit.complete(index)
    unit.weights(np.zeros(256, np.int8))
    arena_bytes = plan.elements + _INT8_SLACK_BYTES
    preamble = int8_preamble(unit, program.numbers, arena_bytes, header)
    return assemble(program, unit, arena_bytes, preamble)


def _emit_fp(program: PlanarProgram, machine: CpuTarget) -> GeneratedC:
    slack = max(_max_tap_offset(program), 64) + 16 * machine.lanes
    plan = plan_memory(program, align=16, slack=slack)
    unit = TranslationUnit(machine=machine, offsets=plan.offsets)
    for index, step in enumerate(program.steps):
        unit.begin()
        registry.FP_EMITTERS[type(step)](step, unit)
        unit.complete(index)
    unit.numbers(np.zeros(64, np.float32))
    elements = plan.elements + slack
    arena_bytes = machine.element_bytes * elements
    return assemble(program, unit, arena_bytes, fp_preamble(machine, elements))


def _max_tap_offset(program: PlanarProgram) -> int:
    """Elements that whole-vector loads of taps reach beyond a plane."""
    taps = [
        max(step.taps)
        for one in program.steps
        for step in [one.convolution if isinstance(one, StripConvPool) else one]
        if isinstance(step, Convolution | Pool)
    ]
    return max(taps, default=0)


def _host_cpu_for(machine: CpuTarget) -> CpuTarget:
    """The host, computing in the precision of ``machine``; fp16 is emulated in fp32 if need be."""
    here = host()
    if machine.element_bytes == here.element_bytes:
        return here
    if here.halves:
        return here.in_halves()
    # gcc would keep fp16 accumulators in fp32, and has no product of an fp16 vector and an fp32.
    rounded = ("-fexcess-precision=16",) if here.arch == "x86_64" else ()
    return replace(
        here,
        lanes=_FP16_HOST_LANES,
        element_bytes=machine.element_bytes,
        by_lane=False,
        flags=(*here.flags, *rounded),
    )
