"""The code generator: a graph as one dependency-free C file and its weights.

``generate(graph, cpu)`` writes fp32 or fp16 C, and int8 C once the ranges of its values are
calibrated; ``compile_c(source, out)`` builds a shared library for this machine or a static
executable for any other. The pipeline, each stage a package:

    Graph -> passes -> lower (ir) -> schedule -> emit -> GeneratedC -> toolchain
"""

from shufflenet_deploy.codegen.c_file import GeneratedC
from shufflenet_deploy.codegen.cpu_target import (
    CPU_TARGETS,
    CpuTarget,
    best_for,
    cpu_target_named,
    host,
)
from shufflenet_deploy.codegen.generator import generate, host_equivalent
from shufflenet_deploy.codegen.toolchain import (
    OPTIMIZATION,
    Compiler,
    Product,
    compile_c,
    compiler_version,
    default_compiler,
    write_sources,
)

__all__ = [
    "CPU_TARGETS",
    "OPTIMIZATION",
    "Compiler",
    "CpuTarget",
    "GeneratedC",
    "Product",
    "best_for",
    "compile_c",
    "compiler_version",
    "cpu_target_named",
    "default_compiler",
    "generate",
    "host",
    "host_equivalent",
    "write_sources",
]
