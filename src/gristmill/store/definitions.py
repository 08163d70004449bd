"""Two changes of one table's definition put together: field by field, by id, at every depth.

Each part that has a value of its own (a name, a type, whether it is required, the order of columns, the key, ...) may
be changed by one side, or by both to the same; a type that both sides have widened becomes the wider one. A field
that one side has dropped and the other has changed is a conflict, and so is one that one side has had and dropped
since, where the other side has it: its values would come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import blake3
import msgspec

from gristmill.model.schema import Field, ListType, MapType, Schema, StructType, Type, all_ids, widens
from gristmill.store.objects import SchemaObject, TableObject
from gristmill.store.tables import all_specs, first_token, id_runs, schema_of, spec_fields, used_ids

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction


class OverlapError(Exception):
    """Both sides changed the same; the message says what."""


def combined_definition(tx: Transaction, base: TableObject, mine: TableObject, head: TableObject) -> TableObject:
    """Return the head with what ``mine`` changed in the definition of ``base``; the rows are the head's.

    Raises:
        OverlapError: both sides changed the same part of it.
    """
    get = tx.pending.get
    sides = [schema_of(get, state.schema) for state in (base, mine, head)]
    schema = Schema(_fields(sides[0].fields, sides[1].fields, sides[2].fields))
    _no_revenants(schema, base, (mine, sides[1]), (head, sides[2]))
    kept = {field.id for field in schema.fields}
    known = {**_tokens(base, mine, head), **head.tokens}
    new = msgspec.structs.replace(
        head,
        schema=tx.pending.put(SchemaObject(schema)),
        key=_choose(base.key, mine.key, head.key, "key"),
        cluster_by=tuple(i for i in _choose(base.cluster_by, mine.cluster_by, head.cluster_by, "order") if i in kept),
        spec=_choose(base.spec, mine.spec, head.spec, "partitioning"),
        specs=all_specs(mine, head),
        properties=_properties(base.properties, mine.properties, head.properties),
        tokens={f.id: known.get(f.id, first_token(head.uuid, f.id)) for f in schema.fields},
        used=id_runs(used_ids(mine) | used_ids(head)),
    )
    if not set(new.key) <= kept:
        raise OverlapError("a column of the key was dropped on one side")
    if not {field.source for field in spec_fields(new)} <= kept:
        raise OverlapError("a column that divides the files was dropped on one side")
    return new


def _tokens(base: TableObject, mine: TableObject, head: TableObject) -> dict[int, bytes]:
    """Return the tokens of the fields that the head lacks: others than ours where its rows are others."""
    if all(head.tokens.get(i, token) == token for i, token in base.tokens.items()):
        return mine.tokens
    rows = b"".join(head.tokens[i] for i in sorted(head.tokens))
    return {i: blake3.blake3(token + rows).digest()[:16] for i, token in mine.tokens.items()}


def regained(tx: Transaction, base: TableObject, new: TableObject) -> set[int]:
    """Return the fields that a definition has and ``base`` had dropped before."""
    get = tx.pending.get
    return (set(all_ids(schema_of(get, new.schema).fields)) & used_ids(base)) - set(
        all_ids(schema_of(get, base.schema).fields)
    )


def _no_revenants(
    schema: Schema, base: TableObject, mine: tuple[TableObject, Schema], head: tuple[TableObject, Schema]
) -> None:
    """Refuse fields that one side made and dropped, and the other has: old files hold values of them."""
    before = used_ids(base)
    for state, own in (mine, head):
        dropped = used_ids(state) - before - set(all_ids(own.fields))
        for field in schema.fields:
            if dropped & set(all_ids((field,))):
                raise OverlapError(f"one side has dropped a column `{field.name}` that the other side has")


_Part = TypeVar("_Part")


def _choose(base: _Part, mine: _Part, head: _Part, what: str) -> _Part:
    """Return what a part becomes whose value only one side may have changed."""
    if mine in (base, head):
        return head
    if head == base:
        return mine
    raise OverlapError(f"the {what} was changed on both sides")


def _fields(base: Sequence[Field], mine: Sequence[Field], head: Sequence[Field], above: str = "") -> tuple[Field, ...]:
    sides = [{field.id: field for field in fields} for fields in (base, mine, head)]
    found = {}
    for number in dict.fromkeys(number for side in sides for number in side):
        field = _field(*(side.get(number) for side in sides), above=above)
        if field is not None:
            found[number] = field
    if not found:
        raise OverlapError(
            f"no field of {f'`{above[:-1]}`' if above else 'the table'} is left of what both sides dropped"
        )
    names = [field.name.lower() for field in found.values()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OverlapError(f"both sides have a column `{above}{twice}` of their own")
    return tuple(found[number] for number in _order(*(list(side) for side in sides), above=above) if number in found)


def _order(base: list[int], mine: list[int], head: list[int], *, above: str) -> list[int]:
    """Return the fields of all sides in the order that one of them gave; what only one has comes last."""
    shared = set(base) & set(mine) & set(head)
    before, ours, theirs = ([number for number in side if number in shared] for side in (base, mine, head))
    if ours != theirs and before not in (ours, theirs):
        what = f"the fields of `{above[:-1]}`" if above else "the columns"
        raise OverlapError(f"{what} were put in order on both sides")
    first = head if ours in (before, theirs) else mine
    return list(dict.fromkeys([*first, *head, *mine, *base]))


def _field(base: Field | None, mine: Field | None, head: Field | None, *, above: str) -> Field | None:
    name = next(field.name for field in (head, mine, base) if field is not None)
    if base is None or mine is None or head is None:
        return _choose(base, mine, head, f"column `{above}{name}`")
    place = f"{above}{name}"

    def part(attribute: str) -> object:
        before, ours, theirs = (getattr(side, attribute) for side in (base, mine, head))
        return _choose(before, ours, theirs, f"column `{place}`")

    return Field(
        head.id,
        str(part("name")),
        _type(base.type, mine.type, head.type, place),
        bool(part("required")),
        str(part("doc")),
        bool(part("hidden")),
    )


def _type(base: Type, mine: Type, head: Type, place: str) -> Type:
    if mine in (base, head):
        return head
    if head == base:
        return mine
    if isinstance(base, StructType) and isinstance(mine, StructType) and isinstance(head, StructType):
        return StructType(_fields(base.fields, mine.fields, head.fields, f"{place}."))
    if isinstance(base, ListType) and isinstance(mine, ListType) and isinstance(head, ListType):
        required = _choose(base.element_required, mine.element_required, head.element_required, f"column `{place}`")
        element = _type(base.element, mine.element, head.element, f"{place}.element")
        return ListType(head.element_id, element, required)
    if isinstance(base, MapType) and isinstance(mine, MapType) and isinstance(head, MapType):
        required = _choose(base.value_required, mine.value_required, head.value_required, f"column `{place}`")
        key = _type(base.key, mine.key, head.key, f"{place}.key")
        return MapType(
            head.key_id, key, head.value_id, _type(base.value, mine.value, head.value, f"{place}.value"), required
        )
    if isinstance(mine, str) and isinstance(head, str):
        for wider, other in ((mine, head), (head, mine)):
            if widens(other, wider):
                return wider
    raise OverlapError(f"the type of column `{place}` was changed on both sides")


def _properties(base: Mapping[str, str], mine: Mapping[str, str], head: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key in sorted(base.keys() | mine.keys() | head.keys()):
        value = _choose(base.get(key), mine.get(key), head.get(key), f"property `{key}`")
        if value is not None:
            found[key] = value
    return found
