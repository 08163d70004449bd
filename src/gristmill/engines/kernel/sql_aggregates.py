"""Aggregates and windows of a SQL definition as Ibis values that follow changes exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge

from gristmill.algebra.nodes import Reduce, SqlAnalytic, SqlReduction, SqlValue
from gristmill.algebra.sums import HUGE
from gristmill.engines.kernel.sql_values import InFull, Scope, call, conditions, value

_ORDER_FREE = (
    sge.Median,
    sge.PercentileCont,
    sge.PercentileDisc,
    sge.Quantile,
    sge.BitwiseAndAgg,
    sge.BitwiseOrAgg,
    sge.BitwiseXorAgg,
    sge.CountIf,
)
_MOMENTS: dict[type[sge.Expression], tuple[type[ops.Reduction], str]] = {
    sge.Stddev: (ops.StandardDev, "sample"),
    sge.StddevSamp: (ops.StandardDev, "sample"),
    sge.StddevPop: (ops.StandardDev, "pop"),
    sge.Variance: (ops.Variance, "sample"),
    sge.VariancePop: (ops.Variance, "pop"),
    sge.Corr: (ops.Correlation, "sample"),
    sge.CovarSamp: (ops.Covariance, "sample"),
    sge.CovarPop: (ops.Covariance, "pop"),
}
_WHOLE_FLOATS = "the engine's own sum of floats depends on the order of rows"
_ANALYTIC = {
    sge.RowNumber: True,
    sge.Rank: False,
    sge.DenseRank: False,
    sge.PercentRank: False,
    sge.CumeDist: False,
    sge.Ntile: True,
    sge.Lag: True,
    sge.Lead: True,
    sge.FirstValue: True,
}


def reduction(scope: Scope, node: sge.Expression, where: ops.Value | None) -> ops.Value:
    """Return an aggregate over the values of a scope.

    Args:
        scope: what its arguments may read.
        node: the call, without its filter.
        where: which rows count.

    Raises InFull where its result could depend on the order of rows.
    """
    match node:
        case sge.Count() if isinstance(node.this, sge.Star) or node.this is None:
            return ops.CountStar(scope.relation, where=where)
        case sge.Count() if not isinstance(node.this, sge.Distinct) and not node.expressions:
            return ops.Count(value(scope, node.this), where=where)
        case sge.Sum() | sge.Avg() if not isinstance(node.this, sge.Distinct):
            return _sum(scope, node, where)
        case sge.Min() | sge.Max() if not node.expressions and not isinstance(node.this, sge.Distinct):
            arg = value(scope, node.this)
            return (ops.Min if isinstance(node, sge.Min) else ops.Max)(arg, where=where)
        case _ if type(node) in _MOMENTS:
            return _moment(scope, node, where)
        case sge.LogicalOr() | sge.LogicalAnd():
            arg = value(scope, node.this)
            if arg.dtype.is_boolean():
                return (ops.Any if isinstance(node, sge.LogicalOr) else ops.All)(arg, where=where)
    if isinstance(node, _ORDER_FREE) or _is_distinct_count(node) or _is_ordered_by_itself(node):
        parts, kind = call(scope, node)
        return SqlReduction(parts=parts.texts, args_=parts.arguments, type_=kind, where=where)
    raise InFull(f"the result of `{node.sql(dialect='duckdb')}` may depend on the order of rows")


def _moment(scope: Scope, node: sge.Expression, where: ops.Value | None) -> ops.Value:
    """Return a variance or one of its kin, which is exact here, and so depends on no order."""
    made, how = _MOMENTS[type(node)]
    args = [value(scope, part) for part in (node.this, node.args.get("expression")) if part is not None]
    doubles = [
        arg if arg.dtype.is_float64() else SqlValue(parts=("CAST(", " AS DOUBLE)"), args_=(arg,), type_=dt.float64)
        for arg in args
    ]
    found: ops.Value = made(*doubles, how=how, where=where)
    return found


def _sum(scope: Scope, node: sge.Expression, where: ops.Value | None) -> ops.Value:
    arg = value(scope, node.this)
    mean = isinstance(node, sge.Avg)
    if arg.dtype.is_floating():
        typed = node.this.type is not None and node.this.type.this in (
            sge.DataType.Type.DOUBLE,
            sge.DataType.Type.FLOAT,
        )
        if not typed:
            raise InFull(f"`{node.sql(dialect='duckdb')}`: {_WHOLE_FLOATS}")
        return (ops.Mean if mean else ops.Sum)(arg, where=where)
    if not (arg.dtype.is_integer() or arg.dtype.is_boolean() or arg.dtype.is_decimal()):
        raise InFull(f"`{node.sql(dialect='duckdb')}` is over values of an unknown kind")
    if mean:
        parts, kind = call(scope, node)
        return SqlReduction(parts=parts.texts, args_=parts.arguments, type_=kind, where=where)
    if arg.dtype.is_boolean():
        arg = SqlValue(parts=("CAST(", " AS BIGINT)"), args_=(arg,), type_=dt.int64)
    if arg.dtype.is_decimal():
        return Reduce(function="sum", arg=arg, type_=dt.Decimal(38, arg.dtype.scale), where=where)
    total = Reduce(function="sum", arg=arg, type_=HUGE, where=where)
    return SqlValue(parts=("CAST(", " AS HUGEINT)"), args_=(total,), type_=HUGE)


def _is_distinct_count(node: sge.Expression) -> bool:
    return isinstance(node, sge.Count) and isinstance(node.this, sge.Distinct)


def _is_ordered_by_itself(node: sge.Expression) -> bool:
    """Whether an aggregate of values in order is ordered by the value first, so that ties are equal."""
    if not isinstance(node, sge.ArrayAgg | sge.GroupConcat) or not isinstance(node.this, sge.Order):
        return False
    inner = node.this.this
    inner = inner.expressions[0] if isinstance(inner, sge.Distinct) and len(inner.expressions) == 1 else inner
    return bool(node.this.expressions[0].this == inner)


def window(scope: Scope, node: sge.Window) -> ops.Value:
    """Return a function over a window.

    Raises InFull where its result could depend on the order of rows in another way than by ties that are settled.
    """
    frame = _named_window(scope, node)
    group_by = tuple(value(scope, part) for part in frame.args.get("partition_by") or ())
    order = frame.args.get("order")
    order_by = tuple(sort_key(value(scope, part.this), part) for part in (order.expressions if order else ()))
    how, start, end = _frame(scope, frame.args.get("spec") or node.args.get("spec"), ordered=bool(order_by))
    made = _over(scope, node.this, ordered=bool(order_by), from_first=start is None)
    if isinstance(made, SqlValue):
        (inner,) = made.args_
        over = ops.WindowFunction(func=inner, how=how, start=start, end=end, group_by=group_by, order_by=order_by)
        return SqlValue(parts=made.parts, args_=(over,), type_=made.type_)
    return ops.WindowFunction(func=made, how=how, start=start, end=end, group_by=group_by, order_by=order_by)


def _named_window(scope: Scope, node: sge.Window) -> sge.Window:
    """Return the window that holds partition, order and frame: the node, or the one that it names."""
    alias = node.args.get("alias")
    if alias is None:
        return node
    named = scope.windows.get(alias.name)
    if named is None or node.args.get("partition_by") or node.args.get("order"):
        raise InFull("a window is made from another one")
    return named


def sort_key(made: ops.Value, part: sge.Ordered) -> ops.SortKey:
    """Return a key of an order."""
    return ops.SortKey(made, ascending=not part.args.get("desc"), nulls_first=bool(part.args.get("nulls_first")))


def filtered(scope: Scope, node: sge.Expression) -> tuple[sge.Expression, ops.Value | None]:
    """Return a call without its filter, and which rows count."""
    if not isinstance(node, sge.Filter):
        return node, None
    return node.this, reduce(ops.And, conditions(scope, node.expression.this))


def _over(scope: Scope, node: sge.Expression, *, ordered: bool, from_first: bool) -> ops.Value:
    node, where = filtered(scope, node)
    text = node.sql(dialect="duckdb")
    if type(node) in _ANALYTIC:
        if not ordered or where is not None or (isinstance(node, sge.FirstValue) and not from_first):
            raise InFull(f"`{text}` depends on the order of rows that its window leaves open")
        parts, kind = _call_in_window(scope, node)
        return SqlAnalytic(parts=parts, args_=kind[0], type_=kind[1], positional=_ANALYTIC[type(node)])
    made = reduction(scope, node, where)
    if isinstance(made, (ops.Sum, ops.Mean, *(kind for kind, _ in _MOMENTS.values()))):
        raise InFull(f"`{text}` over a window: {_WHOLE_FLOATS}")
    return made


def _call_in_window(
    scope: Scope, node: sge.Expression
) -> tuple[tuple[str, ...], tuple[tuple[ops.Value, ...], dt.DataType]]:
    """Return a call in pieces with its arguments and the type that it has over a window."""
    over = replace(scope, types=lambda text, kinds: scope.types(f"{text} OVER ()", kinds))
    parts, kind = call(over, node)
    return parts.texts, (parts.arguments, kind)


Frame = tuple[str, ops.WindowBoundary | None, ops.WindowBoundary | None]
"""The kind, start and end of a frame; None for an end that is open."""


def _frame(scope: Scope, spec: sge.WindowSpec | None, *, ordered: bool) -> Frame:
    """Return the kind, start and end of a frame; None for an end that is open."""
    here: ops.WindowBoundary = ops.WindowBoundary(ops.Literal(0, dt.int8), preceding=True)
    if spec is None:
        return ("range", None, here) if ordered else ("rows", None, None)
    kind = str(spec.args.get("kind") or "").lower()
    if kind not in ("rows", "range") or spec.args.get("exclude"):
        raise InFull("a window has a frame of groups, or leaves rows out")

    def bound(name: str) -> ops.WindowBoundary | None:
        found, side = spec.args.get(name), str(spec.args.get(f"{name}_side") or "").upper()
        if found is None or (isinstance(found, str) and found.upper() == "CURRENT ROW"):
            return here
        if isinstance(found, str):
            open_to = {"start": "PRECEDING", "end": "FOLLOWING"}[name]
            if side != open_to:
                raise InFull("a window's frame lies outside of it")
            return None
        made = value(scope, found)
        if made.dtype.is_interval() or isinstance(found, sge.Interval):
            made = SqlValue(parts=made.parts, args_=made.args_, type_=dt.Interval("us"))
        limit: ops.WindowBoundary = ops.WindowBoundary(made, preceding=side == "PRECEDING")
        return limit

    return kind, bound("start"), bound("end")
