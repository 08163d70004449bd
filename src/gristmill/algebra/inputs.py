"""Which columns of which input tables an expression reads: what to scan and what a fingerprint holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import ibis
import ibis.expr.operations as ops
from ibis.common.graph import Graph

from gristmill.algebra.nodes import AsofJoin


def reads(expr: ibis.Table) -> dict[str, tuple[str, ...]]:
    """Return the columns that each input table contributes, by dotted table name, in the table's order.

    A table that is only counted maps to an empty tuple. Columns that are carried along and never used are
    not listed.

    >>> t = ibis.table({"a": "int64", "b": "int64", "c": "string"}, name="raw.t")
    >>> reads(t.filter(t.b > 1).select("a"))
    {'raw.t': ('a', 'b')}
    """
    needed = needed_columns(expr.op())
    found: dict[str, set[str]] = {}
    order: dict[str, tuple[str, ...]] = {}
    for node, columns in needed.items():
        if isinstance(node, ops.UnboundTable):
            found.setdefault(node.name, set()).update(columns)
            order[node.name] = tuple(dict.fromkeys((*order.get(node.name, ()), *node.schema.names)))
    return {name: tuple(c for c in order[name] if c in found[name]) for name in sorted(found)}


def needed_columns(root: ops.Node) -> dict[ops.Relation, set[str]]:
    """Return, for every relation below ``root``, which of its columns have an effect on the result.

    Relations are visited after everything that uses them, so each is looked at once.
    """
    needed: dict[ops.Relation, set[str]] = {}
    if isinstance(root, ops.Relation):
        needed[root] = set(root.schema.names)
    else:
        _want(needed, [root])
    graph, _ = Graph.from_bfs(root).toposort()
    for node in reversed(list(graph)):
        if isinstance(node, ops.Relation):
            _push_down(needed, node, needed.setdefault(node, set()))
    return needed


def fields_of(values: Iterable[ops.Node]) -> Iterator[ops.Field]:
    """Yield the fields that the values refer to, without entering the relations behind them."""
    for value in values:
        yield from value.find(ops.Field, filter=ops.Value)


def _want(needed: dict[ops.Relation, set[str]], values: Iterable[ops.Node]) -> None:
    """Note what a value needs: its fields, and all of what a subquery or a count of rows looks at."""
    values = list(values)
    for field in fields_of(values):
        needed.setdefault(field.rel, set()).add(field.name)
    for value in values:
        for part in value.find((ops.Subquery, ops.CountStar, ops.CountDistinctStar), filter=ops.Value):
            whole = isinstance(part, ops.ScalarSubquery | ops.InSubquery | ops.CountDistinctStar)
            relation = part.arg if isinstance(part, ops.CountStar | ops.CountDistinctStar) else part.rel
            needed.setdefault(relation, set()).update(relation.schema.names if whole else ())


def _push_down(needed: dict[ops.Relation, set[str]], node: ops.Relation, columns: set[str]) -> None:
    """Turn the columns wanted of one relation into columns wanted of its parents."""
    match node:
        case ops.Project():
            _want(needed, [node.values[name] for name in columns])
        case ops.Aggregate():
            _want(needed, [*node.groups.values(), *(v for k, v in node.metrics.items() if k in columns)])
        case ops.JoinChain():
            _want(needed, [node.values[name] for name in columns])
            _want(needed, [p for link in node.rest for p in link.predicates])
        case AsofJoin():
            _push_asof(needed, node, columns)
        case ops.Filter():
            _pass(needed, node.parent, columns)
            _want(needed, node.predicates)
        case ops.Sort():
            _pass(needed, node.parent, columns)
            _want(needed, node.keys)
        case ops.DropNull():
            _pass(needed, node.parent, columns if node.subset is not None else set(node.schema.names))
            _want(needed, node.subset or ())
        case ops.TableUnnest():
            _pass(needed, node.parent, columns & set(node.parent.schema.names))
            _want(needed, [node.column])
        case ops.Union() if not node.distinct:
            _pass(needed, node.left, columns)
            _pass(needed, node.right, columns)
        case ops.Set():
            _pass(needed, node.left, set(node.schema.names))
            _pass(needed, node.right, set(node.schema.names))
        case ops.Distinct():
            _pass(needed, node.parent, set(node.schema.names))
        case ops.DummyTable():
            _want(needed, node.values.values())
        case _ if isinstance(getattr(node, "parent", None), ops.Relation):
            _pass(needed, node.parent, columns)


def _pass(needed: dict[ops.Relation, set[str]], parent: ops.Relation, columns: set[str]) -> None:
    needed.setdefault(parent, set()).update(columns)


def _push_asof(needed: dict[ops.Relation, set[str]], node: AsofJoin, columns: set[str]) -> None:
    picks = dict(node.picks)
    left = {name for name in columns if name not in picks}
    _pass(needed, node.left, left | {node.on[0], *(pair[0] for pair in node.by)})
    right = {picks[name] for name in columns if name in picks}
    _pass(needed, node.right, right | {node.on[1], *(pair[1] for pair in node.by), *node.ties})


def literals(root: ops.Node) -> tuple[str, ...]:
    """Return what tells two trees apart that Ibis calls equal: 0.0 and -0.0 are one literal to it.

    To be part of the key wherever what was made of a tree is kept.
    """
    found = (node.value for node in root.find(ops.Literal))
    return tuple(repr(value) for value in found if not isinstance(value, str | int | bool | bytes))
