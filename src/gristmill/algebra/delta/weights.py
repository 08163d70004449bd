"""Bags of rows with weights: signs, sums of bags, and the form in which each row stands once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.maintained import WEIGHT
from gristmill.algebra.moving import fields_of_relation
from gristmill.algebra.nodes import Formula, Reduce
from gristmill.algebra.sums import HUGE

_LIST = dt.Array(dt.int64)


def formula(rule: str, *args: ops.Value, type_: dt.DataType, texts: tuple[str, ...] = ()) -> Formula:
    """Return a template of ``formulas.py``, filled."""
    return Formula(rule=rule, args_=args, texts=texts, type_=type_)


def weight_of(relation: ops.Relation) -> dict[str, ops.Value]:
    """Return the weight column of a relation, by name."""
    return {WEIGHT: ops.Field(relation, WEIGHT)}


def signed(relation: ops.Relation, names: Iterable[str], sign: int) -> ops.Relation:
    """Return rows with one weight for all of them."""
    values = {name: nullable(ops.Field(relation, name)) for name in names}
    return ops.Project(relation, values | {WEIGHT: ops.Literal(sign, dt.int64)})


def nullable(value: ops.Value) -> ops.Value:
    """Return the value with a type that may be null, so that both sides of a union agree."""
    if value.dtype.nullable:
        return value
    return formula("delta_same", value, type_=value.dtype.copy(nullable=True))


def together(parts: Iterable[ops.Relation]) -> ops.Relation:
    """Return all rows of all bags, which have the same columns in the same order."""
    plain = [_nullable(part) for part in parts]
    return reduce(lambda a, b: ops.Union(a, b, distinct=False), plain)


def _nullable(relation: ops.Relation) -> ops.Relation:
    if all(dtype.nullable for dtype in relation.schema.types):
        return relation
    return ops.Project(relation, {name: nullable(value) for name, value in fields_of_relation(relation).items()})


def consolidated(bag: ops.Relation, names: Iterable[str]) -> ops.Relation:
    """Return the bag with each different row once and the sum of its weights, without those that cancel.

    Rows are the same when they are so bit for bit, but that there is one NaN: grouping alone would take -0.0 for
    0.0, and 30 days for a month.
    """
    fields = {name: ops.Field(bag, name) for name in names}
    finer = {f"_gm_bits_{i}": bits for i, bits in enumerate(map(_bits, fields.values())) if bits is not None}
    total = Reduce(function="sum", arg=ops.Field(bag, WEIGHT), type_=HUGE)
    weight = formula("delta_total", total, type_=dt.int64)
    sums = ops.Aggregate(bag, fields | finer, {WEIGHT: weight})
    kept = ops.Filter(sums, [ops.NotEquals(ops.Field(sums, WEIGHT), ops.Literal(0, dt.int64))])
    return ops.Project(kept, {name: ops.Field(kept, name) for name in (*fields, WEIGHT)})


def _bits(value: ops.Value) -> ops.Value | None:
    """Return what tells apart values of a column that grouping takes for equal."""
    dtype = value.dtype
    if dtype.is_floating():
        return formula("delta_minus_zero", value, type_=dt.boolean)
    if dtype.is_nested() or dtype.is_interval():
        return formula("delta_text", value, type_=dt.string)
    return None


def in_units(bag: ops.Relation, names: Iterable[str]) -> ops.Relation:
    """Return the bag with weights -1 and +1 only, rows repeated as often as they count."""
    names = tuple(names)
    copies = formula("delta_copies", ops.Field(bag, WEIGHT), type_=_LIST)
    wide = ops.TableUnnest(bag, copies, "_gm_copy", None, False)
    unit = formula("delta_unit", ops.Field(wide, WEIGHT), type_=dt.int64)
    return ops.Project(wide, {name: ops.Field(wide, name) for name in names} | {WEIGHT: unit})
