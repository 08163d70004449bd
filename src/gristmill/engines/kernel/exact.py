"""Exact finishing of sums and moments, for the groups whose values do not fit two limbs.

See ``gristmill.algebra.sums`` for the limbs. These functions run inside DuckDB, on groups and not on rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_HIGH = 1024.0
_LOW = 2**72
_SHIFT = 2**62
_ERROR = 2**62
_LIMIT = 2.0**53


def exact_sum(high: int | None, low: int | None, kept: Sequence[float] | None) -> float | None:
    """Return the correctly rounded sum of what two limb sums and some whole values hold.

    Args:
        high, low: sums of the limbs over all values, those in ``kept`` included as far as they had limbs.
        kept: the values that the limbs do not hold exactly, all finite; null and empty mean the same.

    >>> exact_sum(1024, 0, [1e-30, 1e300, -1e300])
    1.0
    """
    kept = kept or ()
    units = _units(high, low, kept)
    try:
        return math.fsum([*kept, *_pieces(units)])
    except OverflowError:
        total = Fraction(units, _LOW) + sum(map(Fraction, kept))
        return _rounded(total)


def _rounded(total: Fraction) -> float:
    """Return the double nearest to a rational number, an infinity where none is near."""
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def _pieces(units: int) -> list[float]:
    """Return doubles that add up to ``units`` steps of 2^-72 exactly."""
    found = []
    while units:
        piece = float(units)
        found.append(math.ldexp(piece, -72))
        units -= int(piece)
    return found


def _units(high: int | None, low: int | None, kept: Sequence[float]) -> int:
    """Return what the limbs of the other values hold, in steps of 2^-72.

    The limbs of the kept values are in the sums too, rounded half to even as the SQL casts do; they are taken
    out again.
    """
    units = (high or 0) * _SHIFT + (low or 0)
    if not kept:
        return units
    values = np.asarray(kept)
    values = np.where(np.abs(values) < _LIMIT, values, 0.0)
    first = np.rint(values * _HIGH)
    second = np.rint((values - first / _HIGH) * _LOW)
    return units - _total(first) * _SHIFT - _total(second)


def _total(whole: npt.NDArray[np.float64]) -> int:
    """Return the exact sum of whole numbers below 2^63."""
    numbers = whole.astype(np.int64)
    return (int((numbers >> 32).sum()) << 32) + int((numbers & 0xFFFFFFFF).sum())


def _exact(high: int | None, low: int | None, kept: Sequence[float]) -> Fraction:
    return Fraction(_units(high, low, kept), _LOW) + sum(map(Fraction, kept))


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
    return _rounded((joint - first * second / count) / (count - less))


_LIMBS = ["HUGEINT", "HUGEINT", "DOUBLE[]"]


def multiset(
    kept: Sequence[float] | None, came: Sequence[float] | None, gone: Sequence[float] | None
) -> list[str] | None:
    """Return a bag of values after some came and some went, in order, NaN last; None where it is empty.

    As text, since a NaN that Python gives to DuckDB arrives as a null.

    >>> multiset([1.0, 2.0, 2.0], [0.5], [2.0])
    ['0.5', '1.0', '2.0']
    """
    counts = Counter([float(value).hex() for value in (*(kept or ()), *(came or ()))])
    counts.subtract([float(value).hex() for value in gone or ()])
    values = [float.fromhex(text) for text, count in counts.items() for _ in range(count)]
    return [repr(value) for value in sorted(values, key=lambda value: (math.isnan(value), value))] or None


FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "gm_exact_sum": (exact_sum, _LIMBS, "DOUBLE"),
    "gm_moment": (moment, ["BIGINT", *_LIMBS, *_LIMBS, *_LIMBS, "HUGEINT", "INTEGER"], "DOUBLE"),
    "gm_multiset": (multiset, ["DOUBLE[]", "DOUBLE[]", "DOUBLE[]"], "VARCHAR[]"),
}
"""Name in SQL, function, DuckDB types of the arguments and of the result; all see nulls."""
