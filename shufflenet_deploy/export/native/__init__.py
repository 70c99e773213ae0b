"""The native format: a network as one dependency-free C file and its weights.

``generate(graph, machine)`` writes the C, ``compile(source, out)`` makes of it a shared library
for this machine or a static program for any other.
"""

from shufflenet_deploy.export.native.generate import Source, generate
from shufflenet_deploy.export.native.library import Library
from shufflenet_deploy.export.native.machine import MACHINES, Machine, host, machine
from shufflenet_deploy.export.native.parity import check
from shufflenet_deploy.export.native.toolchain import Compiler, Product, compile, write

__all__ = [
    "MACHINES",
    "Compiler",
    "Library",
    "Machine",
    "Product",
    "Source",
    "check",
    "compile",
    "generate",
    "host",
    "machine",
    "write",
]
