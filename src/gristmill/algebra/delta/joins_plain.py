"""Chains of joins written as joins of two tables of the kinds inner, cross, left, semi and anti."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ibis.expr.operations as ops

from gristmill.algebra.delta.maintained import WEIGHT
from gristmill.algebra.delta.weights import nullable, together
from gristmill.algebra.moving import moved_value

LEFT, RIGHT = 0, 1


def plain_join(node: ops.JoinChain, parents: Sequence[ops.Relation]) -> ops.Relation:
    """Return a chain as nested joins of two.

    Args:
        node: the chain.
        parents: what stands for each of its tables, with the same columns.
    """
    tables = list(node.tables)
    so_far = parents[0]
    place = {field: field.name for field in _used(node, tables[0])}
    for number, link in enumerate(node.rest, 1):
        left, right = ops.JoinReference(so_far, identifier=LEFT), ops.JoinReference(parents[number], identifier=RIGHT)
        subs: dict[ops.Node, ops.Node] = {field: ops.Field(left, name) for field, name in place.items()}
        subs |= {field: ops.Field(right, field.name) for field in _used(node, tables[number])}
        predicates = [value.replace(subs, filter=ops.Value) for value in link.predicates]
        if number == len(node.rest):
            values = {name: value.replace(subs, filter=ops.Value) for name, value in node.values.items()}
        else:
            kept = [field for field in subs if link.how not in ("semi", "anti") or field.rel != tables[number]]
            place = {field: f"_gm_{tables.index(field.rel)}_{field.name}" for field in kept}
            values = {name: subs[field] for field, name in place.items()}
        so_far = _two(link.how, left, right, predicates, values)
    return so_far


def _used(node: ops.JoinChain, table: ops.Relation) -> list[ops.Field]:
    """Return the columns of one table that a chain reads, in the table's order."""
    values = [*node.values.values(), *(value for link in node.rest for value in link.predicates)]
    names = {f.name for value in values for f in value.find(ops.Field, filter=ops.Value) if f.rel == table}
    return [ops.Field(table, name) for name in table.schema.names if name in names]


def joined(
    how: str,
    left: ops.Relation,
    right: ops.Relation,
    predicates: Sequence[ops.Value],
    values: Mapping[str, ops.Value],
) -> ops.JoinChain:
    """Return a join of two references."""
    return ops.JoinChain(left, [ops.JoinLink(how, right, predicates)], values)


def _two(
    how: str,
    left: ops.Relation,
    right: ops.Relation,
    predicates: list[ops.Value],
    values: dict[str, ops.Value],
) -> ops.Relation:
    if how == "right":
        return _swapped("left", left, right, predicates, values)
    if how == "outer":
        kept = joined("left", left, right, predicates, values)
        return together([kept, _swapped("anti", left, right, predicates, values)])
    return joined(how, left, right, predicates, values)


def _swapped(
    how: str,
    left: ops.Relation,
    right: ops.Relation,
    predicates: list[ops.Value],
    values: dict[str, ops.Value],
) -> ops.Relation:
    """Return a join with its sides in the other order; an anti join has nulls for what was left."""
    first = ops.JoinReference(right.parent, identifier=LEFT)
    second = ops.JoinReference(left.parent, identifier=RIGHT)

    def turned(value: ops.Value) -> ops.Value:
        subs: dict[ops.Node, ops.Node] = {}
        for field in value.find(ops.Field, filter=ops.Value):
            if field.rel in (left, right):
                subs[field] = ops.Field(first if field.rel == right else second, field.name)
        found: ops.Value = value.replace(subs, filter=ops.Value)
        return found

    tests = [turned(value) for value in predicates]
    if how == "left":
        return joined(how, first, second, tests, {name: turned(value) for name, value in values.items()})
    padded = {name: turned(_without(value, left)) for name, value in values.items()}
    only = joined(how, first, second, tests, {name: ops.Field(first, name) for name in first.schema.names})
    return ops.Project(only, {name: nullable(moved_value(value, first, only)) for name, value in padded.items()})


def _without(value: ops.Value, gone: ops.Relation) -> ops.Value:
    """Return a value with null for every column of a relation."""
    found = [field for field in value.find(ops.Field, filter=ops.Value) if field.rel == gone]
    subs: dict[ops.Node, ops.Node] = {field: ops.Literal(None, field.dtype.copy(nullable=True)) for field in found}
    replaced: ops.Value = value.replace(subs, filter=ops.Value)
    return replaced


def rejoined(
    node: ops.JoinChain, left: ops.Relation, right: ops.Relation, *, weight: int | None = None, how: str | None = None
) -> ops.JoinChain:
    """Return a join of two over other relations with the same columns.

    Args:
        weight: the side that brings a weight, which the result then has too.
        how: another kind of join.
    """
    first, second = ops.JoinReference(left, identifier=LEFT), ops.JoinReference(right, identifier=RIGHT)

    def put(value: ops.Value) -> ops.Value:
        return moved_value(moved_value(value, node.first, first), node.rest[0].table, second)

    values = {name: put(value) for name, value in node.values.items()}
    if weight is not None:
        values[WEIGHT] = ops.Field(first if weight == LEFT else second, WEIGHT)
    return joined(how or node.rest[0].how, first, second, [put(test) for test in node.rest[0].predicates], values)
