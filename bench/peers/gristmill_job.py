"""The job in gristmill: a stream as users run it; durability ``none``, since no peer asks the disk either."""

from __future__ import annotations

import sys
from pathlib import Path

import ibis
import pyarrow.parquet as pq

import gristmill as gm
from gristmill.store import open_store

FETCH = {"fetch.wait.max.ms": "10"}  # the mock cluster answers a waiting fetch only at its end


def main(root: Path, brokers: str = "", topic: str = "") -> None:
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\nthreads = 1\n")
    made = gm.Project(root)
    made.__dict__["store"] = open_store(root / ".gristmill", create=True, durability="none")
    types = {"n": "int64", "item": "int64", "amount": "int64", "at": "timestamp"}
    given = gm.kafka(brokers, topic, types=types, options=FETCH) if topic else gm.tail("in/*.ndjson", types=types)
    when = gm.event_time("at", bound="2min", ahead="36500d")
    events = made.source("raw.events", given, event_time=when)
    items = made.source("raw.items", gm.frame(pq.read_table(root / "items.parquet")), key="item")

    @made.table("marts.windows", reads=[events, items], key=["window_start", "shop"])
    def windows(rows: ibis.Table, known: ibis.Table) -> ibis.Table:
        kept = rows.filter(rows.amount > 0)
        both = kept.inner_join(known, "item").mutate(value=kept.amount * known.price, at=kept.at.cast("timestamp"))
        found = gm.tumble(both, "5min", on="at")
        return found.group_by("window_start", "shop").agg(n=found.count(), value=found.value.sum())

    made.sink("out", reads=windows, to=gm.kafka(brokers, f"{topic}-out") if topic else gm.files("out/*.ndjson"))
    made.run(["raw.items"])
    made.stream(latency_s=0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
