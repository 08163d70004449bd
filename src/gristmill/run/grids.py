"""The grids of input columns: ranges and resolutions that rules promise, so that sums count whole steps.

A float column whose rules give a range (``between``) and a number of decimals (``decimals``), both kept at the
table's door without condition or tolerance, holds only points of a grid: ten tenths are one, to the last bit, and a
sum costs less. A sum looks at each value again, so a row that came past the rules raises and is never rounded away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.model.rules import Rule
from gristmill.run.checking import load_acceptances
from gristmill.run.context import Context
from gristmill.run.rules import contract_text, rules_of

if TYPE_CHECKING:
    from gristmill.algebra import Grid
    from gristmill.store import View


def grids_of(ctx: Context, node: Node, snapshot: View | None) -> dict[tuple[str, str], Grid]:
    """Return the grids of the columns that a node reads, by table and column.

    A rule whose failures a person has accepted promises nothing.
    """
    found: dict[tuple[str, str], Grid] = {}
    for name in node.reads:
        if name not in ctx.graph or not _tells_decimals(ctx, read := ctx.graph[name]):
            continue
        accepted = load_acceptances(snapshot) if snapshot is not None else ()
        excused = {item.rule for item in accepted if item.table == name}
        kept = [rule for rule in rules_of(ctx, read) if rule.code not in excused]
        found |= {(name, column): grid for column, grid in _grids(kept).items()}
    return found


def _tells_decimals(ctx: Context, node: Node) -> bool:
    """Whether a rule of the node can be about decimals, told without reading its contract as YAML."""
    return any(rule.kind == "decimals" for rule in node.rules) or b"decimals" in (contract_text(ctx, node) or b"")


def _grids(rules: Iterable[Rule]) -> dict[str, Grid]:
    from gristmill.algebra import Grid

    ranges: dict[str, tuple[float, float]] = {}
    decimals: dict[str, int] = {}
    for rule in rules:
        if rule.on_fail == "warn" or rule.where or rule.tolerance or len(rule.columns) != 1:
            continue
        column, given = rule.columns[0], rule.parameters
        if rule.kind == "decimals":
            decimals[column] = min(int(str(given["high"])), decimals.get(column, 15))
        elif rule.kind == "between":
            low, high = given.get("low", given.get("above")), given.get("high", given.get("below"))
            if isinstance(low, int | float) and isinstance(high, int | float):
                before = ranges.get(column, (low, high))
                ranges[column] = max(low, before[0]), min(high, before[1])
    return {
        column: Grid(low=low, high=high, resolution=float(f"1e-{decimals[column]}"))
        for column, (low, high) in ranges.items()
        if decimals.get(column, -1) >= 0 and low <= high
    }
