"""The store alone: open it, hold a branch or a snapshot, read and write tables.

store = gm.open("shop/.gristmill", create=True)
main = store["main"]
airlines = main.create_table("ref.airlines", schema, key="carrier")
airlines.append(rows)
store.at("main~1")["ref.airlines"].to_polars()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gristmill.api.tables import ChangingTable, Table

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.model.commits import Commit
    from gristmill.run.models import ModelRecord
    from gristmill.store import Snapshot as StoredSnapshot
    from gristmill.store import Store as Engine
    from gristmill.store import StoreDiff, Transaction


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

    def tags(self) -> dict[str, str]:
        """Return the tags and their commits."""
        return self.engine.tags()

    def hold(self, name: str, *, at: str = "main", because: str) -> str:
        """Keep a commit alive under a name, whatever becomes of its branch; return the commit."""
        return self.engine.create_hold(name, at, because)

    def holds(self) -> dict[str, tuple[str, str]]:
        """Return the holds: name to (commit, why)."""
        return self.engine.holds()

    def delete(self, name: str) -> None:
        """Drop a branch, a tag or a hold; commits that nothing leads to go with `gristmill maintain`, later."""
        for known, drop in (
            (self.engine.branches(), self.engine.delete_branch),
            (self.engine.tags(), self.engine.delete_tag),
        ):
            if name in known:
                return drop(name)
        return self.engine.release_hold(name)

    def moves(self, branch: str = "main") -> list[tuple[int, str | None, str | None, str]]:
        """Return where a branch has pointed, newest first: (time in µs, before, after, why)."""
        return self.engine.reflog(branch)

    def log(self, ref: str = "main", *, table: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Yield commits, newest first; with ``table`` only those that changed it."""
        return self.engine.log(ref, table=table, limit=limit)

    def diff(self, before: str, after: str) -> StoreDiff:
        """Return what changed between two addresses, by row identity."""
        return self.engine.diff(before, after)

    def merge(self, source: str, *, into: str, message: str | None = None) -> str:
        """Bring what one branch changed into another; return the commit. Raises Conflict, changing nothing."""
        return self.engine.merge(source, into=into, message=message)

    def cherry_pick(self, commit: str, *, on: str = "main") -> str:
        """Make the change of one commit on another branch; return the new commit. Raises Conflict, changing nothing."""
        return self.engine.cherry_pick(commit, on=on)

    def revert(self, commit: str, *, on: str = "main", message: str | None = None) -> str:
        """Undo a commit by a new one; return it."""
        return self.engine.revert(commit, on=on, message=message)

    def restore(self, ref: str, *, on: str = "main", tables: Sequence[str] | None = None) -> str:
        """Make a branch (or only these tables of it) hold what it held at an address, by a new commit; return it."""
        return self.engine.restore(ref, on=on, tables=None if tables is None else list(tables))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        from gristmill.api.showing import html_rows

        heads = sorted(self.engine.branches().items())
        rows = [(name, head[:7], self.engine.commit_of(head).message) for name, head in heads]
        return html_rows(f"store {self.engine.path}", ["branch", "commit", "message"], rows)

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        self.engine.close()


class Snapshot:
    """A fixed state of every table."""

    def __init__(self, engine: Engine, view: StoredSnapshot) -> None:
        self.engine, self.view = engine, view

    def _repr_html_(self) -> str:
        from gristmill.api.showing import html_rows

        states = [(name, self.view.table(name)) for name in self.tables()]
        rows = [(name, f"{state.row_count:,}", ", ".join(state.key)) for name, state in states]
        return html_rows(repr(self), ["table", "rows", "key"], rows)

    def __repr__(self) -> str:
        return f"<snapshot {self.commit[:7]}: {', '.join(self.tables()) or 'no tables'}>"

    @property
    def commit(self) -> str:
        """The commit's id."""
        return self.view.commit.id

    def tables(self) -> list[str]:
        """Return the names of the tables."""
        return self.view.tables()

    def __contains__(self, name: object) -> bool:
        return name in self.view

    def __getitem__(self, name: str) -> Table:
        self.view.table(name)
        return Table(self.engine, None, name, self.view)

    def model(self, name: str) -> ModelRecord:
        """Return what a model was trained on and its metrics; raises NotFound."""
        from gristmill.errors import NotFound
        from gristmill.run.models import load_model

        record = load_model(self.view, name)
        if record is None:
            raise NotFound(f"there is no model `{name}` at {self.commit[:7]}")
        return record

    def sql(self, query: str) -> pa.Table:
        """Run one SELECT over the tables, under our semantics."""
        from gristmill.api.querying import query as run_query
        from gristmill.engines.kernel import Kernel

        with Kernel() as kernel:
            return run_query(kernel, self.view, query).read_all()


class Writer:
    """A branch to write on; reading through it sees its newest commit."""

    def __init__(self, engine: Engine, branch: str) -> None:
        engine.snapshot(branch)
        self.engine, self.branch = engine, branch

    def __repr__(self) -> str:
        return f"<branch {self.branch} at {self.commit[:7]}>"

    def _repr_html_(self) -> str:
        return self.snapshot()._repr_html_()

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
        self,
        name: str,
        schema: pa.Schema,
        *,
        key: str | Sequence[str] = (),
        cluster_by: str | Sequence[str] = (),
        partition_by: str | Sequence[str] = (),
        codec: str | None = None,
    ) -> Table:
        """Make a table and return it.

        Args:
            name: its dotted name.
            schema: its columns.
            key: columns that identify a row.
            cluster_by: columns by which rows are ordered in files.
            partition_by: what files are divided by: columns, or terms such as ``day(at)``, ``month(at)``,
                ``bucket(16, id)`` and ``truncate(4, name)``. A scan that names a column opens only the files of
                the partitions that can hold its rows.
            codec: how files are compressed: zstd (the default), snappy, gzip or none.

        >>> import tempfile, pyarrow as pa, gristmill as gm
        >>> main = gm.open(tempfile.mkdtemp() + "/store", create=True)["main"]
        >>> schema = pa.schema({"at": pa.timestamp("us"), "id": pa.int64()})
        >>> main.create_table("events", schema, partition_by=["day(at)", "bucket(16, id)"]).partition_by
        ('day(at)', 'bucket(16, id)')
        """
        with self.transaction(f"create {name}") as tx:
            tx.create_table(name, schema, key=key, cluster_by=cluster_by, partition_by=partition_by, codec=codec)
        return self[name]

    @contextmanager
    def transaction(self, message: str = "", *, idempotency_key: str | None = None) -> Iterator[Changes]:
        """Change many tables in one commit: all of it on a clean exit, nothing on an error.

        Args:
            message: why.
            idempotency_key: a name for the request; if it is made again, the first outcome stands and nothing is
                written twice.
        """
        with self.engine.begin(self.branch, message=message, idempotency_key=idempotency_key) as tx:
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

    def __repr__(self) -> str:
        return f"<transaction on {self._tx.branch}>"

    def __contains__(self, name: object) -> bool:
        return name in self._tx

    def create_table(
        self,
        name: str,
        schema: pa.Schema,
        *,
        key: str | Sequence[str] = (),
        cluster_by: str | Sequence[str] = (),
        partition_by: str | Sequence[str] = (),
        codec: str | None = None,
    ) -> ChangingTable:
        """Make a table within the transaction."""
        divided = _names(partition_by)
        self._tx.create_table(
            name, schema, key=_names(key), cluster_by=_names(cluster_by), partition_by=divided, codec=codec
        )
        return self[name]

    def drop_table(self, name: str) -> None:
        """Drop a table; earlier commits keep it."""
        self._tx.drop_table(name)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
