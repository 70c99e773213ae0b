"""Layer-by-layer comparison of an exported file with the module that its manifest names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats, layer_sqnr, manifest
from shufflenet_deploy.export.image_set import Batches, load_image_set
from shufflenet_deploy.export.job import prepared
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.export.parity import LayeredFile
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.records import Artifact, Recipe, Record

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model

#: Images that every layer is compared on: enough to tell noise from chance.
_IMAGES = 4


class LayerComparison(Record):
    """SQNR of each layer. From ``collapse`` on (None: nowhere) it stays below ``floor_db``."""

    pictures: int
    floor_db: float
    collapse: str | None
    layers: tuple[LayerFidelity, ...]


def compare_file(
    path: Path, *, model: str | None, weights: Path | None, folder: Path | None
) -> LayerComparison:
    """See ``export.compare_layers``."""
    found = manifest.read(path)
    if found is None or not manifest.matches(path, found):
        raise UsageError(
            f"{path} has no manifest of its own next to it: only files that `export` made can be "
            "compared with their module"
        )
    artifact = found.artifact
    described = formats.get(artifact.format)
    if not described.shows_layers:
        raise UsageError(f"{path.name} is a {described.title} file: it shows no layers")
    source = _module_of(artifact, model, weights)
    size = artifact.resolution
    chosen = load_image_set(folder).validation_set(size)[:_IMAGES]
    inputs = list(Batches(chosen, source.preprocessing, size))
    graph = prepared(source, size, artifact.recipe or Recipe(method="minmax"))
    rows = layer_sqnr.compare(graph, cast("LayeredFile", described.load(path)), inputs)
    minimum_db = Tolerances().sqnr_db(artifact.precision, trained=artifact.weights.trained)
    return LayerComparison(
        pictures=len(inputs),
        floor_db=minimum_db,
        collapse=layer_sqnr.first_diverging_layer(rows, minimum_db),
        layers=rows,
    )


def _module_of(artifact: Artifact, model: str | None, weights: Path | None) -> Model:
    """Module of a file, from its manifest or from what the user gives instead."""
    made_from = artifact.weights
    head = artifact.options.get("head", "fixed")
    if weights is None and made_from.path is not None:
        weights = Path(made_from.path)
        # `import` puts a card next to the weights, under the same name.
        card = weights.with_name(f"{artifact.model}.toml")
        model = model or (str(card) if _is_data(card) else None)
    try:
        loaded = zoo.load(
            zoo.sized(model or zoo.plain_name(artifact.model), artifact.resolution),
            weights=weights,
            seed=made_from.seed or 0,
            head=head,
        )
    except UsageError as error:
        raise UsageError(
            f"cannot load what {artifact.path.name} was made from: {error}; give --model and "
            "--weights as at its export"
        ) from error
    if loaded.weights.sha256 != artifact.weights.sha256:
        raise UsageError(
            f"{artifact.path.name} was made from other weights ({artifact.weights.source}): give "
            "--model and --weights as at its export"
        )
    return loaded


def _is_data(card: Path) -> bool:
    """True for a card that runs no code: a manifest from elsewhere may have led here."""
    return card.is_file() and zoo.code_of(str(card)) is None
