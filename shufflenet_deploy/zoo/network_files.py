"""Networks in files of other tools as modules: ``.onnx``, ``.prototxt`` (Caffe), ``.pt2``.

Nothing in such a file is run: ONNX and Caffe files are read as data and become a graph, whose
module computes it, and of a program of torch.export the operators are looked up in a list.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.extras import is_missing
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.graph_module import GraphModule
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.network_file_facts import file_digest
from shufflenet_deploy.zoo.own_network import FileConfig

#: Largest difference of a graph and the runtime of its file, relative to the largest output.
_TOLERANCE = 1e-3


def read(
    config: FileConfig,
    resolution: Resolution | None = None,
    *,
    weights: Path | None = None,
) -> nn.Module:
    """The network of a file as a module in eval mode, for inputs of one size.

    Args:
        config: the file; its bytes must be those that were described.
        resolution: of the input where the file leaves it open; None for the file's own.
        weights: the ``.caffemodel`` of a ``.prototxt``, None for the one that the card names.

    Raises:
        UsageError: it cannot be read, has changed, or holds what no graph can say.
        ExportError: what was read is not what the file's own runtime computes.
    """
    path = Path(config.file)
    own = Path(config.weights) if config.weights is not None else None
    if file_digest(path, own) != config.sha256:
        raise UsageError(f"{path} has changed since it was chosen: start again")
    if path.suffix == ".onnx":
        return _of_onnx(path, resolution)
    if path.suffix == ".prototxt":
        return _of_caffe(path, weights or own, resolution)
    return _of_exported_program(path, resolution)


def _of_onnx(path: Path, resolution: Resolution | None) -> nn.Module:
    from shufflenet_deploy.network.frontends.onnx import read_onnx

    graph = read_onnx(path, resolution=resolution)
    module = GraphModule(graph)
    if not is_missing("onnxruntime"):
        _compare_with_onnxruntime(path, graph, module)
    return module.requires_grad_(requires_grad=False)


def _of_exported_program(path: Path, resolution: Resolution | None) -> nn.Module:
    from shufflenet_deploy.network.frontends.exported_program import load

    module = load(path)
    own = Resolution(height=module.input_shape[1], width=module.input_shape[2])
    if resolution not in (None, own):
        raise UsageError(
            f"{path} was exported for images of {own}, and no other size: --resolution {own}, or "
            f"export it anew for {resolution}"
        )
    return module.requires_grad_(requires_grad=False)


def _of_caffe(path: Path, weights: Path | None, resolution: Resolution | None) -> nn.Module:
    from shufflenet_deploy.network.frontends.caffe import read_caffe

    if weights is None:
        raise UsageError(
            f"{path} comes without weights: put {path.with_suffix('.caffemodel').name} beside it, "
            "or name them with --weights FILE.caffemodel"
        )
    graph = read_caffe(path, weights, resolution=resolution)
    return GraphModule(graph).requires_grad_(requires_grad=False)


def _compare_with_onnxruntime(path: Path, graph: Graph, module: nn.Module) -> None:
    """Refuse a graph that differs from its file on one random image.

    Raises:
        ExportError: it does, or onnxruntime cannot run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    image = np.random.default_rng(0).random((1, *graph.shapes[graph.input]), dtype=np.float32)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        kinds = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
        fed = image.astype(kinds.get(given.type, np.float32))
        wanted = session.run(None, {given.name: fed})
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ExportError(f"onnxruntime cannot run {path}: {error}") from error
    with torch.inference_mode():
        found = module(torch.from_numpy(image))
    outputs = found if isinstance(found, tuple) else (found,)
    for name, mine, theirs in zip(graph.outputs, outputs, wanted, strict=True):
        scale = float(np.abs(theirs).max()) or 1.0
        difference = float(np.abs(mine.numpy().ravel() - np.ravel(theirs)).max()) / scale
        if not difference <= _TOLERANCE:
            raise ExportError(
                f"{path}: the graph read from it differs from onnxruntime by {difference:.1e} of "
                f"the largest value of {name}: please report this file"
            )
