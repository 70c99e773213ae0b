"""Weights of other implementations: the same logits, or a one-line error."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import digits
import pytest
import torch
from pytorchcv.models.shufflenet import get_shufflenet
from safetensors.torch import save_file
from torch.nn import functional
from typer.testing import CliRunner

from shufflenet_deploy import zoo
from shufflenet_deploy.cli import command_line
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.resnet import ResNet18


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights and random normalisation statistics, so that no permutation goes unseen."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            draw = torch.rand(tensor.shape, generator=generator)
            positive = name.endswith(("running_var", "bn.weight")) or tensor.ndim == 1
            tensor.copy_(draw + 0.5 if positive else (draw - 0.5) * 0.5)
    return module.eval()


@pytest.mark.parametrize(
    ("groups", "scale"), [(1, 1.0), (2, 1.0), (3, 0.25), (3, 0.5), (3, 1.0), (4, 1.0), (8, 1.0)]
)
def test_pytorchcv_gives_the_same_scores(groups: int, scale: float, tmp_path: Path):
    theirs = randomised(get_shufflenet(groups=groups, width_scale=scale))
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    card = f"shufflenet-g{groups}-{scale:g}x"
    ours = zoo.load(card, weights=path)
    assert ours.weights.layout == "pytorchcv"
    assert ours.weights.trained
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = theirs(image), ours.module(image)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_import_writes_weights_and_a_card_that_load(tmp_path: Path):
    theirs = randomised(get_shufflenet(groups=3, width_scale=0.25))
    path = tmp_path / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    out = tmp_path / "out"
    result = CliRunner().invoke(command_line(), ["import", str(path), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    card = json.loads(result.stdout)["card"]
    ours = zoo.load(card)
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = theirs(image), ours.module(image)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_torchvision_s_alexnet_loads(tmp_path: Path):
    source = zoo.load("alexnet", seed=4).module
    path = tmp_path / "alexnet.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    loaded = zoo.load("alexnet", weights=path, head="dense").module
    torch.testing.assert_close(
        loaded.state_dict()["features.0.weight"], source.state_dict()["features.0.weight"]
    )


def small_resnet(weights: dict[str, torch.Tensor], x: torch.Tensor, shortcut: str) -> torch.Tensor:
    """The ResNet-18 of 32x32 images that training scripts have, from its state dict alone."""
    head = "linear" if shortcut == "shortcut" else "fc"

    def conv(name: str, norm: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)
        kinds = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(weights[f"{norm}.{kind}"] for kind in kinds))

    x = conv("conv1", "bn1", x).relu()
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = conv(f"{at}.conv1", f"{at}.bn1", x, stride).relu()
            y = conv(f"{at}.conv2", f"{at}.bn2", y)
            if f"{at}.{shortcut}.0.weight" in weights:
                x = conv(f"{at}.{shortcut}.0", f"{at}.{shortcut}.1", x, stride)
            x = (x + y).relu()
    return functional.linear(x.mean((2, 3)), weights[f"{head}.weight"], weights[f"{head}.bias"])


@pytest.mark.parametrize("layout", ["torchvision", "kuangliu"])
@pytest.mark.parametrize("card", [None, "resnet-18"])
def test_a_resnet_of_small_pictures_is_told_by_its_stem(
    layout: str, card: str | None, tmp_path: Path
):
    shortcut = "shortcut" if layout == "kuangliu" else "downsample"
    network = randomised(ResNet18(10, small_pictures=True)).state_dict()
    weights = network
    if layout == "kuangliu":
        renamed = {
            key.replace("downsample", "shortcut").replace("fc.", "linear."): tensor
            for key, tensor in network.items()
        }
        weights = {f"module.{key}": tensor for key, tensor in renamed.items()}
    path = tmp_path / "resnet.pth"
    torch.save({"net": weights, "epoch": 90}, path)
    if card is None:
        result = CliRunner().invoke(
            command_line(), ["import", str(path), "--out", str(tmp_path / "out"), "--json"]
        )
        assert result.exit_code == 0, result.output
        ours = zoo.load(json.loads(result.stdout)["card"])
    else:
        ours = zoo.load(card, weights=path)
        assert ours.weights.layout == layout
    assert str(ours.architecture.resolution) == "32x32"
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    plain = {key.removeprefix("module."): tensor for key, tensor in weights.items()}
    with torch.no_grad():
        expected, found = small_resnet(plain, image, shortcut), ours.module(image)
    assert found.shape == (1, 10)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_text_file_named_pth(tmp_path: Path):
    path = tmp_path / "notes.pth"
    path.write_text("not a checkpoint")
    with pytest.raises(UsageError, match=r"notes\.pth"):
        zoo.load("shufflenet-g3-0.5x", weights=path)


def test_a_truncated_checkpoint(tmp_path: Path):
    path = tmp_path / "cut.pth"
    torch.save(get_shufflenet(groups=3, width_scale=0.25).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UsageError, match=r"cut\.pth"):
        zoo.load("shufflenet-g3-0.25x", weights=path)


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "harmful.pth"
    torch.save({"weights": Harmful()}, path)
    with pytest.raises(UsageError, match=r"harmful\.pth"):
        zoo.load("shufflenet-g3-0.5x", weights=path)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_width_name_what_differs(tmp_path: Path):
    path = tmp_path / "wide.pth"
    torch.save(get_shufflenet(groups=3, width_scale=1.0).state_dict(), path)
    with pytest.raises(UsageError, match=r"wide\.pth .* use --model shufflenet-g3-1x$"):
        zoo.load("shufflenet-g3-0.5x", weights=path)


def test_weights_that_no_name_means_are_to_be_imported(tmp_path: Path):
    weights = digits.FOLDER / "digits.safetensors"
    with pytest.raises(UsageError, match=r"not shufflenet-g3-0\.5x; make a card of it: ") as told:
        zoo.load("shufflenet-g3-0.5x", weights=weights)
    words = shlex.split(str(told.value).partition("make a card of it: ")[2])
    assert words == ["shufflenet-deploy", "import", str(weights)]
    assert CliRunner().invoke(command_line(), [*words[1:], "--out", str(tmp_path)]).exit_code == 0


def test_a_network_like_none_that_is_known_is_compared_with_none(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 4)).state_dict(), path)
    with pytest.raises(UsageError, match="none of the known layouts") as raised:
        zoo.load("shufflenet-g3-0.5x", weights=path)
    assert "nearest" not in str(raised.value)


def imported(path: Path, out: Path, *options: str) -> Any:
    return CliRunner().invoke(command_line(), ["import", str(path), "--out", str(out), *options])


def test_import_under_a_name_of_one_s_own(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(zoo.load("shufflenet-g3-0.25x", seed=1).module.state_dict(), path)
    result = imported(path, tmp_path / "out", "--name", "digits-v2", "--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert written["model"] == "digits-v2"
    assert Path(written["card"]) == tmp_path / "out" / "digits-v2.toml"
    assert Path(written["weights"]).is_file()
    assert zoo.load(written["card"]).architecture.name == "digits-v2"


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a b", "", "x.toml", "alexnet", "mobilenet-0.3"]
)
def test_a_name_that_cannot_be_or_is_taken_writes_nothing(name: str, tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(zoo.load("shufflenet-g3-0.25x").module.state_dict(), path)
    result = imported(path, tmp_path / "out", "--name", name)
    assert isinstance(result.exception, UsageError)
    assert "--name" in str(result.exception)
    assert not list(tmp_path.rglob("*.toml"))


def test_another_import_is_not_replaced(tmp_path: Path):
    paths = [tmp_path / f"{seed}.pth" for seed in (1, 2)]
    for seed, path in enumerate(paths):
        torch.save(zoo.load("shufflenet-g3-0.25x", seed=seed).module.state_dict(), path)
    out = tmp_path / "out"
    assert imported(paths[0], out).exit_code == 0
    assert imported(paths[0], out).exit_code == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    result = imported(paths[1], out)
    assert isinstance(result.exception, UsageError)
    assert "--name" in str(result.exception)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert imported(paths[1], out, "--name", "other").exit_code == 0


def test_import_says_what_it_chose_and_left_out(tmp_path: Path):
    path = tmp_path / "weights.pth"
    state = zoo.load("shufflenet-g3-0.25x").module.state_dict()
    torch.save({"model": state | {"criterion.weight": torch.ones(3)}, "ema": state}, path)
    result = imported(path, tmp_path / "out")
    assert "read model; the file also holds ema" in result.output
    assert "left out" in result.output
    assert "criterion.weight" in result.output
