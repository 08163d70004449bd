"""The serving read: a table as its definition gives it now, the stored layer and what came since, and each row's layer.

What came since is computed like any increment, in a transaction that is thrown away: so slow and fast layer cannot give
different answers, and nobody waits for a commit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import CheckFailed, NotFound, UsageError, did_you_mean
from gristmill.model.findings import Finding
from gristmill.run.context import Context
from gristmill.run.layers import Layer, layer_now, load_layer
from gristmill.run.rules import ordered
from gristmill.run.stage import Progress, bring_up

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Snapshot, Transaction

LAYER, AS_OF = "_layer", "_as_of"


@dataclass(frozen=True, slots=True)
class Served:
    """A table as it would be if it were computed now.

    Args:
        table: its name.
        rows: all rows, with ``_layer`` (``slow``: as stored; ``fast``: new or changed since) and ``_as_of`` (the event
            time up to which that layer is final; where there is none, the time at which it was computed).
        slow: up to where the stored rows go; None where the table is not stored yet.
        fast: up to where ``rows`` go.
        removed: how many stored rows are no longer there.
    """

    table: str
    rows: pa.Table
    slow: Layer | None
    fast: Layer
    removed: int = 0


def serve(ctx: Context, on: str, table: str) -> Served:
    """Return a table as its definition gives it from everything that a branch holds; write nothing.

    Args:
        ctx: the run; its time counts for what is computed now.
        on: the branch.
        table: a derived table.

    Raises:
        CheckFailed: a check says no to what came since.
        NotFound: an input is not there yet.
        UsageError: the table is no derived table of the project.
    """
    if table not in ctx.graph or ctx.graph[table].kind not in ("table", "sql", "step"):
        names = [node.name for node in ctx.graph if node.kind in ("table", "sql", "step")]
        raise UsageError(
            f"`{table}` is no derived table of the project", code="GM-U013", hint=did_you_mean(table, names)
        )
    ctx = replace(ctx, fast=True)
    needed = {table, *ctx.graph.upstream(table)}
    before = ctx.store.snapshot(on)
    tx = ctx.store.begin(on, message=f"serve {table}", at=before.commit.id)
    try:
        progress = Progress()
        for node in ordered(ctx):
            if node.name in needed and node.kind in ("table", "sql", "step"):
                bring_up(ctx, tx, node, "serve", progress)
        refused = [finding for finding in progress.findings if finding.blocks]
        if refused:
            raise _refusal(refused, table)
        if table not in tx:
            raise NotFound(f"`{table}` has nothing to follow from yet", code="GM-U013", hint="gristmill run lands it")
        return _served(ctx, before, tx, table)
    finally:
        tx.discard()


def _served(ctx: Context, before: Snapshot, tx: Transaction, table: str) -> Served:
    import numpy as np
    import pyarrow as pa

    from gristmill.store import compute

    rows = compute.reader(tx.scan(table, row_ids=True)).read_all()
    ids = rows.column("_row_id").to_numpy()
    slow = _stored_layer(ctx, before, table) if table in before else None
    removed, new = 0, np.ones(len(ids), dtype=bool)
    if slow is not None:
        delta = tx.delta_since(table, before.table(table).id)
        if not delta.rebuilt:
            changed = delta.inserted | delta.updated
            new = np.isin(ids, np.fromiter(changed, dtype=np.int64, count=len(changed)))
            removed = len(delta.deleted)
        else:
            removed = before.table(table).row_count
    fast = layer_now(ctx, before, table)
    moments = np.where(new, _moment(fast), _moment(slow) if slow is not None else 0)
    made = rows.drop_columns(["_row_id"])
    made = made.append_column(LAYER, pa.array(np.where(new, "fast", "slow"), pa.string()))
    made = made.append_column(AS_OF, pa.array(moments, pa.int64()).cast(pa.timestamp("us", "UTC")))
    return Served(table, made, slow, fast, removed)


def _stored_layer(ctx: Context, view: Snapshot, table: str) -> Layer:
    """Return up to where the stored rows go; a table without a slow layer goes as far as its last commit."""
    noted = load_layer(view, table)
    return noted or msgspec.structs.replace(layer_now(ctx, view, table), computed_us=view.commit.time_us)


def _moment(layer: Layer) -> int:
    return layer.as_of_us if layer.as_of_us is not None else layer.computed_us


def _refusal(findings: list[Finding], table: str) -> CheckFailed:
    first = findings[0]
    return CheckFailed(
        f"what came since `{table}` was stored breaks a rule: {first.table}: {first.words}",
        code="GM-C041",
        where=first.table,
        hint=f"the rows as stored are there: gristmill sql 'from \"{table}\"'",
        examples=[str(example) for example in first.examples],
    )
