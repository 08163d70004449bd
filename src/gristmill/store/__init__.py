"""The versioned store: objects, tables, commits, refs; the only place with state.

Read ``store.py`` first, then ``transaction.py`` and ``committing.py`` for a write's way and ``tables.py`` and
``compute.py`` for a read's. ``objects.py`` holds the formats, which ``docs/format.md`` describes. May import
``gristmill.model`` and ``gristmill.errors``; DuckDB only inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.store import compute
    from gristmill.store.diffs import StoreDiff
    from gristmill.store.opening import open_store
    from gristmill.store.snapshot import Snapshot
    from gristmill.store.staging import SqlSource, Staged
    from gristmill.store.store import Store
    from gristmill.store.tables import TableState
    from gristmill.store.transaction import Transaction
    from gristmill.store.view import FilesState, View

_HOMES = {
    "FilesState": "view",
    "Snapshot": "snapshot",
    "SqlSource": "staging",
    "Staged": "staging",
    "Store": "store",
    "StoreDiff": "diffs",
    "TableState": "tables",
    "Transaction": "transaction",
    "View": "view",
    "compute": "compute",
    "open_store": "opening",
}

__all__ = [
    "FilesState",
    "Snapshot",
    "SqlSource",
    "Staged",
    "Store",
    "StoreDiff",
    "TableState",
    "Transaction",
    "View",
    "compute",
    "open_store",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"gristmill.store.{_HOMES[name]}")
    return module if name == "compute" else getattr(module, name)
