"""Card transactions, 183 daily files: features in one batch, by daily increments, late and shuffled, and as a stream.

Run: ``python bench/yardstick_fraud.py [DAYS] [CUSTOMERS] [--way daily|late|stream ...]`` with GRISTMILL_SHARED_DATA
set to the folder that holds ``events_fraud_simulated`` (all days, customers and ways unless given). Every table of
every way must have one digest; the batch's counts are compared with plain numpy. Prints CPU seconds of each way; exit
code 1 where tables differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from harness import cpu_s

import gristmill as gm

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fraud import DAYS, by_hand, days_of, digests, disordered, fraud_project, land, replayed

WAYS = ("daily", "late", "stream")
ROWS = 20_000
"""Rows in a micro-batch of the stream."""


def main(count: int, customers: int | None, ways: Sequence[str]) -> int:
    """Land the days in every way, compare, and return the exit code."""
    home = Path(os.environ.get("GRISTMILL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    days = days_of(home / "events_fraud_simulated", count, customers=customers)
    print(f"{sum(day.num_rows for day in days):,} transactions in {len(days)} days")
    found: dict[str, dict[str, str]] = {}
    for way in ("batch", *ways):
        with tempfile.TemporaryDirectory() as folder:
            started = cpu_s()
            project, said = _streamed(Path(folder), days) if way == "stream" else _landed(Path(folder), days, way)
            found[way] = digests(project)
            print(f"{way}: {cpu_s() - started:.1f} CPU s, {said}", flush=True)
            if way == "batch":
                hand = by_hand(days)
                rows = project.store.snapshot("main").to_arrow("features.customer").to_pylist()
                wrong = sum([row[f"n_{d}d"] for d in DAYS] != hand[row["TRANSACTION_ID"]][0] for row in rows)
                print(f"rows whose counts are not those of plain numpy: {wrong} of {len(rows):,}")
    tables = {name: {way[name] for way in found.values()} for name in found["batch"]}
    for table, kinds in tables.items():
        print(f"{table}: {'equal' if len(kinds) == 1 else 'DIFFERENT'}  {found['batch'][table]}")
    return int(any(len(kinds) > 1 for kinds in tables.values()))


def _landed(folder: Path, days: Sequence[pa.Table], way: str) -> tuple[gm.Project, object]:
    """Land daily files, one run for all of them or one for each; return the project and what was done."""
    project = fraud_project(folder)
    modes = Counter[str]()
    deliveries = disordered(days) if way == "late" else days
    for number, day in enumerate(deliveries):
        land(project.root, number, day)
        if way != "batch" or number == len(deliveries) - 1:
            result = project.run()
            result.raise_if_failed()
            modes.update(stage.mode for stage in result.record.stages if stage.kind == "table")
    return project, dict(modes)


def _streamed(folder: Path, days: Sequence[pa.Table]) -> tuple[gm.Project, object]:
    """Replay the late and shuffled deliveries as a stream; return the project and how many rows came."""
    project = replayed(folder, disordered(days))
    return project, f"{project.stream(until_end=True, max_rows=ROWS, latency_s=0.0):,} rows"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Card transactions in every way.")
    parser.add_argument("days", type=int, nargs="?", default=183)
    parser.add_argument("customers", type=int, nargs="?")
    parser.add_argument("--way", choices=WAYS, action="append")
    arguments = parser.parse_args()
    sys.exit(main(arguments.days, arguments.customers, arguments.way or WAYS))
