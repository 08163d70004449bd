"""Changing a table's definition without rewriting its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pyarrow as pa

from gristmill.errors import Conflict, UsageError, did_you_mean
from gristmill.model import changes as c
from gristmill.model.arrow import field_from_arrow, type_to_arrow
from gristmill.model.schema import (
    RESERVED_NAMES,
    Allocate,
    Field,
    ListType,
    MapType,
    Schema,
    StructType,
    Type,
    type_text,
    widens,
)

Alter = Callable[[Schema, Allocate], Schema]


def alter_schema(schema: Schema, change: c.Change, allocate: Allocate) -> Schema:
    """Return the schema after one change; key and properties are not its matter.

    Raises:
        UsageError: an unknown column, a name that is taken, or a change that would lose values.
    """
    if isinstance(change, c.AddColumn):
        return _add(schema, change, allocate)
    if isinstance(change, c.DropColumn):
        return Schema(_at(schema.fields, _path(schema, change.path), lambda field: None))
    if isinstance(change, c.RenameColumn):
        return _rename(schema, change)
    if isinstance(change, c.WidenColumn):
        return Schema(_at(schema.fields, _path(schema, change.path), lambda f: _widen(f, change, allocate)))
    if isinstance(change, c.ReorderColumns):
        first = tuple(schema.field(name) for name in change.names)
        return Schema((*first, *(field for field in schema.fields if field not in first)))
    if isinstance(change, c.SetRequired):
        old = schema.field(change.name)
        new = msgspec.structs.replace(old, required=change.required)
        return Schema(tuple(new if field is old else field for field in schema.fields))
    return schema


def _path(schema: Schema, path: str) -> list[str]:
    if any(field.name == path for field in schema.fields):
        return [path]
    parts = path.split(".")
    schema.field(parts[0])
    return parts


Change = Callable[[Field], Field | None]


def _at(fields: tuple[Field, ...], path: Sequence[str], change: Change) -> tuple[Field, ...]:
    names = [field.name for field in fields]
    if path[0] not in names:
        raise UsageError(f"there is no field `{path[0]}`", code="GM-S101", hint=did_you_mean(path[0], names))
    out = []
    for field in fields:
        if field.name != path[0]:
            out.append(field)
            continue
        if len(path) == 1:
            changed = change(field)
            out += [changed] if changed is not None else []
        else:
            out.append(msgspec.structs.replace(field, type=_inside(field.type, path[1:], change)))
    if not out:
        raise UsageError("the last field of a table or struct cannot be dropped", code="GM-S104")
    return tuple(out)


def _inside(type_: Type, path: Sequence[str], change: Change) -> Type:
    if isinstance(type_, StructType):
        return StructType(_at(type_.fields, path, change))
    if isinstance(type_, ListType) and path[0] == "element":
        part = Field(type_.element_id, "element", type_.element, type_.element_required)
        return msgspec.structs.replace(type_, element=_part(part, path, change).type)
    if isinstance(type_, MapType) and path[0] == "value":
        part = Field(type_.value_id, "value", type_.value, type_.value_required)
        return msgspec.structs.replace(type_, value=_part(part, path, change).type)
    raise UsageError(f"there is no field `{path[0]}` inside {type_text(type_)}", code="GM-S101")


def _part(part: Field, path: Sequence[str], change: Change) -> Field:
    """Return what becomes of the element of a list or the value of a map, which keeps its name."""
    changed = _at((part,), path, change)[0]
    if changed.name != part.name:
        raise UsageError(f"the {part.name} of a list or map cannot be renamed", code="GM-S104")
    return changed


def _free(fields: tuple[Field, ...], name: str, but: Field | None = None) -> None:
    taken = any(field.name.lower() == name.lower() and field is not but for field in fields)
    if taken or not name or name in RESERVED_NAMES:
        raise UsageError(f"a column cannot be called `{name}`: the name is taken", code="GM-S102")


def _add(schema: Schema, change: c.AddColumn, allocate: Allocate) -> Schema:
    above, _, name = change.path.rpartition(".")
    if not above:
        _free(schema.fields, name)
        new = field_from_arrow(pa.field(name, change.type), 0, allocate)
        return Schema((*schema.fields, msgspec.structs.replace(new, doc=change.doc)))

    def grow(field: Field) -> Field:
        if not isinstance(field.type, StructType):
            raise UsageError(f"`{above}` is not a struct", code="GM-S104")
        _free(field.type.fields, name)
        child = field_from_arrow(pa.field(name, change.type), field.id, allocate)
        return msgspec.structs.replace(field, type=StructType((*field.type.fields, child)))

    return Schema(_at(schema.fields, _path(schema, above), grow))


def _rename(schema: Schema, change: c.RenameColumn) -> Schema:
    path = _path(schema, change.path)
    if len(path) == 1:
        _free(schema.fields, change.name, schema.field(path[0]))
        return Schema(_at(schema.fields, path, lambda f: msgspec.structs.replace(f, name=change.name)))

    def inside(field: Field) -> Field:
        if not isinstance(field.type, StructType):
            raise UsageError(f"there is no field `{path[-1]}` to rename", code="GM-S101")
        _free(field.type.fields, change.name)
        fields = _at(field.type.fields, path[-1:], lambda f: msgspec.structs.replace(f, name=change.name))
        return msgspec.structs.replace(field, type=StructType(fields))

    return Schema(_at(schema.fields, path[:-1], inside))


def _widen(field: Field, change: c.WidenColumn, allocate: Allocate) -> Field:
    new = field_from_arrow(pa.field(field.name, change.type), 0, lambda *_: 0)
    wanted = reconcile(field.type, new.type, field.id, allocate)
    if wanted is None or not widens(field.type, wanted):
        raise UsageError(
            f"`{change.path}` cannot be widened from {type_text(field.type)} to {type_text(new.type)}",
            code="GM-S104",
            hint="replace the table's rows, or add a column",
        )
    return msgspec.structs.replace(field, type=wanted)


def reconcile(old: Type, new: Type, parent: int, allocate: Allocate) -> Type | None:
    """Return the new type with the ids of the old one where the parts match by name, or None if it cannot be."""
    if isinstance(new, str) or old == "unknown":
        return _renumber(new, parent, allocate) if old == "unknown" else (new if isinstance(old, str) else None)
    if isinstance(old, ListType) and isinstance(new, ListType):
        element = reconcile(old.element, new.element, old.element_id, allocate)
        return None if element is None else msgspec.structs.replace(old, element=element)
    if isinstance(old, MapType) and isinstance(new, MapType):
        key = reconcile(old.key, new.key, old.key_id, allocate)
        value = reconcile(old.value, new.value, old.value_id, allocate)
        return None if key is None or value is None else msgspec.structs.replace(old, key=key, value=value)
    if isinstance(old, StructType) and isinstance(new, StructType):
        before = {field.name: field for field in old.fields}
        fields = []
        for field in new.fields:
            known = before.get(field.name)
            if known is None:
                fields.append(_new_child(field, parent, allocate))
                continue
            type_ = reconcile(known.type, field.type, known.id, allocate)
            if type_ is None:
                return None
            fields.append(msgspec.structs.replace(known, type=type_))
        return StructType(tuple(fields))
    return None


def _new_child(field: Field, parent: int, allocate: Allocate) -> Field:
    return field_from_arrow(pa.field(field.name, type_to_arrow(field.type)), parent, allocate)


def _renumber(type_: Type, parent: int, allocate: Allocate) -> Type:
    if isinstance(type_, str):
        return type_
    return field_from_arrow(pa.field("x", type_to_arrow(type_)), -parent, _under(parent, allocate)).type


def _under(parent: int, allocate: Allocate) -> Allocate:
    """Return an allocator that puts the children of a field that has an id already under that id."""

    def inner(above: int, name: str, text: str) -> int:
        return parent if above == -parent else allocate(above, name, text)

    return inner


def clashing_columns(schema: Schema, wanted: pa.Schema) -> dict[str, str]:
    """Return the columns whose new type does not hold every old value, with both types in words."""
    clashes = {}
    for field in wanted:
        known = next((f for f in schema.fields if f.name == field.name), None)
        if known is None:
            continue
        new = field_from_arrow(field, 0, lambda *_: 0).type
        type_ = reconcile(known.type, new, known.id, lambda *_: 0)
        if type_text(new) != type_text(known.type) and (type_ is None or not widens(known.type, type_)):
            clashes[field.name] = f"{type_text(known.type)} -> {type_text(new)}"
    return clashes


def changes_to(schema: Schema, wanted: pa.Schema) -> list[c.Change]:
    """Return the changes that make a schema equal to an Arrow schema and keep its data.

    Columns are matched by name. Raises Conflict, naming the columns, where a type cannot be widened.
    """
    clashes = clashing_columns(schema, wanted)
    if clashes:
        raise Conflict(
            "columns have types that cannot be widened to the new ones",
            code="GM-S105",
            examples=[f"{name}: {types}" for name, types in clashes.items()],
            hint="replace the table's rows in the same change, with replace=True",
        )
    out: list[c.Change] = []
    for field in wanted:
        known = next((f for f in schema.fields if f.name == field.name), None)
        if known is None:
            out.append(c.AddColumn(field.name, field.type))
            continue
        new = field_from_arrow(field, 0, lambda *_: 0)
        if type_text(new.type) != type_text(known.type):
            out.append(c.WidenColumn(field.name, field.type))
        if known.required and not new.required:
            out.append(c.SetRequired(field.name, False))
    drops = [c.DropColumn(f.name) for f in schema.fields if f.name not in wanted.names and not f.hidden]
    ordered = [*drops, *out] if len(drops) < len(schema.fields) else [*out, *drops]
    current = [f.name for f in schema.fields if f.name in wanted.names]
    added = [change.path for change in out if isinstance(change, c.AddColumn)]
    if [*current, *added] != list(wanted.names):
        ordered.append(c.ReorderColumns(tuple(wanted.names)))
    return ordered
