"""From an int8 program to C: one file, its header, and the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.native.arena import arrange
from shufflenet_deploy.export.native.int8 import neon, portable, x86
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8.bytewise import ByteUnit
from shufflenet_deploy.export.native.int8.frame import frame_of
from shufflenet_deploy.export.native.int8.lowering import lower
from shufflenet_deploy.export.native.int8.program import Numbers, Program
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.source import Source, framed
from shufflenet_deploy.export.quantize import Ranges

_ALIGN = 64
#: Bytes before and behind a buffer that kernels may read, and write where nobody looks.
_SLACK = 128

_Emitters = dict[type[steps.Step], Callable[[Any, ByteUnit], None]]
_NEON: _Emitters = {
    **portable.EMITTERS,
    steps.Picture: neon.picture,
    steps.Border: neon.border,
    steps.Convolution: neon.convolution,
    steps.Depthwise: neon.depthwise,
    steps.Maximum: neon.window,
    steps.Average: neon.window,
    steps.Mean: neon.mean,
}

_X86: _Emitters = {
    **portable.EMITTERS,
    steps.Picture: x86.picture,
    steps.Convolution: x86.convolution,
    steps.Depthwise: x86.depthwise,
    steps.Maximum: x86.window,
    steps.Average: x86.window,
    steps.Mean: x86.mean,
}


def numbers_of(machine: Machine) -> Numbers:
    """The arithmetic of a machine's programs."""
    return Numbers.FLOAT if machine.arch == "x86_64" else Numbers.FIXED


def generate(graph: Graph, ranges: Ranges, machine: Machine) -> Source:
    """Write ``graph`` with int8 values as C for ``machine``.

    Raises:
        ExportError: the graph has a layer that there is no int8 code for.
    """
    return emit(lower(graph, ranges, numbers_of(machine)), machine)


def emit(program: Program, machine: Machine, *, fast: bool = True) -> Source:
    """Write a program as C for ``machine``; without ``fast`` as plain loops."""
    arena = arrange(program, align=_ALIGN, slack=_SLACK)
    unit = ByteUnit(machine=machine, offsets=arena.offsets)
    emitters, vectors = _emitters(machine, fast=fast)
    for index, step in enumerate(program.steps):
        # A border is beside what the step before it stores.
        unit.begin(joins=isinstance(step, steps.Border))
        emitters[type(step)](step, unit)
        unit.complete(index)
    unit.weights(np.zeros(256, np.int8))
    arena_bytes = arena.elements + _SLACK
    return framed(program, unit, arena_bytes, frame_of(unit, program.numbers, arena_bytes, vectors))


def _emitters(machine: Machine, *, fast: bool) -> tuple[_Emitters, str]:
    """What writes each step, and the header that it needs."""
    if fast and machine.arch == "aarch64":
        return _NEON, "neon.h"
    if fast and machine.arch == "x86_64":
        return _X86, "x86.h"
    return portable.EMITTERS, "portable.h"
