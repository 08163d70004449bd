"""Tables that parity found to differ from their definition: the next run computes them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.run.derivation import load_derivation
from gristmill.run.partials import as_computed

if TYPE_CHECKING:
    from gristmill.store import Store, View

KIND = "suspect"
REASON = "parity found rows that differ from its definition"


def suspect(store: Store, view: View, name: str) -> None:
    """Remember, outside of history, that a table is not what its definition gives, or that following it went wrong."""
    from gristmill.run.unchanged import forget

    store.records.put(KIND, _key(view, name), b"1")
    forget(store)


def suspected(store: Store, view: View, name: str) -> str:
    """Return the reason to compute a table in full where parity found that it differs; empty where it did not."""
    if name not in view:
        return ""
    return REASON if store.records.get(KIND, _key(view, name)) else ""


def cleared(store: Store, view: View, name: str) -> None:
    """Forget what was remembered of a table as it is in ``view``, because it has been computed in full."""
    store.records.delete(KIND, _key(view, name))


def _key(view: View, name: str) -> str:
    before = load_derivation(view, name)
    return f"{name} {as_computed(view, name, before.partials if before is not None else {})}"
