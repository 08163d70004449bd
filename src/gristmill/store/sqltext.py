"""Pieces of DuckDB SQL for the store's types: names, types, field ids, and one type seen as another."""

from __future__ import annotations

from collections.abc import Iterable

from gristmill.model.names import quote as quote
from gristmill.model.schema import DECIMAL, Field, ListType, MapType, StructType, Type

_TYPES = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "timestamp_ns": "TIMESTAMP_NS",
    "timestamptz_ns": "TIMESTAMPTZ_NS",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
    "unknown": '"NULL"',
}


def text(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def type_sql(type_: Type) -> str:
    """Return the DuckDB type.

    >>> type_sql(ListType(2, "int"))
    'INTEGER[]'
    """
    if isinstance(type_, ListType):
        return f"{type_sql(type_.element)}[]"
    if isinstance(type_, MapType):
        return f"MAP({type_sql(type_.key)}, {type_sql(type_.value)})"
    if isinstance(type_, StructType):
        return f"STRUCT({', '.join(f'{quote(f.name)} {type_sql(f.type)}' for f in type_.fields)})"
    if type_ in _TYPES:
        return _TYPES[type_]
    if DECIMAL.fullmatch(type_):
        return type_.upper()
    return "BLOB"


def field_ids_sql(fields: Iterable[Field]) -> str:
    """Return the ``FIELD_IDS`` option of COPY."""
    return "{" + ", ".join(f"{text(f.name)}: {_ids(f.id, f.type)}" for f in fields) + "}"


def _ids(field_id: int, type_: Type) -> str:
    if isinstance(type_, ListType):
        inner = f"element: {_ids(type_.element_id, type_.element)}"
    elif isinstance(type_, MapType):
        inner = f"key: {_ids(type_.key_id, type_.key)}, value: {_ids(type_.value_id, type_.value)}"
    elif isinstance(type_, StructType):
        inner = ", ".join(f"{text(f.name)}: {_ids(f.id, f.type)}" for f in type_.fields)
    else:
        return str(field_id)
    return f"{{__duckdb_field_id: {field_id}, {inner}}}"


def stored(type_: Type) -> bool:
    """Whether a column of this type is in the files at all; one of only nulls is not."""
    return type_ != "unknown"


def same_shape(old: Type, new: Type) -> bool:
    """Whether DuckDB reads the old type as the new one right by itself: it resolves nested fields by name.

    >>> same_shape("int", "long")
    True
    """
    if isinstance(old, str) and isinstance(new, str):
        return True
    return old == new


def seen_as(expression: str, old: Type, new: Type, *, depth: int = 0) -> str:
    """Return the expression that turns a value of the old type into the new one, matching nested fields by id."""
    if old == new:
        return expression
    item = f"x{depth}"
    if isinstance(old, StructType) and isinstance(new, StructType):
        return _struct_as(expression, old, new, depth)
    if isinstance(old, ListType) and isinstance(new, ListType):
        inner = seen_as(item, old.element, new.element, depth=depth + 1)
        return f"list_transform({expression}, lambda {item}: {inner})"
    if isinstance(old, MapType) and isinstance(new, MapType):
        key = seen_as(f"{item}.key", old.key, new.key, depth=depth + 1)
        value = seen_as(f"{item}.value", old.value, new.value, depth=depth + 1)
        pairs = f"list_transform(map_entries({expression}), lambda {item}: {{'key': {key}, 'value': {value}}})"
        return f"map_from_entries({pairs})"
    return f"CAST({'NULL' if old == 'unknown' else expression} AS {type_sql(new)})"


def _struct_as(expression: str, old: StructType, new: StructType, depth: int) -> str:
    before = {field.id: field for field in old.fields}
    parts = []
    for field in new.fields:
        source = before.get(field.id)
        if source is None or not stored(source.type):
            value = f"CAST(NULL AS {type_sql(field.type)})"
        else:
            value = seen_as(f"{expression}.{quote(source.name)}", source.type, field.type, depth=depth)
        parts.append(f"{text(field.name)}: {value}")
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE {{{', '.join(parts)}}} END"
