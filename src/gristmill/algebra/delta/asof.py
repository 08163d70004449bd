"""As-of joins: a changed right row touches the left rows at whose moment it could be the one that counts."""

from __future__ import annotations

import ibis.expr.operations as ops

from gristmill.algebra.delta.joins import is_heavy
from gristmill.algebra.delta.joins_plain import joined
from gristmill.algebra.delta.maintained import WEIGHT
from gristmill.algebra.delta.touched import Key, limited
from gristmill.algebra.delta.weights import signed, together
from gristmill.algebra.delta.work import NEW, OLD, Version, Work
from gristmill.algebra.moving import fields_of_relation, moved_by
from gristmill.algebra.nodes import AsofJoin


def asof_join(work: Work, node: AsofJoin) -> ops.Relation:
    """Return the changes of an as-of join."""
    names = node.schema.names
    parts: list[ops.Relation] = []
    if work.kind(node.left) != "none":
        bag = work.settled(node.left)
        rows = node.copy(left=bag, right=_others(work, node, NEW, bag))
        parts.append(ops.Project(rows, {name: ops.Field(rows, name) for name in (*names, WEIGHT)}))
    if work.kind(node.right) == "none":
        work.note("as-of join", "linear", "only rows of its left side changed", "scan")
        return together(parts)
    touched = work.step(_touched(work, node))
    for version, sign in ((OLD, -1), (NEW, 1)):
        rows = node.copy(left=touched, right=_others(work, node, version, touched))
        parts.append(signed(rows, names, sign))
    work.note("as-of join", "touched rows", "a changed right row may count for left rows beyond its moment", "scan")
    return together(parts)


def _others(work: Work, node: AsofJoin, version: Version, among: ops.Relation) -> ops.Relation:
    """Return the right rows that could count for some left rows."""
    if not node.by:
        return work.version(node.right, version)
    keys: list[Key] = [(ops.Field(node.right, other), name) for name, other in node.by]
    return limited(work, node.right, version, keys, among)


def _touched(work: Work, node: AsofJoin) -> ops.Relation:
    """Return the old left rows for which a changed right row may count."""
    bag = work.settled(node.right)
    rows = work.version(node.left, OLD)
    if node.by and is_heavy(work, node.left, OLD):
        keys: list[Key] = [(ops.Field(node.left, name), other) for name, other in node.by]
        rows = limited(work, node.left, OLD, keys, bag)
    left, right = ops.JoinReference(rows, identifier=0), ops.JoinReference(bag, identifier=1)
    tests: list[ops.Value] = [ops.Equals(ops.Field(left, a), ops.Field(right, b)) for a, b in node.by]
    now, then = ops.Field(left, node.on[0]), ops.Field(right, node.on[1])
    if node.direction == "backward":
        tests.append(ops.LessEqual(then, now))
    if node.direction == "forward":
        tests.append(ops.GreaterEqual(then, now))
    if node.within is not None:
        if node.direction != "forward":
            tests.append(ops.GreaterEqual(then, moved_by(now, -node.within)))
        if node.direction != "backward":
            tests.append(ops.LessEqual(then, moved_by(now, node.within)))
    if not tests:
        there = ops.Filter(rows, [ops.NotNull(ops.Field(rows, node.on[0]))])
        return there
    return joined("semi", left, right, tests, fields_of_relation(left))
