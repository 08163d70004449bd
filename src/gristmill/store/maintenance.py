"""Tidying a whole store: what commits leave undone of compaction, and the collection of garbage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Stale
from gristmill.model.scan import ScanPlan
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE
from gristmill.store.compaction import Group, group_of
from gristmill.store.datafiles import FILE_ROWS
from gristmill.store.garbage import Collected, collect
from gristmill.store.inline import HEAD_BYTES
from gristmill.store.objects import INLINE, DataFile, TableObject
from gristmill.store.sqltext import quote
from gristmill.store.tables import Edit, apply_edit, cluster_fields, live_files, scan_files, schema_of

if TYPE_CHECKING:
    from gristmill.store.store import Store
    from gristmill.store.transaction import Transaction

DEAD = 16
"""A file is written again once one in this many of its rows is dead."""
DAY_S = 86_400.0


class Tidied(msgspec.Struct, frozen=True):
    """What became of one table on one branch: files before and after."""

    branch: str
    name: str
    before: int
    after: int


class Maintained(msgspec.Struct, frozen=True):
    """What ``maintain`` did.

    Args:
        tables: the tables whose files were written anew.
        collected: what garbage was found and removed.
    """

    tables: tuple[Tidied, ...]
    collected: Collected


def maintain(
    store: Store, *, branches: Sequence[str] | None, tables: Sequence[str] | None, grace_s: float
) -> Maintained:
    """See `gristmill.store.Store.maintain`."""
    tidied: list[Tidied] = []
    for branch in sorted(store.branches()) if branches is None else branches:
        tidied += _tidy_branch(store, branch, tables)
    return Maintained(tuple(tidied), collect(store, grace_s=grace_s))


def _tidy_branch(store: Store, branch: str, tables: Sequence[str] | None) -> Iterator[Tidied]:
    snapshot = store.snapshot(branch)
    for name in snapshot.tables(system=True) if tables is None else tables:
        before = snapshot.table(name).file_count
        tx = store.begin(branch, message=f"maintain {name}", meta={"maintains": name})
        try:
            if lay_out(tx, name):
                tx.commit()
                yield Tidied(branch, name, before, store.snapshot(branch).table(name).file_count)
        except Stale:
            tx.discard()


def lay_out(tx: Transaction, name: str) -> bool:
    """Write the poor files of a table anew, and return whether there were any; content and ids stay."""
    get = tx.pending.get
    state = tx.state(name)
    poor = poor_files(tx, state)
    if not poor:
        return False
    from gristmill.store import compute
    from gristmill.store.writing import place_of

    fields = schema_of(get, state.schema).fields
    place = place_of(tx, state)
    con = compute.connection()
    try:
        plan = ScanPlan(fields=fields, files=scan_files(get, tx.store.path, poor), row_ids=True, sequence=True)
        names = ", ".join(quote(name) for name in (*(f.name for f in fields), ROW_ID, ROW_SEQUENCE))
        sql = compute.bind(con, compute.scan_sql(plan))
        written = place.write(con, f"SELECT {names} FROM ({sql})", few=False)
    finally:
        con.close()
    tx.lays_out = True
    edit = Edit(added=place.entries(written), removed={file.first_row_id for file in poor})
    tx.set_table(name, apply_edit(get, tx.pending.put, state, edit, touched=()))
    return True


def poor_files(tx: Transaction, state: TableObject) -> list[DataFile]:
    """Return the files that are worth writing anew: small, partly dead, divided by what the table no longer is, or
    overlapping where they should not."""
    files = sorted(live_files(tx.pending.get, state), key=lambda file: file.first_row_id)
    dead = [file for file in files if file.dead * DEAD >= file.rows]
    moved = [file for file in files if file.kind != INLINE and file.spec != state.spec]
    poor = {file.first_row_id: file for file in (*dead, *moved)}
    groups: dict[Group, list[DataFile]] = {}
    for file in files:
        groups.setdefault(group_of(file), []).append(file)
    inlined = any(file.kind == INLINE for file in files)
    for group in groups.values():
        small = [file for file in group if file.live < FILE_ROWS // 2 and file.size < HEAD_BYTES * 64]
        if len(small) > 1 or (inlined and not any(file.spec for file in files)) or group[0].kind == INLINE:
            poor |= {file.first_row_id: file for file in small}
        poor |= {file.first_row_id: file for file in _overlapping(tx, state, group)}
    lone = len(poor) == 1 and next(iter(poor.values())).kind == INLINE and len(files) == 1
    return [] if lone and not dead else [poor[key] for key in sorted(poor)]


def _overlapping(tx: Transaction, state: TableObject, files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files whose ranges in the first column they are sorted by overlap with another's."""
    order = cluster_fields(tx.pending.get, state)
    if not order:
        return []
    ranged = []
    for file in files:
        known = file.stats.get(order[0].id)
        if known is not None and known.lower is not None and known.upper is not None:
            ranged.append((known.lower, known.upper, file))
    ranged.sort(key=lambda item: item[0])
    found: list[DataFile] = []
    reach: DataFile | None = None
    top: object = None
    for lower, upper, file in ranged:
        if reach is not None and lower < top:  # type: ignore[operator]
            found += [reach, file]
        if reach is None or upper > top:  # type: ignore[operator]
            reach, top = file, upper
    return list({file.first_row_id: file for file in found}.values())
