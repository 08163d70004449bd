"""Play a history on a project, step by step, and prove what comes of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import UsageError
from gristmill.model.events import Event, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.api.project import Project
    from gristmill.api.results import RunResult

Rows = Sequence[Mapping[str, object]]


class _Crash(BaseException):
    """Stands for a process that is gone: nothing is cleaned up after it."""


class Script:
    """A history played on a project in a folder of its own, such as pytest's ``tmp_path``.

    Each run loads the project anew, as another process would.

    Args:
        make: makes the project in a folder: ``lambda root: gm.Project(root)`` and its definitions.
        root: the folder.

    >>> import tempfile, gristmill as gm
    >>> def shop(root):
    ...     project = gm.Project(root)
    ...     orders = project.source("raw.orders", gm.files("landing/*.parquet"), key="id")
    ...     @project.table("marts.total", reads=[orders])
    ...     def total(t):
    ...         return t.aggregate(n=t.count(), total=t.amount.sum())
    ...     return project
    >>> script = Script(shop, tempfile.mkdtemp())
    >>> script.deliver("landing/1.parquet", [{"id": 1, "amount": 2.5}])
    >>> script.run(crash_after=2)
    >>> script.deliver("landing/2.parquet", [{"id": 2, "amount": 0.5}])
    >>> script.run().ok
    True
    >>> script.rows("marts.total")
    [{'n': 2, 'total': 3.0}]
    >>> script.prove()
    """

    def __init__(self, make: Callable[[Path], Project], root: str | Path) -> None:
        self.make, self.root = make, Path(root).resolve()
        self.now: dt.datetime | None = None
        settings = self.root / "gristmill.toml"
        if not settings.exists():
            settings.write_text("[run]\nworkers = 1\n")

    def project(self) -> Project:
        """Load the project as it is now."""
        made = self.make(self.root)
        if self.now is not None:
            moment_us = round(self.now.timestamp() * 1_000_000)
            made.clock_us = lambda: moment_us
        return made

    def at(self, moment: dt.datetime) -> None:
        """Set the clock of the runs that follow: what ``gm.run_time()`` gives. The moment needs a zone."""
        if moment.tzinfo is None:
            raise UsageError("a moment without a zone", code="GM-U150", hint="dt.datetime(..., tzinfo=dt.UTC)")
        self.now = moment

    def deliver(self, path: str, rows: Rows | pa.Table) -> None:
        """Write rows as the file that a source reads: Parquet, or CSV where the name ends so; replaces what was there.

        Args:
            path: relative to the project.
            rows: dicts, or an Arrow table.
        """
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows])
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".csv":
            pyarrow.csv.write_csv(table, target)
        else:
            pyarrow.parquet.write_table(table, target)

    def withdraw(self, path: str) -> None:
        """Take a delivered file away."""
        (self.root / path).unlink()

    def edit(self, table: str, *, upsert: Rows = (), delete: Rows = (), on: str = "main") -> None:
        """Edit a source table by hand, in one commit.

        Args:
            table: its name.
            upsert: rows to put in, by key where the table has one.
            delete: keys of rows to take out.
            on: the branch.
        """
        import pyarrow as pa

        with self.project().store.begin(on, message="edit") as tx:
            schema = tx.table(table).schema.to_arrow()
            if delete:
                keys = pa.schema([schema.field(name) for name in delete[0]])
                tx.delete(table, keys=pa.Table.from_pylist([dict(row) for row in delete], keys))
            if upsert:
                given = pa.Table.from_pylist([dict(row) for row in upsert], schema)
                (tx.upsert if tx.table(table).key else tx.append)(table, given)

    def run(self, *, crash_after: int | None = None, select: Sequence[str] = ()) -> RunResult | None:
        """Run the project; None where it crashed.

        Args:
            crash_after: let the process be gone at the event of this number (from 1), with nothing cleaned up.
            select: selectors of what to bring up to date.
        """
        left = crash_after or 0

        def listener(event: Event) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Crash

        try:
            return self.project().run(select, listener=listener if crash_after else silent)
        except _Crash:
            return None

    def rows(self, table: str, *, at: str = "main") -> list[dict[str, object]]:
        """Return the rows of a table in the order of their text, so that they can be compared."""
        found = self.project().store.snapshot(at).to_arrow(table).to_pylist()
        return sorted(found, key=str)

    def prove(self) -> None:
        """Raise CheckFailed where a table is not what its definition gives, AssertionError where one was not seen."""
        report = self.project().parity()
        report.raise_if_failed()
        assert report.complete, repr(report)
