"""How a table's files are divided: by values of columns, or by what a transform makes of them.

The transforms are Iceberg's (table spec, appendix B), so that a file lies where any Iceberg writer would put it. A
spec is named by a number that is shared by all branches; every file keeps the spec it was written under.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from gristmill.errors import UsageError
from gristmill.model.predicates import Range, Value
from gristmill.model.schema import DECIMAL, FIXED, Schema, Type, type_text

UNPARTITIONED = 0
"""The number of the spec without fields, which every table begins with."""

Part = bool | int | str | None
"""A partition's value as stored: whole numbers for numbers, dates (days) and times (their own unit); text for text,
for decimals (their unscaled value) and, as Latin-1, for bytes."""

_CALL = re.compile(r"(\w+)\s*\(\s*(?:(\d+)\s*,\s*)?(.+?)\s*\)", re.DOTALL)
_TIMES = ("timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns")
_WHOLE = ("int", "long")
_PLAIN = (*_WHOLE, "date", "time", *_TIMES, "string", "uuid", "binary")
_SUITS: dict[str, tuple[str, ...]] = {
    "identity": ("boolean", *_PLAIN),
    "bucket": _PLAIN,
    "truncate": (*_WHOLE, "string", "binary"),
    "year": ("date", *_TIMES),
    "month": ("date", *_TIMES),
    "day": ("date", *_TIMES),
    "hour": _TIMES,
}
_LAST = 2**31 - 1


class PartitionField(msgspec.Struct, frozen=True):
    """One value by which files are divided.

    Args:
        id: names it for ever, from 1000.
        source: the column's field id.
        transform: ``identity``, ``bucket[n]``, ``truncate[w]``, ``year``, ``month``, ``day`` or ``hour``.
    """

    id: int
    source: int
    transform: str

    @property
    def kind(self) -> str:
        """The transform without its number."""
        return self.transform.partition("[")[0]

    @property
    def number(self) -> int:
        """The number of buckets or the width; 0 where the transform has none."""
        return int(self.transform.partition("[")[2].rstrip("]") or 0)


class PartitionSpec(msgspec.Struct, frozen=True):
    """The values by which files are divided, in order."""

    id: int
    fields: tuple[PartitionField, ...]


def parse_terms(terms: Sequence[str], schema: Schema) -> list[tuple[int, str]]:
    """Return (field id, transform) for terms such as ``country``, ``day(at)``, ``bucket(16, id)``, ``truncate(4, x)``.

    Raises:
        UsageError: no such column, no such transform, or one that does not suit the column's type.

    >>> from gristmill.model.schema import Field
    >>> parse_terms(["day(at)", "bucket(8, id)"], Schema((Field(1, "id", "long"), Field(2, "at", "timestamp"))))
    [(2, 'day'), (1, 'bucket[8]')]
    """
    found = [_parse(term, schema) for term in terms]
    if len(set(found)) < len(found):
        raise UsageError("a table is partitioned twice by the same", code="GM-U123", examples=list(terms))
    return found


def _parse(term: str, schema: Schema) -> tuple[int, str]:
    call = _CALL.fullmatch(term.strip())
    if call is None or any(field.name == term for field in schema.fields):
        field, kind, number = schema.field(term), "identity", None
    else:
        kind, number, field = call[1].lower(), call[2], schema.field(call[3])
    if kind not in _SUITS:
        raise UsageError(
            f"there is no transform `{kind}`", code="GM-U123", where=term, hint=f"there are {', '.join(_SUITS)}"
        )
    if (kind in ("bucket", "truncate")) != (number is not None) or not 1 <= int(number or 1) <= _LAST:
        raise UsageError(
            f"`{term}` is not how to write this",
            code="GM-U123",
            where=term,
            hint="write bucket(16, column), truncate(4, column), day(column), or just the column",
        )
    if not _suits(kind, field.type):
        raise UsageError(
            f"`{field.name}` is {type_text(field.type)}, by which a table cannot be partitioned with {kind}",
            code="GM-U123",
            where=term,
            hint=f"{kind} takes {', '.join(_SUITS[kind])}" + (", decimal" if kind != "hour" else ""),
        )
    return field.id, kind if number is None else f"{kind}[{int(number)}]"


def _suits(kind: str, type_: Type) -> bool:
    if not isinstance(type_, str):
        return False
    if DECIMAL.fullmatch(type_):
        return kind in ("identity", "bucket", "truncate")
    if FIXED.fullmatch(type_):
        return kind in ("identity", "bucket")
    return type_ in _SUITS[kind]


def term_text(field: PartitionField, schema: Schema) -> str:
    """Return a partition field as a user writes it, with the column's name of now.

    >>> from gristmill.model.schema import Field
    >>> term_text(PartitionField(1000, 1, "bucket[8]"), Schema((Field(1, "id", "long"),)))
    'bucket(8, id)'
    """
    column = schema.by_id(field.source)
    name = f"#{field.source}" if column is None else column.name
    if field.kind == "identity":
        return name
    return f"{field.kind}({field.number}, {name})" if field.number else f"{field.kind}({name})"


def part_range(field: PartitionField, value: Part, type_: Type, rows: int) -> Range:
    """Return what a partition's value says of its column in files of that partition.

    Args:
        field: how the value was made.
        value: the partition's value.
        type_: the column's type when the file was written.
        rows: rows in the file.

    >>> part_range(PartitionField(1000, 1, "year"), 56, "date", 9)
    Range(lower=datetime.date(2026, 1, 1), upper=datetime.date(2027, 1, 1), nulls=0, rows=9)
    """
    if value is None:
        return Range(None, None, rows, rows)
    lower, upper = _bounds(field, value, str(type_))
    return Range(lower, upper, 0, rows)


def _bounds(field: PartitionField, value: bool | int | str, type_: str) -> tuple[Value | None, Value | None]:
    kind = field.kind
    if kind in ("year", "month", "day", "hour"):
        return _period(kind, int(value), type_)
    if kind == "identity":
        same = _plain_value(value, type_)
        return same, same
    if kind == "truncate" and isinstance(value, int) and value + field.number <= 2**63:
        return value, value + field.number - 1
    if kind == "truncate" and type_ == "string" and isinstance(value, str):
        return value, value if len(value) < field.number else _after(value)
    return None, None


def _after(value: str) -> str | None:
    """Return a text that is not below any that begins with this one."""
    for index in range(len(value) - 1, -1, -1):
        code = ord(value[index]) + 1
        code = 0xE000 if code == 0xD800 else code
        if code <= 0x10FFFF:
            return value[:index] + chr(code)
    return None


def _plain_value(value: bool | int | str, type_: str) -> Value | None:
    if type_ in ("boolean", "int", "long", "string"):
        return value
    if type_ == "date":
        return _moment(int(value) * 86_400_000_000, date_only=True)
    if type_ in ("timestamp", "timestamptz"):
        return _moment(int(value), zone=type_.startswith("timestamptz"))
    return None


def _moment(us: int, *, zone: bool = False, date_only: bool = False) -> Value | None:
    try:
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    except OverflowError:
        return None
    return found.date() if date_only else found if zone else found.replace(tzinfo=None)


def _period(kind: str, value: int, type_: str) -> tuple[Value | None, Value | None]:
    found = []
    for number in (value, value + 1):
        if kind == "year":
            us = _month_us(number * 12)
        elif kind == "month":
            us = _month_us(number)
        else:
            us = number * (86_400_000_000 if kind == "day" else 3_600_000_000)
        found.append(
            None if us is None else _moment(us, zone=type_.startswith("timestamptz"), date_only=type_ == "date")
        )
    return found[0], found[1]


def _month_us(months: int) -> int | None:
    year, month = 1970 + months // 12, months % 12 + 1
    if not 1 <= year <= 9999:
        return None
    return (date(year, month, 1) - date(1970, 1, 1)).days * 86_400_000_000
