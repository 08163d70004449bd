"""By what rows may be parted: keys of joins, what can be hashed, and which columns still show where rows lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.moving import conjuncts, moved_value
from gristmill.algebra.nodes import Formula

_SAME = ("canonical_float", "delta_same", "declared_type")
_UNSTORED = (dt.Interval, dt.Null, dt.Unknown, dt.GeoSpatial)
_UNHASHED = (dt.Map, *_UNSTORED)


@dataclass(frozen=True, slots=True)
class Pair:
    """Values over the left and the right side that must be equal for rows to match."""

    left: ops.Value
    right: ops.Value


def plain_name(value: ops.Value) -> str | None:
    """Return the column that a value is, whatever keeps equal values equal put aside; None where it is none."""
    field = _field(value)
    return None if field is None else str(field.name)


def _field(value: ops.Value) -> ops.Field | None:
    while isinstance(value, Formula) and value.rule in _SAME:
        inner = value.args_[0]
        if value.rule == "declared_type" and inner.dtype.copy(nullable=True) != value.dtype.copy(nullable=True):
            return None
        value = inner
    return value if isinstance(value, ops.Field) else None


def through(values: Mapping[str, ops.Value], relation: ops.Relation, names: frozenset[str]) -> frozenset[str]:
    """Return which columns of a projection are some columns of a relation below it."""
    found = {name: _field(value) for name, value in values.items()}
    return frozenset(
        name for name, field in found.items() if field is not None and field.rel == relation and field.name in names
    )


def by_columns(keys: Sequence[ops.Value]) -> tuple[frozenset[str], ...]:
    """Return where rows lie that were parted by these keys; nothing where a key is not a column."""
    names = [plain_name(key) for key in keys]
    return () if None in names else tuple(frozenset({name}) for name in names if name is not None)


def hashed(keys: Sequence[ops.Value]) -> ops.Value:
    """Return one number for the values of all keys: equal where they are, nulls equal to nulls.

    It is the engine's own hash, which differs between versions of the engine: all pieces of work of one definition
    must run on the same one.
    """
    made: ops.Value = Formula(rule="parted_hash", args_=(keys[0],), type_=dt.uint64)
    for key in keys[1:]:
        made = Formula(rule="parted_hash_both", args_=(made, key), type_=dt.uint64)
    return made


def is_hashable(keys: Sequence[ops.Value]) -> bool:
    """Whether equal values of all keys have equal hashes."""
    return not any(isinstance(part, _UNHASHED) for key in keys for part in _types(key.dtype))


def can_exchange(relation: ops.Relation) -> bool:
    """Whether rows can be written to a file and read back as they were."""
    types = [part for dtype in relation.schema.types for part in _types(dtype)]
    return bool(types) and not any(isinstance(part, _UNSTORED) or _is_open(part) for part in types)


def _is_open(dtype: dt.DataType) -> bool:
    if isinstance(dtype, dt.Struct):
        return not dtype.fields
    return isinstance(dtype, dt.Decimal) and (dtype.precision is None or dtype.scale is None)


def _types(dtype: dt.DataType) -> Iterator[dt.DataType]:
    yield dtype
    if isinstance(dtype, dt.Array):
        yield from _types(dtype.value_type)
    elif isinstance(dtype, dt.Struct):
        for part in dtype.types:
            yield from _types(part)
    elif isinstance(dtype, dt.Map):
        yield from _types(dtype.key_type)
        yield from _types(dtype.value_type)


def has_subquery(node: ops.Relation) -> bool:
    """Whether a value of the node itself looks into another relation."""
    return any(value.find((ops.Subquery, ops.ExistsSubquery), filter=ops.Value) for value in _values(node))


def _values(node: ops.Relation) -> Iterator[ops.Value]:
    for argument in node.args:
        found = argument.values() if isinstance(argument, Mapping) else argument
        for value in found if not isinstance(found, ops.Node) and hasattr(found, "__iter__") else (found,):
            if isinstance(value, ops.Value):
                yield value
            elif isinstance(value, ops.JoinLink):
                yield from value.predicates


def equal_pairs(node: ops.JoinChain) -> list[Pair]:
    """Return what must be equal in a join of two, as far as rows can be parted by it."""
    left, link = node.first, node.rest[0]
    found = []
    for test in conjuncts(link.predicates):
        if not isinstance(test, ops.Equals | ops.IdenticalTo):
            continue
        for one, other in ((test.left, test.right), (test.right, test.left)):
            if _only(one, left) and _only(other, link.table):
                pair = _alike(moved_value(one, left, left.parent), moved_value(other, link.table, link.table.parent))
                found += [pair] if pair is not None and is_hashable([pair.left, pair.right]) else []
                break
    return found


def _only(value: ops.Value, relation: ops.Relation) -> bool:
    fields = value.find(ops.Field, filter=ops.Value)
    return bool(fields) and all(field.rel == relation for field in fields)


def _alike(left: ops.Value, right: ops.Value) -> Pair | None:
    """Return a pair as values of one type, so that equal ones have equal hashes; None where there is no such type."""
    one, other = (value.dtype.copy(nullable=True) for value in (left, right))
    if one == other:
        return Pair(left, right)
    if one.is_signed_integer() and other.is_signed_integer():
        return Pair(ops.Cast(left, dt.int64), ops.Cast(right, dt.int64))
    if (one.is_floating() or other.is_floating()) and all(
        kind.is_floating() or kind.is_signed_integer() for kind in (one, other)
    ):
        return Pair(ops.Cast(left, dt.float64), ops.Cast(right, dt.float64))
    return None
