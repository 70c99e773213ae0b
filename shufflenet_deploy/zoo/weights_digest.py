"""Digest of a model's weights, computed without loading them, for the key of the export cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.shards import files_of

#: Raise it when ``initialise`` or a network changes in a way that changes the numbers.
INITIALISATION = 1


def weights_identity(card: Architecture, weights: Path | None, seed: int) -> str:
    """Hex sha256 of the weights' file, or of everything that decides untrained weights.

    Raises:
        UsageError: the file cannot be read.
    """
    file = weights or stored_weights(card)
    if file is None:
        return untrained_identity(card, seed)
    try:
        return file_identity(file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the weights {file}: {why}") from error


def file_identity(path: Path) -> str:
    """Hex sha256 of a file of weights; of weights in shards, of the sha256 of each file in turn.

    Raises:
        UsageError: shards are missing.
        OSError: it cannot be read.
    """
    digests = [sha256_file(file) for file in files_of(path)]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def untrained_identity(card: Architecture, seed: int) -> str:
    """Hex sha256 of the description, the seed and the version of the initialisation."""
    text = f"{INITIALISATION}:{seed}:{card.network_identity}"
    return hashlib.sha256(text.encode()).hexdigest()


def stored_weights(card: Architecture) -> Path | None:
    """Weights next to an imported card."""
    if card.weights is None or card.folder is None:
        return None
    return card.folder / card.weights.file
