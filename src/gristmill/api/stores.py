"""The store alone: open it, hold a branch or a snapshot, read and write tables.

store = gm.open("shop/.gristmill", create=True)
main = store["main"]
airlines = main.create_table("ref.airlines", schema, key="carrier")
airlines.append(rows)
store.at("main~1")["ref.airlines"].to_polars()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gristmill.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from gristmill.model.commits import Commit
    from gristmill.model.predicates import Predicate
    from gristmill.store import Snapshot as StoredSnapshot
    from gristmill.store import Store as Engine
    from gristmill.store import StoreDiff, Transaction, View

Where = "str | pc.Expression | Predicate | None"
Rows = object
"""Rows to write: Arrow, Polars, pandas or DuckDB, a stream of any of them, or a list of dicts."""


def open(
    path: str | Path,
    *,
    create: bool = False,
    data: str | None = None,
    durability: Literal["full", "none"] = "full",
    compact: Literal["auto", "off"] = "auto",
) -> Store:
    """Open a store.

    Args:
        path: its folder, such as ``shop/.gristmill``.
        create: make one where there is none.
        data: where Parquet files go, if not into the same folder.
        durability: ``full`` returns from a write when it is on the disk; ``none`` leaves that to the system.
        compact: whether writes also compact small files.

    >>> import tempfile, pyarrow as pa, gristmill as gm
    >>> store = gm.open(tempfile.mkdtemp() + "/store", create=True)
    >>> t = store["main"].create_table("ref.airlines", pa.schema({"carrier": pa.string()}), key="carrier")
    >>> _ = t.append(pa.table({"carrier": ["UA", "AA"]}))
    >>> len(store["main"]["ref.airlines"])
    2
    """
    from gristmill.store import open_store

    return Store(open_store(str(path), create=create, data=data, durability=durability, compact=compact))


class Store:
    """An open store: branches by name, fixed snapshots by address, and its history."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        return f"<store {self.engine.path}: {', '.join(sorted(self.engine.branches()))}>"

    def __getitem__(self, branch: str) -> Writer:
        return Writer(self.engine, branch)

    def at(self, ref: str) -> Snapshot:
        """Return the fixed state that an address names: ``main~3``, a tag, ``main@2026-11-01``, a commit."""
        return Snapshot(self.engine, self.engine.snapshot(ref))

    def branch(self, name: str, *, at: str = "main") -> Writer:
        """Make a branch; nothing is copied."""
        self.engine.create_branch(name, at=at)
        return self[name]

    def branches(self) -> dict[str, str]:
        """Return the branches and their commits."""
        return self.engine.branches()

    def tag(self, name: str, *, at: str = "main") -> str:
        """Give a commit a fixed name; return the commit."""
        return self.engine.create_tag(name, at=at)

    def log(self, ref: str = "main", *, table: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield commits, newest first; with ``table`` only those that changed it."""
        return self.engine.log(ref, table=table, limit=limit)

    def diff(self, before: str, after: str) -> StoreDiff:
        """Return what changed between two addresses, by row identity."""
        return self.engine.diff(before, after)

    def merge(self, source: str, *, into: str, message: str | None = None) -> str:
        """Bring what one branch changed into another; return the commit. Raises Conflict, changing nothing."""
        return self.engine.merge(source, into=into, message=message)

    def revert(self, commit: str, *, on: str = "main", message: str | None = None) -> str:
        """Undo a commit by a new one; return it."""
        return self.engine.revert(commit, on=on, message=message)

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        self.engine.close()


class Snapshot:
    """A fixed state of every table."""

    def __init__(self, engine: Engine, view: StoredSnapshot) -> None:
        self.engine, self._view = engine, view

    def __repr__(self) -> str:
        return f"<snapshot {self.commit[:7]}: {', '.join(self.tables()) or 'no tables'}>"

    @property
    def commit(self) -> str:
        """The commit's id."""
        return self._view.commit.id

    def tables(self) -> list[str]:
        """Return the names of the tables."""
        return self._view.tables()

    def __contains__(self, name: object) -> bool:
        return name in self._view

    def __getitem__(self, name: str) -> Table:
        self._view.table(name)
        return Table(self.engine, None, name, self._view)

    def sql(self, query: str) -> pa.Table:
        """Run one SELECT over the tables, under our semantics."""
        from gristmill.api.querying import query as run_query
        from gristmill.engines.kernel import Kernel

        with Kernel() as kernel:
            return run_query(kernel, self._view, query).read_all()


class Writer:
    """A branch to write on; reading through it sees its newest commit."""

    def __init__(self, engine: Engine, branch: str) -> None:
        engine.snapshot(branch)
        self.engine, self.branch = engine, branch

    def __repr__(self) -> str:
        return f"<branch {self.branch} at {self.commit[:7]}>"

    @property
    def commit(self) -> str:
        """The commit that the branch is at."""
        return self.engine.resolve(self.branch)

    def snapshot(self) -> Snapshot:
        """Return the branch's state as it is now, fixed."""
        return Snapshot(self.engine, self.engine.snapshot(self.branch))

    def tables(self) -> list[str]:
        """Return the names of the tables."""
        return self.snapshot().tables()

    def __contains__(self, name: object) -> bool:
        return name in self.snapshot()

    def __getitem__(self, name: str) -> Table:
        view = self.engine.snapshot(self.branch)
        view.table(name)
        return Table(self.engine, self.branch, name, view)

    def sql(self, query: str) -> pa.Table:
        """Run one SELECT over the tables as they are now."""
        return self.snapshot().sql(query)

    def create_table(
        self, name: str, schema: pa.Schema, *, key: str | Sequence[str] = (), cluster_by: str | Sequence[str] = ()
    ) -> Table:
        """Make a table and return it.

        Args:
            name: its dotted name.
            schema: its columns.
            key: columns that identify a row.
            cluster_by: columns by which rows are ordered in files.
        """
        with self.transaction(f"create {name}") as tx:
            tx.create_table(name, schema, key=key, cluster_by=cluster_by)
        return self[name]

    @contextmanager
    def transaction(self, message: str = "") -> Iterator[Changes]:
        """Change many tables in one commit: all of it on a clean exit, nothing on an error."""
        with self.engine.begin(self.branch, message=message) as tx:
            yield Changes(tx)

    def retry(self, change: Callable[[Changes], object], *, message: str = "") -> str:
        """Run ``change(tx)`` and commit, again on fresh state for as long as another commit interferes."""
        return self.engine.retry(self.branch, lambda tx: change(Changes(tx)), message=message)


class Changes:
    """An open transaction: tables read their own writes; ``tx["a"].append(rows)``."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def __getitem__(self, name: str) -> ChangingTable:
        self._tx.state(name)
        return ChangingTable(self._tx, name)

    def __contains__(self, name: object) -> bool:
        return name in self._tx

    def create_table(
        self, name: str, schema: pa.Schema, *, key: str | Sequence[str] = (), cluster_by: str | Sequence[str] = ()
    ) -> ChangingTable:
        """Make a table within the transaction."""
        self._tx.create_table(name, schema, key=_names(key), cluster_by=_names(cluster_by))
        return self[name]

    def drop_table(self, name: str) -> None:
        """Drop a table; earlier commits keep it."""
        self._tx.drop_table(name)


class Scan:
    """Some columns and rows of a table, read when asked for."""

    def __init__(
        self, view: View, name: str, columns: Sequence[str] | None = None, where: Predicate | None = None
    ) -> None:
        self._view, self._name, self._columns, self._where = view, name, columns, where

    def batches(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow batches, in bounded memory."""
        return self._view.reader(self._name, columns=self._columns, where=self._where)

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.batches().read_all()

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a Polars frame."""
        import polars

        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.batches().__arrow_c_stream__(requested_schema)


class ChangingTable(Scan):
    """A table within a transaction."""

    def __init__(self, tx: Transaction, name: str) -> None:
        super().__init__(tx, name)
        self._tx = tx

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._tx.schema_of(self._name).to_arrow()

    def __len__(self) -> int:
        return self._tx.table(self._name).row_count

    def scan(self, *, columns: Sequence[str] | None = None, where: object = None) -> Scan:
        """Return some columns and rows; ``where`` is a condition in SQL, or a pyarrow expression."""
        return Scan(self._tx, self._name, columns, predicate(self._tx, self._name, where))

    def append(self, rows: Rows) -> None:
        """Add rows; in a table with a key they must be new."""
        self._tx.append(self._name, readable(rows))

    def upsert(self, rows: Rows) -> None:
        """Add rows, replacing those of equal key."""
        self._tx.upsert(self._name, readable(rows))

    def delete(self, *, where: object) -> None:
        """Delete the rows for which a condition holds."""
        self._tx.delete(self._name, predicate(self._tx, self._name, where))

    def replace(self, rows: Rows) -> None:
        """Make these the table's rows; rows of equal key keep their identity."""
        self._tx.replace(self._name, readable(rows))


class Table(Scan):
    """A table at a commit. Writes go to its branch and move this handle to the commit they make.

    What was read through the handle is what a later write through it relies on: if another commit has changed it
    since, the write is `Stale`; ``refresh()`` looks again.
    """

    def __init__(self, engine: Engine, branch: str | None, name: str, view: StoredSnapshot) -> None:
        super().__init__(view, name)
        self.engine, self.branch, self.name = engine, branch, name
        self._pinned = view
        self._read = False

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
    def commit(self) -> str:
        """The commit at which the handle reads."""
        return self._pinned.commit.id

    def __len__(self) -> int:
        self._read = True
        return self._pinned.table(self.name).row_count

    def batches(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow batches, in bounded memory."""
        self._read = True
        return super().batches()

    def scan(self, *, columns: Sequence[str] | None = None, where: object = None) -> Scan:
        """Return some columns and rows; ``where`` is a condition in SQL, or a pyarrow expression."""
        self._read = True
        return Scan(self._pinned, self.name, columns, predicate(self._pinned, self.name, where))

    def refresh(self) -> Table:
        """Move to the branch's newest commit, forgetting what was read."""
        self._pin(self.engine.snapshot(self._writable()))
        return self

    def append(self, rows: Rows, *, message: str = "") -> str:
        """Add rows; in a table with a key they must be new. Returns the commit."""
        return self._write(lambda table: table.append(rows), message or f"append to {self.name}")

    def upsert(self, rows: Rows, *, message: str = "") -> str:
        """Add rows, replacing those of equal key. Returns the commit."""
        return self._write(lambda table: table.upsert(rows), message or f"upsert into {self.name}")

    def delete(self, *, where: object, message: str = "") -> str:
        """Delete the rows for which a condition holds. Returns the commit."""
        return self._write(lambda table: table.delete(where=where), message or f"delete from {self.name}")

    def replace(self, rows: Rows, *, message: str = "") -> str:
        """Make these the table's rows; rows of equal key keep their identity. Returns the commit."""
        return self._write(lambda table: table.replace(rows), message or f"replace {self.name}")

    def _write(self, change: Callable[[ChangingTable], None], message: str) -> str:
        branch = self._writable()
        kind = self._pinned.table(self.name).properties.get("kind")
        if kind == "derived":
            raise UsageError(
                f"`{self.name}` is computed from its definition",
                code="GM-U008",
                hint="change its definition or its inputs, then `gristmill run`",
            )
        tx = self.engine.begin(branch, message=message, at=self.commit)
        try:
            if self._read:
                tx.table(self.name)
            change(ChangingTable(tx, self.name))
            commit = tx.commit()
        except BaseException:
            tx.discard()
            raise
        self._pin(self.engine.snapshot(commit))
        return commit

    def _pin(self, view: StoredSnapshot) -> None:
        self._pinned = self._view = view
        self._read = False

    def _writable(self) -> str:
        if self.branch is None:
            raise UsageError(
                f"`{self.name}` was opened at a fixed commit", code="GM-U009", hint='open it as store["main"]'
            )
        return self.branch


def predicate(view: View, name: str, where: object) -> Predicate | None:
    """Return a condition as the store takes it: SQL text, a pyarrow expression, a Predicate, or None."""
    from gristmill.model.predicates import from_pyarrow
    from gristmill.model.where import parse_where

    if where is None:
        return None
    if isinstance(where, str):
        return parse_where(where, view.schema_of(name).to_arrow().names)
    if type(where).__module__.startswith("pyarrow"):
        return from_pyarrow(where)
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
    return rows


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
