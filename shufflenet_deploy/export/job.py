"""The making of one file: what its writer is given, and what several formats start from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from shufflenet_deploy.export.image_set import Batches
from shufflenet_deploy.export.image_set import load_image_set as shipped_images
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.session import ExportSession
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.graph_module import GraphModule
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.network.quantization.cross_layer_equalization import equalized
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import Precision, Recipe, Resolution

if TYPE_CHECKING:
    import onnx

    from shufflenet_deploy.zoo.model import Model

#: Called with the name of each stage as it begins.
OnStage = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Inputs of a writer, and the path it writes to."""

    model: Model
    request: ExportRequest
    recipe: Recipe
    images: Batches
    path: Path
    metadata: Metadata
    session: ExportSession
    report: OnStage

    def prepared(self) -> Graph:
        """The graph that the recipe quantises; see ``prepared``."""
        return prepared(self.model, self.request.resolution, self.recipe)

    def calibrating(self) -> str:
        """The stage of calibration, for the report."""
        return f"calibrating on {len(self.images)} images: {self.recipe}"

    @property
    def calibration(self) -> Batches | None:
        """The images to calibrate with; None for a file that is not int8."""
        return self.images if self.request.precision is Precision.INT8 else None


class Written(NamedTuple):
    """The making of a file: its converter, the lowering where it has several, and its own tools.

    ``float_layers`` are those of an int8 file that no recipe asked for: without an integer kernel.
    """

    converter: str
    lowering: str = ""
    float_layers: tuple[str, ...] = ()
    tools: Mapping[str, str] = MappingProxyType({})


def traced(model: Model, resolution: Resolution) -> Graph:
    """The graph of a model for one image.

    Raises:
        ExportError: the module does something a graph cannot express.
    """
    if isinstance(model.module, GraphModule):
        return replace(model.module.graph, name=model.architecture.name)
    return trace(model.module, resolution, model.architecture.name, channels=model.channels)


def prepared(model: Model, resolution: Resolution, recipe: Recipe) -> Graph:
    """Graph that a recipe quantises: as traced, with cross-layer equalisation if it asks for it.

    Channel maxima are observed on the shipped images, so that the graph is always the same.
    """
    graph = traced(model, resolution)
    if not recipe.equalised:
        return graph
    shipped = shipped_images(None).within_budget(resolution)
    return equalized(graph, Batches(shipped, model.preprocessing, resolution))


def plain_onnx(job: Job) -> onnx.ModelProto:
    """The fp32 ONNX model, which the caller may change."""
    return job.session.onnx(job.model, job.request.resolution)


def reweighted_onnx(job: Job) -> onnx.ModelProto:
    """``plain_onnx`` with the weights that the recipe of an int8 file asks for."""
    plain, recipe = plain_onnx(job), job.recipe
    if job.request.precision is not Precision.INT8 or not recipe.equalised:
        return plain
    from shufflenet_deploy.export.onnx.int8 import reweighted  # noqa: PLC0415

    alone = recipe.model_copy(update={"equalised": False})
    graphs = (prepared(job.model, job.request.resolution, each) for each in (alone, recipe))
    return reweighted(plain, *graphs)


@contextmanager
def onnx_file(model: onnx.ModelProto) -> Iterator[Path]:
    """The path of a model as the only file of a temporary folder, where a converter works."""
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        path = Path(folder, "net.onnx")
        path.write_bytes(model.SerializeToString(deterministic=True))
        yield path


def ranges_of(job: Job, graph: Graph) -> Ranges:
    """The calibrated ranges of the graph that the recipe quantises."""
    return job.session.ranges(job, graph)


def known_ranges(job: Job, graph: Graph) -> Ranges | None:
    """``ranges_of`` for an int8 file; None for another."""
    return ranges_of(job, graph) if job.request.precision is Precision.INT8 else None
