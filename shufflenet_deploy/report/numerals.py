"""Number formats, the same in every table, chart and line: never with an exponent.

``figure`` is for measured values: about three digits, as in the paper's Table 8. ``plain`` is for
machines: every digit, as CSV needs it. ``short`` is for a user's own values: seconds, limits.
"""

from __future__ import annotations

from decimal import Decimal

#: Digits of a figure below 1000; from there on all digits before the point are written.
_DIGITS = 3
#: From here on a tenth is below the noise.
_WHOLE_FROM = 10_000
#: Figures below this are written as zero.
_FEWEST = 1e-6


def figure(value: float) -> str:
    """A measured value: 0.0482, 0.482, 2.31, 15.2, 1857.6, 25340."""
    return f"{value:.{decimals(value)}f}"


def span(low: float, high: float) -> str:
    """Both ends of an interval, with the digits of the upper one: ``12.1–14.6``."""
    places = decimals(max(abs(low), abs(high)))
    return f"{low:.{places}f}–{high:.{places}f}"


def percent(share: float) -> str:
    """A share in percent without its sign, about two digits: ``0``, ``0.03``, ``1.2``, ``12``."""
    value = 100 * share
    if value < 0.005:
        return "0"
    return f"{value:.{2 if value < 0.1 else 1 if value < 10 else 0}f}"


def deviation(middle: float, low: float, high: float) -> str:
    """An interval relative to its estimate: ``±1.2%``, or ``-0.3/+12%`` if asymmetric."""
    below, above = percent((middle - low) / middle), percent((high - middle) / middle)
    return f"±{above}%" if below == above else f"-{below}/+{above}%"


def decimals(value: float) -> int:
    """Digits after the point of ``figure(value)``."""
    size = abs(value)
    if size < _FEWEST:
        return 0
    places = 0 if size >= _WHOLE_FROM else 1 if size >= 10 else _DIGITS - 1
    if size < 1:
        places = max(_DIGITS, _DIGITS - 1 - _exponent(size))
    # 9.996 has two decimals by its size and one by what it is rounded to.
    rounded = round(size, places)
    return (
        decimals(rounded) if rounded > size and _magnitude(rounded) > _magnitude(size) else places
    )


def plain(value: float) -> str:
    """Every digit of a number, without an exponent: ``2534000000``, ``0.000025``."""
    return format(Decimal(repr(value)), "f")


def short(value: float) -> str:
    """A number as one would type it: ``30``, ``0.5``, ``1200000``."""
    text = format(Decimal(f"{value:.6g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exponent(size: float) -> int:
    return Decimal(repr(size)).adjusted()


def _magnitude(size: float) -> tuple[bool, int]:
    """The properties that fix the digits: the power of ten, and having no fraction at all."""
    return size >= _WHOLE_FROM, min(_exponent(size), 1)
