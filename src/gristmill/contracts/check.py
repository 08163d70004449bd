"""Check a table against its rules in one scan: every row rule is a bit of one mask, grouped and counted once.

Rules that need the whole table (``unique``, ``references``) are second passes over the columns they name. What
could not be looked at is ``not_checked`` or ``error``, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gristmill.contracts.kinds import FIGURE_KINDS, JOIN_KINDS, ROW_KINDS, Types, describe, literal, quote
from gristmill.model.findings import Example, Finding
from gristmill.model.rules import Rule, Scalar

if TYPE_CHECKING:
    import duckdb

_MASK_BITS = 62


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What all rules of one table found.

    Args:
        table: the table's name.
        findings: one per rule, in the order of the rules.
        set_aside: for each rule that sets rows aside and found some: SQL that is true for those rows.
    """

    table: str
    findings: tuple[Finding, ...]
    set_aside: tuple[tuple[Rule, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing forbids publishing."""
        return not any(finding.blocks for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that forbid publishing."""
        return tuple(finding for finding in self.findings if finding.blocks)

    def split(self, relation: str) -> tuple[str, str]:
        """Return SQL for the rows that stay, and SQL for those set aside with a list column ``_reasons``."""
        bad = " OR ".join(f"coalesce({sql}, FALSE)" for _, sql in self.set_aside) or "FALSE"
        reasons = ", ".join(
            f"CASE WHEN coalesce({sql}, FALSE) THEN {literal(rule.code)} END" for rule, sql in self.set_aside
        )
        kept = f"SELECT * FROM {relation} WHERE NOT ({bad})"
        aside = f"SELECT *, list_filter([{reasons}], lambda r: r IS NOT NULL) AS _reasons FROM {relation} WHERE {bad}"
        return kept, aside


def check(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    rules: Sequence[Rule],
    *,
    table: str,
    show: Sequence[str] = (),
    references: Mapping[str, str] | None = None,
) -> CheckResult:
    """Check every row of ``relation`` against ``rules``.

    Args:
        connection: where the relation is known.
        relation: name of a table or view, quoted, or a parenthesised SELECT.
        rules: what must hold.
        table: the table's name, for messages.
        show: columns shown with each failing row besides those of the rule: key and origin.
        references: for ``references`` rules, the relation of each other table by its name.
    """
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    findings: dict[int, Finding] = {}
    runnable: list[tuple[int, Rule]] = []
    for position, rule in enumerate(rules):
        missing = [name for name in rule.columns if name not in types]
        if missing:
            note = f"{table} has no column {', '.join(missing)}"
            findings[position] = Finding(
                table=table, rule=rule, outcome="not_checked", expected=describe(rule), note=note
            )
        else:
            runnable.append((position, rule))
    examples = _Examples(connection, relation, table, types, tuple(show), references or {})
    set_aside: list[tuple[Rule, str]] = []
    for position, finding, condition in _run(connection, relation, runnable, types, examples):
        findings[position] = finding
        if condition and finding.quarantined:
            set_aside.append((finding.rule, condition))
    return CheckResult(table, tuple(findings[position] for position in range(len(rules))), tuple(set_aside))


def _run(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    rules: Sequence[tuple[int, Rule]],
    types: Types,
    examples: _Examples,
) -> Iterable[tuple[int, Finding, str | None]]:
    rows = [
        (position, rule, _guarded(rule, ROW_KINDS[rule.kind].bad(rule, types)))
        for position, rule in rules
        if rule.kind in ROW_KINDS
    ]
    figures = [(position, rule) for position, rule in rules if rule.kind in FIGURE_KINDS]
    total = 0
    for start in range(0, max(len(rows), 1), _MASK_BITS):
        batch = rows[start : start + _MASK_BITS]
        total, counts = _mask_counts(connection, relation, [sql for _, _, sql in batch])
        for (position, rule, sql), failed in zip(batch, counts, strict=True):
            yield position, _row_finding(examples, rule, failed, total, sql), sql
    if figures:
        columns = ", ".join(FIGURE_KINDS[rule.kind].figure(rule, types) + _filter(rule) for _, rule in figures)
        values = connection.execute(f"SELECT {columns} FROM {relation}").fetchall()[0]
        for (position, rule), value in zip(figures, values, strict=True):
            yield position, _figure_finding(examples.table, rule, value, total), None
    for position, rule in rules:
        if rule.kind in JOIN_KINDS:
            yield position, *_join_finding(connection, relation, rule, total, examples)
        elif rule.kind not in ROW_KINDS and rule.kind not in FIGURE_KINDS:
            note = f"gristmill knows no rule `{rule.kind}`"
            yield position, Finding(table=examples.table, rule=rule, outcome="not_checked", note=note), None


def _filter(rule: Rule) -> str:
    return f" FILTER (WHERE {rule.where})" if rule.where else ""


def _guarded(rule: Rule, bad: str) -> str:
    bad = f"coalesce({bad}, FALSE)"
    return f"({rule.where}) AND {bad}" if rule.where else bad


def _mask_counts(
    connection: duckdb.DuckDBPyConnection, relation: str, conditions: Sequence[str]
) -> tuple[int, list[int]]:
    """Return the number of rows, and how many of them each condition holds for, from one scan."""
    bits = " + ".join(f"CASE WHEN {sql} THEN {1 << bit}::BIGINT ELSE 0 END" for bit, sql in enumerate(conditions))
    groups = connection.execute(f"SELECT {bits or '0'} AS mask, count(*) FROM {relation} GROUP BY mask").fetchall()
    counts = [sum(n for mask, n in groups if mask >> bit & 1) for bit in range(len(conditions))]
    return sum(n for _, n in groups), counts


def _outcome(rule: Rule, failed: int, total: int) -> tuple[str, int]:
    """Return the outcome for so many failing rows, and how many rows are set aside."""
    if not failed:
        return "pass", 0
    allowed = rule.tolerance or 0
    if failed <= (allowed * total if allowed < 1 else allowed):
        return "pass", 0
    if rule.on_fail == "quarantine":
        return "warn", failed
    return ("warn", 0) if rule.on_fail == "warn" else ("fail", 0)


def _row_finding(examples: _Examples, rule: Rule, failed: int, total: int, condition: str) -> Finding:
    outcome, quarantined = _outcome(rule, failed, total)
    return Finding(
        table=examples.table,
        rule=rule,
        outcome=outcome,  # type: ignore[arg-type]
        failed_rows=failed,
        checked_rows=total,
        expected=describe(rule),
        examples=examples.rows(rule, condition) if failed else (),
        quarantined=quarantined,
    )


def _figure_finding(table: str, rule: Rule, value: object, total: int) -> Finding:
    low, high = FIGURE_KINDS[rule.kind].bounds(rule)
    number = float(value) if isinstance(value, int | float) or hasattr(value, "__float__") else None
    note = None
    if number is None:
        outcome, note = "not_checked", "there is no value to look at"
    elif (low is not None and number < low) or (high is not None and number > high):
        outcome = "warn" if rule.on_fail == "warn" else "fail"
    else:
        outcome = "pass"
    return Finding(
        table=table,
        rule=rule,
        outcome=outcome,  # type: ignore[arg-type]
        checked_rows=total,
        observed="" if number is None else f"{number:g}",
        expected=describe(rule),
        note=note,
    )


def _join_finding(
    connection: duckdb.DuckDBPyConnection, relation: str, rule: Rule, total: int, examples: _Examples
) -> tuple[Finding, str | None]:
    if rule.kind == "references" and str(rule.parameters["table"]) not in examples.references:
        note = f"{rule.parameters['table']} is not there to look into"
        return Finding(table=examples.table, rule=rule, outcome="not_checked", expected=describe(rule), note=note), None
    condition = _guarded(rule, _join_condition(relation, rule, examples.references))
    failed = int(connection.execute(f"SELECT count(*) FROM {relation} WHERE {condition}").fetchall()[0][0])
    return _row_finding(examples, rule, failed, total, condition), condition


def _join_condition(relation: str, rule: Rule, references: Mapping[str, str]) -> str:
    own = ", ".join(quote(name) for name in rule.columns)
    whole = " AND ".join(f"{quote(name)} IS NOT NULL" for name in rule.columns)
    if rule.kind == "unique":
        doubled = f"SELECT {own} FROM {relation} WHERE {whole} GROUP BY {own} HAVING count(*) > 1"
        return f"({own}) IN ({doubled})"
    to = rule.parameters["to"]
    other = ", ".join(quote(str(name)) for name in to) if isinstance(to, list) else own
    there = " AND ".join(f"{column} IS NOT NULL" for column in other.split(", "))
    known = f"SELECT DISTINCT {other} FROM {references[str(rule.parameters['table'])]} WHERE {there}"
    return f"{whole} AND ({own}) NOT IN ({known})"


@dataclass(frozen=True, slots=True)
class _Examples:
    """Fetches up to three failing rows, the first by their shown columns, so that they do not depend on threads."""

    connection: duckdb.DuckDBPyConnection
    relation: str
    table: str
    types: Types
    show: tuple[str, ...]
    references: Mapping[str, str]

    def rows(self, rule: Rule, condition: str) -> tuple[Example, ...]:
        names = [name for name in dict.fromkeys((*self.show, *rule.columns)) if name in self.types]
        names = names or list(self.types)[:4]
        columns = ", ".join(quote(name) for name in names)
        found = self.connection.execute(
            f"SELECT {columns} FROM {self.relation} WHERE {condition} ORDER BY ALL LIMIT 3"
        ).fetchall()
        return tuple(Example(values=dict(zip(names, map(_scalar, row), strict=True))) for row in found)


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
