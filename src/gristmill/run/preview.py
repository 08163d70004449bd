"""Evaluate definitions without a commit: on the store's data for a preview, on given rows for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.contracts.sqltext import quote
from gristmill.define import Node
from gristmill.define.expressions import expression
from gristmill.errors import NotFound, UsageError, did_you_mean
from gristmill.model.findings import Finding
from gristmill.run.compiling import declared_schema
from gristmill.run.context import Context
from gristmill.run.frames import as_arrow, as_frame, call
from gristmill.run.grids import grids_of
from gristmill.run.rechecking import check_stored
from gristmill.run.registering import register_table
from gristmill.run.rules import rules_of

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import View


def preview(ctx: Context, snapshot: View, name: str, *, where: str | None = None, limit: int | None = 20) -> pa.Table:
    """Compute rows of a table with the definitions as they are now; nothing is kept.

    Args:
        ctx: the run's values.
        snapshot: where source tables are read.
        name: the table.
        where: SQL condition on its columns; pushed down as far as the definitions allow.
        limit: rows to return; None for all.

    Raises NotFound where a source has not landed yet, UsageError for a model.
    """
    node = ctx.graph[name]
    if not node.is_table or node.kind == "predictions":
        raise UsageError(f"`{name}` is a {node.kind}, which has no preview", code="GM-U015", hint="preview its input")
    upstream = ctx.graph.upstream(name)
    for needed in ctx.graph.order():
        if needed.name in upstream or needed.name == name:
            _evaluate_stored(ctx, snapshot, needed)
    text = f'SELECT * FROM "{name}"' + (f" WHERE {where}" if where else "")
    text += f" LIMIT {int(limit)}" if limit is not None else ""
    return ctx.kernel.query(text).read_all()


def _evaluate_stored(ctx: Context, snapshot: View, node: Node) -> None:
    if node.kind in ("source", "history"):
        if node.name not in snapshot:
            raise NotFound(f"`{node.name}` has not landed yet", code="GM-U013", hint="gristmill run lands it")
        register_table(ctx, snapshot, node.name)
    else:
        evaluate(ctx, node, snapshot)


def evaluate(ctx: Context, node: Node, snapshot: View | None = None) -> None:
    """Make a derived table known to the kernel under its name, its inputs being known already.

    Expressions and SQL become views, so that conditions reach the inputs; steps are called at once. ``snapshot``
    tells which broken rules of the inputs people have accepted.
    """
    from gristmill import algebra

    if node.kind == "table":
        schemas = {name: ctx.kernel.schema(f'SELECT * FROM "{name}"') for name in node.reads}
        made = expression(node, schemas, parameters=ctx.parameters_of(node), root=ctx.root)
        made = algebra.normalise(made, grids=grids_of(ctx, node, snapshot))
        ctx.kernel.register(node.name, ctx.kernel.sql(made, run_time_us=ctx.run_time_us))
    elif node.kind == "sql":
        schemas = {name: ctx.kernel.schema(f'SELECT * FROM "{name}"') for name in node.reads}
        checked = ctx.kernel.check_sql(node.sql or "", schemas)
        text = checked.sql if checked.expression is None else ctx.kernel.sql(checked.expression)
        ctx.kernel.register(node.name, text)
    elif node.kind == "step":
        schema = declared_schema(node)
        assert node.function is not None
        assert schema is not None
        tables = [ctx.kernel.query(_in_order(ctx, name)).read_all() for name in node.reads]
        frames = [as_frame(table, node.rows) for table in tables]
        result = call(node, node.function, frames, ctx.parameters_of(node))
        ctx.kernel.register(node.name, as_arrow(node, result, schema))


def _in_order(ctx: Context, name: str) -> str:
    """Return SQL for a table's rows in the order in which a run gives them to a step: that of the key."""
    order = ", ".join(quote(column) for column in ctx.graph[name].key)
    return f"SELECT * FROM {quote(name)}" + (f" ORDER BY {order}" if order else "")


def evaluate_rows(ctx: Context, given: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Compute every table that can be computed from the given ones alone; no store is touched.

    Args:
        ctx: the run's values.
        given: rows by table name, sources or any other table.

    Returns the rows of each derived table, in the order of the graph.

    Raises UsageError where a given name is not a table of the project.
    """
    for name, table in given.items():
        if name not in ctx.graph:
            hint = did_you_mean(name, [node.name for node in ctx.graph])
            raise UsageError(f"the project defines no `{name}`", code="GM-P002", hint=hint)
        ctx.kernel.register(name, table)
    known = set(given)
    made: dict[str, pa.Table] = {}
    for node in ctx.graph.order():
        if node.name in known or node.kind not in ("table", "sql", "step") or not set(node.reads) <= known:
            continue
        evaluate(ctx, node)
        known.add(node.name)
        made[node.name] = ctx.kernel.query(f'SELECT * FROM "{node.name}"').read_all()
    return made


def check_tables(ctx: Context, snapshot: View, names: Sequence[str]) -> list[Finding]:
    """Check tables as they are stored against their rules; write nothing."""
    findings: list[Finding] = []
    for name in names:
        node = ctx.graph[name]
        rules = rules_of(ctx, node)
        if rules and name in snapshot:
            findings += check_stored(ctx, snapshot, node, rules).findings
    return findings
