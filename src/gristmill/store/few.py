"""A few inlined rows read and compared without an engine, which costs more to start than they are worth.

Whatever is not plain here (files, predicates, changed types, nested columns where rows are compared) is left to
DuckDB: every function returns None where it does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gristmill.model.scan import FILE, POSITION, ScanFile, ScanPlan, output_fields
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE, Field, Schema
from gristmill.store.inline import with_identity
from gristmill.store.sqltext import stored

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 4096
"""Rows above which DuckDB is the faster one."""

_AS_WHOLE = {"date": "int32", "time": "int64"}
_IDENTITY = (ROW_ID, ROW_SEQUENCE, FILE, POSITION)


def rows_of(plan: ScanPlan) -> pa.Table | None:
    """Return the rows of a plan in its Arrow schema, where all of them are inlined and of the types it wants."""
    import pyarrow as pa

    if plan.where is not None or not output_fields(plan) or sum(file.rows for file in plan.files) > MOST:
        return None
    schema = plan.to_arrow_schema()
    by_schema: dict[Schema, list[ScanFile]] = {}
    for file in plan.files:
        if file.inline is None or not _as_stored(plan, file.schema):
            return None
        by_schema.setdefault(file.schema, []).append(file)
    parts = [_part(plan, file, schema) for files in by_schema.values() for file in files]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _as_stored(plan: ScanPlan, schema: Schema) -> bool:
    owns = [(field, schema.by_id(field.id)) for field in plan.fields]
    return all(own is None or own.type == field.type or not stored(own.type) for field, own in owns)


def _part(plan: ScanPlan, file: ScanFile, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    assert file.inline is not None
    rows = pa.ipc.open_stream(file.inline).read_all()
    if plan.row_ids or plan.sequence or plan.positions or file.rowset is not None:
        rows = with_identity(rows, file)
    columns = []
    for field, target in zip(plan.fields, schema, strict=False):
        own = file.schema.by_id(field.id)
        held = own is not None and stored(own.type)
        columns.append(rows.column(own.name) if own is not None and held else pa.nulls(rows.num_rows, target.type))
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
