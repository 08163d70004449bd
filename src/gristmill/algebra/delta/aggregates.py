"""Group-bys: by hidden partial results where every aggregate can be kept so, else by the touched groups."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import joined
from gristmill.algebra.delta.maintained import WEIGHT
from gristmill.algebra.delta.partial import ROWS, Layout, Part, both, finals_over
from gristmill.algebra.delta.touched import limited
from gristmill.algebra.delta.weights import formula, nullable, signed, together, weight_of
from gristmill.algebra.delta.windows import touched_keys, whole
from gristmill.algebra.delta.work import NEW, OLD, Work
from gristmill.algebra.moving import fields_of_relation, moved_value
from gristmill.algebra.nodes import Reduce
from gristmill.algebra.sums import HUGE
from gristmill.algebra.types import declared

_OLD, _KEY = "_gm_old_", "_gm_reached_"
_ZERO = ops.Literal(0, dt.int64)


def words_of(node: ops.Aggregate) -> str:
    """Return what the user wrote."""
    if not node.groups:
        return "aggregate"
    return f"group by {', '.join(node.groups)}" if node.metrics else "distinct rows"


def built(node: ops.Aggregate, layout: Layout) -> ops.Relation:
    """Return the state of a group-by, made anew."""
    counts: dict[str, ops.Value] = {ROWS: ops.CountStar(node.parent)}
    metrics = counts | {part.name: _built(part, node.parent) for part in layout.parts}
    return declared(ops.Aggregate(node.parent, layout.groups, metrics))


def _built(part: Part, parent: ops.Relation) -> ops.Value:
    match part.kind:
        case "count":
            if part.arg is None:
                return ops.CountStar(parent, where=part.where)
            return ops.Count(part.arg, where=part.where)
        case "sum":
            return formula("delta_sum", _plain_sum(part), type_=part.dtype, texts=(_word(part.dtype),))
        case "bag":
            found = Reduce(function="list", arg=part.arg, type_=part.dtype, where=part.where)
            return formula("delta_sorted", found, type_=part.dtype)
    kind = ops.Min if part.kind == "Min" else ops.Max
    return kind(part.arg, where=part.where)


def _plain_sum(part: Part) -> Reduce:
    return Reduce(function="sum", arg=part.arg, type_=HUGE, where=part.where)


def _word(dtype: dt.DataType) -> str:
    return f"DECIMAL(38,{dtype.scale})"


def state_schema(node: ops.Aggregate, layout: Layout) -> dict[str, dt.DataType]:
    """Return the columns of a state."""
    groups = {name: value.dtype.copy(nullable=True) for name, value in node.groups.items()}
    return groups | {ROWS: dt.int64} | {part.name: part.dtype for part in layout.parts}


def finished(layout: Layout, state: ops.Relation) -> ops.Relation:
    """Return the rows of a group-by from those of its state; a weight stays."""
    weight = weight_of(state) if WEIGHT in state.schema else {}
    return ops.Project(state, finals_over(layout, state) | weight)


def touched_groups(work: Work, node: ops.Aggregate) -> ops.Relation:
    """Return the changes of a group-by, by computing the touched groups before and after."""
    words = words_of(node)
    if not node.groups:
        return whole(work, node, words, "one of its aggregates looks at all rows, and there are no groups")
    keys, table = touched_keys(work, node.parent, tuple(node.groups.values()))
    parts = []
    for version, sign in ((OLD, -1), (NEW, 1)):
        below = limited(work, node.parent, version, keys, table)
        groups = {name: work.at(value, node.parent, below, version) for name, value in node.groups.items()}
        metrics = {name: work.at(value, node.parent, below, version) for name, value in node.metrics.items()}
        parts.append(signed(ops.Aggregate(below, groups, metrics), node.schema.names, sign))
    work.note(words, "touched keys", "one of its aggregates needs all values of a group", "scan")
    return together(parts)


def state_changes(work: Work, node: ops.Aggregate, layout: Layout, name: str, old: ops.Relation) -> ops.Relation:
    """Return the changes of a state as a table made by a step.

    Args:
        name: the step's name.
        old: the state as it was.
    """
    bag = work.settled(node.parent) if layout.extremes else work.changes(node.parent)
    sums = _summed(node, layout, bag)
    merged = work.step(_merged(layout, sums, old))
    again: dict[str, ops.Value] = {}
    rows: ops.Relation = merged
    if layout.extremes and work.kind(node.parent) != "inserts":
        rows, again = _looked_up(work, node, layout, merged)
    fresh = {name: ops.Field(rows, name) for name in (*layout.groups, ROWS, *(p.name for p in layout.parts))} | again
    after = ops.Project(rows, fresh | {_OLD + n: ops.Field(rows, _OLD + n) for n in _kept(layout)})
    settled = work.step(after) if again else rows
    why = "its aggregates are kept as partial results, to which changes are added"
    work.note(words_of(node), "mergeable", why, "delta")
    return work.step(_rows_of(layout, settled), name)


def _kept(layout: Layout) -> list[str]:
    return [ROWS, *(part.name for part in layout.parts)]


def _summed(node: ops.Aggregate, layout: Layout, bag: ops.Relation) -> ops.Relation:
    """Return what the changes add to the partial results of their groups."""
    weight = ops.Field(bag, WEIGHT)

    def put(value: ops.Value) -> ops.Value:
        return moved_value(value, node.parent, bag)

    metrics: dict[str, ops.Value] = {ROWS: _weights(weight, None)}
    for part in layout.parts:
        where = None if part.where is None else put(part.where)
        arg = None if part.arg is None else put(part.arg)
        came, went = ops.Greater(weight, _ZERO), ops.Less(weight, _ZERO)
        match part.kind:
            case "count":
                metrics[part.name] = _weights(weight, where if arg is None else both(where, ops.NotNull(arg)))
            case "sum":
                metrics[part.name] = _weighted(arg, weight, where, part.dtype)
            case "bag":
                for key, sign in ((part.name, came), (_KEY + part.name, went)):
                    metrics[key] = Reduce(function="list", arg=arg, type_=part.dtype, where=both(where, sign))
            case _:
                kind = ops.Min if part.kind == "Min" else ops.Max
                metrics[part.name] = kind(arg, where=both(where, came))
                metrics[_KEY + part.name] = kind(arg, where=both(where, went))
    groups = {name: put(value) for name, value in layout.groups.items()}
    return declared(ops.Aggregate(bag, groups, metrics))


def _weights(weight: ops.Value, where: ops.Value | None) -> ops.Value:
    return formula("delta_total", Reduce(function="sum", arg=weight, type_=HUGE, where=where), type_=dt.int64)


def _weighted(arg: ops.Value | None, weight: ops.Value, where: ops.Value | None, dtype: dt.DataType) -> ops.Value:
    assert arg is not None
    exact = arg.dtype.is_decimal() and arg.dtype != HUGE
    signs = formula("delta_signed_decimal" if exact else "delta_signed", arg, weight, type_=dtype)
    total = Reduce(function="sum", arg=signs, type_=dtype, where=where)
    return formula("delta_sum", total, type_=dtype, texts=(_word(dtype) if exact else "HUGEINT",))


def _merged(layout: Layout, sums: ops.Relation, old: ops.Relation) -> ops.Relation:
    """Return every touched group with its partial results before and after."""
    left, right = ops.JoinReference(sums, identifier=0), ops.JoinReference(old, identifier=1)
    tests = [ops.IdenticalTo(ops.Field(left, name), ops.Field(right, name)) for name in layout.groups]
    values: dict[str, ops.Value] = dict(fields_of_relation(left))
    values |= {_OLD + name: ops.Field(right, name) for name in _kept(layout)}
    met = joined("left" if layout.groups else "cross", left, right, tests, values)
    fresh: dict[str, ops.Value] = {name: ops.Field(met, name) for name in layout.groups}
    before = {name: ops.Field(met, _OLD + name) for name in _kept(layout)}
    fresh[ROWS] = formula("delta_rows", before[ROWS], ops.Field(met, ROWS), type_=dt.int64)
    for part in layout.parts:
        fresh[part.name] = _added(part, before[part.name], met)
        if part.kind in ("Min", "Max"):
            fresh[_KEY + part.name] = _reached(part, before[part.name], ops.Field(met, _KEY + part.name))
    return ops.Project(met, fresh | {_OLD + name: value for name, value in before.items()})


def _added(part: Part, old: ops.Value, met: ops.Relation) -> ops.Value:
    change = ops.Field(met, part.name)
    match part.kind:
        case "count":
            return formula("delta_plus", old, change, type_=dt.int64, texts=("BIGINT",))
        case "sum" if part.dtype == HUGE:
            return formula("delta_plus_huge", old, change, type_=HUGE)
        case "sum":
            return formula("delta_plus", old, change, type_=part.dtype, texts=(_word(part.dtype),))
        case "bag":
            return formula("delta_multiset", old, change, ops.Field(met, _KEY + part.name), type_=part.dtype)
    return formula(
        "delta_extreme", old, change, type_=part.dtype, texts=("least" if part.kind == "Min" else "greatest",)
    )


def _reached(part: Part, old: ops.Value, gone: ops.Value) -> ops.Value:
    """Return whether a row that went may have been the least or greatest."""
    sign = "<=" if part.kind == "Min" else ">="
    return formula("delta_reached", old, gone, type_=dt.boolean, texts=(sign,))


def _looked_up(
    work: Work, node: ops.Aggregate, layout: Layout, merged: ops.Relation
) -> tuple[ops.Relation, dict[str, ops.Value]]:
    """Return the touched groups with extremes computed anew where a row went that may have been one."""
    reached = reduce(ops.Or, [ops.Field(merged, _KEY + part.name) for part in layout.extremes])
    kept = ops.Filter(merged, [reached])
    names = {name: f"_gm_key_{i}" for i, name in enumerate(layout.groups)}
    if names:
        table = work.step(ops.Project(kept, {key: ops.Field(kept, name) for name, key in names.items()}))
        keys = [(value, names[name]) for name, value in layout.groups.items()]
        below = limited(work, node.parent, NEW, keys, table)
    else:
        table = work.step(ops.Project(kept, {"_gm_key": ops.Field(kept, ROWS)}))
        below = _if_any(work.version(node.parent, NEW), table)
    groups = {name: work.at(value, node.parent, below, NEW) for name, value in layout.groups.items()}
    anew = {part.name: work.at(_built(part, node.parent), node.parent, below, NEW) for part in layout.extremes}
    found = declared(ops.Aggregate(below, groups, anew))
    left, right = ops.JoinReference(merged, identifier=0), ops.JoinReference(found, identifier=1)
    tests = [ops.IdenticalTo(ops.Field(left, name), ops.Field(right, name)) for name in layout.groups]
    values = fields_of_relation(left) | {f"_gm_anew_{p.name}": ops.Field(right, p.name) for p in layout.extremes}
    rows = joined("left" if layout.groups else "cross", left, right, tests, values)
    any_reached = moved_value(reached, merged, rows)
    again: dict[str, ops.Value] = {
        part.name: ops.IfElse(any_reached, ops.Field(rows, f"_gm_anew_{part.name}"), ops.Field(rows, part.name))
        for part in layout.extremes
    }
    return rows, again


def _if_any(rows: ops.Relation, table: ops.Relation) -> ops.Relation:
    """Return the rows, or none of them when a table has none."""
    left, right = ops.JoinReference(rows, identifier=0), ops.JoinReference(table, identifier=1)
    return joined("semi", left, right, [ops.NotNull(ops.Field(right, "_gm_key"))], fields_of_relation(left))


def _rows_of(layout: Layout, merged: ops.Relation) -> ops.Relation:
    """Return rows of the state that go and come; those that stay as they are do neither."""
    kept = _kept(layout)
    same = reduce(ops.And, [ops.IdenticalTo(ops.Field(merged, n), ops.Field(merged, _OLD + n)) for n in kept])
    differ = ops.Filter(merged, [ops.Not(same)])
    sides = [
        (differ, {name: ops.Field(differ, _OLD + name) for name in kept}, -1, _OLD + ROWS),
        (differ, {name: ops.Field(differ, name) for name in kept}, 1, ROWS),
    ]
    parts = []
    for rows, values, sign, there in sides:
        groups: Mapping[str, ops.Value] = {name: ops.Field(rows, name) for name in layout.groups}
        found = rows
        if layout.groups:
            found = ops.Filter(rows, [ops.Greater(ops.Field(rows, there), _ZERO)])
            groups = {name: ops.Field(found, name) for name in layout.groups}
            values = {name: moved_value(value, rows, found) for name, value in values.items()}
        weight = {WEIGHT: ops.Literal(sign, dt.int64)}
        columns = {name: nullable(value) for name, value in (dict(groups) | values).items()}
        parts.append(ops.Project(found, columns | weight))
    return together(parts)
