"""Applying a weighted change set to a table: rows to be taken out and rows to be put in, by value.

With a key, a row is found by its key: one that goes and comes is an update in place. Without one, rows are found by
all their values, by 128 bits of each. What is put in waits in memory, or on the disk above `SPILL` bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from gristmill.errors import DataError
from gristmill.model.schema import Field, Schema
from gristmill.store.bitmaps import bitmap
from gristmill.store.datafiles import Written
from gristmill.store.edits import Place, refuse_known, refuse_repeats, value_range
from gristmill.store.held import FewKeys, one_array, write_rows
from gristmill.store.keyindex import Asked, Ints, find
from gristmill.store.laying import lay
from gristmill.store.staging import SqlSource, fitted, to_reader
from gristmill.store.tables import Edit, key_fields, live_files
from gristmill.store.writing import apply_to, place_of

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.objects import TableObject
    from gristmill.store.transaction import Transaction

WEIGHT = "_w"
SPILL = 64 << 20


def apply(tx: Transaction, name: str, changes: object, *, by: Sequence[str] = ()) -> tuple[int, int]:
    """See `gristmill.store.transaction.Transaction.apply`."""
    state = tx.state(name)
    place = place_of(tx, state)
    fields = place.schema.fields
    coming, leaving = _Spool(tx, fields), _Spool(tx, fields)
    try:
        for batch, weights in _weighted(place.schema, changes, name):
            coming.add(_repeated(batch, weights))
            leaving.add(_repeated(batch, -weights))
        _note(tx, name, coming, leaving)
        return _applied(tx, name, state, place, coming, leaving, by)
    finally:
        coming.close()
        leaving.close()


def _applied(
    tx: Transaction,
    name: str,
    state: TableObject,
    place: Place,
    coming: _Spool,
    leaving: _Spool,
    by: Sequence[str],
) -> tuple[int, int]:
    if not coming.rows and not leaving.rows:
        return 0, 0
    key = key_fields(tx.pending.get, state)
    if key:
        edit = _by_key(tx, name, state, key, (place, coming, leaving))
    else:
        fields = place.schema.select(list(by), hidden=False) if by else place.schema.visible
        dead = _by_value(tx, name, state, fields, leaving)
        edit = Edit(added=place.entries(_written(place, coming, None)), dead=dead)
    apply_to(tx, name, state, edit)
    return coming.rows, leaving.rows


def _by_key(
    tx: Transaction, name: str, state: TableObject, key: Sequence[Field], what: tuple[Place, _Spool, _Spool]
) -> Edit:
    place, coming, leaving = what
    gone = _keys(tx, state, key, leaving)
    refuse_repeats(gone, name)
    lacking = np.setdiff1d(np.arange(leaving.rows), gone.found.asked)
    if len(lacking):
        raise _not_there(name, gone.names, gone.shown(lacking[:3]), len(lacking))
    came = _keys(tx, state, key, coming)
    refuse_repeats(came, name)
    found = came.found
    mine = np.isin(_place(found.file, found.position), _place(gone.found.file, gone.found.position))
    came.found = dataclasses.replace(
        found,
        asked=found.asked[~mine],
        file=found.file[~mine],
        position=found.position[~mine],
        row_id=found.row_id[~mine],
    )
    refuse_known(came, name)
    ids: Ints | None = None
    if mine.any():
        ids = np.full(coming.rows, -1, np.int64)
        ids[found.asked[mine]] = found.row_id[mine]
    return Edit(added=place.entries(_written(place, coming, ids)), dead=gone.found.dead())


def _place(file: Ints, position: Ints) -> Ints:
    """Return one number for each row of each file; a file has fewer than 2^32 rows."""
    return (file.astype(np.int64) << 32) | position


def _keys(tx: Transaction, state: TableObject, key: Sequence[Field], rows: _Spool) -> FewKeys:
    columns = rows.columns(key)
    files = live_files(tx.pending.get, state, value_range(columns, key))
    asked = Asked(columns)
    return FewKeys(tuple(f.name for f in key), columns, asked, find(tx.pending.get, tx.store.path, files, key, asked))


def _by_value(
    tx: Transaction, name: str, state: TableObject, fields: Sequence[Field], rows: _Spool
) -> dict[int, BitMap]:
    """Return where as many rows lie as are to go; each row that goes takes the first that nobody else took."""
    if not rows.rows:
        return {}
    if not fields:
        raise _not_there(name, (), [()], rows.rows)
    columns = rows.columns(fields)
    asked = Asked(columns, whole=True)
    files = live_files(tx.pending.get, state, value_range(columns, fields))
    found = find(tx.pending.get, tx.store.path, files, fields, asked)
    group = asked.group_of(found.asked)
    once = _each_once(group, found.file, found.position)
    rank = np.arange(once.shape[1]) - np.searchsorted(once[0], once[0])
    taken = rank < asked.counts()[once[0]] if once.shape[1] else np.empty(0, bool)
    got = np.bincount(once[0][taken], minlength=len(asked.words))
    short = np.flatnonzero(got < asked.counts())
    if len(short):
        lacking = asked.first_of(short[:3])
        shown = [tuple(values) for values in zip(*(_values(c, lacking) for c in columns), strict=True)]
        raise _not_there(name, [f.name for f in fields], shown, int((asked.counts() - got).sum()))
    dead: dict[int, BitMap] = {}
    for file in np.unique(once[1][taken]):
        dead[int(file)] = bitmap(once[2][taken & (once[1] == file)])
    return dead


def _each_once(group: Ints, file: Ints, position: Ints) -> Ints:
    """Return the different triples in order, as three rows."""
    order = np.lexsort((position, file, group))
    rows = np.stack([group[order], file[order], position[order]])
    fresh = np.ones(rows.shape[1], bool)
    fresh[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    return rows[:, fresh]


def _values(column: pa.Array, rows: Ints) -> list[object]:
    import pyarrow as pa

    return list(column.take(pa.array(rows, pa.int64())).to_pylist())


def _not_there(name: str, names: Sequence[str], rows: Sequence[Sequence[object]], count: int) -> DataError:
    return DataError(
        f"{count} row{'s' if count > 1 else ''} to be taken out of `{name}` {'are' if count > 1 else 'is'} not there",
        code="GM-D215",
        where=name,
        hint="the changes were computed on another state of the table; compute them again",
        examples=[", ".join(f"{n}={v!r}" for n, v in zip(names, row, strict=True)) for row in rows],
    )


def _weighted(schema: Schema, changes: object, name: str) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
    """Yield the batches of a change set that fit the schema, with the weight of each row."""
    import pyarrow as pa

    if isinstance(changes, SqlSource):
        stream = changes.connection.sql(changes.sql).to_arrow_reader(65_536)
    else:
        stream = to_reader(changes)
    if WEIGHT not in stream.schema.names:
        raise DataError(f"the changes of `{name}` have no column `{WEIGHT}`", code="GM-D211", where=f"{name}.{WEIGHT}")
    rest = pa.schema([field for field in stream.schema if field.name != WEIGHT])
    for batch in stream:
        if not batch.num_rows:
            continue
        weights = batch.column(WEIGHT).cast(pa.int64())
        if weights.null_count:
            raise DataError(f"some changes of `{name}` have no weight", code="GM-D211", where=f"{name}.{WEIGHT}")
        plain = batch.select(rest.names)
        for fit in fitted(pa.RecordBatchReader.from_batches(rest, [plain]), schema, name):
            yield fit, weights.to_numpy()


def _repeated(batch: pa.RecordBatch, times: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Return each row as many times as is said, none where that is negative."""
    import pyarrow as pa

    times = np.maximum(times, 0)
    return batch.take(pa.array(np.repeat(np.arange(batch.num_rows), times)))


def _note(tx: Transaction, name: str, coming: _Spool, leaving: _Spool) -> None:
    from gristmill.store.digests import stream_digest

    if tx.idempotency_key is not None:
        for act, rows in (("put", coming), ("take", leaving)):
            tx.note(act, name, stream_digest(rows.fields, rows.batches(), rows.rows).encode())


def _written(place: Place, rows: _Spool, ids: Ints | None) -> list[Written]:
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.datafiles import IDENTITY

    if rows.held is not None:
        table = pa.Table.from_batches(rows.held, fields_to_arrow(rows.fields))
        return write_rows(place, table, ids)
    fields = (*rows.fields, *IDENTITY) if ids is not None else rows.fields
    arrow = fields_to_arrow(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        at = 0
        for batch in rows.batches():
            columns = list(batch.columns)
            if ids is not None:
                part = ids[at : at + batch.num_rows]
                columns += [pa.array(part, pa.int64(), mask=part < 0), pa.nulls(len(part), pa.int64())]
            at += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=arrow)

    return list(lay(place.out, place.schema, batches(), place.layout, ids=ids is not None))


class _Spool:
    """Batches that wait to be read more than once, on the disk where they are many."""

    def __init__(self, tx: Transaction, fields: tuple[Field, ...]) -> None:
        self._tx = tx
        self.fields = fields
        self.rows = 0
        self.held: list[pa.RecordBatch] | None = []
        self._size = 0
        self._path: Path | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep a batch."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self._size += batch.nbytes
        if self.held is not None:
            self.held.append(batch)
            if self._size <= SPILL:
                return
            waiting, self.held = self.held, None
        else:
            waiting = [batch]
        for part in waiting:
            self._file().write_batch(part)

    def _file(self) -> pa.ipc.RecordBatchFileWriter:
        import pyarrow as pa

        from gristmill.model.arrow import fields_to_arrow

        if self._writer is None:
            self._path = self._tx.store.output.temporary(".arrow")
            self._writer = pa.ipc.new_file(str(self._path), fields_to_arrow(self.fields))
        return self._writer

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield what was kept, in order."""
        import pyarrow as pa

        if self.held is not None:
            yield from self.held
            return
        if self._writer is not None:
            self._writer.close()
        with pa.memory_map(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)

    def columns(self, fields: Sequence[Field]) -> list[pa.Array]:
        """Return some columns, each as one array."""
        import pyarrow as pa

        from gristmill.model.arrow import fields_to_arrow

        schema = fields_to_arrow(tuple(fields))
        parts = [batch.select(schema.names) for batch in self.batches()]
        table = pa.Table.from_batches([part.cast(schema) for part in parts], schema)
        return [one_array(column) for column in table.columns]

    def close(self) -> None:
        """Remove what lies on the disk."""
        if self._writer is not None:
            self._writer.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
