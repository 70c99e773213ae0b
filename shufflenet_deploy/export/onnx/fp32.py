"""ONNX from a PyTorch module: torch's exporter, batch norm folded, simplified, reproducible.

The file has one static input ``input`` (1, C, H, W) and one output ``logits``, or several by their
own names, and carries nothing of the machine it was made on: no stack traces, no paths, no time.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import onnxslim
import torch
from torch import nn

import shufflenet_deploy
from shufflenet_deploy.errors import ExportError, UnreadableError
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.graph_module import GraphModule
from shufflenet_deploy.records import Resolution

INPUT, OUTPUT = "input", "logits"
#: The output of a network without a classifier, in its file.
FEATURE_MAP = "feature_map"

#: The lowest opset that torch's exporter writes without converting down, with the IR version that
#: belongs to it: such a file loads in onnxruntime 1.14 and later. The exporter's own choice (opset
#: 20, IR 10) needs 1.18, which old boards with Python 3.7 cannot have, and contains the same nodes.
OPSET, IR_VERSION = 18, 8

#: Protobuf's limit for one message; a larger model would need its weights next to it.
_LARGEST_BYTES = 2**31 - 1


def convert(module: nn.Module, resolution: Resolution, *, channels: int = 3) -> onnx.ModelProto:
    """An eval-mode ``module`` as a checked ONNX model for a ``(1, channels, H, W)`` float32 image.

    Raises:
        UnreadableError: the exporter cannot express the module.
        ExportError: the result is over 2 GB.
    """
    example = torch.zeros(1, channels, resolution.height, resolution.width)
    with fixed_pools(module, example), unprinted(), quiet():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=_output_names(module, example),
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # somebody else's code runs, and may raise anything
            raise UnreadableError(
                f"torch.onnx cannot export this model: {_root_line(error)}"
            ) from error
        assert program is not None
        model = program.model_proto
        if model.ByteSize() > _LARGEST_BYTES:
            raise ExportError("the ONNX file would be over 2 GB; choose the fixed head")
        _name_by_module(model)
        _strip(model)
        model = onnxslim.slim(model)
    return finish(model)


def _output_names(module: nn.Module, example: torch.Tensor) -> list[str]:
    """``logits``; of several outputs the keys of a dictionary, or the values of a graph."""
    if isinstance(module, GraphModule):
        names = list(module.graph.outputs)
    else:
        with torch.inference_mode():
            names = recording.output_names(module(example))
    named = len(names) > 1 and all(names) and len({*names, INPUT}) > len(names)
    return names if named else [OUTPUT]


def call_output_feature_map(model: onnx.ModelProto) -> None:
    """Rename the output ``logits`` of a network that has no classifier."""
    model.graph.output[0].name = FEATURE_MAP
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [FEATURE_MAP if name == OUTPUT else name for name in names]


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove everything that varies between machines, state who wrote it, and check it.

    Raises:
        ExportError: the model is not valid ONNX.
    """
    _strip(model)
    model.ir_version = IR_VERSION
    model.producer_name = "shufflenet-deploy"
    model.producer_version = shufflenet_deploy.__version__
    model.graph.name = "shufflenet-deploy"
    used = {node.domain for node in model.graph.node} | {""}
    for unused in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(unused)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the converted model is not valid ONNX: {_root_line(error)}") from error
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what converters print, log and warn about; exceptions still pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class GridAveragePool(nn.Module):
    """Adaptive average pooling as two products with constant matrices, ``rows @ x @ columns``.

    PyTorch's windows overlap unevenly when the grid does not divide the map (14 rows into 6), and
    ONNX has no such pool; the averages over rows and columns are linear and independent.
    """

    def __init__(self, size: tuple[int, int], grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = (_averages(*pair) for pair in zip(size, grid, strict=True))
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.T.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, *grid)."""
        return self.get_buffer("rows") @ x @ self.get_buffer("columns")


def _averages(size: int, cells: int) -> torch.Tensor:
    """(cells, size): row i averages the pixels of PyTorch's i-th adaptive window."""
    weights = torch.zeros(cells, size)
    for cell in range(cells):
        start, end = cell * size // cells, -(-(cell + 1) * size // cells)
        weights[cell, start:end] = 1 / (end - start)
    return weights


@contextlib.contextmanager
def unprinted() -> Iterator[None]:
    """For the time of the block, a module prints as the name of its class.

    The exporter prints the whole module first, by ``__repr__`` of each part, for the sake of the
    first line; that fails where a part of somebody's network cannot be printed.
    """
    own = nn.Module.__repr__
    nn.Module.__repr__ = lambda self: type(self).__name__  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__repr__ = own  # type: ignore[method-assign]


@contextlib.contextmanager
def fixed_pools(module: nn.Module, example: torch.Tensor) -> Iterator[None]:
    """For the time of the block, replace adaptive pools by what they are at this input size."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
            sizes[name] = (inputs[0].shape[-2], inputs[0].shape[-1])

        return pools[name].register_forward_hook(hook)

    pools = {
        name: child
        for name, child in module.named_modules()
        if isinstance(child, nn.AdaptiveAvgPool2d)
    }
    if not pools:
        yield
        return
    hooks = [note(name) for name in pools]
    try:
        with torch.inference_mode():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    try:
        for name, size in sizes.items():
            instead = _fixed(size, pools[name].output_size)
            # A graph's layer may be inside of another one by its name.
            for inner, child in pools[name].named_children():
                instead.add_module(inner, child)
            _replace(module, name, instead)
        yield
    finally:
        for name in sizes:
            _replace(module, name, pools[name])


def _fixed(size: tuple[int, int], output_size: object) -> nn.Module:
    wanted = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    grid = tuple(size[axis] if cells is None else int(cells) for axis, cells in enumerate(wanted))
    if grid == size:
        return nn.Identity()
    if all(pixels % cells == 0 for pixels, cells in zip(size, grid, strict=True)):
        height, width = (pixels // cells for pixels, cells in zip(size, grid, strict=True))
        return nn.AvgPool2d((height, width))
    return GridAveragePool(size, (grid[0], grid[1]))


def _replace(module: nn.Module, name: str, child: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, child)


def _name_by_module(model: onnx.ModelProto) -> None:
    """Name nodes and their values by the module they come from: ``stage2.0.compress/Conv``."""
    taken: dict[str, int] = {}
    renamed = {value.name: value.name for value in model.graph.output}
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}
        module = _innermost_module(scopes.get("pkg.torch.onnx.name_scopes", ""))
        name = f"{module}/{node.op_type}" if module else node.op_type
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for index, output in enumerate(node.output):
            if output and output not in renamed:
                renamed[output] = node.name if index == 0 else f"{node.name}:{index}"
        for values in (node.input, node.output):
            values[:] = [renamed.get(value, value) for value in values]
    # The exporter's shapes are known by the old names; onnxslim infers them again.
    del model.graph.value_info[:]


def _innermost_module(scopes: str) -> str:
    """From "['', 'stage2', 'stage2.0', 'conv2d']", the module path before the torch operation."""
    names = [name.strip("'\" ") for name in scopes.strip("[]").split(",")]
    return names[-2] if len(names) >= 2 else ""


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: stack traces, source paths, rewriting rules."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    del model.functions[:]


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constant tensors of a model by name."""
    return {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}


def _root_line(error: BaseException) -> str:
    """The first line of the innermost cause, which is what the exporter stumbled over."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
