"""The native format: a network as one dependency-free C file and its weights.

``generate(graph, machine)`` writes the C, ``compile(source, out)`` makes of it a shared library
for this machine or a static program for any other.
"""

from shufflenet_deploy.export.native.file import NativeFile
from shufflenet_deploy.export.native.generate import Source, generate
from shufflenet_deploy.export.native.library import Library
from shufflenet_deploy.export.native.machine import MACHINES, Machine, host, machine, suiting
from shufflenet_deploy.export.native.parity import check
from shufflenet_deploy.export.native.toolchain import (
    Compiler,
    Product,
    compile,
    default_compiler,
    version,
    write,
)

__all__ = [
    "MACHINES",
    "Compiler",
    "Library",
    "Machine",
    "NativeFile",
    "Product",
    "Source",
    "check",
    "compile",
    "default_compiler",
    "generate",
    "host",
    "machine",
    "suiting",
    "version",
    "write",
]
