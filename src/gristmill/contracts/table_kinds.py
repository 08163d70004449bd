"""Rules about a table's schema: which columns there are, in which order, and of which type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gristmill.contracts.sqltext import Types, listed
from gristmill.model.rules import Rule

_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_EXACT = {
    "VARCHAR": "string",
    "UUID": "string",
    "DOUBLE": "number",
    "FLOAT": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "time",
    "TIME WITH TIME ZONE": "time",
    "BLOB": "binary",
    "JSON": "object",
}


def family(duckdb_type: str) -> str:
    """Return the word of the contract standard for a DuckDB type.

    >>> family("DECIMAL(10,2)"), family("TIMESTAMP WITH TIME ZONE"), family("INTEGER[]")
    ('number', 'timestamp', 'array')
    """
    if duckdb_type.endswith("]"):
        return "array"
    if duckdb_type in _INTEGERS:
        return "integer"
    if duckdb_type in _EXACT:
        return _EXACT[duckdb_type]
    for start, word in (
        ("DECIMAL", "number"),
        ("TIMESTAMP", "timestamp"),
        ("STRUCT", "object"),
        ("MAP", "map"),
        ("ENUM", "string"),
        ("VARIANT", "object"),
    ):
        if duckdb_type.startswith(start):
            return word
    return duckdb_type.lower()


_WIDER: Mapping[str, Sequence[str]] = {
    "number": ("integer",),
    "object": ("map",),
    "map": ("object",),
    "vector": ("array",),
}


def breach(rule: Rule, types: Types) -> str | None:
    """Return what is wrong with the schema, in words, or None."""
    return _columns(rule, types) if rule.kind == "columns" else _has_type(rule, types)


def _columns(rule: Rule, types: Types) -> str | None:
    names = [str(name) for name in listed(rule, "names")]
    missing = [name for name in names if name not in types]
    if missing:
        return f"no column {', '.join(missing)}"
    visible = [name for name in types if not name.startswith("_origin_")]
    extra = [name for name in visible if name not in names]
    if rule.parameters.get("exact") and extra:
        return f"also has {', '.join(extra)}"
    if rule.parameters.get("ordered") and [name for name in visible if name in names] != names:
        return f"the order is {', '.join(visible)}"
    return None


def _has_type(rule: Rule, types: Types) -> str | None:
    actual = types[rule.columns[0]]
    for wanted in map(str, listed(rule, "types")):
        accepted = {wanted, *_WIDER.get(wanted, ())}
        if family(actual) in accepted or _spaceless(actual) == _spaceless(wanted):
            return None
    return f"{rule.columns[0]} is {actual}"


def _spaceless(name: str) -> str:
    return re.sub(r"\s+", "", name).upper()


def expected(rule: Rule) -> str:
    """Return what the rule asks for, in words."""
    if rule.kind == "columns":
        names = ", ".join(map(str, listed(rule, "names")))
        extra = " and no others" if rule.parameters.get("exact") else ""
        return f"columns {names}{extra}" + (" in this order" if rule.parameters.get("ordered") else "")
    return f"{rule.columns[0]} is {' or '.join(map(str, listed(rule, 'types')))}"


TABLE_KINDS = ("columns", "has_type")
