"""Remedies for int8: channels made alike, layers that must be in float, the order of trying."""

from __future__ import annotations

from pathlib import Path

import digits
import numpy as np
import pytest

from shufflenet_deploy import zoo
from shufflenet_deploy.export import quantization_search
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Conv, Graph
from shufflenet_deploy.network.quantization.cross_layer_equalization import equalized
from shufflenet_deploy.records import Parity, Recipe, Resolution

SIZE = Resolution(height=32, width=32)
MINMAX = Recipe(method="minmax")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    card = digits.rewritten(tmp_path_factory.mktemp("card"), digits.with_outliers_inside)
    return trace(zoo.load(str(card)).module, SIZE, "digits")


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(1, 3, 32, 32)).astype(np.float32) for _ in range(4)]


def peaks(graph: Graph, batches: list[np.ndarray], value: str) -> np.ndarray:
    found = [interpreter.activations(graph, batch)[value] for batch in batches]
    return np.abs(found).max((0, 2, 3))


def test_outliers_change_nothing_in_float(uneven: Graph, batches: list[np.ndarray]) -> None:
    even = trace(zoo.load(str(digits.CARD)).module, SIZE, "digits")
    for batch in batches:
        wanted = interpreter.outputs(even, batch)
        np.testing.assert_allclose(interpreter.outputs(uneven, batch), wanted, rtol=1e-3, atol=1e-4)


def test_equalised_channels_compute_the_same_with_one_scale(
    uneven: Graph, batches: list[np.ndarray]
) -> None:
    made_even = equalized(uneven, batches)
    for batch in batches:
        wanted = interpreter.outputs(uneven, batch)
        np.testing.assert_allclose(
            interpreter.outputs(made_even, batch), wanted, rtol=1e-3, atol=1e-4
        )
    for value in ("stage2.1.compress", "stage3.0.compress", "stage4.1.compress"):
        before, after = (peaks(graph, batches, value) for graph in (uneven, made_even))
        assert before.max() / np.median(before[before > 0]) > 100
        assert after.max() / after[after > 0].min() < 1.01


def test_only_convolutions_change(uneven: Graph, batches: list[np.ndarray]) -> None:
    for old, new in zip(uneven.layers, equalized(uneven, batches).layers, strict=True):
        assert old is new or isinstance(old, Conv)
        assert (old.name, old.inputs, old.output) == (new.name, new.inputs, new.output)


def test_a_dead_channel_stays_dead(batches: list[np.ndarray], tmp_path: Path) -> None:
    def kill(state: digits.State) -> None:
        state["stage2.0.compress_bn.weight"][1] = 0
        state["stage2.0.compress_bn.bias"][1] = -1

    graph = trace(zoo.load(str(digits.rewritten(tmp_path, kill))).module, SIZE, "digits")
    made_even = equalized(graph, batches)
    wanted = interpreter.outputs(graph, batches[0])
    np.testing.assert_allclose(
        interpreter.outputs(made_even, batches[0]), wanted, rtol=1e-3, atol=1e-4
    )


def result(sqnr_db: float, floor_db: float = 10) -> Parity:
    return Parity(
        inputs=4,
        max_abs_diff=0.1,
        sqnr_db=sqnr_db,
        cosine=0.99,
        top1_agreement=1,
        passed=sqnr_db >= floor_db,
    )


def search(graph: Graph, sqnr_of, worst: tuple[str, ...] = ()) -> quantization_search.SearchResult:
    rows = [
        LayerFidelity(layer=name, kind="Conv", shape=(1,), sqnr_db=1, drop_db=9 - rank)
        for rank, name in enumerate(worst)
    ]
    return quantization_search.search(
        MINMAX, graph, lambda recipe: result(sqnr_of(recipe)), lambda _: rows
    )


def test_what_passes_at_once_is_left_alone(uneven: Graph) -> None:
    outcome = search(uneven, lambda _: 20)
    assert outcome.recipe == MINMAX
    assert outcome.attempts == ()


def test_the_first_that_passes_is_kept(uneven: Graph) -> None:
    outcome = search(uneven, lambda recipe: 12 if recipe.method == "entropy" else 3)
    assert outcome.recipe.method == "entropy"
    assert [one.recipe.method for one in outcome.attempts] == ["minmax", "percentile", "entropy"]


def test_layers_in_float_come_last_and_surround_the_value_that_is_lost(uneven: Graph) -> None:
    outcome = search(
        uneven,
        lambda recipe: 11 if len(recipe.float_layers) > 2 else 3,
        worst=("stage4.0.expand", "stem"),
    )
    assert outcome.recipe == Recipe(
        method="minmax",
        float_layers=(
            "stage4.0.expand",
            "stage4.0.concat",
            "stage4.1.compress",
            "stage4.1.shuffle",
            "stage4.1.expand",
            "stage4.1.add",
            "flatten",
            "classifier",
        ),
    )
    assert [str(one.recipe) for one in outcome.attempts] == [
        "minmax calibration",
        "percentile calibration",
        "entropy calibration",
        "minmax calibration, equalised channels",
        "minmax calibration, 2 layers in float",
        "minmax calibration, 8 layers in float",
    ]


def test_a_value_that_runs_through_the_whole_network_is_rounded_behind_its_readers(
    uneven: Graph,
) -> None:
    outcome = search(
        uneven, lambda recipe: 11 if len(recipe.float_layers) > 2 else 3, worst=("stem_pool",)
    )
    assert outcome.recipe.float_layers == (
        *("stem_pool", "stage2.0.compress", "stage2.0.shuffle", "stage2.0.shortcut"),
    )


def test_the_best_is_kept_where_none_passes(uneven: Graph) -> None:
    outcome = search(uneven, lambda recipe: 5 if recipe.equalised else 2)
    assert outcome.recipe == Recipe(method="minmax", equalised=True)
    assert not outcome.parity.passed
    assert len({one.recipe for one in outcome.attempts}) == len(outcome.attempts)


def test_a_file_that_runs_goes_before_one_that_does_not(uneven: Graph) -> None:
    outcome = search(uneven, lambda recipe: -3 if recipe.method == "entropy" else -200)
    assert outcome.recipe.method == "entropy"


def test_without_layers_to_compare_none_goes_to_float(uneven: Graph) -> None:
    outcome = quantization_search.search(MINMAX, uneven, lambda _: result(2), None)
    assert [str(one.recipe) for one in outcome.attempts] == [
        "minmax calibration",
        "percentile calibration",
        "entropy calibration",
        "minmax calibration, equalised channels",
    ]
    assert not outcome.parity.passed


def test_most_of_a_network_never_goes_to_float(uneven: Graph) -> None:
    names = tuple(layer.name for layer in uneven.layers)
    outcome = search(uneven, lambda recipe: len(recipe.float_layers), worst=names)
    assert len(outcome.recipe.float_layers) <= len(names) // 2
