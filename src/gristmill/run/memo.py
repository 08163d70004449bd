"""Results by fingerprint, across branches: what was computed once is taken over instead of computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import quarantine
from gristmill.define import Node
from gristmill.errors import NotFound

if TYPE_CHECKING:
    from gristmill.store import Store, Transaction

KIND = "memo"


class Entry(msgspec.Struct, frozen=True):
    """Where a result stands: the branch that holds it, usually a run's."""

    name: str
    branch: str


def entry(node: Node, fingerprint: str, branch: str) -> tuple[str, str, bytes]:
    """Return the record, with kind and key, that says that a branch holds this result."""
    return KIND, fingerprint, msgspec.json.encode(Entry(node.name, branch))


def adopt(store: Store, tx: Transaction, node: Node, fingerprint: str) -> bool:
    """Take a table, and its rows set aside, over from where the same was computed before; False if there is none.

    Models and predictions are computed again: their functions may do more than return a value.
    """
    if node.kind not in ("table", "sql", "step"):
        return False
    data = store.records.get(KIND, fingerprint)
    if not data:
        return False
    found = msgspec.json.decode(data, type=Entry)
    try:
        snapshot = store.snapshot(found.branch)
    except NotFound:
        return False
    if found.name not in snapshot:
        return False
    tx.adopt(node.name, snapshot)
    aside = quarantine.table_name(node.name)
    if aside in snapshot:
        tx.adopt(aside, snapshot)
    elif aside in tx:
        tx.drop_table(aside)
    return True
