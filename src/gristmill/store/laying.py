"""How rows are laid out in files: divided by partition, sorted, compressed; in bounded memory.

Rows of several partitions are brought together first, in memory where they are few and otherwise by DuckDB, which
spills; then one file is written after the other, so that it does not matter how many partitions there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import UsageError
from gristmill.model.partitions import Part, PartitionSpec
from gristmill.model.schema import Field, Schema
from gristmill.store import inline
from gristmill.store.datafiles import IDENTITY, Output, Written, write_batches, write_inline, write_query
from gristmill.store.sqltext import quote, stored, type_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CODEC = "codec"
"""The property of a table that names the compression of its files."""
CODECS = ("zstd", "snappy", "gzip", "none")
HELD_BYTES = 64 << 20
"""What is divided or sorted in memory; more is sorted by DuckDB."""
_BATCH = 65_536


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table's files are laid out.

    Attributes:
        cluster: what they are sorted by.
        spec: what they are divided by.
        codec: how they are compressed.
    """

    cluster: tuple[Field, ...] = ()
    spec: PartitionSpec | None = None
    codec: str = CODECS[0]

    def within(self, schema: Schema) -> Layout:
        """Return what of it applies to rows that have only some of the columns."""
        cluster = tuple(field for field in self.cluster if schema.by_id(field.id) is not None)
        whole = self.spec is not None and all(schema.by_id(field.source) is not None for field in self.spec.fields)
        return Layout(cluster, self.spec if whole else None, self.codec)


PLAIN = Layout()


def check_codec(codec: str) -> str:
    """Return the codec; raises UsageError if there is none of that name."""
    if codec not in CODECS:
        raise UsageError(
            f"there is no codec `{codec}`", code="GM-U124", where=codec, hint=f"there are {', '.join(CODECS)}"
        )
    return codec


def lay(
    out: Output, schema: Schema, batches: Iterable[pa.RecordBatch], layout: Layout, *, ids: bool = False
) -> Iterator[Written]:
    """Write batches that fit the schema; with ``ids`` they end in the two identity columns."""
    if layout.spec is None and not layout.cluster:
        yield from write_batches(out, schema, batches, ids=ids, codec=layout.codec)
        return
    few, rest = _peeked(iter(batches))
    if layout.spec is not None:
        yield from _divided(out, schema, few, rest, layout, ids)
    elif rest is None:
        yield from write_batches(out, schema, _sorted(few, layout.cluster), ids=ids, codec=layout.codec)
    else:
        con, sql = _incoming(_fields(schema, ids), _drained(few, rest))
        yield from write_query(out, schema, con, sql, ids=ids, order=layout.cluster, codec=layout.codec)


def lay_query(
    out: Output, schema: Schema, con: duckdb.DuckDBPyConnection, sql: str, layout: Layout, *, ids: bool = False
) -> Iterator[Written]:
    """Write the rows of a query whose columns are the schema's; see `lay`."""
    if layout.spec is None:
        yield from write_query(out, schema, con, sql, ids=ids, order=layout.cluster, codec=layout.codec)
        return
    yield from lay(out, schema, _streamed(con, sql, _fields(schema, ids)), layout, ids=ids)


def lay_result(
    out: Output, schema: Schema, con: duckdb.DuckDBPyConnection, sql: str, layout: Layout, *, room: int
) -> list[Written]:
    """Write the rows of a query that yields the schema's columns and the identity columns.

    What is few enough for ``room`` bytes is returned to be inlined.
    """
    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.conform import cast_batch

    fields = _fields(schema, True)
    names = ", ".join(quote(field.name) for field in fields)
    con.execute(f"CREATE OR REPLACE TEMP VIEW gm_result AS SELECT {names} FROM ({sql})")
    if room > 0:
        found = con.sql(f"SELECT * FROM gm_result LIMIT {inline.ROWS + 1}").to_arrow_table()
        arrow = fields_to_arrow(fields)
        batches = [cast_batch(batch, arrow) for batch in found.to_batches() if batch.num_rows]
        if inline.fits(batches, room):
            return [write_inline(schema, batches, ids=True)] if batches else []
    return list(lay_query(out, schema, con, "SELECT * FROM gm_result", layout, ids=True))


def _fields(schema: Schema, ids: bool) -> tuple[Field, ...]:
    return (*schema.fields, *IDENTITY) if ids else schema.fields


def _peeked(batches: Iterator[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch] | None]:
    """Return the first batches, and what follows; None if they are all."""
    few: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        few.append(batch)
        size += batch.nbytes
        if size > HELD_BYTES:
            return few, batches
    return few, None


def _drained(few: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the first batches and those that follow, holding on to none."""
    few.reverse()
    while few:
        yield few.pop()
    yield from rest


def _sorted(batches: Sequence[pa.RecordBatch], order: Sequence[Field]) -> list[pa.RecordBatch]:
    import pyarrow as pa

    if not batches:
        return []
    rows = pa.Table.from_batches(batches).sort_by([(field.name, "ascending") for field in order])
    return rows.combine_chunks().to_batches()  # type: ignore[no-any-return]


def _incoming(fields: Sequence[Field], batches: Iterable[pa.RecordBatch]) -> tuple[duckdb.DuckDBPyConnection, str]:
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store import compute

    con = compute.connection()
    con.register("incoming", pa.RecordBatchReader.from_batches(fields_to_arrow(tuple(fields)), iter(batches)))
    columns = ", ".join(
        f"CAST({quote(f.name)} AS {type_sql(f.type)}) AS {quote(f.name)}" if stored(f.type) else quote(f.name)
        for f in fields
    )
    return con, f"SELECT {columns} FROM incoming"


def _streamed(con: duckdb.DuckDBPyConnection, sql: str, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.conform import cast_batch

    arrow = fields_to_arrow(tuple(fields))
    for batch in con.sql(sql).to_arrow_reader(_BATCH):
        if batch.num_rows:
            yield cast_batch(batch, arrow)


# -- partitions ---------------------------------------------------------------------------------------


def _divided(
    out: Output,
    schema: Schema,
    few: list[pa.RecordBatch],
    rest: Iterator[pa.RecordBatch] | None,
    layout: Layout,
    ids: bool,
) -> Iterator[Written]:
    spec = layout.spec
    assert spec is not None
    names = [f"_gm_part_{index}" for index in range(len(spec.fields))]
    if rest is None:
        together = _together([_with_parts(batch, schema, spec, names) for batch in few], names, layout.cluster)
    else:
        together = _by_engine(
            (_with_parts(batch, schema, spec, names) for batch in _drained(few, rest)),
            _fields(schema, ids),
            names,
            layout,
        )
    runs = (run for batch in together for run in _runs(batch, names))
    for partition, group in groupby(runs, key=lambda run: run[0]):
        rows = (batch for _, batch in group)
        for file in write_batches(out, schema, rows, ids=ids, codec=layout.codec):
            yield msgspec.structs.replace(file, spec=spec.id, partition=partition)


def _with_parts(batch: pa.RecordBatch, schema: Schema, spec: PartitionSpec, names: Sequence[str]) -> pa.RecordBatch:
    """Return the batch with the values of its rows' partitions as further columns."""
    from gristmill.store.transforms import transformed

    for field, name in zip(spec.fields, names, strict=True):
        source = schema.by_id(field.source)
        assert source is not None
        batch = batch.append_column(name, transformed(field, batch.column(source.name)))
    return batch


def _together(
    batches: Sequence[pa.RecordBatch], names: Sequence[str], cluster: Sequence[Field]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    if batches:
        order = [(name, "ascending") for name in (*names, *(field.name for field in cluster))]
        yield from pa.Table.from_batches(batches).sort_by(order).combine_chunks().to_batches()


def _by_engine(
    batches: Iterator[pa.RecordBatch], fields: tuple[Field, ...], names: Sequence[str], layout: Layout
) -> Iterator[pa.RecordBatch]:
    """Yield batches with partitions in order, sorted by an engine that spills what does not fit into memory."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store import compute
    from gristmill.store.conform import cast_batch

    first = next(batches)
    arrow = pa.schema([*fields_to_arrow(fields), *(first.schema.field(name) for name in names)])
    con = compute.connection()
    con.register("incoming", pa.RecordBatchReader.from_batches(arrow, chain([first], batches)))
    casts = [
        f"CAST({quote(f.name)} AS {type_sql(f.type)}) AS {quote(f.name)}" if stored(f.type) else quote(f.name)
        for f in fields
    ]
    order = ", ".join(f"{quote(name)} NULLS LAST" for name in (*names, *(f.name for f in layout.cluster)))
    sql = f"SELECT {', '.join([*casts, *names])} FROM incoming ORDER BY {order}"
    for batch in con.sql(sql).to_arrow_reader(_BATCH):
        if batch.num_rows:
            yield cast_batch(batch, arrow)
    con.close()


def _runs(batch: pa.RecordBatch, names: Sequence[str]) -> Iterator[tuple[tuple[Part, ...], pa.RecordBatch]]:
    """Yield the stretches of one partition each, without the columns that name it."""
    import numpy as np

    from gristmill.store.keyindex import differs
    from gristmill.store.transforms import part_of

    columns = [batch.column(name) for name in names]
    new = np.zeros(batch.num_rows, bool)
    new[0] = True
    for column in columns:
        new[1:] |= differs(column.slice(1), column.slice(0, len(column) - 1))
    starts = [*np.flatnonzero(new).tolist(), batch.num_rows]
    plain = batch.select([name for name in batch.schema.names if name not in names])
    for start, end in pairwise(starts):
        parts = tuple(part_of(column[start].as_py(), column.type) for column in columns)
        yield parts, plain.slice(start, end - start)
