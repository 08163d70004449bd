"""Declared types: what Ibis says a column is, the result's column must be, whatever the engine prefers."""

from __future__ import annotations

import ibis.expr.operations as ops

from gristmill.algebra.nodes import Formula, Reduce, RunTime, SqlReduction, SqlValue
from gristmill.algebra.scalars import sql_type

_OWN = (Formula, Reduce, RunTime, SqlValue, SqlReduction)
_EXACT = (*_OWN, ops.Cast, ops.TryCast, ops.Count, ops.CountStar, ops.CountDistinct)
_BOOLEAN = (ops.Comparison, ops.And, ops.Or, ops.Not, ops.IsNull, ops.NotNull)


def declared(node: ops.Node) -> ops.Node:
    """Return the relation with a cast on every column whose type the engine may choose itself."""
    if isinstance(node, ops.Project):
        values = {name: _typed(value) for name, value in node.values.items()}
        return node if values == dict(node.values) else node.copy(values=values)
    if not isinstance(node, ops.Relation):
        return node
    fields = {name: ops.Field(node, name) for name in node.schema.names}
    values = {name: _typed(field) for name, field in fields.items()}
    return node if values == fields else ops.Project(node, values)


def _typed(value: ops.Value) -> ops.Value:
    if _exact(value) or value.dtype.is_null():
        return value
    return Formula(rule="declared_type", args_=(value,), texts=(sql_type(value.dtype),), type_=value.dtype)


def _exact(value: ops.Value) -> bool:
    """Whether the engine's type of the value is the declared one for certain."""
    while isinstance(value, ops.Field):
        parent = value.rel
        if isinstance(parent, ops.UnboundTable):
            return True
        if isinstance(parent, ops.Reference):
            value = ops.Field(parent.parent, value.name)
        elif value.name in parent.values:
            value = parent.values[value.name]
        else:
            return False
    return isinstance(value, _EXACT + _BOOLEAN)
