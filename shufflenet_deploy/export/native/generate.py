"""From a ``Graph`` to C: one file, its header, and the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.native import (
    bands,
    convolution,
    frequencies,
    maxima,
    pixelwise,
    spatial,
)
from shufflenet_deploy.export.native import program as steps
from shufflenet_deploy.export.native.arena import arrange
from shufflenet_deploy.export.native.lowering import lower
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.program import Program
from shufflenet_deploy.export.native.source import Frame, Source, framed
from shufflenet_deploy.export.native.text import Unit

_EMITTERS = {
    steps.Split: spatial.split,
    steps.Convolution: convolution.emit,
    steps.ToFrequencies: frequencies.to_frequencies,
    steps.Products: convolution.emit,
    steps.FromFrequencies: frequencies.from_frequencies,
    steps.Banded: bands.emit,
    steps.Pooled: maxima.emit,
    steps.Window3x3: spatial.window3x3,
    steps.Window: spatial.window,
    steps.GlobalAverage: spatial.global_average,
    steps.AdaptiveAverage: spatial.adaptive_average,
    steps.FullyConnected: pixelwise.fully_connected,
    steps.Normalise: pixelwise.normalise,
    steps.Sum: pixelwise.add,
    steps.Gate: pixelwise.gate,
    steps.Copy: pixelwise.copy,
}


def generate(graph: Graph, machine: Machine) -> Source:
    """Write ``graph`` as C for ``machine``.

    Raises:
        ExportError: the graph has a layer that there is no code for.
    """
    program = lower(graph, machine)
    slack = max(_reach(program), 64) + 16 * machine.lanes
    arena = arrange(program, align=16, slack=slack)
    unit = Unit(machine=machine, offsets=arena.offsets)
    for index, step in enumerate(program.steps):
        unit.begin()
        _EMITTERS[type(step)](step, unit)  # type: ignore[operator]
        unit.complete(index)
    unit.numbers(np.zeros(64, np.float32))
    elements = arena.elements + slack
    return framed(program, unit, machine.element_bytes * elements, _frame(machine, elements))


def _reach(program: Program) -> int:
    """How far behind a plane's start whole-vector loads of taps may go, beyond the plane."""
    taps = [
        max(step.taps)
        for one in program.steps
        for step in [one.convolution if isinstance(one, steps.Banded) else one]
        if isinstance(step, steps.Convolution | steps.Window)
    ]
    return max(taps, default=0)


def _frame(machine: Machine, elements: int) -> Frame:
    n = machine.lanes
    names = ("LOAD", "STORE", "SPLAT", "MAX", "MIN", "EVEN", "ODD")
    macros = "\n".join(f"#define {name} {name}{n}" for name in names)
    prelude = Path(__file__).with_name("prelude.h").read_text(encoding="utf-8")
    halves = machine.computes_in_halves
    kind = "#define IN_HALVES\n" if halves else ""
    return Frame(
        precision="fp16" if halves else "fp32",
        layout=f"Planes of pixels, {n} to a vector",
        prelude=f"{kind}#define LANES {n}\n#define vf v{n}\n{macros}\n{prelude}",
        element="real",
        memory=f"static real A[{elements}] __attribute__((aligned(64)));",
        poison=0xFF,
    )
