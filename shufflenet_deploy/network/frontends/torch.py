"""Front end for PyTorch: torch.fx records the calls of an eval-mode module, one reader per call.

The recorded program is interpreted with shapes instead of tensors, so reading a network costs
milliseconds at any resolution. ``simplify`` then folds what inference does not need.
"""

from __future__ import annotations

from typing import Any, cast

from torch import fx, nn

from shufflenet_deploy.network.frontends.function_readers import (
    FUNCTION_READERS,
    FUNCTIONS_AS_MODULES,
)
from shufflenet_deploy.network.frontends.fx_recording import (
    called_by,
    is_in_place,
    is_shuffle,
    module_path_of,
    record,
)
from shufflenet_deploy.network.frontends.graph_builder import INPUT_NAME, GraphBuilder, Value
from shufflenet_deploy.network.frontends.module_readers import MODULE_READERS
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.passes.simplify import simplify
from shufflenet_deploy.records import Resolution


def trace(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """Read an eval-mode ``module`` as a graph for one ``(1, channels, H, W)`` input.

    Batch normalisation is folded in float64, dropout disappears, and a ReLU becomes the
    activation of the layer before it. A layer is named by its module path.

    Raises:
        ExportError: the module does something a graph cannot express; the message names where.
    """
    return simplify(read(module, resolution, name, channels=channels))


def read(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """Read a module as it is written: nothing folded, every module that computes is a layer.

    Raises:
        ExportError: the module does something a graph cannot express; the message names where.
    """
    shape = (channels, resolution.height, resolution.width)
    reader = _ProgramReader(module, name)
    output = reader.read(record(module, name), Value(INPUT_NAME, shape))
    return Graph(
        name=name,
        input=INPUT_NAME,
        outputs=(output,),
        layers=tuple(reader.layers),
        shapes=reader.shapes,
    )


class _ProgramReader(GraphBuilder):
    """Interpreter of a recorded program with shapes: dispatches each call to its reader."""

    def __init__(self, root: nn.Module, name: str) -> None:
        super().__init__(name)
        self._modules = dict(root.named_modules())

    def read(self, program: fx.Graph, image: Value) -> str:
        """Read the whole program; returns the name of its output value."""
        self.shapes[image.name] = image.shape
        known: dict[fx.Node, Any] = {}
        for node in program.nodes:
            args = fx.map_arg(node.args, known.__getitem__)
            kwargs = fx.map_arg(node.kwargs, known.__getitem__)
            self.module_path, self.called = module_path_of(node), called_by(node)
            if node.op == "placeholder":
                if any(isinstance(value, Value) for value in known.values()):
                    self.fail("takes more than one input")
                known[node] = image
            elif node.op == "output":
                return self._output(args[0])
            else:
                known[node] = self._call(node, args, kwargs)
                if is_in_place(node, self._modules):  # Later readers of the operand see the result.
                    known[node.args[0]] = known[node]
        raise AssertionError("a recorded program always ends with its output")

    def _output(self, value: Any) -> str:
        self.module_path = ""
        if not isinstance(value, Value) or value.split:
            self.fail("must return one tensor")
        return value.name

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "call_module":
            return self._module(self._modules[str(node.target)], args, kwargs)
        if node.op == "get_attr":
            self.fail(f"uses the tensor '{node.target}' outside of a layer")
        if callable(node.target) and not _holds_value((args, kwargs)):
            return node.target(*args, **kwargs)  # Arithmetic on sizes.
        return self._function(node, args, kwargs)

    def _module(self, module: nn.Module, args: Any, kwargs: Any) -> Value:
        if len(args) != 1 or kwargs:
            self.fail(f"calls {type(module).__name__} with more than one tensor")
        value = self.finished(args[0])
        if is_shuffle(module):
            return self.shuffle(value, cast("int", module.groups))
        for kind, read in MODULE_READERS.items():
            if isinstance(module, kind):
                return read(self, module, value)
        return self.fail(f"is a {type(module).__name__}, which no exported graph can express")

    def _function(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target = node.target
        key = f".{target}" if node.op == "call_method" else target
        if key in FUNCTIONS_AS_MODULES:
            return self._module(FUNCTIONS_AS_MODULES[key](*args[1:], **kwargs), args[:1], {})
        if key in FUNCTION_READERS:
            return FUNCTION_READERS[key](self, *args, **kwargs)
        return self.fail(f"calls {self.called}(), which no exported graph can express")


def _holds_value(argument: Any) -> bool:
    if isinstance(argument, dict):
        return _holds_value(tuple(argument.values()))
    if isinstance(argument, (tuple, list)):
        return any(_holds_value(item) for item in argument)
    return isinstance(argument, Value)
