"""Twenty rules over 2M x 18: our fused scan against Great Expectations, pointblank and dataframely.

Goals: CPU time at most 1/12 of Great Expectations, 1/2 of pointblank and of dataframely, and at most 0.3 GB of
resident memory at 2M and at 20M rows. GRISTMILL_BENCH_SCALE multiplies the rows (0.01 for a quick look).
A peer that is not installed is skipped with a word.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
from harness import alternate, report

SCALE = float(os.environ.get("GRISTMILL_BENCH_SCALE", "1"))
ROWS = max(int(2_000_000 * SCALE), 1_000)
FLOATS = [f"f{n}" for n in range(6)]
INTEGERS = [f"i{n}" for n in range(5)]
CODES = ["A", "B", "C", "D"]


def write(path: Path, rows: int) -> None:
    """Write the test table: 18 columns, five planted faults."""
    floats = ", ".join(f"(hash(i * {n + 3}) % 100000) / 100.0 AS {name}" for n, name in enumerate(FLOATS))
    integers = ", ".join(f"(hash(i * {n + 17}) % 1000)::BIGINT AS {name}" for n, name in enumerate(INTEGERS))
    sql = f"""SELECT i AS id, {floats}, {integers},
        CASE WHEN i % 40000 = 7 THEN 'Z' ELSE ['A','B','C','D'][(i % 4 + 1)::BIGINT] END AS code,
        CASE WHEN i % 50000 = 9 THEN 'bad' ELSE 'user' || i || '@example.org' END AS mail,
        CASE WHEN i % 60000 = 11 THEN NULL ELSE 'n' || (i % 977) END AS name,
        TIMESTAMP '2026-01-01' + INTERVAL (i) SECOND AS at,
        CASE WHEN i % 70000 = 13 THEN -1.0 ELSE (i % 500)::DOUBLE END AS amount,
        CASE WHEN i % 80000 = 17 THEN 999 ELSE i % 90 END AS age FROM range({rows}) r(i)"""
    duckdb.sql(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def our_rules() -> list[object]:
    """Return the 20 rules: 13 on rows, 6 figures, one unique."""
    from gristmill.contracts import rules

    rows = [rules.between(name, low=0, high=1000) for name in FLOATS]
    rows += [rules.between(name, low=0, high=1000) for name in INTEGERS[:2]]
    rows += [rules.one_of("code", CODES), rules.matches("mail", "^[^@]+@[^@]+$"), rules.not_null("name")]
    rows += [rules.between("amount", low=0), rules.between("age", low=0, high=120)]
    figures = [rules.statistic(name, "mean", low=400, high=600) for name in FLOATS[:3]]
    figures += [rules.statistic("f3", "max", high=1000), rules.statistic("i0", "min", low=0), rules.row_count(low=1)]
    return [*rows, *figures, rules.unique("id")]


def ours(path: Path) -> list[int]:
    """Return failing rows per row rule."""
    import gristmill as gm

    return [finding.failed_rows for finding in gm.check(path, our_rules(), name="t").findings[:13]]  # type: ignore[arg-type]


def dataframely(path: Path) -> list[int]:
    import dataframely as dy
    import polars as pl

    columns: dict[str, object] = {name: dy.Float64(min=0, max=1000, nullable=True) for name in FLOATS}
    columns |= {name: dy.Int64(min=0, max=1000, nullable=True) for name in INTEGERS[:2]}
    columns |= {name: dy.Int64(nullable=True) for name in INTEGERS[2:]}
    columns |= {
        "id": dy.Int64(primary_key=True),
        "code": dy.String(nullable=True, regex="^[ABCD]$"),
        "mail": dy.String(nullable=True, regex="^[^@]+@[^@]+$"),
        "name": dy.String(nullable=False),
        "at": dy.Datetime(nullable=True),
        "amount": dy.Float64(min=0, nullable=True),
        "age": dy.Int64(min=0, max=120, nullable=True),
    }
    schema = type("T", (dy.Schema,), columns)
    _, failure = schema.filter(pl.read_parquet(path), cast=True)
    counts = failure.counts()
    found = {name: sum(n for rule, n in counts.items() if rule.split("|")[0] == name) for name in columns}
    order = [*FLOATS, *INTEGERS[:2], "code", "mail", "name", "amount", "age"]
    return [found[name] for name in order]


def pointblank(path: Path) -> list[int]:
    import pointblank as pb
    import polars as pl

    check = pb.Validate(pl.read_parquet(path))
    for name in [*FLOATS, *INTEGERS[:2]]:
        check = check.col_vals_between(name, 0, 1000, na_pass=True)
    check = check.col_vals_in_set("code", CODES).col_vals_regex("mail", "^[^@]+@[^@]+$").col_vals_not_null("name")
    check = check.col_vals_ge("amount", 0, na_pass=True).col_vals_between("age", 0, 120, na_pass=True)
    check = check.rows_distinct(["id"]).interrogate()
    failed = check.n_failed()
    return [int(failed[step]) for step in range(1, 14)]


def great_expectations(path: Path) -> list[int]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("s")
    batch = source.add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    suite = gx.ExpectationSuite(name="t")
    for name in [*FLOATS, *INTEGERS[:2]]:
        suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=1000))
    suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column="code", value_set=CODES))
    suite.add_expectation(gxe.ExpectColumnValuesToMatchRegex(column="mail", regex="^[^@]+@[^@]+$"))
    suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column="name"))
    suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0))
    suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column="age", min_value=0, max_value=120))
    suite.add_expectation(gxe.ExpectColumnValuesToBeUnique(column="id"))
    frame = pd.read_parquet(path)
    results = batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite).results
    return [int(result.result.get("unexpected_count", 0)) for result in results[:13]]


PEERS: dict[str, tuple[Callable[[Path], list[int]], float]] = {
    "great_expectations": (great_expectations, 1 / 12),
    "pointblank": (pointblank, 1 / 2),
    "dataframely": (dataframely, 1 / 2),
}


def resident_gib(path: Path) -> float:
    """Return the peak memory of a fresh process that checks a file."""
    code = (
        "import sys; from pathlib import Path; import checks, harness; checks.ours(Path(sys.argv[1])); "
        "print(harness.peak_memory_bytes() / 2**30)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(place).resolve()) for place in sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        write(path, ROWS)
        answer = ours(path)
        print(f"{ROWS:,} rows, failing rows per rule: {answer}")
        for name, (peer, goal) in PEERS.items():
            if importlib.util.find_spec(name) is None:
                print(f"skipped {name}: it is not installed")
                continue
            theirs = peer(path)
            if theirs != answer:
                raise SystemExit(f"{name} found {theirs}, we found {answer}")
            ratio = alternate(lambda: ours(path), lambda peer=peer: peer(path), rounds=3)  # type: ignore[misc]
            report(f"20 rules against {name}", ratio.median, goal)
        report(f"resident memory at {ROWS:,} rows", resident_gib(path), 0.3, unit=" GiB")
        if SCALE >= 1:
            large = Path(folder) / "large.parquet"
            write(large, ROWS * 10)
            report(f"resident memory at {ROWS * 10:,} rows", resident_gib(large), 0.3, unit=" GiB")


if __name__ == "__main__":
    main()
