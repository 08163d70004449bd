"""What a transaction's append, upsert, delete and replace do, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyroaring import BitMap

from gristmill.errors import UsageError
from gristmill.model.predicates import Predicate
from gristmill.model.scan import FILE, POSITION, ScanPlan
from gristmill.model.schema import Schema
from gristmill.store import edits, fewkeys
from gristmill.store.objects import TableObject
from gristmill.store.staging import Staged, stage
from gristmill.store.tables import (
    Edit,
    all_keys,
    apply_edit,
    cluster_fields,
    inline_room,
    key_fields,
    scan_plan,
    schema_of,
)

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction


def append(tx: Transaction, name: str, rows: object) -> int:
    """See `gristmill.store.transaction.Transaction.append`."""
    state, staged = tx.state(name), tx.stage(name, rows)
    tx.note_rows("append", name, staged)
    if not staged.row_count:
        return 0
    if state.key:
        keys = _few_keys(tx, state, staged) or _keys(tx, state, staged)
        try:
            edits.refuse_repeats(keys, name)
            edits.refuse_known(keys, name)
        finally:
            keys.close()
    _apply(tx, name, state, Edit(added=place_of(tx, state).entries(staged.written)))
    return staged.row_count


def upsert(tx: Transaction, name: str, rows: object) -> int:
    """See `gristmill.store.transaction.Transaction.upsert`."""
    state = _keyed(tx, name, "upsert")
    staged = tx.stage(name, rows)
    tx.note_rows("upsert", name, staged)
    if not staged.row_count:
        return 0
    few = _few_keys(tx, state, staged)
    if few is not None:
        edits.refuse_repeats(few, name)
        made = fewkeys.upsert_few(few, place_of(tx, state), staged)
        if made is not None:
            _apply(tx, name, state, made[0])
            return made[1]
    keys = _keys(tx, state, staged)
    try:
        edits.refuse_repeats(keys, name)
        edit, known = edits.upsert_edit(keys, place_of(tx, state), staged)
    finally:
        keys.close()
    _apply(tx, name, state, edit)
    return known


def delete_where(tx: Transaction, name: str, where: Predicate) -> int:
    """Delete the rows that satisfy a predicate and return how many."""
    from gristmill.store import compute

    state = tx.state(name)
    tx.whole.add(name)
    tx.note("delete", name, repr(where).encode())
    con = compute.connection()
    sql = compute.bind(con, compute.scan_sql(_plan(tx, state, [], where)))
    return _kill(tx, name, state, edits.positions_of(con, f"SELECT {FILE} AS f, {POSITION} AS p FROM ({sql})"))


def delete_keys(tx: Transaction, name: str, rows: object) -> int:
    """Delete the rows whose keys are among these and return how many."""
    state = _keyed(tx, name, "delete by keys")
    key = key_fields(tx.pending.get, state)
    staged = stage(tx.store.output, name, Schema(key), rows)
    tx.note_rows("delete", name, staged)
    keys = _keys(tx, state, staged)
    try:
        dead = keys.positions(f"SELECT {FILE} AS f, {POSITION} AS p FROM old SEMI JOIN new USING ({keys.using})")
    finally:
        keys.close()
        staged.discard()
    return _kill(tx, name, state, dead)


def clear(tx: Transaction, name: str) -> None:
    """Drop all rows of a table."""
    state = tx.state(name)
    _apply(tx, name, state, Edit(removed=all_keys(tx.pending.get, state)))


def replace(tx: Transaction, name: str, rows: object) -> bool:
    """See `gristmill.store.transaction.Transaction.replace`."""
    state, staged = tx.state(name), tx.stage(name, rows)
    tx.note_rows("replace", name, staged)
    tx.whole.add(name)
    if state.key and staged.row_count:
        done = _replace_few(tx, name, state, staged)
        if done is not None:
            return done
        keys = _keys(tx, state, staged, full=True)
        try:
            edits.refuse_repeats(keys, name)
            return _replace_by_key(tx, name, state, staged, keys)
        finally:
            keys.close()
    if _equal(tx, state, staged):
        staged.discard()
        return False
    added = place_of(tx, state).entries(staged.written)
    _apply(tx, name, state, Edit(added=added, removed=all_keys(tx.pending.get, state)))
    return True


def _replace_by_key(tx: Transaction, name: str, state: TableObject, staged: Staged, keys: edits.Keys) -> bool:
    place = place_of(tx, state)
    edits.compare_by_key(keys, place.schema.visible)
    changed = int(str(keys.rows("SELECT count(*) FROM change")[0][0]))
    if not state.rows:
        _apply(tx, name, state, Edit(added=place.entries(staged.written)))
        return True
    if changed > max(state.rows, staged.row_count) // 2:
        removed = all_keys(tx.pending.get, state)
        _apply(tx, name, state, edits.rewrite_edit(keys, place, staged, removed))
        return True
    edit, touched = edits.replace_edit(keys, place, staged)
    if edit:
        _apply(tx, name, state, edit, touched)
    return bool(edit)


def _equal(tx: Transaction, state: TableObject, staged: Staged) -> bool:
    from gristmill.store.digests import files_digest, table_digest

    if state.rows != staged.row_count:
        return False
    same = fewkeys.same_rows(staged.schema.visible, _visible(tx, state), staged.plan(staged.schema.visible))
    if same is not None:
        return same
    before = table_digest(tx.store.catalog, tx.pending.get, tx.store.path, state)
    return before == files_digest(staged.schema.visible, staged.scan.files)


def _replace_few(tx: Transaction, name: str, state: TableObject, staged: Staged) -> bool | None:
    """Replace no rows, or rows by the same; None where there is more to do."""
    if state.rows not in (0, staged.row_count):
        return None
    few = _few_keys(tx, state, staged)
    if few is None:
        return None
    edits.refuse_repeats(few, name)
    if not state.rows:
        _apply(tx, name, state, Edit(added=place_of(tx, state).entries(staged.written)))
        return True
    visible = staged.schema.visible
    if not fewkeys.same_rows(visible, _visible(tx, state), staged.plan(visible)):
        return None
    staged.discard()
    return False


def _visible(tx: Transaction, state: TableObject) -> ScanPlan:
    return scan_plan(tx.pending.get, tx.store.path, state)


def _few_keys(tx: Transaction, state: TableObject, staged: Staged) -> fewkeys.FewKeys | None:
    if any(file.inline is None for file in staged.written):
        return None
    key = key_fields(tx.pending.get, state)
    old = _plan(tx, state, [field.name for field in key], edits.key_range(staged, key))
    return fewkeys.few_keys(key, staged.plan(key), old)


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
        cluster_fields(tx.pending.get, state),
    )


def _kill(tx: Transaction, name: str, state: TableObject, dead: dict[int, BitMap]) -> int:
    if dead:
        _apply(tx, name, state, Edit(dead=dead))
    return sum(len(part) for part in dead.values())


def _apply(tx: Transaction, name: str, state: TableObject, edit: Edit, touched: set[int] | None = None) -> None:
    tx.edited.add(name)
    tx.set_table(name, apply_edit(tx.pending.get, tx.pending.put, state, edit, touched))


def _keyed(tx: Transaction, name: str, act: str) -> TableObject:
    state = tx.state(name)
    if not state.key:
        raise UsageError(f"`{name}` has no key, so it cannot {act}", code="GM-U115", hint="declare a key first")
    return state
