"""Say of rows that are refused since when there have been such rows: this run, or a commit of long ago."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.kinds import ROW_KINDS
from gristmill.contracts.masks import breach
from gristmill.contracts.scan import types_of
from gristmill.contracts.sqltext import engine_error
from gristmill.define import Node
from gristmill.model.findings import Finding
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.model.commits import Commit
    from gristmill.store import Transaction, View

_LOOK_BACK = 20
_SEEN = '"_gristmill_sighted"'
FIRST = "first seen in this run"


def sighted(
    ctx: Context, tx: Transaction, node: Node, findings: Sequence[Finding], *, delivered: bool
) -> tuple[Finding, ...]:
    """Return findings; those that refuse rows say since when there have been such rows.

    Args:
        ctx: the run.
        tx: the transaction, in which the table is as the run found it.
        node: the table.
        findings: what was found.
        delivered: whether the rows came with this run, so that none of them was there before.
    """
    return tuple(
        msgspec.structs.replace(finding, since=FIRST if delivered else _since(ctx, tx, node, finding))
        if finding.blocks and finding.failed_rows
        else finding
        for finding in findings
    )


def _since(ctx: Context, tx: Transaction, node: Node, finding: Finding) -> str:
    if node.name not in tx:
        return FIRST
    if finding.rule.kind not in ROW_KINDS or tx.base is None:
        return ""
    oldest: Commit | None = None
    for commit in ctx.store.log(tx.base.hex(), table=node.name, limit=_LOOK_BACK):
        if not _has_such(ctx, ctx.store.snapshot(commit.id), node, finding):
            break
        oldest = commit
    if oldest is None:
        return FIRST
    day = datetime.datetime.fromtimestamp(oldest.time_us / 1e6, datetime.UTC).date().isoformat()
    return f"there are such rows since {oldest.id[:7]} ({day})"


def _has_such(ctx: Context, snapshot: View, node: Node, finding: Finding) -> bool:
    """Whether a table had a row that breaks the rule; a column that it did not have breaks nothing."""
    from gristmill.store import compute

    if node.name not in snapshot:
        return False
    connection = ctx.kernel.connection
    compute.register(connection, _SEEN.strip('"'), snapshot.scan(node.name, hidden=node.kind == "source"))
    try:
        sql = f"SELECT 1 FROM {_SEEN} WHERE {breach(finding.rule, types_of(connection, _SEEN))} LIMIT 1"
        return bool(connection.execute(sql).fetchall())
    except engine_error():
        return False
