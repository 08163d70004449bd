"""Prove from column statistics that no row can break a rule, so that it need not be looked for.

Statistics only ever prove a pass: their bounds may be wider than the rows, so they convict nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from gristmill.contracts.sqltext import Types, is_float
from gristmill.model.predicates import Range
from gristmill.model.rules import Rule


def proven(rule: Rule, types: Types, known: Mapping[str, Range]) -> bool:
    """Whether a rule holds for every row that the statistics speak of.

    >>> from gristmill.contracts import rules
    >>> proven(rules.between("age", low=0, high=120), {"age": "INTEGER"}, {"age": Range(3, 99, 0, 1000)})
    True
    """
    if not rule.columns or any(name not in known for name in rule.columns):
        return False
    if rule.kind == "not_null":
        return all(_filled(known[name], is_float(name, types)) for name in rule.columns)
    return rule.kind == "between" and _within(rule, known[rule.columns[0]])


def _filled(column: Range, floating: bool) -> bool:
    """Whether there is no null; the upper bound of floats is known only where there is no NaN."""
    return column.nulls == 0 and (not floating or column.upper is not None or not column.rows)


def _within(rule: Rule, column: Range) -> bool:
    if column.all_null:
        return True
    low, high, above, below = (rule.parameters.get(name) for name in ("low", "high", "above", "below"))
    return (
        (low is None or _ordered(low, column.lower))
        and (above is None or _ordered(above, column.lower, strictly=True))
        and (high is None or _ordered(column.upper, high))
        and (below is None or _ordered(column.upper, below, strictly=True))
    )


def _ordered(left: object, right: object, *, strictly: bool = False) -> bool:
    """Whether one value is known to come before another; numbers only with numbers, text only with text."""
    for kinds in ((int, float), (str,), (date,)):
        if isinstance(left, kinds) and isinstance(right, kinds):
            return bool(left < right if strictly else left <= right)  # type: ignore[operator]
    return False
