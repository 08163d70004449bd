"""Following 0.1 % of changed rows against computing all anew: CPU time of the kernel, alternated, answers compared.

Run: ``python bench/delta.py [ROWS]`` (2 million rows unless given). Inputs are Parquet; both sides write what they
find to Parquet: the whole output, or its changes and those of the hidden states. No commit is in it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import ibis
from harness import alternate, report_ratio, scale

from gristmill import algebra
from gristmill.engines.kernel import Kernel, run_changes

EVENTS = {"id": "int64", "k": "int64", "c": "int64", "x": "float64", "n": "int64"}
KEYS = {"k": "int64", "name": "string"}
Case = Callable[[ibis.Table, ibis.Table], ibis.Table]

CASES: dict[str, tuple[Case, float]] = {
    "filter": (lambda t, u: t.filter(t.n > 500).mutate(y=t.x * 2), 100),
    "join": (lambda t, u: t.join(u, "k").select("id", "x", "name"), 25),
    "left join": (lambda t, u: t.left_join(u, "k").select("id", "x", "name"), 25),
    "group by, counts and integer sums": (lambda t, u: t.group_by("k").agg(c=t.count(), s=t.n.sum()), 25),
    "group by, sums and means of floats": (lambda t, u: t.group_by("k").agg(s=t.x.sum(), m=t.x.mean()), 25),
    "group by, greatest value": (lambda t, u: t.group_by("k").agg(m=t.x.max()), 25),
    "distinct": (lambda t, u: t.select("k", "c").distinct(), 25),
    "median, keys everywhere": (lambda t, u: t.group_by("k").agg(m=t.x.median()), 15),
    "median, rows and changes clustered": (lambda t, u: t.group_by("c").agg(m=t.x.median()), 15),
    "rank in a partition, clustered": (
        lambda t, u: t.mutate(r=ibis.rank().over(ibis.window(group_by="c", order_by="x"))),
        15,
    ),
}


def fill(kernel: Kernel, folder: Path, rows: int) -> None:
    """Write an event table in two versions with their difference, and a table of keys."""
    groups = max(rows // 100, 1)
    changed = max(rows // 1000, 1)
    make = f"""SELECT i AS id, (i * 2654435761 % {groups})::BIGINT AS k, i // 100 AS c,
        round((i * 48271 % 2147483647) / 21474836.47, 2) AS x, (i * 69621 % 1000)::BIGINT AS n
        FROM range({{a}}, {{b}}) r(i)"""
    first, half = rows // 2, changed // 2
    write(kernel, folder, "raw.t@old", make.format(a=0, b=rows))
    gone = f'SELECT * FROM "raw.t@old" WHERE id >= {first} AND id < {first + half}'
    came = make.format(a=rows, b=rows + half)
    edited = f"SELECT id, k, c, x + 1 AS x, n FROM ({gone})"
    kept = f'SELECT * FROM "raw.t@old" WHERE NOT (id >= {first} AND id < {first + half})'
    write(kernel, folder, "raw.t@new", f"{kept} UNION ALL {edited} UNION ALL {came}", order="id")
    signs = " UNION ALL ".join(
        f"SELECT *, {w}::BIGINT AS _w FROM ({q})" for q, w in ((gone, -1), (edited, 1), (came, 1))
    )
    write(kernel, folder, "raw.t@delta", signs)
    write(kernel, folder, "raw.u", f"SELECT i AS k, 'name ' || i AS name FROM range({groups}) r(i)")
    kernel.register("raw.t", 'SELECT * FROM "raw.t@new"')


def write(kernel: Kernel, folder: Path, name: str, sql: str, order: str | None = None) -> None:
    """Write a query to Parquet and register it."""
    file = folder / f"{name}.parquet"
    ordered = f"{sql} ORDER BY {order}" if order else sql
    kernel.connection.execute(f"COPY ({ordered}) TO '{file}' (COMPRESSION zstd)")
    kernel.register(name, f"SELECT * FROM read_parquet('{file}')")


def copied(kernel: Kernel, sql: str, file: Path) -> None:
    """Write a query to Parquet."""
    kernel.connection.execute(f"COPY ({sql}) TO '{file}' (COMPRESSION zstd)")


def main() -> None:
    """Measure every case."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else int(2_000_000 * scale())
    t, u = ibis.table(EVENTS, name="raw.t"), ibis.table(KEYS, name="raw.u")
    with Kernel(threads=1) as kernel, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(kernel, folder, rows)
        for title, (case, goal) in CASES.items():
            measure(kernel, folder, title, case(t, u), goal)


def measure(kernel: Kernel, folder: Path, title: str, expr: ibis.Table, goal: float) -> None:
    """Compare the answers of one case, then its times."""
    maintained = algebra.maintain(expr, {"raw.t": "any"})
    out = folder / "out.parquet"
    kernel.register("raw.t", 'SELECT * FROM "raw.t@old"')
    for state in maintained.states:
        write(kernel, folder, f"out{state.suffix}@old", kernel.text(state.build))
    write(kernel, folder, "out@old", kernel.sql(expr))
    kernel.register("raw.t", 'SELECT * FROM "raw.t@new"')

    def full() -> None:
        copied(kernel, kernel.sql(expr), out)

    def delta() -> None:
        with run_changes(kernel, maintained) as found:
            copied(kernel, found.sql, out)
            for state in found.states:
                copied(kernel, state.came_sql, folder / "state.parquet")

    check(kernel, maintained, expr)
    report_ratio(f"{title} ({maintained.mode})", alternate(full, delta, rounds=3), goal, at_least=True)


def check(kernel: Kernel, maintained: algebra.Maintained, expr: ibis.Table) -> None:
    """Compare the old output and its changes with the new output."""
    columns = ", ".join(f'"{name}"' for name in maintained.changes.columns[:-1])
    with run_changes(kernel, maintained) as found:
        both = (
            f'SELECT {columns}, 1 AS _w FROM "out@old" UNION ALL SELECT {columns}, _w FROM ({found.sql}) '
            f"UNION ALL SELECT {columns}, -1 FROM ({kernel.sql(expr)})"
        )
        left = f"SELECT count(*) FROM (SELECT sum(_w) FROM ({both}) GROUP BY {columns} HAVING sum(_w) <> 0)"
        wrong = kernel.connection.execute(left).fetchall()[0][0]
    assert wrong == 0, f"{wrong} rows differ"


if __name__ == "__main__":
    main()
