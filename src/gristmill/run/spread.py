"""Compute a table in full by pieces: on an executor's workers, or part by part in this process where it would not fit.

The definition is cut into stages (``algebra.parting``), each stage into specs (``engines.job``); what they write
lies in a folder that nothing refers to, and only what is staged from it in the end is the table. Partial results
that changes will be added to are made by pieces too. What cannot be parted is one piece, and the plan says why.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.engines import job as jobs
from gristmill.errors import DataError, EngineError
from gristmill.run import fitting
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.fitting import fit

if TYPE_CHECKING:
    import ibis

    from gristmill.algebra.delta import State
    from gristmill.engines.job import Made
    from gristmill.engines.protocol import Executor
    from gristmill.model.scan import ScanPlan
    from gristmill.store import Staged, Transaction

SPREAD_ROWS = 200_000
"""A table over fewer rows is not sent to workers: it is computed sooner than sent."""
NO_MEMORY = "GM-E002"
"""The code of an error that says that something did not fit into memory."""
_MORE_PARTS = 4
_MOST_PARTS = 1024
Spread = tuple["Staged", dict[str, str]]


def spread_query(
    ctx: Context, tx: Transaction, compiled: Compiled, prepared: Callable[[], None], *, passes: int = 1
) -> Spread | None:
    """Compute a table by pieces and stage its rows; None where it is to be computed at once, in this process.

    Args:
        ctx: the run.
        tx: the inputs, and the table.
        compiled: an Ibis definition.
        prepared: brings the table in line with its definition; called before anything is staged.
        passes: in how many at least, where computing it at once has failed for want of memory.

    Returns:
        the rows, and the fingerprints of the partial results by suffix.
    """
    if compiled.expression is None:
        return None
    found = fit(ctx, tx, compiled)
    read = max((tx.table(name).row_count for name in compiled.node.reads), default=0)
    executor = ctx.executor if ctx.executor is not None and read >= SPREAD_ROWS else None
    if executor is None and max(found.passes, passes) < 2:
        return None
    prepared()
    tree = tx.tree
    parts = max(found.passes, passes, 2 * executor.workers if executor is not None else 1)
    while True:
        try:
            return _by_pieces(ctx, tx, compiled, executor, parts)
        except EngineError as error:
            tx.tree = tree
            if error.code != NO_MEMORY or parts >= _MOST_PARTS:
                raise
            parts *= _MORE_PARTS


def _by_pieces(
    ctx: Context, tx: Transaction, compiled: Compiled, executor: Executor | None, parts: int
) -> Spread | None:
    from gristmill.algebra import stateful
    from gristmill.engines.kernel.kernel import engine_errors
    from gristmill.run.layout import ordered
    from gristmill.run.partials import drop_partials, partial_name
    from gristmill.store import SqlSource

    node, tree = compiled.node, tx.tree
    states: tuple[State, ...] = ()
    assert compiled.expression is not None
    expr = compiled.expression
    if compiled.written is not None and compiled.derivation.run_time_us is None:
        states, made = stateful(compiled.written, name=node.name)
        expr = made if states else expr
    scans = {name: tx.scan(name) for name in node.reads}
    drop_partials(tx, node.name, keep=states)
    try:
        for state in states:
            with _made(ctx, tx, node, executor, state.build, scans, parts) as rows, engine_errors():
                _stage_state(ctx, tx, node, state, rows)
            scans[f"{node.name}{state.suffix}@old"] = tx.scan(partial_name(node.name, state.suffix))
        with _made(ctx, tx, node, executor, expr, scans, parts) as rows, engine_errors():
            staged = tx.stage(node.name, SqlSource(ctx.kernel.connection, ordered(node, rows.sql)))
    except DataError as error:
        tx.tree = tree
        if "DECIMAL(38" in error.message:  # between stages sums have 38 digits; at once they may have more
            return None
        raise
    return staged, {state.suffix: state.fingerprint for state in states}


def _stage_state(ctx: Context, tx: Transaction, node: Node, state: State, rows: Made) -> None:
    from gristmill.algebra import arrow_schema
    from gristmill.run.partials import partial_name
    from gristmill.store import SqlSource

    table = partial_name(node.name, state.suffix)
    if table in tx:
        tx.drop_table(table)
    tx.create_table(table, arrow_schema(state.schema), properties={"kind": "derived"})
    tx.append(table, SqlSource(ctx.kernel.connection, rows.sql))


@contextmanager
def _made(
    ctx: Context,
    tx: Transaction,
    node: Node,
    executor: Executor | None,
    expr: ibis.Table,
    scans: Mapping[str, ScanPlan],
    parts: int,
) -> Iterator[Made]:
    """Compute an expression by pieces and yield its rows, which are there as long as the context is open."""
    from gristmill.algebra import parted
    from gristmill.engines.kernel.compiler import compile_sql
    from gristmill.engines.kernel.executor import InProcess

    small = [name for name, scan in scans.items() if scan.rows <= fitting.SMALL_ROWS]
    folder = Path(ctx.store.output.temporary())
    folder.mkdir(parents=True)
    try:
        job = jobs.Job(
            table=node.name,
            scans=scans,
            folder=folder,
            parts=parts,
            piece_rows=jobs.PIECE_ROWS,
            compiled=lambda found: compile_sql(found, run_time_us=ctx.run_time_us),
        )
        made = jobs.run_job(executor or InProcess(ctx.kernel), parted(expr, small=small), job)
        ctx.spread[node.name] = words_of(executor, parts, made)
        if ctx.taken is not None:
            ctx.taken.exchanged_bytes += made.exchanged_bytes
            for manifest in made.manifests if executor is not None else ():
                ctx.taken.worked(manifest.worker, manifest.peak_bytes)
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def words_of(executor: Executor | None, parts: int, made: Made) -> str:
    """Say how a table was computed by pieces."""
    where = "in this process" if executor is None else f"on {executor.workers} workers"
    return f"{len(made.manifests):,} pieces {where}, {parts} parts, {made.exchanged_bytes:,} bytes between stages"
