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

_BEFORE, _AFTER = "_gm_before", "_gm_after"


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
    moments: ops.Relation = bag if node.within is not None else work.step(_reach(work, node, bag))
    left, right = ops.JoinReference(rows, identifier=0), ops.JoinReference(moments, identifier=1)
    tests: list[ops.Value] = [ops.Equals(ops.Field(left, a), ops.Field(right, b)) for a, b in node.by]
    now, then = ops.Field(left, node.on[0]), ops.Field(right, node.on[1])
    if node.direction == "backward":
        tests.append(ops.LessEqual(then, now))
    if node.direction == "forward":
        tests.append(ops.GreaterEqual(then, now))
    if node.within is None:
        tests += _before_the_next(node, now, right)
    else:
        if node.direction != "forward":
            tests.append(ops.GreaterEqual(then, moved_by(now, -node.within)))
        if node.direction != "backward":
            tests.append(ops.LessEqual(then, moved_by(now, node.within)))
    return joined("semi", left, right, tests, fields_of_relation(left))


def _before_the_next(node: AsofJoin, now: ops.Value, moments: ops.Relation) -> list[ops.Value]:
    """Return that a left row is not beyond the next moment at which there is a right row."""
    tests: list[ops.Value] = []
    if node.direction != "forward":
        after = ops.Field(moments, _AFTER)
        tests.append(ops.Or(ops.IsNull(after), ops.LessEqual(now, after)))
    if node.direction != "backward":
        before = ops.Field(moments, _BEFORE)
        tests.append(ops.Or(ops.IsNull(before), ops.GreaterEqual(now, before)))
    return tests


def _reach(work: Work, node: AsofJoin, bag: ops.Relation) -> ops.Relation:
    """Return the changed moments of the right side, each with those before and after it, old or new.

    What is beyond the next moment has another right row, before and after the change; were the next moment one that
    came or went, it has a reach of its own.
    """
    on, by = node.on[1], [other for _, other in node.by]
    sides = []
    for version in (OLD, NEW):
        keys: list[Key] = [(ops.Field(node.right, name), name) for name in by]
        side = limited(work, node.right, version, keys, bag) if by else work.version(node.right, version)
        sides.append(ops.Project(side, {name: ops.Field(side, name) for name in (*by, on)}))
    both = together(sides)
    there = ops.Filter(both, [ops.NotNull(ops.Field(both, on))])
    moments = ops.Aggregate(there, {name: ops.Field(there, name) for name in (*by, on)}, {})
    frame = {
        "how": "rows",
        "start": None,
        "end": None,
        "group_by": tuple(ops.Field(moments, name) for name in by),
        "order_by": (ops.SortKey(ops.Field(moments, on)),),
    }
    near = {
        _BEFORE: ops.WindowFunction(func=ops.Lag(ops.Field(moments, on)), **frame),
        _AFTER: ops.WindowFunction(func=ops.Lead(ops.Field(moments, on)), **frame),
    }
    known = ops.Project(moments, fields_of_relation(moments) | near)
    left, right = ops.JoinReference(known, identifier=0), ops.JoinReference(bag, identifier=1)
    same = [ops.IdenticalTo(ops.Field(left, name), ops.Field(right, name)) for name in (*by, on)]
    return joined("semi", left, right, same, fields_of_relation(left))
