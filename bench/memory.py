"""Peak memory of a run with a memory limit, on inputs as large as the limit and ten times as large.

The pipeline filters, sorts by a key with as many values as rows, and groups by it, so that nothing fits by itself.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
from harness import report, scale

LIMIT_GIB = 0.5
ROW_BYTES = 120

PIPELINE = """import gristmill as gm

project = gm.Project()
raw = project.source("raw.events", gm.files("landing/*.parquet"))

@project.table("clean.events", reads=[raw], cluster_by="user")
def clean(events):
    return events.filter(events.amount > 0)

@project.table("marts.users", reads=[clean], key="user")
def users(events):
    return events.group_by("user").agg(n=events.count(), last=events.text.max(), total=events.amount.sum())
"""

RUN = """import sys
from gristmill.api.project import Project
from gristmill.run.records import peak_memory_bytes
assert Project.load(sys.argv[1]).run().ok
print(peak_memory_bytes())
"""


def peak_bytes(rows: int) -> int:
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        root = Path(name)
        (root / "landing").mkdir()
        (root / "gristmill.toml").write_text(f"[run]\nmemory_gib = {LIMIT_GIB}\n")
        (root / "pipeline.py").write_text(PIPELINE)
        source = f"""SELECT hash(i) % {rows} AS user, (hash(i + 1) % 1000)::BIGINT AS amount,
            md5(i::VARCHAR) || md5((i + 1)::VARCHAR) || md5((i + 2)::VARCHAR) AS text FROM range({rows}) t(i)"""
        target = root / "landing" / "events.parquet"
        duckdb.sql(f"COPY (SELECT user::BIGINT AS user, amount, text FROM ({source})) TO '{target}' (FORMAT parquet)")
        done = subprocess.run([sys.executable, "-c", RUN, name], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])


def main() -> None:
    for factor in (1, 10):
        rows = int(LIMIT_GIB * 2**30 * factor * scale() / ROW_BYTES)
        peak = peak_bytes(rows) / 2**30
        report(f"peak memory at {factor * scale():g}x the limit ({rows:,} rows)", peak, LIMIT_GIB * 1.1, unit=" GiB")


if __name__ == "__main__":
    main()
