"""The stages that one network is put through, and how far it came."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model_coverage.networks import MOST_PARAMETERS, Network
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.records import Resolution

#: In order; each needs those before it.
STAGES = ("traced", "equal")

#: Largest difference of an output, relative to its largest value.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Finding:
    """The last stage that a network reached; ``counts`` is False for no small network of images."""

    source: str
    name: str
    classifier: bool
    reached: str
    reason: str
    secs: float = 0.0
    error: float | None = None
    counts: bool = True

    @classmethod
    def lost(cls, network: Network, reason: str) -> Finding:
        """A network whose process gave no answer."""
        return cls(network.source, network.name, network.classifier, "none", reason)

    def passed(self, stage: str) -> bool:
        """True if the network came to a stage or beyond it."""
        return self.reached in STAGES[STAGES.index(stage) :]


def examine(network: Network, side: int) -> Finding:
    """Read a network as a graph and compare what both compute for one image."""
    started = time.perf_counter()
    who = (network.source, network.name, network.classifier)

    def found(reached: str, reason: str = "", **more: Any) -> Finding:
        return Finding(*who, reached, reason, time.perf_counter() - started, **more)

    try:
        module, size, channels = network.build()
    except Exception as error:  # noqa: BLE001 - somebody else's code
        return found("none", f"cannot be built: {_line(error)}", counts=False)
    parameters = sum(one.numel() for one in module.parameters())
    if parameters > MOST_PARAMETERS:
        return found("none", f"has {parameters / 1e6:.0f} million parameters", counts=False)
    _draw_statistics(module)
    reached = "none"
    try:
        graph, image = _traced(module, network.name, size, channels, side)
        reached = "traced"
        difference = _difference(module, graph, image)
    except DeployError as error:
        return found(reached, str(error))
    except Exception as error:  # noqa: BLE001 - counted as a failure, whatever it is
        return found(reached, f"{type(error).__name__}: {_line(error)}")
    if difference <= _TOLERANCE:
        return found("equal", error=difference)
    return found(reached, f"differs by {difference:.1e} of its largest value", error=difference)


def _draw_statistics(module: nn.Module) -> None:
    """Normalisation that matters, so that folding it wrongly shows."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.7, 1.4)  # type: ignore[arg-type]
            if part.affine:
                nn.init.uniform_(part.weight, 0.7, 1.4)
                nn.init.normal_(part.bias, std=0.1)


def _traced(
    module: nn.Module, name: str, size: tuple[int, int], channels: int, side: int
) -> tuple[Graph, torch.Tensor]:
    """The graph for images of ``side`` at most, or of the network's own size if it needs that."""
    small = tuple(min(one, side) for one in size)
    for height, width in dict.fromkeys((small, size)):
        try:
            with torch.no_grad():
                module(torch.zeros(1, channels, height, width))
        except Exception:  # noqa: BLE001 - not a size of this network
            continue
        graph = trace(module, Resolution(height=height, width=width), name, channels=channels)
        return graph, torch.randn(1, channels, height, width)
    return trace(module, Resolution(height=size[0], width=size[1]), name), torch.randn(1, 3, *size)


def _difference(module: nn.Module, graph: Graph, image: torch.Tensor) -> float:
    """The largest difference of any output from the module's, relative to its largest value.

    What the module itself loses to rounding, against float64, is taken off fourfold: networks with
    weights drawn at random may magnify it.
    """
    with torch.no_grad():
        single = recording.outputs(module(image.clone()))
        double = recording.outputs(module.double()(image.double()))
    known = dict(interpreter.execute(graph, image.numpy()))
    worst = 0.0
    for name, near, exact in zip(graph.outputs, single, double, strict=True):
        actual = known[name].reshape(exact.shape)
        if not actual.isfinite().all():
            return float("nan")
        largest = max(float(exact.abs().max()), 1e-6)
        lost = float((near.double() - exact).abs().max())
        worst = max(worst, (float((actual.double() - exact).abs().max()) - 4 * lost) / largest)
    return worst


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
