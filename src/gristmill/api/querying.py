"""Query the tables of a snapshot with SQL: only the tables that are named are opened, and read with pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.errors import NotFound, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.engines.kernel import Kernel
    from gristmill.store import Snapshot


def query(kernel: Kernel, snapshot: Snapshot, text: str) -> pa.RecordBatchReader:
    """Run one SELECT over the tables of ``snapshot``, and over the records of all runs.

    Args:
        kernel: what computes; tables become known to it under their names.
        snapshot: where the tables are read.
        text: one SELECT in DuckDB SQL; tables by dotted name, such as ``raw.flights``. ``_runs``, ``_stages``,
            ``_findings``, ``_ledgers`` and ``_metrics`` tell of runs (see ``gristmill.run.record_tables``).

    Raises NotFound for an unknown table, DefinitionError where the text is not one SELECT.
    """
    from gristmill.engines.kernel import named_tables
    from gristmill.run.record_tables import record_tables
    from gristmill.store import compute

    known, of_runs = snapshot.tables(system=True), record_tables(snapshot.store)
    schemas = {}
    for name in named_tables(text):
        if name in of_runs:
            rows = of_runs[name]()
            kernel.register(name, rows)
            schemas[name] = rows.schema
            continue
        if name not in snapshot:
            hint = did_you_mean(name, known) or f"known: {', '.join(snapshot.tables()[:8]) or 'none'}"
            raise NotFound(f"there is no table `{name}` at {snapshot.commit.id[:7]}", hint=hint)
        compute.register(kernel.connection, name, snapshot.scan(name))
        schemas[name] = snapshot.table(name).schema.to_arrow()
    return kernel.query(kernel.check_sql(text, schemas, once=True).sql)
