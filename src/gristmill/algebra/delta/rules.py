"""The entry: from a definition and what changed to how its output follows."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.operations as ops
from ibis.common.graph import Graph

from gristmill.algebra.delta import aggregates, asof, joins, linear, windows
from gristmill.algebra.delta.maintained import (
    MODE_OF,
    MODES,
    WEIGHT,
    Change,
    Maintained,
    Mode,
    OpRule,
    State,
    delta_name,
    old_name,
)
from gristmill.algebra.delta.partial import Layout, layout_of
from gristmill.algebra.delta.plain import plain
from gristmill.algebra.delta.pruned import pruned
from gristmill.algebra.delta.weights import consolidated, together
from gristmill.algebra.delta.work import OLD, Version, Work
from gristmill.algebra.identity import digest
from gristmill.algebra.moving import fields_of_relation, windows_in
from gristmill.algebra.nodes import AsofJoin
from gristmill.algebra.rewrite import normalise
from gristmill.algebra.runtime import uses_run_time
from gristmill.algebra.sums import Grids
from gristmill.errors import DefinitionError


def maintain(
    expr: ibis.Table, changed: Mapping[str, Change], *, name: str = "out", grids: Grids | None = None
) -> Maintained:
    """Return how the output of a definition follows the changes of its inputs.

    Args:
        expr: the definition, over unbound tables.
        changed: how each input changed, by its name; inputs that are not named did not.
        name: the output's name, which its hidden states are called after.
        grids: ranges and resolutions by (table, column), as for ``normalise``.

    Raises:
        DefinitionError: something in it is refused, or a column has the name that weights have.

    >>> t = ibis.table({"k": "string", "x": "int64"}, name="raw.t")
    >>> found = maintain(t.group_by("k").agg(s=t.x.sum()), {"raw.t": "any"})
    >>> found.mode, [rule.rule for rule in found.rules], found.changes.columns
    ('delta', ['mergeable'], ('k', 's', '_w'))
    """
    root = pruned(plain(normalise(expr, grids=grids).op()))
    _refuse_weight(root)
    reads = tuple(sorted({leaf.name for leaf in root.find(ops.UnboundTable)}))
    states = _States(root, name)
    work = Work(changed, rule=states.rule, stored=states.stored)
    if work.kind(root) == "none":
        return Maintained("reuse", "no input changed", (), states.values(), (), None, (), reads)
    if uses_run_time(expr):
        why = "it reads gm.run_time(), which is another at each run"
        return Maintained(
            "full", why, (OpRule("run_time()", "full", why, "whole"),), states.values(), (), None, (), reads
        )
    changes = consolidated(work.changes(root), root.schema.names)
    rules = tuple(work.rules)
    mode: Mode = max((MODE_OF[rule.rule] for rule in rules), key=MODES.index, default="delta")
    why = next((f"{r.operation}: {r.why}" for r in rules if MODE_OF[r.rule] == mode), "each row gives its own row")
    return Maintained(
        mode, why, rules, states.values(), tuple(work.steps), changes.to_expr(), _inputs(work, changes), reads
    )


def stateful(
    expr: ibis.Table, *, name: str = "out", grids: Grids | None = None
) -> tuple[tuple[State, ...], ibis.Table]:
    """Return the hidden states of a definition, and the definition as it reads from them.

    A full computation makes the states first, under their names (``out#1@old``), and the output from them, so that
    groups are made once. Both are to be compiled as they stand.
    """
    root = pruned(plain(normalise(expr, grids=grids).op()))
    states = _States(root, name)
    work = Work({}, rule=states.rule, stored=states.stored)
    return states.values(), work.version(root, OLD).to_expr()


def _refuse_weight(root: ops.Relation) -> None:
    for relation in root.find(ops.Relation):
        if WEIGHT in relation.schema:
            raise DefinitionError(
                f"a column called `{WEIGHT}`, which is the name that the weights of changed rows have",
                code="GM-P132",
                hint="rename the column",
            )


def _inputs(work: Work, changes: ops.Relation) -> tuple[str, ...]:
    """Return the names that steps and changes read and no step makes."""
    made = {step.name for step in work.steps}
    found = [step.expr.op() for step in work.steps]
    names = {leaf.name for root in (*found, changes) for leaf in root.find(ops.UnboundTable)}
    return tuple(sorted(names - made))


class _States:
    """The hidden states of one definition, and the rules by kind of operation."""

    def __init__(self, root: ops.Relation, name: str) -> None:
        self._name = name
        self._layouts: dict[ops.Aggregate, tuple[int, Layout]] = {}
        self._touched: set[ops.Aggregate] = set()
        self._after: dict[ops.Aggregate, ops.Relation] = {}
        for node in _inputs_first(root):
            layout = layout_of(node)
            if layout is not None:
                self._layouts[node] = (len(self._layouts) + 1, layout)

    def values(self) -> tuple[State, ...]:
        """Return the states as values."""
        return tuple(self._value(node, number, layout) for node, (number, layout) in self._layouts.items())

    def _value(self, node: ops.Aggregate, number: int, layout: Layout) -> State:
        build = aggregates.built(node, layout)
        schema = ibis.schema(aggregates.state_schema(node, layout))
        touched = delta_name(f"{self._name}#{number}") if node in self._touched else None
        return State(f"#{number}", schema, tuple(layout.groups), build.to_expr(), digest(build), touched)

    def _table(self, node: ops.Aggregate, number: int, layout: Layout) -> ops.UnboundTable:
        return ops.UnboundTable(name=old_name(f"{self._name}#{number}"), schema=aggregates.state_schema(node, layout))

    def stored(self, work: Work, node: ops.Relation, version: Version) -> ops.Relation | None:
        """Return a group-by that has a state, read from it."""
        if node not in self._layouts:
            return None
        number, layout = self._layouts[node]
        old = self._table(node, number, layout)
        if version == OLD or work.kind(node) == "none":
            return aggregates.finished(layout, old)
        if node not in self._after:
            self._after[node] = self._new_state(work, node, layout, old)
        return aggregates.finished(layout, self._after[node])

    def _new_state(self, work: Work, node: ops.Aggregate, layout: Layout, old: ops.UnboundTable) -> ops.Relation:
        """Return the state after the change: what was not touched, and what came."""
        changes = self._changes(work, node)
        left, right = ops.JoinReference(old, identifier=0), ops.JoinReference(changes, identifier=1)
        tests = [ops.IdenticalTo(ops.Field(left, name), ops.Field(right, name)) for name in layout.groups]
        tests.append(ops.Less(ops.Field(right, WEIGHT), ops.Literal(0, "int64")))
        kept = ops.JoinChain(left, [ops.JoinLink("anti", right, tests)], fields_of_relation(left))
        came = ops.Filter(changes, [ops.Greater(ops.Field(changes, WEIGHT), ops.Literal(0, "int64"))])
        return together([kept, ops.Project(came, {name: ops.Field(came, name) for name in old.schema.names})])

    def _changes(self, work: Work, node: ops.Aggregate) -> ops.Relation:
        """Return the changes of a state, made by a step once."""
        work.changes(node)
        number, layout = self._layouts[node]
        schema = aggregates.state_schema(node, layout)
        return ops.UnboundTable(name=delta_name(f"{self._name}#{number}"), schema={**schema, WEIGHT: "int64"})

    def rule(self, work: Work, node: ops.Relation) -> ops.Relation:
        """Return the changes of a relation by the rule for its kind."""
        match node:
            case ops.Project() if work.is_linear(node):
                return linear.project(work, node)
            case ops.Project() if windows_in(node.values.values()) and not _subqueries(work, node.values.values()):
                return windows.windowed(work, node)
            case ops.Filter() if work.is_linear(node):
                return linear.filtered(work, node)
            case ops.TableUnnest() if work.is_linear(node):
                return linear.unnested(work, node)
            case ops.Union() if not node.distinct:
                return linear.union(work, node)
            case ops.JoinChain() if node.rest[0].how in ("inner", "cross"):
                return joins.inner_join(work, node)
            case ops.JoinChain() if node.rest[0].how in ("left", "semi", "anti"):
                return joins.left_join(work, node)
            case AsofJoin():
                return asof.asof_join(work, node)
            case ops.Aggregate() if node in self._layouts:
                return self._mergeable(work, node)
            case ops.Aggregate():
                return aggregates.touched_groups(work, node)
        return _whole(work, node)

    def _mergeable(self, work: Work, node: ops.Aggregate) -> ops.Relation:
        number, layout = self._layouts[node]
        self._touched.add(node)
        old = self._table(node, number, layout)
        made = aggregates.state_changes(work, node, layout, delta_name(f"{self._name}#{number}"), old)
        return aggregates.finished(layout, made)


def _subqueries(work: Work, values: object) -> bool:
    return any(
        isinstance(part, ops.ExistsSubquery) or work.kind(part.rel) != "none"
        for value in values  # type: ignore[attr-defined]
        for part in value.find(ops.Subquery, filter=ops.Value)
    )


def _whole(work: Work, node: ops.Relation) -> ops.Relation:
    words = {"Limit": "the order of all rows decides which are taken"}
    kind = type(node).__name__
    return windows.whole(work, node, kind.lower(), words.get(kind, "a subquery looks at all rows"))


def _inputs_first(root: ops.Relation) -> list[ops.Aggregate]:
    order, _ = Graph.from_bfs(root).toposort()
    return [node for node in order if isinstance(node, ops.Aggregate)]
