"""A small trained ShuffleNet and pictures that it has not seen: see ``tests/data/digits/train.py``.

Also the same network written in weights that are hard on int8: one channel hundreds of times
larger than its neighbours, and what reads it as much smaller. In float it computes what it did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.zoo.card import card_text

FOLDER = Path(__file__).parents[1] / "data" / "digits"
CARD = FOLDER / "digits.toml"
#: ``pictures`` (N, 8, 8) in grey bytes and their ``labels``: to be judged on, and to learn from.
HELD_OUT = dict(np.load(FOLDER / "held-out.npz"))
TRAINING = dict(np.load(FOLDER / "training.npz"))
INSIDE, TRUNK = 200.0, 1000.0

State = dict[str, torch.Tensor]


def pictures(folder: Path) -> Path:
    """Write the 320 digits to be judged on as ``folder/CLASS/NUMBER.png``."""
    return _written(folder, lambda number, label: f"{label}/{number:03}.png" if number % 9 else "")


def calibration(folder: Path) -> Path:
    """Write the 40 other digits into one folder, for ``--calib``."""
    return _written(folder, lambda number, _: "" if number % 9 else f"{number:03}.png")


def _written(folder: Path, name_of) -> Path:
    for number, picture in enumerate(HELD_OUT["pictures"]):
        if name := name_of(number, HELD_OUT["labels"][number]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name)
    return folder


def with_outliers_inside(state: State) -> None:
    """In every unit, the first channel between its first two convolutions is an outlier."""
    for unit in [key.removesuffix(".compress.weight") for key in state if ".compress.w" in key]:
        _scale_norm(state, f"{unit}.compress_bn", 0, INSIDE)
        # Channel 0 of group 0 stays where it is when channels are shuffled.
        state[f"{unit}.depthwise.weight"][0] /= INSIDE


def with_an_outlier_in_the_trunk(state: State) -> None:
    """The last channel of stage 4 is an outlier, all the way to the classifier."""
    for unit in ("stage4.0", "stage4.1"):
        _scale_norm(state, f"{unit}.expand_bn", -1, TRUNK)
    state["stage4.1.compress.weight"][-state["stage4.1.compress.weight"].shape[0] // 3 :, -1] /= (
        TRUNK
    )
    state["classifier.weight"][:, -1] /= TRUNK


def rewritten(folder: Path, *changes) -> Path:
    """The card of the same network after ``changes`` to its weights."""
    card = zoo.architecture(str(CARD))
    with safe_open(FOLDER / "digits.safetensors", "pt") as source:
        metadata = source.metadata()
        state = {key: source.get_tensor(key) for key in source.keys()}  # noqa: SIM118
    for change in changes:
        change(state)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "digits.safetensors", metadata)
    weights = card.weights.model_copy(update={"sha256": sha256_file(folder / "digits.safetensors")})
    path = folder / "digits.toml"
    path.write_text(card_text(card.model_copy(update={"weights": weights})))
    return path


def _scale_norm(state: State, name: str, channel: int, factor: float) -> None:
    for part in ("weight", "bias"):
        state[f"{name}.{part}"][channel] *= factor
