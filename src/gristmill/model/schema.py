"""Schemas whose fields keep their identity for ever: every field, nested ones too, has an id.

The type system is Iceberg's (table spec, version 3). A primitive type is its name as text (``int``,
``decimal(9,2)``, ``timestamptz``, ``fixed[16]``, ``unknown``); the three nested types are structs of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gristmill.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ID = "_row_id"
ROW_SEQUENCE = "_last_updated_sequence_number"
ROW_ID_FIELD = 2147483540
ROW_SEQUENCE_FIELD = 2147483539
RESERVED_NAMES = frozenset({ROW_ID, ROW_SEQUENCE, "file_row_number", "file_index", "filename"})
HIDDEN_PREFIX = "_origin_"

PRIMITIVES = frozenset(
    [
        "boolean",
        "int",
        "long",
        "float",
        "double",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "timestamp_ns",
        "timestamptz_ns",
        "string",
        "uuid",
        "binary",
        "unknown",
    ]
)
DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
FIXED = re.compile(r"fixed\[(\d+)\]")


class ListType(msgspec.Struct, frozen=True, tag="list", omit_defaults=True):
    """A list; its element is a field of its own."""

    element_id: int
    element: Type
    element_required: bool = False


class MapType(msgspec.Struct, frozen=True, tag="map", omit_defaults=True):
    """A map; key and value are fields of their own, and keys are never null."""

    key_id: int
    key: Type
    value_id: int
    value: Type
    value_required: bool = False


class StructType(msgspec.Struct, frozen=True, tag="struct", omit_defaults=True):
    """A struct of fields."""

    fields: tuple[Field, ...]


Type: TypeAlias = "str | ListType | MapType | StructType"

Allocate: TypeAlias = Callable[[int, str, str], int]
"""``allocate(parent id, name, type text) -> field id``; the parent of a top-level field is 0."""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column, or one child of a struct.

    Args:
        id: names the field for ever; never reused within a table.
        name: what it is called now.
        type: its type.
        required: whether nulls are refused.
        doc: one line for a reader.
        hidden: whether it is left out unless asked for, like the origin of a row.
    """

    id: int
    name: str
    type: Type
    required: bool = False
    doc: str = ""
    hidden: bool = False


class Schema(msgspec.Struct, frozen=True):
    """The fields of a table, in order.

    >>> Schema((Field(1, "a", "long"), Field(2, "_origin_line", "long", hidden=True))).names
    ('a',)
    """

    fields: tuple[Field, ...]

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields that a reader gets without asking."""
        return tuple(field for field in self.fields if not field.hidden)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the visible fields."""
        return tuple(field.name for field in self.visible)

    def field(self, name: str) -> Field:
        """Return the field of that name, hidden ones too; raises UsageError with the nearest right name."""
        for field in self.fields:
            if field.name == name:
                return field
        known = [field.name for field in self.fields]
        raise UsageError(
            f"there is no column `{name}`",
            code="GM-S101",
            hint=did_you_mean(name, known) or f"columns are {', '.join(known[:20])}",
        )

    def by_id(self, field_id: int) -> Field | None:
        """Return the top-level field of that id, or None."""
        return next((field for field in self.fields if field.id == field_id), None)

    def select(self, names: tuple[str, ...] | list[str] | None, *, hidden: bool = False) -> tuple[Field, ...]:
        """Return the named fields in that order; all visible ones (hidden ones on request) for None."""
        if names is None:
            return self.fields if hidden else self.visible
        return tuple(self.field(name) for name in names)

    def to_arrow(self, *, hidden: bool = False) -> pa.Schema:
        """Return the Arrow schema a reader of this table gets."""
        from gristmill.model.arrow import fields_to_arrow

        return fields_to_arrow(self.select(None, hidden=hidden))


def schema_from_arrow(schema: pa.Schema, allocate: Allocate) -> Schema:
    """Return the schema for these Arrow columns, with ids from ``allocate``; see `gristmill.model.arrow`."""
    from gristmill.model.arrow import fields_from_arrow

    return Schema(fields_from_arrow(schema, allocate))


def children(type_: Type) -> Iterator[tuple[int, str, Type]]:
    """Yield (id, name, type) of the direct children of a nested type."""
    if isinstance(type_, ListType):
        yield type_.element_id, "element", type_.element
    elif isinstance(type_, MapType):
        yield type_.key_id, "key", type_.key
        yield type_.value_id, "value", type_.value
    elif isinstance(type_, StructType):
        for field in type_.fields:
            yield field.id, field.name, field.type


def all_ids(fields: tuple[Field, ...]) -> Iterator[int]:
    """Yield the id of every field, nested ones too.

    >>> list(all_ids((Field(1, "a", ListType(2, "int")),)))
    [1, 2]
    """
    for field in fields:
        yield from _ids(field.id, field.type)


def _ids(field_id: int, type_: Type) -> Iterator[int]:
    yield field_id
    for child, _, child_type in children(type_):
        yield from _ids(child, child_type)


def type_text(type_: Type) -> str:
    """Return a type as text without ids; two types with the same text hold the same values.

    >>> type_text(ListType(2, "int"))
    'list<int>'
    """
    if isinstance(type_, str):
        return type_
    if isinstance(type_, ListType):
        return f"list<{type_text(type_.element)}>"
    if isinstance(type_, MapType):
        return f"map<{type_text(type_.key)}, {type_text(type_.value)}>"
    return f"struct<{', '.join(f'{f.name}: {type_text(f.type)}' for f in type_.fields)}>"


_WIDER = {
    ("int", "long"),
    ("float", "double"),
    ("date", "timestamp"),
    ("date", "timestamp_ns"),
    ("int", "double"),
    ("timestamp", "timestamp_ns"),
    ("timestamptz", "timestamptz_ns"),
}


def widens(old: Type, new: Type) -> bool:
    """Whether every value of the old type is a value of the new one, so that no file need be rewritten.

    Follows Iceberg's type promotion, and int to double and micro- to nanoseconds besides. Nested types widen
    where their children of the same ids do.

    >>> widens("int", "long"), widens("decimal(9,2)", "decimal(12,2)"), widens("long", "int")
    (True, True, False)
    """
    if old == new or old == "unknown":
        return True
    if isinstance(old, str) and isinstance(new, str):
        before, after = DECIMAL.fullmatch(old), DECIMAL.fullmatch(new)
        if before and after:
            return before[2] == after[2] and int(before[1]) <= int(after[1])
        return (old, new) in _WIDER
    if isinstance(old, ListType) and isinstance(new, ListType):
        return old.element_id == new.element_id and widens(old.element, new.element)
    if isinstance(old, MapType) and isinstance(new, MapType):
        same = (old.key_id, old.value_id) == (new.key_id, new.value_id)
        return same and widens(old.key, new.key) and widens(old.value, new.value)
    if isinstance(old, StructType) and isinstance(new, StructType):
        before_fields = {field.id: field.type for field in old.fields}
        return all(f.id not in before_fields or widens(before_fields[f.id], f.type) for f in new.fields)
    return False
