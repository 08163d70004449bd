"""A few rows kept in the catalog instead of a file: when, in which form, and how they are read.

They are an Arrow IPC stream of the columns a file would have. They hang in a table's tail, never in its tree, so
that what is known of the tree's columns stays known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gristmill.model.scan import FILE, POSITION, ScanFile
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE, Field, Schema
from gristmill.store.objects import INLINE, ColumnStats, DataFile
from gristmill.store.sqltext import stored

if TYPE_CHECKING:
    import pyarrow as pa

COMMIT_BYTES = 4 << 10
HEAD_BYTES = 256 << 10
MERGED_BYTES = 64 << 10
ROWS = 255
"""What one write may inline, what one table may hold inlined, and what compaction may leave inlined, in bytes of
Arrow data; and how many rows one piece has at most."""


def fits(batches: Iterable[pa.RecordBatch], limit: int) -> bool:
    """Whether rows are few enough to be inlined."""
    held = list(batches)
    rows, size = sum(batch.num_rows for batch in held), sum(batch.nbytes for batch in held)
    return bool(rows <= ROWS and size <= limit)


def inlined_bytes(files: Iterable[DataFile]) -> int:
    """Return how many bytes of rows are inlined among these files."""
    return sum(file.size for file in files if file.kind == INLINE)


def pack(fields: Sequence[Field], batches: Sequence[pa.RecordBatch]) -> bytes:
    """Return rows as an Arrow IPC stream of the columns that a file would store."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow

    kept = tuple(field for field in fields if stored(field.type))
    whole = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    arrays = [whole.column(field.name) for field in kept]
    schema = fields_to_arrow(kept)
    if not kept:
        arrays, schema = [pa.nulls(whole.num_rows, pa.int64())], pa.schema({ROW_ID: pa.int64()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def required_stats(schema: Schema) -> dict[int, ColumnStats]:
    """Return what is known of rows that fit a schema without looking at them."""
    return {field.id: ColumnStats(nans=-1) for field in schema.fields if field.required}


def with_identity(rows: pa.Table, file: ScanFile) -> pa.Table:
    """Return the live rows of one inlined file with ``_row_id``, the sequence number, the file and the position."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = rows.num_rows
    ids = pa.array(np.arange(file.first_row_id, file.first_row_id + count, dtype=np.int64))
    sequences = pa.array(np.full(count, file.sequence, dtype=np.int64))
    if file.stored_ids:
        ids = pc.coalesce(rows.column(ROW_ID), ids)
        sequences = pc.coalesce(rows.column(ROW_SEQUENCE), sequences)
    names = [name for name in rows.column_names if name not in (ROW_ID, ROW_SEQUENCE)]
    own = pa.array(np.full(count, file.first_row_id, dtype=np.int64))
    columns = [*rows.select(names).columns, ids, sequences, own, pa.array(np.arange(count, dtype=np.int64))]
    kept = pa.Table.from_arrays(columns, names=[*names, ROW_ID, ROW_SEQUENCE, FILE, POSITION])
    return kept if file.rowset is None else kept.take(live_positions(file))


def with_identities(rows: pa.Table, files: Sequence[ScanFile]) -> pa.Table:
    """Return the rows of several files that store no ids and have no dead rows, as `with_identity` does of one."""
    import numpy as np
    import pyarrow as pa

    counts = np.array([file.rows for file in files])
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    own = np.repeat(np.array([file.first_row_id for file in files], dtype=np.int64), counts)
    sequences = np.repeat(np.array([file.sequence for file in files], dtype=np.int64), counts)
    positions = np.arange(len(own), dtype=np.int64) - starts
    names = [name for name in rows.column_names if name not in (ROW_ID, ROW_SEQUENCE)]
    identity = [pa.array(part) for part in (own + positions, sequences, own, positions)]
    columns = [*rows.select(names).columns, *identity]
    return pa.Table.from_arrays(columns, names=[*names, ROW_ID, ROW_SEQUENCE, FILE, POSITION])


def live_positions(file: ScanFile) -> pa.Array:
    """Return the positions that a scan reads of a file."""
    import pyarrow as pa
    from pyroaring import BitMap

    assert file.rowset is not None
    named = BitMap.deserialize(file.rowset.positions)
    chosen = named if file.rowset.keep else BitMap(range(file.rows)) - named
    return pa.array(list(chosen), pa.int64())
