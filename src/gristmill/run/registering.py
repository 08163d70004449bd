"""Tables made known to the kernel once for as long as they stay as they are; small ones that stay are kept in memory.

A stream runs the same definitions many times a second, and most of what they read does not change in between: making
it known again, or reading it from files again, costs more than the work itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.kinds import quote

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.engines.kernel import Kernel
    from gristmill.model.delta import Delta
    from gristmill.model.scan import ScanPlan
    from gristmill.run.context import Context
    from gristmill.store import View

RESIDENT_CELLS = 4_000_000
"""How many values a table may have to be kept in the kernel's memory."""


def register_table(ctx: Context, view: View, name: str, *, known_as: str = "") -> None:
    """Make a table as it is in ``view`` known to the kernel; nothing is done where the kernel knows just that.

    What is asked for in the same state for the second time, and is small, is read into memory: it is looked up by
    every batch, and does not change with them.

    Args:
        ctx: the run.
        view: where the table is.
        name: the table.
        known_as: the name on the kernel; its own where empty.
    """
    from gristmill.engines.kernel.kernel import engine_errors

    known_as, state, kernel = known_as or name, view.table(name).id, ctx.kernel
    seen = kernel.known.get(known_as)
    if seen is None or seen[0] != state:
        register_plan(kernel, known_as, view.scan(name))
        kernel.known[known_as] = (state, False)
    elif not seen[1] and _small(plan := view.scan(name)) and plan.files:
        with engine_errors():
            table = quote(_resident(known_as))
            kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS FROM {quote(known_as)}")
            kernel.connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(known_as)} AS FROM temp.{table}")
        kernel.known[known_as] = (state, True)


def register_plan(kernel: Kernel, known_as: str, plan: ScanPlan) -> None:
    """Make what a plan reads known to the kernel under a name."""
    from gristmill.store import compute

    seen = kernel.known.pop(known_as, None)
    rows = compute.at_hand(plan)
    if rows is None:
        compute.register(kernel.connection, known_as, plan)
    else:
        _hold(kernel, known_as, rows)
    if seen is not None and seen[1]:
        kernel.connection.execute(f"DROP TABLE IF EXISTS temp.{quote(_resident(known_as))}")


def register_changes(ctx: Context, view: View, name: str, delta: Delta, known_as: str) -> None:
    """Make the changes of a table known: rows as they were count -1, rows as they are +1.

    Many are a table ``KNOWN_AS@rows`` of the kernel; `forget_changes` drops it.
    """
    from gristmill.store import compute
    from gristmill.store.damage import reading

    images = [(sign, image) for sign, image in ((-1, delta.before), (1, delta.after)) if image is not None]
    images = [(sign, image) for sign, image in images if image.files] or [(1, _nothing(view.scan(name)))]
    wanted = [field.name for field in view.scan(name).fields]
    held = [(sign, compute.at_hand(image)) for sign, image in images]
    if all(rows is not None and set(wanted) <= set(rows.column_names) for _, rows in held):
        _hold(ctx.kernel, known_as, _weighted([(sign, rows) for sign, rows in held if rows is not None], wanted))
        return
    parts = []
    for sign, image in images:
        sql = compute.bind(ctx.kernel.connection, compute.scan_sql(image))
        parts.append(f"SELECT {', '.join(map(quote, wanted))}, {sign}::BIGINT AS _w FROM ({sql})")
    table = quote(f"{known_as}@rows")
    with reading():
        ctx.kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {' UNION ALL '.join(parts)}")
        ctx.kernel.connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(known_as)} AS FROM temp.{table}")


def forget_changes(kernel: Kernel, known_as: str) -> None:
    """Drop what the kernel holds of a table's changes."""
    rows = quote(f"{known_as}@rows")
    kernel.connection.execute(f"DROP VIEW IF EXISTS {quote(known_as)}; DROP TABLE IF EXISTS temp.{rows}")


def _hold(kernel: Kernel, known_as: str, rows: pa.Table) -> None:
    """Register rows, in the place of a view of that name too."""
    import duckdb

    try:
        kernel.connection.register(known_as, rows)
    except duckdb.CatalogException:
        kernel.connection.execute(f"DROP VIEW {quote(known_as)}")
        kernel.connection.register(known_as, rows)


def _nothing(plan: ScanPlan) -> ScanPlan:
    return msgspec.structs.replace(plan, files=(), rows=0)


def _weighted(held: Sequence[tuple[int, pa.Table]], wanted: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    parts = []
    for sign, rows in held:
        weights = pa.repeat(pa.scalar(sign, pa.int64()), rows.num_rows)
        parts.append(rows.select(list(wanted)).append_column("_w", weights))
    return pa.concat_tables(parts)


def forget_scans(kernel: Kernel) -> None:
    """Let go of the rows and bits that scans of earlier batches have left with the kernel; what is in memory stays."""
    from gristmill.store import compute

    for name, (_, resident) in list(kernel.known.items()):
        if not resident:
            kernel.unregister(name)
    compute.forget(kernel.connection)


def _small(plan: ScanPlan) -> bool:
    return plan.rows * max(len(plan.fields), 1) <= RESIDENT_CELLS


def _resident(known_as: str) -> str:
    return f"{known_as}@kept"
