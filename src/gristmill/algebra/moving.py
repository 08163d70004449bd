"""Values over one relation as values over another, and relations written with fewer kinds of operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops


def moved_value(value: ops.Value, old: ops.Relation, new: ops.Relation) -> ops.Value:
    """Return a value over one relation as the same value over another that has its columns."""

    def move(node: ops.Node, changed: Mapping[str, object] | None) -> ops.Node:
        if isinstance(node, ops.Field) and node.rel == old:
            return ops.Field(new, node.name)
        if isinstance(node, ops.CountStar | ops.CountDistinctStar) and node.arg == old:
            changed = {**(changed or dict(zip(node.argnames, node.args, strict=True))), "arg": new}
        return node.__recreate__(changed) if changed else node

    return value.replace(move, filter=ops.Value)


def fields_of_relation(relation: ops.Relation) -> dict[str, ops.Value]:
    """Return every column of a relation by name."""
    return {name: ops.Field(relation, name) for name in relation.schema.names}


def plain_columns(node: ops.DropColumns | ops.DropNull | ops.FillNull) -> ops.Relation:
    """Return the same as a projection or a filter."""
    fields = fields_of_relation(node.parent)
    if isinstance(node, ops.DropColumns):
        return ops.Project(node.parent, {name: fields[name] for name in node.schema.names})
    if isinstance(node, ops.FillNull):
        given = node.replacements
        if not isinstance(given, Mapping):
            given = {name: given for name, dtype in node.parent.schema.items() if dtype.nullable}
        filled = {name: ops.Coalesce((fields[name], value)) for name, value in given.items()}
        return ops.Project(node.parent, fields | filled)
    subset = fields.values() if node.subset is None else [fields[value.name] for value in node.subset]
    there = [ops.NotNull(value) for value in subset]
    if not there:
        return node.parent if node.how == "any" else ops.Filter(node.parent, [ops.Literal(False, dt.boolean)])
    test = reduce(ops.And if node.how == "any" else ops.Or, there)
    marked = ops.Project(node.parent, {**fields, "_gm_there": test})
    kept = ops.Filter(marked, [ops.Field(marked, "_gm_there")])
    return ops.Project(kept, {name: ops.Field(kept, name) for name in fields})


def computed_first(node: ops.Filter) -> ops.Relation:
    """Return a filter on windows as a projection that computes them and a filter on its columns."""
    names = [f"_gm_test_{i}" for i in range(len(node.predicates))]
    below = ops.Project(node.parent, fields_of_relation(node.parent) | dict(zip(names, node.predicates, strict=True)))
    kept = ops.Filter(below, [ops.Field(below, name) for name in names])
    return ops.Project(kept, {name: ops.Field(kept, name) for name in node.schema.names})


def conjuncts(values: Iterable[ops.Value]) -> Iterator[ops.Value]:
    """Yield the conditions that must all hold."""
    for value in values:
        if isinstance(value, ops.And):
            yield from conjuncts((value.left, value.right))
        else:
            yield value


def windows_in(values: Iterable[ops.Value]) -> list[ops.WindowFunction]:
    """Return the windows in some values, without entering the relations behind them."""
    return [window for value in values for window in value.find(ops.WindowFunction, filter=ops.Value)]


def moved_by(value: ops.Value, distance: float) -> ops.Value:
    """Return a moment moved by a distance: microseconds for times, else the column's units."""
    if value.dtype.is_numeric():
        return ops.Add(value, ops.Literal(distance, dt.float64 if isinstance(distance, float) else dt.int64))
    moment = ops.Cast(value, dt.Timestamp(scale=6)) if value.dtype.is_date() else value
    step = ops.Literal(abs(int(distance)), dt.Interval("us"))
    return ops.TimestampAdd(moment, step) if distance >= 0 else ops.TimestampSub(moment, step)
