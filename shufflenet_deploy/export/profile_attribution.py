"""Attribution of a runtime's profile: the layer of the network that each operator computes.

Exporters name what they write by layers, and runtimes keep the names of what they merge.
How an operator is recognised is its format's matter (``FileFormat.attributed``): by the names that
onnxruntime keeps, by the order of LiteRT's operators, by the name of a layer itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.export import formats
from shufflenet_deploy.records import (
    Artifact,
    LayerKind,
    LayerWork,
    Profile,
    Resolution,
)


@dataclass(frozen=True, kw_only=True)
class Network:
    """The layers of a network, and the layer that each folded module was merged into.

    ``owners`` maps every layer to itself, and a normalisation or an activation to the layer it is
    merged into. ``shuffled`` maps a layer to the shuffle whose value it reads, ``feeding`` a
    shuffle to the layer whose value it reads.
    """

    layers: tuple[LayerWork, ...]
    owners: Mapping[str, str]
    shuffled: Mapping[str, str]
    feeding: Mapping[str, str]


class Attribution:
    """Attributes profiles to layers; keeps the networks that it has read."""

    def __init__(self) -> None:
        self._networks: dict[tuple[str, Resolution, str, Path | None], Network] = {}

    def attributed(self, profile: Profile, artifact: Artifact, model: str | None = None) -> Profile:
        """A profile whose operators name their layers; none where the file's names identify none.

        ``model`` is the reference of a network that the zoo does not have by its name.

        Raises:
            UsageError: the file is gone or damaged, or its model is not known any more.
        """
        net = self._network(artifact, model)
        operators = formats.get(artifact.format).attributed(profile.operators, artifact, net)
        known = any(one.layer is not None for one in operators)
        return profile.model_copy(
            update={"operators": tuple(operators), "layers": net.layers if known else ()}
        )

    def with_layers(
        self, profile: Profile, artifact: Artifact, model: str | None = None
    ) -> Profile:
        """A profile with the layers of its operators, where they can be identified."""
        try:
            return self.attributed(profile, artifact, model)
        except DeployError:
            # Without the model's description the operators still stand by themselves.
            return profile

    def _network(self, artifact: Artifact, model: str | None) -> Network:
        """The layers of the network a file was made of."""
        path = artifact.weights.path
        key = (
            zoo.sized(model or zoo.plain_name(artifact.model), artifact.resolution),
            artifact.resolution,
            artifact.options.get("head", "fixed"),
            Path(path) if path is not None and Path(path).is_file() else None,
        )
        if key not in self._networks:
            self._networks[key] = _network(*key)
        return self._networks[key]


def _network(model: str, resolution: Resolution, head: str, weights: Path | None) -> Network:
    from shufflenet_deploy.network import graph  # noqa: PLC0415 - torch
    from shufflenet_deploy.network.frontends import torch as frontend  # noqa: PLC0415
    from shufflenet_deploy.network.passes.affine import ChannelAffine  # noqa: PLC0415

    loaded = zoo.load(model, weights=weights, head=head)
    name = loaded.architecture.name
    read = frontend.read(loaded.module, resolution, name, channels=loaded.channels)
    producers = {layer.output: layer for layer in read.layers}
    owners: dict[str, str] = {}
    layers: list[LayerWork] = []
    for layer in read.layers:
        producer = producers.get(layer.inputs[0])
        folded = isinstance(layer, ChannelAffine) and isinstance(producer, graph.Conv)
        if producer is not None and (folded or isinstance(layer, graph.Elementwise)):
            owners[layer.name] = owners[producer.name]
            continue
        owners[layer.name] = layer.name
        kind = _kind(layer)
        layers.append(
            LayerWork(name=layer.name, kind=kind, multiply_adds=_multiply_adds(layer, read.shapes))
        )
    shuffles = {
        layer.output: layer.name for layer in read.layers if isinstance(layer, graph.Shuffle)
    }
    shuffled = {
        layer.name: shuffles[value]
        for layer in read.layers
        for value in layer.inputs
        if value in shuffles
    }
    feeding = {
        layer.name: owners[producers[layer.inputs[0]].name]
        for layer in read.layers
        if isinstance(layer, graph.Shuffle) and layer.inputs[0] in producers
    }
    return Network(layers=tuple(layers), owners=owners, shuffled=shuffled, feeding=feeding)


def _kind(layer: object) -> LayerKind:
    from shufflenet_deploy.network import graph  # noqa: PLC0415

    if isinstance(layer, graph.Conv):
        if layer.depthwise:
            return LayerKind.DEPTHWISE
        pointwise = layer.weight.shape[2:] == (1, 1)
        return LayerKind.POINTWISE if pointwise else LayerKind.CONVOLUTION
    kinds: dict[type, LayerKind] = {
        graph.Dense: LayerKind.DENSE,
        graph.Shuffle: LayerKind.SHUFFLE,
        graph.Pool: LayerKind.POOL,
        graph.AdaptiveAveragePool: LayerKind.POOL,
        graph.Add: LayerKind.JOIN,
        graph.Concat: LayerKind.JOIN,
        graph.Multiply: LayerKind.JOIN,
    }
    return kinds.get(type(layer), LayerKind.OTHER)


def _multiply_adds(layer: object, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """As the paper counts: convolutions and fully connected layers."""
    from shufflenet_deploy.network import graph  # noqa: PLC0415

    match layer:
        case graph.Conv():
            _, height, width = shapes[layer.output]
            return int(layer.weight.size) * height * width
        case graph.ConvTranspose():
            _, height, width = shapes[layer.inputs[0]]
            return int(layer.weight.size) * height * width
        case graph.Dense():
            return int(layer.weight.size)
        case _:
            return 0
