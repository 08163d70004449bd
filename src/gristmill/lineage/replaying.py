"""Compute rows again from only the source rows that they are traced to, and compare bit for bit.

The one part of lineage that runs project code: the definitions as they are now, the model as it was stored.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import UsageError
from gristmill.lineage.stored import ROW_ID, Rows
from gristmill.lineage.trained import view_with
from gristmill.lineage.values import Link, Trace
from gristmill.model.names import quote
from gristmill.run.compiling import compile_node
from gristmill.run.context import Context
from gristmill.run.derivation import load_derivation
from gristmill.run.frames import as_frame, call, to_table
from gristmill.run.preview import evaluate

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.define import Node

_AGAIN = "_gristmill_again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What computing traced rows again gave.

    Args:
        table: the table.
        rows: how many rows were compared.
        sources: by source table, how many of its rows that took.
        difference: the first difference, in words; empty where all is equal, bit for bit.
        notes: what to know about the comparison, such as a definition that has changed since.
    """

    table: str
    rows: int
    sources: dict[str, int]
    difference: str = ""
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the rows came out as they are stored."""
        return not self.difference


def replay(ctx: Context, trace: Trace) -> Replay:
    """Compute the traced rows again, and say whether they are equal to those stored.

    Args:
        ctx: the project's values; its definitions are used as they are now.
        trace: from `gristmill.lineage.backward.retraced`, so that rows which share a window are there.

    Raises UsageError for rows that are not computed, or that no commit holds the inputs of.
    """
    if trace.kind == "source":
        raise UsageError(f"`{trace.table}` is landed, not computed", code="GM-L004", hint="trace a derived table")
    run = _Run(ctx, Rows(ctx.store, ctx.kernel))
    again = run.rows(trace)
    columns = ", ".join(quote(name) for name in again.schema.names)
    stored = run.reader.by_id(trace.commit, trace.table, trace.ids, columns)
    sources: dict[str, int] = {}
    for source in trace.sources():
        sources[source.table] = max(sources.get(source.table, 0), len(source.ids))
    difference = first_difference(stored, again.cast(stored.schema), trace.key)
    return Replay(
        table=trace.table, rows=len(trace.ids), sources=sources, difference=difference, notes=tuple(run.notes)
    )


class _Run:
    """One replay: where rows are read, and what is worth saying."""

    def __init__(self, ctx: Context, reader: Rows) -> None:
        self.ctx, self.reader = ctx, reader
        self.notes: list[str] = []

    def rows(self, trace: Trace) -> pa.Table:
        """Return the traced rows, read if they are landed, else computed from the rows behind them."""
        if trace.kind == "source":
            columns = [f.name for f in self.reader.at(trace.commit).schema_of(trace.table).to_arrow()]
            return self.reader.by_id(trace.commit, trace.table, trace.ids, ", ".join(map(quote, columns)))
        if trace.made_at is None:
            raise UsageError(f"`{trace.table}` cannot be replayed: {trace.note}", code="GM-L005", hint="gristmill run")
        node = self.ctx.graph[trace.table]
        if node.kind == "predictions":
            return self._predicted(trace, node)
        links = {link.table: link for link in trace.links}
        inputs = {name: self._input(trace.made_at, name, links.get(name)) for name in node.reads}
        for name, rows in inputs.items():
            self._register(trace.made_at, name, rows)
        evaluate(self._context(trace, node), node)
        return self._kept(trace, node)

    def _input(self, commit: str, name: str, link: Link | None) -> pa.Table | None:
        """Return an input's rows; None stands for the whole table."""
        if link is not None and link.whole:
            self.notes.append(f"{name} was taken whole: {'; '.join(link.notes)}")
            return None
        if link is None or link.rows is None:
            return self.reader.at(commit).schema_of(name).to_arrow().empty_table()
        return self.rows(link.rows)

    def _register(self, commit: str, name: str, rows: pa.Table | None) -> None:
        from gristmill.store import compute

        self.ctx.kernel.unregister(name)
        if rows is None:
            compute.register(self.ctx.kernel.connection, name, self.reader.at(commit).scan(name))
        else:
            self.ctx.kernel.register(name, rows)

    def _context(self, trace: Trace, node: Node) -> Context:
        """Return the context with the run's time of back then; notes where the definition is another one now."""
        assert trace.made_at is not None
        view = self.reader.at(trace.made_at)
        before = load_derivation(view, node.name)
        then = self.ctx
        if before is not None and before.run_time_us is not None:
            then = replace(self.ctx, run_time_us=before.run_time_us)
        schemas = {name: view.schema_of(name).to_arrow() for name in node.reads}
        reason = compile_node(then, node, view, schemas).derivation.reason(before)
        if reason:
            self.notes.append(f"{node.name}: {reason} since")
        return then

    def _kept(self, trace: Trace, node: Node) -> pa.Table:
        """Return those of the computed rows that are traced, by what identifies a row."""
        names = node.key or tuple(self.reader.at(trace.commit).schema_of(trace.table).to_arrow().names)
        identity = ", ".join(quote(name) for name in names)
        connection = self.ctx.kernel.connection
        connection.register(_AGAIN, self.reader.by_id(trace.commit, trace.table, trace.ids, identity))
        equal = " AND ".join(f"t.{quote(name)} IS NOT DISTINCT FROM k.{quote(name)}" for name in names)
        sql = f"SELECT t.* FROM {quote(node.name)} AS t SEMI JOIN {_AGAIN} AS k ON {equal}"
        found = self.ctx.kernel.query(sql).read_all()
        connection.unregister(_AGAIN)
        return found

    def _predicted(self, trace: Trace, node: Node) -> pa.Table:
        if len(trace.models) != 1:
            raise UsageError("the traced predictions were made by several models", code="GM-L006", hint="trace fewer")
        (model,) = trace.models
        (link,) = trace.links
        assert link.rows is not None
        assert node.function is not None
        self._context(trace, node)
        view = view_with(self.reader, trace.commit, model.name, model.files)
        rows = as_frame(self.rows(link.rows), node.rows)
        with tempfile.TemporaryDirectory(prefix="gristmill-model-") as folder:
            self.ctx.store.checkout(view.files(model.name), Path(folder))
            return to_table(call(node, node.function, [rows, Path(folder)], self.ctx.parameters_of(node)))


def first_difference(stored: pa.Table, again: pa.Table, key: tuple[str, ...]) -> str:
    """Return the first difference between two tables as multisets of rows, in words; empty where they are equal.

    Values are equal where they are written alike to the last digit, so that 0.0 and -0.0 differ and NaN is NaN.

    >>> import pyarrow as pa
    >>> first_difference(pa.table({"k": [1], "x": [0.1]}), pa.table({"k": [1], "x": [0.2]}), ("k",))
    'k=1: x is stored as 0.1 and came out as 0.2'
    """
    left, right = (_ordered(table, key) for table in (stored, again))
    for before, after in zip(left, right, strict=False):
        name = ", ".join(f"{column}={before[column]}" for column in key)
        for column, value in before.items():
            if repr(value) != repr(after[column]):
                return f"{name}: {column} is stored as {value!r} and came out as {after[column]!r}".removeprefix(": ")
    if len(left) != len(right):
        return f"{len(left)} rows are stored and {len(right)} came out"
    return ""


def _ordered(table: pa.Table, key: tuple[str, ...]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = table.drop_columns([ROW_ID] if ROW_ID in table.schema.names else []).to_pylist()
    return sorted(rows, key=lambda row: repr([row[name] for name in key] if key else list(row.values())))
