"""Steps in series: their rate of false alarms by simulation, and that real ones are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shufflenet_deploy.stats.change_points import exact_steps, least_values, steps

MS = 1e6


def noise(kind: str, count: int, generator: np.random.Generator) -> np.ndarray:
    """Logarithms of what suites differ by: normal, heavy-tailed, or with late suites."""
    if kind == "heavy":
        return generator.standard_t(3, count) * 0.01
    drawn = generator.normal(0.0, 0.01, count)
    if kind == "late":
        drawn[generator.random(count) < 0.05] += 0.3
    return drawn


def series(kind: str, count: int, generator: np.random.Generator) -> np.ndarray:
    return 12 * MS * np.exp(noise(kind, count, generator))


@pytest.mark.parametrize("kind", ["normal", "heavy", "late"])
@pytest.mark.parametrize("count", [10, 40])
def test_false_alarms_are_as_rare_as_promised(kind, count):
    """Of 400 series in which nothing changed, no more have steps than 5 % and chance allow."""
    generator = np.random.default_rng(count)
    alarms, rate = 400, 0.05
    found = sum(
        bool(steps(series(kind, count, generator), false_alarms=rate, seed=seed))
        for seed in range(alarms)
    )
    # Three standard deviations of a binomial count above its mean.
    assert found <= alarms * rate + 3 * math.sqrt(alarms * rate * (1 - rate))
    # The test is exact, not merely cautious: it does use the rate it is given.
    assert found >= alarms * rate / 5


@pytest.mark.parametrize("kind", ["normal", "late"])
def test_steps_are_found_where_they_are(kind):
    values = series(kind, 90, np.random.default_rng(5))
    values[40:] *= 1.10
    values[70:] /= 1.20
    found = steps(values)
    assert len(found) == 2
    assert found[0] == pytest.approx(40, abs=1)
    assert found[1] == pytest.approx(70, abs=1)


def test_a_clear_step_is_found_three_suites_after_it():
    values = series("normal", 40, np.random.default_rng(6))
    values[-3:] *= 1.10
    assert steps(values) == [37]
    assert steps(values[:-2]) == []


def test_one_late_suite_is_no_step():
    values = series("normal", 40, np.random.default_rng(7))
    values[20] *= 3
    assert steps(values) == []


def test_a_series_that_is_too_short_for_its_rate_has_no_steps():
    clear = [10.0, 10.1, 10.2, 10.0, 20.0, 20.1, 20.2, 20.1, 20.0]
    assert least_values(0.01) == 10
    assert steps(clear, false_alarms=0.01) == []
    assert steps([*clear, 20.0], false_alarms=0.01) == [4]
    assert steps(clear, false_alarms=0.05) == [4]


def test_level_and_exact_series():
    assert steps([5.0] * 50) == []
    assert steps([5.0] * 20 + [6.0] * 20) == [20]
    assert steps([]) == []
    assert exact_steps([100.0, 100.05, 100.3, 100.3, 90.0]) == [2, 4]
    assert exact_steps([]) == []


def test_the_unit_decides_nothing_and_the_seed_everything():
    values = series("heavy", 60, np.random.default_rng(8))
    values[30:] *= 1.02
    assert steps(values) == steps(values / MS) == steps(values)


@pytest.mark.parametrize(("values", "rate"), [([1.0, 0.0], 0.01), ([1.0], 0.0), ([1.0], 1.0)])
def test_what_has_no_meaning_is_refused(values, rate):
    with pytest.raises(ValueError, match=r"positive|between"):
        steps(values, false_alarms=rate)
