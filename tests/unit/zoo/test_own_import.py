"""Import of networks that are not the zoo's: a card that loads to the same network again."""

from __future__ import annotations

from pathlib import Path

import caffe_nets
import numpy as np
import own_networks
import pytest
import torch

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo import NetworkOptions
from shufflenet_deploy.zoo.own_import import write_card

SIZE = Resolution(height=16, width=16)
ALONE = """
from torch import nn


def small(classes=4):
    layers = nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, classes))
"""


def described(text: str, **options: object) -> str:
    return zoo.sized(zoo.described(text, NetworkOptions.model_validate(options)), SIZE)


def outputs(reference: str, channels: int) -> torch.Tensor:
    image = torch.linspace(-1, 1, channels * 256).reshape(1, channels, 16, 16)
    return zoo.load(reference).module(image)


def test_code_becomes_a_card_with_safetensors(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(ALONE)
    text = described(f"{tmp_path}/alone.py:small", name="mini", arguments={"classes": "6"})
    torch.save(zoo.load(text, seed=9).module.state_dict(), tmp_path / "w.pth")
    wanted = zoo.load(text, weights=tmp_path / "w.pth")
    _, card, weights = write_card(text, tmp_path / "w.pth", tmp_path / "out")
    assert (card.name, weights.name) == ("mini.toml", "mini.safetensors")
    (tmp_path / "alone.py").unlink()
    loaded = zoo.load(str(card))
    assert loaded.architecture.resolution == SIZE
    assert (loaded.channels, loaded.weights.trained) == (1, True)
    image = torch.ones(1, 1, 16, 16)
    assert torch.equal(loaded.module(image), wanted.module(image))
    with pytest.raises(UsageError, match=r"mini.toml holds alone.py:small; choose --name"):
        write_card(
            described(f"{own_networks.write(tmp_path)}:trained", name="mini"), None, card.parent
        )
    copy = card.with_name("mini.py")
    copy.write_text(copy.read_text() + "\n")
    with pytest.raises(UsageError, match=r"mini.py has changed since it was chosen"):
        zoo.load(str(card))


def test_code_that_does_not_stand_alone_is_refused(tmp_path: Path) -> None:
    mine = own_networks.write(tmp_path / "own")
    with pytest.raises(UsageError, match=r"imports blocks.py from its own folder"):
        write_card(described(f"{mine}:trained"), None, tmp_path / "out")
    with pytest.raises(UsageError, match="Net has no weights"):
        write_card(described(f"{mine}:Net"), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_is_copied_with_its_card(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    text = caffe_nets.image(3, 16, 16) + caffe_nets.layer(
        *("Convolution", "conv", "data", "conv"),
        "convolution_param { num_output: 4 kernel_size: 3 }",
    )
    arrays = [generator.normal(size=(4, 3, 3, 3)), generator.normal(size=4)]
    prototxt, model = caffe_nets.write(tmp_path, text, {"conv": arrays})
    wanted = outputs(str(prototxt), 3)
    assert wanted.shape == (1, 4, 14, 14)
    _, card, weights = write_card(
        zoo.described(str(prototxt), NetworkOptions()), None, tmp_path / "out"
    )
    assert weights.name == "net.caffemodel"
    prototxt.unlink()
    model.unlink()
    assert torch.equal(outputs(str(card), 3), wanted)


def test_caffe_without_weights_says_where_they_belong(tmp_path: Path) -> None:
    text = caffe_nets.image(3, 16, 16) + caffe_nets.layer("ReLU", "relu", "data", "out")
    prototxt, model = caffe_nets.write(tmp_path, text, {})
    model.unlink()
    with pytest.raises(
        UsageError, match=r"put net.caffemodel beside it, or name them with --weights"
    ):
        zoo.load(str(prototxt))
