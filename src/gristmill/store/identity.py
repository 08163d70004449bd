"""Who a row is, wherever it lies: its id and the sequence number of the edit that set it last.

Two states of a table are compared by looking only at the manifest nodes, files and positions that differ. A row
that compaction moved has the same identity on both sides and so is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from pyroaring import BitMap, BitMap64

from gristmill.model.scan import ScanFile
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE
from gristmill.store.bitmaps import bitmap, bitmap64
from gristmill.store.differing import differing_files
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, TableObject
from gristmill.store.tables import dead_rows, scan_file

Rows = dict[int, tuple[DataFile, BitMap]]
Identities = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""By file: positions, row ids, sequence numbers."""


def differing_rows(get: Get, gone: Mapping[int, DataFile], came: Mapping[int, DataFile]) -> tuple[Rows, Rows]:
    """Return, by file, the positions that are live on one side only."""
    left: Rows = {}
    right: Rows = {}
    for key in gone.keys() | came.keys():
        before = live_positions(get, gone.get(key))
        after = live_positions(get, came.get(key))
        if only := before - after:
            left[key] = (gone[key], only)
        if only := after - before:
            right[key] = (came[key], only)
    return left, right


def live_positions(get: Get, file: DataFile | None) -> BitMap:
    """Return the positions of a file that are live; none for no file."""
    if file is None:
        return BitMap()
    rows = BitMap()
    rows.add_range(0, file.rows)
    return rows - dead_rows(get, file) if file.vectors else rows


def identities(get: Get, folder: Path, rows: Rows) -> Identities:
    """Return who the rows at these positions are."""
    found = {}
    for key, (file, positions) in rows.items():
        where = np.asarray(positions.to_array(), dtype=np.int64)
        ids = where + file.first_row_id
        sequences = np.full(len(where), file.sequence, dtype=np.int64)
        if file.stored_ids:
            stored_ids, stored_sequences = _stored(get, folder, file)
            ids = np.where(stored_ids[where] >= 0, stored_ids[where], ids)
            sequences = np.where(stored_sequences[where] >= 0, stored_sequences[where], sequences)
        found[key] = (where, ids, sequences)
    return found


def _stored(get: Get, folder: Path, file: DataFile) -> tuple[np.ndarray, np.ndarray]:
    """Return the row ids and sequence numbers a file stores, -1 where it stores none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    plan: ScanFile = scan_file(get, folder, file)
    if plan.inline is not None:
        table = pa.ipc.open_stream(plan.inline).read_all().select([ROW_ID, ROW_SEQUENCE])
    else:
        table = pq.ParquetFile(plan.path).read(columns=[ROW_ID, ROW_SEQUENCE])
    ids, sequences = (table.column(i).combine_chunks().fill_null(-1) for i in range(2))
    return ids.to_numpy(), sequences.to_numpy()


def without_moved(
    left: Rows, right: Rows, ids_left: Identities, ids_right: Identities
) -> tuple[Rows, Rows, Identities, Identities]:
    """Leave out rows that only changed their place: same id, same sequence number on both sides."""
    if not _sequences(ids_left) & _sequences(ids_right):
        return left, right, ids_left, ids_right
    before, after = pairs(ids_left), pairs(ids_right)
    same, one, other = np.intersect1d(before["id"], after["id"], assume_unique=True, return_indices=True)
    same = same[before["sequence"][one] == after["sequence"][other]]
    if not len(same):
        return left, right, ids_left, ids_right
    kept_left, ids_left = _without_ids(left, ids_left, same)
    kept_right, ids_right = _without_ids(right, ids_right, same)
    return kept_left, kept_right, ids_left, ids_right


def _sequences(ids: Identities) -> set[int]:
    """Return the sequence numbers of these rows; there are few, and mostly one in a file."""
    found: set[int] = set()
    for _, _, sequences in ids.values():
        low, high = int(sequences.min()), int(sequences.max())
        found |= {low, high} if high - low <= 1 else set(np.unique(sequences).tolist())
    return found


def _without_ids(rows: Rows, ids: Identities, gone: np.ndarray) -> tuple[Rows, Identities]:
    """Leave out the rows with these ids; live rows of one state have different ones."""
    return _staying(rows, ids, lambda part: np.isin(part[1], gone))


PAIR = np.dtype([("id", "<i8"), ("sequence", "<i8")])


def pairs(ids: Identities) -> np.ndarray:
    """Return (id, sequence number) of each row."""
    parts = [pair(part) for part in ids.values()]
    return np.concatenate(parts) if parts else np.empty(0, PAIR)


def pair(part: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Return (id, sequence number) of each row of one file."""
    pairs = np.empty(len(part[1]), PAIR)
    pairs["id"], pairs["sequence"] = part[1], part[2]
    return pairs


def without(rows: Rows, ids: Identities, same: np.ndarray) -> tuple[Rows, Identities]:
    """Leave out the rows that are among these (id, sequence number)."""
    return _staying(rows, ids, lambda part: np.isin(pair(part), same))


def _staying(
    rows: Rows, ids: Identities, leaves: Callable[[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]
) -> tuple[Rows, Identities]:
    kept: Rows = {}
    kept_ids: Identities = {}
    for key, part in ids.items():
        stay = ~leaves(part)
        if stay.any():
            kept[key] = (rows[key][0], bitmap(part[0][stay]))
            kept_ids[key] = (part[0][stay], part[1][stay], part[2][stay])
    return kept, kept_ids


def row_ids(ids: Identities) -> BitMap64:
    """Return the ids among these rows."""
    parts: Iterable[np.ndarray] = (part[1] for part in ids.values())
    found = BitMap64()
    for part in parts:
        found |= bitmap64(part)
    return found


def net_rows(
    get: Get, folder: Path, before: TableObject, after: TableObject
) -> tuple[Rows, Rows, Identities, Identities]:
    """Return the rows only before, the rows only after, and who they are; rows that only moved are left out."""
    left, right = differing_rows(get, *differing_files(get, before, after))
    return without_moved(left, right, identities(get, folder, left), identities(get, folder, right))
