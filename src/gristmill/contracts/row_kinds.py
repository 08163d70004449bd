"""Rules that one row decides: for each kind the SQL that is true for rows that break it, and the rule in words.

A null breaks nothing unless the kind is about nulls: SQL that is null counts as false.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gristmill.contracts.patterns import FORMATS
from gristmill.contracts.sqltext import (
    Types,
    bound,
    is_float,
    listed,
    literal,
    quote,
    range_words,
    shown,
    text,
    value,
)
from gristmill.model.rules import Rule


class RowKind(NamedTuple):
    """A kind that one row decides: ``bad`` gives SQL that is true for rows that break the rule."""

    bad: Callable[[Rule, Types], str]
    expected: Callable[[Rule], str]


def _not_null(rule: Rule, types: Types) -> str:
    return " OR ".join(f"{value(name, types)} IS NULL" for name in rule.columns)


def _not_missing(rule: Rule, types: Types) -> str:
    column = rule.columns[0]
    words = ", ".join(bound(item, types, column) for item in listed(rule))
    parts = [f"{value(column, types)} IN ({words})"] if words else []
    parts += [f"{value(column, types)} IS NULL"] if rule.parameters.get("nulls") else []
    return " OR ".join(f"coalesce({part}, FALSE)" for part in parts) or "FALSE"


def _null_together(rule: Rule, types: Types) -> str:
    nulls = [f"({value(name, types)} IS NULL)::INT" for name in rule.columns]
    return f"({' + '.join(nulls)}) NOT IN (0, {len(nulls)})"


_BROKEN = {"low": "<", "above": "<=", "high": ">", "below": ">="}


def _between(rule: Rule, types: Types) -> str:
    column = rule.columns[0]
    given = {sign: rule.parameters[key] for key, sign in _BROKEN.items() if key in rule.parameters}
    if types.get(column) == "VARCHAR" and all(isinstance(limit, int | float) for limit in given.values()):
        return _text_between(column, given)
    parts = [_beyond(column, sign, bound(limit, types, column), types) for sign, limit in given.items()]
    return " OR ".join(parts) or "FALSE"


def _beyond(column: str, sign: str, limit: str, types: Types) -> str:
    """Compare bare columns, which the engine can prove from statistics; NaN, the greatest float, is missing."""
    beyond = f"{quote(column)} {sign} {limit}"
    return f"({beyond} AND NOT isnan({quote(column)}))" if is_float(column, types) and sign[0] == ">" else beyond


def _text_between(column: str, given: Mapping[str, object]) -> str:
    """Compare text with numbers as a number: as text, 9 would be more than 10. What is no number breaks the rule."""
    number = f"try_cast({quote(column)} AS DOUBLE)"
    parts = [f"{number} {sign} {bound(limit, {}, column)}" for sign, limit in given.items()]
    return " OR ".join([f"({quote(column)} IS NOT NULL AND {number} IS NULL)", *parts])


def _one_of(rule: Rule, types: Types) -> str:
    column, values = rule.columns[0], listed(rule)
    if not values:
        return f"{value(column, types)} IS NOT NULL"
    return f"{value(column, types)} NOT IN ({', '.join(bound(item, types, column) for item in values)})"


def _not_in(rule: Rule, types: Types) -> str:
    column, values = rule.columns[0], listed(rule)
    if not values:
        return "FALSE"
    return f"{value(column, types)} IN ({', '.join(bound(item, types, column) for item in values)})"


def _found(rule: Rule, types: Types) -> str:
    return f"regexp_matches({text(rule.columns[0], types)}, {literal(str(rule.parameters['pattern']))})"


def _like(rule: Rule, types: Types) -> str:
    column = text(rule.columns[0], types)
    return "NOT (" + " OR ".join(f"{column} LIKE {literal(str(item))}" for item in listed(rule)) + ")"


def _format(rule: Rule, types: Types) -> str:
    column, name = text(rule.columns[0], types), str(rule.parameters["format"])
    if name == "json":
        return f"NOT json_valid({column})"
    bad = f"NOT regexp_matches({column}, {literal(FORMATS[name])})"
    if name == "date":
        return f"{bad} OR (try_cast({column} AS DATE) IS NULL AND {column} IS NOT NULL)"
    return bad


def _length(rule: Rule, types: Types) -> str:
    size = f"length({text(rule.columns[0], types)})"
    return _limits(rule, size)


def _limits(rule: Rule, size: str) -> str:
    parts = [f"{size} {_BROKEN[key]} {rule.parameters[key]}" for key in ("low", "high") if key in rule.parameters]
    return " OR ".join(parts) or "FALSE"


def _items(rule: Rule, types: Types) -> str:
    column = quote(rule.columns[0])
    parts = [_limits(rule, f"len({column})")]
    if rule.parameters.get("unique"):
        parts.append(f"len(list_distinct({column})) <> len(list_filter({column}, lambda x: x IS NOT NULL))")
    return " OR ".join(parts)


_CASTS = {
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "uuid": "UUID",
}


def _castable(rule: Rule, types: Types) -> str:
    column, wanted = text(rule.columns[0], types), str(rule.parameters["type"])
    pattern = rule.parameters.get("format")
    if pattern is not None:
        return f"{column} IS NOT NULL AND try_strptime({column}, {literal(str(pattern))}) IS NULL"
    if wanted == "integer":
        return rf"NOT regexp_matches({column}, '^\s*[+-]?[0-9]+\s*$')"
    if wanted == "json":
        return f"NOT json_valid({column})"
    return f"{column} IS NOT NULL AND try_cast({column} AS {_CASTS[wanted]}) IS NULL"


def _multiple_of(rule: Rule, types: Types) -> str:
    column, step = rule.columns[0], literal(rule.parameters["step"])  # type: ignore[arg-type]
    if is_float(column, types):
        ratio = f"({value(column, types)}::DOUBLE / {step}::DOUBLE)"
        return f"abs({ratio} - round({ratio})) > 1e-9 * greatest(1.0, abs({ratio}))"
    return f"{quote(column)} % {step} <> 0"


def _decimals(rule: Rule, types: Types) -> str:
    column = rule.columns[0]
    return f"round({value(column, types)}, {rule.parameters['high']}) <> {value(column, types)}"


_OPPOSITE = {"<": ">=", "<=": ">", "=": "<>", "!=": "=", ">=": "<", ">": "<="}


def _compare(rule: Rule, types: Types) -> str:
    left, right = (value(name, types) for name in rule.columns)
    return f"{left} {_OPPOSITE[str(rule.parameters['operator'])]} {right}"


def _sum_equal(rule: Rule, types: Types) -> str:
    parts = " + ".join(value(name, types) for name in rule.columns[:-1])
    return f"abs({parts} - {value(rule.columns[-1], types)}) > {literal(rule.parameters['within'])}"  # type: ignore[arg-type]


def _column(rule: Rule) -> str:
    return rule.columns[0]


ROW_KINDS: Mapping[str, RowKind] = {
    "not_null": RowKind(_not_null, lambda rule: f"{' and '.join(rule.columns)} not null"),
    "not_missing": RowKind(
        _not_missing,
        lambda rule: (
            f"{_column(rule)} not {'null or ' if rule.parameters.get('nulls') else ''}one of ({shown(listed(rule))})"
        ),
    ),
    "null_together": RowKind(_null_together, lambda rule: f"{', '.join(rule.columns)} null only together"),
    "between": RowKind(_between, lambda rule: range_words(rule, _column(rule))),
    "one_of": RowKind(_one_of, lambda rule: f"{_column(rule)} in ({shown(listed(rule))})"),
    "not_in": RowKind(_not_in, lambda rule: f"{_column(rule)} not in ({shown(listed(rule))})"),
    "matches": RowKind(
        lambda rule, types: f"NOT {_found(rule, types)}",
        lambda rule: f"{_column(rule)} matches {rule.parameters['pattern']}",
    ),
    "not_matches": RowKind(_found, lambda rule: f"{_column(rule)} does not match {rule.parameters['pattern']}"),
    "like": RowKind(_like, lambda rule: f"{_column(rule)} like {' or '.join(map(str, listed(rule)))}"),
    "format": RowKind(_format, lambda rule: f"{_column(rule)} is {rule.parameters['format']}"),
    "length": RowKind(_length, lambda rule: range_words(rule, f"length of {_column(rule)}")),
    "items": RowKind(
        _items,
        lambda rule: (
            range_words(rule, f"items of {_column(rule)}") + (", each once" if rule.parameters.get("unique") else "")
        ),
    ),
    "castable": RowKind(_castable, lambda rule: f"{_column(rule)} reads as {rule.parameters['type']}"),
    "multiple_of": RowKind(_multiple_of, lambda rule: f"{_column(rule)} is a multiple of {rule.parameters['step']}"),
    "decimals": RowKind(_decimals, lambda rule: f"{_column(rule)} has at most {rule.parameters['high']} decimals"),
    "compare": RowKind(_compare, lambda rule: f"{rule.columns[0]} {rule.parameters['operator']} {rule.columns[1]}"),
    "sum_equal": RowKind(_sum_equal, lambda rule: f"{' + '.join(rule.columns[:-1])} = {rule.columns[-1]}"),
    "condition": RowKind(
        lambda rule, types: f"NOT ({rule.parameters['sql']})", lambda rule: str(rule.parameters["sql"])
    ),
}
