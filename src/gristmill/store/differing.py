"""The files in which two states of one lineage differ; what both share is never opened."""

from __future__ import annotations

from gristmill.store.manifests import files_of, manifest
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, Oid, TableObject
from gristmill.store.tables import Edit, dead_rows


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
