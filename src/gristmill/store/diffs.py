"""What changed between two commits, found by looking only at what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from pyroaring import BitMap, BitMap64

from gristmill.model.delta import Delta
from gristmill.model.scan import ScanFile, ScanPlan
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE
from gristmill.model.units import Unit
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, Oid, TableObject
from gristmill.store.rebase import differing_files, tree_changes
from gristmill.store.tables import dead_rows, live_files, make_rowset, scan_file, schema_of, table_object

if TYPE_CHECKING:
    from gristmill.store.store import Store


@dataclass(frozen=True, slots=True, repr=False)
class StoreDiff:
    """What changed from one commit to another.

    Attributes:
        tables: the changed tables.
        documents: by path, the content before and after (None where there is none).
        units: by source, the units that differ as they were and as they are, by name.
        files: by name of the tree of files, its id before and after.
    """

    tables: dict[str, Delta]
    documents: dict[str, tuple[bytes | None, bytes | None]]
    units: dict[str, tuple[dict[str, Unit], dict[str, Unit]]]
    files: dict[str, tuple[str | None, str | None]]

    def __repr__(self) -> str:
        parts = [repr(delta)[10:-1] for _, delta in sorted(self.tables.items())]
        for word, found in (("document", self.documents), ("source", self.units), ("file tree", self.files)):
            parts += [f"{len(found)} {word}{'s' if len(found) > 1 else ''}"] if found else []
        return f"<diff: {'; '.join(parts) or 'nothing changed'}>"

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.tables or self.documents or self.units or self.files)


def store_diff(store: Store, before: Oid, after: Oid) -> StoreDiff:
    """Return what changed between two commits."""
    get = store.catalog.get
    changes = tree_changes(get, store.tree_of(before), store.tree_of(after))
    tables = {name: table_delta(get, store.path, name, old, new) for name, (old, new) in changes["tables"].items()}
    units: dict[str, tuple[dict[str, Unit], dict[str, Unit]]] = {}
    for key, sides in changes["units"].items():
        source, _, unit = key.partition("\0")
        for side, value in zip(units.setdefault(source, ({}, {})), sides, strict=True):
            if value is not None:
                side[unit] = msgspec.msgpack.decode(value, type=Unit)
    documents = {path: (_text(get, old), _text(get, new)) for path, (old, new) in changes["documents"].items()}
    files = {name: (_hex(old), _hex(new)) for name, (old, new) in changes["files"].items()}
    return StoreDiff(tables, documents, units, files)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _text(get: Get, oid: Oid | None) -> bytes | None:
    from gristmill.store.objects import Text

    if oid is None:
        return None
    value = get(oid)
    assert isinstance(value, Text)
    return value.content


def table_delta(get: Get, folder: Path, name: str, before: Oid | None, after: Oid | None) -> Delta:
    """Return what changed between two states of a table, by row identity."""
    old = None if before is None else table_object(get, before)
    new = None if after is None else table_object(get, after)
    related = old is not None and new is not None and old.uuid == new.uuid
    if old is not None and new is not None and related:
        left, right = differing_rows(get, *differing_files(get, old, new))
    else:
        left, right = differing_rows(get, _all_files(get, old), {})[0], differing_rows(get, {}, _all_files(get, new))[1]
    ids_left, ids_right = _identities(get, folder, left), _identities(get, folder, right)
    if related:
        left, right, ids_left, ids_right = _without_moved(left, right, ids_left, ids_right)
    removed, present = _row_ids(ids_left), _row_ids(ids_right)
    updated = removed & present if related else BitMap64()
    return Delta(
        table=name,
        before_id=None if before is None else before.hex(),
        after_id=None if after is None else after.hex(),
        inserted=present - updated,
        deleted=removed - updated,
        updated=updated,
        before=None if old is None else _image(get, folder, old, left),
        after=None if new is None else _image(get, folder, new, right),
        schema_changed=related and old is not None and new is not None and old.schema != new.schema,
        rebuilt=old is not None and new is not None and not related,
    )


def _all_files(get: Get, state: TableObject | None) -> dict[int, DataFile]:
    return {} if state is None else {file.first_row_id: file for file in live_files(get, state)}


Rows = dict[int, tuple[DataFile, BitMap]]
Identities = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""By file: positions, row ids, sequence numbers."""


def differing_rows(get: Get, gone: Mapping[int, DataFile], came: Mapping[int, DataFile]) -> tuple[Rows, Rows]:
    """Return, by file, the positions that are live on one side only."""
    left: Rows = {}
    right: Rows = {}
    for key in gone.keys() | came.keys():
        before = _live(get, gone.get(key))
        after = _live(get, came.get(key))
        if only := before - after:
            left[key] = (gone[key], only)
        if only := after - before:
            right[key] = (came[key], only)
    return left, right


def _live(get: Get, file: DataFile | None) -> BitMap:
    if file is None:
        return BitMap()
    rows = BitMap()
    rows.add_range(0, file.rows)
    return rows - dead_rows(get, file) if file.vectors else rows


def _identities(get: Get, folder: Path, rows: Rows) -> Identities:
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


def _without_moved(
    left: Rows, right: Rows, ids_left: Identities, ids_right: Identities
) -> tuple[Rows, Rows, Identities, Identities]:
    """Leave out rows that only changed their place: same id, same sequence number on both sides."""
    before, after = _pairs(ids_left), _pairs(ids_right)
    if not len(before) or not len(after):
        return left, right, ids_left, ids_right
    same = np.intersect1d(before, after)
    if not len(same):
        return left, right, ids_left, ids_right
    kept_left, ids_left = _drop(left, ids_left, same)
    kept_right, ids_right = _drop(right, ids_right, same)
    return kept_left, kept_right, ids_left, ids_right


_PAIR = np.dtype([("id", "<i8"), ("sequence", "<i8")])


def _pairs(ids: Identities) -> np.ndarray:
    parts = [_pair(part) for part in ids.values()]
    return np.concatenate(parts) if parts else np.empty(0, _PAIR)


def _pair(part: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    pairs = np.empty(len(part[1]), _PAIR)
    pairs["id"], pairs["sequence"] = part[1], part[2]
    return pairs


def _drop(rows: Rows, ids: Identities, same: np.ndarray) -> tuple[Rows, Identities]:
    kept: Rows = {}
    kept_ids: Identities = {}
    for key, part in ids.items():
        stay = ~np.isin(_pair(part), same)
        if stay.any():
            kept[key] = (rows[key][0], BitMap(part[0][stay].astype(np.uint32)))
            kept_ids[key] = (part[0][stay], part[1][stay], part[2][stay])
    return kept, kept_ids


def _row_ids(ids: Identities) -> BitMap64:
    parts: Iterable[np.ndarray] = (part[1] for part in ids.values())
    found = BitMap64()
    for part in parts:
        found |= BitMap64(part.astype(np.uint64))
    return found


def _image(get: Get, folder: Path, state: TableObject, rows: Rows) -> ScanPlan:
    files = tuple(scan_file(get, folder, file, make_rowset(positions, keep=True)) for file, positions in rows.values())
    fields = schema_of(get, state.schema).fields
    return ScanPlan(fields=fields, files=files, row_ids=True, rows=sum(len(part) for _, part in rows.values()))
