"""Joins: inner ones by both sides' changes, the others by the left rows that a changed right row meets."""

from __future__ import annotations

import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import LEFT, RIGHT, joined, rejoined
from gristmill.algebra.delta.touched import Key, equal_sides, limited
from gristmill.algebra.delta.weights import signed, together
from gristmill.algebra.delta.work import NEW, OLD, Version, Work
from gristmill.algebra.moving import fields_of_relation, moved_value, windows_in
from gristmill.algebra.nodes import AsofJoin


def inner_join(work: Work, node: ops.JoinChain) -> ops.Relation:
    """Return ``dL x R_new + L_old x dR``: the old side stands in exactly one of the two terms."""
    left, right = node.first.parent, node.rest[0].table.parent
    parts = []
    if work.kind(left) != "none":
        bag = work.settled(left)
        parts.append(rejoined(node, bag, met(work, node, RIGHT, NEW, bag), weight=LEFT))
    if work.kind(right) != "none":
        bag = work.settled(right)
        parts.append(rejoined(node, met(work, node, LEFT, OLD, bag), bag, weight=RIGHT))
    how = node.rest[0].how
    work.note(f"{how} join", "bilinear", "changed rows of one side meet all rows of the other", "scan")
    return together(parts)


def left_join(work: Work, node: ops.JoinChain) -> ops.Relation:
    """Return the changes of a left, semi or anti join: what each left row gives depends on the right rows it meets."""
    left, right = node.first.parent, node.rest[0].table.parent
    how = node.rest[0].how
    parts = []
    if work.kind(left) != "none":
        bag = work.settled(left)
        parts.append(rejoined(node, bag, met(work, node, RIGHT, NEW, bag), weight=LEFT))
    if work.kind(right) == "none":
        work.note(f"{how} join", "linear", "only rows of its left side changed", "scan")
        return together(parts)
    touched = work.step(_meeting(work, node))
    for version, sign in ((OLD, -1), (NEW, 1)):
        rows = rejoined(node, touched, met(work, node, RIGHT, version, touched))
        parts.append(signed(rows, node.schema.names, sign))
    work.note(f"{how} join", "touched rows", "a left row gives what the right rows it meets make of it", "scan")
    return together(parts)


def _meeting(work: Work, node: ops.JoinChain) -> ops.Relation:
    """Return the old left rows that meet a changed right row."""
    bag = work.settled(node.rest[0].table.parent)
    rows = met(work, node, LEFT, OLD, bag)
    kept = rejoined(node, rows, bag, how="semi")
    return joined("semi", kept.first, kept.rest[0].table, kept.rest[0].predicates, fields_of_relation(kept.first))


def met(work: Work, node: ops.JoinChain, side: int, version: Version, among: ops.Relation) -> ops.Relation:
    """Return one side of a join, limited to what rows of the other side may meet where that saves work."""
    mine, other = (node.first, node.rest[0].table) if side == LEFT else (node.rest[0].table, node.first)
    relation = mine.parent
    pairs = [(one, two) if side == LEFT else (two, one) for one, two in equal_sides(node)]
    if not pairs or not is_heavy(work, relation, version):
        return work.version(relation, version)
    keys: list[Key] = []
    columns: dict[str, ops.Value] = {}
    for number, (own, theirs) in enumerate(pairs):
        name = f"_gm_key_{number}"
        columns[name] = moved_value(moved_value(theirs, other, other.parent), other.parent, among)
        keys.append((moved_value(own, mine, relation), name))
    return limited(work, relation, version, keys, ops.Project(among, columns))


def is_heavy(work: Work, node: ops.Relation, version: Version) -> bool:
    """Whether a relation is more than a pass over inputs and hidden states."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, ops.Aggregate) and work.stored(part, version) is not None:
            continue
        if isinstance(part, ops.Aggregate | ops.JoinChain | AsofJoin | ops.Limit):
            return True
        if isinstance(part, ops.Project) and windows_in(part.values.values()):
            return True
        pending += [child for child in part.__children__ if isinstance(child, ops.Relation)]
    return False
