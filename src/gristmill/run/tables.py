"""Compute a derived table in full: an Ibis expression or SQL in the kernel, a step in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gristmill.contracts.kinds import ROW_KINDS
from gristmill.define import Node
from gristmill.errors import DataError, EngineError, GristmillError
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.run.checking import Delivery, check_staged, replace_aside
from gristmill.run.columnwise import Columns, staged_columns
from gristmill.run.compiling import Compiled, declared_schema, sql_of
from gristmill.run.context import Context
from gristmill.run.history import history_schema, history_sql
from gristmill.run.layout import ordered, prepare
from gristmill.run.partials import drop_partials, forget_partials, stage_partials
from gristmill.run.profiling import judged, profile
from gristmill.run.registering import register_table
from gristmill.run.spread import NO_MEMORY, spread_query
from gristmill.run.steps import staged_step

if TYPE_CHECKING:
    from gristmill.algebra.delta import State
    from gristmill.store import Staged, Transaction

_PASSES = 8
"""In how many passes a table is computed that did not fit at once."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What computing a table gave.

    Args:
        rows: rows of the table.
        findings: what rules found.
        partials: fingerprints of the partial results beside it.
        columnwise: whether only columns that changed were computed.
    """

    rows: int
    findings: tuple[Finding, ...]
    partials: Mapping[str, str] = field(default_factory=dict)
    columnwise: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing forbids publishing."""
        return not any(finding.blocks for finding in self.findings)

    @property
    def clean(self) -> bool:
        """Whether every row of the table keeps every rule on rows."""
        on_rows = (found for found in self.findings if found.rule.kind in ROW_KINDS)
        return not any(found.failed_rows > found.quarantined for found in on_rows)


def compute_table(
    ctx: Context,
    tx: Transaction,
    compiled: Compiled,
    rules: Sequence[Rule],
    run: str,
    *,
    columns: Columns | None = None,
) -> Computed:
    """Compute a table from its inputs as they are in ``tx``, check it, and write it there.

    Args:
        ctx: the run.
        tx: the inputs, and where the table is written.
        compiled: its definition.
        rules: its rules.
        run: the run's branch.
        columns: the columns to compute where the others stay; all are where that turns out not to be possible.

    Raises DataError where key or schema do not hold, DefinitionError where user code fails.
    """
    node = compiled.node
    some = staged_columns(ctx, tx, compiled, columns) if columns is not None else None
    if some is not None:
        staged, partials = some
    elif node.kind == "step":
        schema = declared_schema(node)
        assert schema is not None
        prepare(tx, node, schema)
        staged = staged_step(ctx, tx, node)
        partials = {}
    else:
        staged, partials = _staged_query(ctx, tx, compiled)
    read = max((tx.table(name).row_count for name in node.reads), default=0)
    odd = tuple(judged(ctx, tx, node, profile(ctx, staged, read=read)))
    checked = check_staged(ctx, tx, node, staged, rules=rules, run=run, delivery=Delivery(found=odd))
    tx.replace(node.name, checked.staged)
    replace_aside(tx, node.name, checked.aside)
    return Computed(checked.staged.row_count, checked.findings, partials, columnwise=some is not None)


def register_inputs(ctx: Context, tx: Transaction, node: Node) -> None:
    """Make every input table known to the kernel under its own name."""
    for name in node.reads:
        register_table(ctx, tx, name)


def _staged_query(ctx: Context, tx: Transaction, compiled: Compiled) -> tuple[Staged, dict[str, str]]:
    """Stage the rows of a query: at once where that fits into memory, else by pieces."""
    from gristmill.algebra import arrow_schema

    node = compiled.node
    if compiled.expression is None:
        return _staged_at_once(ctx, tx, compiled)
    schema, tree = arrow_schema(compiled.expression.schema()), tx.tree

    def by_pieces(passes: int) -> tuple[Staged, dict[str, str]] | None:
        return spread_query(ctx, tx, compiled, lambda: prepare(tx, node, schema), passes=passes)

    if (made := by_pieces(1)) is not None:
        return made
    try:
        return _staged_at_once(ctx, tx, compiled)
    except EngineError as error:
        tx.tree = tree
        if error.code != NO_MEMORY or (made := by_pieces(_PASSES)) is None:
            raise
        return made


def _staged_at_once(ctx: Context, tx: Transaction, compiled: Compiled) -> tuple[Staged, dict[str, str]]:
    from gristmill.algebra import arrow_schema
    from gristmill.engines.kernel.kernel import engine_errors
    from gristmill.store import SqlSource
    from gristmill.store.damage import damage

    node = compiled.node
    register_inputs(ctx, tx, node)
    states: tuple[State, ...] = ()
    if compiled.expression is not None:
        states, sql = _partials_and_sql(ctx, compiled)
        schema = arrow_schema(compiled.expression.schema())
    elif node.kind == "history":
        sql = history_sql(ctx, node, tx)
        schema = history_schema(tx.table(node.reads[0]).schema.to_arrow())
    else:
        sql = compiled.sql or ""
        schema = ctx.kernel.schema(sql)
    prepare(tx, node, schema)
    sql = ordered(node, sql)
    begun = states
    try:
        tree = tx.tree
        try:
            drop_partials(tx, node.name, keep=states)
            with engine_errors():
                stage_partials(ctx, tx, node.name, states)
        except DataError:  # partial results have 38 digits; the table itself may do without them
            tx.tree, states = tree, ()
            drop_partials(tx, node.name)
            sql = ordered(node, sql_of(ctx, compiled))
        with engine_errors():
            staged = tx.stage(node.name, SqlSource(ctx.kernel.connection, sql))
        return staged, {state.suffix: state.fingerprint for state in states}
    except GristmillError as error:
        error.where = error.where or f"{node.name} ({node.place})"
        raise
    except Exception as error:
        if (found := damage(error)) is not None:
            raise found from error
        raise EngineError(
            f"`{node.name}` could not be computed: {str(error).splitlines()[0]}",
            code="GM-E020",
            where=str(node.place),
            hint=f"`gristmill preview {node.name}` computes a few rows",
        ) from error
    finally:  # whoever goes on with this kernel, by pieces or with changes, has views of these names
        forget_partials(ctx, node.name, begun)


def _partials_and_sql(ctx: Context, compiled: Compiled) -> tuple[tuple[State, ...], str]:
    """Return the partial results that changes will be added to, and SQL that makes the table from them."""
    from gristmill.algebra import stateful

    if compiled.written is not None and compiled.derivation.run_time_us is None:
        states, made = stateful(compiled.written, name=compiled.node.name)
        if states:
            return states, ctx.kernel.text(made)
    return (), sql_of(ctx, compiled)
