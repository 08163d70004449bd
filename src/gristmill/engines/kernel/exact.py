"""Exact finishing of sums and moments, for the groups whose values do not fit two limbs.

See ``gristmill.algebra.sums`` for the limbs. These functions run inside DuckDB, on groups and not on rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

_HIGH = 2**10
_LOW = 2**72
_SHIFT = 2**62
_ERROR = 2**62
_INT64 = 2**63


def exact_sum(high: int | None, low: int | None, kept: Sequence[float] | None) -> float | None:
    """Return the correctly rounded sum of what two limb sums and some whole values hold.

    Args:
        high, low: sums of the limbs over all values, those in ``kept`` included as far as they had limbs.
        kept: the values that the limbs do not hold exactly, all finite; null and empty mean the same.

    >>> exact_sum(1024, 0, [1e-30, 1e300, -1e300])
    1.0
    """
    total = _exact(high, low, kept or ())
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def _exact(high: int | None, low: int | None, kept: Sequence[float]) -> Fraction:
    """Return the exact sum; limbs of the kept values are taken out again, as they are in both."""
    units = (high or 0) * _SHIFT + (low or 0)
    rest = Fraction(0)
    for value in kept:
        first, second = _limbs(value)
        units -= first * _SHIFT + second
        rest += Fraction(value)
    return Fraction(units, _LOW) + rest


def _limbs(value: float) -> tuple[int, int]:
    """Return the limbs that the SQL gave a value, rounding half to even as it does."""
    scaled = value * _HIGH
    if not -_INT64 <= scaled < _INT64:
        return 0, 0
    first = round(scaled)
    return first, round((value - first / _HIGH) * _LOW)


def moment(
    count: int,
    high_x: int | None,
    low_x: int | None,
    kept_x: Sequence[float] | None,
    high_y: int | None,
    low_y: int | None,
    kept_y: Sequence[float] | None,
    high_xy: int | None,
    low_xy: int | None,
    kept_xy: Sequence[float] | None,
    error: int | None,
    less: int,
) -> float | None:
    """Return the co-moment sum((x - mean x) * (y - mean y)) / (count - less), rounded once.

    Args:
        count: number of pairs.
        high_x, low_x, kept_x: limb sums and whole values of the first column; ``_y`` of the second, ``_xy``
        of
            their products in doubles.
        error: what those products leave out, in units of 2^-62.
        less: 1 for a sample, 0 for a population.

    Returns:
        None where there are too few values.
    """
    if count <= less:
        return None
    joint = _exact(high_xy, low_xy, kept_xy or ()) + Fraction(error or 0, _ERROR)
    first, second = _exact(high_x, low_x, kept_x or ()), _exact(high_y, low_y, kept_y or ())
    return float((joint - first * second / count) / (count - less))


_LIMBS = ["HUGEINT", "HUGEINT", "DOUBLE[]"]

FUNCTIONS: dict[str, tuple[Callable[..., float | None], list[str]]] = {
    "gm_exact_sum": (exact_sum, _LIMBS),
    "gm_moment": (moment, ["BIGINT", *_LIMBS, *_LIMBS, *_LIMBS, "HUGEINT", "INTEGER"]),
}
"""Name in SQL, function, DuckDB types of the arguments; all return a DOUBLE and see nulls."""
