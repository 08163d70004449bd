"""What a transaction's append, upsert, delete and replace do, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from gristmill.errors import UsageError
from gristmill.model.predicates import Predicate
from gristmill.model.scan import FILE, POSITION, ScanPlan
from gristmill.model.schema import Schema
from gristmill.store import edits, held
from gristmill.store.damage import asking
from gristmill.store.held import Few, hold
from gristmill.store.objects import TableObject
from gristmill.store.staging import Staged
from gristmill.store.tables import (
    Edit,
    all_keys,
    apply_edit,
    inline_room,
    key_fields,
    layout_of,
    live_files,
    scan_plan,
    schema_of,
)

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction


def append(tx: Transaction, name: str, rows: object) -> int:
    """See `gristmill.store.transaction.Transaction.append`."""
    state = tx.state(name)
    if not state.key:
        staged = tx.stage(name, rows)
        tx.note_rows("append", name, staged)
        if staged.row_count:
            apply_to(tx, name, state, Edit(added=place_of(tx, state).entries(staged.written)))
        return staged.row_count
    given = hold(tx, name, tx.schema_of(name), rows)
    tx.note_rows("append", name, given)
    count = given.rows.num_rows if isinstance(given, Few) else given.row_count
    if not count:
        return 0
    keys = _look_up(tx, state, given) if isinstance(given, Few) else _keys(tx, state, given)
    try:
        edits.refuse_repeats(keys, name)
        edits.refuse_known(keys, name)
    finally:
        keys.close()
    place = place_of(tx, state)
    written = held.written_new(place, given) if isinstance(given, Few) else given.written
    apply_to(tx, name, state, Edit(added=place.entries(written)))
    return count


def upsert(tx: Transaction, name: str, rows: object) -> int:
    """See `gristmill.store.transaction.Transaction.upsert`."""
    state = _keyed(tx, name, "upsert")
    given = hold(tx, name, tx.schema_of(name), rows)
    tx.note_rows("upsert", name, given)
    if isinstance(given, Few):
        if not given.rows.num_rows:
            return 0
        few = _look_up(tx, state, given)
        edits.refuse_repeats(few, name)
        edit, known = held.upsert_few(few, place_of(tx, state), given)
        apply_to(tx, name, state, edit)
        return known
    keys = _keys(tx, state, given)
    try:
        edits.refuse_repeats(keys, name)
        edit, known = edits.upsert_edit(keys, place_of(tx, state), given)
    finally:
        keys.close()
    apply_to(tx, name, state, edit)
    return known


def delete_where(tx: Transaction, name: str, where: Predicate) -> int:
    """Delete the rows that satisfy a predicate and return how many."""
    from gristmill.store import compute

    state = tx.state(name)
    tx.whole.add(name)
    tx.note("delete", name, repr(where).encode())
    con = compute.connection()
    sql = compute.bind(con, compute.scan_sql(_plan(tx, state, [], where)))
    with asking():
        dead = edits.positions_of(con, f"SELECT {FILE} AS f, {POSITION} AS p FROM ({sql})")
    return _kill(tx, name, state, dead)


def delete_keys(tx: Transaction, name: str, rows: object) -> int:
    """Delete the rows whose keys are among these and return how many."""
    state = _keyed(tx, name, "delete by keys")
    key = key_fields(tx.pending.get, state)
    given = hold(tx, name, Schema(key), rows)
    tx.note_rows("delete", name, given)
    if isinstance(given, Few):
        dead = _look_up(tx, state, given).found.dead()
    else:
        keys = _keys(tx, state, given)
        try:
            dead = keys.positions(f"SELECT {FILE} AS f, {POSITION} AS p FROM old SEMI JOIN new USING ({keys.using})")
        finally:
            keys.close()
    given.discard()
    return _kill(tx, name, state, dead)


def clear(tx: Transaction, name: str) -> None:
    """Drop all rows of a table."""
    state = tx.state(name)
    apply_to(tx, name, state, Edit(removed=all_keys(tx.pending.get, state)))


def replace(tx: Transaction, name: str, rows: object) -> bool:
    """See `gristmill.store.transaction.Transaction.replace`."""
    state = tx.state(name)
    given = hold(tx, name, tx.schema_of(name), rows)
    tx.note_rows("replace", name, given)
    tx.whole.add(name)
    if isinstance(given, Few):
        if state.rows <= held.ROWS:
            return _replace_few(tx, name, state, given)
        given = tx.stage(name, given.staged or given.rows)
    if state.key and given.row_count:
        keys = _keys(tx, state, given, full=True)
        try:
            edits.refuse_repeats(keys, name)
            return _replace_by_key(tx, name, state, given, keys)
        finally:
            keys.close()
    if _equal(tx, state, given):
        given.discard()
        return False
    added = place_of(tx, state).entries(given.written)
    apply_to(tx, name, state, Edit(added=added, removed=all_keys(tx.pending.get, state)))
    return True


def _replace_by_key(tx: Transaction, name: str, state: TableObject, staged: Staged, keys: edits.Keys) -> bool:
    place = place_of(tx, state)
    edits.compare_by_key(keys, place.schema.visible)
    changed = int(str(keys.rows("SELECT count(*) FROM change")[0][0]))
    if not state.rows:
        apply_to(tx, name, state, Edit(added=place.entries(staged.written)))
        return True
    if changed > max(state.rows, staged.row_count) // 2:
        removed = all_keys(tx.pending.get, state)
        apply_to(tx, name, state, edits.rewrite_edit(keys, place, staged, removed))
        return True
    edit, touched = edits.replace_edit(keys, place, staged)
    if edit:
        apply_to(tx, name, state, edit, touched)
    return bool(edit)


def _equal(tx: Transaction, state: TableObject, staged: Staged) -> bool:
    from gristmill.store.digests import files_digest, table_digest

    if state.rows != staged.row_count:
        return False
    before = table_digest(tx.store.catalog, tx.pending.get, tx.store.path, state)
    return before == files_digest(staged.schema.visible, staged.scan.files)


def _replace_few(tx: Transaction, name: str, state: TableObject, given: Few) -> bool:
    """Replace few rows by few."""
    get, place = tx.pending.get, place_of(tx, state)
    key = key_fields(get, state)
    if key:
        edits.refuse_repeats(held.look_up(get, tx.store.path, (), key, given), name)
    files = list(live_files(get, state))
    if not state.rows:
        edit = Edit(added=place.entries(held.written_new(place, given)))
        apply_to(tx, name, state, edit)
        return bool(edit)
    live = held.live_rows(get, tx.store.path, files, place.schema.visible)
    if key and given.rows.num_rows:
        edit, touched = held.replace_few(live, given, key, place)
        if edit:
            apply_to(tx, name, state, edit, touched)
        return bool(edit)
    if held.same_rows(live.rows, given.rows, place.schema.visible):
        given.discard()
        return False
    added = place.entries(held.written_new(place, given))
    apply_to(tx, name, state, Edit(added=added, removed={file.first_row_id for file in files}))
    return True


def _look_up(tx: Transaction, state: TableObject, given: Few) -> held.FewKeys:
    key = key_fields(tx.pending.get, state)
    where = edits.value_range(given.columns(key), key)
    return held.look_up(tx.pending.get, tx.store.path, list(live_files(tx.pending.get, state, where)), key, given)


def _keys(tx: Transaction, state: TableObject, staged: Staged, *, full: bool = False) -> edits.Keys:
    key = key_fields(tx.pending.get, state)
    where = None if full else edits.key_range(staged, key)
    old = _plan(tx, state, None if full else [field.name for field in key], where)
    return edits.Keys(key, staged.plan(staged.schema.fields, positions=True), old)


def _plan(tx: Transaction, state: TableObject, columns: list[str] | None, where: Predicate | None) -> ScanPlan:
    return scan_plan(
        tx.pending.get,
        tx.store.path,
        state,
        columns_=columns,
        where=where,
        row_ids=True,
        hidden=True,
        sequence=True,
        positions=True,
    )


def place_of(tx: Transaction, state: TableObject) -> edits.Place:
    """Return where new rows of a table go."""
    schema = schema_of(tx.pending.get, state.schema)
    return edits.Place(
        tx.store.output,
        tx.store.counters,
        state.uuid,
        schema,
        state.schema,
        tx.pending.put,
        inline_room(tx.pending.get, state),
        layout_of(tx.pending.get, state),
    )


def _kill(tx: Transaction, name: str, state: TableObject, dead: dict[int, BitMap]) -> int:
    if dead:
        apply_to(tx, name, state, Edit(dead=dead))
    return sum(len(part) for part in dead.values())


def apply_to(tx: Transaction, name: str, state: TableObject, edit: Edit, touched: set[int] | None = None) -> None:
    """Set a table's state to what an edit of it makes."""
    tx.edited.add(name)
    tx.set_table(name, apply_edit(tx.pending.get, tx.pending.put, state, edit, touched))


def _keyed(tx: Transaction, name: str, act: str) -> TableObject:
    state = tx.state(name)
    if not state.key:
        raise UsageError(f"`{name}` has no key, so it cannot {act}", code="GM-U115", hint="declare a key first")
    return state
