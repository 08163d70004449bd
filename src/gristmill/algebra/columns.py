"""Column lineage: which input columns a column's values come from, and which only decide about it."""

from __future__ import annotations

from collections.abc import Iterable

import ibis
import ibis.expr.operations as ops
import msgspec
from ibis.common.graph import Graph

from gristmill.algebra.nodes import AsofJoin

Origin = tuple[str, str]
_NONE: frozenset[Origin] = frozenset()


class ColumnOrigins(msgspec.Struct, frozen=True):
    """Where a column comes from, as (table, column) pairs.

    Args:
        value: columns whose values are copied, computed with or aggregated.
        influence: columns that decide which rows count, and in what order: filters, join and group keys,
            conditions, windows. A column may be in both.
    """

    value: frozenset[Origin] = _NONE
    influence: frozenset[Origin] = _NONE

    def __or__(self, other: ColumnOrigins) -> ColumnOrigins:
        return ColumnOrigins(self.value | other.value, self.influence | other.influence)

    @property
    def all(self) -> frozenset[Origin]:
        """Both together."""
        return self.value | self.influence


class _Relation(msgspec.Struct, frozen=True):
    """What is known of one relation: its columns, and what decides which rows it has."""

    columns: dict[str, ColumnOrigins]
    rows: frozenset[Origin] = _NONE


_Known = dict[ops.Node, _Relation]
_Values = dict[ops.Node, ColumnOrigins]
_EMPTY = ColumnOrigins()


def column_lineage(expr: ibis.Table) -> dict[str, ColumnOrigins]:
    """Return the origins of every column of the expression.

    >>> t = ibis.table({"a": "int64", "b": "int64"}, name="raw.t")
    >>> found = column_lineage(t.filter(t.b > 0).select(c=t.a + 1))["c"]
    >>> sorted(found.value), sorted(found.influence)
    ([('raw.t', 'a')], [('raw.t', 'b')])
    """
    known: _Known = {}
    values: _Values = {}
    order, _ = Graph.from_bfs(expr.op()).toposort()
    for node in order:
        if isinstance(node, ops.Relation):
            known[node] = _relation(node, known, values)
        elif isinstance(node, ops.Value):
            values[node] = _value(node, known, values)
    top = known[expr.op()]
    return {name: ColumnOrigins(c.value, c.influence | top.rows) for name, c in top.columns.items()}


def _value(node: ops.Value, known: _Known, values: _Values) -> ColumnOrigins:
    """Return the origins of one value whose parts are known."""
    match node:
        case ops.Field():
            return known[node.rel].columns[node.name]
        case ops.CountStar() | ops.CountDistinctStar():
            return ColumnOrigins(influence=known[node.arg].rows)
        case ops.ScalarSubquery():
            inner = known[node.rel]
            (column,) = inner.columns.values()
            return ColumnOrigins(column.value, column.influence | inner.rows)
        case ops.InSubquery():
            return values[node.needle] | _deciding(_whole(known[node.rel]))
        case ops.ExistsSubquery():
            return _deciding(known[node.rel].rows)
    deciding = _deciding_parts(node)
    found = _EMPTY
    for part in node.__children__:
        if isinstance(part, ops.Value):
            found |= _deciding(values[part].all) if part in deciding else values[part]
    return found


def _deciding_parts(node: ops.Value) -> set[ops.Node]:
    """Return the parts of a value that decide and are not shown."""
    match node:
        case ops.SearchedCase():
            return set(node.cases)
        case ops.SimpleCase():
            return {node.base, *node.cases}
        case ops.IfElse():
            return {node.bool_expr}
        case ops.WindowFunction():
            return {*node.group_by, *node.order_by}
        case ops.ArgMin() | ops.ArgMax():
            return {part for part in (node.key, node.where) if part is not None}
    parts = {part for part in (getattr(node, "where", None),) if isinstance(part, ops.Node)}
    return parts | set(getattr(node, "order_by", ()))


def _deciding(origins: frozenset[Origin]) -> ColumnOrigins:
    return ColumnOrigins(influence=origins)


def _all(parts: Iterable[ops.Node], values: _Values) -> frozenset[Origin]:
    return frozenset().union(*(values[part].all for part in parts))


def _whole(relation: _Relation) -> frozenset[Origin]:
    """Return everything that a relation depends on."""
    return relation.rows.union(*(column.all for column in relation.columns.values()))


def _relation(node: ops.Relation, known: _Known, values: _Values) -> _Relation:
    match node:
        case ops.UnboundTable():
            names = node.schema.names
            return _Relation({name: ColumnOrigins(frozenset({(node.name, name)})) for name in names})
        case AsofJoin():
            return _asof(node, known)
        case ops.JoinChain():
            sides = [known[side] for side in node.tables]
            rows = frozenset().union(*(side.rows for side in sides))
            rows |= _all([p for link in node.rest for p in link.predicates], values)
            return _Relation({name: values[value] for name, value in node.values.items()}, rows)
        case ops.Set():
            return _set(node, known)
        case ops.Aggregate():
            columns = {name: values[value] for name, value in node.values.items()}
            return _Relation(columns, known[node.parent].rows | _all(node.groups.values(), values))
        case ops.DummyTable():
            return _Relation({name: values[value] for name, value in node.values.items()})
    parent = known[node.parent]
    return _Relation(_columns(node, parent, values), parent.rows | _rows(node, parent, values))


def _columns(node: ops.Relation, parent: _Relation, values: _Values) -> dict[str, ColumnOrigins]:
    if isinstance(node, ops.Project):
        return {name: values[value] for name, value in node.values.items()}
    columns = {name: parent.columns[name] for name in node.schema.names if name in parent.columns}
    if isinstance(node, ops.TableUnnest):
        columns[node.column_name] = values[node.column]
        if node.offset is not None:
            columns[node.offset] = _deciding(values[node.column].all)
    return columns


def _rows(node: ops.Relation, parent: _Relation, values: _Values) -> frozenset[Origin]:
    """Return what the node adds to the columns that decide which rows there are."""
    match node:
        case ops.Filter():
            return _all(node.predicates, values)
        case ops.DropNull():
            return _all(node.subset, values) if node.subset is not None else _whole(parent)
        case ops.Distinct():
            return _whole(parent)
        case ops.Limit() if isinstance(node.parent, ops.Sort):
            return _all(node.parent.keys, values)
        case ops.TableUnnest():
            return values[node.column].all
    return _NONE


def _set(node: ops.Set, known: _Known) -> _Relation:
    left, right = known[node.left], known[node.right]
    rows = left.rows | right.rows
    if node.distinct or not isinstance(node, ops.Union):
        rows |= _whole(left) | _whole(right)
    if isinstance(node, ops.Union):
        return _Relation({name: left.columns[name] | right.columns[name] for name in left.columns}, rows)
    return _Relation(left.columns, rows)


def _asof(node: AsofJoin, known: _Known) -> _Relation:
    left, right = known[node.left], known[node.right]
    keys = [left.columns[name].all for name in (node.on[0], *(pair[0] for pair in node.by))]
    others = (node.on[1], *(pair[1] for pair in node.by), *node.ties)
    keys += [right.columns[name].all for name in others]
    deciding = _deciding(right.rows.union(*keys))
    picked = {name: right.columns[source] | deciding for name, source in node.picks}
    return _Relation({**left.columns, **picked}, left.rows)
