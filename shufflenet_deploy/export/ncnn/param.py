"""The text of ncnn's layers, its ``.param``: a line for each, in the order of execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_MAGIC = "7767517"
#: A list is kept under this less its key, as its length and its elements.
_LIST = -23300


class Layer(NamedTuple):
    """A line of the text: values by name, parameters by key."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, str]

    def number(self, key: int, otherwise: int) -> int:
        """A parameter; raises ``ValueError`` for one that is no integer."""
        return int(self.parameters.get(key, otherwise))

    def numbers(self, key: int) -> tuple[int, ...]:
        """A list of integers, () where there is none; raises ``ValueError`` for other elements."""
        _, *elements = self.parameters.get(_LIST - key, "0").split(",")
        return tuple(int(one) for one in elements)


def listed(key: int, values: Sequence[int]) -> dict[int, str]:
    """A parameter that is a list, as ``Layer`` keeps it."""
    return {_LIST - key: ",".join(str(one) for one in (len(values), *values))}


def layers_in(text: str) -> list[Layer]:
    """The layers of a text.

    Raises:
        ValueError: it is no such text, or has no layers.
    """
    lines = text.splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise ValueError("another version of ncnn's text")
    layers = []
    for line in lines[2:]:
        words = line.split()
        if not words:
            continue
        ins, outs = int(words[2]), int(words[3])
        values, rest = words[4 : 4 + ins + outs], words[4 + ins + outs :]
        if len(values) != ins + outs or ins < 0 or outs < 0:
            raise ValueError("a layer without its values")
        pairs = (word.partition("=") for word in rest)
        parameters = {int(key): value for key, _, value in pairs}
        made, read = tuple(values[ins:]), tuple(values[:ins])
        layers.append(Layer(words[0], words[1], read, made, parameters))
    if not layers:
        raise ValueError("no network in it")
    return layers


def text_of(layers: Sequence[Layer]) -> str:
    """The text of layers."""
    values = {value for layer in layers for value in (*layer.inputs, *layer.outputs)}
    lines = [_MAGIC, f"{len(layers)} {len(values)}"]
    for layer in layers:
        counts = (str(len(layer.inputs)), str(len(layer.outputs)))
        parameters = (f"{key}={value}" for key, value in layer.parameters.items())
        words = (layer.kind, layer.name, *counts, *layer.inputs, *layer.outputs, *parameters)
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"
