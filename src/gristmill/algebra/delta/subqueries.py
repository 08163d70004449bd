"""Subqueries written as joins, as far as that says the same."""

from __future__ import annotations

from collections.abc import Callable

import ibis.expr.operations as ops

from gristmill.algebra.moving import conjuncts, fields_of_relation, moved_value


def without_subqueries(
    node: ops.Filter | ops.Project, below: Callable[[ops.Relation], ops.Relation]
) -> ops.Filter | ops.Project:
    """Return the node over a plain parent, with ``IN`` as a semi join and single statistics as a column.

    Args:
        below: writes a relation plainly.
    """
    parent = below(node.parent)
    if isinstance(node, ops.Filter):
        tests = [moved_value(test, node.parent, parent) for test in conjuncts(node.predicates)]
        while (member := next((test for test in tests if _is_member(test)), None)) is not None:
            joined = _semi(parent, member, below)
            tests = [moved_value(test, parent, joined) for test in tests if test is not member]
            parent = joined
        return _filter(parent, tests, node.schema.names, below)
    values = [moved_value(value, node.parent, parent) for value in node.values.values()]
    wide, values = _with_statistics(parent, values, below)
    return ops.Project(wide, dict(zip(node.values, values, strict=True)))


def _is_member(test: ops.Value) -> bool:
    return isinstance(test, ops.InSubquery) and not test.needle.find(ops.Subquery, filter=ops.Value)


def _semi(parent: ops.Relation, member: ops.InSubquery, below: Callable[[ops.Relation], ops.Relation]) -> ops.Relation:
    left, right = ops.JoinReference(parent, identifier=0), ops.JoinReference(below(member.rel), identifier=1)
    needle = moved_value(member.needle, parent, left)
    equal = ops.Equals(needle, ops.Field(right, right.schema.names[0]))
    return ops.JoinChain(left, [ops.JoinLink("semi", right, [equal])], fields_of_relation(left))


def _filter(
    parent: ops.Relation,
    tests: list[ops.Value],
    names: tuple[str, ...],
    below: Callable[[ops.Relation], ops.Relation],
) -> ops.Filter | ops.Project:
    if not tests:
        return ops.Project(parent, {name: ops.Field(parent, name) for name in names})
    wide, tests = _with_statistics(parent, tests, below)
    kept = ops.Filter(wide, tests)
    return kept if wide is parent else ops.Project(kept, {name: ops.Field(kept, name) for name in names})


def _with_statistics(
    parent: ops.Relation, values: list[ops.Value], below: Callable[[ops.Relation], ops.Relation]
) -> tuple[ops.Relation, list[ops.Value]]:
    """Return the relation with every single statistic as a column, and the values that read it there."""
    found = dict.fromkeys(part for value in values for part in value.find(ops.ScalarSubquery, filter=ops.Value))
    singles = [part for part in found if is_one_row(part.rel)]
    relation = parent
    for number, part in enumerate(singles):
        name = f"_gm_single_{number}"
        while name in relation.schema:
            name += "_"
        left, right = ops.JoinReference(relation, identifier=0), ops.JoinReference(below(part.rel), identifier=1)
        read = {name: ops.Field(right, right.schema.names[0])}
        wide = ops.JoinChain(left, [ops.JoinLink("cross", right, [])], fields_of_relation(left) | read)
        subs = {part: ops.Field(wide, name)}
        values = [moved_value(value.replace(subs, filter=ops.Value), relation, wide) for value in values]
        relation = wide
    return relation, values


def is_one_row(relation: ops.Relation) -> bool:
    """Whether a relation has one row whatever its inputs hold."""
    while isinstance(relation, ops.Project):
        relation = relation.parent
    return isinstance(relation, ops.Aggregate) and not relation.groups
