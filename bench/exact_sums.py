"""Exact sums against DuckDB's own: CPU time of the same group-by, alternated, answers compared first.

Run: ``python bench/exact_sums.py [ROWS]``. Prints one ratio per line: with a declared grid, without one on
values that fit two limbs, and without one where every value needs the exact path. Then the cost of compiling
an Ibis expression the first time and from the cache.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ibis

from gristmill import algebra
from gristmill.engines.kernel import Kernel

GROUPS = 5_000
TABLES = {
    "cents": "round((i * 48271 % 2147483647) / 21474836.47, 2)",
    "full": "(i * 48271 % 2147483647) / 2147483.647 - 500",
    "tiny": "(i * 48271 % 2147483647) / 2147483647e7",
}


def cpu_s(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def paired(first: Callable[[], object], second: Callable[[], object], *, times: int = 7) -> tuple[float, float]:
    """Return the median CPU seconds of both, run in turns."""
    pairs = [(cpu_s(first), cpu_s(second)) for _ in range(times)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def fill(kernel: Kernel, name: str, rows: int, folder: Path) -> None:
    """Write one table to Parquet, and keep it in memory too."""
    keys = f"(i * 2654435761 % {GROUPS})::BIGINT AS g"
    rows_sql = f"SELECT {keys}, ({TABLES[name]})::DOUBLE AS x FROM range({rows}) r(i)"
    file = folder / f"{name}.parquet"
    kernel.connection.execute(f"COPY ({rows_sql}) TO '{file}' (COMPRESSION zstd)")
    kernel.register(f"raw.{name}", f"SELECT * FROM read_parquet('{file}')")
    kernel.connection.execute(f'CREATE TABLE "memory.{name}" AS SELECT * FROM "raw.{name}"')


def check(kernel: Kernel, exact: str, name: str) -> None:
    """Compare one group in a hundred with math.fsum."""
    for row in kernel.query(f"SELECT * FROM ({exact}) WHERE g % 100 = 0").read_all().to_pylist():
        values = kernel.query(f'SELECT x FROM "{name}" WHERE g = {row["g"]}').read_all()["x"].to_pylist()
        assert row["s"] == math.fsum(values), (name, row)


def sums(kernel: Kernel, rows: int, folder: Path) -> None:
    for name in TABLES:
        fill(kernel, name, rows, folder)
    for name, grid in (("cents", "trusted"), ("cents", "grid"), ("cents", ""), ("full", ""), ("tiny", "")):
        for place in ("raw", "memory"):
            compare(kernel, f"{place}.{name}", grid)


def compare(kernel: Kernel, name: str, grid: str) -> None:
    table = ibis.table({"g": "int64", "x": "float64"}, name=name)
    expr = table.group_by("g").agg(s=table.x.sum())
    grids = {(name, "x"): algebra.Grid(low=0, high=1e6, resolution=0.01, trusted=grid == "trusted")} if grid else None
    exact = kernel.sql(algebra.normalise(expr, grids=grids))
    if not grid:
        check(kernel, exact, name)

    def run(text: str) -> Callable[[], object]:
        return lambda: kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE out AS {text}")

    ours, theirs = paired(run(exact), run(f'SELECT g, sum(x) AS s FROM "{name}" GROUP BY g'))
    label = f"{name.replace('raw', 'parquet')}, {grid or 'no grid'}"
    print(f"{label:24} {ours / theirs:6.2f}x of sum(double)   ({ours:.3f} s / {theirs:.3f} s)")


def compiling() -> None:
    t = ibis.table({"g": "int64", "x": "float64", "k": "string"}, name="raw.t")
    u = ibis.table({"k": "string", "y": "float64"}, name="raw.u")

    def build(i: int) -> ibis.Table:
        joined = t.filter(t.x > i).join(u, "k").mutate(z=ibis._.x * ibis._.y)
        return joined.group_by("g").agg(s=ibis._.z.sum(), m=ibis._.z.mean(), n=ibis._.count())

    with Kernel(threads=1) as kernel:
        kernel.sql(build(-1))
        exprs = [build(i) for i in range(20)]
        first = statistics.median(cpu_s(lambda e=e: kernel.sql(e)) for e in exprs)
        again = statistics.median(cpu_s(lambda e=e: kernel.sql(e)) for e in exprs)
    print(f"compile a join and three aggregates: first {first * 1e3:.2f} ms, cached {again * 1e6:.0f} us")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with Kernel(threads=1) as session, tempfile.TemporaryDirectory() as temp:
        sums(session, count, Path(temp))
    compiling()
