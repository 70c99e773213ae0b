"""C of a network in any precision: in floats or halves, or in bytes once its ranges are known."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.native import generate as floats
from shufflenet_deploy.export.native.int8 import generate as bytewise
from shufflenet_deploy.export.native.int8.lowering import lower
from shufflenet_deploy.export.native.machine import Machine, host
from shufflenet_deploy.export.native.source import Source
from shufflenet_deploy.export.quantize import Ranges

_LANES = 8  # of halves, where compilers make what they can of them


def generate(graph: Graph, machine: Machine, ranges: Ranges | None = None) -> Source:
    """Write ``graph`` as C for ``machine``: int8 with the ``ranges`` of its values, else fp32.

    For a machine ``in_halves`` it is fp16.

    Raises:
        ExportError: the graph has a layer that there is no code for.
    """
    if ranges is None:
        return floats.generate(graph, machine)
    return bytewise.generate(graph, ranges, machine)


def stand_in(graph: Graph, machine: Machine, ranges: Ranges | None = None) -> Source:
    """C that runs here in place of that for ``machine``.

    Floats and halves are added up in another order. In int8 the answers are the same to the last
    bit: the arithmetic is that of ``machine``, as plain loops where this machine's own is another.

    Raises:
        ExportError: as ``generate``.
    """
    if ranges is None:
        return floats.generate(graph, _here(machine))
    numbers = bytewise.numbers_of(machine)
    program = lower(graph, ranges, numbers)
    return bytewise.emit(program, host(), fast=numbers is bytewise.numbers_of(host()))


def _here(machine: Machine) -> Machine:
    """This machine, computing in what ``machine`` does: in halves by way of floats if need be."""
    here = host()
    if machine.element_bytes == here.element_bytes:
        return here
    if here.halves:
        return here.in_halves()
    # gcc would keep sums of halves in floats, and take no vector of halves times one of those.
    rounded = ("-fexcess-precision=16",) if here.arch == "x86_64" else ()
    return replace(
        here,
        lanes=_LANES,
        element_bytes=machine.element_bytes,
        by_lane=False,
        flags=(*here.flags, *rounded),
    )
