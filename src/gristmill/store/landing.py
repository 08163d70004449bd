"""Bringing one history into another: publish, merge, cherry-pick, revert, restore.

Each makes a transaction whose base and content are chosen so that the ordinary rebase does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Conflict, NotFound, Stale
from gristmill.model.guard import Guard
from gristmill.model.names import check_branch_name
from gristmill.model.units import Unit
from gristmill.store import history
from gristmill.store.maps import map_get
from gristmill.store.objects import Oid, Tree
from gristmill.store.rebase import SPACES, tree_changes
from gristmill.store.transaction import Transaction

if TYPE_CHECKING:
    from gristmill.store.store import Store

_UNIT = msgspec.msgpack.Decoder(Unit)
_UNITS = msgspec.msgpack.Encoder(order="sorted")


def publish(
    store: Store,
    source: str,
    *,
    into: str,
    base: str,
    message: str,
    meta: Mapping[str, str] | None,
    guard: Guard | None,
) -> str:
    """See `gristmill.store.Store.publish`."""
    theirs, start = history.resolve(store, source), history.resolve(store, base)
    check_branch_name(into)
    tx = _laid_on(store, into, start, store.tree_of(theirs), message, {**(meta or {}), "published_from": theirs.hex()})
    tx.whole |= set(tree_changes(tx.pending.get, tx.base_tree, tx.tree)["tables"])
    tx.starts = True
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
        raise NotFound(f"there is no branch `{into}`")
    bases = history.common_ancestors(store, head, theirs)
    if theirs in bases:
        return head.hex()
    if len(bases) != 1:
        raise Conflict(
            f"`{source}` and `{into}` have {len(bases)} last common states that disagree",
            code="GM-S014",
            examples=[base.hex() for base in bases],
        )
    tx = _laid_on(store, into, bases[0], store.tree_of(theirs), message or f"merge {source}")
    tx.also = (theirs,)
    return _conflicting(tx, guard, f"`{source}` and `{into}` changed the same thing")


def cherry_pick(store: Store, ref: str, *, on: str) -> str:
    """See `gristmill.store.Store.cherry_pick`."""
    picked = history.resolve(store, ref)
    value = store.commit_object(picked)
    if not value.parents:
        raise Conflict("the first commit cannot be picked", code="GM-S014")
    meta = {"picked_from": picked.hex()}
    tx = _laid_on(store, on, value.parents[0], store.tree_of(picked), value.message, meta)
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
    changed = tree_changes(tx.pending.get, store.tree_of(value.parents[0]), store.tree_of(undone))
    clashes = []
    for space in SPACES:
        back: dict[str, bytes | None] = {}
        for key, (before, after) in changed[space].items():
            now = map_get(tx.pending.get, getattr(tx.tree, space), key)
            if space == "units":
                back[key] = _held(before, after, now)
            elif now == after:
                back[key] = before
            elif now != before:
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
    return tx.commit()


def _held(before: bytes | None, after: bytes | None, now: bytes | None) -> bytes | None:
    """Return what becomes of a unit when the commit that landed it is undone."""
    if after is None:
        return before if now is None else now
    if now is None:
        return None
    return _UNITS.encode(msgspec.structs.replace(_UNIT.decode(now), state="held"))


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
            key: _held(after, now, now) if space == "units" and now is not None else after
            for key, (now, after) in changed[space].items()
        }
        tx.whole |= set(back) if space == "tables" else set()
        tx.put_entries(space, back)  # type: ignore[arg-type]
    return tx.commit()


def _of(space: str, key: str, tables: set[str]) -> bool:
    if space == "tables":
        return key in tables
    return space == "units" and key.split("\0")[0] in tables
