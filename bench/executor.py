"""What computing by pieces costs beside computing at once: a group-by and a join, in this process and on the pool.

CPU seconds of the driver and its workers together; answers are compared first. The pool's workers are started before
the clock, as a cluster's would be.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import ibis
from harness import Ratio, report, scale

import gristmill as gm
from gristmill import algebra
from gristmill.engines.job import Job, Made, run_job
from gristmill.engines.kernel import Kernel
from gristmill.engines.kernel.compiler import compile_sql
from gristmill.engines.kernel.executor import InProcess
from gristmill.engines.local import LocalPool
from gristmill.engines.protocol import Executor
from gristmill.store import compute

ROWS = int(4_000_000 * scale())
T = ibis.table({"key": "int64", "user": "int64", "amount": "float64"}, name="raw.t")
JOBS = {
    "group of 100k": T.group_by("user").agg(n=T.count(), total=T.amount.sum()),
    "group of as many as rows": T.group_by("key").agg(n=T.count(), most=T.amount.max()),
    "median per group": T.group_by("user").agg(m=T.amount.median()),
}


def spent(executor: Executor, expr: ibis.Table, scan: object, folder: Path) -> tuple[float, Made]:
    """Return the CPU seconds of all pieces, and where the rows lie."""
    parted = algebra.parted(algebra.normalise(expr))
    folder.mkdir()
    job = Job(table="t", scans={"raw.t": scan}, folder=folder, parts=4, compiled=compile_sql)  # type: ignore[dict-item]
    made = run_job(executor, parted, job)
    return sum(manifest.cpu_s for manifest in made.manifests), made


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name, Kernel(threads=1) as kernel:
        root = Path(name)
        store = gm.open(root / "store", create=True)
        sql = f"""SELECT (hash(i) % 4000000)::BIGINT AS key, (hash(i) % 100000)::BIGINT AS user,
            (hash(i + 1) % 100000) / 7.0 AS amount FROM range({ROWS}) t(i)"""
        stream = kernel.connection.sql(sql).to_arrow_reader(65_536)
        store["main"].create_table("raw.t", stream.schema)
        store["main"]["raw.t"].append(stream)
        scan = store.engine.snapshot("main").scan("raw.t")
        with LocalPool(min(2, os.cpu_count() or 1), threads=1) as pool:
            spent(pool, JOBS["group of 100k"], scan, root / "warm")
            for title, expr in JOBS.items():
                ratios = []
                for turn in range(3):
                    here, first = spent(InProcess(kernel), expr, scan, root / f"{title} {turn} here")
                    there, second = spent(pool, expr, scan, root / f"{title} {turn} there")
                    if turn == 0:
                        rows = [
                            sorted(kernel.query(made.sql).read_all().to_pylist(), key=repr) for made in (first, second)
                        ]
                        assert rows[0] == rows[1]
                    ratios.append(there / here)
                found = Ratio(sorted(ratios)[1], min(ratios), max(ratios), there, here)
                report(
                    f"{title}, pool beside this process",
                    found.median,
                    1.1,
                    note=f"[{found.low:.2f} to {found.high:.2f}]",
                )
                compute.register(kernel.connection, "raw.t", scan)

                cpu = time.process_time()
                kernel.query(expr).read_all()
                at_once = time.process_time() - cpu
                print(f"        {title}: by pieces costs {here / at_once:.2f}x of at once")


if __name__ == "__main__":
    main()
