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
from gristmill.model.schema import Schema, all_ids, schema_from_arrow
from gristmill.model.units import Unit
from gristmill.store import edits
from gristmill.store.alter import altered, check_key, check_no_nulls, evolve_changes, runs
from gristmill.store.files import put_folder
from gristmill.store.maps import map_get, map_items, map_update
from gristmill.store.objects import Oid, SchemaObject, TableObject, Text, Tree
from gristmill.store.pending import Pending
from gristmill.store.snapshot import Snapshot
from gristmill.store.staging import SqlSource, Staged, stage
from gristmill.store.tables import (
    Edit,
    all_keys,
    apply_edit,
    first_token,
    key_fields,
    schema_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.store import Store

Space = Literal["tables", "documents", "units", "files"]


class Transaction(Snapshot):
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
        self.also: tuple[Oid, ...] = ()
        self.undoes: tuple[Oid, ...] = ()
        self.reads: set[tuple[str, str]] = set()
        self.whole: set[str] = set()
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

    # -- the tree ---------------------------------------------------------------------------------------------

    def put_entries(self, space: Space, changes: Mapping[str, bytes | None]) -> None:
        """Set entries of one of the four maps, or remove them with None."""
        root = map_update(self.pending.get, self.pending.put, getattr(self._tree, space), changes)
        self._tree = msgspec.structs.replace(self._tree, **{space: root})

    @property
    def tree(self) -> Tree:
        """The state of everything as it would be."""
        return self._tree

    @tree.setter
    def tree(self, tree: Tree) -> None:
        self._tree = tree

    def _set_table(self, name: str, state: TableObject) -> None:
        self.put_entries("tables", {name: self.pending.put(state)})

    def _note(self, act: str, name: str, content: bytes = b"") -> None:
        """Fold an act into the hash by which a repeated request is recognised."""
        self.payload.update(blake3.blake3(f"{act}\0{name}\0".encode() + content).digest())

    def _note_rows(self, act: str, name: str, staged: Staged) -> None:
        if self.idempotency_key is None:
            return
        from gristmill.store.digests import files_digest

        scan = staged.scan
        self._note(act, name, files_digest(scan.fields, scan.files).encode())

    # -- definitions ------------------------------------------------------------------------------------------

    def create_table(
        self,
        name: str,
        schema: pa.Schema,
        *,
        key: str | Sequence[str] = (),
        cluster_by: str | Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Make an empty table.

        Args:
            name: dotted name.
            schema: its columns; a field that is not nullable is required. Fields whose name begins with
                ``_origin_`` are hidden.
            key: columns whose values together name a row; they are required.
            cluster_by: columns that files should be sorted by.
            properties: what the rooms above note about it.
        """
        check_table_name(name)
        if name in self:
            raise Conflict(
                f"there is a table `{name}` already", code="GM-S009", hint="alter it, or drop it first"
            )
        lineage = uuid.uuid4().hex
        fields = schema_from_arrow(schema, self._allocator(lineage, frozenset()))
        names, order = _names(key), _names(cluster_by)
        for column in order:
            fields.field(column)
        state = TableObject(
            uuid=lineage,
            schema=self.pending.put(SchemaObject(_require(fields, names))),
            key=tuple(fields.field(column).id for column in names),
            cluster_by=tuple(fields.field(column).id for column in order),
            properties=dict(properties or {}),
            tokens={field.id: first_token(lineage, field.id) for field in fields.fields},
            used=runs(set(all_ids(fields.fields))),
        )
        self.whole.add(name)
        self._note("create", name, repr((fields, names, order)).encode())
        self._set_table(name, state)

    def _allocator(self, lineage: str, used: frozenset[int]):  # type: ignore[no-untyped-def]
        def allocate(parent: int, name: str, type_: str) -> int:
            return self.store.counters.field_id(lineage, parent, name, type_, used)

        return allocate

    def drop_table(self, name: str) -> None:
        """Drop a table; the commits that had it keep it."""
        self._table_id(name)
        self.whole.add(name)
        self._note("drop", name)
        self.put_entries("tables", {name: None})

    def alter(self, name: str, *changes: Change) -> None:
        """Change a table's definition, in order; see `gristmill.model.changes`. No file is rewritten."""
        state = self._table(name)
        for change in changes:
            state = self._checked(name, altered(self, state, change), change)
            self._set_table(name, state)
        self.whole.add(name)
        self._note("alter", name, repr(changes).encode())

    def _checked(self, name: str, state: TableObject, change: Change) -> TableObject:
        if isinstance(change, SetKey) and change.columns:
            check_key(self, name, state)
        if isinstance(change, SetRequired) and change.required:
            check_no_nulls(self, name, state, (change.name,))
        return state

    def evolve(self, name: str, schema: pa.Schema, *, replace: bool = False) -> None:
        """Make a table's columns equal to an Arrow schema by the changes that keep its data.

        Args:
            name: the table.
            schema: the columns it should have, matched by name.
            replace: whether columns whose type cannot be widened are dropped and made anew (the caller replaces
                the rows in the same transaction); otherwise that is a Conflict.
        """
        changes = evolve_changes(self, self._table(name), schema, replace)
        if changes:
            self.alter(name, *changes)

    # -- rows -------------------------------------------------------------------------------------------------

    def stage(self, name: str, rows: object) -> Staged:
        """Write rows into the store for a table without changing it; give the result to a write later."""
        if isinstance(rows, Staged):
            return rows
        state = self._table(name)
        staged = stage(self.store.output, name, self._schema(state), rows)
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
        state, staged = self._table(name), self.stage(name, rows)
        self._note_rows("append", name, staged)
        if not staged.row_count:
            return 0
        if state.key:
            self.check_new_keys(name, state, staged)
        self._apply(name, state, Edit(added=self._files(state, staged)))
        return staged.row_count

    def check_new_keys(self, name: str, state: TableObject, staged: Staged) -> None:
        """Refuse staged rows whose keys are null, repeat, or are in the table."""
        keys = self._keys(state, staged)
        try:
            edits.refuse_repeats(keys, name)
            edits.refuse_known(keys, name)
        finally:
            keys.close()

    def _keys(self, state: TableObject, staged: Staged, *, full: bool = False) -> edits.Keys:
        key = key_fields(self.pending.get, state)
        fields = self._schema(state).fields
        where = None if full else edits.key_range(staged, key)
        old = self._state_plan(state, None if full else [f.name for f in key], where)
        return edits.Keys(key, staged.plan(fields, positions=True), old)

    def _state_plan(self, state: TableObject, columns: list[str] | None, where: Predicate | None):  # type: ignore[no-untyped-def]
        from gristmill.store.tables import scan_plan

        return scan_plan(
            self.pending.get,
            self.store.path,
            state,
            columns_=columns,
            where=where,
            row_ids=True,
            hidden=True,
            sequence=True,
            positions=True,
        )

    def upsert(self, name: str, rows: object) -> int:
        """Set rows by key and return how many were there before; the others are added.

        Raises:
            UsageError: the table has no key.
            DataError: rows that do not fit, or rows that share a key with each other.
        """
        state = self._keyed(name, "upsert")
        staged = self.stage(name, rows)
        self._note_rows("upsert", name, staged)
        if not staged.row_count:
            return 0
        keys = self._keys(state, staged)
        try:
            edits.refuse_repeats(keys, name)
            edit, known = edits.upsert_edit(
                keys,
                self.store.output,
                self._schema(state),
                state.schema,
                staged,
                self.store.counters,
                state.uuid,
            )
        finally:
            keys.close()
        self._apply(name, state, edit)
        return known

    def delete(self, name: str, where: Predicate | None = None, *, keys: object = None) -> int:
        """Delete rows and return how many.

        Args:
            name: the table.
            where: rows that satisfy it (`Always()` for all of them).
            keys: or rows whose keys are among these; Arrow rows with the key's columns.
        """
        state = self._table(name)
        if (where is None) == (keys is None):
            raise UsageError("delete takes either a predicate or keys", code="GM-U014")
        if where is not None:
            self.whole.add(name)
            self._note("delete", name, repr(where).encode())
            dead = _positions(self._state_plan(state, [], where))
        else:
            dead = self._positions_of_keys(name, self._keyed(name, "delete by keys"), keys)
        if dead:
            self._apply(name, state, Edit(dead=dead))
        return sum(len(part) for part in dead.values())

    def _positions_of_keys(self, name: str, state: TableObject, rows: object):  # type: ignore[no-untyped-def]
        key = key_fields(self.pending.get, state)
        staged = stage(self.store.output, name, Schema(key), rows)
        self._note_rows("delete", name, staged)
        old = self._state_plan(state, [f.name for f in key], edits.key_range(staged, key))
        keys = edits.Keys(key, staged.plan(key, positions=True), old)
        try:
            return keys.positions(
                f"SELECT {edits.FILE} AS f, {edits.POSITION} AS p FROM old SEMI JOIN new USING ({keys.using})"
            )
        finally:
            keys.close()
            staged.discard()

    def replace(self, name: str, rows: object) -> bool:
        """Make a table hold just these rows and return whether that changed anything.

        Rows with the same digest change nothing. With a key, rows keep their ids, and only those that are new,
        gone or different are touched.
        """
        state, staged = self._table(name), self.stage(name, rows)
        self._note_rows("replace", name, staged)
        self.whole.add(name)
        if state.key and staged.row_count:
            keys = self._keys(state, staged, full=True)
            try:
                edits.refuse_repeats(keys, name)
                return self._replace_by_key(name, state, staged, keys)
            finally:
                keys.close()
        if self._equal(state, staged):
            staged.discard()
            return False
        self._apply(
            name, state, Edit(added=self._files(state, staged), removed=all_keys(self.pending.get, state))
        )
        return True

    def _equal(self, state: TableObject, staged: Staged) -> bool:
        from gristmill.store.digests import files_digest, table_digest

        if state.rows != staged.row_count:
            return False
        before = table_digest(self.store.catalog, self.pending.get, self.store.path, state)
        return before == files_digest(staged.schema.visible, staged.scan.files)

    def _replace_by_key(self, name: str, state: TableObject, staged: Staged, keys: edits.Keys) -> bool:
        schema = self._schema(state)
        edits.compare_by_key(keys, schema.visible)
        changed = int(str(keys.rows("SELECT count(*) FROM change")[0][0]))
        where = (self.store.output, schema, state.schema, staged, self.store.counters, state.uuid)
        if changed > max(state.rows, staged.row_count) // 2:
            if state.rows:
                removed = all_keys(self.pending.get, state)
                self._apply(name, state, edits.rewrite_edit(keys, *where, removed))
            else:
                self._apply(name, state, Edit(added=self._files(state, staged)))
            return True
        edit, touched = edits.replace_edit(keys, *where)
        if edit:
            self._apply(name, state, edit, touched)
        return bool(edit)

    def _apply(self, name: str, state: TableObject, edit: Edit, touched: set[int] | None = None) -> None:
        self._set_table(name, apply_edit(self.pending.get, self.pending.put, state, edit, touched))

    def _files(self, state: TableObject, staged: Staged):  # type: ignore[no-untyped-def]
        sequence = self.store.counters.reserve(state.uuid, "sequence", 1)
        return edits.data_files(self.store.counters, state.uuid, state.schema, staged.written, sequence)

    def _schema(self, state: TableObject) -> Schema:
        return schema_of(self.pending.get, state.schema)

    def _keyed(self, name: str, act: str) -> TableObject:
        state = self._table(name)
        if not state.key:
            raise UsageError(
                f"`{name}` has no key, so it cannot {act}", code="GM-U015", hint="declare a key first"
            )
        return state

    # -- units, documents, files ------------------------------------------------------------------------------

    def put_units(self, source: str, units: Mapping[str, Unit]) -> None:
        """Set units of a source; the others stay."""
        encoder = msgspec.msgpack.Encoder(order="sorted")
        values = {f"{source}\0{name}": encoder.encode(unit) for name, unit in units.items()}
        self._note("units", source, b"".join(sorted(values.values())))
        self.put_entries("units", values)

    def put_document(self, path: str, content: bytes) -> None:
        """Set the content of a small versioned text."""
        self._note("document", path, content)
        self.put_entries("documents", {path: self.pending.put(Text(content))})

    def drop_document(self, path: str) -> None:
        """Remove a document; nothing happens if there is none."""
        self._note("drop document", path)
        self.put_entries("documents", {path: None})

    def put_files(self, name: str, folder: Path) -> None:
        """Make a tree of files equal to the content of a folder."""
        check_table_name(name)
        entries = put_folder(self.store.output, Path(folder))
        before = map_get(self.pending.get, self._tree.files, name)
        old = dict(map_items(self.pending.get, before or None))
        changes: dict[str, bytes | None] = {path: None for path in old if path not in entries}
        changes.update({path: value for path, value in entries.items() if old.get(path) != value})
        root = map_update(self.pending.get, self.pending.put, before or None, changes)
        self._note("files", name, root or b"")
        self.put_entries("files", {name: root or b""})

    def drop_files(self, name: str) -> None:
        """Remove a tree of files; nothing happens if there is none."""
        self._note("drop files", name)
        self.put_entries("files", {name: None})

    # -- the end ----------------------------------------------------------------------------------------------

    def commit(self, *, guard: Guard | None = None) -> str:
        """Make everything one commit on the branch and return its id.

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
    return Schema(
        tuple(msgspec.structs.replace(f, required=True) if f.name in names else f for f in schema.fields)
    )


def _positions(plan):  # type: ignore[no-untyped-def]
    import numpy as np

    from gristmill.store import compute

    con = compute.connection()
    sql = compute.bind(con, compute.scan_sql(plan))
    found = con.sql(f"SELECT {edits.FILE} AS f, {edits.POSITION} AS p FROM ({sql})").fetchnumpy()
    return edits.group_positions(np.asarray(found["f"]), np.asarray(found["p"]))
