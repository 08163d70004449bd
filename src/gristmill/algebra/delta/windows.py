"""Windows: a change touches the partitions that it falls into, before and after."""

from __future__ import annotations

import ibis.expr.operations as ops

from gristmill.algebra.delta import ranges
from gristmill.algebra.delta.touched import Key, limited
from gristmill.algebra.delta.weights import signed, together
from gristmill.algebra.delta.work import NEW, OLD, Work
from gristmill.algebra.moving import windows_in


def windowed(work: Work, node: ops.Project) -> ops.Relation:
    """Return the changes of a projection whose windows have one partitioning."""
    windows = windows_in(node.values.values())
    partition = windows[0].group_by
    if not partition:
        reach = ranges.reach_of(windows)
        if reach is not None:
            return ranges.ranged(work, node, *reach)
        return whole(work, node, "window", "a window without partitions looks at all rows")
    keys = touched_keys(work, node.parent, partition)
    parts = []
    for version, sign in ((OLD, -1), (NEW, 1)):
        below = limited(work, node.parent, version, keys[0], keys[1])
        values = {name: work.at(value, node.parent, below, version) for name, value in node.values.items()}
        parts.append(signed(ops.Project(below, values), node.schema.names, sign))
    work.note("window", "touched keys", "a row counts for all rows of its partition", "scan")
    return together(parts)


def touched_keys(work: Work, parent: ops.Relation, values: tuple[ops.Value, ...]) -> tuple[list[Key], ops.UnboundTable]:
    """Return the values of changed rows, before and after, as keys and the table that a step makes of them."""
    bag = work.settled(parent)
    columns = {f"_gm_key_{i}": work.at(value, parent, bag, NEW) for i, value in enumerate(values)}
    found = ops.Aggregate(bag, columns, {})
    return list(zip(values, columns, strict=True)), work.step(found)


def whole(work: Work, node: ops.Relation, operation: str, why: str) -> ops.Relation:
    """Return all old rows as gone and all new rows as come, which is little work over hidden results.

    Args:
        operation: what the user wrote.
        why: why all rows are looked at.
    """
    if node.__children__ and ranges.from_states(work, _below(node)):
        work.note(operation, "touched keys", f"{why}, of the groups that hidden results hold", "scan")
    else:
        work.note(operation, "full", why, "whole")
    sides = [signed(work.version(node, version), node.schema.names, sign) for version, sign in ((OLD, -1), (NEW, 1))]
    return together(sides)


def _below(node: ops.Relation) -> ops.Relation:
    """Return what an operation works on; the operation itself where that is more than one relation."""
    if isinstance(node, ops.Limit):
        node = node.parent
    plain = isinstance(node, ops.Sort | ops.Project | ops.Aggregate)
    values = [*getattr(node, "values", {}).values(), *getattr(node, "keys", ())]
    subquery = any(value.find(ops.Subquery, filter=ops.Value) for value in values)
    return node.parent if plain and not subquery else node
