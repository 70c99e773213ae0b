"""A compiled network as an executable that can be run for validation, emulated if need be."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from shufflenet_deploy.codegen.c_file import GeneratedC
from shufflenet_deploy.codegen.cpu_target import HOST_ARCH, CpuTarget
from shufflenet_deploy.codegen.ir.int8 import Int8Program
from shufflenet_deploy.codegen.toolchain import Product, compile_c
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.native.layer_values import layer_values
from shufflenet_deploy.network.graph import FloatArray, Graph
from shufflenet_deploy.programs import run_to_end
from shufflenet_deploy.records import TensorSpec

_TIMEOUT_SECS = 600
_EMULATORS = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm", "x86_64": "qemu-x86_64"}


class NativeExecutable:
    """An executable built by ``toolchain.compile_c``.

    ``runs_on`` states what runs it: this processor, an emulator, or, where there is neither, the
    same network generated for this processor (``codegen.host_equivalent``). ``emulated`` is True
    for an emulator.
    """

    def __init__(
        self,
        path: Path,
        graph: Graph,
        machine: CpuTarget,
        host_equivalent: Callable[[], GeneratedC],
        int8_program: Callable[[], Int8Program] | None = None,
    ) -> None:
        """``int8_program`` is what the C was made of, if its layers are to be shown."""
        self._graph, self._int8_program = graph, int8_program
        self._here = Path(tempfile.mkdtemp(prefix="native-"))
        weakref.finalize(self, shutil.rmtree, self._here, ignore_errors=True)
        self._command, self.runs_on, self.emulated = self._runnable(path, machine, host_equivalent)
        self.inputs: tuple[TensorSpec, ...] = (_spec("input", graph.shapes[graph.input]),)
        self.outputs: tuple[TensorSpec, ...] = (_spec("output", graph.shapes[graph.output]),)
        if len(graph.outputs) > 1:
            self.outputs = tuple(_spec(name, graph.shapes[name]) for name in graph.outputs)

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as one ``(1, elements)``."""
        source, output = self._here / "image.npy", self._here / "logits.npy"
        np.save(source, np.ascontiguousarray(image, np.float32), allow_pickle=False)
        done = _run([*self._command, "--once", "--input", str(source), "--output", str(output)])
        if done.returncode:
            reason = (done.stdout or done.stderr).strip() or f"status {done.returncode}"
            raise ExportError(f"the native program failed: {reason}")
        logits: FloatArray = np.load(output, allow_pickle=False)
        return logits

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """Every value that an int8 program stores, see ``parity.LayeredFile``.

        Computed by the interpreter of such programs, whose bytes are those of the C.
        """
        yield from layer_values(self._lowered, self._graph, image)

    @cached_property
    def _lowered(self) -> Int8Program:
        """Lowered once for all images."""
        assert self._int8_program is not None
        return self._int8_program()

    def _runnable(
        self, path: Path, machine: CpuTarget, host_equivalent: Callable[[], GeneratedC]
    ) -> tuple[tuple[str, ...], str, bool]:
        emulator = shutil.which(_EMULATORS[machine.arch])
        if machine.arch == HOST_ARCH and _works((str(path),)):
            return (str(path),), "this processor", False
        if emulator and _works((emulator, "-cpu", "max", str(path))):
            return (emulator, "-cpu", "max", str(path)), Path(emulator).name, True
        source, program = host_equivalent(), self._here / "net"
        compile_c(source, program, product=Product.PROGRAM)
        return (str(program),), f"this processor, generated for {source.cpu.name}", False


def _works(command: tuple[str, ...]) -> bool:
    try:
        return _run([*command, "--list"]).returncode == 0
    except OSError:
        return False


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    late = ExportError(f"the native program ran for more than {_TIMEOUT_SECS} s")
    return run_to_end(command, limit_secs=_TIMEOUT_SECS, late=late)


def _spec(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, *shape), dtype="float32")
