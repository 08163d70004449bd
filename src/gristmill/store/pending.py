"""Objects that exist only inside one transaction until it is committed."""

from __future__ import annotations

from gristmill.store.catalog import Catalog
from gristmill.store.objects import Object, Oid, encode, references


class Pending:
    """New objects on top of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._new: dict[Oid, tuple[Object, bytes]] = {}

    def get(self, oid: Oid) -> Object:
        """Return an object, new or stored."""
        new = self._new.get(oid)
        return self._catalog.get(oid) if new is None else new[0]

    def put(self, value: Object) -> Oid:
        """Keep a new object and return its name."""
        oid, payload = encode(value)
        self._new.setdefault(oid, (value, payload))
        return oid

    def reachable(self, root: Oid) -> list[tuple[Oid, Object, bytes]]:
        """Return the new objects that ``root`` leads to; what a transaction made and dropped is left out."""
        found: dict[Oid, tuple[Object, bytes]] = {}
        waiting = [root]
        while waiting:
            oid = waiting.pop()
            new = self._new.get(oid)
            if new is None or oid in found:
                continue
            found[oid] = new
            waiting += [*references(new[0]), *_table_roots(new[0])]
        return [(oid, value, payload) for oid, (value, payload) in found.items()]


def _table_roots(value: Object) -> list[Oid]:
    """Return the names that stand in the values of a map: states, documents, file trees."""
    entries = getattr(value, "entries", None) or {}
    return [entry for entry in entries.values() if len(entry) == 32]
