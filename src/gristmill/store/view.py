"""Reading one state of everything: what snapshots and transactions share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import NotFound, did_you_mean
from gristmill.model.commits import Commit
from gristmill.model.delta import Delta
from gristmill.model.names import is_system_table
from gristmill.model.predicates import Predicate, Range
from gristmill.model.scan import ScanPlan
from gristmill.model.schema import Schema
from gristmill.model.units import Unit
from gristmill.store.maps import Get, map_get, map_items
from gristmill.store.objects import Oid, TableObject, Text, Tree
from gristmill.store.tables import TableState, known_ranges, scan_plan, schema_of, table_object, table_state

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.store import Store

_UNIT = msgspec.msgpack.Decoder(Unit)


@dataclass(frozen=True, slots=True)
class FilesState:
    """A tree of opaque files at a commit.

    Attributes:
        id: hash of the whole.
        entries: by path, the content's blake3 (hex) and its size in bytes.
    """

    id: str
    entries: dict[str, tuple[str, int]]


class View:
    """A state of everything."""

    def __init__(self, store: Store, tree: Tree, commit: Commit | None) -> None:
        self.store = store
        self._tree = tree
        self._commit = commit

    def _get(self, oid: Oid) -> object:
        return self.store.catalog.get(oid)

    @property
    def _objects(self) -> Get:
        return self._get  # type: ignore[return-value]

    def _read(self, kind: str, name: str) -> None:
        """Note that something was looked at; a transaction keeps count."""

    # -- tables -------------------------------------------------------------------------------------

    def tables(self, *, system: bool = False) -> list[str]:
        """Return the names of the tables, sorted; those of the system only on request."""
        names = (name for name, _ in map_items(self._objects, self._tree.tables))
        return sorted(name for name in names if system or not is_system_table(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and map_get(self._objects, self._tree.tables, name) is not None

    def _table_id(self, name: str) -> Oid:
        oid = map_get(self._objects, self._tree.tables, name)
        if oid is None:
            raise NotFound(
                f"there is no table `{name}`" + (f" at {self._commit.id[:12]}" if self._commit else ""),
                hint=did_you_mean(name, self.tables(system=True)),
            )
        return oid

    def state(self, name: str) -> TableObject:
        """Return the stored state of a table, without noting that it was read; raises NotFound."""
        return table_object(self._objects, self._table_id(name))

    def schema_of(self, name: str) -> Schema:
        """Return the schema of a table, without noting that it was read; raises NotFound."""
        return schema_of(self._objects, self.state(name).schema)

    def table(self, name: str) -> TableState:
        """Return the state of a table; raises NotFound."""
        self._read("table", name)
        return table_state(self._objects, self._table_id(name))

    def ranges(self, name: str) -> dict[str, Range]:
        """Return what statistics know of each column of a table, without reading rows: bounds, and nulls at most.

        Rows that are deleted but still in a file count too, so a bound may be wider than the rows.
        """
        self._read("table", name)
        return known_ranges(self._objects, self.state(name))

    def scan(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Predicate | None = None,
        row_ids: bool = False,
        hidden: bool = False,
    ) -> ScanPlan:
        """Return how to read a table, without reading it.

        Args:
            name: the table.
            columns: which ones, in this order; all visible ones if None.
            where: only rows that satisfy it; files that cannot hold one are not read.
            row_ids: whether to yield ``_row_id`` too.
            hidden: with no ``columns``, whether to yield the hidden columns (origins) too.
        """
        self._read("table", name)
        return self._plan(name, columns=columns, where=where, row_ids=row_ids, hidden=hidden)

    def scan_at(self, state_id: str, *, columns: Sequence[str] | None = None) -> ScanPlan:
        """Return how to read a state of a table that `TableState.id` named; raises NotFound where it is gone."""
        state = table_object(self._objects, bytes.fromhex(state_id))
        return scan_plan(self._objects, self.store.path, state, columns_=columns)

    def has_state(self, state_id: str) -> bool:
        """Return whether a state that `TableState.id` named is stored."""
        try:
            return self._objects(bytes.fromhex(state_id)) is not None
        except NotFound:
            return False

    def delta_since(self, name: str, state_id: str) -> Delta:
        """Return what changed in a table since a state that `TableState.id` named; raises NotFound where it is gone."""
        from gristmill.store.diffs import table_delta

        self._read("table", name)
        return table_delta(self._objects, self.store.path, name, bytes.fromhex(state_id), self._table_id(name))

    def delta_between(self, name: str, before_id: str | None, after_id: str | None) -> Delta:
        """Return what changed between two states of a table, each by its `TableState.id`, None where there was none."""
        from gristmill.store.diffs import table_delta

        before, after = (None if state is None else bytes.fromhex(state) for state in (before_id, after_id))
        return table_delta(self._objects, self.store.path, name, before, after)

    @property
    def commit_id(self) -> str:
        """The commit that this is the state of, or was begun at; empty before the first one."""
        return self._commit.id if self._commit is not None else ""

    def _plan(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Predicate | None = None,
        row_ids: bool = False,
        hidden: bool = False,
        sequence: bool = False,
        positions: bool = False,
    ) -> ScanPlan:
        return scan_plan(
            self._objects,
            self.store.path,
            self.state(name),
            columns_=columns,
            where=where,
            row_ids=row_ids,
            hidden=hidden,
            sequence=sequence,
            positions=positions,
        )

    def reader(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Predicate | None = None,
        row_ids: bool = False,
        hidden: bool = False,
    ) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow batches; the arguments are those of `scan`."""
        from gristmill.store import compute

        return compute.reader(self.scan(name, columns=columns, where=where, row_ids=row_ids, hidden=hidden))

    def to_arrow(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Predicate | None = None,
        row_ids: bool = False,
        hidden: bool = False,
    ) -> pa.Table:
        """Return the rows as an Arrow table; the arguments are those of `scan`."""
        return self.reader(name, columns=columns, where=where, row_ids=row_ids, hidden=hidden).read_all()

    def preview(
        self, name: str, *, columns: Sequence[str] | None = None, where: Predicate | None = None, rows: int = 10
    ) -> pa.Table:
        """Return a few rows to look at, without noting that the table was read."""
        from gristmill.store import compute

        return compute.head(self._plan(name, columns=columns, where=where), rows)

    def digest(self, name: str) -> str:
        """Return the digest of a table's visible content: equal for equal multisets of rows, whatever the layout.

        It is the number of rows and the sum, modulo 2^128, of a hash of each row. Files are hashed when first
        asked for, and remembered.
        """
        from gristmill.store.digests import table_digest

        self._read("table", name)
        return table_digest(self.store.catalog, self._objects, self.store.path, self.state(name))

    # -- units, documents, files --------------------------------------------------------------------

    def sources(self) -> list[str]:
        """Return the names of the sources that have landed units."""
        return sorted({key.split("\0")[0] for key, _ in map_items(self._objects, self._tree.units)})

    def units(self, source: str) -> dict[str, Unit]:
        """Return the units of a source by name."""
        self._read("units", source)
        prefix = f"{source}\0"
        entries = map_items(self._objects, self._tree.units)
        found = [_UNIT.decode(value) for key, value in entries if key.startswith(prefix)]
        return {unit.name: unit for unit in sorted(found, key=lambda unit: unit.number)}

    def document(self, path: str) -> bytes | None:
        """Return the content of a document, or None."""
        self._read("document", path)
        oid = map_get(self._objects, self._tree.documents, path)
        if oid is None:
            return None
        value = self._get(oid)
        assert isinstance(value, Text)
        return value.content

    def documents(self, prefix: str = "") -> list[str]:
        """Return the paths of the documents that begin with ``prefix``, sorted."""
        paths = (path for path, _ in map_items(self._objects, self._tree.documents))
        return sorted(path for path in paths if path.startswith(prefix))

    def file_trees(self) -> list[str]:
        """Return the names of the trees of files, sorted."""
        return sorted(name for name, _ in map_items(self._objects, self._tree.files))

    def files(self, name: str) -> FilesState:
        """Return a tree of files; raises NotFound."""
        self._read("files", name)
        root = map_get(self._objects, self._tree.files, name)
        if root is None:
            raise NotFound(f"there are no files `{name}`", hint=did_you_mean(name, self.file_trees()))
        entries = {path: unpack_entry(value) for path, value in map_items(self._objects, root or None)}
        return FilesState(root.hex(), dict(sorted(entries.items())))


def pack_entry(digest: bytes, size: int) -> bytes:
    """Return a file's entry in a tree of files: its size, 8 bytes big-endian, and its hash."""
    return size.to_bytes(8, "big") + digest


def unpack_entry(value: bytes) -> tuple[str, int]:
    """Return the content's hash (hex) and size of an entry."""
    return value[8:].hex(), int.from_bytes(value[:8], "big")
