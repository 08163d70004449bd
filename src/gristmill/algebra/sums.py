"""Aggregates over floats that do not depend on the order of rows, threads, files or increments.

A double x is split into two integers, ``h`` = x in units of 2^-10 and ``l`` = the rest in units of 2^-72.
Sums of integers are exact in any order; where two limbs do not hold x (very large, very small, NaN,
infinite) the value itself is kept in a list. At the end ``h * 2^62 + l`` is rounded once; groups with a list
go through exact arithmetic (``gristmill.engines.kernel.exact``). Error-free splitting and products: Dekker,
"A floating-point technique for extending the available precision", 1971.

With a grid (a declared range and resolution) one integer per value does, in steps of the resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import msgspec

from gristmill.algebra.nodes import Formula, Reduce
from gristmill.errors import DefinitionError

HUGE = dt.Decimal(38, 0)
_DOUBLES = dt.Array(dt.float64)


class Grid(msgspec.Struct, frozen=True):
    """A column's declared range and resolution, which let its sums count steps.

    Args:
        low, high: the range.
        resolution: the distance between neighbouring values, such as ``0.01``; every value is a multiple.
        trusted: whether a contract keeps everything off the grid out of the table; then sums do not look
        again.
            Otherwise a value off the grid makes a sum raise, at about a quarter of its cost.

    >>> Grid(low=0, high=1000, resolution=0.01).ratio
    Fraction(1, 100)
    """

    low: float
    high: float
    resolution: float
    trusted: bool = False

    @property
    def ratio(self) -> Fraction:
        """The resolution as the decimal fraction that it is written as."""
        return Fraction(repr(self.resolution))

    @property
    def holds(self) -> bool:
        """Whether every point of the grid is one double, so that counting steps is exact."""
        ratio = self.ratio
        largest = Fraction(max(abs(self.low), abs(self.high)))
        return ratio > 0 and largest / ratio < 2**53 and max(ratio.numerator, ratio.denominator) < 2**53


Grids = Mapping[tuple[str, str], Grid]

DECOMPOSED = (ops.Sum, ops.Mean, ops.Variance, ops.StandardDev, ops.Covariance, ops.Correlation, ops.Mode)


def decompose(node: ops.Reduction, grids: Grids) -> ops.Value:
    """Return the reduction as arithmetic over reductions that are independent of the order of rows."""
    match node:
        case ops.Sum():
            return _sum(node.arg, node.where, node.dtype, grids)
        case ops.Mean():
            return _mean(node, grids)
        case ops.Variance() | ops.StandardDev():
            variance = _moment(node.arg, node.arg, node.where, node.how)
            return variance if isinstance(node, ops.Variance) else ops.Sqrt(variance)
        case ops.Covariance():
            return _moment(node.left, node.right, node.where, node.how)
        case ops.Correlation():
            return _correlation(node)
        case ops.Mode():
            counts = Reduce(
                function="histogram", arg=node.arg, type_=dt.Map(node.arg.dtype, dt.int64), where=node.where
            )
            return Formula(rule="mode", args_=(counts,), type_=node.arg.dtype)
    raise DefinitionError(f"{type(node).__name__} has no exact form")


def _sum(arg: ops.Value, where: ops.Value | None, dtype: dt.DataType, grids: Grids) -> ops.Value:
    if arg.dtype.is_floating():
        grid = _grid_of(arg, grids)
        return _grid_sum(arg, where, grid) if grid is not None else _float_sum(arg, where)
    if arg.dtype.is_decimal():
        return Reduce(function="sum", arg=arg, type_=dt.Decimal(38, arg.dtype.scale), where=where)
    total = Reduce(function="sum", arg=as_int64(arg), type_=HUGE, where=where)
    return Formula(rule="integer_sum", args_=(total,), texts=("BIGINT",), type_=dt.int64)


def as_int64(value: ops.Value) -> ops.Value:
    """Return the integer or boolean as a 64-bit one."""
    return value if value.dtype.copy(nullable=True) == dt.int64 else ops.Cast(value, dt.int64)


def as_double(value: ops.Value) -> ops.Value:
    """Return the number as a double."""
    return value if value.dtype.is_float64() else ops.Cast(value, dt.float64)


def _float_sum(arg: ops.Value, where: ops.Value | None) -> Formula:
    return Formula(rule="exact_sum", args_=_limbs(as_double(arg), where), type_=dt.float64)


def _limbs(x: ops.Value, where: ops.Value | None) -> tuple[Reduce, Reduce, Reduce]:
    """Return the sums of both limbs, and the list of the values that they do not hold."""
    high = Formula(rule="limb_high", args_=(x,), type_=dt.int64)
    low = Formula(rule="limb_low", args_=(x,), type_=dt.int64)
    flag: ops.Value = Formula(rule="limb_flag", args_=(x,), type_=dt.boolean)
    kept = ops.And(flag, ops.NotNull(x))
    return (
        Reduce(function="sum", arg=high, type_=HUGE, where=where),
        Reduce(function="sum", arg=low, type_=HUGE, where=where),
        Reduce(function="list", arg=x, type_=_DOUBLES, where=kept if where is None else ops.And(kept, where)),
    )


def _grid_of(arg: ops.Value, grids: Grids) -> Grid | None:
    """Return the grid of the input column that the value is, unchanged; None for anything computed."""
    origin = origin_of(arg) if grids else None
    grid = grids.get(origin) if origin is not None else None
    return grid if grid is not None and grid.holds else None


def origin_of(value: ops.Value) -> tuple[str, str] | None:
    """Return the (table, column) whose values the value carries unchanged, or None."""
    while True:
        if isinstance(value, ops.Alias):
            value = value.arg
        elif not isinstance(value, ops.Field):
            return None
        elif isinstance(value.rel, ops.UnboundTable):
            return value.rel.name, value.name
        elif isinstance(value.rel, ops.Reference):
            value = ops.Field(value.rel.parent, value.name)
        elif value.name in value.rel.values:
            value = value.rel.values[value.name]
        else:
            return None


def _grid_sum(arg: ops.Value, where: ops.Value | None, grid: Grid) -> Formula:
    x = as_double(arg)
    whole, parts = str(grid.ratio.numerator), str(grid.ratio.denominator)
    up, down = f"* {parts}::DOUBLE", f"/ {parts}::DOUBLE"
    if whole != "1":
        up, down = f"{up} / {whole}::DOUBLE", f"* {whole}::DOUBLE {down}"
    steps = Formula(rule="grid_unit", args_=(x,), texts=(up,), type_=dt.int64)
    total = Reduce(function="sum", arg=steps, type_=HUGE, where=where)
    if grid.trusted:
        return Formula(rule="grid_sum_trusted", args_=(total,), texts=(whole, parts), type_=dt.float64)
    off = Formula(rule="grid_off", args_=(x, steps), texts=("", down), type_=dt.boolean)
    table, column = origin_of(arg) or ("", "")
    name = f"{table}.{column}".replace("'", "''")
    return Formula(
        rule="grid_sum",
        args_=(
            total,
            Reduce(function="bool_or", arg=off, type_=dt.boolean, where=where),
        ),
        texts=(whole, parts, name),
        type_=dt.float64,
    )


def _mean(node: ops.Mean, grids: Grids) -> ops.Value:
    arg, where = node.arg, node.where
    count = ops.Count(arg, where=where)
    if arg.dtype.is_floating():
        total = _sum(arg, where, dt.float64, grids)
        return ops.Divide(total, count)
    inner = arg if arg.dtype.is_decimal() else as_int64(arg)
    total = Reduce(function="sum", arg=inner, type_=HUGE, where=where)
    return Formula(rule="integer_mean", args_=(total, count), type_=dt.float64)


def _moment(left: ops.Value, right: ops.Value, where: ops.Value | None, how: str) -> Formula:
    """Return the co-moment of two columns over the rows where both are there."""
    x, y = as_double(left), as_double(right)
    if left is not right and left != right:
        both = ops.And(ops.NotNull(left), ops.NotNull(right))
        where = both if where is None else ops.And(both, where)
    return Formula(
        rule="moment",
        args_=(*_sums_of(x, y, where),),
        texts=("1" if how == "sample" else "0",),
        type_=dt.float64,
    )


def _sums_of(x: ops.Value, y: ops.Value, where: ops.Value | None) -> tuple[ops.Value, ...]:
    product = Formula(rule="square", args_=(x, y), type_=dt.float64)
    error = Formula(rule="square_error", args_=(x, y), type_=HUGE)
    return (
        ops.Count(x, where=where),
        *_limbs(x, where),
        *_limbs(y, where),
        *_limbs(product, where),
        Reduce(function="sum", arg=error, type_=HUGE, where=where),
    )


def _correlation(node: ops.Correlation) -> ops.Value:
    both = ops.And(ops.NotNull(node.left), ops.NotNull(node.right))
    where = both if node.where is None else ops.And(both, node.where)
    parts: list[Callable[[], ops.Value]] = [
        lambda: _moment(node.left, node.right, where, "pop"),
        lambda: _moment(node.left, node.left, where, "pop"),
        lambda: _moment(node.right, node.right, where, "pop"),
    ]
    joint, own, other = (part() for part in parts)
    return ops.Divide(joint, ops.Multiply(ops.Sqrt(own), ops.Sqrt(other)))
