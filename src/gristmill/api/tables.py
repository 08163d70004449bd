"""Tables as users hold them: read in any frame library, write, and see at a glance.

A `Scan` reads. A `Table` is pinned to a commit and writes to its branch; a `ChangingTable` lives in a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from gristmill.errors import Stale, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    from gristmill.model.changes import Change
    from gristmill.model.predicates import Predicate
    from gristmill.store import Snapshot as StoredSnapshot
    from gristmill.store import Store as Engine
    from gristmill.store import Transaction, View

Where: TypeAlias = "str | pc.Expression | Predicate | None"
"""Which rows: a condition in SQL, a pyarrow expression, or all of them."""

Rows: TypeAlias = object
"""Rows to write: Arrow, Polars, pandas or DuckDB, a stream or iterator of parts, a list of dicts, columns in a dict."""

SHOWN = 10


class Scan:
    """Some columns and rows of a table, read when asked for; also an Arrow stream, so that others can read it."""

    def __init__(
        self,
        view: View,
        name: str,
        columns: Sequence[str] | None = None,
        where: Predicate | None = None,
        *,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._view, self._name, self._columns, self._where = view, name, columns, where
        self._on_read = on_read

    def __repr__(self) -> str:
        what = ", ".join(self._columns) if self._columns is not None else "all columns"
        return f"<scan of {self._name}: {what}{' of some rows' if self._where is not None else ''}>"

    def _repr_html_(self) -> str:
        from gristmill.api.showing import html_table

        reader = self._view.preview(self._name, columns=self._columns, where=self._where)
        return html_table(repr(self), reader, SHOWN)

    def batches(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow batches, in bounded memory."""
        self._on_read()
        return self._view.reader(self._name, columns=self._columns, where=self._where)

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.batches().read_all()

    @overload
    def to_polars(self, *, lazy: Literal[False] = False) -> pl.DataFrame: ...

    @overload
    def to_polars(self, *, lazy: Literal[True]) -> pl.LazyFrame: ...

    def to_polars(self, *, lazy: bool = False) -> pl.DataFrame | pl.LazyFrame:
        """Return the rows as a Polars frame.

        Args:
            lazy: return a lazy frame, which reads at ``collect``, and only the columns and files that it needs then.
        """
        import polars

        if lazy:
            return polars.scan_pyarrow_dataset(_Dataset(self))
        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.batches().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self.scanned_schema().__arrow_c_schema__()

    def scanned_schema(self) -> pa.Schema:
        """Return the Arrow schema of what is read."""
        schema = self._view.schema_of(self._name).to_arrow()
        return schema if self._columns is None else _picked(schema, self._columns)

    def narrowed(self, columns: Sequence[str] | None, where: Predicate | None) -> Scan:
        """Return a scan of fewer columns and rows of the same table."""
        from gristmill.model.predicates import And

        parts = tuple(part for part in (self._where, where) if part is not None)
        both = And(parts) if len(parts) == 2 else parts[0] if parts else None
        wanted = self._columns if columns is None else columns
        return Scan(self._view, self._name, wanted, both, on_read=self._on_read)


def _picked(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in columns])


class _Dataset:
    """A scan in the form that Polars asks for columns and rows in: that of a pyarrow data set."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self.schema = scan.scanned_schema()

    def to_batches(
        self,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
        **_: object,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches, with the condition tested by the store where it has it, and by Arrow where not."""
        if filter is None:
            yield from self._scan.narrowed(columns, None).batches()
            return
        try:
            where = predicate(self._scan._view, self._scan._name, filter)
        except UsageError:
            needed = columns if columns is None else [*columns, *(n for n in self.schema.names if n not in columns)]
            for batch in self._scan.narrowed(needed, None).batches():
                kept = batch.filter(filter)
                yield kept if columns is None else kept.select(columns)
            return
        yield from self._scan.narrowed(columns, where).batches()


class ChangingTable(Scan):
    """A table within a transaction; it reads the transaction's own writes."""

    def __init__(self, tx: Transaction, name: str) -> None:
        super().__init__(tx, name)
        self._tx = tx

    def __repr__(self) -> str:
        return f"<table {self._name} in a transaction on {self._tx.branch}>"

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._tx.schema_of(self._name).to_arrow()

    def __len__(self) -> int:
        return self._tx.table(self._name).row_count

    def scan(self, *, columns: Sequence[str] | None = None, where: Where = None) -> Scan:
        """Return some columns and rows; ``where`` is a condition in SQL, or a pyarrow expression."""
        return Scan(self._tx, self._name, columns, predicate(self._tx, self._name, where))

    def append(self, rows: Rows) -> None:
        """Add rows; in a table with a key they must be new."""
        self._tx.append(self._name, readable(rows))

    def upsert(self, rows: Rows) -> None:
        """Add rows, replacing those of equal key."""
        self._tx.upsert(self._name, readable(rows))

    def delete(self, *, where: Where) -> None:
        """Delete the rows for which a condition holds."""
        self._tx.delete(self._name, predicate(self._tx, self._name, where))

    def replace(self, rows: Rows) -> None:
        """Make these the table's rows; rows of equal key keep their identity."""
        self._tx.replace(self._name, readable(rows))

    def apply(self, changes: Rows) -> None:
        """Put rows in and take rows out: each has a whole number ``_w``, n to put it in n times, -n to take n out.

        With a key, a row that is taken out and put in is an update in place. A row that is not there is an error.
        """
        self._tx.apply(self._name, readable(changes))

    def add_column(self, path: str, type: pa.DataType, *, doc: str = "") -> None:
        """Add a column, null in the rows that are there; a path with dots leads into structs, ``element``, ``value``.

        >>> import tempfile, pyarrow as pa, gristmill as gm
        >>> main = gm.open(tempfile.mkdtemp() + "/store", create=True)["main"]
        >>> _ = main.create_table("planes", pa.schema({"tail": pa.string(), "seats": pa.int32()}))
        >>> with main.transaction("wider planes") as changes:
        ...     changes["planes"].add_column("maker", pa.string())
        ...     changes["planes"].widen_column("seats", pa.int64())
        ...     changes["planes"].rename_column("tail", "tailnum")
        >>> main["planes"].schema.names
        ['tailnum', 'seats', 'maker']
        """
        from gristmill.model.changes import AddColumn

        self._alter(AddColumn(path, type, doc))

    def drop_column(self, path: str) -> None:
        """Drop a column; earlier commits keep it, and a later one of that name begins empty."""
        from gristmill.model.changes import DropColumn

        self._alter(DropColumn(path))

    def rename_column(self, path: str, name: str) -> None:
        """Give a column, or a field of a struct, another name; nothing is rewritten."""
        from gristmill.model.changes import RenameColumn

        self._alter(RenameColumn(path, name))

    def widen_column(self, path: str, type: pa.DataType) -> None:
        """Give a column a type that holds every value of the old one; nothing is rewritten."""
        from gristmill.model.changes import WidenColumn

        self._alter(WidenColumn(path, type))

    def reorder_columns(self, *names: str) -> None:
        """Put these columns first, in this order."""
        from gristmill.model.changes import ReorderColumns

        self._alter(ReorderColumns(names))

    def set_required(self, column: str, required: bool = True) -> None:
        """Refuse nulls in a column from now on, if none of the rows has one, or allow them again."""
        from gristmill.model.changes import SetRequired

        self._alter(SetRequired(column, required))

    def set_key(self, *columns: str) -> None:
        """Say which columns identify a row, if the rows allow it; none for no key."""
        from gristmill.model.changes import SetKey

        self._alter(SetKey(columns))

    def _alter(self, change: Change) -> None:
        if self._tx.table(self._name).properties.get("kind") == "derived":
            raise _is_derived(self._name)
        self._tx.alter(self._name, change)


class Table(Scan):
    """A table at a commit. Writes go to its branch and move this handle to the commit they make.

    What was read through the handle (and through scans of it) is what a later write through it relies on: if another
    commit has changed the table since, the write is `Stale`. ``refresh()`` looks again, and forgets what was read.
    """

    def __init__(self, engine: Engine, branch: str | None, name: str, view: StoredSnapshot) -> None:
        super().__init__(view, name, on_read=self._note_read)
        self.engine, self.branch, self.name = engine, branch, name
        self._pinned = view
        self._read = False

    def _note_read(self) -> None:
        self._read = True

    def __repr__(self) -> str:
        state = self._pinned.table(self.name)
        key = f", key {', '.join(state.key)}" if state.key else ""
        return f"<table {self.name} at {self._pinned.commit.id[:7]}: {state.row_count:,} rows{key}>"

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._pinned.table(self.name).schema.to_arrow()

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return self._pinned.table(self.name).key

    @property
    def partition_by(self) -> tuple[str, ...]:
        """What its files are divided by."""
        return self._pinned.table(self.name).partition_by

    def set_partitioning(self, *terms: str, message: str = "") -> str:
        """Divide new files by these terms, or by nothing; see ``create_table``. Returns the commit.

        Nothing is rewritten: files that are there are still found by the partitions they were written into.
        """
        from gristmill.model.changes import SetPartitioning

        message = message or f"partition {self.name}"
        with self.engine.begin(self._writable(), message=message, at=self.commit) as tx:
            tx.alter(self.name, SetPartitioning(terms))
        assert tx.result is not None
        self._pin(self.engine.snapshot(tx.result))
        return tx.result

    @property
    def commit(self) -> str:
        """The commit at which the handle reads."""
        return self._pinned.commit.id

    def __len__(self) -> int:
        self._note_read()
        return self._pinned.table(self.name).row_count

    def scan(self, *, columns: Sequence[str] | None = None, where: Where = None) -> Scan:
        """Return some columns and rows; ``where`` is a condition in SQL, or a pyarrow expression.

        Files that cannot hold a wanted row are not opened, and columns that are not asked for are not read.

        >>> import tempfile, pyarrow as pa, gristmill as gm
        >>> main = gm.open(tempfile.mkdtemp() + "/store", create=True)["main"]
        >>> airlines = main.create_table("airlines", pa.schema({"carrier": pa.string(), "seats": pa.int64()}))
        >>> _ = airlines.append([{"carrier": "UA", "seats": 3}, {"carrier": "AA", "seats": 5}])
        >>> airlines.scan(columns=["carrier"], where="seats > 4").to_arrow().to_pylist()
        [{'carrier': 'AA'}]
        """
        view, name = self._pinned, self.name
        if columns is not None:
            for column in columns:
                view.schema_of(name).field(column)
        return Scan(view, name, columns, predicate(view, name, where), on_read=self._note_read)

    def refresh(self) -> Table:
        """Move to the branch's newest commit, forgetting what was read; return the handle."""
        self._pin(self.engine.snapshot(self._writable()))
        self._read = False
        return self

    def append(self, rows: Rows, *, message: str = "", blind: bool = False) -> str:
        """Add rows; in a table with a key they must be new. Returns the commit.

        Args:
            rows: see `Rows`.
            message: why.
            blind: rely on nothing that was read through the handle, and on no other row.
        """
        return self._write("append to", lambda table, given: table.append(given), rows, message, blind)

    def upsert(self, rows: Rows, *, message: str = "", blind: bool = False) -> str:
        """Add rows, replacing those of equal key. Returns the commit.

        Args:
            rows: see `Rows`.
            message: why.
            blind: replace whatever others have written meanwhile: the last writer wins.
        """
        return self._write("upsert into", lambda table, given: table.upsert(given), rows, message, blind)

    def delete(self, *, where: Where, message: str = "", blind: bool = False) -> str:
        """Delete the rows for which a condition holds; with ``blind`` those of the newest state. Returns the commit."""
        return self._write("delete from", lambda table, _: table.delete(where=where), None, message, blind)

    def replace(self, rows: Rows, *, message: str = "", blind: bool = False) -> str:
        """Make these the table's rows; rows of equal key keep their identity. Returns the commit.

        With ``blind`` whatever others have written meanwhile is replaced too.
        """
        return self._write("replace", lambda table, given: table.replace(given), rows, message, blind)

    def _write(
        self, act: str, change: Callable[[ChangingTable, object], None], rows: Rows, message: str, blind: bool
    ) -> str:
        branch = self._writable()
        self._refuse_derived()
        message = message or f"{act} {self.name}"
        if blind:
            given = _lasting(readable(rows))
            commit = self.engine.retry(branch, lambda tx: change(ChangingTable(tx, self.name), given), message=message)
        else:
            commit = self._pinned_write(branch, lambda table: change(table, readable(rows)), message)
        self._pin(self.engine.snapshot(commit))
        return commit

    def _pinned_write(self, branch: str, change: Callable[[ChangingTable], None], message: str) -> str:
        tx = self.engine.begin(branch, message=message, at=self.commit)
        try:
            if self._read:
                tx.table(self.name)
            change(ChangingTable(tx, self.name))
            return tx.commit()
        except Stale as error:
            tx.discard()
            error.hint = "refresh() the handle, look again and write again; or write with blind=True"
            raise
        except BaseException:
            tx.discard()
            raise

    def _refuse_derived(self) -> None:
        if self._pinned.table(self.name).properties.get("kind") == "derived":
            raise _is_derived(self.name)

    def _pin(self, view: StoredSnapshot) -> None:
        self._pinned = self._view = view

    def _writable(self) -> str:
        if self.branch is None:
            raise UsageError(
                f"`{self.name}` was opened at a fixed commit", code="GM-U009", hint='open it as store["main"]'
            )
        return self.branch


def _is_derived(name: str) -> UsageError:
    return UsageError(
        f"`{name}` is computed from its definition",
        code="GM-U008",
        hint="change its definition or its inputs, then `gristmill run`",
    )


def predicate(view: View, name: str, where: object) -> Predicate | None:
    """Return a condition as the store takes it: SQL text, a pyarrow expression, a Predicate, or None."""
    from gristmill.model.predicates import from_pyarrow
    from gristmill.model.where import parse_where

    if where is None:
        return None
    if isinstance(where, str):
        return parse_where(where, view.schema_of(name).to_arrow().names)
    if type(where).__module__.startswith("pyarrow"):
        import pyarrow.types as t

        kinds = view.schema_of(name).to_arrow()
        return from_pyarrow(where, binary=[field.name for field in kinds if t.is_binary(field.type)])
    return where  # type: ignore[return-value]


def readable(rows: Rows) -> object:
    """Return rows as the store takes them."""
    import pyarrow as pa

    if isinstance(rows, list):
        return pa.Table.from_pylist(rows)
    if isinstance(rows, Mapping):
        return pa.table(dict(rows))
    if type(rows).__module__.split(".")[0] == "pandas":
        return pa.Table.from_pandas(rows, preserve_index=False)
    if type(rows).__name__ == "LazyFrame" and hasattr(rows, "collect"):
        return rows.collect()
    return rows


def _lasting(rows: object) -> object:
    """Return rows that can be read more than once."""
    import pyarrow as pa

    if isinstance(rows, Iterator) and not isinstance(rows, pa.RecordBatchReader):
        from gristmill.store.staging import to_reader

        rows = to_reader(rows)
    return rows.read_all() if isinstance(rows, pa.RecordBatchReader) else rows
