"""Which files may hold rows that satisfy a predicate: by their statistics and by their partitions.

Every file is judged by the spec it was written under, whatever the table's spec is now. A node above files is judged
by the buckets that are under it; of other partitions its statistics say as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from gristmill.model.partitions import PartitionField, part_range
from gristmill.model.predicates import Always, And, Compare, In, Or, Predicate, Range, Value, may_match, positive
from gristmill.model.schema import DECIMAL, Schema, Type
from gristmill.store.maps import Get
from gristmill.store.objects import Child, DataFile, Oid, Parts, SchemaObject, TableObject
from gristmill.store.statistics import ranges

Test = Callable[[DataFile | Child], bool]

Buckets = Mapping[str, tuple[PartitionField, range, Type]]
"""By column, the field that divides by it, which of its buckets there are, and the type."""


def partition_test(get: Get, state: TableObject, schema: Schema, where: Predicate) -> Test:
    """Return what says of a file or a node whether its partitions may hold rows that satisfy the predicate."""
    specs = {spec.id: spec for spec in state.specs}
    plain = positive(where)
    buckets: dict[tuple[int, Value], int | None] = {}

    def may(part: DataFile | Child) -> bool:
        if isinstance(part, DataFile):
            return part.spec not in specs or may_file(part)
        known = ranges(schema.fields, part.stats, part.rows)
        return not part.parts or any(may_parts(parts, known) for parts in part.parts)

    def may_parts(parts: Parts, known: dict[str, Range]) -> bool:
        spec = specs.get(parts.spec)
        if spec is None:
            return True
        numbers: dict[str, tuple[PartitionField, range, Type]] = {}
        for field, lower, upper in zip(spec.fields, parts.lower, parts.upper, strict=True):
            now, own = _types(get, schema, parts.schema, field)
            if now is None or own is None or field.kind != "bucket" or not _hashed_alike(own, now):
                continue
            there = range(lower, upper + 1) if lower is not None and upper is not None else range(0)
            numbers[_name(schema, field)] = (field, there, now)
        return may_match(_in_buckets(plain, numbers, buckets), known)

    def may_file(file: DataFile) -> bool:
        known = ranges(schema.fields, file.stats, file.rows)
        numbers: dict[str, tuple[PartitionField, range, Type]] = {}
        for field, value in zip(specs[file.spec].fields, file.partition, strict=True):
            now, own = _types(get, schema, file.schema, field)
            if now is None or own is None or isinstance(value, float):
                continue
            name = _name(schema, field)
            known[name] = _narrowed(known.get(name), part_range(field, value, own, file.rows))
            if field.kind == "bucket" and isinstance(value, int) and _hashed_alike(own, now):
                numbers[name] = (field, range(value, value + 1), now)
        return may_match(_in_buckets(plain, numbers, buckets) if numbers else plain, known)

    return may


def _types(get: Get, schema: Schema, written: Oid, field: PartitionField) -> tuple[Type | None, Type | None]:
    """Return the type that a field divides by now, and the one that it had in a file; None where there is none."""
    value = get(written)
    assert isinstance(value, SchemaObject)
    now, own = schema.by_id(field.source), value.schema.by_id(field.source)
    return None if now is None else now.type, None if own is None else own.type


def _name(schema: Schema, field: PartitionField) -> str:
    source = schema.by_id(field.source)
    assert source is not None
    return source.name


def _narrowed(known: Range | None, part: Range) -> Range:
    if known is None or part.all_null:
        return part
    exact = part.lower is not None and part.lower == part.upper
    lower = part.lower if exact or known.lower is None else known.lower
    upper = part.upper if exact or known.upper is None else known.upper
    return Range(lower, upper, part.nulls, part.rows)


def _hashed_alike(own: Type, now: Type) -> bool:
    """Whether the same value has the same bucket as a value of both types."""
    whole = {"int", "long"}
    same = own == now or (own in whole and now in whole)
    return same or all(isinstance(t, str) and DECIMAL.fullmatch(t) is not None for t in (own, now))


def _in_buckets(where: Predicate, numbers: Buckets, buckets: dict[tuple[int, Value], int | None]) -> Predicate:
    """Return the predicate with the values left out that cannot be in these buckets; it has no `Not`."""
    if isinstance(where, And):
        return And(tuple(_in_buckets(part, numbers, buckets) for part in where.parts))
    if isinstance(where, Or):
        return Or(tuple(_in_buckets(part, numbers, buckets) for part in where.parts))
    if not isinstance(where, Compare | In) or where.column not in numbers:
        return where
    field, there, type_ = numbers[where.column]

    def elsewhere(value: Value) -> bool:
        key = (field.id, value)
        if key not in buckets:
            buckets[key] = _bucket(value, type_, field.number)
        number = buckets[key]
        return number is not None and number not in there

    if isinstance(where, Compare):
        return Always(False) if where.op == "=" and elsewhere(where.value) else where
    if where.negated:
        return where
    kept = tuple(value for value in where.values if not elsewhere(value))
    return In(where.column, kept) if kept else Always(False)


def _bucket(value: Value, type_: Type, count: int) -> int | None:
    """Return a value's bucket, or None where it is not a value of exactly the column's type."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.model.schema import Field
    from gristmill.store.transforms import bucket_numbers

    match = DECIMAL.fullmatch(str(type_))
    if isinstance(value, datetime):
        suits = type_ == ("timestamptz" if value.tzinfo else "timestamp")
    elif match is not None:
        suits = isinstance(value, Decimal) or type(value) is int
    else:
        suits = {int: ("int", "long"), str: ("string",), bytes: ("binary",)}.get(type(value), ()).__contains__(type_)
    if not suits:
        return None
    try:
        column = pa.array([value], fields_to_arrow((Field(1, "v", type_),))[0].type)
    except (pa.ArrowInvalid, OverflowError):
        return None
    return int(bucket_numbers(column, count)[0])
