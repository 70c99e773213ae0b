"""Weights in the layouts of public implementations, against a forward pass of each, written anew.

``state_dicts/*.json`` are the published keys and shapes of those implementations' models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shufflenet_deploy import zoo

LISTINGS = Path(__file__).parent / "state_dicts"
REPEATS = {2: 4, 3: 8, 4: 4}
GROUPS = 3

State = dict[str, Tensor]


def state_of(name: str, **more: tuple[int, ...]) -> State:
    """Random tensors for a listing; normalisations keep the signal's size."""
    generator = torch.Generator().manual_seed(11)
    listing = json.loads((LISTINGS / f"{name}.json").read_text()) | more
    state = {}
    for key, shape in listing.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        draw = torch.rand(shape, generator=generator)
        if len(shape) > 1:
            fan = torch.tensor(shape[1:]).prod()
            state[key] = (draw - 0.5) * (3.4 / fan**0.5)
        elif key.endswith(("bias", "running_mean")):
            state[key] = (draw - 0.5) * 0.4
        else:
            state[key] = draw + 0.5
    return state


def shuffle(x: Tensor) -> Tensor:
    """The paper's: (g, C/g) transposed."""
    n, c, h, w = x.shape
    return x.view(n, GROUPS, c // GROUPS, h, w).transpose(1, 2).reshape(n, c, h, w)


def shuffle_back(x: Tensor) -> Tensor:
    """megvii's: (C/g, g) transposed."""
    n, c, h, w = x.shape
    return x.view(n, c // GROUPS, GROUPS, h, w).transpose(1, 2).reshape(n, c, h, w)


def conv(state: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution whose groups follow from the shapes."""
    weight = state[f"{key}.weight"]
    return functional.conv2d(
        x,
        weight,
        state.get(f"{key}.bias"),
        stride,
        weight.shape[2] // 2,
        groups=x.shape[1] // weight.shape[1],
    )


def norm(state: State, key: str, x: Tensor) -> Tensor:
    fields = [state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *fields)


def shortcut(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 2, 1)


def logits(state: State, key: str, x: Tensor) -> Tensor:
    return functional.linear(x.mean((2, 3)), state[f"{key}.weight"], state.get(f"{key}.bias"))


def megvii(state: State, x: Tensor) -> Tensor:
    x = norm(state, "first_conv.1", conv(state, "first_conv.0", x, 2)).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    ordinal = 0
    for repeats in REPEATS.values():
        for index in range(repeats):
            unit, stride = f"features.{ordinal}", 1 if index else 2
            y = norm(state, f"{unit}.branch_main_1.1", conv(state, f"{unit}.branch_main_1.0", x))
            y = conv(state, f"{unit}.branch_main_1.3", y.relu(), stride)
            y = shuffle_back(norm(state, f"{unit}.branch_main_1.4", y))
            y = norm(state, f"{unit}.branch_main_2.1", conv(state, f"{unit}.branch_main_2.0", y))
            x = (x + y).relu() if index else torch.cat((shortcut(x), y.relu()), 1)
            ordinal += 1
    return logits(state, "classifier.0", x)


def jaxony(state: State, x: Tensor) -> Tensor:
    x = functional.max_pool2d(conv(state, "conv1", x, 2), 3, 2, 1)
    for stage, repeats in REPEATS.items():
        for index in range(repeats):
            unit = f"stage{stage}.ShuffleUnit_Stage{stage}_{index}"
            at = f"{unit}.g_conv_1x1_compress"
            y = norm(state, f"{at}.batch_norm", conv(state, f"{at}.conv1x1", x)).relu()
            y = conv(state, f"{unit}.depthwise_conv3x3", shuffle(y), 1 if index else 2)
            y = norm(state, f"{unit}.bn_after_depthwise", y)
            at = f"{unit}.g_conv_1x1_expand"
            y = norm(state, f"{at}.batch_norm", conv(state, f"{at}.conv1x1", y))
            x = (x + y if index else torch.cat((shortcut(x), y), 1)).relu()
    return logits(state, "fc", x)


def mmpretrain(state: State, x: Tensor) -> Tensor:
    x = norm(state, "backbone.conv1.bn", conv(state, "backbone.conv1.conv", x, 2)).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, repeats in REPEATS.items():
        for index in range(repeats):
            unit = f"backbone.layers.{stage - 2}.{index}"

            def block(name: str, y: Tensor, stride: int = 1, unit: str = unit) -> Tensor:
                y = conv(state, f"{unit}.{name}.conv", y, stride)
                return norm(state, f"{unit}.{name}.bn", y)

            y = block("g_conv_1x1_compress", x).relu()
            y = shuffle(block("depthwise_conv3x3_bn", y, 1 if index else 2))
            y = block("g_conv_1x1_expand", y)
            x = (x + y if index else torch.cat((shortcut(x), y), 1)).relu()
    return logits(state, "head.fc", x)


def weiaicunzai(state: State, x: Tensor) -> Tensor:
    x = norm(state, "conv1.bn", conv(state, "conv1.conv", x)).relu()
    for stage, repeats in REPEATS.items():
        for index in range(repeats):
            unit = f"stage{stage}.{index}"
            at = f"{unit}.bottlneck.0.pointwise"
            y = norm(state, f"{at}.1", conv(state, f"{at}.0", x)).relu()
            at = f"{unit}.depthwise.depthwise"
            y = norm(state, f"{at}.1", conv(state, f"{at}.0", shuffle(y), 1 if index else 2))
            at = f"{unit}.expand.pointwise"
            y = norm(state, f"{at}.1", conv(state, f"{at}.0", y))
            x = (x + y if index else torch.cat((shortcut(x), y), 1)).relu()
    return logits(state, "fc", x)


@pytest.mark.parametrize(
    ("forward", "card", "size", "more"),
    [
        (megvii, "shufflenet-g3-0.5x", (96, 128), {}),
        (jaxony, "shufflenet-g3-1x", (96, 128), {}),
        (
            mmpretrain,
            "shufflenet-g3-1x",
            (96, 128),
            {"head.fc.weight": (1000, 960), "head.fc.bias": (1000,)},
        ),
        (weiaicunzai, "shufflenet-g3-1x", (32, 32), {}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_layout_gives_the_same_scores(
    forward: Callable[[State, Tensor], Tensor],
    card: str,
    size: tuple[int, int],
    more: dict[str, tuple[int, ...]],
    tmp_path: Path,
):
    torch.set_num_threads(1)
    state = state_of(forward.__name__, **more)
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    ours = zoo.load(card, weights=path)
    assert ours.weights.layout == forward.__name__
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = forward(state, image), ours.module(image)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_megvii_brings_its_own_preprocessing(tmp_path: Path):
    path = tmp_path / "megvii.pth"
    torch.save(state_of("megvii"), path)
    prepared = zoo.load("shufflenet-g3-0.5x", weights=path).preprocessing
    assert prepared.channel_order == "BGR"
    assert prepared.value_range == (0.0, 255.0)
