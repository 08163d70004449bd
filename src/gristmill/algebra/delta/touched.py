"""A relation limited to the rows with certain keys: the limit moves towards the inputs as far as it may."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import joined, rejoined
from gristmill.algebra.delta.weights import together
from gristmill.algebra.delta.work import Version, Work
from gristmill.algebra.moving import fields_of_relation, moved_value, windows_in
from gristmill.algebra.nodes import AsofJoin, Formula

_TRANSPARENT = ("canonical_float", "declared_type", "delta_same")

Key = tuple[ops.Value, str]
"""What must be in the keys: a value over the relation, and the name of the column that has the keys."""


def limited(work: Work, node: ops.Relation, version: Version, keys: Sequence[Key], among: ops.Relation) -> ops.Relation:
    """Return the rows of one version of a relation whose keys are among others, null equal to null.

    Args:
        keys: at least one pair.
        among: the relation with the keys; rows may repeat.
    """
    below, rest = _pushed(work, node, version, list(keys), among)
    if below is None:
        return semi(work.version(node, version), node, keys, among)
    return semi(below, node, keys, among) if rest else below


def semi(rows: ops.Relation, node: ops.Relation, keys: Sequence[Key], among: ops.Relation) -> ops.Relation:
    """Return the rows of what stands for ``node`` whose keys are among others.

    Keys without nulls are compared by plain equality, which lets the engine skip parts of files that cannot match;
    keys with a null, mostly none, are looked up apart.
    """
    if not isinstance(rows, ops.UnboundTable):
        return _semi(rows, node, keys, among, ops.IdenticalTo)
    missing = reduce(ops.Or, [ops.IsNull(ops.Field(among, name)) for _, name in keys])
    apart = _semi(rows, node, keys, ops.Filter(among, [missing]), ops.IdenticalTo)
    return together([_semi(rows, node, keys, among, ops.Equals), apart])


def _semi(
    rows: ops.Relation,
    node: ops.Relation,
    keys: Sequence[Key],
    among: ops.Relation,
    equal: type[ops.IdenticalTo] | type[ops.Equals],
) -> ops.Relation:
    left, right = ops.JoinReference(rows, identifier=0), ops.JoinReference(among, identifier=1)
    tests = [equal(moved_value(value, node, left), ops.Field(right, name)) for value, name in keys]
    return joined("semi", left, right, tests, fields_of_relation(left))


def _pushed(
    work: Work, node: ops.Relation, version: Version, keys: list[Key], among: ops.Relation
) -> tuple[ops.Relation | None, list[Key]]:
    """Return the relation over limited inputs and the keys that are still to be tested; None: nothing moved."""
    match node:
        case ops.Aggregate() if work.stored(node, version) is not None:
            return None, keys
        case ops.Project():
            return _project(work, node, version, keys, among)
        case ops.Filter():
            below = limited(work, node.parent, version, [(_down(v, node, node.parent), k) for v, k in keys], among)
            tests = [work.at(value, node.parent, below, version) for value in node.predicates]
            return ops.Filter(below, tests), []
        case ops.Union():
            sides = [
                limited(work, side, version, [(moved_value(v, node, side), k) for v, k in keys], among)
                for side in (node.left, node.right)
            ]
            return together(sides), []
        case ops.Aggregate():
            return _aggregate(work, node, version, keys, among)
        case ops.JoinChain():
            return _join(work, node, version, keys, among)
        case AsofJoin():
            return _asof(work, node, version, keys, among)
    return None, keys


def _down(value: ops.Value, node: ops.Relation, parent: ops.Relation) -> ops.Value:
    return moved_value(value, node, parent)


def _inlined(value: ops.Value, node: ops.Relation) -> ops.Value:
    """Return a value over a relation as one over what its columns are computed from."""
    subs: dict[ops.Node, ops.Node] = {
        field: node.values[field.name] for field in value.find(ops.Field, filter=ops.Value) if field.rel == node
    }
    found: ops.Value = value.replace(subs, filter=ops.Value)
    while isinstance(found, Formula) and found.rule in _TRANSPARENT:
        found = found.args_[0]
    return found


def _project(
    work: Work, node: ops.Project, version: Version, keys: list[Key], among: ops.Relation
) -> tuple[ops.Relation | None, list[Key]]:
    windows = windows_in(node.values.values())
    pushable: list[Key] = []
    rest: list[Key] = []
    for value, name in keys:
        inner = _inlined(value, node)
        within = all(inner in map(bare, window.group_by) for window in windows)
        fits = within and not inner.find((ops.WindowFunction, ops.Subquery), filter=ops.Value)
        (pushable if fits else rest).append((inner, name) if fits else (value, name))
    if not pushable:
        return None, keys
    below = limited(work, node.parent, version, pushable, among)
    values = {name: work.at(value, node.parent, below, version) for name, value in node.values.items()}
    return ops.Project(below, values), rest


def bare(value: ops.Value) -> ops.Value:
    """Return a value without what makes equal values one, which a comparison does not see."""
    while isinstance(value, Formula) and value.rule in _TRANSPARENT:
        value = value.args_[0]
    return value


def _aggregate(
    work: Work, node: ops.Aggregate, version: Version, keys: list[Key], among: ops.Relation
) -> tuple[ops.Relation | None, list[Key]]:
    pushable: list[Key] = []
    rest: list[Key] = []
    for value, name in keys:
        read = {field.name for field in value.find(ops.Field, filter=ops.Value)}
        if read <= set(node.groups):
            pushable.append((_inlined(value, node), name))
        else:
            rest.append((value, name))
    if not pushable:
        return None, keys
    below = limited(work, node.parent, version, pushable, among)
    groups = {name: work.at(value, node.parent, below, version) for name, value in node.groups.items()}
    metrics = {name: work.at(value, node.parent, below, version) for name, value in node.metrics.items()}
    return ops.Aggregate(below, groups, metrics), rest


def equal_sides(node: ops.JoinChain) -> list[tuple[ops.Value, ops.Value]]:
    """Return the values, left and right, that a join of two wants to be equal."""
    link = node.rest[0]
    found = []
    for test in link.predicates:
        if not isinstance(test, ops.Equals):
            continue
        for one, other in ((test.left, test.right), (test.right, test.left)):
            if _owners(one) == {node.first} and _owners(other) == {link.table}:
                found.append((one, other))
                break
    return found


def _owners(value: ops.Value) -> set[ops.Relation]:
    return {field.rel for field in value.find(ops.Field, filter=ops.Value)}


def _join(
    work: Work, node: ops.JoinChain, version: Version, keys: list[Key], among: ops.Relation
) -> tuple[ops.Relation | None, list[Key]]:
    how, first, second = node.rest[0].how, node.first, node.rest[0].table
    sides: dict[ops.Relation, list[Key]] = {first: [], second: []}
    rest = []
    for value, name in keys:
        inner = _inlined(value, node)
        owners = _owners(inner)
        if owners == {first} or (owners == {second} and how in ("inner", "cross")):
            sides[owners.pop()].append((inner, name))
        else:
            rest.append((value, name))
    if not sides[first] and not sides[second]:
        return None, keys
    for one, other in equal_sides(node):
        for value, name in list(sides[first]):
            if bare(one) == value:
                sides[second].append((other, name))
        for value, name in list(sides[second]):
            if bare(other) == value and how in ("inner", "cross") and (one, name) not in sides[first]:
                sides[first].append((one, name))
    made = []
    for side in (first, second):
        moved = [(moved_value(value, side, side.parent), name) for value, name in sides[side]]
        parent = side.parent
        made.append(limited(work, parent, version, moved, among) if moved else work.version(parent, version))
    return rejoined(node, made[0], made[1]), rest


def _asof(
    work: Work, node: AsofJoin, version: Version, keys: list[Key], among: ops.Relation
) -> tuple[ops.Relation | None, list[Key]]:
    picks = {name for name, _ in node.picks}
    pushable: list[Key] = []
    rest: list[Key] = []
    for value, name in keys:
        read = {field.name for field in value.find(ops.Field, filter=ops.Value)}
        (rest if read & picks else pushable).append((value, name))
    if not pushable:
        return None, keys
    left = [(moved_value(value, node, node.left), name) for value, name in pushable]
    pairs = dict(node.by)
    right = [
        (ops.Field(node.right, pairs[bare(value).name]), name)
        for value, name in left
        if isinstance(bare(value), ops.Field) and bare(value).name in pairs
    ]
    below = limited(work, node.left, version, left, among)
    other = limited(work, node.right, version, right, among) if right else work.version(node.right, version)
    return node.copy(left=below, right=other), rest
