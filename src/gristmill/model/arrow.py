"""Arrow types to and from the store's types.

The written rule for what Iceberg has no type for: 8- and 16-bit integers and 16-bit unsigned become ``int``,
32-bit unsigned ``long``, 64-bit unsigned ``decimal(20,0)``; half floats ``float``; seconds and milliseconds
microseconds; dictionary, run-end and view encodings are decoded; a column of only nulls is ``unknown`` and can
be widened to anything later. Durations and intervals are refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as t

from gristmill.errors import DataError
from gristmill.model.schema import (
    DECIMAL,
    FIXED,
    HIDDEN_PREFIX,
    RESERVED_NAMES,
    Allocate,
    Field,
    ListType,
    MapType,
    StructType,
    Type,
    type_text,
)

if TYPE_CHECKING:
    from functools import lru_cache
from collections.abc import Iterable

_TO_ARROW = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamptz_ns": pa.timestamp("ns", tz="UTC"),
    "string": pa.string(),
    "uuid": pa.uuid(),
    "binary": pa.binary(),
    "unknown": pa.null(),
}


def type_to_arrow(type_: Type) -> pa.DataType:
    """Return the Arrow type of a store type.

    >>> type_to_arrow("decimal(9,2)")
    Decimal128Type(decimal128(9, 2))
    """
    if isinstance(type_, ListType):
        return pa.list_(pa.field("element", type_to_arrow(type_.element), not type_.element_required))
    if isinstance(type_, MapType):
        value = pa.field("value", type_to_arrow(type_.value), not type_.value_required)
        return pa.map_(pa.field("key", type_to_arrow(type_.key), nullable=False), value)
    if isinstance(type_, StructType):
        return pa.struct([pa.field(f.name, type_to_arrow(f.type), not f.required) for f in type_.fields])
    if type_ in _TO_ARROW:
        return _TO_ARROW[type_]
    if match := DECIMAL.fullmatch(type_):
        return pa.decimal128(int(match[1]), int(match[2]))
    match = FIXED.fullmatch(type_)
    assert match, type_
    return pa.binary(int(match[1]))


def fields_to_arrow(fields: Iterable[Field]) -> pa.Schema:
    """Return the Arrow schema of these fields."""
    return _fields_to_arrow(tuple(fields))


@lru_cache(maxsize=1024)
def _fields_to_arrow(fields: tuple[Field, ...]) -> pa.Schema:
    return pa.schema([pa.field(f.name, type_to_arrow(f.type), not f.required) for f in fields])


def with_field_ids(fields: Iterable[Field]) -> pa.Schema:
    """Return the Arrow schema with a ``PARQUET:field_id`` on every field, for Parquet writers."""
    return pa.schema([_with_id(f.id, f.name, f.type, f.required) for f in fields])


def _with_id(field_id: int, name: str, type_: Type, required: bool) -> pa.Field:
    arrow: pa.DataType
    if isinstance(type_, ListType):
        arrow = pa.list_(_with_id(type_.element_id, "element", type_.element, type_.element_required))
    elif isinstance(type_, MapType):
        arrow = pa.map_(
            _with_id(type_.key_id, "key", type_.key, True),
            _with_id(type_.value_id, "value", type_.value, type_.value_required),
        )
    elif isinstance(type_, StructType):
        arrow = pa.struct([_with_id(f.id, f.name, f.type, f.required) for f in type_.fields])
    else:
        arrow = type_to_arrow(type_)
    return pa.field(name, arrow, not required, metadata={"PARQUET:field_id": str(field_id)})


def fields_from_arrow(schema: pa.Schema, allocate: Allocate) -> tuple[Field, ...]:
    """Return the fields for these Arrow columns, with ids from ``allocate``.

    Raises:
        DataError: a type that cannot be stored, a reserved name, or two names that differ only by case.
    """
    seen: dict[str, str] = {}
    for name in schema.names:
        if name in RESERVED_NAMES or not name or "\0" in name:
            raise DataError(f"a column cannot be called `{name!r}`", code="GM-S102", hint="rename it")
        if name.lower() in seen:
            raise DataError(
                f"two columns are called `{seen[name.lower()]}` and `{name}`",
                code="GM-S102",
                hint="column names must differ by more than case",
            )
        seen[name.lower()] = name
    return tuple(field_from_arrow(field, 0, allocate) for field in schema)


def field_from_arrow(field: pa.Field, parent: int, allocate: Allocate) -> Field:
    """Return the store field for one Arrow field below ``parent``."""
    text = type_text(_type(field.type, 0, lambda *_: 0, field.name))
    field_id = allocate(parent, field.name, text)
    return Field(
        field_id,
        field.name,
        _type(field.type, field_id, allocate, field.name),
        required=not field.nullable and not t.is_null(field.type),
        hidden=parent == 0 and field.name.startswith(HIDDEN_PREFIX),
    )


def _type(arrow: pa.DataType, parent: int, allocate: Allocate, where: str) -> Type:
    if t.is_map(arrow):
        key, value = _type(arrow.key_type, 0, _zero, where), _type(arrow.item_type, 0, _zero, where)
        key_id, value_id = (
            allocate(parent, "key", type_text(key)),
            allocate(parent, "value", type_text(value)),
        )
        return MapType(
            key_id,
            _type(arrow.key_type, key_id, allocate, where),
            value_id,
            _type(arrow.item_type, value_id, allocate, where),
            value_required=not arrow.item_field.nullable,
        )
    if t.is_list(arrow) or t.is_large_list(arrow) or t.is_fixed_size_list(arrow) or _is_list_view(arrow):
        inner = _type(arrow.value_type, 0, _zero, where)
        element_id = allocate(parent, "element", type_text(inner))
        element = _type(arrow.value_type, element_id, allocate, where)
        return ListType(element_id, element, element_required=not arrow.value_field.nullable)
    if t.is_struct(arrow):
        fields = tuple(field_from_arrow(arrow.field(i), parent, allocate) for i in range(arrow.num_fields))
        return StructType(_struct_fields(fields, parent))
    return _primitive(arrow, where)


def _struct_fields(fields: tuple[Field, ...], parent: int) -> tuple[Field, ...]:
    if not fields:
        raise DataError("a struct without fields cannot be stored", code="GM-S103")
    return tuple(Field(f.id, f.name, f.type, f.required) for f in fields)


def _zero(parent: int, name: str, text: str) -> int:
    return 0


def _is_list_view(arrow: pa.DataType) -> bool:
    return bool(t.is_list_view(arrow) or t.is_large_list_view(arrow))


def _primitive(arrow: pa.DataType, where: str) -> Type:
    if isinstance(arrow, pa.UuidType):
        return "uuid"
    if isinstance(arrow, pa.Bool8Type):
        return "boolean"
    if isinstance(arrow, pa.BaseExtensionType):
        return _type(arrow.storage_type, 0, _zero, where)
    if t.is_dictionary(arrow) or t.is_run_end_encoded(arrow):
        return _type(arrow.value_type, 0, _zero, where)
    for test, name in _SIMPLE:
        if test(arrow):
            return name
    if t.is_timestamp(arrow):
        return ("timestamptz" if arrow.tz else "timestamp") + ("_ns" if arrow.unit == "ns" else "")
    if t.is_decimal(arrow) and arrow.precision <= 38 and 0 <= arrow.scale <= arrow.precision:
        return f"decimal({arrow.precision},{arrow.scale})"
    if t.is_fixed_size_binary(arrow):
        return f"fixed[{arrow.byte_width}]"
    raise DataError(
        f"column `{where}` has the type {arrow}, which cannot be stored",
        code="GM-S103",
        hint="cast it first; a duration can be kept as whole microseconds in an int64 column",
    )


_SIMPLE = (
    (t.is_boolean, "boolean"),
    (t.is_int64, "long"),
    (t.is_uint32, "long"),
    (t.is_uint64, "decimal(20,0)"),
    (t.is_integer, "int"),
    (t.is_float64, "double"),
    (t.is_floating, "float"),
    (t.is_string, "string"),
    (t.is_large_string, "string"),
    (t.is_string_view, "string"),
    (t.is_binary, "binary"),
    (t.is_large_binary, "binary"),
    (t.is_binary_view, "binary"),
    (t.is_date, "date"),
    (t.is_time, "time"),
    (t.is_null, "unknown"),
)
