"""Pieces of SQL that every kind of rule is made of: names, literals, values with NaN taken as missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gristmill.errors import DefinitionError
from gristmill.model.names import quote as quote
from gristmill.model.rules import Rule, Scalar

Types = Mapping[str, str]
"""Column name to DuckDB type, as DESCRIBE gives it."""


def literal(value: Scalar) -> str:
    """Write a value as a SQL literal.

    >>> literal("it's"), literal(float("inf"))
    ("'it''s'", "'inf'::DOUBLE")
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{value}'::DOUBLE"
    return repr(value)


def is_float(name: str, types: Types) -> bool:
    """Whether a column holds binary floats."""
    return types.get(name, "") in ("FLOAT", "DOUBLE")


def value(name: str, types: Types) -> str:
    """Return SQL for a column with NaN taken as missing."""
    column = quote(name)
    return f"(CASE WHEN isnan({column}) THEN NULL ELSE {column} END)" if is_float(name, types) else column


def text(name: str, types: Types) -> str:
    """Return SQL for a column as text."""
    return quote(name) if types.get(name) == "VARCHAR" else f"CAST({quote(name)} AS VARCHAR)"


def bound(limit: object, types: Types, column: str) -> str:
    """Return a literal to compare a column with; text becomes the column's own type."""
    if limit is not None and not isinstance(limit, str | int | float):
        raise DefinitionError(f"`{column}` cannot be compared with a {type(limit).__name__}", code="GM-C011")
    written = literal(limit)
    if isinstance(limit, str) and column in types and types[column] != "VARCHAR":
        return f"CAST({written} AS {types[column]})"
    if isinstance(limit, int | float) and types.get(column) == "VARCHAR":
        return literal(str(limit))
    return written


def listed(rule: Rule, name: str = "values") -> list[Scalar]:
    """Return a list parameter, nulls left out."""
    given = rule.parameters.get(name)
    return [item for item in given if item is not None] if isinstance(given, list) else []


def shown(values: Sequence[Scalar], most: int = 5) -> str:
    """Write a few values for people."""
    words = ", ".join(str(item) if item != "" else "''" for item in values[:most])
    return words + (", ..." if len(values) > most else "")


def number(rule: Rule, name: str) -> float | None:
    """Return a numeric parameter, or None."""
    given = rule.parameters.get(name)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else None


def range_words(rule: Rule, subject: str) -> str:
    """Write the bounds of a rule around its subject.

    >>> range_words(Rule(kind="between", parameters={"low": 0, "below": 5}), "x")
    '0 <= x < 5'
    """
    parameters = rule.parameters
    if "equal" in parameters:
        return f"{subject} = {parameters['equal']}"
    if "unequal" in parameters:
        return f"{subject} != {parameters['unequal']}"
    outside = parameters.get("outside")
    if isinstance(outside, list):
        return f"{subject} not from {outside[0]} to {outside[1]}"
    left = [f"{parameters[key]} {sign} " for key, sign in (("low", "<="), ("above", "<")) if key in parameters]
    right = [f" {sign} {parameters[key]}" for key, sign in (("high", "<="), ("below", "<")) if key in parameters]
    if not right and left:
        key, sign = ("low", ">=") if "low" in parameters else ("above", ">")
        return f"{subject} {sign} {parameters[key]}"
    return "".join(left) + subject + "".join(right)


def engine_error() -> type[Exception]:
    """Return the class of the kernel's errors, which is not loaded before it is needed."""
    import duckdb

    error: type[Exception] = duckdb.Error
    return error
