"""A plain definition without the columns that have no effect on its result."""

from __future__ import annotations

from collections.abc import Mapping

import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import joined, rejoined
from gristmill.algebra.delta.plain import is_correlated, repointed
from gristmill.algebra.inputs import needed_columns
from gristmill.algebra.moving import moved_value
from gristmill.algebra.nodes import AsofJoin


def pruned(root: ops.Relation) -> ops.Relation:
    """Return a plain relation with every relation below it limited to the columns that count.

    What is left of a projection, a join or a group-by is then all needed, and so are the columns that its rule
    looks at. Each keeps one column at least.
    """
    return _Pruned(root).of(root)


class _Pruned:
    """The pruning, with what was pruned already."""

    def __init__(self, root: ops.Relation) -> None:
        self._needed = needed_columns(root)
        self._known: dict[ops.Relation, ops.Relation] = {}

    def of(self, node: ops.Relation) -> ops.Relation:
        if node not in self._known:
            self._known[node] = self._pruned(node)
        return self._known[node]

    def _names(self, node: ops.Relation) -> list[str]:
        wanted = self._needed.get(node, set())
        return [name for name in node.schema.names if name in wanted]

    def _some(self, node: ops.Relation, values: Mapping[str, ops.Value]) -> dict[str, ops.Value]:
        """Return the wanted columns; where rows are only counted, one that holds nothing."""
        names = self._names(node)
        found = {name: value for name, value in values.items() if name in names}
        return found or {name: _nothing(node, name) for name in node.schema.names[:1]}

    def _pruned(self, node: ops.Relation) -> ops.Relation:
        if is_correlated(node):
            return node
        match node:
            case ops.UnboundTable():
                names = self._names(node) or list(node.schema.names[:1])
                whole = len(names) == len(node.schema)
                return node if whole else ops.Project(node, {name: ops.Field(node, name) for name in names})
            case ops.Project():
                below = self.of(node.parent)
                values = self._some(node, node.values)
                return ops.Project(below, {n: moved_value(v, node.parent, below) for n, v in values.items()})
            case ops.Aggregate():
                return self._aggregate(node)
            case ops.JoinChain():
                link = node.rest[0]
                less = joined(link.how, node.first, link.table, link.predicates, self._some(node, node.values))
                return rejoined(less, self.of(node.first.parent), self.of(link.table.parent))
            case AsofJoin():
                names = self._names(node)
                picks = tuple(pair for pair in node.picks if pair[0] in names)
                return node.copy(left=self.of(node.left), right=self.of(node.right), picks=picks)
            case ops.Union():
                return ops.Union(*(self._side(node, side) for side in (node.left, node.right)), distinct=False)
            case ops.Limit():
                order = repointed(node.parent, {node.parent.parent: self.of(node.parent.parent)})
                return node.copy(parent=order)
        return repointed(node, {c: self.of(c) for c in node.__children__ if isinstance(c, ops.Relation)})

    def _aggregate(self, node: ops.Aggregate) -> ops.Relation:
        below = self.of(node.parent)
        metrics = {name: value for name, value in node.metrics.items() if name in self._names(node)}
        if not metrics and not node.groups:
            metrics = {name: ops.CountStar(node.parent) for name in node.schema.names[:1]}
        moved = [
            {name: moved_value(value, node.parent, below) for name, value in values.items()}
            for values in (node.groups, metrics)
        ]
        return ops.Aggregate(below, *moved)

    def _side(self, node: ops.Union, side: ops.Relation) -> ops.Relation:
        below, names = self.of(side), self._names(node)
        if names and list(below.schema.names) == names:
            return below
        values: dict[str, ops.Value] = {name: ops.Field(below, name) for name in names}
        return ops.Project(below, values or {name: _nothing(node, name) for name in node.schema.names[:1]})


def _nothing(node: ops.Relation, name: str) -> ops.Value:
    return ops.Literal(None, node.schema[name].copy(nullable=True))
