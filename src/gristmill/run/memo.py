"""Results by fingerprint, across branches: what was computed once is taken over instead of computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.contracts import quarantine
from gristmill.define import Node
from gristmill.errors import NotFound
from gristmill.run.derivation import Derivation, load_derivation
from gristmill.run.partials import drop_partials, stored_partials

if TYPE_CHECKING:
    from gristmill.store import Store, Transaction

KIND = "memo"


def _key(node: Node, fingerprint: str) -> str:
    """Two tables of one definition are apart: rules, and rows set aside, belong to a name."""
    return f"{node.name} {fingerprint}"


def entry(node: Node, fingerprint: str, branch: str) -> tuple[str, str, bytes]:
    """Return the record, with kind and key, that says that a branch holds this result."""
    return KIND, _key(node, fingerprint), branch.encode()


def adopt(store: Store, tx: Transaction, node: Node, fingerprint: str) -> Derivation | None:
    """Take a table, its partial results and its rows set aside over from where the same was computed before.

    Returns what it was made from there, or None if it was not.

    Models and predictions are computed again: their functions may do more than return a value.
    """
    if node.kind not in ("table", "sql", "step"):
        return None
    branch = store.records.get(KIND, _key(node, fingerprint))
    if not branch:
        return None
    try:
        snapshot = store.snapshot(branch.decode())
    except NotFound:
        return None
    if node.name not in snapshot:
        return None
    made_from = load_derivation(snapshot, node.name)
    if made_from is None:
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
