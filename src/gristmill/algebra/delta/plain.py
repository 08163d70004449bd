"""A definition written with the few operations that the rules know; the rows stay the same.

What remains: tables, projections (whose windows have one partitioning each), filters, joins of two tables of the
kinds inner, cross, left, semi and anti, as-of joins, group-bys, unions of all rows, unnesting, and limits over an
order. Distinct rows and set operations become group-bys that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import plain_join
from gristmill.algebra.delta.sets import plain_distinct, plain_set
from gristmill.algebra.delta.subqueries import without_subqueries
from gristmill.algebra.moving import computed_first, fields_of_relation, moved_value, plain_columns, windows_in

R = TypeVar("R", bound=ops.Relation)


def plain(node: ops.Relation) -> ops.Relation:
    """Return the relation, in normal form, written with few kinds of operations."""
    return _Plain().of(node)


class _Plain:
    """The rewriting, with what was written already."""

    def __init__(self) -> None:
        self._known: dict[ops.Relation, ops.Relation] = {}

    def of(self, node: ops.Relation) -> ops.Relation:
        if node not in self._known:
            self._known[node] = self._written(node)
        return self._known[node]

    def _written(self, node: ops.Relation) -> ops.Relation:
        if is_correlated(node):
            return node
        match node:
            case ops.Sort() | ops.SelfReference():
                return self.of(node.parent)
            case ops.DropColumns() | ops.DropNull() | ops.FillNull():
                return self.of(plain_columns(node))
            case ops.Filter() if windows_in(node.predicates):
                return self.of(computed_first(node))
            case ops.Filter() | ops.Project():
                lifted = without_subqueries(node, self.of)
                return _by_partition(lifted) if isinstance(lifted, ops.Project) else lifted
            case ops.Limit():
                below = node.parent
                order = repointed(below, {below.parent: self.of(below.parent)})
                return node.copy(parent=order)
            case ops.Distinct():
                return plain_distinct(self.of(node.parent))
            case ops.Set():
                return plain_set(node, self.of(node.left), self.of(node.right))
            case ops.JoinChain():
                return plain_join(node, [self.of(table.parent) for table in node.tables])
        children = {child: self.of(child) for child in _below(node)}
        return repointed(node, children)


def is_correlated(node: ops.Relation) -> bool:
    """Whether a subquery in the node may look at the node's own rows, so that both can only be moved together."""
    values = node.values.values() if isinstance(node, ops.Project) else getattr(node, "predicates", ())
    return any(value.find(ops.ExistsSubquery, filter=ops.Value) for value in values)


def _below(node: ops.Relation) -> list[ops.Relation]:
    return [child for child in node.__children__ if isinstance(child, ops.Relation)]


def repointed(node: R, parents: Mapping[ops.Relation, ops.Relation]) -> R:
    """Return a node over other relations with the same columns."""
    if all(old is new for old, new in parents.items()):
        return node

    def point(value: object) -> object:
        if isinstance(value, ops.Relation):
            return parents.get(value, value)
        if isinstance(value, ops.Value):
            for old, new in parents.items():
                value = moved_value(value, old, new)
            return value
        if isinstance(value, Mapping):
            return {key: point(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(point(item) for item in value)
        return value

    arguments = {name: point(value) for name, value in zip(node.argnames, node.args, strict=True)}
    made: R = type(node)(**arguments)
    return made


def _by_partition(node: ops.Project) -> ops.Relation:
    """Return a projection as several, each of which computes the windows of one partitioning."""
    groups: dict[frozenset[ops.Value], list[ops.WindowFunction]] = {}
    topmost = [
        window
        for value in node.values.values()
        for window in value.find_topmost((ops.WindowFunction, ops.Relation))
        if isinstance(window, ops.WindowFunction)
    ]
    for window in dict.fromkeys(topmost):
        groups.setdefault(frozenset(window.group_by), []).append(window)
    if len(groups) < 2:
        return node
    relation = node.parent
    place: dict[ops.WindowFunction, str] = {}
    for windows in groups.values():
        names = {window: f"_gm_window_{len(place) + i}" for i, window in enumerate(windows)}
        values = {name: moved_value(window, node.parent, relation) for window, name in names.items()}
        relation = ops.Project(relation, fields_of_relation(relation) | values)
        place |= names
    subs: dict[ops.Node, ops.Node] = {window: ops.Field(relation, name) for window, name in place.items()}
    values = {}
    for name, value in node.values.items():
        values[name] = moved_value(value.replace(subs, filter=ops.Value), node.parent, relation)
    return ops.Project(relation, values)
