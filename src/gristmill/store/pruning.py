"""Which files may hold rows that satisfy a predicate: by their statistics and by their partitions.

Every file is judged by the spec it was written under, whatever the table's spec is now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from gristmill.model.partitions import PartitionField, part_range
from gristmill.model.predicates import Always, And, Compare, In, Or, Predicate, Range, Value, may_match, positive
from gristmill.model.schema import DECIMAL, Schema, Type
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, SchemaObject, TableObject
from gristmill.store.statistics import ranges

Test = Callable[[DataFile], bool]


def partition_test(get: Get, state: TableObject, schema: Schema, where: Predicate) -> Test:
    """Return what says of a file whether its partition may hold rows that satisfy the predicate."""
    specs = {spec.id: spec for spec in state.specs}
    plain = positive(where)
    buckets: dict[tuple[int, Value], int | None] = {}

    def may(file: DataFile) -> bool:
        spec = specs.get(file.spec)
        if spec is None:
            return True
        written = get(file.schema)
        assert isinstance(written, SchemaObject)
        known = ranges(schema.fields, file.stats, file.rows)
        numbers: dict[str, tuple[PartitionField, int, Type]] = {}
        for field, value in zip(spec.fields, file.partition, strict=True):
            now, own = schema.by_id(field.source), written.schema.by_id(field.source)
            if now is None or own is None or isinstance(value, float):
                continue
            known[now.name] = _narrowed(known.get(now.name), part_range(field, value, own.type, file.rows))
            if field.kind == "bucket" and isinstance(value, int) and _hashed_alike(own.type, now.type):
                numbers[now.name] = (field, value, now.type)
        return may_match(_in_buckets(plain, numbers, buckets) if numbers else plain, known)

    return may


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


def _in_buckets(
    where: Predicate,
    numbers: Mapping[str, tuple[PartitionField, int, Type]],
    buckets: dict[tuple[int, Value], int | None],
) -> Predicate:
    """Return the predicate with the values left out that cannot be in these buckets; it has no `Not`."""
    if isinstance(where, And):
        return And(tuple(_in_buckets(part, numbers, buckets) for part in where.parts))
    if isinstance(where, Or):
        return Or(tuple(_in_buckets(part, numbers, buckets) for part in where.parts))
    if not isinstance(where, Compare | In) or where.column not in numbers:
        return where
    field, number, type_ = numbers[where.column]

    def elsewhere(value: Value) -> bool:
        key = (field.id, value)
        if key not in buckets:
            buckets[key] = _bucket(value, type_, field.number)
        return buckets[key] not in (None, number)

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
