"""The stages one network is put through: a graph, its interpreter, and a file of each format."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

import shufflenet_deploy as sd
from model_coverage.findings import BUILT, Finding
from model_coverage.networks import MOST_PARAMETERS, Network, draw_statistics, find_timm
from shufflenet_deploy.errors import DeployError, UnsupportedError
from shufflenet_deploy.export import NOTE
from shufflenet_deploy.export.shortfall import explained
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.records import Resolution

#: Largest difference of an output of the interpreter, relative to its largest value.
_TOLERANCE = 1e-3

_CALLABLE = "model_coverage.networks:drawn"

#: Format and precision of the stages that make a file.
_FILES: dict[str, tuple[Literal["onnx", "tflite", "native"], Literal["fp32", "int8"]]] = {
    "onnx": ("onnx", "fp32"),
    "tflite": ("tflite", "fp32"),
    "native": ("native", "fp32"),
    "native-int8": ("native", "int8"),
}


class _Result(NamedTuple):
    reason: str
    sqnr_db: float | None = None


def examine(
    network: Network, stages: Sequence[str], side: int, send: Callable[[Finding | None], None]
) -> None:
    """Put a network through stages, sending a finding of each, and None once it is built."""
    started = time.perf_counter()
    subject = _Subject(network)
    reason = subject.build(side)
    if reason:
        send(subject.finding(BUILT, _Result(reason), time.perf_counter() - started))
        return
    send(None)
    with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
        for stage in stages:
            started = time.perf_counter()
            result = subject.result(stage, Path(folder))
            send(subject.finding(stage, result, time.perf_counter() - started))


class _Subject:
    """A network that is examined, with what its stages share."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._size: Resolution | None = None
        self._channels = 3
        self._module = nn.Module()
        self._graph: Graph | None = None

    def build(self, side: int) -> str:
        """Build it and choose the size of its images; why it is not counted, or "".

        Images are ``side`` high and wide at most, or the next power of two, or of the network's own
        size if it needs that.
        """
        if self._network.source == "timm":
            find_timm()
        torch.manual_seed(0)
        try:
            self._module, own, self._channels = self._network.build(side)
        except Exception as error:  # noqa: BLE001 - somebody else's code
            return f"cannot be built: {_line(error)}"
        parameters = sum(one.numel() for one in self._module.parameters())
        if parameters > MOST_PARAMETERS:
            return f"has {parameters / 1e6:.0f} million parameters"
        # Some networks join maps of halves again, and need sizes that are halved without a rest.
        sizes = [
            (min(own[0], most), min(own[1], most)) for most in (side, 1 << (side - 1).bit_length())
        ]
        height, width = next(filter(self._runs, sizes), own)
        self._size = Resolution(height=height, width=width)
        try:
            draw_statistics(self._module, (self._channels, height, width))
        except Exception as error:  # noqa: BLE001 - somebody else's code
            return f"cannot be run: {_line(error)}"
        return ""

    def _runs(self, size: tuple[int, int]) -> bool:
        try:
            with torch.no_grad():
                self._module(torch.zeros(1, self._channels, *size))
        except Exception:  # noqa: BLE001 - not a size of this network
            return False
        return True

    def finding(self, stage: str, result: _Result, secs: float) -> Finding:
        """What came of a stage."""
        return Finding(
            source=self._network.source,
            name=self._network.name,
            classifier=self._network.classifier,
            stage=stage,
            passed=not result.reason,
            reason=result.reason,
            size=str(self._size or ""),
            secs=round(secs, 1),
            sqnr_db=result.sqnr_db,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
        )

    def result(self, stage: str, folder: Path) -> _Result:
        """Put it through one stage; whatever is raised is a reason."""
        try:
            if stage in _FILES:
                return self._file(stage, folder)
            if self._graph is None:
                assert self._size is not None
                named = self._network.name
                self._graph = trace(self._module, self._size, named, channels=self._channels)
            return _Result("") if stage == "graph" else self._interpreted(self._graph)
        except DeployError as error:
            return _Result(str(error))
        except Exception as error:  # noqa: BLE001 - counted as a failure, whatever it is
            return _Result(f"{type(error).__name__}: {_line(error)}")

    def _interpreted(self, graph: Graph) -> _Result:
        assert self._size is not None
        image = torch.randn(1, self._channels, self._size.height, self._size.width)
        difference = _difference(self._module, graph, image)
        if difference <= _TOLERANCE:
            return _Result("")
        return _Result(f"differs by {difference:.1e} of its largest value")

    def _file(self, stage: str, folder: Path) -> _Result:
        """Export a file as a user would, and see whether it was validated."""
        assert self._size is not None
        file_format, precision = _FILES[stage]
        made = folder / stage
        try:
            artifact = sd.export(
                _CALLABLE,
                network={
                    "arguments": {
                        "source": self._network.source,
                        "name": self._network.name,
                        "height": self._size.height,
                        "width": self._size.width,
                    },
                    "name": f"{self._network.source}-{self._network.name}",
                    "channels": self._channels,
                },
                format=file_format,
                precision=precision,
                resolution=str(self._size),
                machine="host",
                out=made,
                on_stage=_refuse_other_converters,
            )
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return _Result(
            "" if artifact.parity.passed else explained(artifact), artifact.parity.sqnr_db
        )


def _refuse_other_converters(stage: str) -> None:
    """What another converter makes is not counted: the reason is why it would be called."""
    if stage.startswith(NOTE) and stage.endswith("litert-torch converts it instead"):
        raise UnsupportedError(stage.removeprefix(NOTE).rpartition(";")[0])


def _difference(module: nn.Module, graph: Graph, image: torch.Tensor) -> float:
    """The largest difference of any output from the module's, relative to its largest value.

    What the module itself loses to rounding, against float64, is taken off fourfold: networks with
    weights drawn at random may magnify it.
    """
    with torch.no_grad():
        single = recording.outputs(module(image.clone()))
        double = recording.outputs(module.double()(image.double()))
        module.float()
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


def _line(error: Any) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
