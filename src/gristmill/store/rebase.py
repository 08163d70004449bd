"""Putting a transaction's changes on a head that has moved since it was begun.

What only one side touched is combined. Edits of the same table combine where they add rows or end different
ones; anything read, or touched on both sides otherwise, is stale, even if the values are equal. How rows are laid
out is nobody's business: a table that was only compacted has not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Stale
from gristmill.model.schema import Schema, all_ids
from gristmill.store import edits
from gristmill.store.definitions import regained
from gristmill.store.differing import edit_between
from gristmill.store.maps import Get, map_diff
from gristmill.store.objects import Oid, TableObject, Tree
from gristmill.store.tables import (
    Edit,
    apply_edit,
    first_token,
    key_fields,
    live_files,
    same_content,
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


def rebase(tx: Transaction, head: Oid) -> set[str]:
    """Move a transaction onto a head and return the names of the tables others have changed meanwhile.

    Raises:
        Stale: the transaction read or touched what others have changed.
    """
    if head == tx.base:
        return set()
    moved = rebase_on(tx, tx.store.tree_of(head))
    tx.base = head
    return moved


def rebase_on(tx: Transaction, head_tree: Tree) -> set[str]:
    """Move a transaction from its base tree onto another one; see `rebase`."""
    ours = tree_changes(tx.pending.get, tx.base_tree, tx.tree)
    theirs = tree_changes(tx.pending.get, tx.base_tree, head_tree)
    changed = {name for name, sides in theirs["tables"].items() if not _laid_out_anew(tx.pending.get, *sides)}
    _check_reads(tx, theirs, changed)
    tx.base_tree = tx.tree = head_tree
    for space in SPACES:
        changes: dict[str, bytes | None] = {}
        for key, (old, new) in ours[space].items():
            if key not in theirs[space]:
                changes[key] = new
            elif space == "tables":
                changes[key] = _rebase_table(tx, key, old, new, theirs[space][key][1])
            elif theirs[space][key][1] != new or not (space == "documents" or tx.merges):
                raise _stale(tx, [f"{space[:-1]} {_shown(key)}"])
        tx.put_entries(space, changes)  # type: ignore[arg-type]
    return changed


def _laid_out_anew(get: Get, before: Oid | None, after: Oid | None) -> bool:
    """Whether a table holds the same as before, in other files."""
    return (
        before is not None and after is not None and same_content(table_object(get, before), table_object(get, after))
    )


def _check_reads(tx: Transaction, theirs: Mapping[str, Changes], changed: set[str]) -> None:
    moved = []
    for kind, name in sorted(tx.reads):
        if kind == "units":
            hit = any(key.split("\0")[0] == name for key in theirs["units"])
        elif kind == "table":
            hit = name in changed
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


def _rebase_table(tx: Transaction, name: str, before: Oid | None, ours: Oid | None, theirs: Oid | None) -> Oid | None:
    if tx.merges and ours == theirs:
        return ours
    if _laid_out_anew(tx.pending.get, before, theirs) and ours is None:
        return None
    if ours is None or theirs is None:
        raise _stale(tx, [f"table {name}"])
    mine, head = (table_object(tx.pending.get, oid) for oid in (ours, theirs))
    if before is None and (mine.uuid != head.uuid or _defined(mine) != _defined(head)):
        raise _stale(tx, [f"table {name}"])
    base = _empty(head) if before is None else table_object(tx.pending.get, before)
    if tx.lays_out:
        return tx.pending.put(_laid_over(tx, base, mine, head))
    if name in tx.whole and not same_content(base, head):
        raise _stale(tx, [f"table {name}"])
    return tx.pending.put(combined(tx, name, base, mine, head))


def combined(tx: Transaction, name: str, base: TableObject, mine: TableObject, head: TableObject) -> TableObject:
    """Return the head with what led from ``base`` to ``mine``; raises Stale where both touched the same."""
    get = tx.pending.get
    if len({base.uuid, mine.uuid, head.uuid}) > 1:
        raise _stale(tx, [f"table {name}"])
    moved = edit_between(get, base, head)
    found: set[int] = set()
    if _defined(base) != _defined(mine):
        lacked = schema_of(get, head.schema)
        head = _redefined(tx, name, base, mine, head, wrote=bool(moved.added))
        found = regained(tx, base, head) - set(all_ids(lacked.fields))
    edit = edit_between(get, base, mine)
    if edit.removed or edit.dead.keys() & moved.removed or tx.merges:
        edit = _by_identity(tx, name, base, mine, head)
    else:
        for key, positions in edit.dead.items():
            if key in moved.dead and positions & moved.dead[key]:
                raise _stale(tx, [f"rows of {name}"])
    if edit.added and (mine.key != head.key or not _readable(get, mine, head)):
        raise _stale(tx, [f"table {name}: rows that were written do not suit its key or its required columns"])
    if head.key and edit.added:
        _check_keys(tx, name, head, edit)
    state = apply_edit(get, tx.pending.put, head, edit)
    return _with_values(tx, name, mine, state, found) if found else state


def _with_values(tx: Transaction, name: str, mine: TableObject, state: TableObject, fields: set[int]) -> TableObject:
    """Return a state whose rows have their values of fields that come back, also where they were moved without."""
    from gristmill.store.definitions import OverlapError
    from gristmill.store.threeway import moved_back

    try:
        edit = moved_back(tx, mine, state, fields)
    except OverlapError as error:
        raise _stale(tx, [f"{name}: {error}"]) from error
    return apply_edit(tx.pending.get, tx.pending.put, state, edit, touched=())


def _empty(state: TableObject) -> TableObject:
    """Return a table as it was made, for one that was made on two branches."""
    tokens = {field_id: first_token(state.uuid, field_id) for field_id in state.tokens}
    return msgspec.structs.replace(state, root=None, tail=None, rows=0, files=0, tokens=tokens)


def _defined(state: TableObject) -> tuple[object, ...]:
    """Return everything of a table but its rows."""
    return state.schema, state.key, state.properties, state.cluster_by, state.spec, state.specs, state.used


def _laid_over(tx: Transaction, base: TableObject, mine: TableObject, head: TableObject) -> TableObject:
    """Return the head with its files written anew as ours are, or as it is where the files are gone."""
    from gristmill.store.definitions import OverlapError
    from gristmill.store.threeway import carried_layout

    try:
        edit = carried_layout(tx, base, mine, head)
    except OverlapError:
        return head
    return apply_edit(tx.pending.get, tx.pending.put, head, edit, touched=())


def _by_identity(tx: Transaction, name: str, base: TableObject, mine: TableObject, head: TableObject) -> Edit:
    from gristmill.store.definitions import OverlapError
    from gristmill.store.threeway import combined_edit

    try:
        return combined_edit(tx, base, mine, head)
    except OverlapError as error:
        raise _stale(tx, [f"{name}: {error}"]) from error


def _redefined(
    tx: Transaction, name: str, base: TableObject, mine: TableObject, head: TableObject, *, wrote: bool
) -> TableObject:
    """Return the head with the definition of both sides; rows that others wrote must satisfy it."""
    from gristmill.store.definitions import OverlapError, combined_definition

    try:
        new = combined_definition(tx, base, mine, head)
    except OverlapError as error:
        raise _stale(tx, [f"{name}: {error}"]) from error
    if wrote and (new.key != head.key or not _readable(tx.pending.get, head, new)):
        raise _stale(tx, [f"table {name}: rows that were written do not suit its key or its required columns"])
    return new


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
    from gristmill.store.held import FewKeys, live_rows, one_array
    from gristmill.store.keyindex import Asked, find

    get, folder = tx.pending.get, tx.store.path
    rest = apply_edit(get, tx.pending.put, head, Edit(dead=edit.dead, removed=edit.removed))
    key = key_fields(get, head)
    new = live_rows(get, folder, edit.added, key).rows
    columns = [one_array(column) for column in new.columns]
    asked, where = Asked(columns), edits.value_range(columns, key)
    found = find(get, folder, live_files(get, rest, where), key, asked)
    both = FewKeys(tuple(field.name for field in key), columns, asked, found).known()
    if both:
        raise _stale(tx, [f"{name}: key {row}" for row in both])
