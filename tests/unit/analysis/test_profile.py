"""Adding up profiles and comparing two of them: what must add up does, to the last unit."""

from __future__ import annotations

import pytest

from shufflenet_deploy.analysis.profile import (
    BETWEEN,
    OUTSIDE,
    REST,
    UNKNOWN,
    decompose,
    decompositions,
    take_apart,
)
from shufflenet_deploy.records import (
    Cell,
    LayerKind,
    LayerWork,
    Metric,
    OperatorTiming,
    Precision,
    Profile,
    Resolution,
)

CONV, POINT, SHUFFLE = LayerKind.CONVOLUTION, LayerKind.POINTWISE, LayerKind.SHUFFLE


def profile(*operators, inference=(1000,), layers=()):
    """Operators as (name, layer, samples), layers as (name, kind, multiply-adds)."""
    return Profile(
        method="a profiler",
        inference=inference,
        operators=tuple(
            OperatorTiming(name=name, operator=name.rstrip("0123456789"), layer=layer, samples=ns)
            for name, layer, ns in operators
        ),
        layers=tuple(
            LayerWork(name=name, kind=kind, multiply_adds=adds) for name, kind, adds in layers
        ),
    )


def breakdown_of(made, *, model="small", plain=(900,), multiply_adds=100, measured=()):
    return take_apart(
        made,
        plain,
        cell=Cell(
            model=model,
            runtime="litert",
            format="tflite",
            precision=Precision.FP32,
            resolution=Resolution(height=32, width=32),
        ),
        host="pi",
        metric=Metric.LATENCY,
        multiply_adds=multiply_adds,
        measured=measured,
    )


def values(parts):
    return {part.name: part.value for part in parts}


LAYERS = (("a", CONV, 60), ("b", POINT, 40), ("s", SHUFFLE, 0), ("t", LayerKind.JOIN, 0))


def test_every_way_to_add_up_gives_the_whole():
    made = breakdown_of(
        profile(
            ("conv1", "a", (500,)),
            ("conv2", "b", (200,)),
            ("move1", "s", (50,)),
            ("reorder1", None, (30,)),
            layers=LAYERS,
        )
    )
    assert values(made.kinds) == {
        CONV: 500, POINT: 200, SHUFFLE: 50, BETWEEN: 30, OUTSIDE: 220,
    }  # fmt: skip
    # What is merged into another layer stands there with nothing of its own.
    assert values(made.layers) == {"a": 500, "b": 200, "s": 50, "t": 0, BETWEEN: 30, OUTSIDE: 220}
    assert values(made.operators) == {"conv": 700, "move": 50, "reorder": 30, OUTSIDE: 220}
    for parts in (made.kinds, made.layers, made.operators):
        assert sum(part.value for part in parts) == made.whole == 1000
        assert sum(part.share for part in parts) == pytest.approx(1)
    assert made.overhead == pytest.approx(1000 / 900)
    assert made.inside == pytest.approx(780 / 900)


def test_a_disturbed_inference_counts_for_nothing():
    steady = profile(
        ("conv1", "a", (400, 400, 9400, 420)), inference=(500, 520, 9500, 540), layers=LAYERS
    )
    made = breakdown_of(steady)
    # Of four the two in the middle: 520 and 540, with their own operators.
    assert made.whole == 530
    assert values(made.kinds)[CONV] == 410


def test_without_layers_operators_stand_for_themselves():
    made = breakdown_of(profile(("conv1", None, (700,))))
    assert not made.attributed
    assert made.layers == ()
    assert values(made.kinds) == {UNKNOWN: 700, OUTSIDE: 300}
    assert decompose(made, made) is None


def whole(point, shuffle, between, *, plain, adds, **more):
    operators = [("p", "b", (point,)), ("s", "s", (shuffle,)), ("r", None, (between,))]
    layers = (("b", POINT, adds), ("s", SHUFFLE, 0))
    total = point + shuffle + between
    made = profile(*operators, inference=(total + 10,), layers=layers)
    return breakdown_of(made, plain=(plain,), multiply_adds=adds, **more)


def test_models_of_the_same_kinds_lose_where_a_kind_shrinks_less_than_the_multiply_adds():
    large = whole(800, 160, 40, plain=1000, adds=400, model="large")
    small = whole(220, 80, 30, plain=340, adds=100)
    made = decompose(small, large)
    assert made.theory == pytest.approx(4)
    assert made.speedup == pytest.approx(1000 / 340)
    gaps = {gap.name: gap for gap in made.gaps}
    assert gaps[POINT].theory == 4
    assert gaps[POINT].ratio == pytest.approx(800 / 220)
    assert gaps[POINT].lost == pytest.approx(220 - 800 / 4)
    assert gaps[SHUFFLE].theory is None
    assert gaps[SHUFFLE].ratio == pytest.approx(2)
    assert gaps[SHUFFLE].lost == pytest.approx(80 - 160 / 4)
    assert gaps[BETWEEN].lost == pytest.approx(30 - 40 / 4)
    # The operators of the small one take 330 of 340, those of the large one all.
    assert gaps[REST].candidate == pytest.approx(10)
    check_sums(made, small, large)


def check_sums(made, small, large):
    assert sum(gap.candidate for gap in made.gaps) == pytest.approx(small.plain)
    assert sum(gap.baseline for gap in made.gaps) == pytest.approx(large.plain)
    assert sum(gap.promised for gap in made.gaps) == pytest.approx(large.plain / made.theory)
    assert sum(gap.lost for gap in made.gaps) == pytest.approx(made.lost)
    assert made.lost == pytest.approx(small.plain - large.plain / made.theory)


def test_models_of_other_kinds_are_promised_by_multiply_adds():
    other = profile(
        ("c", "a", (900,)), ("m", "t", (60,)), inference=(1000,),
        layers=(("a", CONV, 400), ("t", LayerKind.JOIN, 0)),
    )  # fmt: skip
    large = breakdown_of(other, model="large", plain=(1000,), multiply_adds=400)
    small = whole(220, 80, 30, plain=340, adds=100)
    made = decompose(small, large)
    gaps = {gap.name: gap for gap in made.gaps}
    assert gaps[CONV].promised == 0
    assert gaps[POINT].promised == pytest.approx(900 * 100 / 400)
    assert gaps[SHUFFLE].promised == 0
    assert gaps[LayerKind.JOIN].promised == pytest.approx(60 / 4)
    check_sums(made, small, large)


def test_the_bench_brings_the_interval():
    large = whole(800, 160, 40, plain=1000, adds=400, model="large", measured=((1000, 1010),) * 3)
    small = whole(220, 80, 30, plain=340, adds=100, measured=((400, 402),) * 3)
    made = decompose(small, large)
    assert made.measured == pytest.approx(1005 / 401)
    assert made.low < made.measured < made.high
    assert made.speedup == pytest.approx(1000 / 340)


def test_only_smaller_models_in_the_same_setting_are_compared():
    large = whole(800, 160, 40, plain=1000, adds=400, model="large")
    small = whole(220, 80, 30, plain=340, adds=100)
    elsewhere = small.model_copy(update={"host": "phone"})
    assert [
        (made.candidate.model, made.baseline.model)
        for made in decompositions([large, small, elsewhere], "large")
    ] == [("small", "large")]
    assert decompositions([large, small], "small") == []
    assert decompositions([large, small], "nobody") == []
