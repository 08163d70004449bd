"""Distinct rows and set operations, written as group-bys that count how often each row occurs on each side."""

from __future__ import annotations

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.weights import formula, together
from gristmill.algebra.moving import fields_of_relation
from gristmill.algebra.nodes import Reduce
from gristmill.algebra.sums import HUGE

_LEFT, _RIGHT = "_gm_left", "_gm_right"


def plain_distinct(parent: ops.Relation) -> ops.Relation:
    """Return the different rows of a relation."""
    return ops.Aggregate(parent, fields_of_relation(parent), {})


def plain_set(node: ops.Set, left: ops.Relation, right: ops.Relation) -> ops.Relation:
    """Return a union, an intersection or a difference."""
    names = node.schema.names
    if isinstance(node, ops.Union):
        both = together([left, right])
        return plain_distinct(both) if node.distinct else both
    tagged = together([_tagged(left, names, (1, 0)), _tagged(right, names, (0, 1))])
    fields = {name: ops.Field(tagged, name) for name in names}
    counts = {tag: _count(ops.Field(tagged, tag)) for tag in (_LEFT, _RIGHT)}
    groups = ops.Aggregate(tagged, fields, counts)
    found = isinstance(node, ops.Intersection)
    copies = formula(
        "delta_least_positive" if found else "delta_surplus",
        ops.Field(groups, _LEFT),
        ops.Field(groups, _RIGHT),
        type_=dt.int64,
    )
    if node.distinct:
        return _once(groups, names, found=found)
    listed = formula("delta_copies", copies, type_=dt.Array(dt.int64))
    wide = ops.TableUnnest(groups, listed, "_gm_copy", None, False)
    return ops.Project(wide, {name: ops.Field(wide, name) for name in names})


def _tagged(relation: ops.Relation, names: tuple[str, ...], tags: tuple[int, int]) -> ops.Relation:
    values = {name: ops.Field(relation, name) for name in names}
    marks = {tag: ops.Literal(value, dt.int64) for tag, value in zip((_LEFT, _RIGHT), tags, strict=True)}
    return ops.Project(relation, values | marks)


def _count(tag: ops.Value) -> ops.Value:
    return formula("delta_total", Reduce(function="sum", arg=tag, type_=HUGE), type_=dt.int64)


def _once(groups: ops.Relation, names: tuple[str, ...], *, found: bool) -> ops.Relation:
    zero = ops.Literal(0, dt.int64)
    left = ops.Greater(ops.Field(groups, _LEFT), zero)
    right = ops.Field(groups, _RIGHT)
    kept = ops.Filter(groups, [left, ops.Greater(right, zero) if found else ops.Equals(right, zero)])
    return ops.Project(kept, {name: ops.Field(kept, name) for name in names})
