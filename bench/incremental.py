"""Derived tables that follow 0.1 % of changes, beside computing them in full: whole stages with checks and commits.

One project, one source of N rows in Parquet. The first run computes every table; then a file of 0.1 % new rows comes,
then a changed file updates 0.1 % of the rows. CPU seconds of a table's stage in the first run are divided by those in
a later one. The rows must be those of a project that reads the same files at once.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import duckdb
import ibis
from harness import report

import gristmill as gm

GOALS = {"made.filter": 100, "made.join": 25, "made.sums": 25, "made.median": 15}


def project_at(root: Path) -> gm.Project:
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\n")
    project = gm.Project(root)
    events = project.source("raw.events", gm.files("events/*.parquet"), key="id")
    users = project.source("raw.users", gm.files("users.parquet"), key="user")

    @project.table("made.filter", reads=[events], key="id")
    def filtered(e: ibis.Table) -> ibis.Table:
        return e.filter(e.amount > 5).mutate(double=e.amount * 2)

    @project.table("made.join", reads=[events, users], key="id")
    def joined(e: ibis.Table, u: ibis.Table) -> ibis.Table:
        return e.inner_join(u, "user").select(e.id, e.amount, u.region)

    @project.table("made.sums", reads=[events], key="user")
    def sums(e: ibis.Table) -> ibis.Table:
        return e.group_by("user").agg(n=e.count(), total=e.amount.sum(), mean=e.amount.mean())

    @project.table("made.median", reads=[events], key="minute")
    def medians(e: ibis.Table) -> ibis.Table:
        return e.group_by("minute").agg(mid=e.amount.median(), users=e.user.nunique())

    return project


def write(path: Path, rows: int, *, first: int, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    duckdb.sql(
        f"""COPY (SELECT i AS id, (hash(i + {seed}) % 100000)::BIGINT AS user,
            (hash(i * 3 + {seed}) % 1000)::DOUBLE / 100 AS amount, i // 500 AS minute
            FROM range({first}, {first + rows}) t(i)) TO '{path}' (FORMAT parquet)"""
    )


def stages(project: gm.Project) -> dict[str, tuple[str, float]]:
    record = project.run().record
    return {stage.name: (stage.mode, stage.cpu_s) for stage in record.stages}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    share = rows // 1000
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        root = Path(name) / "steps"
        root.mkdir()
        write(root / "events" / "0.parquet", rows, first=0, seed=1)
        write(root / "events" / "1.parquet", share, first=rows, seed=1)
        duckdb.sql(f"COPY (SELECT i AS user, i % 7 AS region FROM range(100000) t(i)) TO '{root}/users.parquet'")
        project = project_at(root)
        full = stages(project)
        inserts, updates = [], []
        for round_ in range(3):
            write(root / "events" / f"n{round_}.parquet", share, first=rows + share * (round_ + 1), seed=1)
            inserts.append(stages(project))
            write(root / "events" / "1.parquet", share, first=rows, seed=10 + round_)
            updates.append(stages(project))
        at_once = Path(name) / "at_once"
        at_once.mkdir()
        for file in ("events", "users.parquet"):
            (at_once / file).symlink_to(root / file)
        other = project_at(at_once)
        other.run()
        for table, goal in GOALS.items():
            same = project.store.snapshot("main").digest(table) == other.store.snapshot("main").digest(table)
            assert same, f"{table} differs"
            for words, found in (("new rows", inserts), ("changed rows", updates)):
                modes = {stage[table][0] for stage in found}
                ratio = statistics.median(full[table][1] / stage[table][1] for stage in found)
                report(f"{table}, 0.1 % {words} ({', '.join(sorted(modes))})", ratio, goal, at_least=True)


if __name__ == "__main__":
    main()
