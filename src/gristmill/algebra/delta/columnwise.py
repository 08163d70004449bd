"""A definition column by column, so that a changed one computes only the columns that changed.

Two definitions give the same rows where the columns of the key, with all they depend on and nothing else, have the
same digest; a column is the same where it has the same name, and the same digest together with the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ibis
import ibis.expr.operations as ops

from gristmill.algebra.delta.maintained import State
from gristmill.algebra.delta.partial import ROWS
from gristmill.algebra.delta.plain import plain
from gristmill.algebra.delta.pruned import pruned
from gristmill.algebra.identity import digest
from gristmill.algebra.rewrite import normalise

ALL_ROWS = ""
"""The name under which the digest of a relation's rows stands; no column has it."""
_DIGITS = 32


def column_digests(expr: ibis.Table, key: Sequence[str]) -> dict[str, str]:
    """Return a digest for the rows, under `ALL_ROWS`, and for each column but those of the key.

    Args:
        expr: a definition as it was written.
        key: the columns that tell its rows apart.

    >>> t = ibis.table({"k": "int64", "a": "int64", "b": "int64"}, name="raw.t")
    >>> one = column_digests(t.select("k", y=t.a + 1), ["k"])
    >>> two = column_digests(t.select("k", y=t.a + 1, z=t.b * 2), ["k"])
    >>> [name for name in two if two[name] != one.get(name)]
    ['z']
    """
    # Idle columns go first: in normal form the parts of all aggregates are numbered together.
    return _digests(plain(expr.op()), key, lambda found: _flat(pruned(plain(normalise(found.to_expr()).op()))))


def state_digests(state: State) -> dict[str, str]:
    """Return the same for hidden partial results, whose rows are told apart by their groups and counted in ``_n``."""
    return _digests(state.build.op(), (*state.key, ROWS), lambda found: found)


def missing(now: Mapping[str, str], before: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the columns that are not as they were; None where the rows may be others.

    >>> missing({"": "r", "a": "1", "c": "2"}, {"": "r", "a": "1", "b": "3"})
    ('c',)
    """
    if now[ALL_ROWS] != before.get(ALL_ROWS):
        return None
    return tuple(name for name, value in now.items() if before.get(name) != value)


def only(expr: ibis.Table, names: Sequence[str]) -> ibis.Table:
    """Return some columns of a plain relation, with nothing below that these do not need; compile it as it stands."""
    return pruned(_picked(expr.op(), names)).to_expr()


def _digests(root: ops.Relation, key: Sequence[str], settled: Callable[[ops.Relation], ops.Relation]) -> dict[str, str]:
    picks = {ALL_ROWS: [*key]} | {name: [*key, name] for name in root.schema.names if name not in key}
    return {name: digest(settled(pruned(_picked(root, names))))[:_DIGITS] for name, names in picks.items()}


def _picked(root: ops.Relation, names: Sequence[str]) -> ops.Project:
    if isinstance(root, ops.Project):
        return ops.Project(root.parent, {name: root.values[name] for name in names})
    return ops.Project(root, {name: ops.Field(root, name) for name in names})


def _flat(root: ops.Relation) -> ops.Relation:
    """Return a relation whose projections of projections that only pick columns are one: such stay behind idle ones."""

    def merged(node: ops.Node, changed: Mapping[str, object] | None) -> ops.Node:
        made = node.__recreate__(changed) if changed else node
        if not isinstance(made, ops.Project) or not isinstance(below := made.parent, ops.Project):
            return made
        if not (_picks(made) or _picks(below)) or any(below in _relations(value) for value in made.values.values()):
            return made
        subs = {ops.Field(below, name): value for name, value in below.values.items()}
        return ops.Project(below.parent, {n: v.replace(subs, filter=ops.Value) for n, v in made.values.items()})

    found = root.replace(merged)
    assert isinstance(found, ops.Relation)
    return found


def _picks(node: ops.Project) -> bool:
    return all(isinstance(value, ops.Field) for value in node.values.values())


def _relations(value: ops.Value) -> set[ops.Relation]:
    """Return the relations that a value takes as a whole, as a count of rows does."""
    parts = value.find(ops.Value, filter=ops.Value)
    whole = [part for part in parts if not isinstance(part, ops.Field)]
    return {child for part in whole for child in part.__children__ if isinstance(child, ops.Relation)}
