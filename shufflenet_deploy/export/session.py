"""The session of one command's exports: the last model and what was made of it, kept for the next.

The files of one command mostly share their model, its ONNX form and its calibrated ranges. Only the
last of each is kept: models are large.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from shufflenet_deploy.errors import ExportError, UnreadableError

if TYPE_CHECKING:
    import onnx

    from shufflenet_deploy.export.job import Job
    from shufflenet_deploy.network.graph import Graph
    from shufflenet_deploy.network.quantization.ranges import Ranges
    from shufflenet_deploy.records import Resolution
    from shufflenet_deploy.zoo.model import Model

_Value = TypeVar("_Value")


class _Last(Generic[_Value]):
    """The last value that was made, by what it was made of."""

    def __init__(self) -> None:
        self._kept: tuple[object, _Value] | None = None

    def get(self, key: object, make: Callable[[], _Value]) -> _Value:
        """The value for a key, made unless it is that of the last call."""
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = (key, make())
        return self._kept[1]


class ExportSession:
    """Caches of consecutive exports; pass the same one to each ``export.export``."""

    def __init__(self) -> None:
        self._models: _Last[Model] = _Last()
        self._onnx: _Last[onnx.ModelProto] = _Last()
        self._ranges: _Last[Ranges] = _Last()

    def model(self, name: str, *, weights: Path | None, seed: int, head: str) -> Model:
        """The loaded model.

        Raises:
            UsageError: as ``zoo.load``.
        """
        from shufflenet_deploy import zoo  # noqa: PLC0415

        def load() -> Model:
            return zoo.load(name, weights=weights, seed=seed, head=head)

        return self._models.get((name, weights, seed, head), load)

    def onnx(self, model: Model, resolution: Resolution) -> onnx.ModelProto:
        """A copy of the fp32 ONNX model, from which int8 and onnx2tf start too.

        What torch's exporter refuses is exported as its graph.

        Raises:
            ExportError: the module cannot be converted.
        """
        from shufflenet_deploy.export.onnx import fp32  # noqa: PLC0415
        from shufflenet_deploy.network.frontends.torch import trace  # noqa: PLC0415
        from shufflenet_deploy.network.graph_module import GraphModule  # noqa: PLC0415

        def convert() -> onnx.ModelProto:
            try:
                return fp32.convert(model.module, resolution, channels=model.channels)
            except UnreadableError as refused:
                name = model.architecture.name
                try:
                    graph = trace(model.module, resolution, name, channels=model.channels)
                except ExportError:
                    raise refused from None
                return fp32.convert(GraphModule(graph), resolution, channels=model.channels)

        return copy.deepcopy(self._onnx.get((model, resolution), convert))

    def ranges(self, job: Job, graph: Graph) -> Ranges:
        """The calibrated ranges of a job's graph, which every lowering and format shares."""
        from shufflenet_deploy.network.quantization import calibration  # noqa: PLC0415

        recipe = job.recipe
        images = (job.images.stamps(), recipe.method, recipe.equalised)

        def calibrate() -> Ranges:
            job.report(job.calibrating())
            return calibration.calibrate(graph, job.images, recipe.method)

        return self._ranges.get((job.model, job.request.resolution, images), calibrate)
