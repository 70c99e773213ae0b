"""From what people type to a model: one name everywhere, and a question where two are likely."""

from __future__ import annotations

from pathlib import Path

import pytest

from shufflenet_deploy import zoo
from shufflenet_deploy.bench.suite_checks import check_models
from shufflenet_deploy.cli.bench_suite import make_suite
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import MAX_PIXELS, Resolution
from shufflenet_deploy.zoo.card import card_text, read_card


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("shufflenet-g3-05x", "shufflenet-g3-0.5x"),
        ("shufflenet-g3-025x", "shufflenet-g3-0.25x"),
        ("shufflenet-g8-15x", "shufflenet-g8-1.5x"),
        ("shufflenet-5x", "shufflenet-0.5x"),
        ("shufflenet_v1_x05", "shufflenet-v1-x0.5"),
        ("mobilenet-05", "mobilenet-0.5"),
        ("mobilenet-v2-05", "mobilenet-v2-0.5"),
        ("mobilenet-v1-075", "mobilenet-v1-0.75"),
    ],
)
def test_a_width_without_its_point_is_asked_back(typed: str, meant: str):
    with pytest.raises(UsageError, match=rf"did you mean {meant}\?$"):
        zoo.architecture(typed)
    assert zoo.architecture(meant)


@pytest.mark.parametrize(
    "name",
    [
        "shufflenet-g3-0.001x",
        "shufflenet-g3-9999x",
        "shufflenet-g3-" + "9" * 5000 + "x",
        "shufflenet-g" + "9" * 5000 + "-1x",
        "shufflenet-g3-0." + "0" * 5000 + "5x",
        "shufflenet-g0-1x",
        "shufflenet-g3-٣x",
        "mobilenet-4.1",
        "mobilenet-0",
        "mobilenet-0.0",
        "x" * 100_000,
        "a\nb",
        "",
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_widths_and_groups_have_bounds(name: str):
    with pytest.raises(UsageError) as raised:
        zoo.architecture(name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 6000


def card(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "card.toml"
    path.write_text(card_text(zoo.architecture("shufflenet-g3-0.25x").model_copy(update=changes)))
    return path


def test_aliases_and_cards_have_one_name_in_a_suite(tmp_path: Path):
    path = card(tmp_path, name="mine")
    weights = tmp_path / "w.pth"
    weights.touch()
    typed = {"models": ["shufflenet-1x", "shufflenet-g3-1x", str(path)], "baseline": "mobilenet"}
    suite = check_models(make_suite({}, typed, {}, [f"{path}={weights}"], fresh=True))
    assert suite.models == ("shufflenet-g3-1x", "mine")
    assert suite.baseline == "mobilenet-1.0"
    assert suite.cards == {"mine": str(path.absolute())}
    assert suite.weights == {"mine": (str(weights),)}
    assert {cell.model for cell in suite.cells()} == {"shufflenet-g3-1x", "mine", "mobilenet-1.0"}
    # What --resume reads back means the same.
    again = make_suite(suite.model_dump(mode="json"), {}, {}, [], fresh=False)
    assert check_models(again) == suite


def test_two_models_of_one_name_are_refused(tmp_path: Path):
    first, second = card(tmp_path / "a", name="mine"), card(tmp_path / "b", name="mine")
    with pytest.raises(UsageError, match=r"two models are called mine.*--name"):
        zoo.references([str(first), str(second)])
    assert zoo.references([str(first), str(first)]) == {"mine": str(first)}


@pytest.mark.parametrize(
    "line",
    [
        'name = "../../ESCAPED"',
        'name = "a/b"',
        'name = ".."',
        'title = "a\\nb"',
        'title = "\\u001b[31m"',
        "name = 3",
        "resolution = '0x0'",
        "resolution = '99999x99999x9'",
        "preprocessing.mean = [nan, 0.0, 0.0]",
        "preprocessing.resize = -1",
        "preprocessing.std = [0.0, 1.0, 1.0]",
        "preprocessing.value_range = [1.0, 0.0]",
        "description.repeats = [1000000000, 1, 1]",
        "description.widths = [999999999999999999999, 1, 1]",
        "description.classes = 1000000000",
        "description.gate = 99999999",
        "description.pooling = 'none'",
        "description.stem_kernel = 7",
        "description.stage2_stride = 4",
        "description.first_bottlenecks = [10, 18, 36]",
        "description.first_bottlenecks = [9]",
        "weights = { file = '../../x', sha256 = '0', source = 'x', layout = 'x' }",
        "weights = { file = '/etc/passwd', sha256 = '0', source = 'x', layout = 'x' }",
        "aliases = ['../x']",
        "folder = '/etc'",
        "unknown = 1",
        "counts = { parameters = 1e400, multiply_adds = 1 }",
    ],
)
def test_a_card_from_elsewhere_is_not_trusted(line: str, tmp_path: Path):
    fields = {
        "name": 'name = "x"',
        "title": 'title = "x"',
        "source": 'source = "x"',
        "description.family": "description.family = 'shufflenet'",
        "description.groups": "description.groups = 3",
        "description.stem": "description.stem = 12",
        "description.widths": "description.widths = [36, 72, 144]",
        "description.bottlenecks": "description.bottlenecks = [9, 18, 36]",
    }
    fields[line.partition(" =")[0]] = line
    path = tmp_path / "x.toml"
    path.write_text("\n".join(fields.values()))
    with pytest.raises(UsageError) as raised:
        read_card(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_width_that_cannot_be_built_says_so_in_one_line():
    with pytest.raises(UsageError) as raised:
        zoo.architecture("shufflenet-g3-0.05x")
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)
    assert "0 channels cannot be split into 3 groups" in str(raised.value)


@pytest.mark.parametrize("text", ["99999x99999", "99999", "4097x4096"])
def test_a_resolution_beyond_memory_is_refused(text: str):
    with pytest.raises(UsageError, match="17 million at most"):
        Resolution.parse(text)


def test_the_largest_resolution_is_taken():
    assert Resolution.parse("4096x4096").pixels == MAX_PIXELS


def test_several_checkpoints_take_commas(tmp_path: Path):
    files = [tmp_path / name for name in ("one.pth", "two.pth", "a,b.pth")]
    for file in files:
        file.touch()
    one, two, odd = map(str, files)
    suite = make_suite({}, {"models": ["alexnet"]}, {}, [f"{one},{two}", odd], fresh=True)
    assert suite.weights == {"alexnet": (one, two, odd)}
