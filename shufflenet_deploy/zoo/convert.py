"""Conversion of a checkpoint to a safetensors file and the card that describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from shufflenet_deploy.atomic_files import sha256_file, write_whole
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.names import check_model_name
from shufflenet_deploy.zoo.card import Architecture, Counts, StoredWeights, card_text, read_card
from shufflenet_deploy.zoo.checkpoint import shown
from shufflenet_deploy.zoo.import_checks import DESCRIPTION_KEY, PREPROCESSING_KEY
from shufflenet_deploy.zoo.macs import complexity
from shufflenet_deploy.zoo.model import empty
from shufflenet_deploy.zoo.registry import architecture
from shufflenet_deploy.zoo.sources import NetworkOptions, preprocessing_of
from shufflenet_deploy.zoo.weights_import import import_weights


@dataclass(frozen=True, kw_only=True)
class ConvertedWeights:
    """The two files that a conversion wrote, and their contents."""

    architecture: Architecture
    layout: str
    card: Path
    weights: Path
    notes: tuple[str, ...] = ()


def convert(
    file: Path,
    *,
    model: str | None,
    out: Path,
    state_dict: str | None = None,
    options: NetworkOptions | None = None,
) -> ConvertedWeights:
    """Write ``NAME.safetensors`` and ``NAME.toml`` for the weights in ``file`` into ``out``.

    NAME is the model's, or that of ``options``, which may state its preprocessing, too;
    ``state_dict`` is the key of one where the file holds several.
    Both are written whole or not at all, the card last: a card never describes weights that are
    not there.

    Raises:
        UsageError: the file cannot be read or holds another network, no such model, or ``out``
            cannot be written.
    """
    wanted = architecture(model) if model else None
    options = options or NetworkOptions()
    name = options.name
    if name is not None:
        _check_name(name)
    imported = import_weights(file, wanted, state_dict)
    card = imported.architecture
    if name is not None and name != card.name:
        _refuse_taken(name)
    preprocessing = preprocessing_of(options, card.preprocessing)
    changes = {"name": name or card.name, "aliases": (), "preprocessing": preprocessing}
    card = card.model_copy(update=changes)
    source = f"{shown(file.name)}, sha256 {imported.sha256}"
    _refuse_overwriting(out / f"{card.name}.toml", source)
    metadata = {
        "format": "pt",
        DESCRIPTION_KEY: card.description.model_dump_json(),
        PREPROCESSING_KEY: card.preprocessing.model_dump_json(),
    }
    weights = out / f"{card.name}.safetensors"
    write_whole(weights, save(dict(imported.state), metadata=metadata))
    card = card.model_copy(
        update={
            "counts": _counts(card),
            "weights": StoredWeights(
                file=weights.name,
                sha256=sha256_file(weights),
                source=source,
                layout=imported.layout,
            ),
        }
    )
    path = out / f"{card.name}.toml"
    write_whole(path, card_text(card))
    return ConvertedWeights(
        architecture=card,
        layout=imported.layout,
        card=path,
        weights=weights,
        notes=imported.notes,
    )


def _check_name(name: str) -> None:
    try:
        check_model_name(name)
    except ValueError as error:
        raise UsageError(f"--name: {error}") from error
    if name.endswith(".toml"):
        raise UsageError(f"--name {name}: give the name without .toml")


def _refuse_taken(name: str) -> None:
    """Refuse a name that already means another network wherever a model is asked for."""
    try:
        known = architecture(name)
    except UsageError:
        return
    raise UsageError(f"--name {name}: that is {known.title}, another network; choose another name")


def _refuse_overwriting(card: Path, source: str) -> None:
    """Refuse to replace what came from other weights; the same may be imported again."""
    if not card.exists():
        return
    try:
        weights = read_card(card).weights
    except UsageError:
        weights = None
    if weights is None or weights.source != source:
        held = f"the weights of {weights.source}" if weights else "something else"
        raise UsageError(f"{card} holds {held}; choose --name NAME or another --out")


def _counts(card: Architecture) -> Counts:
    channels = card.preprocessing.channels
    found = complexity(empty(card, "fixed"), card.resolution, channels=channels)
    return Counts(parameters=found.parameters, multiply_adds=found.multiply_adds)
