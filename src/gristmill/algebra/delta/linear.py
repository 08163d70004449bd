"""Operations that look at one row at a time: the result changes by what the changed rows give."""

from __future__ import annotations

import ibis.expr.operations as ops

from gristmill.algebra.delta.weights import together, weight_of
from gristmill.algebra.delta.work import NEW, Work


def project(work: Work, node: ops.Project) -> ops.Relation:
    """Return the changes of a projection without windows."""
    bag = work.changes(node.parent)
    values = {name: work.at(value, node.parent, bag, NEW) for name, value in node.values.items()}
    return ops.Project(bag, values | weight_of(bag))


def filtered(work: Work, node: ops.Filter) -> ops.Relation:
    """Return the changes of a filter without windows."""
    bag = work.changes(node.parent)
    work.note("filter", "linear", "each row passes or not by itself", "delta")
    return ops.Filter(bag, [work.at(test, node.parent, bag, NEW) for test in node.predicates])


def unnested(work: Work, node: ops.TableUnnest) -> ops.Relation:
    """Return the changes of an unnesting."""
    bag = work.changes(node.parent)
    work.note("unnest", "linear", "each row gives its own rows", "delta")
    wide = node.copy(parent=bag, column=work.at(node.column, node.parent, bag, NEW))
    return ops.Project(wide, {name: ops.Field(wide, name) for name in node.schema.names} | weight_of(wide))


def union(work: Work, node: ops.Union) -> ops.Relation:
    """Return the changes of a union that keeps all rows."""
    sides = [side for side in (node.left, node.right) if work.kind(side) != "none"]
    work.note("union", "linear", "each side brings its own changes", "delta")
    return together([work.changes(side) for side in sides])
