"""Proportions: Wilson confidence intervals, and McNemar's test of two networks on the same images.

Pure functions over counts.
"""

from __future__ import annotations

import math

#: The 97.5 % quantile of the normal distribution: intervals hold the truth 19 times in 20.
_QUANTILE = 1.959963984540054
#: Above so many discordant images the exact sum takes long, and differs by little.
_EXACT = 10_000


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, 1927), both ends in [0, 1].

    It stays within its bounds and is honest for small counts and shares near 0 or 1, where the
    textbook interval is neither. Nothing tried means nothing known: (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, _QUANTILE**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    reach = (
        _QUANTILE
        * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
        / (1 + square / trials)
    )
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == trials else min(1.0, centre + reach)
    return low, high


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value that two classifiers are equally often right (McNemar, 1947).

    Only discordant images count, which one of them has right and the other has not: of two equally
    good classifiers, each wins such an image with probability 1/2. Exact up to 10,000 such images;
    beyond, the normal approximation with its correction for continuity.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    if discordant > _EXACT:
        distance = max(0, abs(only_first - only_second) - 1) / math.sqrt(discordant)
        return math.erfc(distance / math.sqrt(2))
    ways = total = 1
    for wins in range(min(only_first, only_second)):
        ways = ways * (discordant - wins) // (wins + 1)
        total += ways
    return min(1.0, 2 * total / (1 << discordant))
