"""Two changes of one table put together: rows by who they are; `definitions` does the same for its fields.

The layout is the head's; the other change is applied to it as a delta. Rows that the head's compaction has moved
are found again by their identity, and rows that the other side's compaction has moved are no change at all. So a
compaction never makes a change fail and never brings a row back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from pyroaring import BitMap

from gristmill.model.scan import ScanPlan
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE, all_ids
from gristmill.store import compute
from gristmill.store.bitmaps import bitmap
from gristmill.store.definitions import OverlapError
from gristmill.store.differing import differing_files, edit_between
from gristmill.store.identity import (
    Identities,
    Rows,
    identities,
    live_positions,
    net_rows,
    pair,
    pairs,
    without,
)
from gristmill.store.inline import ROWS
from gristmill.store.manifests import files_of, find_file
from gristmill.store.objects import DataFile, TableObject, Vector
from gristmill.store.sqltext import quote
from gristmill.store.tables import (
    Edit,
    dead_rows,
    make_rowset,
    scan_file,
    schema_of,
)
from gristmill.store.writing import place_of

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction


def combined_edit(tx: Transaction, base: TableObject, mine: TableObject, head: TableObject) -> Edit:
    """Return what led from ``base`` to ``mine`` as an edit of ``head``.

    A merge takes it as agreement where a row has become the same one on both sides (one was picked from the other),
    or is gone on both; a transaction takes nothing as agreement.

    Raises:
        OverlapError: both sides changed the same row, or a row is on both sides as two.
    """
    get, folder = tx.pending.get, tx.store.path
    gone, came, gone_ids, came_ids = net_rows(get, folder, base, mine)
    _, _, head_gone, head_came = net_rows(get, folder, base, head)
    agreed = np.intersect1d(pairs(came_ids), pairs(head_came))
    overlap = np.intersect1d(pairs(gone_ids), pairs(head_gone))
    differ = overlap["id"][~np.isin(overlap["id"], agreed["id"])]
    set_again = np.concatenate([pairs(came_ids)["id"], pairs(head_came)["id"]])
    if np.isin(differ, set_again).any() or (len(differ) and not tx.merges):
        raise OverlapError("the same rows were changed on both sides")
    if len(agreed) or len(overlap):
        gone, gone_ids = without(gone, gone_ids, overlap)
        came, came_ids = without(came, came_ids, agreed)
    if np.isin(pairs(came_ids)["id"], pairs(head_came)["id"]).any():
        raise OverlapError("the same rows were set on both sides")
    edit = Edit(dead=_places(tx, base, head, gone, gone_ids))
    rewrite: Rows = {}
    for key, (file, positions) in came.items():
        if _find(tx, head, key) is not None or _find(tx, base, key) is not None:
            rewrite[key] = (file, positions)
        else:
            edit.added.append(_only(tx, file, positions))
    edit.added += _rewritten(tx, head, rewrite)
    return edit


def carried_layout(tx: Transaction, base: TableObject, mine: TableObject, head: TableObject) -> Edit:
    """Return a rewriting of files as an edit of ``head``.

    Rows that died there meanwhile, or that it has moved itself, die in the new files too.

    Raises:
        OverlapError: the table has been made anew, or has other columns.
    """
    get, folder = tx.pending.get, tx.store.path
    if base.uuid != head.uuid or base.schema != head.schema:
        raise OverlapError("the table was made anew")
    edit = edit_between(get, base, mine)
    died: Rows = {}
    for key in edit.removed:
        before, now = _find(tx, base, key), _find(tx, head, key)
        if positions := live_positions(get, before) - live_positions(get, now):
            assert before is not None
            died[key] = (before, positions)
    edit.removed = {key for key in edit.removed if _find(tx, head, key) is not None}
    if not died:
        return edit
    wanted = pairs(identities(get, folder, died))
    kept = []
    for file in edit.added:
        part = identities(get, folder, {0: (file, live_positions(get, file))})[0]
        hit = np.isin(pair(part), wanted)
        kept.append(_only(tx, file, bitmap(part[0][~hit])))
    return Edit(added=[file for file in kept if file.live], removed=edit.removed)


def moved_back(tx: Transaction, mine: TableObject, state: TableObject, fields: set[int]) -> Edit:
    """Return the edit by which rows lie again in the files that hold their values of these fields.

    While a field is dropped, files that are compacted lose it. The files before that are still there, and so are the
    rows in them: same id, same sequence number.

    Raises:
        OverlapError: such a file has been touched otherwise.
    """
    get, folder = tx.pending.get, tx.store.path
    gone, came = differing_files(get, mine, state)
    having = {key: file for key, file in gone.items() if fields & _ids(tx, file)}
    lacking = {key: file for key, file in came.items() if fields - _ids(tx, file)}
    before = identities(get, folder, {key: (file, live_positions(get, file)) for key, file in having.items()})
    after = identities(get, folder, {key: (file, live_positions(get, file)) for key, file in lacking.items()})
    same = np.intersect1d(pairs(before), pairs(after))
    edit = Edit()
    for key, part in after.items():
        hit = np.isin(pair(part), same)
        if hit.any():
            edit.dead[key] = BitMap(part[0][hit].astype(np.uint32))
    for key, part in before.items():
        hit = np.isin(pair(part), same)
        if hit.any():
            if key in came or _find(tx, state, key) is not None:
                raise OverlapError("rows with values of a column that comes back were changed since")
            edit.added.append(_only(tx, having[key], BitMap(part[0][hit].astype(np.uint32))))
    return edit


def _ids(tx: Transaction, file: DataFile) -> set[int]:
    return set(all_ids(schema_of(tx.pending.get, file.schema).fields))


def _find(tx: Transaction, state: TableObject, key: int) -> DataFile | None:
    get = tx.pending.get
    found = next((file for file in files_of(get, state.tail) if file.first_row_id == key), None)
    return found or find_file(get, state.root, key)


def _places(
    tx: Transaction, base: TableObject, head: TableObject, gone: Rows, gone_ids: Identities
) -> dict[int, BitMap]:
    """Return where in the head the rows lie that are gone."""
    get, folder = tx.pending.get, tx.store.path
    dead: dict[int, BitMap] = {}
    moved: list[np.ndarray] = []
    for key, (_, positions) in gone.items():
        if _find(tx, head, key) is not None:
            dead[key] = positions
        else:
            moved.append(pair(gone_ids[key]))
    if not moved:
        return dead
    wanted = np.concatenate(moved)
    new = {key: (file, live_positions(get, file)) for key, file in differing_files(get, base, head)[1].items()}
    count = 0
    for key, part in identities(get, folder, new).items():
        hit = np.isin(pair(part), wanted)
        if hit.any():
            dead[key] = dead.get(key, BitMap()) | BitMap(part[0][hit].astype(np.uint32))
            count += int(hit.sum())
    if count != len(wanted):
        raise OverlapError("rows that were changed are no longer there")
    return dead


def _only(tx: Transaction, file: DataFile, positions: BitMap) -> DataFile:
    """Return a file of which only these rows live."""
    others = live_positions(tx.pending.get, file) - positions
    if not others:
        return file
    dead = dead_rows(tx.pending.get, file) | others
    return msgspec.structs.replace(file, vectors=(tx.pending.put(Vector(dead.serialize())),), dead=len(dead))


def _rewritten(tx: Transaction, head: TableObject, rows: Rows) -> list[DataFile]:
    """Return new files with these rows as they were, ids and all, set anew."""
    if not rows:
        return []
    get, folder = tx.pending.get, tx.store.path
    files = tuple(scan_file(get, folder, file, make_rowset(where, keep=True)) for file, where in rows.values())
    plan = ScanPlan(fields=schema_of(get, head.schema).fields, files=files, row_ids=True)
    con = compute.connection()
    try:
        sql = compute.bind(con, compute.scan_sql(plan))
        few = sum(len(where) for _, where in rows.values()) <= ROWS
        place = place_of(tx, head)
        names = ", ".join(quote(field.name) for field in plan.fields)
        written = place.write(
            con, f"SELECT {names}, {quote(ROW_ID)}, NULL::BIGINT AS {quote(ROW_SEQUENCE)} FROM ({sql})", few=few
        )
    finally:
        con.close()
    return place.entries(written)
