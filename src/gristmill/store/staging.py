"""Rows written to the store before any commit names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import DataError, UsageError
from gristmill.model.predicates import Range
from gristmill.model.scan import ScanFile, ScanPlan
from gristmill.model.schema import Field, Schema
from gristmill.store import inline
from gristmill.store.datafiles import (
    Output,
    Written,
    discard,
    fit_query,
    write_inline,
)
from gristmill.store.laying import Layout, lay, lay_query
from gristmill.store.manifests import merge_stats
from gristmill.store.sqltext import quote
from gristmill.store.statistics import ranges

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SqlSource:
    """Rows of a DuckDB query, written by COPY on the query's own connection."""

    connection: duckdb.DuckDBPyConnection
    sql: str


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows that lie in the store's files, and that no commit names yet.

    Attributes:
        table: the table they were staged for.
        schema: the columns they have.
        written: their files.
        folder: the store's folder.
    """

    table: str
    schema: Schema
    written: tuple[Written, ...]
    folder: Path

    @property
    def row_count(self) -> int:
        """Rows in it."""
        return sum(file.rows for file in self.written)

    @property
    def ranges(self) -> dict[str, Range]:
        """What the files' statistics know of each column: bounds, and nulls."""
        parts = [file.stats for file in self.written]
        return ranges(self.schema.fields, merge_stats(parts), self.row_count) if parts else {}

    @property
    def scan(self) -> ScanPlan:
        """Reads just these rows, hidden columns too."""
        return self.plan(self.schema.fields)

    @property
    def scan_schema(self) -> pa.Schema:
        """The Arrow schema of what `scan` reads."""
        from gristmill.model.arrow import fields_to_arrow

        return fields_to_arrow(self.schema.fields)

    def plan(self, fields: tuple[Field, ...], *, positions: bool = False) -> ScanPlan:
        """Return a plan that reads some columns; files are numbered from 0."""
        files = tuple(
            ScanFile(
                "" if w.inline is not None else str(self.folder / w.path),
                w.rows,
                index,
                0,
                w.stored_ids,
                w.schema,
                inline=w.inline,
            )
            for index, w in enumerate(self.written)
        )
        return ScanPlan(fields=fields, files=files, rows=self.row_count, positions=positions)

    def discard(self) -> None:
        """Remove the files, which nothing refers to."""
        discard(self.folder, self.written)


def stage(
    out: Output, table: str, schema: Schema, rows: object, *, room: int = 0, layout: Layout | None = None
) -> Staged:
    """Write rows as files that fit the schema; a few rows stay in memory, to be inlined.

    Args:
        out: where files go.
        table: the table's name, for errors.
        schema: the table's columns.
        rows: an Arrow table, batch or stream, a pandas or Polars frame, anything with ``__arrow_c_stream__``,
            or a `SqlSource`.
        room: how many bytes the table may still inline.
        layout: how to lay the rows out.

    Raises:
        DataError: unknown, missing or ill-typed columns, nulls where a value is required.
        UsageError: not rows at all.
    """
    if isinstance(rows, SqlSource):
        sql = fit_query(rows.connection, rows.sql, schema.fields, table)
        written = tuple(lay_query(out, schema, rows.connection, sql, layout or Layout()))
        staged = Staged(table, schema, written, out.folder)
        check_required(staged, schema.fields)
        return staged
    few, rest = _peeked(fitted(to_reader(rows), schema, table), min(room, inline.COMMIT_BYTES))
    if rest is None:
        return Staged(table, schema, (write_inline(schema, few),) if few else (), out.folder)
    return Staged(table, schema, tuple(lay(out, schema, chain(few, rest), layout or Layout())), out.folder)


def _peeked(
    batches: Iterator[pa.RecordBatch], limit: int
) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch] | None]:
    """Return the first batches, and what follows; None if they are all and few enough to be inlined."""
    few: list[pa.RecordBatch] = []
    for batch in batches:
        few.append(batch)
        if not inline.fits(few, limit):
            return few, batches
    return few, None


def fitted(stream: pa.RecordBatchReader, schema: Schema, table: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a stream with exactly the columns of the schema."""
    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.conform import check_columns, fit_batch

    if not stream.schema.names and not any(batch.num_rows for batch in stream):
        return  # no rows at all need no columns
    check_columns(stream.schema.names, schema.fields, table)
    arrow = fields_to_arrow(schema.fields)
    for batch in stream:
        if batch.num_rows:
            yield fit_batch(batch, schema.fields, arrow, table)


def to_reader(rows: object) -> pa.RecordBatchReader:
    """Return any Arrow-like rows as a stream."""
    import pyarrow as pa

    if isinstance(rows, pa.RecordBatchReader):
        return rows
    if isinstance(rows, pa.Table):
        return rows.to_reader()
    if isinstance(rows, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(rows.schema, [rows])
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(rows)
    if isinstance(rows, Iterator):
        parts = (part for rows_ in rows for part in to_reader(rows_))
        first = next(parts, None)
        if first is None:
            return pa.table({}).to_reader()
        return pa.RecordBatchReader.from_batches(first.schema, chain([first], (_like(first, part) for part in parts)))
    raise UsageError(
        f"{type(rows).__name__} is not rows",
        code="GM-U113",
        hint="give an Arrow table or stream, an iterator of Arrow batches, or a pandas, Polars or DuckDB frame",
    )


def _like(first: pa.RecordBatch, part: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    try:
        return part.select(first.schema.names).cast(first.schema)
    except (KeyError, pa.ArrowException) as error:
        raise DataError(f"parts of the rows have different columns: {error}", code="GM-D210") from error


def check_required(staged: Staged, fields: tuple[Field, ...]) -> None:
    """Refuse nulls in the required columns among these; looks at the rows only where a footer is not enough."""
    from gristmill.store import compute

    needed = [field for field in fields if field.required]
    suspects = [f for f in needed if not all(_no_nulls(file, f) for file in staged.written)]
    if not suspects:
        return
    con = compute.connection()
    sql = compute.bind(con, compute.scan_sql(staged.scan))
    for field in suspects:
        bad = con.sql(f"SELECT * FROM ({sql}) WHERE {quote(field.name)} IS NULL LIMIT 3").to_arrow_table()
        if bad.num_rows:
            staged.discard()
            raise DataError(
                f"column `{field.name}` of `{staged.table}` requires a value and some rows have none",
                code="GM-D211",
                where=f"{staged.table}.{field.name}",
                examples=[str(row) for row in bad.to_pylist()],
            )


def _no_nulls(file: Written, field: Field) -> bool:
    stats = file.stats.get(field.id)
    return stats is not None and stats.nulls == 0
