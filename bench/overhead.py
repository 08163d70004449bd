"""What one table costs besides its work: 40 steps on a handful of rows, against 40 Dagster ops with its own store.

Both sides run in this process and keep a record of each step: gristmill commits every table durably and checks its
ledger, Dagster writes its events and outputs to its SQLite instance and the file system.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import pyarrow as pa
from harness import alternate, report, report_ratio

import gristmill as gm

STEPS = 40
ROWS = [{"id": i, "x": i * i} for i in range(20)]


def ours() -> list[int]:
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        root = Path(folder)
        project = gm.Project(root)
        raw = project.source("raw.n", gm.frame(pa.Table.from_pylist(ROWS)))
        previous: object = raw
        for number in range(STEPS):

            def step(rows: pa.Table) -> pa.Table:
                return rows

            schema = {"id": "int64", "x": "int64"}
            previous = project.step(f"t.n{number}", reads=[previous], schema=schema)(step)
            previous = f"t.n{number}"
        assert project.run().ok
        return sorted(project.store.snapshot("main").to_arrow(f"t.n{STEPS - 1}")["x"].to_pylist())


def theirs() -> list[int]:
    import dagster as dg

    @dg.op
    def start() -> list[dict[str, int]]:
        return ROWS

    @dg.op
    def step(rows: list[dict[str, int]]) -> list[dict[str, int]]:
        return rows

    @dg.job(executor_def=dg.in_process_executor, logger_defs={})
    def chain() -> None:
        value = start()
        for number in range(STEPS):
            value = step.alias(f"n{number}")(value)

    with tempfile.TemporaryDirectory(prefix="dagster-bench-") as folder:
        instance = dg.DagsterInstance.local_temp(folder)
        result = chain.execute_in_process(instance=instance)
        return sorted(row["x"] for row in result.output_for_node(f"n{STEPS - 1}"))


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    assert ours() == theirs()
    ratio = alternate(ours, theirs, rounds=3)
    report_ratio("one table against one Dagster op", ratio, 0.1)
    report("CPU of one table", ratio.a_s / STEPS * 1000, 4, unit=" ms")


if __name__ == "__main__":
    main()
