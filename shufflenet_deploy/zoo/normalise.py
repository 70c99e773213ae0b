"""From a foreign checkpoint to our own: a safetensors file and the card that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from shufflenet_deploy.files import sha256_file, write_whole
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.card import Architecture, Counts, StoredWeights, card_text
from shufflenet_deploy.zoo.catalogue import architecture
from shufflenet_deploy.zoo.counting import complexity
from shufflenet_deploy.zoo.importing import DESCRIPTION_KEY, PREPROCESSING_KEY, import_weights
from shufflenet_deploy.zoo.model import empty


@dataclass(frozen=True, kw_only=True)
class Normalised:
    """The two files that ``normalise`` wrote, and what they hold."""

    architecture: Architecture
    layout: str
    card: Path
    weights: Path


def normalise(file: Path, *, model: str | None, out: Path) -> Normalised:
    """Write ``NAME.safetensors`` and ``NAME.toml`` for the weights in ``file`` into ``out``.

    NAME is the model's. Both are written whole or not at all, the card last: a card never
    describes weights that are not there.

    Raises:
        UsageError: the file cannot be read or holds another network, no such model, or ``out``
            cannot be written.
    """
    imported = import_weights(file, architecture(model) if model else None)
    card = imported.architecture
    metadata = {
        "format": "pt",
        DESCRIPTION_KEY: card.description.model_dump_json(),
        PREPROCESSING_KEY: card.preprocessing.model_dump_json(),
    }
    weights = out / f"{card.name}.safetensors"
    write_whole(weights, save(dict(imported.state), metadata=metadata))
    card = card.model_copy(
        update={
            "aliases": (),
            "counts": _counts(card),
            "weights": StoredWeights(
                file=weights.name,
                sha256=sha256_file(weights),
                source=f"{file.name}, sha256 {imported.sha256}",
                layout=imported.layout,
            ),
        }
    )
    path = out / f"{card.name}.toml"
    write_whole(path, card_text(card))
    return Normalised(architecture=card, layout=imported.layout, card=path, weights=weights)


def _counts(card: Architecture) -> Counts:
    found = complexity(empty(card, "fixed"), Resolution(height=224, width=224))
    return Counts(parameters=found.parameters, multiply_adds=found.multiply_adds)
