"""Exact casts from text: a cell either is of the type, letter by letter, or it does not fit.

Each type has a grammar; blanks around numbers, dates and times are ignored. What fits the grammar but not the
type (an integer beyond its range, 30 February, a number that overflows to infinity) does not fit either.
Nothing is rounded to fit, except decimal fractions to the nearest double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUE_WORDS = ("true", "True", "TRUE", "1")
FALSE_WORDS = ("false", "False", "FALSE", "0")

_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_WORDS = r"[-+]?(?i:nan|inf|infinity)"
INTEGER = r"^[ \t]*-?[0-9]+[ \t]*$"
DOUBLE = rf"^[ \t]*({_NUMBER}|{_WORDS})[ \t]*$"
INFINITE = r"^[ \t]*[-+]?(?i:inf|infinity)[ \t]*$"
DECIMAL = rf"^[ \t]*{_NUMBER}[ \t]*$"
BOOLEAN = rf"^({'|'.join(TRUE_WORDS + FALSE_WORDS)})$"
DATE = r"^[ \t]*[0-9]{4}-[0-9]{2}-[0-9]{2}[ \t]*$"
TIME = rf"^[ \t]*{_CLOCK}[ \t]*$"
ZONED = rf"^[ \t]*[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}(Z|[-+][0-9]{{2}}:?[0-9]{{2}})[ \t]*$"
NAIVE = rf"^[ \t]*[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_CLOCK})?[ \t]*$"


def grammar(kind: pa.DataType) -> str | None:
    """Return the pattern that a cell of this type matches; None where any text may be tried."""
    t = pa.types
    tests = (
        (t.is_integer, INTEGER),
        (t.is_floating, DOUBLE),
        (t.is_decimal, DECIMAL),
        (t.is_boolean, BOOLEAN),
        (t.is_date, DATE),
        (t.is_time, TIME),
    )
    return next((pattern for test, pattern in tests if test(kind)), None)


def exact_cast(cells: pa.Array, kind: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast text cells; returns the values, null where a cell does not fit, and the mask of those that do not.

    >>> values, bad = exact_cast(pa.array(["7", "7.0", None, "x"]), pa.int64())
    >>> values.to_pylist(), bad.tolist()
    ([7, None, None, None], [False, True, False, True])
    """
    if pa.types.is_string(kind):
        return cells, np.zeros(len(cells), dtype=bool)
    text = _candidates(cells, kind)
    values = _cast(text, kind)
    if pa.types.is_floating(kind):
        overflow = pc.and_(pc.is_inf(values), pc.invert(pc.match_substring_regex(text, INFINITE)))
        values = pc.if_else(pc.fill_null(overflow, False), pa.scalar(None, kind), values)
    elif pa.types.is_temporal(kind) and not pa.types.is_time(kind):
        values = pc.if_else(year_zero(values), pa.scalar(None, kind), values)
    bad = pc.and_(pc.is_valid(cells), pc.is_null(values))
    mask: NDArray[np.bool_] = bad.to_numpy(zero_copy_only=False)
    return values, mask


def year_zero(values: pa.Array) -> pa.Array:
    """Return the mask of dates and times before the year 1, which no calendar has."""
    return pc.fill_null(pc.less(pc.year(values), 1), False)


def _candidates(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """The cells that match the type's grammar, in the one form that Arrow parses; null elsewhere."""
    none = pa.scalar(None, pa.string())
    if pa.types.is_timestamp(kind):
        zoned = pc.match_substring_regex(cells, ZONED)
        naive = pc.match_substring_regex(cells, NAIVE)
        trimmed = pc.utf8_trim(cells, " \t")
        if kind.tz is None:
            return pc.if_else(naive, trimmed, none)
        dated = pc.and_(naive, pc.equal(pc.utf8_length(trimmed), 10))
        whole = pc.if_else(dated, pc.binary_join_element_wise(trimmed, "00:00", " "), trimmed)
        with_zone = pc.binary_join_element_wise(whole, "Z", "")
        return pc.if_else(zoned, trimmed, pc.if_else(naive, with_zone, none))
    pattern = grammar(kind)
    if pattern is None:
        return cells
    return pc.if_else(pc.match_substring_regex(cells, pattern), pc.utf8_trim(cells, " \t"), none)


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast all; where that fails, halve until the cells at fault stand alone and become null."""
    try:
        if pa.types.is_time(kind):
            moments = pc.cast(pc.binary_join_element_wise("1970-01-01", text, " "), pa.timestamp("us"))
            return pc.cast(moments, kind)
        return pc.cast(text, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(text) == 1:
            return pa.nulls(1, kind)
    half = len(text) // 2
    return pa.concat_arrays([_cast(text[:half], kind), _cast(text[half:], kind)])
