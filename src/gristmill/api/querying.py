"""Query the tables of a snapshot with SQL: only the tables that are named are opened, and read with pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.errors import NotFound, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.engines.kernel import Kernel
    from gristmill.store import Snapshot


def query(kernel: Kernel, snapshot: Snapshot, text: str) -> pa.RecordBatchReader:
    """Run one SELECT over the tables of ``snapshot``.

    Args:
        kernel: what computes; tables become known to it under their names.
        snapshot: where the tables are read.
        text: one SELECT in DuckDB SQL; tables by dotted name, such as ``raw.flights``.

    Raises NotFound for an unknown table, DefinitionError where the text is not one SELECT.
    """
    from gristmill.engines.kernel import named_tables
    from gristmill.store import compute

    known = snapshot.tables(system=True)
    schemas = {}
    for name in named_tables(text):
        if name not in snapshot:
            hint = did_you_mean(name, known) or f"known: {', '.join(snapshot.tables()[:8]) or 'none'}"
            raise NotFound(f"there is no table `{name}` at {snapshot.commit.id[:7]}", hint=hint)
        compute.register(kernel.connection, name, snapshot.scan(name))
        schemas[name] = snapshot.table(name).schema.to_arrow()
    return kernel.query(kernel.check_sql(text, schemas, once=True).sql)
