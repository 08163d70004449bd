"""Arrow's types and values as databases write them, and the values that they cannot hold."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gristmill.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_POSTGRES = {
    "bool": "boolean",
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "integer",
    "uint32": "bigint",
    "uint64": "numeric(20, 0)",
    "float": "real",
    "double": "double precision",
    "date32[day]": "date",
    "time64[us]": "time",
}
_DUCKDB = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date32[day]": "DATE",
    "time64[us]": "TIME",
}


def sql_type(field: pa.Field, dialect: str) -> str:
    """Return the type of a column for a field's values; nested values become JSON, in DuckDB they stay nested.

    >>> sql_type(pa.field("a", pa.decimal128(10, 2)), "postgresql"), sql_type(pa.field("a", pa.date32()), "sqlite")
    ('numeric(10, 2)', 'TEXT')
    """
    kind, t = field.type, pa.types
    if dialect == "sqlite":
        tests = ((t.is_boolean, "INTEGER"), (t.is_integer, "INTEGER"), (t.is_floating, "REAL"), (_is_binary, "BLOB"))
        return next((name for test, name in tests if test(kind)), "TEXT")
    plain = _POSTGRES if dialect == "postgresql" else _DUCKDB
    if str(kind) in plain:
        return plain[str(kind)]
    if t.is_decimal(kind):
        if dialect == "duckdb" and kind.precision > 38:
            raise UsageError(f"column `{field.name}` has more than 38 digits, which DuckDB cannot hold")
        return f"numeric({kind.precision}, {kind.scale})"
    if t.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    if _is_binary(kind):
        return "bytea" if dialect == "postgresql" else "BLOB"
    if kind.num_fields:
        return "jsonb" if dialect == "postgresql" else _nested(kind)
    return "text"


def _nested(kind: pa.DataType) -> str:
    t = pa.types
    if t.is_struct(kind):
        parts = (f'"{f.name.replace(chr(34), chr(34) * 2)}" {sql_type(f, "duckdb")}' for f in kind)
        return f"STRUCT({', '.join(parts)})"
    if t.is_map(kind):
        return f"MAP({sql_type(kind.key_field, 'duckdb')}, {sql_type(kind.item_field, 'duckdb')})"
    return f"{sql_type(kind.value_field, 'duckdb')}[]"


def _is_binary(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind))


def refuse(batch: pa.RecordBatch, start: int, test: Callable[[pa.Array], pa.Array | None], why: str) -> None:
    """Raise for the first value that a test finds, with its row (from 1) and column.

    Raises:
        DataError: there is one.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        mask = test(column)
        if mask is None:
            continue
        row = pc.index(pc.fill_null(mask, False), True).as_py()
        if row >= 0:
            raise DataError(
                f"row {start + row + 1} holds {column[row].as_py()!r} in column `{name}`, {why}",
                code="GM-D123",
                where=f"row {start + row + 1}, column {name}",
                hint="leave such rows out, or set the value to null",
            )


def not_finite(column: pa.Array) -> pa.Array | None:
    """Return the mask of NaN and infinities."""
    return pc.invert(pc.is_finite(column)) if pa.types.is_floating(column.type) else None


def _nan(column: pa.Array) -> pa.Array | None:
    return pc.is_nan(column) if pa.types.is_floating(column.type) else None


def _beyond(column: pa.Array) -> pa.Array | None:
    big = pa.scalar(2**63 - 1, pa.uint64())
    return pc.greater(column, big) if pa.types.is_uint64(column.type) else None


def _nul(column: pa.Array) -> pa.Array | None:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    return pc.match_substring(column, "\0")


def cells(batch: pa.RecordBatch, dialect: str, start: int) -> list[list[object]]:
    """Return a batch's columns as values that SQLite takes: moments and decimals as text, nested ones as JSON.

    Raises:
        DataError: SQLite would turn a value into another one.
    """
    refuse(batch, start, _nan, f"which {dialect} would turn into null")
    refuse(batch, start, _beyond, f"which {dialect} cannot hold")
    return [_column(name, column, start) for name, column in zip(batch.schema.names, batch.columns, strict=True)]


def _column(name: str, column: pa.Array, start: int) -> list[object]:
    kind, t = column.type, pa.types
    if t.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif kind.num_fields:
        return _json(name, column, start)
    elif t.is_temporal(kind) or t.is_decimal(kind):
        return [None if value is None else _text(value) for value in column.to_pylist()]
    values: list[object] = column.to_pylist()
    return values


def _text(value: object) -> str:
    isoformat = getattr(value, "isoformat", None)
    if callable(isoformat):
        return str(isoformat(sep=" ")) if hasattr(value, "hour") and hasattr(value, "year") else str(isoformat())
    return str(value)


def _json(name: str, column: pa.Array, start: int) -> list[object]:
    texts: list[object] = []
    for row, value in enumerate(column.to_pylist()):
        try:
            texts.append(
                None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text)
            )
        except ValueError:
            raise DataError(
                f"row {start + row + 1} holds NaN or infinity within column `{name}`, which JSON cannot hold",
                code="GM-D123",
                where=f"row {start + row + 1}, column {name}",
            ) from None
    return texts


def csv_bytes(batch: pa.RecordBatch, start: int) -> bytes:
    """Return rows as the CSV that PostgreSQL's COPY reads: text quoted, nulls not.

    Raises:
        DataError: PostgreSQL cannot hold a value.
    """
    refuse(batch, start, _nul, "whose NUL character PostgreSQL cannot hold")
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if _is_binary(kind):
            column = pa.array([None if v is None else "\\x" + v.hex() for v in column.to_pylist()], pa.string())
        elif kind.num_fields:
            column = pa.array(_json(name, column, start), pa.string())
        elif pa.types.is_decimal(kind) or pa.types.is_floating(kind) or pa.types.is_time(kind):
            column = pc.cast(column, pa.string())
        columns.append(column)
    out = io.BytesIO()
    table = pa.Table.from_arrays(columns, names=[str(i) for i in range(len(columns))])
    pacsv.write_csv(table, out, pacsv.WriteOptions(include_header=False))
    return out.getvalue()
