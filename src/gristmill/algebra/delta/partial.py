"""Partial results: what a hidden state keeps of a group, so that changes can be added to it.

Every aggregate of a normal form is made of reductions that do not depend on the order of rows (``sums.py``). Those
that can also take rows away again are kept as counts and sums; a greatest or least value is kept too, and says when
it must be looked up anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.arrow import to_arrow
from gristmill.algebra.delta.weights import formula
from gristmill.algebra.nodes import Formula, Reduce
from gristmill.algebra.sums import HUGE
from gristmill.errors import DefinitionError

ROWS = "_n"
_ERROR = "square_error"
_LIMBS = ("limb_high", "limb_low")


@dataclass(frozen=True, slots=True)
class Part:
    """One column of a state: a count, a sum, the least or greatest value, or a bag of values.

    Args:
        name: its column.
        kind: what it is.
        arg: what is counted or summed; None counts rows.
        where: which rows; None for all.
    """

    name: str
    kind: Literal["count", "sum", "bag", "Min", "Max"]
    arg: ops.Value | None
    where: ops.Value | None

    @property
    def dtype(self) -> dt.DataType:
        """The type of the column."""
        if self.kind == "count":
            return dt.int64
        assert self.arg is not None
        if self.kind == "sum":
            return dt.Decimal(38, self.arg.dtype.scale) if self.arg.dtype.is_decimal() else HUGE
        return dt.Array(dt.float64) if self.kind == "bag" else self.arg.dtype.copy(nullable=True)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a state and how the aggregate's columns come from them.

    Args:
        groups: the group columns over the aggregate's parent.
        parts: the partial results.
        finals: the aggregate's metrics, with reductions that stand in ``reads``.
        reads: for each reduction, which parts give it.
    """

    groups: dict[str, ops.Value]
    parts: tuple[Part, ...]
    finals: dict[str, ops.Value]
    reads: dict[ops.Value, tuple[str, ...]]

    @property
    def extremes(self) -> tuple[Part, ...]:
        """The least and greatest values."""
        return tuple(part for part in self.parts if part.kind in ("Min", "Max"))


@dataclass(slots=True)
class _Parts:
    taken: frozenset[str]
    found: dict[tuple[str, ops.Value | None, ops.Value | None], Part] = field(default_factory=dict)

    def name(
        self, kind: Literal["count", "sum", "bag", "Min", "Max"], arg: ops.Value | None, where: ops.Value | None
    ) -> str:
        if kind == "count" and arg is None and where is None:
            return ROWS
        key = (kind, arg, where)
        if key not in self.found:
            name = f"_{len(self.found) + 1}"
            while name in self.taken:
                name += "_"
            self.found[key] = Part(name, kind, arg, where)
        return self.found[key].name


def layout_of(node: ops.Aggregate) -> Layout | None:
    """Return the state of a group-by, or None where one of its aggregates cannot be kept as partial results."""
    if not all(_storable(value.dtype) for value in node.groups.values()) or ROWS in node.groups:
        return None
    parts = _Parts(frozenset(node.schema.names))
    reads: dict[ops.Value, tuple[str, ...]] = {}
    for value in node.metrics.values():
        if value.find((ops.WindowFunction, ops.Subquery), filter=ops.Value):
            return None
        for reduction in value.find(ops.Reduction, filter=ops.Value):
            names = _read(reduction, parts)
            if names is None:
                return None
            reads[reduction] = names
    return Layout(dict(node.groups), tuple(parts.found.values()), dict(node.metrics), reads)


def _read(node: ops.Reduction, parts: _Parts) -> tuple[str, ...] | None:
    """Return the parts that a reduction is made of."""
    match node:
        case ops.CountStar():
            return (parts.name("count", None, node.where),)
        case ops.Count():
            return (parts.name("count", node.arg, node.where),)
        case Reduce(function="sum"):
            return parts.name("sum", node.arg, node.where), parts.name("count", _counted(node.arg), node.where)
        case Reduce(function="list"):
            return (parts.name("bag", node.arg, node.where),)
        case Reduce(function="bool_or"):
            return _truths(node.arg, node.where, parts)
        case ops.Any() | ops.All():
            return _truths(node.arg, node.where, parts)
        case ops.Min() | ops.Max() if _storable(node.arg.dtype) and not node.arg.dtype.is_nested():
            return (parts.name("Min" if isinstance(node, ops.Min) else "Max", node.arg, node.where),)
    return None


def _truths(arg: ops.Value, where: ops.Value | None, parts: _Parts) -> tuple[str, ...]:
    true = arg if where is None else ops.And(arg, where)
    return parts.name("count", None, true), parts.name("count", arg, where)


def _counted(arg: ops.Value) -> ops.Value:
    """Return what is null where the argument is, as far as the result can tell: limbs go with their number."""
    return arg.args_[0] if isinstance(arg, Formula) and arg.rule in _LIMBS else arg


def _storable(dtype: dt.DataType) -> bool:
    try:
        to_arrow(dtype)
    except DefinitionError:
        return False
    return not (dtype.is_json() or dtype.is_uuid() or dtype.is_map() or dtype.is_null())


def finals_over(layout: Layout, rows: ops.Relation) -> dict[str, ops.Value]:
    """Return the aggregate's columns from a relation that has the columns of the state."""
    values: dict[str, ops.Value] = {name: ops.Field(rows, name) for name in layout.groups}
    subs = {reduction: _final(reduction, names, rows) for reduction, names in layout.reads.items()}
    for name, value in layout.finals.items():
        values[name] = value.replace(subs, filter=ops.Value)
    return values


def _final(node: ops.Value, names: tuple[str, ...], rows: ops.Relation) -> ops.Value:
    parts = [ops.Field(rows, name) for name in names]
    match node:
        case Reduce(function="sum"):
            whole = not node.arg.dtype.is_decimal() or (isinstance(node.arg, Formula) and node.arg.rule == _ERROR)
            word = "HUGEINT" if whole else f"DECIMAL(38,{node.arg.dtype.scale})"
            return formula("delta_sum_of", *parts, type_=node.dtype, texts=(word,))
        case Reduce(function="bool_or") | ops.Any():
            return formula("delta_any_of", *parts, type_=dt.boolean)
        case ops.All():
            return formula("delta_all_of", *parts, type_=dt.boolean)
    return parts[0]


def both(one: ops.Value | None, other: ops.Value) -> ops.Value:
    """Return a condition and another one."""
    return other if one is None else ops.And(one, other)
