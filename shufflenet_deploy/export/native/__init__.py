"""The native format: a network as one dependency-free C file and its weights.

``generate(graph, machine)`` writes the C, with calibrated ranges that of int8; ``compile(source,
out)`` makes of it a shared library for this machine or a static program for any other.
"""

from shufflenet_deploy.export.native.file import NativeFile
from shufflenet_deploy.export.native.library import Library
from shufflenet_deploy.export.native.machine import MACHINES, Machine, host, machine, suiting
from shufflenet_deploy.export.native.parity import answers, check
from shufflenet_deploy.export.native.precisions import generate, stand_in
from shufflenet_deploy.export.native.source import Source
from shufflenet_deploy.export.native.toolchain import (
    SPEED,
    Compiler,
    Product,
    compile,
    default_compiler,
    version,
    write,
)

__all__ = [
    "MACHINES",
    "SPEED",
    "Compiler",
    "Library",
    "Machine",
    "NativeFile",
    "Product",
    "Source",
    "answers",
    "check",
    "compile",
    "default_compiler",
    "generate",
    "host",
    "machine",
    "stand_in",
    "suiting",
    "version",
    "write",
]
