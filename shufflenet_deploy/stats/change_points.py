"""Steps in a series of figures: where a new level begins, with a stated rate of false alarms.

The test of one stretch: of all places that leave at least ``LEAST`` values on either side, the one
where the means of both sides differ most, each difference weighed by its precision (the
likelihood-ratio statistic of one step in normal noise). Whether that is more than chance is told by
permutations: if nothing changed, any order of the values was as likely as the one seen, so the
share of orders with as great a statistic is a p-value whatever the noise looks like. A
stretch with a step is divided there and both parts are tested again (binary segmentation); at last
each step is tested once more between its neighbours, which puts it into its place.

In a series in which nothing changed, with noise that does not depend on its past, a step is found
with a probability of at most ``false_alarms``, however long the series is. Every real step divides
the series into parts, each with that probability of its own.

Logarithms are compared, so that a step is a ratio. Values further than five robust standard
deviations from the middle count as if they were at that distance: a single late suite neither
makes a step nor hides one. (The limit depends on the values and not on their order, so permutations
stay exact.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.stats.intervals import MAD_TO_SIGMA, FloatArray, mad, median

#: A level has at least so many values.
LEAST = 3
#: Robust standard deviations from the middle.
_REACH = 5.0
#: Permutations are drawn in parts, so that a series without a step is done soon.
_PART = 100
#: A permuted statistic that differs by rounding only is as great.
_ROUNDING = 1e-9


def least_values(false_alarms: float) -> int:
    """The shortest series that can show a step at all with this rate of false alarms.

    Even the clearest step in the middle is one of few arrangements of a short series.
    """
    count = 2 * LEAST
    while 2 / math.comb(count, count // 2) > false_alarms:
        count += 1
    return count


def steps(values: Sequence[float], *, false_alarms: float = 0.01, seed: int = 0) -> list[int]:
    """The indices of the values at which new levels begin, in order.

    Args:
        values: positive figures of one quantity in the order of time, in any unit.
        false_alarms: probability of a step in a series in which nothing changed; above 0.
        seed: the same seed gives the same steps.

    Raises:
        ValueError: a value is not positive, or the rate is not between 0 and 1.
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"a rate of false alarms is between 0 and 1, not {false_alarms}")
    if any(value <= 0 for value in values):
        raise ValueError("a step is a ratio, which needs positive values")
    test = _Test(false_alarms, np.random.default_rng(seed))
    series = np.log(np.asarray(values, dtype=np.float64))
    found: list[int] = []
    stretches = [(0, len(series))]
    while stretches:
        start, end = stretches.pop()
        place = test.step(series[start:end])
        if place is not None:
            found.append(start + place)
            stretches += [(start, start + place), (start + place, end)]
    return _settled(series, sorted(found), test)


def exact_steps(values: Sequence[float], *, tolerance: float = 0.001) -> list[int]:
    """The same for figures without noise, as counts of instructions: every change is a step.

    ``tolerance`` is the share by which a value may differ from the first one of its level.
    """
    found: list[int] = []
    level = values[0] if values else 0.0
    for index, value in enumerate(values):
        if abs(value - level) > tolerance * level:
            found.append(index)
            level = value
    return found


def _settled(series: FloatArray, found: list[int], test: _Test) -> list[int]:
    """Test each step between its neighbours; it moves to where it is clearest there, or goes."""
    settled: list[int] = []
    for index in range(len(found)):
        start = settled[-1] if settled else 0
        end = found[index + 1] if index + 1 < len(found) else len(series)
        place = test.step(series[start:end])
        if place is not None:
            settled.append(start + place)
    return settled


class _Test:
    """The test of one stretch at a fixed rate of false alarms."""

    def __init__(self, false_alarms: float, generator: np.random.Generator) -> None:
        self._false_alarms = false_alarms
        self._permutations = max(999, math.ceil(10 / false_alarms) - 1)
        self._least = least_values(false_alarms)
        self._generator = generator

    def step(self, stretch: FloatArray) -> int | None:
        """The place of the step; None where there is none that chance does not explain."""
        if len(stretch) < self._least or np.ptp(stretch) == 0:
            return None
        values = _clipped(stretch)
        statistics = _statistics(values[np.newaxis])[0]
        seen = float(statistics.max())
        # Significant while (1 + as great) / (1 + permutations) is at most the rate.
        allowed = self._false_alarms * (1 + self._permutations) - 1
        as_great = 0
        for drawn in range(0, self._permutations, _PART):
            count = min(_PART, self._permutations - drawn)
            orders = self._generator.permuted(np.tile(values, (count, 1)), axis=1)
            greatest = _statistics(orders).max(axis=1)
            as_great += int(np.count_nonzero(greatest >= seen * (1 - _ROUNDING)))
            if as_great > allowed:
                return None
        return LEAST + int(statistics.argmax())


def _clipped(values: FloatArray) -> FloatArray:
    middle, reach = median(values), _REACH * MAD_TO_SIGMA * mad(values)
    return np.clip(values, middle - reach, middle + reach) if reach > 0 else values


def _statistics(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each row, the statistic of each place from ``LEAST`` on: squared difference, weighed."""
    length = rows.shape[1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = np.cumsum(centred, axis=1)[:, LEAST - 1 : length - LEAST]
    before = np.arange(LEAST, length - LEAST + 1)
    statistics: NDArray[np.float64] = sums**2 * (length / (before * (length - before)))
    return statistics
