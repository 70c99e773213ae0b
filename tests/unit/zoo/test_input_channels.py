"""Networks of the zoo for images of other than three channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from shufflenet_deploy import zoo

ONE_OF_EACH_FAMILY = {
    zoo.architecture(name).description.family: name
    for name in zoo.names()
    if name not in {"vgg16", "alexnet"}
}


@pytest.mark.parametrize("name", ["shufflenet-g3-0.25x", "shufflenet-v2-0.5x", "mobilenet-v2-0.35"])
def test_a_checkpoint_tells_channels_and_classes(tmp_path: Path, name: str) -> None:
    module = zoo.load(name).module
    layers = {
        path: one for path, one in module.named_modules() if isinstance(one, nn.Conv2d | nn.Linear)
    }
    (first, stem), *_, (last, head) = layers.items()
    assert isinstance(stem, nn.Conv2d)
    assert isinstance(head, nn.Linear)
    grey = nn.Conv2d(1, stem.out_channels, 3, stride=2, padding=1, bias=False)
    module.set_submodule(first, grey)
    module.set_submodule(last, nn.Linear(head.in_features, 10))
    path = tmp_path / "grey.pth"
    torch.save({"model": {f"module.{key}": one for key, one in module.state_dict().items()}}, path)
    found = zoo.load(name, weights=path)
    description, preprocessing = found.architecture.description, found.preprocessing
    assert (description.channels, description.classes) == (1, 10)
    assert (preprocessing.channels, preprocessing.channel_order) == (1, "L")
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(found.module(image), module.eval()(image))


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH_FAMILY.values()))
def test_the_option_names_them(name: str) -> None:
    reference = zoo.described(name, zoo.NetworkOptions(channels=2))
    card = zoo.architecture(reference)
    assert (card.description.channels, card.preprocessing.channels) == (2, 2)
    with torch.device("meta"):
        module = card.build().eval()
        assert module(torch.zeros(1, 2, 224, 224)).shape == (1, 1000)
