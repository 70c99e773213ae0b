"""From a graph to C, in any precision: passes, lowering, scheduling, emission, one file.

fp32 and fp16 share planar feature maps (channels first) and the emitters of ``emit.c``; int8 has
NHWC feature maps and emitters of its own for every instruction set. ``pipeline`` lists the passes,
``emit.registry`` the emitter of each op.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shufflenet_deploy.codegen.c_file import GeneratedC, assemble, fp_preamble, int8_preamble
from shufflenet_deploy.codegen.cpu_target import CpuTarget, host
from shufflenet_deploy.codegen.emit import registry
from shufflenet_deploy.codegen.emit.c import activations
from shufflenet_deploy.codegen.emit.int8_unit import Int8Unit
from shufflenet_deploy.codegen.emit.neon.dwconv3x3 import prefetched_rows
from shufflenet_deploy.codegen.emit.unit import TranslationUnit
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.int8 import Int8Program, Requantization
from shufflenet_deploy.codegen.ir.op import Op, Program
from shufflenet_deploy.codegen.ir.ops import Convolution, Direct3x3, Pool, StripConvPool
from shufflenet_deploy.codegen.ir.planar import PlanarProgram, is_planar
from shufflenet_deploy.codegen.pipeline import fp_program, int8_program
from shufflenet_deploy.codegen.schedule.memory_planner import plan_memory
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import Precision

#: Lanes of fp16 vectors on hosts without fp16 arithmetic; the compiler splits them.
_FP16_HOST_LANES = 8
_INT8_ALIGN_BYTES = 64
#: Bytes before and after an int8 buffer that kernels may read, and overwrite unread.
_INT8_SLACK_BYTES = 128
_FLOAT_BYTES = 4


def generate(
    graph: Graph, cpu: CpuTarget, ranges: Ranges | None = None, float_layers: Collection[str] = ()
) -> GeneratedC:
    """Write ``graph`` as C for ``cpu``: int8 given the ``ranges`` of its values, else fp32.

    For a target ``with_fp16()`` it is fp16. ``float_layers`` of int8 are in fp32, and so are those
    that there is no int8 code for.

    Raises:
        ExportError: the graph has a layer that there is no code for.
    """
    if ranges is None:
        return _emit_fp(fp_program(graph, cpu), cpu)
    return emit_int8(int8_program_for(graph, cpu, ranges, float_layers), cpu)


def int8_program_for(
    graph: Graph, cpu: CpuTarget, ranges: Ranges, float_layers: Collection[str] = ()
) -> Int8Program:
    """The int8 program that ``generate`` writes as C.

    Raises:
        ExportError: as ``generate``.
    """
    return int8_program(graph, ranges, arithmetic_of(cpu), cpu, float_layers)


def host_equivalent(
    graph: Graph, cpu: CpuTarget, ranges: Ranges | None = None, float_layers: Collection[str] = ()
) -> GeneratedC:
    """C that runs on this machine in place of that for ``cpu``.

    In fp32 and fp16 sums are added in another order, and so they are in float layers of int8.
    Without those its logits are equal to the last bit: the requantization is that of ``cpu``, as
    plain loops where the host's own is another.

    Raises:
        ExportError: as ``generate``.
    """
    if ranges is None:
        here = _host_cpu_for(cpu)
        return _emit_fp(fp_program(graph, here), here)
    arithmetic = arithmetic_of(cpu)
    program = int8_program(graph, ranges, arithmetic, host(), float_layers)
    return emit_int8(program, host(), vectorized=arithmetic is arithmetic_of(host()))


def arithmetic_of(cpu: CpuTarget) -> Requantization:
    """The requantization arithmetic of int8 programs for a target."""
    return Requantization.FLOAT if cpu.arch == "x86_64" else Requantization.FIXED


def emit_int8(program: Int8Program, cpu: CpuTarget, *, vectorized: bool = True) -> GeneratedC:
    """Write an int8 program as C for ``cpu``, ``vectorized`` or as plain loops."""
    slack = max(_INT8_SLACK_BYTES, _FLOAT_BYTES * _fp_slack(program, cpu))
    plan = plan_memory(program, align=_INT8_ALIGN_BYTES, slack=slack)
    unit = Int8Unit(
        cpu=cpu,
        offsets=plan.offsets,
        dtype=program.arithmetic.dtype,
        output_offsets=tuple(one.offset for one in program.outputs) or (0,),
    )
    isa = registry.isa_of(cpu) if vectorized else registry.Isa.GENERIC
    for index, op in enumerate(program.ops):
        # Padding is written next to what the op before it stores.
        unit.begin(independent=isinstance(op, ir.FillPadding))
        if is_planar(op):
            _emit_fp_op(op, unit.reals, Precision.FP32)
        else:
            registry.emitter(op, Precision.INT8, isa)(op, unit)
        unit.complete(index)
    unit.add_bytes(np.zeros(256, np.int8))
    if any(map(is_planar, program.ops)):
        unit.add_bytes(np.zeros(cpu.weight_prefetch_bytes, np.int8))
    arena_bytes = plan.elements + slack
    header = registry.INT8_HEADERS[isa]
    preamble = int8_preamble(unit, program.arithmetic, arena_bytes, header)
    in_float = tuple(layer.name for layer in program.float_layers)
    return assemble(program, unit, arena_bytes, preamble, in_float)


def _emit_fp(program: PlanarProgram, cpu: CpuTarget) -> GeneratedC:
    slack = _fp_slack(program, cpu)
    plan = plan_memory(program, align=16, slack=slack)
    unit = TranslationUnit(
        cpu=cpu,
        offsets=plan.offsets,
        dtype="f16" if cpu.is_fp16 else "f32",
        output_offsets=tuple(one.offset for one in program.outputs) or (0,),
    )
    for index, op in enumerate(program.ops):
        unit.begin()
        _emit_fp_op(op, unit, cpu.precision)
        unit.complete(index)
    unit.add_weights(np.zeros(64, np.float32))
    unit.add_bytes(np.zeros(cpu.weight_prefetch_bytes, np.int8))
    elements = plan.elements + slack
    arena_bytes = cpu.element_bytes * elements
    return assemble(program, unit, arena_bytes, fp_preamble(unit, elements))


def _emit_fp_op(op: Op[Any], unit: TranslationUnit, precision: Precision) -> None:
    if header := activations.header_of(op):
        unit.require(header)
    registry.emitter(op, precision, registry.isa_of(unit.cpu))(op, unit)


def _fp_slack(program: Program[Any], cpu: CpuTarget) -> int:
    """Elements after a planar buffer that kernels may read; 0 if there are no planar ops."""
    ops = [op for op in program.ops if is_planar(op)]
    return max(_max_tap_offset(ops), _max_prefetched(ops, cpu), 64) + 16 * cpu.lanes if ops else 0


def _max_tap_offset(ops: Sequence[Op[Any]]) -> int:
    """Elements that whole-vector loads of taps reach beyond a plane."""
    taps: list[int] = []
    for op in ops:
        one = op.convolution if isinstance(op, StripConvPool) else op
        if isinstance(one, Convolution):
            taps.append(max(one.window.taps))
        elif isinstance(one, Pool):
            taps.append(max(one.taps))
    return max(taps, default=0)


def _max_prefetched(ops: Sequence[Op[Any]], cpu: CpuTarget) -> int:
    """Elements that prefetches of rows reach beyond a plane."""
    windows = [op.pool if isinstance(op, StripConvPool) else op for op in ops]
    rows = [
        prefetched_rows(op, cpu) * op.source.layout.row_stride
        for op in windows
        if isinstance(op, Direct3x3)
    ]
    return max(rows, default=0)


def _host_cpu_for(cpu: CpuTarget) -> CpuTarget:
    """The host, computing in the precision of ``cpu``; fp16 is emulated in fp32 if need be."""
    here = host()
    if cpu.element_bytes == here.element_bytes:
        return here
    if here.has_fp16:
        return here.with_fp16()
    # gcc would keep fp16 accumulators in fp32, and has no product of an fp16 vector and an fp32.
    rounded = ("-fexcess-precision=16",) if here.arch == "x86_64" else ()
    return replace(
        here,
        lanes=_FP16_HOST_LANES,
        element_bytes=cpu.element_bytes,
        fma_by_lane=False,
        flags=(*here.flags, *rounded),
    )
