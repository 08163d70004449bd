"""A few rows that are at hand read and compared without an engine, which costs more to start than they are worth.

Whatever is not plain here (files on the disk, predicates, changed types, nested columns where rows are compared) is
left to DuckDB: every function returns None where it does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.model.scan import FILE, POSITION, ScanFile, ScanPlan, output_fields
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE, Field, Schema
from gristmill.store.frames import whole_file
from gristmill.store.inline import with_identity
from gristmill.store.kept import WRITTEN_ROWS, asked_before, keep_written, kept, written
from gristmill.store.sqltext import stored

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 4096
"""Rows above which DuckDB is the faster one."""
AT_HAND = 32_768
"""Rows above which DuckDB is the faster one even where it would get them in a form that it must read first."""

_AS_WHOLE = {"date": "int32", "time": "int64"}
_IDENTITY = (ROW_ID, ROW_SEQUENCE, FILE, POSITION)


def rows_of(plan: ScanPlan, *, most: int = MOST) -> pa.Table | None:
    """Return the rows of a plan in its Arrow schema, where all of them are inlined, or in files whose content is at
    hand, and of the types it wants; None also where they are more than ``most``."""
    import pyarrow as pa

    if plan.where is not None or not output_fields(plan) or sum(file.rows for file in plan.files) > most:
        return None
    schema = plan.to_arrow_schema()
    by_schema: dict[Schema, list[tuple[ScanFile, pa.Table]]] = {}
    for file in plan.files:
        rows = _held(file) if _as_stored(plan, file.schema) else None
        if rows is None:
            return None
        by_schema.setdefault(file.schema, []).append((file, rows))
    parts = [_part(plan, file, rows, schema) for files in by_schema.values() for file, rows in files]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _held(file: ScanFile) -> pa.Table | None:
    import pyarrow as pa

    stream = file.inline
    if stream is None:
        found = written(file.path)
        if found is None and file.rows <= WRITTEN_ROWS and asked_before(file.path):
            found = whole_file(file)
            keep_written(Path(file.path), found)
        return found
    return kept.get(stream, lambda: pa.ipc.open_stream(stream).read_all())


def _as_stored(plan: ScanPlan, schema: Schema) -> bool:
    owns = [(field, schema.by_id(field.id)) for field in plan.fields]
    return all(own is None or own.type == field.type or not stored(own.type) for field, own in owns)


def _part(plan: ScanPlan, file: ScanFile, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    if plan.row_ids or plan.sequence or plan.positions or file.rowset is not None:
        rows = with_identity(rows, file)
    columns = []
    for field, target in zip(plan.fields, schema, strict=False):
        own = file.schema.by_id(field.id)
        held = own is not None and stored(own.type)
        column = rows.column(own.name) if own is not None and held else pa.nulls(rows.num_rows, target.type)
        columns.append(column if column.type == target.type else column.cast(target.type))
    columns += [rows.column(name) for name in _IDENTITY if name in schema.names[len(plan.fields) :]]
    return pa.Table.from_arrays(columns, schema=schema)


def few_values(rows: pa.Table, fields: Sequence[Field]) -> list[tuple[object, ...]]:
    """Return rows of flat columns in a form in which equal values are equal and nothing is rounded."""
    columns = []
    for field in fields:
        column = rows.column(field.name)
        kind = str(field.type)
        whole = "int64" if kind.startswith("timestamp") else _AS_WHOLE.get(kind)
        values = (column.cast(whole) if whole else column).to_pylist()
        if kind in ("float", "double"):
            values = ["nan" if v is not None and v != v else None if v is None else v + 0.0 for v in values]
        columns.append(values)
    return list(zip(*columns, strict=True))
