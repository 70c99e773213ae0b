"""Trains the small ShuffleNet that the accuracy tests evaluate, and writes what lies beside this.

    pip install scikit-learn
    python tests/data/digits/train.py

scikit-learn ships 1797 handwritten digits of 8x8 pixels (E. Alpaydin and C. Kaynak, "Optical
Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0). Every fifth is held
out: those are ``held-out.npz``. The rest, ``training.npz``, trains a network of 3 groups for a
minute on one core.
"""

# ruff: noqa: T201 - a script talks to whoever runs it

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn import functional

from shufflenet_deploy.atomic_files import sha256_file, write_whole
from shufflenet_deploy.export.image_set import prepare
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.card import Architecture, StoredWeights, card_text
from shufflenet_deploy.zoo.config import Preprocessing, ShuffleNetConfig
from shufflenet_deploy.zoo.import_checks import DESCRIPTION_KEY, PREPROCESSING_KEY

HERE = Path(__file__).parent
SIZE, BATCH, EPOCHS, PEAK_RATE = 32, 64, 60, 5e-3

DESCRIPTION = ShuffleNetConfig(
    groups=3, stem=12, widths=(36, 72, 144), bottlenecks=(9, 18, 36), repeats=(2, 3, 2), classes=10
)
PREPROCESSING = Preprocessing(resize=SIZE, crop=SIZE, mean=(0.3,) * 3, std=(0.37,) * 3)


def inputs(pictures: np.ndarray) -> torch.Tensor:
    """Grey bytes (N, 8, 8) as the network's input (N, 3, 32, 32)."""
    grey = np.repeat(pictures[..., None], 3, axis=3)
    small = np.concatenate([prepare(picture, PREPROCESSING) for picture in grey])
    return functional.interpolate(torch.from_numpy(small), (SIZE, SIZE), mode="bilinear")


def varied(pictures: torch.Tensor) -> torch.Tensor:
    """Turned, scaled and shifted a little."""
    count = len(pictures)
    angle, scale = (torch.rand(count) - 0.5) * 0.5, 1 + (torch.rand(count) - 0.5) * 0.25
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * scale
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin() * scale, angle.sin() * scale
    matrix[:, :, 2] = (torch.rand(count, 2) - 0.5) * 0.25
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def train(pictures: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    """A trained network, in eval mode."""
    network = DESCRIPTION.build()
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    steps = EPOCHS * math.ceil(len(pictures) / BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            loss = functional.cross_entropy(network(varied(pictures[chosen])), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss.item():.3f}")
    return network.eval()


def main() -> None:
    """Train, tell the accuracy on the held-out digits, and write the three files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    pictures = np.round(digits.images / 16 * 255).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    held_out = np.arange(len(labels)) % 5 == 0
    network = train(inputs(pictures[~held_out]), torch.from_numpy(labels[~held_out]).long())
    with torch.inference_mode():
        best = network(inputs(pictures[held_out])).argmax(1).numpy()
    print(f"right: {(best == labels[held_out]).sum()} of {held_out.sum()}")
    for name, chosen in (("held-out", held_out), ("training", ~held_out)):
        digits_of = {"pictures": pictures[chosen], "labels": labels[chosen]}
        np.savez_compressed(HERE / f"{name}.npz", **digits_of)
    weights = HERE / "digits.safetensors"
    state = {
        key: tensor.contiguous()
        for key, tensor in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    metadata = {
        "format": "pt",
        DESCRIPTION_KEY: DESCRIPTION.model_dump_json(),
        PREPROCESSING_KEY: PREPROCESSING.model_dump_json(),
    }
    save_file(state, weights, metadata)
    card = Architecture(
        name="digits",
        title="ShuffleNet for digits",
        source="tests/data/digits/train.py",
        resolution=Resolution(height=SIZE, width=SIZE),
        description=DESCRIPTION,
        preprocessing=PREPROCESSING,
        weights=StoredWeights(
            file=weights.name,
            sha256=sha256_file(weights),
            source="scikit-learn's digits, four of five",
            layout="native",
        ),
    )
    write_whole(HERE / "digits.toml", card_text(card))


if __name__ == "__main__":
    main()
