"""Many changes on one branch that become one commit, or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import blake3
import msgspec

from gristmill.errors import Conflict, UsageError
from gristmill.model.changes import Change, SetKey, SetRequired
from gristmill.model.guard import Guard
from gristmill.model.names import check_table_name
from gristmill.model.predicates import Predicate
from gristmill.model.schema import Allocate, Schema, all_ids, schema_from_arrow
from gristmill.model.units import Unit
from gristmill.store.files import put_remembered
from gristmill.store.maps import map_get, map_items, map_update
from gristmill.store.objects import Oid, SchemaObject, TableObject, Text, Tree
from gristmill.store.pending import Pending
from gristmill.store.staging import SqlSource, Staged, stage
from gristmill.store.tables import (
    first_token,
    id_runs,
    inline_room,
    layout_of,
    schema_of,
)
from gristmill.store.view import View

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.held import Few
    from gristmill.store.store import Store

Space = Literal["tables", "documents", "units", "files"]


class Transaction(View):
    """Changes pinned to the commit it was begun at; it reads its own writes.

    Use it as a context manager: it commits on a clean exit and discards everything on an error. What is read
    through it is its read set: if another commit changed any of it since, the commit is `Stale`.
    """

    def __init__(
        self,
        store: Store,
        branch: str,
        base: Oid | None,
        tree: Tree,
        *,
        message: str = "",
        author: str | None = None,
        meta: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(store, tree, None if base is None else store.commit_value(base))
        self.branch = branch
        self.base = base
        self.base_tree = tree
        self.message = message
        self.author = author
        self.meta = dict(meta or {})
        self.idempotency_key = idempotency_key
        self.result: str | None = None
        self.sealed = False
        self.owns_branch = False
        self.also: tuple[Oid, ...] = ()
        self.starts = False
        self.undoes: tuple[Oid, ...] = ()
        self.reads: set[tuple[str, str]] = set()
        self.whole: set[str] = set()
        self.edited: set[str] = set()
        self.merges = False
        self.lays_out = False
        self.pending = Pending(store.catalog)
        self.payload = blake3.blake3()
        self._staged: list[Staged] = []

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.result is None:
            self.commit()
        elif self.result is None:
            self.discard()

    def _get(self, oid: Oid) -> object:
        return self.pending.get(oid)

    def _read(self, kind: str, name: str) -> None:
        self.reads.add((kind, name))

    # -- the tree -----------------------------------------------------------------------------------

    def put_entries(self, space: Space, changes: Mapping[str, bytes | None]) -> None:
        """Set entries of one of the four maps, or remove them with None."""
        if self.result is not None:
            raise UsageError("this transaction is committed", code="GM-U022", hint="begin another one")
        root = map_update(self.pending.get, self.pending.put, getattr(self._tree, space), changes)
        self._tree = msgspec.structs.replace(self._tree, **{space: root})

    @property
    def tree(self) -> Tree:
        """The state of everything as it would be."""
        return self._tree

    @tree.setter
    def tree(self, tree: Tree) -> None:
        self._tree = tree

    def with_table(self, tree: Tree, name: str, state: TableObject) -> Tree:
        """Return a tree with the state of one table, leaving the transaction's own as it is."""
        root = map_update(self.pending.get, self.pending.put, tree.tables, {name: self.pending.put(state)})
        return msgspec.structs.replace(tree, tables=root)

    def set_table(self, name: str, state: TableObject) -> None:
        """Set the state of a table."""
        self.put_entries("tables", {name: self.pending.put(state)})

    def note(self, act: str, name: str, content: bytes = b"") -> None:
        """Fold an act into the hash by which a repeated request is recognised."""
        self.payload.update(blake3.blake3(f"{act}\0{name}\0".encode() + content).digest())

    def note_rows(self, act: str, name: str, rows: Staged | Few) -> None:
        """Fold an act on rows into that hash, by their content and not by how it is laid out."""
        if self.idempotency_key is None:
            return
        from gristmill.store.digests import given_digest

        self.note(act, name, given_digest(rows).encode())

    # -- definitions --------------------------------------------------------------------------------

    def create_table(
        self,
        name: str,
        schema: pa.Schema,
        *,
        key: str | Sequence[str] = (),
        cluster_by: str | Sequence[str] = (),
        partition_by: str | Sequence[str] = (),
        codec: str | None = None,
        properties: Mapping[str, str] | None = None,
        beside: str | None = None,
    ) -> None:
        """Make an empty table.

        Args:
            name: dotted name.
            schema: its columns; a field that is not nullable is required. Fields whose name begins with
                ``_origin_`` are hidden.
            key: columns whose values together name a row; they are required.
            cluster_by: columns that files should be sorted by.
            partition_by: what files are divided by: columns, or terms such as ``day(at)``, ``bucket(16, id)``.
            codec: how files are compressed: zstd (the default), snappy, gzip or none.
            properties: what the rooms above note about it.
            beside: the table that it goes with, such as that of the rows that were set aside from it. Made on two
                branches they are one table, and merge.
        """
        from gristmill.store.alter import partitioned
        from gristmill.store.laying import CODEC, check_codec

        check_table_name(name)
        if name in self:
            raise Conflict(f"there is a table `{name}` already", code="GM-S009", hint="alter it, or drop it first")
        lineage = uuid.uuid4().hex
        if beside is not None and beside in self:
            lineage = blake3.blake3(f"{self.state(beside).uuid}/{name}".encode()).hexdigest()[:32]
        with self.store.counters.new_lineage(lineage) as allocate:
            fields = schema_from_arrow(schema, allocate)
        names, order = _names(key), _names(cluster_by)
        for column in order:
            fields.field(column)
        state = TableObject(
            uuid=lineage,
            schema=self.pending.put(SchemaObject(_require(fields, names))),
            key=tuple(fields.field(column).id for column in names),
            cluster_by=tuple(fields.field(column).id for column in order),
            properties={**(properties or {}), **({CODEC: check_codec(codec)} if codec is not None else {})},
            tokens={field.id: first_token(lineage, field.id) for field in fields.fields},
            used=id_runs(set(all_ids(fields.fields))),
        )
        terms = _names(partition_by)
        self.whole.add(name)
        self.note("create", name, repr((fields, names, order, terms, codec)).encode())
        self.set_table(name, partitioned(self, state, fields, terms) if terms else state)

    def _allocator(self, lineage: str, used: frozenset[int]) -> Allocate:
        def allocate(parent: int, name: str, type_: str) -> int:
            return self.store.counters.field_id(lineage, parent, name, type_, used)

        return allocate

    def adopt(self, name: str, source: View) -> None:
        """Take a table over from another state of this store.

        Within one lineage, or where there is no table of that name, the state is taken whole, ids and all;
        otherwise its rows replace those of the table here.
        """
        state = source.state(name)
        here = self.state(name) if name in self else None
        self.whole.add(name)
        self.note("adopt", name, self.pending.put(state))
        if here is None or here.uuid == state.uuid:
            self.set_table(name, state)
            return
        self.evolve(name, schema_of(self.pending.get, state.schema).to_arrow(hidden=True), replace=True)
        self.replace(name, source.reader(name, hidden=True))

    def drop_table(self, name: str) -> None:
        """Drop a table; the commits that had it keep it."""
        self._table_id(name)
        self.whole.add(name)
        self.note("drop", name)
        self.put_entries("tables", {name: None})

    def alter(self, name: str, *changes: Change) -> None:
        """Change a table's definition, in order; see `gristmill.model.changes`. No file is rewritten."""
        from gristmill.store.alter import altered

        state = self.state(name)
        for change in changes:
            state = self._checked(name, altered(self, state, change), change)
            self.set_table(name, state)
        self.whole.add(name)
        self.note("alter", name, repr(changes).encode())

    def _checked(self, name: str, state: TableObject, change: Change) -> TableObject:
        from gristmill.store.alter import check_key, check_no_nulls

        if isinstance(change, SetKey) and change.columns:
            check_key(self, name, state)
        if isinstance(change, SetRequired) and change.required:
            check_no_nulls(self, name, state, (change.name,))
        return state

    def evolve(
        self, name: str, schema: pa.Schema, *, replace: bool = False, key: str | Sequence[str] | None = None
    ) -> None:
        """Make a table's columns equal to an Arrow schema by the changes that keep its data.

        Args:
            name: the table.
            schema: the columns it should have, matched by name.
            replace: whether columns whose type cannot be widened are dropped and made anew (the caller replaces
                the rows in the same transaction); otherwise that is a Conflict.
            key: the key it should have from now on, if that should differ. With ``replace`` the rows are not
                checked for it, as they are about to go: they are dropped where the key changes.
        """
        from gristmill.store.alter import evolve_changes

        names = None if key is None else _names(key)
        changes = evolve_changes(self, self.state(name), schema, replace, names)
        if replace and any(isinstance(change, SetKey) for change in changes):
            from gristmill.store import writing

            writing.clear(self, name)
        if changes:
            self.alter(name, *changes)

    @property
    def written_bytes(self) -> int:
        """How much this transaction has written into the store so far, rows only."""
        return sum(file.size for staged in self._staged for file in staged.written)

    # -- rows ---------------------------------------------------------------------------------------

    def stage(self, name: str, rows: object) -> Staged:
        """Write rows into the store for a table without changing it; give the result to a write later."""
        if isinstance(rows, Staged):
            return rows
        return self.stage_as(name, self.schema_of(name), rows)

    def stage_as(self, name: str, schema: Schema, rows: object) -> Staged:
        """Stage rows like `stage`, in some of the table's columns."""
        if isinstance(rows, Staged):
            return rows
        state = self.state(name)
        staged = stage(
            self.store.output,
            name,
            schema,
            rows,
            room=inline_room(self.pending.get, state),
            layout=layout_of(self.pending.get, state).within(schema),
        )
        self._staged.append(staged)
        return staged

    def filter_staged(self, staged: Staged, sql_condition: str) -> Staged:
        """Return the staged rows for which an SQL condition over their columns is true, staged again."""
        from gristmill.store import compute

        con = compute.connection()
        sql = compute.bind(con, compute.scan_sql(staged.scan))
        source = SqlSource(con, f"SELECT * FROM ({sql}) WHERE {sql_condition}")
        kept = stage(self.store.output, staged.table, staged.schema, source)
        self._staged.append(kept)
        return kept

    def append(self, name: str, rows: object) -> int:
        """Add rows and return how many; a key that is there already is refused.

        Args:
            name: the table.
            rows: an Arrow table or stream, a pandas or Polars frame, a `SqlSource`, or `Staged` rows. Columns
                by name; missing nullable ones become null.

        Raises:
            DataError: rows that do not fit, or keys that repeat; names three of them.
        """
        from gristmill.store import writing

        return writing.append(self, name, rows)

    def upsert(self, name: str, rows: object) -> int:
        """Set rows by key and return how many were there before; the others are added.

        Raises:
            UsageError: the table has no key.
            DataError: rows that do not fit, or rows that share a key with each other.
        """
        from gristmill.store import writing

        return writing.upsert(self, name, rows)

    def delete(self, name: str, where: Predicate | None = None, *, keys: object = None) -> int:
        """Delete rows and return how many.

        Args:
            name: the table.
            where: rows that satisfy it (`Always()` for all of them).
            keys: or rows whose keys are among these; Arrow rows with the key's columns.
        """
        from gristmill.store import writing

        if (where is None) == (keys is None):
            raise UsageError("delete takes either a predicate or keys", code="GM-U114")
        if where is not None:
            return writing.delete_where(self, name, where)
        return writing.delete_keys(self, name, keys)

    def replace(self, name: str, rows: object) -> bool:
        """Make a table hold just these rows and return whether that changed anything.

        Rows with the same digest change nothing. With a key, rows keep their ids, and only those that are new,
        gone or different are touched.
        """
        from gristmill.store import writing

        return writing.replace(self, name, rows)

    def apply(self, name: str, changes: object, *, by: Sequence[str] = ()) -> tuple[int, int]:
        """Apply a weighted change set and return how many rows it put in and how many it took out.

        With a key, a row is taken out by its key; one that is taken out and put in again is an update in place and
        keeps its row id. Without a key, rows are taken out by their visible values: nulls and NaNs equal themselves,
        and 0.0 equals -0.0. Rows that do not change are not rewritten.

        Args:
            name: the table.
            changes: an Arrow stream, a frame or a `SqlSource` of the table's columns and ``_w`` (int64): a row of
                weight n is put in n times, one of weight -n is taken out n times. Changes that cancel each other
                must have been left out.
            by: without a key, the columns that tell rows apart (nulls are values); all columns where it is empty.

        Raises:
            DataError: a row to be taken out is not there, or one to be put in has a key that is.
        """
        from gristmill.store.applying import apply

        return apply(self, name, changes, by=by)

    # -- units, documents, files --------------------------------------------------------------------

    def put_units(self, source: str, units: Mapping[str, Unit]) -> None:
        """Make these the units of a source; others of it are forgotten.

        Commits that land other units meanwhile are combined with this one, unless the units were read here.
        """
        encoder = msgspec.msgpack.Encoder(order="sorted")
        values: dict[str, bytes | None] = {f"{source}\0{name}": encoder.encode(unit) for name, unit in units.items()}
        self.note("units", source, b"".join(sorted(value for value in values.values() if value)))
        known = (key for key, _ in map_items(self.pending.get, self._tree.units))
        gone = {key: None for key in known if key.startswith(f"{source}\0") and key not in values}
        self.put_entries("units", {**gone, **values})

    def set_units(self, source: str, changes: Mapping[str, Unit | None]) -> None:
        """Set these units of a source, or forget those whose value is None; its other units stay as they are.

        Costs as much as the changes, however many units the source has. Combined with what others land meanwhile,
        unless both set the same unit.
        """
        encoder = msgspec.msgpack.Encoder(order="sorted")
        values = {
            f"{source}\0{name}": None if unit is None else encoder.encode(unit)
            for name, unit in sorted(changes.items())
        }
        self.note("units", source, b"".join(key.encode() + (value or b"-") for key, value in values.items()))
        self.put_entries("units", values)

    def put_document(self, path: str, content: bytes) -> None:
        """Set the content of a small versioned text."""
        self.note("document", path, content)
        self.put_entries("documents", {path: self.pending.put(Text(content))})

    def drop_document(self, path: str) -> None:
        """Remove a document; nothing happens if there is none."""
        self.note("drop document", path)
        self.put_entries("documents", {path: None})

    def put_files(self, name: str, folder: Path) -> None:
        """Make a tree of files equal to the content of a folder."""
        check_table_name(name)
        entries = put_remembered(self.store, Path(folder))
        before = map_get(self.pending.get, self._tree.files, name)
        old = dict(map_items(self.pending.get, before or None))
        changes: dict[str, bytes | None] = {path: None for path in old if path not in entries}
        changes.update({path: value for path, value in entries.items() if old.get(path) != value})
        root = map_update(self.pending.get, self.pending.put, before or None, changes)
        self.note("files", name, root or b"")
        self.put_entries("files", {name: root or b""})

    def drop_files(self, name: str) -> None:
        """Remove a tree of files; nothing happens if there is none."""
        self.note("drop files", name)
        self.put_entries("files", {name: None})

    # -- the end ------------------------------------------------------------------------------------

    def commit(self, *, guard: Guard | None = None) -> str:
        """Make everything one commit on the branch and return its id; the head's id if nothing differs from it.

        Raises:
            Stale: something this transaction read or wrote has been changed by another commit since.
            GristmillError: whatever the guard raises; the branch has not moved.
        """
        from gristmill.store.committing import commit

        self.result = commit(self, guard)
        return self.result

    def discard(self) -> None:
        """Forget everything and remove the files that were written."""
        if not self.sealed:
            for staged in self._staged:
                staged.discard()
        self._staged = []


def _names(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _require(schema: Schema, names: Sequence[str]) -> Schema:
    for name in names:
        schema.field(name)
    return Schema(tuple(msgspec.structs.replace(f, required=True) if f.name in names else f for f in schema.fields))
