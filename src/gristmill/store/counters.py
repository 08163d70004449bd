"""Counters shared by all branches: row ids, sequence numbers, field ids.

Numbers are reserved before they are used and never given out twice; gaps are fine. Row ids are reserved in
blocks, so that small writes seldom need a transaction of their own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gristmill.model.partitions import PartitionField, PartitionSpec
from gristmill.model.schema import Allocate
from gristmill.store.catalog import Catalog

if TYPE_CHECKING:
    import apsw

BLOCK = 4096
_ROWS = ("row", "sequence")
_SPEC, _PARTITION = -1, -2
_SPACES = {_SPEC: ("spec", 1), _PARTITION: ("partition", 1000)}
"""Parents that no field has, under which partition specs and their fields are numbered; counter and first number."""


class Counters:
    """The counters of one open store."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._blocks: dict[tuple[int, str, str], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def reserve(self, lineage: str, name: str, count: int) -> int:
        """Return the first of ``count`` consecutive numbers that nobody else will ever get."""
        slot = (os.getpid(), lineage, name)
        with self._lock:
            start, end = self._blocks.get(slot, (0, 0))
            if end - start < count:
                size = max(BLOCK, count) if count < BLOCK * 16 else count
                first = self._take(lineage, name, size)
                start, end = (start, first + size) if first == end else (first, first + size)
            self._blocks[slot] = (start + count, end)
            return start

    def take(self, lineage: str, name: str, count: int) -> int:
        """Return the first of ``count`` consecutive numbers, without setting a block aside for later."""
        return self._take(lineage, name, count)

    def _take(self, lineage: str, name: str, count: int) -> int:
        with self._catalog.write(lasting=False) as db:
            db.execute(
                "insert into counters values(?, ?, ?) on conflict do update set next = next + excluded.next",
                (lineage, name, count),
            )
            row = db.execute("select next from counters where lineage = ? and name = ?", (lineage, name)).fetchone()
        return int(row[0]) - count  # type: ignore[index]

    def field_id(self, lineage: str, parent: int, name: str, type_: str, used: frozenset[int]) -> int:
        """Return the id for adding a field.

        The same addition gives the same id on every branch, unless that id was used and dropped on this one.
        """
        with self._catalog.write(lasting=False) as db:
            return _field_id(db, lineage, parent, name, type_, used)

    def spec(self, lineage: str, terms: Sequence[tuple[int, str]]) -> PartitionSpec:
        """Return the spec of these (field id, transform), numbered; the same on every branch for the same terms."""
        with self._catalog.write(lasting=False) as db:

            def number(parent: int, name: str) -> int:
                return _field_id(db, lineage, parent, name, "", frozenset())

            fields = [PartitionField(number(_PARTITION, f"{s}:{kind}"), s, kind) for s, kind in terms]
            return PartitionSpec(number(_SPEC, ",".join(f"{s}:{kind}" for s, kind in terms)), tuple(fields))

    @contextmanager
    def new_lineage(self, lineage: str) -> Iterator[Allocate]:
        """Yield what gives ids to the fields of a lineage that is new on this branch, all in one transaction.

        The first block of row ids and of sequence numbers is reserved along with them, where no other branch has it.
        """
        with self._catalog.write(lasting=False) as db:
            known = db.execute("select 1 from counters where lineage = ?", (lineage,)).fetchone()
            if known is None:
                db.executemany("insert into counters values(?, ?, ?)", [(lineage, name, BLOCK) for name in _ROWS])
            yield lambda parent, name, type_: _field_id(db, lineage, parent, name, type_, frozenset())
        if known is not None:
            return
        with self._lock:
            self._blocks |= {(os.getpid(), lineage, name): (0, BLOCK) for name in _ROWS}


def _field_id(db: apsw.Connection, lineage: str, parent: int, name: str, type_: str, used: frozenset[int]) -> int:
    known = [
        row[0]
        for row in db.execute(
            "select id from field_ids where lineage = ? and parent = ? and name = ? and type = ? order by id",
            (lineage, parent, name, type_),
        )
    ]
    for field_id in known:
        if field_id not in used:
            return int(field_id)
    counter, first = _SPACES.get(parent, ("field", 1))
    db.execute(
        "insert into counters values(?, ?, ?) on conflict do update set next = next + 1", (lineage, counter, first + 1)
    )
    row = db.execute("select next from counters where lineage = ? and name = ?", (lineage, counter)).fetchone()
    field_id = int(row[0]) - 1  # type: ignore[index]
    db.execute("insert into field_ids values(?, ?, ?, ?, ?)", (lineage, parent, name, type_, field_id))
    return field_id
