"""Run the rules that need a second pass, one after another, each over the columns that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.contracts.kinds import describe
from gristmill.contracts.outcomes import Examples, figure_finding, row_finding, unable, within_tolerance
from gristmill.contracts.pass_kinds import (
    Around,
    complete_sql,
    distinct_sql,
    monotone_rows,
    references_condition,
    unique_condition,
)
from gristmill.contracts.queries import THIS, bind_query
from gristmill.contracts.sqltext import Types, shown
from gristmill.contracts.uniqueness import in_stored, repeated
from gristmill.errors import DefinitionError
from gristmill.model.findings import Finding, Outcome
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb

_Found = tuple[Finding, str | None]


def run_pass(
    connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around, examples: Examples, total: int
) -> _Found:
    """Return the finding of one rule, and for rules that name rows the SQL that is true for bad ones."""
    if rule.kind in ("unique", "references"):
        return _rows(connection, rule, types, around, examples, total)
    if rule.kind == "monotone":
        relation = f"({monotone_rows(rule, types, around)})"
        failed = _one(connection, f"SELECT count(*) FROM {relation} WHERE _bad")
        total = _one(connection, f"SELECT count(*) FROM {relation}")
        finding = row_finding(examples, around.table, rule, 0, total, "FALSE")
        return (_failing(finding, examples, relation, failed, total) if failed else finding), None
    if rule.kind == "distinct":
        return _distinct(connection, rule, types, around, total), None
    if rule.kind == "complete":
        return _complete(connection, rule, types, around, total), None
    return _query(connection, rule, around, total), None


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def _failing(finding: Finding, examples: Examples, relation: str, failed: int, total: int) -> Finding:
    import msgspec

    tolerated = within_tolerance(finding.rule, failed, total)
    outcome: Outcome = "pass" if tolerated else "warn" if finding.rule.on_fail == "warn" else "fail"
    shown_rows = examples.rows(finding.rule, "_bad", relation)
    return msgspec.structs.replace(finding, outcome=outcome, failed_rows=failed, examples=shown_rows)


def _rows(
    connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around, examples: Examples, total: int
) -> _Found:
    if rule.kind == "references" and str(rule.parameters["table"]) not in around.references:
        return unable(around.table, rule, "not_checked", f"{rule.parameters['table']} is not there to look into"), None
    if rule.kind == "unique":
        if not repeated(connection, rule, types, around, total) and not in_stored(connection, rule, types, around):
            return row_finding(examples, around.table, rule, 0, total, "FALSE"), "FALSE"
        condition = f"coalesce({unique_condition(rule, types, around)}, FALSE)"
    else:
        condition = f"coalesce({references_condition(rule, types, around)}, FALSE)"
        condition = f"(coalesce({rule.where}, FALSE) AND {condition})" if rule.where else condition
    failed = _one(connection, f"SELECT count(*) FROM {around.relation} WHERE {condition}")
    return row_finding(examples, around.table, rule, failed, total, condition), condition


def _distinct(connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around, total: int) -> Finding:
    extra, missing = connection.execute(distinct_sql(rule, types, around)).fetchall()[0]
    words = []
    if extra:
        words.append(f"also {shown(extra)}")
    if missing:
        words.append(f"without {shown(missing)}")
    outcome: Outcome = "pass" if not words else "warn" if rule.on_fail == "warn" else "fail"
    return Finding(
        table=around.table,
        rule=rule,
        outcome=outcome,
        checked_rows=total,
        observed="; ".join(words),
        expected=describe(rule),
    )


def _complete(connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around, total: int) -> Finding:
    due, there = connection.execute(complete_sql(rule, types, around)).fetchall()[0]
    if due is None:
        return unable(around.table, rule, "not_checked", "there is no time to look at")
    empty = int(due) - int(there)
    tolerated = not empty or within_tolerance(rule, empty, int(due))
    outcome: Outcome = "pass" if tolerated else "warn" if rule.on_fail == "warn" else "fail"
    observed = f"{empty:,} of {int(due):,} buckets of {rule.parameters['every']} are empty" if empty else ""
    return Finding(
        table=around.table,
        rule=rule,
        outcome=outcome,
        checked_rows=total,
        observed=observed,
        expected=describe(rule),
    )


def _query(connection: duckdb.DuckDBPyConnection, rule: Rule, around: Around, total: int) -> Finding:
    relations = {**around.references, around.table: around.relation, THIS: around.relation}
    alias = rule.parameters.get("alias")
    if isinstance(alias, list):
        relations |= {str(name): around.relation for name in alias}
    try:
        bound = bind_query(str(rule.parameters["sql"]), relations)
    except DefinitionError as error:
        return unable(around.table, rule, "not_checked" if error.code == "GM-C017" else "error", error.message)
    rows = connection.execute(bound).fetchmany(2)
    if len(rows) != 1 or len(rows[0]) != 1:
        return unable(around.table, rule, "error", "the query gives not one value")
    value = rows[0][0]
    wanted = rule.parameters.get("equal")
    if isinstance(wanted, str | bool) or (wanted is None and "unequal" in rule.parameters):
        return _text_finding(around.table, rule, value, total)
    return figure_finding(around.table, rule, value, total)


def _text_finding(table: str, rule: Rule, value: object, total: int) -> Finding:
    held = (
        str(value) == str(rule.parameters["equal"])
        if "equal" in rule.parameters
        else str(value) != str(rule.parameters["unequal"])
    )
    outcome: Outcome = "pass" if held else "warn" if rule.on_fail == "warn" else "fail"
    return Finding(
        table=table,
        rule=rule,
        outcome=outcome,
        checked_rows=total,
        observed=str(value),
        expected=describe(rule),
    )
