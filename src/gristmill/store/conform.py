"""Incoming Arrow rows made to fit a table's columns: by name, nulls for what is missing, never a silent change."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.errors import DataError, did_you_mean
from gristmill.model.schema import Field


def check_columns(names: Sequence[str], fields: Sequence[Field], table: str) -> None:
    """Refuse columns the table does not have, columns given twice, and required columns that are missing."""
    known = [field.name for field in fields]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(
            f"the rows have a column `{unknown[0]}` that `{table}` does not have",
            code="GM-D210",
            where=table,
            hint=did_you_mean(unknown[0], known) or f"add it first, or drop it from the rows: {', '.join(unknown)}",
        )
    if len(set(names)) < len(names):
        raise DataError("the rows have two columns of one name", code="GM-D210", where=table)
    missing = [f.name for f in fields if f.required and f.name not in names]
    if missing:
        raise DataError(
            f"the rows lack the column `{missing[0]}`, which `{table}` requires", code="GM-D211", where=table
        )


def fit_batch(batch: pa.RecordBatch, fields: Sequence[Field], schema: pa.Schema, table: str) -> pa.RecordBatch:
    """Return the batch with exactly these fields; ``schema`` is their Arrow form.

    Raises:
        DataError: a value does not fit its column, or a required one is null; names rows as examples.
    """
    columns = []
    for field, target in zip(fields, schema, strict=True):
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, target.type))
            continue
        column = cast_column(batch.column(index), target.type, field.name, table)
        if field.required and column.null_count:
            raise _null_error(batch, column, field.name, table)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast_column(column: pa.Array, target: pa.DataType, name: str, table: str) -> pa.Array:
    """Return the column as the target type, exactly, or raise DataError with the values that do not fit."""
    if column.type == target:
        return column
    try:
        return _cast(column, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(
            f"column `{name}` holds {column.type} that does not fit {target}: {error}",
            code="GM-D212",
            where=f"{table}.{name}",
            hint="cast it before writing, or widen the column",
            examples=_misfits(column, target),
        ) from error


def _cast(column: pa.Array, target: pa.DataType) -> pa.Array:
    if isinstance(column.type, pa.BaseExtensionType) and not isinstance(target, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        # Arrow's own cast leaves offsets that it then calls too short.
        return pa.array(column.to_pylist(), target)
    if isinstance(target, pa.UuidType):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            plain = pc.replace_substring(column, "-", "")
            raw = [None if value is None else bytes.fromhex(value) for value in plain.to_pylist()]
            column = pa.array(raw, pa.binary(16))
        return pa.ExtensionArray.from_storage(target, column.cast(pa.binary(16)))
    if pa.types.is_null(target) and column.null_count < len(column):
        raise pa.ArrowInvalid("the column can only hold nulls until it is widened")
    if pa.types.is_fixed_size_binary(target) and pa.types.is_binary(column.type):
        return pa.array(column.to_pylist(), target)
    return column.cast(target, safe=True)


def _misfits(column: pa.Array, target: pa.DataType) -> list[str]:
    found = []
    for index in range(min(len(column), 10_000)):
        value = column.slice(index, 1)
        try:
            _cast(value, target)
        except pa.ArrowException:
            found.append(f"row {index + 1}: {_shown(value)}")
        if len(found) == 3:
            break
    return found


def _shown(value: pa.Array) -> str:
    try:
        return repr(value[0].as_py())
    except (OverflowError, ValueError):  # a moment that Python has no date for
        return str(value.cast(pa.int64())[0].as_py())


def _null_error(batch: pa.RecordBatch, column: pa.Array, name: str, table: str) -> DataError:
    rows = pc.indices_nonzero(column.is_null())[:3]
    return DataError(
        f"column `{name}` of `{table}` requires a value and {column.null_count} rows have none",
        code="GM-D211",
        where=f"{table}.{name}",
        examples=[str(row) for row in batch.take(rows).to_pylist()],
    )


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch that DuckDB produced in exactly this schema; columns are matched by position."""
    if batch.schema.equals(schema):
        return batch
    columns = [
        cast_column(column, field.type, field.name, "scan")
        for column, field in zip(batch.columns[: len(schema)], schema, strict=True)
    ]
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * batch.num_rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
