"""Small records beside the history: run records, memo entries, cached graphs, leases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gristmill.store.catalog import Catalog


class Records:
    """Values by kind and key; each call is a transaction of its own."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def put(self, kind: str, key: str, value: bytes, *, lasting: bool = True) -> None:
        """Set a value.

        Args:
            kind: what sort of record.
            key: its name among these.
            value: what to keep.
            lasting: whether it must be on the disk on return; otherwise it survives the end of the process but may
                be lost with the power, unless a later write that lasts came after it.
        """
        self.put_all([(kind, key, value)], lasting=lasting)

    def put_all(self, values: Sequence[tuple[str, str, bytes]], *, lasting: bool = True) -> None:
        """Set several values, each of a kind and key, all in one transaction; see `put`."""
        with self._catalog.write(lasting=lasting) as db:
            db.executemany("insert or replace into records values(?, ?, ?)", values)

    def put_if_absent(self, kind: str, key: str, value: bytes) -> bool:
        """Set a value unless there is one, and return whether it was set."""
        with self._catalog.write() as db:
            db.execute("insert or ignore into records values(?, ?, ?)", (kind, key, value))
            return db.changes() == 1

    def get(self, kind: str, key: str) -> bytes | None:
        """Return a value, or None."""
        row = self._catalog.one("select value from records where kind = ? and key = ?", (kind, key))
        return None if row is None else bytes(row[0])

    def items(
        self, kind: str, *, prefix: str = "", newest_first: bool = True, limit: int | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield (key, value) of keys that begin with ``prefix``, the greatest key first unless told otherwise."""
        order = "desc" if newest_first else "asc"
        sql = f"select key, value from records where kind = ? and substr(key, 1, ?) = ? order by key {order} limit ?"
        for key, value in self._catalog.rows(sql, (kind, len(prefix), prefix, -1 if limit is None else limit)):
            yield str(key), bytes(value)

    def delete(self, kind: str, key: str) -> bool:
        """Remove a value and return whether there was one."""
        with self._catalog.write() as db:
            db.execute("delete from records where kind = ? and key = ?", (kind, key))
            return db.changes() == 1
