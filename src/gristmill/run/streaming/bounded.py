"""A stream up to the end that it has now, within one transaction: what a plain run does with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from gristmill.define import Node
from gristmill.errors import DataError
from gristmill.model.events import Assumed, Progress, UnitLanded
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.model.units import Ledger
from gristmill.run.context import Context
from gristmill.run.landing import Landed, load_shape, shape_of
from gristmill.run.streaming.batches import Batch, land_batch

if TYPE_CHECKING:
    from gristmill.connect import StreamConnector
    from gristmill.store import Transaction

_ROWS = 262_144
_BYTES = 128 * 2**20


def is_stream(node: Node) -> bool:
    """Whether a source's units are partitions that grow."""
    return node.kind == "source" and hasattr(node.connector, "open")


def connector_of(node: Node) -> StreamConnector:
    """Return what a stream's source reads from."""
    return cast("StreamConnector", node.connector)


def land_stream(ctx: Context, tx: Transaction, node: Node, rules: Sequence[Rule], run: str) -> Landed:
    """Land what a stream holds behind its positions, up to its end as of now, in one transaction.

    Raises DataError where something was lost before it was read.
    """
    connector = connector_of(node)
    known = tx.units(node.name)
    found = connector.discover(ctx.root, known)
    fresh = [unit for unit in found if unit.status in ("new", "changed")]
    if not fresh:
        return Landed(0, Ledger(), ())
    first = load_shape(tx, node.name) is None
    shape = shape_of(ctx, node, tx, fresh)
    for text in shape.assumptions if first else ():
        ctx.listener(Assumed(name=node.name, text=text))
    ends = {unit.name: unit.detail["end"] for unit in fresh if "end" in unit.detail}
    positions = {name: unit.detail for name, unit in known.items()}
    reader = connector.open(ctx.root, positions, shape=shape, ends=ends)
    rows, ledger, findings = 0, Ledger(), dict[str, Finding]()
    try:
        while parts := reader.poll(max_rows=_ROWS, max_bytes=_BYTES, timeout_s=0):
            batch = Batch(node, shape, parts, expected=[unit.name for unit in found])
            landed = land_batch(ctx, tx, batch, rules, run)
            rows, ledger = rows + landed.rows, ledger + landed.ledger
            findings |= {finding.rule.code: finding for finding in landed.findings}
            ctx.listener(Progress(name=node.name, rows=rows))
    except DataError as error:
        error.where = error.where or node.name
        raise
    finally:
        reader.close()
    for name in ends:
        if (unit := tx.units(node.name).get(name)) is not None:
            ctx.listener(UnitLanded(source=node.name, unit=name, ledger=unit.ledger))
    return Landed(rows, ledger, tuple(findings.values()))
