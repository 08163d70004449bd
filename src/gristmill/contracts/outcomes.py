"""From counts and figures to findings: outcome, examples, and what is set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gristmill.contracts.figure_kinds import breaks
from gristmill.contracts.kinds import describe
from gristmill.contracts.sqltext import Types, literal, quote
from gristmill.model.findings import Example, Finding, Outcome
from gristmill.model.rules import Rule, Scalar

if TYPE_CHECKING:
    import duckdb

EXAMPLES = 3
"""Failing rows that a finding shows."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What all rules of one table found.

    Args:
        table: the table's name.
        findings: one per rule, in the order of the rules.
        set_aside: for each rule that sets rows aside and found some: SQL that is true for those rows.
        nested: fields of structs that conditions name as columns.
    """

    table: str
    findings: tuple[Finding, ...]
    set_aside: tuple[tuple[Rule, str], ...] = ()
    nested: tuple[str, ...] = ()

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
        star = "*"
        if self.nested:
            fields = ", ".join(f"{'.'.join(map(quote, name.split('.')))} AS {quote(name)}" for name in self.nested)
            relation = f"(SELECT *, {fields} FROM {relation})"
            star = f"* EXCLUDE ({', '.join(map(quote, self.nested))})"
        bad = " OR ".join(f"coalesce({sql}, FALSE)" for _, sql in self.set_aside) or "FALSE"
        reasons = ", ".join(
            f"CASE WHEN coalesce({sql}, FALSE) THEN {literal(rule.code)} END" for rule, sql in self.set_aside
        )
        kept = f"SELECT {star} FROM {relation} WHERE NOT ({bad})"
        listed = f"list_filter([{reasons}], lambda r: r IS NOT NULL) AS _reasons"
        return kept, f"SELECT {star}, {listed} FROM {relation} WHERE {bad}"


@dataclass(frozen=True, slots=True)
class Examples:
    """Fetches up to three failing rows, the first by their shown columns, so that they do not depend on threads."""

    connection: duckdb.DuckDBPyConnection
    relation: str
    types: Types
    show: tuple[str, ...]

    def rows(self, rule: Rule, condition: str, relation: str | None = None) -> tuple[Example, ...]:
        """Return the first rows of a relation for which a condition holds."""
        names = [name for name in dict.fromkeys((*self.show, *rule.columns)) if name in self.types]
        names = names or [name for name in self.types if not name.startswith("_origin_")][:4]
        columns = ", ".join(quote(name) for name in names)
        found = self.connection.execute(
            f"SELECT {columns} FROM {relation or self.relation} WHERE {condition} ORDER BY ALL LIMIT {EXAMPLES}"
        ).fetchall()
        return tuple(Example(values=dict(zip(names, map(scalar, row), strict=True))) for row in found)


def scalar(value: object) -> Scalar:
    """Return a value as a scalar that can be written down."""
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def unable(table: str, rule: Rule, outcome: Outcome, note: str) -> Finding:
    """Return a finding for a rule that could not be looked at."""
    return Finding(table=table, rule=rule, outcome=outcome, expected=describe(rule), note=note)


def outcome_of(rule: Rule, failed: int, total: int) -> tuple[Outcome, int]:
    """Return the outcome for so many failing rows, and how many rows are set aside."""
    if rule.on_fail == "quarantine" and failed:
        many = rule.tolerance is not None and not within_tolerance(rule, failed, total)
        return ("fail" if many else "warn"), failed
    if not failed or within_tolerance(rule, failed, total):
        return "pass", 0
    return ("warn", 0) if rule.on_fail == "warn" else ("fail", 0)


def within_tolerance(rule: Rule, failed: int, total: int) -> bool:
    """Whether so many failures are few enough.

    A rule that sets rows aside sets all of them aside, and blocks where they are more than it tolerates.
    """
    allowed = rule.tolerance or 0
    return failed <= (allowed * total if allowed < 1 else allowed)


def row_finding(
    examples: Examples,
    table: str,
    rule: Rule,
    failed: int,
    total: int,
    condition: str,
    known: tuple[Example, ...] = (),
) -> Finding:
    """Return the finding of a rule that names rows; ``known`` are examples that need no second look."""
    outcome, quarantined = outcome_of(rule, failed, total)
    return Finding(
        table=table,
        rule=rule,
        outcome=outcome,
        failed_rows=failed,
        checked_rows=total,
        expected=describe(rule),
        examples=(known or examples.rows(rule, condition)) if failed else (),
        quarantined=quarantined,
    )


def figure_finding(table: str, rule: Rule, value: object, total: int) -> Finding:
    """Return the finding of a rule that one figure decides."""
    number = float(value) if isinstance(value, int | float) or hasattr(value, "__float__") else None
    note = None
    outcome: Outcome = "pass"
    if number is None:
        outcome, note = ("not_checked", "there is no value to look at")
        if isinstance(value, str) or value is not None:
            note = f"{value} is no number"
    elif breaks(rule, number):
        outcome = "warn" if rule.on_fail == "warn" else "fail"
    return Finding(
        table=table,
        rule=rule,
        outcome=outcome,
        checked_rows=total,
        observed="" if number is None else f"{number:g}",
        expected=describe(rule),
        note=note,
    )
