"""Take the figures that rules ask for, in two queries: extremes, which statistics may answer, and all others.

Sums, means and extremes are taken over bare columns first. They say so where a NaN was among the values, by being
NaN, and are then taken again without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gristmill.contracts.figure_kinds import FIGURE_KINDS
from gristmill.contracts.sqltext import Types, engine_error
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb

_SHOW_NAN = ("mean", "sum", "min", "max")


def figures(connection: duckdb.DuckDBPyConnection, relation: str, rules: Sequence[Rule], types: Types) -> list[object]:
    """Return the figure of each rule, or the engine's error where it cannot be taken.

    Args:
        connection: where the relation is known.
        relation: the rows.
        rules: rules of the figure kinds.
        types: the columns of the relation.
    """
    bare = dict.fromkeys(types, "")
    columns = [FIGURE_KINDS[rule.kind].figure(rule, bare if _shows_nan(rule) else types) for rule in rules]
    found: list[object] = [None] * len(rules)
    extremes = [place for place, rule in enumerate(rules) if _extreme(rule)]
    others = [place for place, rule in enumerate(rules) if not _extreme(rule)]
    for places in (extremes, others):
        for place, value in zip(places, _taken(connection, relation, [columns[p] for p in places]), strict=True):
            found[place] = value
    for place, rule in enumerate(rules):
        value = found[place]
        if _shows_nan(rule) and (isinstance(value, Exception) or (isinstance(value, float) and math.isnan(value))):
            found[place] = _taken(connection, relation, [FIGURE_KINDS[rule.kind].figure(rule, types)])[0]
    return found


def _taken(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> list[object]:
    """Take figures in one query; one by one where it fails, so that one bad figure spoils no other."""
    if not columns:
        return []
    try:
        return list(connection.execute(f"SELECT {', '.join(columns)} FROM {relation}").fetchall()[0])
    except engine_error() as error:
        return [error] if len(columns) == 1 else [_taken(connection, relation, [one])[0] for one in columns]


def _shows_nan(rule: Rule) -> bool:
    return rule.kind == "statistic" and rule.parameters["statistic"] in _SHOW_NAN


def _extreme(rule: Rule) -> bool:
    """Whether column statistics may hold the figure: then it must not share a query with what needs a scan."""
    if rule.where:
        return False
    return rule.kind == "row_count" or (rule.kind == "statistic" and rule.parameters["statistic"] in ("min", "max"))
