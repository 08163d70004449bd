"""Results by fingerprint, across branches: what was computed once is taken over instead of computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.contracts import quarantine
from gristmill.define import Node
from gristmill.errors import NotFound
from gristmill.run import records
from gristmill.run.derivation import Derivation, load_derivation
from gristmill.run.partials import as_computed, drop_partials, stored_partials

if TYPE_CHECKING:
    from gristmill.store import Snapshot, Store, Transaction

KIND = "memo"


def _key(node: Node, fingerprint: str) -> str:
    """Two tables of one definition are apart: rules, and rows set aside, belong to a name."""
    return f"{node.name} {fingerprint}"


def entry(node: Node, fingerprint: str, run: str) -> tuple[str, str, bytes]:
    """Return the record, with kind and key, that says that a run made this result."""
    return KIND, _key(node, fingerprint), run.encode()


def made_by(store: Store, node: Node, fingerprint: str) -> str:
    """Return the run that made just this, as it was last noted; empty where none did.

    Models and predictions are made again: their functions may do more than return a value.
    """
    if node.kind not in ("table", "sql", "step"):
        return ""
    return (store.records.get(KIND, _key(node, fingerprint)) or b"").decode()


def adopt(store: Store, tx: Transaction, node: Node, derivation: Derivation) -> Derivation | None:
    """Take a table, its partial results and its rows set aside over from the run that made the same.

    They stand on the run's branch, or, where it was published, in the commit that it became. Returns what the table
    was made from there; None where it is not there any more, or is not as that run left it.

    Args:
        store: where both are.
        tx: where the table is wanted.
        node: the table's definition.
        derivation: what it would be made from.
    """
    run = made_by(store, node, derivation.fingerprint)
    snapshot = _outcome(store, run) if run else None
    made_from = load_derivation(snapshot, node.name) if snapshot is not None else None
    if snapshot is None or made_from is None or node.name not in snapshot:
        return None
    if made_from.fingerprint != derivation.fingerprint:
        return None
    if made_from.output != as_computed(snapshot, node.name, made_from.partials):
        return None
    tx.adopt(node.name, snapshot)
    drop_partials(tx, node.name)
    for table in stored_partials(snapshot, node.name):
        tx.adopt(table, snapshot)
    aside = quarantine.table_name(node.name)
    if aside in snapshot:
        tx.adopt(aside, snapshot)
    elif aside in tx:
        tx.drop_table(aside)
    return made_from


def _outcome(store: Store, run: str) -> Snapshot | None:
    """Return what a run came to: its branch, or the commit that was published; None where neither is kept."""
    try:
        if run in store.branches():
            return store.snapshot(run)
        head = records.load(store, run).head
        return store.snapshot(head) if head else None
    except NotFound:
        return None
