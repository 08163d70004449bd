"""The commit loop: look at the head, rebase, check, and swing the branch in one short transaction.

Whoever finds that the branch has moved holds its lock for the attempt: putting changes on a new head costs little,
and doing so in vain costs all writers. Where a guard has to look at the result, which may take long, it is tried
three times without the lock first; nobody starves.
"""

from __future__ import annotations

import getpass
import os
import time
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING

import apsw

from gristmill.errors import Conflict
from gristmill.model.guard import Guard
from gristmill.store.catalog import insert_objects
from gristmill.store.compaction import compacted
from gristmill.store.datafiles import Written, discard
from gristmill.store.locks import branch_lock, locked
from gristmill.store.objects import CommitObject, Oid, Tree
from gristmill.store.rebase import rebase

if TYPE_CHECKING:
    from gristmill.store.store import Store
    from gristmill.store.transaction import Transaction

PATIENCE = 3


def commit(tx: Transaction, guard: Guard | None) -> str:
    """Commit a transaction; see `gristmill.store.transaction.Transaction.commit`."""
    store = tx.store
    lock = branch_lock(store.path, tx.branch)
    attempt = 0
    while True:
        attempt += 1
        with ExitStack() as held:
            mine = tx.owns_branch
            ref = store.head(tx.branch)
            crowded = attempt > PATIENCE if guard is not None else attempt > 1 or ref != tx.base
            if crowded and not mine:
                mine = True
                held.enter_context(locked(lock))
                ref = store.head(tx.branch)
            done = earlier(tx)
            if done is not None:
                return done.hex()
            head = ref if ref is not None else _start(tx)
            moved = rebase(tx, head)
            if guard is not None:
                guard.review(tx, frozenset(moved))
            if ref is not None and tx.tree == store.tree_of(head) and not tx.also:
                return remember(tx, head).hex()
            tree, tidied = tx.tree, list[Written]()
            if tx.edited and store.compact == "auto" and (attempt == 1 or mine):
                tree, tidied = compacted(tx, store.tree_of(head))
            with ExitStack() as short:
                if not mine:
                    short.enter_context(locked(lock))
                new = swing(tx, tree, head, ref)
        if new is not None:
            return new.hex()
        discard(store.path, tidied)


def _start(tx: Transaction) -> Oid:
    """Return the commit that a branch which does not exist begins at; raises Conflict if it should exist."""
    if not tx.starts or tx.base is None:
        raise Conflict(f"the branch `{tx.branch}` has been deleted", code="GM-S015", hint="make it again, then retry")
    return tx.base


def earlier(tx: Transaction) -> Oid | None:
    """Return the commit that an earlier request with the same key and payload made, or None."""
    if tx.idempotency_key is None:
        return None
    row = tx.store.catalog.one(
        "select payload, target, undone from requests where branch = ? and key = ?",
        (tx.branch, tx.idempotency_key),
    )
    if row is None:
        return None
    payload, target, undone = row
    if payload != tx.payload.digest():
        raise Conflict(
            f"the idempotency key {tx.idempotency_key!r} was used on `{tx.branch}` with other content",
            code="GM-S010",
            where=target.hex(),
            hint="use a new key for new content",
        )
    if undone is not None:
        raise Conflict(
            f"this was committed as {target.hex()[:12]} and reverted by {undone.hex()[:12]}",
            code="GM-S011",
            hint="use a new key to commit it again",
        )
    return bytes(target)


def remember(tx: Transaction, target: Oid) -> Oid:
    """Note the outcome of a request that changed nothing."""
    if tx.idempotency_key is not None:
        with tx.store.catalog.write() as db:
            _request(db, tx, target)
    return target


def _request(db: apsw.Connection, tx: Transaction, target: Oid) -> None:
    db.execute(
        "insert or ignore into requests values(?, ?, ?, ?, null)",
        (tx.branch, tx.idempotency_key, tx.payload.digest(), target),
    )


def swing(tx: Transaction, tree: Tree, head: Oid, ref: Oid | None) -> Oid | None:
    """Make the branch, which points at ``ref``, point at a new commit of a tree on ``head``; None if it has moved."""
    store = tx.store
    parents = (head, *tx.also)
    value = make_commit(store, tx.pending.put(tree), parents, tx.message, tx.author, tx.meta)
    oid = tx.pending.put(value)
    objects = tx.pending.reachable(oid)
    tx.sealed = True
    with store.catalog.write() as db:
        row = db.execute("select target from refs where kind = 'branch' and name = ?", (tx.branch,)).fetchone()
        current = None if row is None else row[0]
        if current != ref:
            return None
        insert_objects(db, objects)
        set_ref(db, "branch", tx.branch, ref, oid, value.author, tx.message)
        if tx.idempotency_key is not None:
            _request(db, tx, oid)
        for undone in tx.undoes:
            db.execute("update requests set undone = ? where target = ?", (oid, undone))
    for name, kept, payload in objects:
        store.catalog.remember(name, kept, len(payload))
    return oid


def set_ref(
    db: apsw.Connection, kind: str, name: str, before: Oid | None, after: Oid | None, author: str, reason: str
) -> None:
    """Move, make or drop a ref and note it in the reflog."""
    now = time.time_ns() // 1000
    if after is None:
        db.execute("delete from refs where kind = ? and name = ?", (kind, name))
    else:
        db.execute("insert or replace into refs values(?, ?, ?, ?, ?)", (kind, name, after, now, reason))
    db.execute(
        "insert into reflog(kind, name, before, after, time_us, author, reason) values(?, ?, ?, ?, ?, ?, ?)",
        (kind, name, before, after, now, author, reason),
    )


def make_commit(
    store: Store,
    tree: Oid,
    parents: tuple[Oid, ...],
    message: str,
    author: str | None,
    meta: dict[str, str],
) -> CommitObject:
    """Return a commit on these parents, later than all of them."""
    values = [store.commit_object(parent) for parent in parents]
    now = time.time_ns() // 1000
    return CommitObject(
        tree=tree,
        parents=parents,
        time_us=max([now, *(value.time_us + 1 for value in values)]),
        author=author or default_author(),
        message=message,
        depth=values[0].depth + 1 if values else 0,
        generation=1 + max((value.generation for value in values), default=-1),
        jump=_jump(store, parents[0]) if parents else None,
        meta=meta,
    )


def _jump(store: Store, parent: Oid) -> Oid:
    value = store.commit_object(parent)
    if value.jump is None:
        return parent
    near = store.commit_object(value.jump)
    if near.jump is None:
        return parent
    far = store.commit_object(near.jump)
    return near.jump if value.depth - near.depth == near.depth - far.depth else parent


def default_author() -> str:
    """Return who is writing: ``GRISTMILL_AUTHOR``, else the name of the account."""
    named = os.environ.get("GRISTMILL_AUTHOR")
    if named:
        return named
    return _account(os.getuid())


@lru_cache
def _account(number: int) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
