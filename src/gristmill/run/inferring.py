"""Write down what was assumed about a source: a contract document to read, mend, and let hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.contracts.infer import infer
from gristmill.run.context import Context
from gristmill.run.landing import load_shape
from gristmill.run.records import RunRecord

if TYPE_CHECKING:
    import duckdb

    from gristmill.store import Snapshot


def inferred_contract(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, table: str) -> str:
    """Return a contract for a table as it is stored, with what its source assumed as comments."""
    from gristmill.store import compute

    shape = load_shape(snapshot, table)
    compute.register(connection, "_gristmill_inferred", snapshot.scan(table))
    return infer(
        connection,
        "_gristmill_inferred",
        table=table,
        key=snapshot.table(table).key,
        assumptions=shape.assumptions if shape is not None else (),
    )


def write_first_contracts(ctx: Context, record: RunRecord) -> dict[str, Path]:
    """Write ``contracts/NAME.yaml`` for each source that this run landed for the first time without a contract.

    A file that is there is left alone. The documents hold only once a definition names them; returns them by table.
    """
    if record.head is None:
        return {}
    before, after = ctx.store.snapshot(record.base), ctx.store.snapshot(record.head)
    written: dict[str, Path] = {}
    for stage in record.stages:
        node = ctx.graph[stage.name]
        target = ctx.root / "contracts" / f"{node.name}.yaml"
        first = node.kind == "source" and node.name in after and node.name not in before
        if first and node.contract is None and not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_text(inferred_contract(ctx.kernel.connection, after, node.name), encoding="utf-8")
            written[node.name] = target
    return written
