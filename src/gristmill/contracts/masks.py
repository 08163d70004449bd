"""The scan that all row rules share: each rule is a bit of one mask, and one GROUP BY counts the masks.

Rows that break nothing are left out before a mask is made: one condition with OR stops at the first breach.
Conditions are as bare as they can be (a null counts as false), so that the engine proves many of them from column
statistics without reading. Rules that are dear to evaluate, such as patterns, bring examples of their
failing rows along; for the others a second look at their own columns is cheaper than carrying columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gristmill.contracts.outcomes import EXAMPLES, scalar
from gristmill.contracts.row_kinds import ROW_KINDS
from gristmill.contracts.sqltext import Types, quote
from gristmill.model.findings import Example
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb

MASK_BITS = 62
_DEAR = frozenset({"matches", "not_matches", "like", "format", "castable", "condition", "items", "decimals"})


class Masked(NamedTuple):
    """What one scan found.

    Args:
        total: rows that were looked at.
        failed: failing rows per rule.
        examples: by position of the rule, failing rows that the scan brought along.
    """

    total: int
    failed: Sequence[int]
    examples: Mapping[int, tuple[Example, ...]]


def breach(rule: Rule, types: Types) -> str:
    """Return SQL that is true for rows that break a row rule; null counts as false."""
    bad = ROW_KINDS[rule.kind].bad(rule, types)
    return f"(({rule.where}) AND ({bad}))" if rule.where else bad


def scan_masks(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    rules: Sequence[Rule],
    *,
    types: Types,
    show: Sequence[str] = (),
) -> Masked:
    """Check at most `MASK_BITS` row rules in one scan.

    Args:
        connection: where the relation is known.
        relation: the rows.
        rules: the rules.
        types: the columns of the relation.
        show: columns shown with each failing row besides the rule's own.
    """
    (total,) = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0]
    if not rules:
        return Masked(total, (), {})
    breaches = [breach(rule, types) for rule in rules]
    mask = " + ".join(f"CASE WHEN {sql} THEN {1 << bit}::BIGINT ELSE 0 END" for bit, sql in enumerate(breaches))
    broken = " OR ".join(f"({sql})" for sql in breaches)
    dear = [bit for bit, rule in enumerate(rules) if rule.kind in _DEAR]
    names = _carried([rules[bit] for bit in dear], types, show)
    carried = f", min(row({', '.join(map(quote, names))}), {EXAMPLES})" if names else ""
    groups = connection.execute(
        f"SELECT {mask} AS _mask, count(*){carried} FROM {relation} WHERE {broken} GROUP BY ALL"
    ).fetchall()
    failed = [sum(group[1] for group in groups if group[0] >> bit & 1) for bit in range(len(rules))]
    brought = {}
    for bit in dear if names else ():
        rows = [row for group in groups if group[0] >> bit & 1 for row in group[2] or ()]
        brought[bit] = _examples(rules[bit], rows, names, show)
    return Masked(total, failed, brought)


def _carried(dear: Sequence[Rule], types: Types, show: Sequence[str]) -> list[str]:
    """Return the columns to carry; none where a dear rule names no column, whose examples show others."""
    if not dear or not all(rule.columns for rule in dear):
        return []
    names = dict.fromkeys((*show, *(name for rule in dear for name in rule.columns)))
    return [name for name in names if name in types]


def _examples(
    rule: Rule, rows: Sequence[Sequence[object]], names: Sequence[str], show: Sequence[str]
) -> tuple[Example, ...]:
    """Return the first rows, by their shown columns, with the columns that this rule shows."""
    own = [name for name in dict.fromkeys((*show, *rule.columns)) if name in names]
    found = [{name: scalar(row[names.index(name)]) for name in own} for row in rows]
    ordered = sorted(found, key=lambda values: [(value is None, str(type(value)), value) for value in values.values()])
    return tuple(Example(values=values) for values in ordered[:EXAMPLES])
