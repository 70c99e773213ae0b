"""Networks that are not the zoo's: references, digests of source, the user's code and weights."""

from __future__ import annotations

import json
from pathlib import Path

import own_networks
import pytest
import torch

from shufflenet_deploy import zoo
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.bench.suite_checks import check_code, check_models
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution, WeightsKind
from shufflenet_deploy.zoo import NetworkOptions
from shufflenet_deploy.zoo.source_digest import source_digest

SIZE = Resolution(height=16, width=16)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return own_networks.write(tmp_path / "own")


def reference(path: Path, function: str = "Net", **options: object) -> str:
    asked = NetworkOptions.model_validate(options)
    return zoo.sized(zoo.described(f"{path}:{function}", asked), SIZE)


def test_code_is_built_with_its_arguments(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = zoo.load(reference(mine, arguments={"width": "6", "classes": "7"}))
    assert model.module(torch.zeros(1, 3, 16, 16)).shape == (1, 7)
    assert model.module.get_submodule("features.0.0").weight.shape[0] == 6
    assert not model.module.training
    assert (model.architecture.name, model.architecture.description.classes) == ("Net", 7)
    assert model.weights.kind is WeightsKind.SEEDED
    assert "building" not in capsys.readouterr().out


def test_channels_come_from_the_first_convolution(mine: Path) -> None:
    grey = zoo.load(reference(mine, arguments={"channels": "1"}))
    assert (grey.channels, grey.preprocessing.channel_order) == (1, "L")
    five = zoo.load(reference(mine, arguments={"channels": "5"}, mean=[0.5] * 5, std=[0.2] * 5))
    assert five.preprocessing.mean == (0.5,) * 5
    with pytest.raises(UsageError, match="--mean and --std 5 numbers"):
        zoo.load(reference(mine, arguments={"channels": "5"}, mean=[0.5] * 3, std=[0.2] * 3))


def test_a_program_of_torch_export_is_a_network_of_one_size(mine: Path, tmp_path: Path) -> None:
    module, image = zoo.load(reference(mine)).module, torch.rand(1, 3, 16, 16)
    torch.export.save(torch.export.export(module, (image,)), tmp_path / "mine.pt2")
    described = zoo.described(str(tmp_path / "mine.pt2"), NetworkOptions())
    assert zoo.declared_resolution(described) == SIZE
    read = zoo.load(zoo.sized(described, SIZE))
    torch.testing.assert_close(read.module(image), module(image))
    assert read.architecture.name == "mine"
    with pytest.raises(UsageError, match="was exported for images of 16x16"):
        zoo.load(zoo.sized(described, Resolution(height=32, width=32)))


def test_seeds_decide_weights_unless_the_code_brings_its_own(mine: Path) -> None:
    first, again, other = (zoo.load(reference(mine), seed=seed) for seed in (1, 1, 2))
    states = [one.module.state_dict()["head.weight"] for one in (first, again, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert len({one.weights.sha256 for one in (first, again, other)}) == 2
    brought = zoo.load(reference(mine, "trained"))
    assert (brought.weights.trained, brought.weights.kind) == (True, WeightsKind.WITHIN)


@pytest.mark.parametrize("prefix", ["", "module.", "state.model."])
def test_weights_are_loaded_under_any_prefix(mine: Path, tmp_path: Path, prefix: str) -> None:
    saved = zoo.load(reference(mine), seed=5).module.state_dict()
    state = {f"{prefix}{key}": value for key, value in saved.items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth")
    model = zoo.load(reference(mine), weights=tmp_path / "w.pth")
    assert torch.equal(model.module.state_dict()["head.weight"], saved["head.weight"])
    assert (model.weights.trained, model.notes) == (True, ())


def test_what_weights_lack_or_add_is_said(mine: Path, tmp_path: Path) -> None:
    state = dict(zoo.load(reference(mine)).module.state_dict())
    torch.save({**state, "teacher": torch.ones(3)}, tmp_path / "more.pth")
    model = zoo.load(reference(mine), weights=tmp_path / "more.pth")
    assert model.notes == ("left out, as no part of the network: teacher",)
    del state["head.bias"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(UsageError, match=r"less.pth does not fit Net: .*1 missing \(head.bias\)"):
        zoo.load(reference(mine), weights=tmp_path / "less.pth")
    torch.save(zoo.load("shufflenet-g3-0.25x").module.state_dict(), tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"\d+ missing .*; \d+ unexpected"):
        zoo.load(reference(mine), weights=tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"head.weight is 5x8 instead of 9x8"):
        zoo.load(reference(mine, arguments={"classes": "9"}), weights=tmp_path / "more.pth")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("raising", r"mine.py:raising raises ValueError: no such luck \(mine.py, line \d+\)$"),
        ("leaving", r"raises SystemExit: 3 \(mine.py"),
        ("number", "returns a int, which is no torch.nn.Module"),
        ("NUMBER", "is a int: name a class or a function"),
        ("missing", "has no 'missing'; it has Net, Fixed"),
        ("Words", "mine.py:Words returns a str, which is no tensor"),
        ("block", r"raises TypeError: block\(\) missing 2 required positional arguments"),
    ],
)
def test_faults_of_code_are_one_line(mine: Path, function: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        zoo.load(reference(mine, function))
    assert "\n" not in str(caught.value)


def test_an_input_that_the_network_does_not_take(mine: Path) -> None:
    text = zoo.described(f"{mine}:Fixed", NetworkOptions())
    with pytest.raises(UsageError, match=r"1x3x224x224 raises AssertionError: sixteen rows"):
        zoo.load(text)
    assert zoo.load(zoo.sized(text, SIZE)).architecture.resolution == SIZE


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nowhere.py:Net", "cannot read the code .*nowhere.py: No such file"),
        ("no_such_package.nets:Net", "no module 'no_such_package'"),
        ("nowhere.onnx", "cannot read the network .*nowhere.onnx: No such file"),
    ],
)
def test_sources_that_are_not_there(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        zoo.described(text, NetworkOptions())


def test_code_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (:\n")
    with pytest.raises(UsageError, match=r"bad.py, line 1: not valid Python"):
        zoo.described(f"{tmp_path}/bad.py:Net", NetworkOptions())


def test_the_digest_is_of_all_that_is_imported_from_beside(mine: Path) -> None:
    first = source_digest(str(mine))
    (mine.parent / "unrelated.py").write_text("x = 1\n")
    assert source_digest(str(mine)) == first
    blocks = mine.parent / "blocks.py"
    blocks.write_text(blocks.read_text() + "\n# edited\n")
    assert source_digest(str(mine)) != first
    text = reference(mine)
    mine.write_text(mine.read_text() + "\n# edited\n")
    with pytest.raises(UsageError, match=r"mine.py has changed since it was chosen"):
        zoo.load(text)


def test_two_networks_may_have_neighbours_of_one_name(mine: Path, tmp_path: Path) -> None:
    other = own_networks.write(tmp_path / "other")
    text = (other.parent / "blocks.py").read_text()
    (other.parent / "blocks.py").write_text(text.replace("ReLU()", "Tanh()"))
    kinds = [
        type(zoo.load(reference(path)).module.get_submodule("features.0.2")).__name__
        for path in (mine, other, mine)
    ]
    assert kinds == ["ReLU", "Tanh", "ReLU"]


def test_modules_are_found_from_the_working_folder(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = mine.parent / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        "from torch import nn\n\n\ndef conv(n):\n    return nn.Conv2d(3, n, 3)\n"
    )
    monkeypatch.chdir(mine.parent)
    text = zoo.described("own_package.nets:conv", NetworkOptions(arguments={"n": "2"}))
    model = zoo.load(zoo.sized(text, SIZE))
    assert model.architecture.name == "conv"
    assert model.architecture.description.classes is None


def test_names_of_networks(mine: Path) -> None:
    assert zoo.architecture(reference(mine, name="tiny")).name == "tiny"
    with pytest.raises(UsageError, match="a network of the zoo is called so"):
        reference(mine, name="alexnet")
    for wrong in ("../x", "a b", ".x", "x.toml"):
        with pytest.raises((UsageError, ValueError)):
            reference(mine, name=wrong)
    mine.write_text(mine.read_text().replace("class Net(", "class alexnet("))
    assert zoo.architecture(f"{mine}:alexnet").name == "mine-alexnet"
    with pytest.raises(UsageError, match=r"two models are called x: .*mine.py:Fixed and .*trained"):
        zoo.references([f"{mine}:Fixed", f"{mine}:trained"], NetworkOptions(name="x"))


def test_options_describe_a_network_of_the_zoo_too() -> None:
    text = zoo.described("mobilenet-0.25", NetworkOptions(mean=(0.5,) * 3, name="quarter"))
    card = zoo.architecture(text)
    assert (card.name, card.preprocessing.mean) == ("quarter", (0.5,) * 3)
    with pytest.raises(UsageError, match=r"--model-arg is for FILE.py:CALLABLE"):
        zoo.described("alexnet", NetworkOptions(arguments={"a": "1"}))
    with pytest.raises(UsageError, match="--mean: 1 numbers of mean and 3 of std"):
        zoo.described("alexnet", NetworkOptions(mean=(0.5,)))


def test_a_name_from_elsewhere_is_a_name_only(mine: Path) -> None:
    for name in (f"{mine}:Net", "card.toml", "x.onnx", reference(mine)):
        with pytest.raises(UsageError, match="no network of the zoo"):
            zoo.plain_name(name)
    assert zoo.plain_name("alexnet") == "alexnet"


def test_a_suite_runs_no_code_that_was_not_named(mine: Path) -> None:
    suite = Suite.of({"models": [f"{mine}:Net"], "resolutions": ["16x16"]}, source="suite")
    suite = check_models(suite)
    assert suite.models == ("Net",)
    with pytest.raises(UsageError, match=r"would run the code .*mine.py:Net .* --model"):
        check_code(suite, ())
    check_code(suite, {zoo.described(f"{mine}:Net", NetworkOptions())})
    stored = Suite.of(json.loads(suite.model_dump_json()), source="journal")
    with pytest.raises(UsageError, match="would run the code"):
        check_code(check_models(stored), ())


def test_a_card_names_files_of_its_own_folder_only(tmp_path: Path) -> None:
    card = (
        'name = "x"\ntitle = "X"\nsource = "X"\n[description]\nfamily = "python"\n'
        f'code = "../mine.py"\nfunction = "Net"\nsha256 = "{"0" * 64}"\n'
    )
    (tmp_path / "x.toml").write_text(card)
    with pytest.raises(UsageError, match="cannot be the name of a file in the same folder"):
        zoo.architecture(str(tmp_path / "x.toml"))
