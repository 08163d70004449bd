"""Putting a transaction's changes on a head that has moved since it was begun.

What only one side touched is combined. Edits of the same table combine where they add rows or end different
ones; anything read, or touched on both sides otherwise, is stale, even if the values are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gristmill.errors import Stale
from gristmill.model.schema import Schema
from gristmill.store import edits
from gristmill.store.manifests import files_of, manifest
from gristmill.store.maps import Get, map_diff
from gristmill.store.objects import DataFile, Oid, TableObject, Tree
from gristmill.store.tables import (
    Edit,
    apply_edit,
    dead_rows,
    key_fields,
    scan_file,
    scan_plan,
    schema_of,
    table_object,
)

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction

SPACES = ("tables", "documents", "units", "files")

Changes = dict[str, tuple[bytes | None, bytes | None]]


def tree_changes(get: Get, before: Tree, after: Tree) -> dict[str, Changes]:
    """Return, per space, the entries that differ as (before, after)."""
    return {
        space: {key: (old, new) for key, old, new in map_diff(get, getattr(before, space), getattr(after, space))}
        for space in SPACES
    }


def rebase(tx: Transaction, head: Oid | None) -> set[str]:
    """Move a transaction onto a head and return the names of the tables others have changed meanwhile.

    Raises:
        Stale: the transaction read or touched what others have changed.
    """
    if head == tx.base:
        return set()
    head_tree = Tree() if head is None else tx.store.tree_of(head)
    ours = tree_changes(tx.pending.get, tx.base_tree, tx.tree)
    theirs = tree_changes(tx.pending.get, tx.base_tree, head_tree)
    _check_reads(tx, theirs)
    tx.base_tree, tx.base = head_tree, head
    tx.tree = head_tree
    for space in SPACES:
        changes: dict[str, bytes | None] = {}
        for key, (old, new) in ours[space].items():
            if key not in theirs[space]:
                changes[key] = new
            elif space == "tables":
                changes[key] = _rebase_table(tx, key, old, new, theirs[space][key][1])
            elif theirs[space][key][1] != new or space != "documents":
                raise _stale(tx, [f"{space[:-1]} {_shown(key)}"])
        tx.put_entries(space, changes)  # type: ignore[arg-type]
    return set(theirs["tables"])


def _check_reads(tx: Transaction, theirs: Mapping[str, Changes]) -> None:
    moved = []
    for kind, name in sorted(tx.reads):
        if kind == "units":
            hit = any(key.split("\0")[0] == name for key in theirs["units"])
        else:
            hit = name in theirs["files" if kind == "files" else kind + "s"]
        if hit:
            moved.append(f"{kind} {name}")
    if moved:
        raise _stale(tx, moved)


def _shown(key: str) -> str:
    return key.replace("\0", "/")


def _stale(tx: Transaction, what: list[str]) -> Stale:
    return Stale(
        f"`{tx.branch}` has changed what this was based on",
        where=f"{tx.branch}@{tx.base.hex()[:12]}" if tx.base else tx.branch,
        examples=what,
        hint="run it again on the new state; `retry` does so by itself",
        retryable=True,
    )


def _rebase_table(tx: Transaction, name: str, before: Oid | None, ours: Oid | None, theirs: Oid | None) -> Oid:
    if name in tx.whole or before is None or ours is None or theirs is None:
        raise _stale(tx, [f"table {name}"])
    get = tx.pending.get
    base, mine, head = (table_object(get, oid) for oid in (before, ours, theirs))
    if mine.uuid != head.uuid or mine.key != head.key or not _readable(get, mine, head):
        raise _stale(tx, [f"table {name}"])
    edit, moved = edit_between(get, base, mine), edit_between(get, base, head)
    if edit.removed & (moved.removed | moved.dead.keys()) or edit.dead.keys() & moved.removed:
        raise _stale(tx, [f"table {name}"])
    for key, positions in edit.dead.items():
        if key in moved.dead and positions & moved.dead[key]:
            raise _stale(tx, [f"rows of {name}"])
    if mine.key and edit.added:
        _check_keys(tx, name, head, edit)
    return tx.pending.put(apply_edit(get, tx.pending.put, head, edit))


def _readable(get: Get, mine: TableObject, head: TableObject) -> bool:
    """Whether rows written for our schema satisfy theirs."""
    if mine.schema == head.schema:
        return True
    known: Schema = schema_of(get, mine.schema)
    for field in schema_of(get, head.schema).fields:
        own = known.by_id(field.id)
        if field.required and (own is None or not own.required):
            return False
    return True


def _check_keys(tx: Transaction, name: str, head: TableObject, edit: Edit) -> None:
    get, folder = tx.pending.get, tx.store.path
    rest = apply_edit(get, tx.pending.put, head, Edit(dead=edit.dead, removed=edit.removed))
    key = key_fields(get, head)
    from gristmill.model.scan import ScanPlan

    new = ScanPlan(fields=key, files=tuple(scan_file(get, folder, file) for file in edit.added), positions=True)
    old = scan_plan(get, folder, rest, columns_=[field.name for field in key], hidden=True)
    keys = edits.Keys(key, new, old)
    try:
        both = keys.rows(f"SELECT {keys.using} FROM new SEMI JOIN old USING ({keys.using}) LIMIT 3")
    finally:
        keys.close()
    if both:
        raise _stale(tx, [f"{name}: key {row}" for row in both])


def edit_between(get: Get, before: TableObject, after: TableObject) -> Edit:
    """Return the edit that leads from one state of a lineage to another, found by looking only at what differs."""
    gone, came = differing_files(get, before, after)
    edit = Edit()
    for key, file in came.items():
        if key not in gone:
            edit.added.append(file)
            continue
        died = dead_rows(get, file) - dead_rows(get, gone[key])
        if died:
            edit.dead[key] = died
    edit.removed |= gone.keys() - came.keys()
    return edit


def differing_files(
    get: Get, before: TableObject, after: TableObject
) -> tuple[dict[int, DataFile], dict[int, DataFile]]:
    """Return the files, by key, that are only in one of two states or differ in their dead rows."""
    left, right = differing_leaves(get, before, after)
    gone = {file.first_row_id: file for oid in left for file in files_of(get, oid)}
    came = {file.first_row_id: file for oid in right for file in files_of(get, oid)}
    for key in gone.keys() & came.keys():
        if gone[key] == came[key]:
            del gone[key], came[key]
    return gone, came


def differing_leaves(get: Get, before: TableObject, after: TableObject) -> tuple[set[Oid], set[Oid]]:
    """Return the manifest leaves that only one of two states has; shared subtrees are never opened."""
    left = {oid for oid in (before.root, before.tail) if oid}
    right = {oid for oid in (after.root, after.tail) if oid}
    while True:
        shared = left & right
        left -= shared
        right -= shared
        opened = {oid for oid in left | right if manifest(get, oid).children}
        if not opened:
            return left, right
        left = {leaf for oid in left for leaf in _open(get, oid, opened)}
        right = {leaf for oid in right for leaf in _open(get, oid, opened)}


def _open(get: Get, oid: Oid, opened: set[Oid]) -> list[Oid]:
    return [child.id for child in manifest(get, oid).children] if oid in opened else [oid]
