"""Peak memory of runs with a memory limit, on inputs as large as the limit and ten times as large.

A join, a group-by, a window and distinct rows, each over rows whose keys have as many values as there are rows (or
half), so that nothing fits by itself; and what lands and sorts them. ``python memory.py group 10`` measures one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from harness import report, scale

import gristmill as gm

LIMIT_GIB = 0.5
ROW_BYTES = 440
FACTORS = (1, 10)

KINDS = {
    "join": 'a.join(b.select("key", other="text"), "key").mutate(both=lambda t: t.text.length() + t.other.length())'
    '.select("key", "amount", "both", "other")',
    "group": 'a.group_by("key").agg(n=a.count(), last=a.text.max(), total=a.amount.sum())',
    "window": "a.mutate(rank=ibis.row_number().over(ibis.window(group_by='key', order_by='amount')))",
    "distinct": 'a.select("key", "text").distinct()',
}
PIPELINE = """import gristmill as gm
import ibis

project = gm.Project()
for name in {reads}:
    project.source(name, gm.files("landing/*.parquet"))

@project.table("made.t", reads={reads})
def made({parameters}):
    return {expression}
"""
RUN = """import sys
from gristmill.api.project import Project
from gristmill.run.records import peak_memory_bytes
assert Project.load(sys.argv[1]).run().ok
print(peak_memory_bytes())
"""


def prepare(root: Path, kind: str, rows: int) -> None:
    """Write a project whose source tables hold the rows."""
    root.joinpath("gristmill.toml").write_text(f"[run]\nmemory_gib = {LIMIT_GIB}\n")
    names = ["raw.a", "raw.b"] if kind == "join" else ["raw.a"]
    reads, parameters = names, ", ".join(name[-1] for name in names)
    text = PIPELINE.format(reads=reads, parameters=parameters, expression=KINDS[kind])
    root.joinpath("pipeline.py").write_text(text)
    store = gm.open(root / ".gristmill", create=True)
    keys = max(rows // len(names) // (4 if kind == "window" else 1), 1)
    con = duckdb.connect(config={"memory_limit": "300MB", "threads": "2", "preserve_insertion_order": "false"})
    for name in names:
        sql = f"""SELECT (hash(i) % {keys})::BIGINT AS key, (hash(i + 1) % 1000)::BIGINT AS amount,
            repeat(md5((hash(i) % {keys})::VARCHAR), 12) AS text FROM range({rows // len(names)}) t(i)"""
        stream = con.sql(sql).to_arrow_reader(65_536)
        store["main"].create_table(name, stream.schema)
        store["main"][name].append(stream)


def peak_bytes(kind: str, rows: int) -> tuple[int, float]:
    """Return the peak memory of a run in a process of its own, and how long it took."""
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        prepare(Path(name), kind, rows)
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", RUN, name], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{kind} over {rows:,} rows failed: {done.stderr[-2000:]}")
        return int(done.stdout.split()[-1]), time.monotonic() - started


def main() -> None:
    kinds = sys.argv[1:2] or list(KINDS)
    for factor in [float(text) for text in sys.argv[2:]] or FACTORS:
        rows = int(LIMIT_GIB * 2**30 * factor * scale() / ROW_BYTES)
        for kind in kinds:
            peak, wall_s = peak_bytes(kind, rows)
            goal = f"peak memory of a {kind} at {factor * scale():g}x the limit ({rows:,} rows)"
            report(goal, peak / 2**30, LIMIT_GIB * 1.1, unit=" GiB", note=f"{wall_s:.0f} s")


if __name__ == "__main__":
    main()
