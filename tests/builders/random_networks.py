"""Generated networks and what they say: many as one program, since linking one takes long."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import CPU_TARGETS, CpuTarget, GeneratedC, pipeline
from shufflenet_deploy.codegen.cpu_target import HOST_ARCH
from shufflenet_deploy.codegen.generator import arithmetic_of
from shufflenet_deploy.codegen.ir.int8 import Int8Program
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization import calibration

WARNINGS = ("-O1", "-Wall", "-Wextra", "-Werror")
#: Without -g: what follows variables through kernels takes five times as long.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
#: Foreign cores have no runtime of the sanitizers: what they find ends the program.
TRAPS = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
#: What runs a core's programs on this machine, whatever that is.
EMULATORS = {
    "aarch64": ("qemu-aarch64", "-cpu", "cortex-a53"),
    "cortex-a53": ("qemu-aarch64", "-cpu", "cortex-a53"),
    "cortex-a72": ("qemu-aarch64", "-cpu", "cortex-a72"),
    "cortex-a76": ("qemu-aarch64", "-cpu", "max"),
    "cortex-a710": ("qemu-aarch64", "-cpu", "max"),
    "armv7": ("qemu-arm", "-cpu", "cortex-a7"),
}
#: What every network of a program has a name of its own for.
_NAMES = ("init", "run", "run_part", "metadata", "input_floats", "output_floats")
_DRIVER = """\
#include <stdio.h>
#include <stdlib.h>
static int answer(int (*init)(const void *), void (*run)(const float *, float *), unsigned inputs,
                  unsigned outputs)
{
    float *x = malloc(sizeof(float) * inputs), *y = malloc(sizeof(float) * outputs);
    if (x == NULL || y == NULL || init(NULL) != 0)
        return 2;
    if (fread(x, sizeof(float), inputs, stdin) != inputs)
        return 3;
    run(x, y);
    run(x, y); /* what the first one left behind must not show */
    if (fwrite(y, sizeof(float), outputs, stdout) != outputs)
        return 4;
    free(x);
    free(y);
    return 0;
}
"""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """A compiler and its options, for a network and for linking."""

    compile: tuple[str, ...]
    link: tuple[str, ...]


def answers(
    sources: Sequence[GeneratedC],
    pictures: Sequence[NDArray[np.float32]],
    folder: Path,
    commands: Commands,
    runner: Sequence[str] = (),
) -> list[NDArray[np.float32]]:
    """The logits of each network for its image, from memory that is poisoned at first.

    ``runner`` is what runs the program.
    """
    driver = [_DRIVER]
    for at, source in enumerate(sources):
        codegen.write_sources(source, folder / f"{at}")
        renamed = [f"#define net_{name} net_{name}_{at}" for name in _NAMES]
        unit = [*renamed, f'#define NET_WEIGHTS_FILE "{at}/net.weights"', f'#include "{at}/net.c"']
        (folder / f"net{at}.c").write_text("\n".join([*unit, ""]))
        driver.append(
            f"extern const unsigned net_input_floats_{at}, net_output_floats_{at};\n"
            f"int net_init_{at}(const void *);\nvoid net_run_{at}(const float *, float *);"
        )
    calls = " ||\n           ".join(
        f"answer(net_init_{at}, net_run_{at}, net_input_floats_{at}, net_output_floats_{at})"
        for at in range(len(sources))
    )
    driver.append(f"int main(void)\n{{\n    return {calls};\n}}\n")
    (folder / "driver.c").write_text("\n".join(driver))
    nets = [f"net{at}" for at in range(len(sources))]
    for net in nets:
        made = ["-std=gnu11", "-DNET_POISON", "-c", f"{net}.c", "-o", f"{net}.o"]
        _run([*commands.compile, *made], folder)
    _run([*commands.link, "driver.c", *(f"{net}.o" for net in nets), "-o", "nets", "-lm"], folder)
    given = b"".join(picture.astype(np.float32).tobytes() for picture in pictures)
    said = _run([*runner, str(folder / "nets")], folder, given)
    sizes = [int(np.prod(source.output_shape)) for source in sources]
    return np.split(np.frombuffer(said, np.float32), np.cumsum(sizes)[:-1])


def watched(
    core: str, sources: Sequence[GeneratedC], pictures: Sequence[NDArray[np.float32]], folder: Path
) -> list[NDArray[np.float32]]:
    """The logits of networks on a core; undefined behaviour and memory errors end them."""
    machine, runner = codegen.cpu_target_named(core), EMULATORS.get(core, ())
    if runner:
        assert shutil.which(runner[0]), f"{runner[0]} is missing: run tests/system-packages.sh"
        commands = zig(machine, *WARNINGS, *TRAPS)
    else:
        assert shutil.which("gcc"), "gcc is missing: run tests/system-packages.sh"
        commands = gcc(machine, *WARNINGS, *SANITIZERS)
    return answers(sources, pictures, folder, commands, runner)


def picture_of(graph: Graph, seed: int = 0) -> NDArray[np.float32]:
    """A picture that a graph takes, ``(channels, height, width)``."""
    shape = graph.shapes[graph.input]
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def wanted(graph: Graph, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs of a graph for an image, by the reference interpreter in fp32."""
    values = interpreter.activations(graph, picture)
    return np.concatenate([values[name].ravel() for name in graph.outputs])


def assert_close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Floats that were added up in another order."""
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) <= 1e-4 * scale


def lowered(
    graph: Graph, machine: CpuTarget, seed: int, calibrated: int = 2
) -> tuple[Int8Program, NDArray[np.float32]]:
    """A graph's int8 program, and a picture that goes beyond what its ranges are from."""
    random = np.random.default_rng(seed)
    shape = (1, *graph.shapes[graph.input])
    *known, picture = (
        random.standard_normal(shape).astype(np.float32) for _ in range(calibrated + 1)
    )
    ranges = calibration.calibrate(graph, known)
    return pipeline.int8_program(graph, ranges, arithmetic_of(machine)), 2 * picture[0]


def here() -> list[str]:
    """The x86 machines whose code this host can run."""
    flags = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if HOST_ARCH == "x86_64" else ()
    )
    return [
        name
        for name, one in CPU_TARGETS.items()
        if one.arch == HOST_ARCH and one.required_features <= set(flags)
    ]


def zig(machine: CpuTarget, *options: str) -> Commands:
    """``zig cc`` for a machine, linking to the C library that shipped programs have as well."""
    command = (sys.executable, "-m", "ziglang", "cc", "-target", machine.triple)
    return Commands(
        compile=(*command, f"-mcpu={machine.zig_cpu}", *options),
        link=(*command, "-O2", "-static", "-s"),
    )


def gcc(machine: CpuTarget, *options: str) -> Commands:
    """gcc for this machine."""
    return Commands(compile=("gcc", *machine.flags, *options), link=("gcc", *options))


def _run(command: Sequence[str], folder: Path, given: bytes = b"") -> bytes:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    assert done.returncode == 0, f"{command[:3]} {done.returncode}: {done.stderr.decode()[-3000:]}"
    return done.stdout
