"""Total orders: where an answer depends on order, values settle ties and positions never do."""

from __future__ import annotations

from collections.abc import Iterable

import ibis.expr.operations as ops

from gristmill.algebra.nodes import SqlAnalytic
from gristmill.algebra.refusals import ORDER
from gristmill.errors import DefinitionError

_BY_POSITION = (ops.RowNumber, ops.NTile, ops.Lag, ops.Lead, ops.NthValue, ops.First, ops.Last)
_BY_PEERS = (ops.MinRank, ops.DenseRank, ops.PercentRank, ops.CumeDist)


def total_limit(node: ops.Limit, needed: set[str]) -> ops.Limit:
    """Extend the order below a limit with the other columns, so that ties are cut the same way every time.

    Args:
        needed: the columns that have an effect on the result; rows that agree on them are interchangeable.
    """
    below = node.parent
    if not isinstance(below, ops.Sort):
        raise DefinitionError("`limit()` without an order", code=ORDER, hint="put order_by(...) right before it")
    keys = _extended(below.keys, _fields(below.parent, needed))
    return node if keys == below.keys else node.copy(parent=below.copy(keys=keys))


def ordered_reduction(node: ops.Value) -> ops.Value:
    """Settle ties of ``first``, ``last``, ``collect``, ``group_concat`` by the value itself.

    Without an order of their own they stand in a window, which has one.
    """
    if isinstance(node, ops.ArgMin | ops.ArgMax):
        there = ops.NotNull(node.key)
        keys = (ops.SortKey(node.key, ascending=isinstance(node, ops.ArgMin)), ops.SortKey(node.arg))
        where = there if node.where is None else ops.And(there, node.where)
        return ops.First(node.arg, where=where, order_by=keys, include_null=True)
    if not node.order_by:
        return node
    return node.copy(order_by=_extended(node.order_by, (node.arg,)))


def total_window(node: ops.WindowFunction, needed: set[str]) -> ops.WindowFunction:
    """Extend a window's order where the function looks at positions, so that peers do not swap places.

    Ranks and RANGE frames treat peers alike and keep their order.

    Args:
        needed: the columns that have an effect on the result; rows that agree on them are interchangeable.
    """
    func = node.func
    if isinstance(func, _BY_PEERS) or (isinstance(func, ops.Reduction) and not _positional(node)):
        return node
    if not node.order_by:
        if isinstance(func, ops.Reduction) and not isinstance(func, ops.First | ops.Last):
            return node
        raise DefinitionError(
            f"`{type(func).__name__}` over a window without an order depends on the layout of files",
            code=ORDER,
            hint="give the window order_by=...",
        )
    by_position = func.positional if isinstance(func, SqlAnalytic) else isinstance(func, _BY_POSITION)
    if not (by_position or _positional(node)):
        return node
    relations = list(node.relations)
    if len(relations) != 1:
        return node
    return node.copy(order_by=_extended(node.order_by, _fields(relations[0], needed)))


def _fields(relation: ops.Relation, names: set[str]) -> list[ops.Value]:
    return [ops.Field(relation, name) for name in relation.schema.names if name in names]


def _positional(node: ops.WindowFunction) -> bool:
    """Whether the frame counts rows and ends inside the partition."""
    return node.how == "rows" and bool(node.order_by) and not (node.start is None and node.end is None)


def _extended(keys: Iterable[ops.SortKey], values: Iterable[ops.Value]) -> tuple[ops.SortKey, ...]:
    keys = tuple(keys)
    seen = {key.arg for key in keys}
    rest = [value for value in values if value not in seen and _sortable(value)]
    return (*keys, *(ops.SortKey(value) for value in rest))


def _sortable(value: ops.Value) -> bool:
    dtype = value.dtype
    return not (dtype.is_map() or dtype.is_json() or dtype.is_interval() or dtype.is_geospatial())
