"""Follow the changes of an input through a Python step that looks at one row, or one group, at a time.

The function is called on the rows (or whole groups) as they were and as they are; what comes out is taken out and put
in. So it must give the same rows for the same input, which is tested on samples when the step is computed in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gristmill.contracts.kinds import quote
from gristmill.define import Node
from gristmill.run.compiling import declared_schema
from gristmill.run.context import Context
from gristmill.run.frames import as_frame
from gristmill.run.steps import called, whole_groups

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.engines.kernel import OutputChanges
    from gristmill.model.delta import Delta
    from gristmill.store import Transaction

_MADE = "_gristmill_step"


def can_step(node: Node) -> bool:
    """Whether a step's changes follow from its input's."""
    return node.kind == "step" and node.per in ("row", "group") and len(node.reads) == 1


@contextmanager
def step_changes(ctx: Context, tx: Transaction, node: Node, delta: Delta) -> Iterator[OutputChanges]:
    """Call a step on what changed and yield the changes of its output, as long as the context is open."""
    import pyarrow as pa

    from gristmill.engines.kernel import OutputChanges

    schema = declared_schema(node)
    assert schema is not None
    parts = []
    for sign, rows in ((-1, _input(ctx, tx, node, delta, new=False)), (1, _input(ctx, tx, node, delta, new=True))):
        for chunk in whole_groups(rows, node.key if node.per == "group" else ()):
            made = called(ctx, node, [as_frame(chunk, node.rows)], schema)
            parts.append(made.append_column("_w", pa.array([sign] * made.num_rows, pa.int64())))
    weighted = pa.schema([*schema, pa.field("_w", pa.int64())])
    connection = ctx.kernel.connection
    columns = ", ".join(map(quote, schema.names))
    ctx.kernel.register(_MADE, pa.concat_tables(parts) if parts else weighted.empty_table())
    try:
        sql = f"SELECT {columns}, sum(_w)::BIGINT AS _w FROM {_MADE} GROUP BY ALL HAVING sum(_w) <> 0"
        counts = "coalesce(sum(_w) FILTER (_w > 0), 0)::BIGINT, coalesce(-sum(_w) FILTER (_w < 0), 0)::BIGINT"
        came, gone = connection.execute(f"SELECT {counts} FROM ({sql})").fetchall()[0]
        yield OutputChanges(sql, int(came), int(gone), ())
    finally:
        ctx.kernel.unregister(_MADE)


def _input(ctx: Context, tx: Transaction, node: Node, delta: Delta, *, new: bool) -> pa.Table:
    """Return the changed rows, or all rows of the groups that they belong to, as they were or are."""
    from gristmill.store import compute

    columns = ", ".join(quote(field.name) for field in tx.scan(node.reads[0]).fields)
    connection = ctx.kernel.connection
    images = [image for image in (delta.before, delta.after) if image is not None and image.files]
    mine = delta.after if new else delta.before
    if node.per == "row":
        scan = mine if mine is not None and mine.files else None
        sql = f"SELECT {columns} FROM ({compute.bind(connection, compute.scan_sql(scan))})" if scan is not None else ""
    else:
        keys = ", ".join(map(quote, node.key))
        touched = " UNION ".join(
            f"SELECT {keys} FROM ({compute.bind(connection, compute.scan_sql(image))})" for image in images
        )
        assert delta.before_id is not None
        whole = tx.scan(node.reads[0]) if new else tx.scan_at(delta.before_id)
        rows = compute.bind(connection, compute.scan_sql(whole))
        same = " AND ".join(f"i.{quote(name)} IS NOT DISTINCT FROM k.{quote(name)}" for name in node.key)
        sql = f"SELECT {columns} FROM ({rows}) i SEMI JOIN ({touched}) k ON {same} ORDER BY {keys}" if touched else ""
    if not sql:
        return tx.table(node.reads[0]).schema.to_arrow().empty_table()
    return connection.sql(sql).to_arrow_table()
