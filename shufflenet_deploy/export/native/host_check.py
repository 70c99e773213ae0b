"""Comparison of generated C with the PyTorch module, compiled and run on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shufflenet_deploy.codegen import toolchain
from shufflenet_deploy.codegen.c_file import GeneratedC
from shufflenet_deploy.codegen.cpu_target import host
from shufflenet_deploy.codegen.generator import generate
from shufflenet_deploy.errors import ParityError
from shufflenet_deploy.export.native.shared_library import SharedLibrary
from shufflenet_deploy.network.graph import FloatArray, Graph

if TYPE_CHECKING:
    from torch import nn

#: fp32 in another order of addition stays far below this share of the largest logit.
TOLERANCE = 1e-4
_IMAGES = 2


def compare_with_module(graph: Graph, module: nn.Module) -> float:
    """The largest difference to ``module``, relative to the largest logit.

    Generated for this machine, whatever machine the user's C is for: the same generator, other
    vector widths.

    Raises:
        ParityError: it is above ``TOLERANCE``.
        UsageError: there is no compiler.
        ExportError: the compiler failed.
    """
    import torch  # noqa: PLC0415

    from shufflenet_deploy.network.frontends import recording  # noqa: PLC0415

    random = np.random.default_rng(0)
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="native-") as folder:
        library = SharedLibrary(
            toolchain.compile_c(generate(graph, host()), Path(folder, "net.so"))
        )
        for _ in range(_IMAGES):
            image = random.standard_normal(graph.shapes[graph.input]).astype(np.float32)
            with torch.no_grad():
                computed = recording.outputs(module(torch.from_numpy(image)[None]))
            wanted = np.concatenate([one.numpy().ravel() for one in computed])
            difference = np.abs(library.run(image) - wanted).max()
            worst = max(worst, float(difference / (np.abs(wanted).max() or 1.0)))
    if not worst <= TOLERANCE:
        raise ParityError(
            f"{graph.name} as C differs from PyTorch by {worst:.1e} of the largest logit, more "
            f"than {TOLERANCE:g}: do not use it"
        )
    return worst


def logits_on_host(source: GeneratedC, images: Sequence[FloatArray]) -> list[FloatArray]:
    """Logits ``(1, classes)`` of C for this machine, for images ``(1, C, H, W)``.

    Several outputs are one array ``(1, elements)``.

    Raises:
        UsageError: there is no compiler.
        ExportError: the compiler failed.
    """
    with tempfile.TemporaryDirectory(prefix="native-") as folder:
        library = SharedLibrary(toolchain.compile_c(source, Path(folder, "net.so")))
        return [library.run(image[0])[None] for image in images]
