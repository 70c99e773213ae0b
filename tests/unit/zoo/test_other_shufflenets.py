"""ShuffleNets that differ from the paper's: told apart, imported exactly, refused where faulty."""

from __future__ import annotations

from pathlib import Path

import other_shufflenets as others
import pytest
import torch

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.convert import convert
from shufflenet_deploy.zoo.weights_import import import_weights

#: Layout, the card that it must be told to be, its forward pass, its keys, and a size to run at.
FORMS = [
    (
        "kuangliu",
        "shufflenet-g2-kuangliu",
        others.kuangliu,
        others.kuangliu_shapes(),
        (32, 32),
    ),
    (
        "chenhang98",
        "shufflenet-g3-0.5x-chenhang98",
        others.chenhang98,
        others.chenhang98_shapes(),
        (32, 32),
    ),
    (
        "farmingyard",
        "shufflenet-g3-1x-farmingyard",
        others.farmingyard,
        others.farmingyard_shapes(),
        (64, 96),
    ),
    (
        "onnx-zoo",
        "shufflenet-g4-onnx-zoo",
        others.onnx_zoo,
        others.onnx_zoo_shapes(),
        (64, 96),
    ),
    (
        "tensorpack",
        "shufflenet-g8-0.5x-tensorpack",
        others.tensorpack,
        others.tensorpack_shapes(),
        # Sizes that are odd on the way, one side before the other.
        (70, 96),
    ),
    (
        "megvii",
        "shufflenet-v2-1x",
        others.megvii_v2,
        others.megvii_v2_shapes(),
        (64, 96),
    ),
]


def weights_of(layout: str, shapes: others.Shapes) -> others.State:
    return others.state(shapes, output_axis=-1 if layout == "tensorpack" else 0)


@pytest.mark.parametrize(
    ("layout", "card", "forward", "shapes", "size"), FORMS, ids=[form[0] for form in FORMS]
)
def test_a_checkpoint_gives_its_own_scores(
    layout: str,
    card: str,
    forward: others.Forward,
    shapes: others.Shapes,
    size: tuple[int, int],
    tmp_path: Path,
):
    torch.set_num_threads(1)
    state = weights_of(layout, shapes)
    torch.save(state, tmp_path / "theirs.pth")
    converted = convert(tmp_path / "theirs.pth", model=None, out=tmp_path / "out")
    assert converted.architecture.name == card
    assert converted.layout == layout
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = forward(state, image)
        found = zoo.load(str(converted.card)).module(image)
    assert expected.std() > 0.005
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("layout", "card", "shapes"),
    [(layout, card, shapes) for layout, card, _, shapes, _ in FORMS],
    ids=[form[0] for form in FORMS],
)
def test_another_model_is_refused_and_the_right_one_named(
    layout: str, card: str, shapes: others.Shapes, tmp_path: Path
):
    path = tmp_path / "theirs.pth"
    state = weights_of(layout, shapes)
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    with pytest.raises(UsageError, match=rf"holds {card} \({layout}'s layout\), not"):
        zoo.load("shufflenet-g3-1x", weights=path)
    assert zoo.load(card, weights=path).weights.layout == layout


@pytest.mark.parametrize(
    ("layout", "shapes"),
    [(layout, shapes) for layout, _, _, shapes, _ in FORMS],
    ids=[form[0] for form in FORMS],
)
def test_a_checkpoint_without_a_tensor_says_which(
    layout: str, shapes: others.Shapes, tmp_path: Path
):
    state = weights_of(layout, shapes)
    lost = list(state)[-8]
    del state[lost]
    torch.save(state, tmp_path / "theirs.pth")
    with pytest.raises(UsageError, match="1 missing") as raised:
        import_weights(tmp_path / "theirs.pth")
    assert lost in str(raised.value)


def test_other_widths_of_a_known_form_are_taken(tmp_path: Path):
    shapes = others.chenhang98_shapes(groups=8, width=192)
    torch.save(others.state(shapes), tmp_path / "w.pth")
    card = import_weights(tmp_path / "w.pth").architecture
    assert card.name == "shufflenet-g8-w192-chenhang98"
    assert card.description.stage2_stride == 1
    shapes = others.kuangliu_shapes(groups=3, widths=(240, 480, 960))
    torch.save(others.state(shapes), tmp_path / "w.pth")
    assert import_weights(tmp_path / "w.pth").architecture.name == "shufflenet-g3-kuangliu"


def test_tensorflow_s_numbers_of_outputs_are_ignored(tmp_path: Path):
    state = weights_of("tensorpack", others.tensorpack_shapes())
    torch.save({f"{key}:0": value for key, value in state.items()}, tmp_path / "w.pth")
    assert import_weights(tmp_path / "w.pth").layout == "tensorpack"


@pytest.mark.parametrize(
    "name",
    ["shufflenet-v2-0.5x", "mobilenet-v2-0.35", "mobilenet-v3-small", "resnet-18"],
)
def test_weights_in_torchvision_s_names_are_recognised(name: str, tmp_path: Path):
    torch.set_num_threads(1)
    with torch.device("meta"):
        shapes = {
            key: tuple(tensor.shape)
            for key, tensor in zoo.architecture(name).build().state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
    torch.save(others.state(shapes), tmp_path / "w.pth")
    found = import_weights(tmp_path / "w.pth")
    assert found.architecture.name == name
    assert found.layout == "torchvision"
