"""The layers of an int8 program one by one: bytes as its C computes them, float layers in fp32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from shufflenet_deploy.codegen import int8_interpreter
from shufflenet_deploy.codegen.ir.int8 import Int8Program
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import FloatArray, Graph
from shufflenet_deploy.records import TensorSpec


class TorchSegments:
    """The float layers of a program for one image; see ``int8_interpreter.FloatSegments``."""

    def __init__(self, program: Int8Program, graph: Graph, image: FloatArray) -> None:
        """``image`` is ``(C, H, W)``, and ``graph`` what the program was made of."""
        self._layers = iter(program.float_layers)
        self._known = {graph.input: torch.from_numpy(image)[None]}
        self._outputs = graph.outputs

    def enter(self, value: str, numbers: FloatArray) -> None:
        """Take a value of bytes."""
        self._known[value] = torch.from_numpy(np.ascontiguousarray(numbers))[None]

    def computed(self, value: str) -> FloatArray:
        """A value of floats."""
        while value not in self._known:
            self._compute_next()
        found: FloatArray = self._known[value][0].numpy()
        return found

    def _compute_next(self) -> None:
        """Compute the next layer in order: all that it reads is known."""
        layer = next(self._layers)
        with torch.inference_mode():
            inputs = [self._known[each] for each in layer.inputs]
            self._known[layer.output] = interpreter.compute(layer, inputs)

    def output(self, number: int) -> FloatArray:
        """One of the network's outputs."""
        return self.computed(self._outputs[number])


class InterpretedFile:
    """An int8 program as a ``parity.LayeredFile``, without a compiler."""

    emulated = False

    def __init__(self, program: Int8Program, graph: Graph) -> None:
        self._program, self._graph = program, graph
        self.inputs: tuple[TensorSpec, ...] = (_spec(graph, graph.input),)
        self.outputs = tuple(_spec(graph, value) for value in graph.outputs)

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, C, H, W)``; several outputs as one ``(1, elements)``."""
        segments = TorchSegments(self._program, self._graph, image[0])
        return int8_interpreter.run(self._program, image[0], segments)[None]

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """See ``parity.LayeredFile``."""
        yield from layer_values(self._program, self._graph, image)


def _spec(graph: Graph, value: str) -> TensorSpec:
    return TensorSpec(name=value, shape=(1, *graph.shapes[value]), dtype="float32")


def layer_values(
    program: Int8Program, graph: Graph, image: FloatArray
) -> Iterator[tuple[str, FloatArray]]:
    """Every value of ``graph`` that a program stores, by name, in the shape of the graph.

    ``image`` is ``(1, C, H, W)``.
    """
    segments = TorchSegments(program, graph, image[0])
    stored = int8_interpreter.values(program, image[0], segments)
    floats = {layer.output for layer in program.float_layers}
    for value, shape in graph.shapes.items():
        if value in floats:
            yield value, segments.computed(value)
        elif value in stored and stored[value].size == np.prod(shape):
            yield value, stored[value].reshape(shape)
