"""Bringing one history into another: publish, merge, cherry-pick, revert, restore.

Each makes a transaction whose base and content are chosen so that the ordinary rebase does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gristmill.errors import Conflict, NotFound, Stale, did_you_mean
from gristmill.model.guard import Guard
from gristmill.model.names import check_branch_name, is_system_table
from gristmill.store import history
from gristmill.store.maps import map_get
from gristmill.store.objects import Oid, Tree
from gristmill.store.rebase import SPACES, combined, rebase_on, tree_changes
from gristmill.store.tables import same_content, table_object
from gristmill.store.transaction import Transaction
from gristmill.store.units import land_once, undone_unit

if TYPE_CHECKING:
    from gristmill.store.store import Store


def publish(
    store: Store,
    source: str,
    *,
    into: str,
    base: str,
    message: str,
    meta: Mapping[str, str] | None,
    guard: Guard | None,
    merged: str | None = None,
) -> str:
    """See `gristmill.store.Store.publish`."""
    theirs, start = history.resolve(store, source), history.resolve(store, base)
    check_branch_name(into)
    tx = _laid_on(store, into, start, store.tree_of(theirs), message, {**(meta or {}), "published_from": theirs.hex()})
    tx.whole |= set(tree_changes(tx.pending.get, tx.base_tree, tx.tree)["tables"])
    tx.starts = True
    if merged is not None:
        tx.also = (history.resolve(store, merged),)
    return tx.commit(guard=guard)


def _laid_on(
    store: Store, branch: str, base: Oid, tree: Tree, message: str, meta: Mapping[str, str] | None = None
) -> Transaction:
    tx = Transaction(store, branch, base, store.tree_of(base), message=message, meta=meta)
    tx.tree = tree
    return tx


def merge(store: Store, source: str, *, into: str, message: str | None, guard: Guard | None) -> str:
    """See `gristmill.store.Store.merge`."""
    theirs = history.resolve(store, source)
    head = store.head(into)
    if head is None:
        raise NotFound(f"there is no branch `{into}`", hint=did_you_mean(into, sorted(store.branches())))
    bases = history.common_ancestors(store, head, theirs)
    if theirs in bases:
        return head.hex()
    tx = _laid_on(store, into, bases[0], store.tree_of(theirs), message or f"merge {source}")
    tx.merges = True
    tx.also = (theirs,)
    what = f"`{source}` and `{into}` changed the same thing"
    if len(bases) > 1:
        tx.base_tree = _common_tree(tx, bases)
        tx.tree = store.tree_of(theirs)
        tx.base = None
    land_once(tx, store.tree_of(head))
    _leave_derived(tx, store.tree_of(head))
    return _conflicting(tx, guard, what)


def _common_tree(tx: Transaction, bases: list[Oid]) -> Tree:
    """Return the state of several last common commits put together, as Git's recursive strategy does.

    Raises:
        Conflict: they disagree.
    """
    store, tree = tx.store, tx.store.tree_of(bases[0])
    for other in bases[1:]:
        below = history.common_ancestors(store, bases[0], other)
        tx.base_tree = _common_tree(tx, below) if len(below) > 1 else store.tree_of(below[0])
        tx.tree = store.tree_of(other)
        try:
            rebase_on(tx, tree)
        except Stale as error:
            raise Conflict(
                "the two branches have several last common states, which disagree",
                code="GM-S014",
                examples=[base.hex() for base in bases],
                hint="restore the tables of one side on the other, then merge again",
            ) from error
        tree = tx.tree
    return tree


DERIVED = "derived"
"""The value of a table's property ``kind`` that says that it is computed from others."""
DERIVATION = "derived/{}.json"
"""The document in which a derived table's inputs are noted."""

MODEL = "models/{}.json"
"""Where what is noted about a model's files lies."""

NOTES = ("backfills/", "checks/", "derived/", "history/", "lineage/", "models/")
"""Documents that go with what was computed, and are written anew with it."""


def _leave_derived(tx: Transaction, head: Tree) -> None:
    """Leave out of a merge what both sides have computed, tables and models: two truths make no third one.

    Ours stays, with the notes that go with it; its inputs differ now, so that the next run makes it anew.
    """
    get = tx.pending.get
    ours = tree_changes(get, tx.base_tree, head)
    theirs = tree_changes(get, tx.base_tree, tx.tree)
    for name in ours["tables"].keys() & theirs["tables"].keys():
        before, after = ours["tables"][name]
        if after is None or table_object(get, after).properties.get("kind") != DERIVED:
            continue
        note = DERIVATION.format(name)
        tx.put_entries("tables", {name: before})
        tx.put_entries("documents", {note: map_get(get, tx.base_tree.documents, note)})
    for path in ours["documents"].keys() & theirs["documents"].keys():
        if path.startswith(NOTES):
            tx.put_entries("documents", {path: ours["documents"][path][0]})
    for name in ours["files"].keys() & theirs["files"].keys():
        if MODEL.format(name) in ours["documents"]:
            tx.put_entries("files", {name: ours["files"][name][0]})


def cherry_pick(store: Store, ref: str, *, on: str) -> str:
    """See `gristmill.store.Store.cherry_pick`."""
    picked = history.resolve(store, ref)
    value = store.commit_object(picked)
    if not value.parents:
        raise Conflict("the first commit cannot be picked", code="GM-S014")
    head = store.head(on)
    if head is None:
        raise NotFound(f"there is no branch `{on}`", hint=did_you_mean(on, sorted(store.branches())))
    meta = {"picked_from": picked.hex()}
    tx = _laid_on(store, on, value.parents[0], store.tree_of(picked), value.message, meta)
    tx.merges = True
    tx.base = None
    land_once(tx, store.tree_of(head))
    _leave_derived(tx, store.tree_of(head))
    return _conflicting(tx, None, f"`{on}` has changed what {picked.hex()[:12]} changes")


def _conflicting(tx: Transaction, guard: Guard | None, message: str) -> str:
    try:
        return tx.commit(guard=guard)
    except Stale as error:
        raise Conflict(
            message,
            code="GM-S014",
            where=error.where,
            examples=error.examples,
            hint="make the change by hand on the branch, or restore the tables of one side",
        ) from error


def revert(store: Store, commit_ref: str, *, on: str, message: str | None, meta: Mapping[str, str] | None) -> str:
    """See `gristmill.store.Store.revert`."""
    undone = history.resolve(store, commit_ref)
    value = store.commit_object(undone)
    if not value.parents:
        raise Conflict("the first commit cannot be reverted", code="GM-S014")
    notes = {**(meta or {}), "reverts": undone.hex()}
    tx = store.begin(on, message=message or f"revert {undone.hex()[:12]}: {value.message}", meta=notes)
    tx.undoes = (undone,)
    left: list[str] = []
    changed = tree_changes(tx.pending.get, store.tree_of(value.parents[0]), store.tree_of(undone))
    clashes = []
    for space in SPACES:
        back: dict[str, bytes | None] = {}
        for key, (before, after) in changed[space].items():
            now = map_get(tx.pending.get, getattr(tx.tree, space), key)
            if space == "units":
                back[key] = undone_unit(before, after, now)
            elif now == after or (space == "tables" and _same_table(tx, now, after)):
                back[key] = before
            elif now == before:
                continue
            elif _computed(tx, space, key, now):
                left += [key] if space == "tables" and not is_system_table(key) else []
            elif space == "tables" and (undone_rows := _undone_rows(tx, key, before, after, now)) is not None:
                back[key] = undone_rows
            else:
                clashes.append(f"{space[:-1]} {key}")
        tx.whole |= set(back) if space == "tables" else set()
        tx.put_entries(space, back)  # type: ignore[arg-type]
    if clashes:
        raise Conflict(
            f"{undone.hex()[:12]} cannot be undone alone: what it changed has been changed again since",
            code="GM-S014",
            examples=clashes,
            hint=f"restore {undone.hex()[:12]}~1 for these tables, or revert the later commits first",
        )
    if left:
        tx.meta["left"] = ", ".join(left)
    return tx.commit()


def _computed(tx: Transaction, space: str, key: str, now: Oid | None) -> bool:
    """Whether something is computed from what is undone, and computed again by the next run.

    Such a table stays as it is where it has been computed again since: its inputs differ now, and it is stale.
    """
    if space == "documents":
        return key.startswith(NOTES)
    if space == "files":
        return tx.document(MODEL.format(key)) is not None
    if space != "tables" or now is None:
        return False
    of = key.partition(".")[2] if is_system_table(key) else key
    oid = map_get(tx.pending.get, tx.tree.tables, of) or now
    return any(table_object(tx.pending.get, each).properties.get("kind") == DERIVED for each in (now, oid))


def _same_table(tx: Transaction, left: Oid | None, right: Oid | None) -> bool:
    if left is None or right is None:
        return False
    return same_content(table_object(tx.pending.get, left), table_object(tx.pending.get, right))


def _undone_rows(tx: Transaction, name: str, before: Oid | None, after: Oid | None, now: Oid | None) -> Oid | None:
    """Return a table with the rows of one commit undone and what came later kept; None where that cannot be."""
    if before is None or after is None or now is None:
        return None
    tx.merges = True
    try:
        states = [table_object(tx.pending.get, oid) for oid in (after, before, now)]
        return tx.pending.put(combined(tx, name, *states))
    except Stale:
        return None
    finally:
        tx.merges = False


def restore(store: Store, ref: str, *, on: str, tables: list[str] | None) -> str:
    """See `gristmill.store.Store.restore`."""
    oid = history.resolve(store, ref)
    wanted = store.tree_of(oid)
    tx = store.begin(on, message=f"restore {ref}", meta={"restores": oid.hex()})
    changed = tree_changes(tx.pending.get, tx.tree, wanted)
    if tables is not None:
        for name in tables:
            known = map_get(tx.pending.get, wanted.tables, name)
            if known is None and name not in tx:
                raise NotFound(f"there is no table `{name}` at `{ref}`")
        keep = set(tables)
        changed = {space: {k: v for k, v in changed[space].items() if _of(space, k, keep)} for space in SPACES}
    for space in SPACES:
        back = {
            key: undone_unit(after, now, now) if space == "units" and now is not None else after
            for key, (now, after) in changed[space].items()
        }
        tx.whole |= set(back) if space == "tables" else set()
        tx.put_entries(space, back)  # type: ignore[arg-type]
    return tx.commit()


def _of(space: str, key: str, tables: set[str]) -> bool:
    """Whether an entry goes with one of these tables; what was set aside of a source goes with it."""
    if space == "tables":
        return key in tables or (is_system_table(key) and key.partition(".")[2] in tables)
    return space == "units" and key.split("\0")[0] in tables
