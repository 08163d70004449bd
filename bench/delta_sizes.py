"""Following changes of 0.1 % to 100 % of a table, beside computing all anew: never slower than 1.3 times that.

Run: ``python bench/delta_sizes.py [ROWS]`` (1,000,000 unless given). Two projects read the same files; one follows
where that is expected to be cheaper, one computes everything in full. CPU seconds of a table's stage are divided.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

from harness import report
from incremental import project_at, stages, write

import gristmill as gm
from gristmill.run.incremental import Way

SIZES = (0.001, 0.01, 0.1, 0.5, 1.0)
TABLES = ("made.filter", "made.join", "made.sums", "made.median")


def main() -> None:
    """Change more and more of one table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        follow, full = (_project(Path(name) / kind, rows) for kind in ("follow", "full"))
        for number, share in enumerate(SIZES):
            for project in (follow, full):
                _change(project.root, rows, share, seed=10 + number)
            with mock.patch("gristmill.run.stage.way", return_value=Way("full")):
                whole = stages(full)
            found = stages(follow)
            for table in TABLES:
                same = follow.store.snapshot("main").digest(table) == full.store.snapshot("main").digest(table)
                assert same, f"{table} differs at {share:.1%}"
                mode, seconds = found[table]
                report(f"{table}, {share:.1%} changed ({mode})", seconds / whole[table][1], 1.3)


def _project(root: Path, rows: int) -> gm.Project:
    import duckdb

    root.mkdir()
    for part in range(10):
        write(root / "events" / f"{part}.parquet", rows // 10, first=part * (rows // 10), seed=1)
    for share in SIZES[:2]:
        write(root / "events" / f"few{share}.parquet", int(rows * share), first=rows + int(rows * share), seed=1)
    duckdb.sql(f"COPY (SELECT i AS user, i % 7 AS region FROM range(100000) t(i)) TO '{root}/users.parquet'")
    project = project_at(root)
    stages(project)
    return project


def _change(root: Path, rows: int, share: float, *, seed: int) -> None:
    """Give as many rows other values: those of a small file, or of so many of the ten large ones."""
    if share in SIZES[:2]:
        write(root / "events" / f"few{share}.parquet", int(rows * share), first=rows + int(rows * share), seed=seed)
        return
    for part in range(round(share * 10)):
        write(root / "events" / f"{part}.parquet", rows // 10, first=part * (rows // 10), seed=seed)


if __name__ == "__main__":
    main()
