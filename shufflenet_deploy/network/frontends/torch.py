"""Front end for PyTorch: an eval-mode module runs once on a tensor without data, which is recorded.

One reader per ATen operator makes the layers of the graph. ``simplify`` then folds what inference
does not need. A layer is named by its module path.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from shufflenet_deploy.errors import ExportError, UnreadableError
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.frontends.aten_unpool import PLACE_READERS
from shufflenet_deploy.network.frontends.aten_values import OPERAND_READERS
from shufflenet_deploy.network.frontends.graph_builder import INPUT_NAME, GraphBuilder, Value
from shufflenet_deploy.network.frontends.operators import READERS
from shufflenet_deploy.network.frontends.recording import Call, Content, Recorded, Unreadable
from shufflenet_deploy.network.frontends.scopes import Scopes
from shufflenet_deploy.network.frontends.shape_inference import Shape, mapped
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.passes.rearrangements import rearranged
from shufflenet_deploy.network.passes.rewriting import renamed
from shufflenet_deploy.network.passes.simplify import simplify
from shufflenet_deploy.records import Resolution


def trace(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """Read an eval-mode ``module`` as a graph for one ``(1, channels, H, W)`` input.

    Batch normalisation is folded in float64, dropout disappears, and a ReLU becomes the
    activation of the layer before it. A layer is named by its module path. Outputs in a dictionary
    or a named tuple have the names of its keys or fields.

    Raises:
        UnreadableError: the module does something a graph cannot express; the message names where.
    """
    reading, graph = _read(module, resolution, name, channels)
    graph = simplify(graph)
    return renamed(graph, dict(zip(graph.outputs, reading.output_names, strict=True)))


def read(module: nn.Module, resolution: Resolution, name: str, *, channels: int = 3) -> Graph:
    """Read a module as it is written: nothing folded, every module that computes is a layer.

    Only reshapes and permutations are one layer together, a channel shuffle among them.

    Raises:
        UnreadableError: the module does something a graph cannot express; the message names where.
    """
    return _read(module, resolution, name, channels)[1]


def _read(
    module: nn.Module, resolution: Resolution, name: str, channels: int
) -> tuple[_Reading, Graph]:
    reading = _Reading(module, name)
    shape = (channels, resolution.height, resolution.width)
    try:
        return reading, rearranged(reading.graph(shape))
    except ExportError as error:
        raise UnreadableError(str(error)) from error


class _Reading(GraphBuilder):
    """Listener of a recording: every operator becomes what its reader makes of it."""

    def __init__(self, root: nn.Module, name: str) -> None:
        super().__init__(name)
        self._root = root
        self._scopes = Scopes(root)
        self.output_names: list[str] = []

    def graph(self, shape: tuple[int, ...]) -> Graph:
        """Run the module on an image of a shape (C, H, W) and read it."""
        if _inputs(self._root) > 1:
            self.fail("takes more than one input: wrap it in a module that takes the image alone")
        self.shapes[INPUT_NAME] = shape
        result = recording.run(self._root, shape, self, self._name, self._scopes)
        self.module_path = self.called = ""
        names = [self._output(one) for one in recording.outputs(result)]
        self.output_names = _distinct(recording.output_names(result), names)
        if not names:
            self.fail("returns no tensor")
        if len(set(names)) < len(names) or INPUT_NAME in names:
            self.fail("returns its input, or one tensor twice")
        return Graph(
            name=self._name,
            input=INPUT_NAME,
            outputs=tuple(names),
            layers=tuple(self.layers),
            shapes=self.shapes,
        )

    def _output(self, one: Any) -> str:
        if not isinstance(one, Recorded):
            self.fail("returns something that does not depend on its input")
        content = one.content
        if isinstance(content, Unreadable):
            raise ExportError(content.message)
        return self.whole(content).name

    def operator(self, call: Call, shapes: Sequence[Shape] | None) -> list[Content]:
        """Read one operator; a result that cannot be expressed is one that cannot be read."""
        self._locate(call.name)
        needed = (call.first,) if call.name in PLACE_READERS else call.arguments
        broken = next((one for one in _flat(needed) if isinstance(one, Unreadable)), None)
        try:
            results = self._read(call, broken)
            self._check(results, shapes)
        except (ExportError, TypeError, ValueError, IndexError) as error:
            message = broken.message if broken else str(error)
            if not broken and not isinstance(error, ExportError):
                way = f"calls {_word(call.name)}() in a way that is not supported: {error}"
                message = self.refuse(way).message
            return [Unreadable(message, call.name, call.arguments)] * len(shapes or (0,))
        spoilt = replace(
            self.refuse("uses the places of maxima or statistics that are not computed"),
            operator=call.name,
            inputs=call.arguments,
        )
        return [spoilt if one is None else one for one in results]

    def refuse(self, what: str) -> Unreadable:
        """Something that is recorded and never expressed, located where it happens."""
        try:
            self.fail(what)
        except ExportError as error:
            return Unreadable(str(error))

    def _locate(self, name: str) -> None:
        scope = self._scopes.innermost
        self.module_path = scope.path
        self.called = "" if scope.layer else _word(name)

    def _read(self, call: Call, broken: Unreadable | None) -> list[Value | None]:
        read = READERS.get(call.name)
        if read is None:
            self.fail(_REASONS.get(call.name) or f"computes {_word(call.name)}(), {_WAY_ON}")
        first, others = call.first, call.others
        if call.name not in OPERAND_READERS:
            if broken is not None:
                raise ExportError(broken.message)
            if call.name != "expand":
                first, others = mapped((first, others), self._whole)
        made = read(self, first, **others)
        return made if isinstance(made, list) else [made]

    def _whole(self, one: Any) -> Any:
        return self.whole(one) if isinstance(one, Value) else one

    def _check(
        self, results: Sequence[Value | None], shapes: Sequence[tuple[int, ...]] | None
    ) -> None:
        for value, shape in zip(results, shapes or (), strict=bool(shapes)):
            if value is None:
                continue
            seen = list(value.seen)
            if value.batch is not None:
                seen.insert(value.batch, 1)
            if tuple(seen) != shape:
                raise ValueError(f"{shape} was read as {value.shape}")


def _distinct(named: Sequence[str], values: Sequence[str]) -> list[str]:
    """The outputs' own names; those of their values where they have none or share one."""
    return [
        own if own and named.count(own) == 1 else value
        for own, value in zip(named, values, strict=True)
    ]


def _word(operator: str) -> str:
    """An operator's name as people write it."""
    word = operator.strip("_").removesuffix("_with_indices").removeprefix("native_")
    return {"cat": "concat", "unsafe_view": "view", "prelu_kernel": "prelu"}.get(word, word)


def _inputs(module: nn.Module) -> int:
    """Arguments that a forward pass must be given."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    required = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return sum(one.kind in required and one.default is one.empty for one in parameters)


def _flat(tree: Any) -> list[Any]:
    if isinstance(tree, (tuple, list)):
        return [leaf for branch in tree for leaf in _flat(branch)]
    return [tree]


_WAY_ON = "which a graph cannot express: write it with other operations"

#: Why some operators have no reader.
_REASONS = dict.fromkeys(
    ("empty_like", "new_empty"),
    "draws random numbers or fills memory piece by piece (a dropout in training mode, a circular "
    f"border), {_WAY_ON}",
)
