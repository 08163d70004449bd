"""Rules that need a second pass: other rows of the table, other tables, the set of values, or a query of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gristmill.contracts.rule_options import seconds
from gristmill.contracts.sqltext import Types, bound, listed, quote, range_words, shown, value
from gristmill.model.rules import Rule


class Around(NamedTuple):
    """What a second pass may look at besides the rows that are checked.

    Args:
        relation: the rows, as a quoted name or a SELECT in brackets.
        table: the table's name.
        references: relations of other tables by name.
        stored: the table's other rows, already accepted; None where there are none.
        order: columns that give the order of delivery, or none.
    """

    relation: str
    table: str
    references: Mapping[str, str]
    stored: str | None = None
    order: Sequence[str] = ()


def unique_parts(rule: Rule, types: Types) -> tuple[str, str]:
    """Return SQL of the columns that must be unique, and a condition for rows that are compared."""
    if not rule.columns:
        names = ", ".join(quote(name) for name in types if not name.startswith("_origin_"))
        return f"({names})", rule.where or "TRUE"
    own = ", ".join(quote(name) for name in rule.columns)
    whole = " AND ".join(f"{value(name, types)} IS NOT NULL" for name in rule.columns)
    return own, f"{whole} AND ({rule.where})" if rule.where else whole


def unique_condition(rule: Rule, types: Types, around: Around) -> str:
    """Return SQL that is true for a row that has a double, or for those that lose where one is kept."""
    own, limited = unique_parts(rule, types)
    keep = rule.parameters.get("keep") or ("first" if rule.on_fail == "quarantine" else None)
    if keep and around.order:
        place = ", ".join(quote(name) for name in around.order)
        direction = "DESC" if keep == "last" else "ASC"
        order = ", ".join(f"{quote(name)} {direction}" for name in around.order)
        losers = (
            f"SELECT {place} FROM {around.relation} WHERE {limited} "
            f"QUALIFY row_number() OVER (PARTITION BY {own} ORDER BY {order}) > 1"
        )
        bad = f"({place}) IN ({losers})"
        return f"({bad} OR {_stored(own, limited, around)})" if keep == "first" else bad
    doubled = f"SELECT {own} FROM {around.relation} WHERE {limited} GROUP BY {own} HAVING count(*) > 1"
    return f"({limited}) AND (({own}) IN ({doubled}) OR {_stored(own, limited, around)})"


def outdone_condition(rule: Rule, types: Types, came: str) -> str:
    """Return SQL that is true for a row that loses to one of ``came``, where the last of equal rows is right."""
    own, limited = unique_parts(rule, types)
    return f"({limited}) AND ({own}) IN (SELECT {own} FROM {came} WHERE {limited})"


def _stored(own: str, limited: str, around: Around) -> str:
    if around.stored is None:
        return "FALSE"
    return f"({own}) IN (SELECT {own} FROM {around.stored} WHERE {limited})"


def references_condition(rule: Rule, types: Types, around: Around) -> str:
    """Return SQL that is true for a row that refers to nothing."""
    own = ", ".join(quote(name) for name in rule.columns)
    whole = " AND ".join(f"{quote(name)} IS NOT NULL" for name in rule.columns)
    other = [quote(str(name)) for name in listed(rule, "to")]
    there = " AND ".join(f"{column} IS NOT NULL" for column in other)
    relation = around.references[str(rule.parameters["table"])]
    known = f"SELECT DISTINCT {', '.join(other)} FROM {relation} WHERE {there}"
    return f"{whole} AND ({own}) NOT IN ({known})"


def monotone_rows(rule: Rule, types: Types, around: Around) -> str:
    """Return a SELECT of all rows with a column ``_bad``: it falls (or rises) against the one before it."""
    column, order, *groups = rule.columns
    now = value(column, types)
    sign = {"up": "<", "down": ">"}[str(rule.parameters["direction"])] + ("=" if rule.parameters["strict"] else "")
    partition = f"PARTITION BY {', '.join(quote(name) for name in groups)} " if groups else ""
    condition = f" WHERE {rule.where}" if rule.where else ""
    before = f"lag({now} IGNORE NULLS) OVER ({partition}ORDER BY {quote(order)})"
    return f"SELECT *, coalesce({now} {sign} {before}, FALSE) AS _bad FROM {around.relation}{condition}"


def distinct_sql(rule: Rule, types: Types, around: Around) -> str:
    """Return SQL for two lists of text: values that are too many, and given values that are missing."""
    column = rule.columns[0]
    relation = str(rule.parameters["relation"])
    given = ", ".join(bound(item, types, column) for item in listed(rule))
    condition = f" AND ({rule.where})" if rule.where else ""
    there = f"SELECT DISTINCT {value(column, types)} AS v FROM {around.relation} WHERE v IS NOT NULL{condition}"
    wanted = f"SELECT unnest([{given}]) AS v"
    extra = f"SELECT list(v::VARCHAR ORDER BY v) FROM ({there}) WHERE v NOT IN (SELECT v FROM ({wanted}))"
    missing = f"SELECT list(v::VARCHAR ORDER BY v) FROM ({wanted}) WHERE v NOT IN (SELECT v FROM ({there}))"
    wanted_lists = (
        "NULL" if relation == "contains" else f"({extra})",
        "NULL" if relation == "within" else f"({missing})",
    )
    return f"SELECT {', '.join(wanted_lists)}"


def complete_sql(rule: Rule, types: Types, around: Around) -> str:
    """Return SQL for: buckets that there should be, and buckets that hold rows."""
    column, *groups = rule.columns
    width = round(seconds(str(rule.parameters["every"])) * 1e6)
    condition = f" AND ({rule.where})" if rule.where else ""
    bucket = f"epoch_us({quote(column)}) // {width}"
    names = "".join(f"{quote(name)}, " for name in groups)
    grouped = f" GROUP BY {', '.join(quote(name) for name in groups)}" if groups else ""
    filled = (
        f"SELECT max(b) - min(b) + 1 AS due, count(DISTINCT b) AS there FROM "
        f"(SELECT {names}{bucket} AS b FROM {around.relation} WHERE {quote(column)} IS NOT NULL{condition}){grouped}"
    )
    return f"SELECT sum(due), sum(there) FROM ({filled})"


PASS_WORDS = {
    "unique": lambda rule: f"{', '.join(rule.columns) or 'whole rows'} unique",
    "references": lambda rule: f"{', '.join(rule.columns)} in {rule.parameters['table']}",
    "monotone": lambda rule: (
        f"{rule.columns[0]} never {'falls' if rule.parameters['direction'] == 'up' else 'rises'} by {rule.columns[1]}"
    ),
    "distinct": lambda rule: (
        f"values of {rule.columns[0]} "
        f"{ {'within': 'within', 'contains': 'contain', 'equals': 'are'}[str(rule.parameters['relation'])] } "
        f"({shown(listed(rule))})"
    ),
    "complete": lambda rule: f"{rule.columns[0]} has rows in every {rule.parameters['every']}",
    "query": lambda rule: range_words(rule, " ".join(str(rule.parameters["sql"]).split())),
}
"""Each kind in words."""
