"""A compiled network loaded into this process through ctypes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import FloatArray


class SharedLibrary:
    """A shared library built by ``toolchain.compile_c`` for this machine."""

    def __init__(self, path: Path) -> None:
        """Load it.

        Raises:
            ExportError: it is not a network for this machine.
        """
        try:
            self._library = ctypes.CDLL(str(path.resolve()))
            self.inputs = ctypes.c_uint.in_dll(self._library, "net_input_floats").value
            self.outputs = ctypes.c_uint.in_dll(self._library, "net_output_floats").value
        except (OSError, ValueError) as error:
            raise ExportError(f"{path.name} is not a network for this machine: {error}") from error
        self._library.net_init.argtypes = [ctypes.c_void_p]
        self._library.net_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._library.net_run.restype = None
        if self._library.net_init(None) != 0:
            raise ExportError(f"{path.name} has no weights linked in")

    def run(self, image: FloatArray) -> FloatArray:
        """One inference; ``image`` is ``(C, H, W)``, the result is flat."""
        given = np.ascontiguousarray(image, np.float32)
        if given.size != self.inputs:
            raise ValueError(f"{given.shape} is not {self.inputs} numbers")
        logits = np.empty(self.outputs, np.float32)
        self._library.net_run(given.ctypes.data, logits.ctypes.data)
        return logits
