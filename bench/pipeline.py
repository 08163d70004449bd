"""A pipeline of three tables over 10 million rows, against the same SQL run by hand to Parquet with DuckDB.

Both sides read the same Parquet files, compute the same three tables and write Parquet (zstd) files; the store's side
also checks, hashes and commits them. Sums are over integers, so that both compute the same thing exactly.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import duckdb
from harness import alternate, peak_memory_bytes, report, report_ratio, scale

import gristmill as gm

ROWS = int(10_000_000 * scale())

SOURCE = f"""SELECT i AS id, (hash(i) % 100000)::BIGINT AS customer, (hash(i + 1) % 1000)::BIGINT AS amount,
    'c' || (hash(i + 2) % 200)::VARCHAR AS country, TIMESTAMPTZ '2026-01-01' + to_seconds((i // 10)::INTEGER) AS made_at
    FROM range({ROWS}) t(i)"""

CLEAN = "SELECT id, customer, amount, country, made_at FROM orders WHERE amount >= 10"
CUSTOMERS = (
    "SELECT customer, sum(amount)::BIGINT AS total, count(*) AS n, max(made_at) AS last FROM clean GROUP BY customer"
)
COUNTRIES = "SELECT country, sum(amount)::BIGINT AS total, count(*) AS n FROM clean GROUP BY country"


def make_input(folder: Path) -> None:
    (folder / "landing").mkdir(parents=True)
    target = folder / "landing" / "orders.parquet"
    duckdb.sql(f"COPY ({SOURCE}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def project_at(root: Path, *, rules: bool = False, floor: int = 10) -> gm.Project:
    project = gm.Project(root)
    raw = project.source("raw.orders", gm.files("landing/*.parquet"))
    checks = [
        gm.rules.between(name, low=0, on_fail="warn", name=f"{name}{i}")
        for i in range(10)
        for name in ("amount", "customer")
    ]

    @project.table("clean.orders", reads=[raw], rules=checks if rules else [])
    def clean(orders):  # type: ignore[no-untyped-def]
        return orders.filter(orders.amount >= floor)

    @project.table("marts.customers", reads=[clean], key="customer")
    def customers(orders):  # type: ignore[no-untyped-def]
        return orders.group_by("customer").agg(total=orders.amount.sum(), n=orders.count(), last=orders.made_at.max())

    @project.table("marts.countries", reads=[clean], key="country")
    def countries(orders):  # type: ignore[no-untyped-def]
        return orders.group_by("country").agg(total=orders.amount.sum(), n=orders.count())

    return project


def by_hand(source: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    con = duckdb.connect()
    con.execute(f"CREATE VIEW orders AS SELECT * FROM '{source}'")
    con.execute(f"COPY ({CLEAN}) TO '{folder}/clean.parquet' (COMPRESSION zstd)")
    con.execute(f"CREATE VIEW clean AS SELECT * FROM '{folder}/clean.parquet'")
    con.execute(f"COPY ({CUSTOMERS}) TO '{folder}/customers.parquet' (COMPRESSION zstd)")
    con.execute(f"COPY ({COUNTRIES}) TO '{folder}/countries.parquet' (COMPRESSION zstd)")
    con.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        root = Path(folder) / "project"
        make_input(root)
        landed = project_at(root)
        landed.run(["raw.orders"])
        source = str(root / "landing" / "orders.parquet")
        by_hand(source, Path(folder) / "hand")
        assert landed.run().ok
        same_answers(landed, Path(folder) / "hand")
        counter = [0]

        def fresh(rules: bool) -> None:
            counter[0] += 1
            name = f"bench/{counter[0]}"
            landed.store.create_branch(name, at="main~1")
            for key, _ in list(landed.store.records.items("memo")):
                landed.store.records.delete("memo", key)
            assert project_at(root, rules=rules).run(on=name).ok

        hand = lambda: by_hand(source, Path(folder) / "hand")  # noqa: E731
        report_ratio(f"3 tables over {ROWS:,} rows", alternate(lambda: fresh(False), hand, rounds=3), 1.2)
        report_ratio("the same with 20 rules checked", alternate(lambda: fresh(True), hand, rounds=3), 1.4)
        report("peak memory", peak_memory_bytes() / 2**30, 24, unit=" GiB")


def same_answers(project: gm.Project, hand: Path) -> None:
    snapshot = project.store.snapshot("main")
    for table, file in (("clean.orders", "clean"), ("marts.customers", "customers"), ("marts.countries", "countries")):
        ours = snapshot.to_arrow(table)
        con = duckdb.connect()
        con.register("ours", ours)
        differ = con.execute(
            f"SELECT count(*) FROM (SELECT * FROM ours EXCEPT ALL SELECT * FROM '{hand}/{file}.parquet')"
        ).fetchall()[0][0]
        assert differ == 0, f"{table}: {differ} rows differ"
        assert ours.num_rows == con.execute(f"SELECT count(*) FROM '{hand}/{file}.parquet'").fetchall()[0][0]


if __name__ == "__main__":
    main()
