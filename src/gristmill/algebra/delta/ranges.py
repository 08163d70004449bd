"""Windows over a range without partitions: a change touches the rows within reach of its moment, before and after.

Moments fall into buckets that are as wide as a frame reaches to one side. A changed row can then count for rows of its
own bucket and of both neighbours only, and these see no further than one bucket more.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import joined
from gristmill.algebra.delta.touched import limited
from gristmill.algebra.delta.weights import formula, signed, together
from gristmill.algebra.delta.work import NEW, OLD, Work
from gristmill.algebra.moving import fields_of_relation, windows_in

_KEY, _AT = "_gm_key_0", "_gm_at"
_US = {
    **{"Y": 366 * 86_400_000_000, "Q": 92 * 86_400_000_000, "M": 31 * 86_400_000_000, "W": 7 * 86_400_000_000},
    **{"D": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1},
}


def reach_of(windows: Sequence[ops.WindowFunction]) -> tuple[ops.Value, int] | None:
    """Return the value that windows without partitions are ordered by, and how far they reach at most.

    None where they are not all ranges with two ends over one integer, date or time.
    """
    order: ops.Value | None = None
    farthest = 0
    for window in windows:
        if window.how != "range" or len(window.order_by) != 1 or not isinstance(window.func, ops.Reduction):
            return None
        arg = window.order_by[0].arg
        if (order is not None and arg != order) or not (
            arg.dtype.is_integer() or arg.dtype.is_date() or arg.dtype.is_timestamp()
        ):
            return None
        order = arg
        for bound in (window.start, window.end):
            distance = _distance(bound)
            if distance is None:
                return None
            farthest = max(farthest, distance)
    return None if order is None else (order, farthest + 1)


def _distance(bound: ops.WindowBoundary | None) -> int | None:
    """Return how far a frame reaches, at most: in microseconds for intervals."""
    if bound is None:
        return None
    value = bound.value
    unit = value.dtype.unit.short if value.dtype.is_interval() else None
    while isinstance(value, ops.Cast):
        value = value.arg
    if not isinstance(value, ops.Literal):
        return None
    found = value.value
    if value.dtype.is_interval():
        unit = value.dtype.unit.short
    if isinstance(found, datetime.timedelta):
        return abs(found) // datetime.timedelta(microseconds=1)
    if not isinstance(found, int):
        return None
    return abs(found) * (_US[unit] if unit is not None else 1)


def ranged(work: Work, node: ops.Project, order: ops.Value, reach: int) -> ops.Relation:
    """Return the changes of a projection whose windows reach so far along an order."""
    bag = work.settled(node.parent)
    buckets = work.step(ops.Aggregate(bag, {_KEY: _bucket(work.at(order, node.parent, bag, NEW), reach)}, {}))
    near, seen = (work.step(_around(buckets, steps)) for steps in (1, 2))
    parts = []
    for version, sign in ((OLD, -1), (NEW, 1)):
        below = limited(work, node.parent, version, [(_bucket(order, reach), _KEY)], seen)
        values = {name: work.at(value, node.parent, below, version) for name, value in node.values.items()}
        made = ops.Project(below, values | {_AT: _bucket(work.at(order, node.parent, below, version), reach)})
        left, right = ops.JoinReference(made, identifier=0), ops.JoinReference(near, identifier=1)
        test = ops.IdenticalTo(ops.Field(left, _AT), ops.Field(right, _KEY))
        parts.append(signed(joined("semi", left, right, [test], fields_of_relation(left)), node.schema.names, sign))
    work.note("window", "touched keys", "a row counts for rows within the reach of its window", "scan")
    return together(parts)


def _bucket(value: ops.Value, reach: int) -> ops.Value:
    rule = "delta_bucket" if value.dtype.is_integer() else "delta_bucket_time"
    return formula(rule, value, type_=dt.int64, texts=(str(reach),))


def _around(buckets: ops.Relation, steps: int) -> ops.Relation:
    """Return buckets and their neighbours."""
    sides = [
        ops.Project(buckets, {_KEY: ops.Add(ops.Field(buckets, _KEY), ops.Literal(step, dt.int64))})
        for step in range(-steps, steps + 1)
    ]
    every = together(sides)
    return ops.Aggregate(every, {_KEY: ops.Field(every, _KEY)}, {})


def from_states(work: Work, node: ops.Relation) -> bool:
    """Whether both versions of a relation follow from hidden states and from inputs that did not change."""
    pending: list[ops.Relation] = [node]
    while pending:
        part = pending.pop()
        if work.kind(part) == "none" or (isinstance(part, ops.Aggregate) and work.stored(part, OLD) is not None):
            continue
        if isinstance(part, ops.UnboundTable) or windows_in(getattr(part, "values", {}).values()):
            return False
        values = [*getattr(part, "values", {}).values(), *getattr(part, "predicates", ())]
        if any(value.find(ops.Subquery, filter=ops.Value) for value in values):
            return False
        pending += [child for child in part.__children__ if isinstance(child, ops.Relation)]
    return True
