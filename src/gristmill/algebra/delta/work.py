"""What the rules share: the two versions of every relation, its changes, and the steps made so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.maintained import (
    WEIGHT,
    Change,
    OpRule,
    RuleName,
    Step,
    delta_name,
    new_name,
    old_name,
)
from gristmill.algebra.delta.weights import consolidated, in_units
from gristmill.algebra.moving import moved_value

OLD, NEW = "old", "new"
Version = str
Rule = Callable[["Work", ops.Relation], ops.Relation]


class Work:
    """One definition on its way to a ``Maintained``.

    Args:
        changed: how each input changed; inputs that are not there did not.
        rule: gives the changes of a relation from those of what is below it.
        stored: what stands for a relation that a hidden state holds, by version.
    """

    def __init__(
        self,
        changed: Mapping[str, Change],
        *,
        rule: Rule,
        stored: Callable[[Work, ops.Relation, Version], ops.Relation | None],
    ) -> None:
        self.changed = changed
        self.steps: list[Step] = []
        self.rules: list[OpRule] = []
        self._rule = rule
        self._stored_as = stored
        self._changes: dict[ops.Relation, ops.Relation] = {}
        self._settled: dict[ops.Relation, ops.Relation] = {}
        self._versions: dict[tuple[ops.Relation, Version], ops.Relation] = {}
        self._kinds: dict[ops.Relation, Change] = {}

    # -- what changed --------------------------------------------------------------------------------

    def kind(self, node: ops.Node) -> Change:
        """Return how a relation, or all that a value looks at, may have changed."""
        if node not in self._kinds:
            self._kinds[node] = self._kind(node)
        return self._kinds[node]

    def _kind(self, node: ops.Node) -> Change:
        found = [self.changed.get(leaf.name, "none") for leaf in node.find(ops.UnboundTable)]
        if all(kind == "none" for kind in found):
            return "none"
        below: list[ops.Node] = []
        match node:
            case ops.UnboundTable():
                return self.changed[node.name]
            case ops.Project() | ops.Filter() | ops.TableUnnest() if self.is_linear(node):
                below = [node.parent]
            case ops.Union():
                below = [node.left, node.right]
            case ops.JoinChain() if node.rest[0].how in ("inner", "cross"):
                below = [node.first.parent, node.rest[0].table.parent]
            case ops.JoinChain() if self.kind(node.rest[0].table.parent) == "none":
                below = [node.first.parent]
            case _:
                return "any"
        return "any" if any(self.kind(part) == "any" for part in below) else "inserts"

    def is_linear(self, node: ops.Project | ops.Filter | ops.TableUnnest) -> bool:
        """Whether a row's result depends on that row only, as far as this change goes."""
        values = [node.column] if isinstance(node, ops.TableUnnest) else list(_values(node))
        for value in values:
            if value.find((ops.WindowFunction, ops.ExistsSubquery), filter=ops.Value):
                return False
            for part in value.find(ops.Subquery, filter=ops.Value):
                if self.kind(part.rel) != "none":
                    return False
        return True

    # -- the three faces of a relation ---------------------------------------------------------------

    def version(self, node: ops.Relation, version: Version) -> ops.Relation:
        """Return a relation as it was or as it is."""
        key = (node, version)
        if key not in self._versions:
            self._versions[key] = self._at(node, version)
        return self._versions[key]

    def _at(self, node: ops.Relation, version: Version) -> ops.Relation:
        subs: dict[ops.Node, ops.Node] = {}
        for leaf in node.find(ops.UnboundTable):
            subs[leaf] = self.leaf(leaf, version)
        for inner in node.find(ops.Aggregate):
            found = self.stored(inner, version)
            if found is not None:
                subs[inner] = found
        return _replaced(node, {old: new for old, new in subs.items() if old != new})

    def stored(self, node: ops.Relation, version: Version) -> ops.Relation | None:
        """Return what stands for a relation that a hidden state holds; None for any other."""
        return self._stored_as(self, node, OLD if self.kind(node) == "none" else version)

    def at(self, value: ops.Value, old: ops.Relation, new: ops.Relation, version: Version) -> ops.Value:
        """Return a value over one relation as the same over another, subqueries at a version."""
        value = moved_value(value, old, new)
        subs = {part.rel: self.version(part.rel, version) for part in value.find(ops.Subquery, filter=ops.Value)}
        for part in value.find(ops.Subquery, filter=ops.Value):
            value = value.replace({part: part.copy(rel=subs[part.rel])}, filter=ops.Value)
        return value

    def leaf(self, leaf: ops.UnboundTable, version: Version) -> ops.Relation:
        """Return an input as it was or as it is."""
        if self.changed.get(leaf.name, "none") == "none":
            return leaf
        name = (old_name if version == OLD else new_name)(leaf.name)
        return ops.UnboundTable(name=name, schema=leaf.schema)

    def changes(self, node: ops.Relation) -> ops.Relation:
        """Return the changes of a relation: its columns and a weight of -1 or +1; rows may cancel."""
        if node not in self._changes:
            if isinstance(node, ops.UnboundTable):
                schema = {**node.schema.fields, WEIGHT: dt.int64}
                self._changes[node] = ops.UnboundTable(name=delta_name(node.name), schema=schema)
            else:
                self._changes[node] = self._rule(self, node)
        return self._changes[node]

    def settled(self, node: ops.Relation) -> ops.Relation:
        """Return the changes of a relation as a table made by a step; none of its rows cancel."""
        if node not in self._settled:
            bag, names = self.changes(node), node.schema.names
            if self.kind(node) == "any":
                bag = in_units(consolidated(bag, names), names)
            self._settled[node] = bag if isinstance(bag, ops.UnboundTable) else self.step(bag)
        return self._settled[node]

    # -- the record ----------------------------------------------------------------------------------

    def step(self, relation: ops.Relation, name: str | None = None) -> ops.UnboundTable:
        """Return the table that a step makes of a relation."""
        name = name or f"_gm_{len(self.steps) + 1}"
        self.steps.append(Step(name, relation.to_expr()))
        return ops.UnboundTable(name=name, schema=relation.schema)

    def note(self, operation: str, rule: RuleName, why: str, cost: str) -> None:
        """Keep how one operation is maintained."""
        self.rules.append(OpRule(operation, rule, why, cost))  # type: ignore[arg-type]


def _values(node: ops.Project | ops.Filter) -> tuple[ops.Value, ...]:
    return tuple(node.values.values()) if isinstance(node, ops.Project) else node.predicates


def _replaced(node: ops.Relation, subs: Mapping[ops.Node, ops.Node]) -> ops.Relation:
    def put(part: ops.Node, changed: Mapping[str, object] | None) -> ops.Node:
        if part in subs:
            return subs[part]
        return part.__recreate__(changed) if changed else part

    found: ops.Relation = node.replace(put)
    return found
