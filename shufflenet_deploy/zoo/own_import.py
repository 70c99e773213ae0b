"""Import of a network that is not the zoo's: a card, with copies of what it needs beside it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from shufflenet_deploy.atomic_files import read_bytes, sha256_file, write_whole
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.card import Architecture, Counts, StoredWeights, card_text, read_card
from shufflenet_deploy.zoo.checkpoint import shown
from shufflenet_deploy.zoo.macs import complexity
from shufflenet_deploy.zoo.model import Model, load
from shufflenet_deploy.zoo.network_file_facts import external_data, file_digest
from shufflenet_deploy.zoo.own_network import FileConfig, PythonConfig
from shufflenet_deploy.zoo.source_digest import neighbours, source_digest
from shufflenet_deploy.zoo.sources import architecture

_MOST_BYTES = 2 << 30


def write_card(reference: str, weights: Path | None, out: Path) -> tuple[Model, Path, Path]:
    """Write ``NAME.toml`` for a network of the user's own into ``out``, and what it refers to.

    Code is copied as ``NAME.py``, its weights as ``NAME.safetensors``; a file of another tool is
    copied as it is. The card is written last.

    Returns:
        The model, the card's path, and that of its weights.

    Raises:
        UsageError: the network cannot be loaded, has no weights, or does not stand alone; ``out``
            cannot be written, or holds a card of that name for something else.
    """
    card = architecture(reference)
    model = load(reference, weights=weights)
    if not model.weights.trained:
        raise UsageError(f"{card.name} has no weights: name a checkpoint of it to import")
    path = out / f"{card.name}.toml"
    _refuse_overwriting(path, card)
    described = model.architecture.description
    description: PythonConfig | FileConfig
    stored: StoredWeights | None = None
    if isinstance(described, PythonConfig):
        _refuse_neighbours(described)
        description, stored, file = _stored_code(described, model, out)
    else:
        assert isinstance(described, FileConfig)
        description, file = _stored_file(described, weights, out / card.name)
    channels = model.channels
    found = complexity(model.module, model.architecture.resolution, card.name, channels=channels)
    changes = {
        "description": description,
        "counts": Counts(parameters=found.parameters, multiply_adds=found.multiply_adds),
        "weights": stored,
        "folder": None,
    }
    write_whole(path, card_text(model.architecture.model_copy(update=changes)))
    return model, path, file


def _stored_code(
    config: PythonConfig, model: Model, out: Path
) -> tuple[PythonConfig, StoredWeights, Path]:
    name = model.architecture.name
    weights = out / f"{name}.safetensors"
    write_whole(weights, save(_state(model.module), metadata={"format": "pt"}))
    stored = StoredWeights(
        file=weights.name,
        sha256=sha256_file(weights),
        source=f"{shown(Path(model.weights.source).name)}, sha256 {model.weights.sha256}",
        layout=config.family,
    )
    if not config.code.endswith(".py"):
        return config, stored, weights
    copy = out / f"{name}.py"
    write_whole(copy, read_bytes(Path(config.code), what="the code"))
    changes = {"code": copy.name, "sha256": source_digest(str(copy))}
    return config.model_copy(update=changes), stored, weights


def _refuse_neighbours(config: PythonConfig) -> None:
    """Refuse code that does not stand alone, before anything is written."""
    beside = neighbours(Path(config.code)) if config.code.endswith(".py") else ()
    if beside:
        raise UsageError(
            f"{config.code} imports {', '.join(beside)} from its own folder, so that it cannot be "
            "copied alone: put them into one file, or into a package and name "
            "package.module:CALLABLE"
        )


def _stored_file(config: FileConfig, weights: Path | None, stem: Path) -> tuple[FileConfig, Path]:
    file = Path(config.file)
    if beside := external_data(file):
        raise UsageError(f"{file} keeps its weights in {beside[0].name}: save it as one file")
    copy = stem.with_name(stem.name + file.suffix)
    write_whole(copy, read_bytes(file, what="the network", limit_bytes=_MOST_BYTES))
    own = weights or (Path(config.weights) if config.weights else None)
    copied = None
    if own is not None:
        copied = stem.with_name(stem.name + own.suffix)
        write_whole(copied, read_bytes(own, what="the weights", limit_bytes=_MOST_BYTES))
    changes = {
        "file": copy.name,
        "weights": copied.name if copied else None,
        "sha256": file_digest(copy, copied),
    }
    return config.model_copy(update=changes), copied or copy


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Floating-point tensors of a module, each in memory of its own."""
    return {
        key: tensor.contiguous().clone()
        for key, tensor in module.state_dict().items()
        if tensor.is_floating_point() and tensor.ndim
    }


def _refuse_overwriting(path: Path, card: Architecture) -> None:
    """Refuse to replace the card of another network; the same may be imported again."""
    if not path.exists():
        return
    try:
        held = read_card(path).source
    except UsageError:
        held = "something else"
    if held != card.source:
        raise UsageError(f"{path} holds {held}; choose --name NAME or another --out")
