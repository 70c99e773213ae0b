"""C of a network in either precision: in floats, or in bytes once its ranges are known."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.native import generate as floats
from shufflenet_deploy.export.native.int8 import generate as bytewise
from shufflenet_deploy.export.native.int8.lowering import lower
from shufflenet_deploy.export.native.machine import Machine, host
from shufflenet_deploy.export.native.source import Source
from shufflenet_deploy.export.quantize import Ranges


def generate(graph: Graph, machine: Machine, ranges: Ranges | None = None) -> Source:
    """Write ``graph`` as C for ``machine``: int8 with the ``ranges`` of its values, else fp32.

    Raises:
        ExportError: the graph has a layer that there is no code for.
    """
    if ranges is None:
        return floats.generate(graph, machine)
    return bytewise.generate(graph, ranges, machine)


def stand_in(graph: Graph, machine: Machine, ranges: Ranges | None = None) -> Source:
    """C that runs here in place of that for ``machine``.

    Floats are added up in another order; in int8 the answers are the same to the last bit, because
    the arithmetic is that of ``machine``, as plain loops where this machine's own is another.

    Raises:
        ExportError: as ``generate``.
    """
    if ranges is None:
        here = host()
        if machine.element_bytes != here.element_bytes:
            here = replace(here, lanes=8, by_lane=False, element_bytes=machine.element_bytes)
        return floats.generate(graph, here)
    numbers = bytewise.numbers_of(machine)
    program = lower(graph, ranges, numbers)
    return bytewise.emit(program, host(), fast=numbers is bytewise.numbers_of(host()))
