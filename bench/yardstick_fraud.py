"""Card transactions, 183 daily files: features in one batch, by daily increments, and late and shuffled.

Run: ``python bench/yardstick_fraud.py [DAYS] [CUSTOMERS]`` with GRISTMILL_SHARED_DATA set to the folder that holds
``events_fraud_simulated`` (all days and customers unless given). Every table of every way must have one digest; the
batch's counts are compared with plain numpy. Prints CPU seconds of each way; exit code 1 where tables differ.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness import cpu_s

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fraud import DAYS, by_hand, days_of, digests, disordered, fraud_project, land


def main(count: int, customers: int | None) -> int:
    """Land the days in three ways, compare, and return the exit code."""
    home = Path(os.environ.get("GRISTMILL_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    days = days_of(home / "events_fraud_simulated", count, customers=customers)
    print(f"{sum(day.num_rows for day in days):,} transactions in {len(days)} days")
    found: dict[str, dict[str, str]] = {}
    for name, deliveries in (("batch", days), ("daily", days), ("late and shuffled", disordered(days))):
        with tempfile.TemporaryDirectory() as folder:
            project = fraud_project(Path(folder))
            started, modes = cpu_s(), Counter[str]()
            for number, day in enumerate(deliveries):
                land(project.root, number, day)
                if name != "batch" or number == len(deliveries) - 1:
                    result = project.run()
                    result.raise_if_failed()
                    modes.update(stage.mode for stage in result.record.stages if stage.kind == "table")
            found[name] = digests(project)
            print(f"{name}: {cpu_s() - started:.1f} CPU s, {dict(modes)}", flush=True)
            if name == "batch":
                hand = by_hand(days)
                rows = project.store.snapshot("main").to_arrow("features.customer").to_pylist()
                wrong = sum([row[f"n_{d}d"] for d in DAYS] != hand[row["TRANSACTION_ID"]][0] for row in rows)
                print(f"rows whose counts are not those of plain numpy: {wrong} of {len(rows):,}")
    tables = {name: {way[name] for way in found.values()} for name in found["batch"]}
    for table, kinds in tables.items():
        print(f"{table}: {'equal' if len(kinds) == 1 else 'DIFFERENT'}  {found['batch'][table]}")
    return int(any(len(kinds) > 1 for kinds in tables.values()))


if __name__ == "__main__":
    arguments = [int(value) for value in sys.argv[1:]]
    sys.exit(main(arguments[0] if arguments else 183, arguments[1] if len(arguments) > 1 else None))
