"""What each kind of rule means: the SQL under which a row or a figure is bad, and the rule in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gristmill.errors import DefinitionError
from gristmill.model.rules import Rule, Scalar

Types = Mapping[str, str]
"""Column name to DuckDB type, as DESCRIBE gives it."""

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


class RowKind(NamedTuple):
    """A kind that one row decides: ``bad`` gives SQL that is true for rows that break the rule."""

    bad: Callable[[Rule, Types], str]
    expected: Callable[[Rule], str]


class FigureKind(NamedTuple):
    """A kind that one figure decides: ``figure`` gives an aggregate in SQL, ``low`` and ``high`` its bounds."""

    figure: Callable[[Rule, Types], str]
    bounds: Callable[[Rule], tuple[float | None, float | None]]
    expected: Callable[[Rule], str]


def quote(name: str) -> str:
    """Quote a column or table name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """Write a value as a SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def seconds(text: str) -> float:
    """Return the seconds in ``2h``, ``30min``, ``1d``.

    >>> seconds("2h")
    7200.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*", text)
    if not found:
        raise DefinitionError(f"`{text}` is not a duration", code="GM-C013", hint="write 30min, 2h, 1d")
    return float(found[1]) * _UNITS_S[found[2]]


def _is_float(name: str, types: Types) -> bool:
    return types.get(name, "") in ("FLOAT", "DOUBLE")


def _value(name: str, types: Types) -> str:
    """The column with NaN taken as missing."""
    column = quote(name)
    return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END" if _is_float(name, types) else column


def _not_null(rule: Rule, types: Types) -> str:
    return " OR ".join(f"({_value(name, types)}) IS NULL" for name in rule.columns)


def _between(rule: Rule, types: Types) -> str:
    column, strict = f"({_value(rule.columns[0], types)})", "=" if rule.parameters.get("exclusive") else ""
    low, high = rule.parameters.get("low"), rule.parameters.get("high")
    parts = []
    if low is not None:
        parts.append(f"{column} <{strict} {_bound(low, types, rule.columns[0])}")
    if high is not None:
        parts.append(f"{column} >{strict} {_bound(high, types, rule.columns[0])}")
    return " OR ".join(parts)


def _bound(value: object, types: Types, column: str) -> str:
    text = literal(value if isinstance(value, str | int | float) else None)
    return f"CAST({text} AS {types[column]})" if isinstance(value, str) and column in types else text


def _range_words(rule: Rule) -> str:
    low, high = rule.parameters.get("low"), rule.parameters.get("high")
    equal = "" if rule.parameters.get("exclusive") else "="
    subject = rule.columns[0] if rule.columns else "rows"
    if low is not None and high is not None:
        return f"{low} <{equal} {subject} <{equal} {high}"
    return f"{subject} >{equal} {low}" if low is not None else f"{subject} <{equal} {high}"


def _one_of(rule: Rule, types: Types) -> str:
    values = rule.parameters["values"]
    if not isinstance(values, list) or not values:
        return f"{quote(rule.columns[0])} IS NOT NULL"
    listed = ", ".join(_bound(value, types, rule.columns[0]) for value in values)
    return f"({_value(rule.columns[0], types)}) NOT IN ({listed})"


def _one_of_words(rule: Rule) -> str:
    values = rule.parameters["values"]
    shown = [str(value) for value in values][:5] if isinstance(values, list) else []
    return f"{rule.columns[0]} in ({', '.join(shown)}{', ...' if len(shown) == 5 else ''})"


def _length(rule: Rule, types: Types) -> str:
    size = f"length({quote(rule.columns[0])})"
    parts = [
        f"{size} {sign} {rule.parameters[key]}" for key, sign in (("low", "<"), ("high", ">")) if key in rule.parameters
    ]
    return " OR ".join(parts) or "FALSE"


_OPPOSITE = {"<": ">=", "<=": ">", "=": "<>", "!=": "=", ">=": "<", ">": "<="}


def _compare(rule: Rule, types: Types) -> str:
    left, right = (f"({_value(name, types)})" for name in rule.columns)
    return f"{left} {_OPPOSITE[str(rule.parameters['operator'])]} {right}"


ROW_KINDS: Mapping[str, RowKind] = {
    "not_null": RowKind(_not_null, lambda rule: f"{' and '.join(rule.columns)} not null"),
    "between": RowKind(_between, _range_words),
    "one_of": RowKind(_one_of, _one_of_words),
    "matches": RowKind(
        lambda rule, types: f"NOT regexp_matches({quote(rule.columns[0])}, {literal(str(rule.parameters['pattern']))})",
        lambda rule: f"{rule.columns[0]} matches {rule.parameters['pattern']}",
    ),
    "length": RowKind(_length, lambda rule: f"length of {_range_words(rule)}"),
    "compare": RowKind(_compare, lambda rule: f"{rule.columns[0]} {rule.parameters['operator']} {rule.columns[1]}"),
    "condition": RowKind(
        lambda rule, types: f"NOT ({rule.parameters['sql']})", lambda rule: str(rule.parameters["sql"])
    ),
}

_FIGURES = {
    "mean": "avg({c})",
    "sum": "sum({c})",
    "min": "min({c})",
    "max": "max({c})",
    "stddev": "stddev_samp({c})",
    "distinct": "count(DISTINCT {c})",
    "distinct_share": "count(DISTINCT {c}) / nullif(count({c}), 0)",
    "null_share": "1 - count({c}) / nullif(count(*), 0)",
}


def _figure(rule: Rule, types: Types) -> str:
    return _FIGURES[str(rule.parameters["statistic"])].format(c=f"({_value(rule.columns[0], types)})")


def _bounds(rule: Rule) -> tuple[float | None, float | None]:
    low, high = rule.parameters.get("low"), rule.parameters.get("high")
    return (
        float(low) if isinstance(low, int | float) else None,
        float(high) if isinstance(high, int | float) else None,
    )


FIGURE_KINDS: Mapping[str, FigureKind] = {
    "row_count": FigureKind(lambda rule, types: "count(*)", _bounds, _range_words),
    "statistic": FigureKind(
        _figure,
        _bounds,
        lambda rule: _range_words(rule).replace(rule.columns[0], f"{rule.parameters['statistic']}({rule.columns[0]})"),
    ),
    "fresh": FigureKind(
        lambda rule, types: f"(getvariable('gristmill_run_us') - epoch_us(max({quote(rule.columns[0])}))) / 1e6",
        lambda rule: (None, seconds(str(rule.parameters["within"]))),
        lambda rule: f"latest {rule.columns[0]} at most {rule.parameters['within']} old",
    ),
}

JOIN_KINDS: Mapping[str, Callable[[Rule], str]] = {
    "unique": lambda rule: f"{', '.join(rule.columns)} unique",
    "references": lambda rule: f"{', '.join(rule.columns)} in {rule.parameters['table']}",
}


def describe(rule: Rule) -> str:
    """Return what a rule asks for, in words.

    >>> from gristmill.contracts import rules
    >>> describe(rules.between("age", low=0, high=150))
    '0 <= age <= 150'
    """
    if rule.kind in ROW_KINDS:
        return ROW_KINDS[rule.kind].expected(rule)
    if rule.kind in FIGURE_KINDS:
        return FIGURE_KINDS[rule.kind].expected(rule)
    if rule.kind in JOIN_KINDS:
        return JOIN_KINDS[rule.kind](rule)
    return rule.code
