"""Group-bys in two halves: partial results of each piece, sent instead of its rows, and the results made of them."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.delta.plain import repointed
from gristmill.algebra.nodes import Formula, Reduce
from gristmill.algebra.sums import HUGE


@dataclass(frozen=True, slots=True)
class Halves:
    """A group-by in two halves.

    Args:
        node: the whole.
        partial: the first half over the same relation.
        merges: for each reduction of the whole, the column of the first half that has it.
    """

    node: ops.Aggregate
    partial: ops.Aggregate
    merges: dict[ops.Value, str]

    @property
    def keys(self) -> list[ops.Value]:
        """The groups, as columns of the first half."""
        return [ops.Field(self.partial, name) for name in self.node.groups]

    def over(self, relation: ops.Relation) -> ops.Aggregate:
        """Return the first half of another relation with the same columns."""
        made: ops.Aggregate = repointed(self.partial, {self.partial.parent: relation})
        return made

    def finish(self, parts: ops.Relation) -> ops.Relation:
        """Return the whole from the rows of first halves."""
        groups = {name: ops.Field(parts, name) for name in self.node.groups}
        columns = {name: _merged(part, ops.Field(parts, name)) for part, name in self.merges.items()}
        inner = ops.Aggregate(parts, groups, columns)
        subs: dict[ops.Node, ops.Node] = {
            part: _typed(part, ops.Field(inner, name)) for part, name in self.merges.items()
        }
        values: dict[str, ops.Value] = {name: ops.Field(inner, name) for name in self.node.groups}
        for name, value in self.node.metrics.items():
            values[name] = value.replace(subs, filter=ops.Value)
        return ops.Project(inner, values)


def merged(node: ops.Aggregate) -> Halves | None:
    """Return a group-by in two halves; None where one of its reductions needs all rows at once."""
    found: dict[ops.Value, None] = {}
    for value in node.metrics.values():
        found |= dict.fromkeys(value.find(ops.Reduction, filter=ops.Value))
    if not found and not node.groups:
        return None
    taken = set(node.groups)
    names: dict[ops.Value, str] = {}
    for number, part in enumerate(found):
        name = f"_gm_half_{number}"
        while name in taken:
            name += "_"
        names[part] = name
        if not _is_mergeable(part):
            return None
    partial = ops.Aggregate(node.parent, dict(node.groups), {name: part for part, name in names.items()})
    return Halves(node, partial, names)


def _is_mergeable(part: ops.Value) -> bool:
    if isinstance(part, Reduce):
        return part.function in ("sum", "list", "bool_or")
    return isinstance(part, ops.Count | ops.CountStar | ops.Min | ops.Max | ops.Any | ops.All)


def _merged(part: ops.Value, column: ops.Value) -> ops.Value:
    """Return what makes one reduction of many partial ones."""
    match part:
        case ops.Count() | ops.CountStar():
            return Reduce(function="sum", arg=column, type_=HUGE)
        case Reduce(function="sum"):
            return Reduce(function="sum", arg=column, type_=part.type_)
        case Reduce(function="list"):
            return Reduce(function="list", arg=column, type_=dt.Array(part.type_), where=ops.NotNull(column))
        case Reduce(function="bool_or"):
            return Reduce(function="bool_or", arg=column, type_=dt.boolean)
    return type(part)(column)


def _typed(part: ops.Value, merged: ops.Value) -> ops.Value:
    """Return a merged reduction with exactly the type that the engine gives the reduction itself."""
    match part:
        case ops.Count() | ops.CountStar():
            return Formula(rule="delta_total", args_=(merged,), type_=dt.int64)
        case Reduce(function="sum") if part.type_ == HUGE:
            return Formula(rule="parted_huge", args_=(merged,), type_=part.type_)
        case Reduce(function="list"):
            return Formula(rule="parted_flat", args_=(merged,), type_=part.type_)
    return merged
