"""What a micro-batch costs: parse, filter, join with 100,000 rows, windows of a minute in 50 groups, state, commit.

The stream runs as users run it, with its positions, watermark, ledger and checks in every commit, and durability
``none``, in steady state. Spark Structured Streaming does the job of ``stream_peers.py`` in the same run, which is this
one with windows of 5 minutes; its JVM is counted, and the goal is a fiftieth of its CPU for 1,000 rows. Where Spark is
not installed that ratio is left out. 100,000 rows are compared with the bare step, which parses and stores nothing.

``python bench/microbatch.py profile`` prints where the time of small batches goes.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "src")]

import duckdb  # noqa: E402
import ibis  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from harness import cpu_s, measured, report  # noqa: E402

import gristmill as gm  # noqa: E402
from gristmill.model.events import BatchCommitted  # noqa: E402
from gristmill.store import open_store  # noqa: E402

DIMENSION = 100_000
_START_US = 1_767_225_600_000_000


def lines(batch: int, rows: int) -> str:
    """Return one batch of events: a second apart in 50 groups, a tenth of them uninteresting."""
    rng = np.random.default_rng(batch)
    item, amount = rng.integers(0, DIMENSION, rows), rng.integers(-10, 90, rows)
    text = []
    for i in range(rows):
        second = batch * 20 + i * 20 // rows
        moment = f"2026-01-{1 + second // 86_400:02}T{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        text.append(f'{{"n":{batch * rows + i},"item":{item[i]},"amount":{amount[i]},"at":"{moment}"}}\n')
    return "".join(text)


def dimension() -> pa.Table:
    """Return the table that every event is looked up in."""
    item = np.arange(DIMENSION)
    return pa.table({"item": item, "shop": item * 7919 % 50, "price": item % 97})


def project(root: Path, *, tables: int = 1) -> gm.Project:
    """Return a project that does the job in one table, or in three: rows, joined rows, windows."""
    root.mkdir(parents=True)
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\nthreads = 1\n")
    made = gm.Project(root)
    made.__dict__["store"] = open_store(root / ".gristmill", create=True, durability="none")
    types = {"n": "int64", "item": "int64", "amount": "int64", "at": "timestamp"}
    when = gm.event_time("at", bound="1min", ahead="36500d")
    events = made.source("raw.events", gm.tail("in/*.ndjson", types=types), event_time=when)
    items = made.source("raw.items", gm.frame(dimension()), key="item")

    def kept(rows: ibis.Table) -> ibis.Table:
        return rows.filter(rows.amount > 0).select("item", "amount", at=rows.at.cast("timestamp"))

    def joined(rows: ibis.Table, known: ibis.Table) -> ibis.Table:
        both = rows.inner_join(known, "item")
        return both.select("shop", "at", value=both.amount * both.price)

    def counted(rows: ibis.Table) -> ibis.Table:
        grouped = rows.group_by(minute=rows.at.truncate("m"), shop=rows.shop)
        return grouped.agg(n=rows.count(), value=rows.value.sum())

    if tables == 1:

        @made.table("marts.minute", reads=[events, items], key=["minute", "shop"])
        def whole(rows: ibis.Table, known: ibis.Table) -> ibis.Table:
            return counted(joined(kept(rows), known))

    else:
        first = made.table("clean.kept", reads=[events])(lambda rows: kept(rows))
        second = made.table("clean.joined", reads=[first, items])(lambda rows, known: joined(rows, known))
        made.table("marts.minute", reads=[second], key=["minute", "shop"])(lambda rows: counted(rows))
    return made


def costs(
    root: Path, rows: int, batches: int, *, tables: int = 1, warm: int = 5, watch: object = None
) -> tuple[list[float], list[float]]:
    """Run a stream; return the CPU seconds of each batch after the first ones, and of the bare step after each."""
    alone, steps = bare(rows), []
    made = project(root, tables=tables)
    folder = root / "in"
    folder.mkdir()
    file = (folder / "a.ndjson").open("a")
    file.write(lines(0, rows))
    file.flush()
    made.run()
    found: list[float] = []
    last, seen, given = [0.0], [0], [0]

    def feed(event: object) -> None:
        if not isinstance(event, BatchCommitted):
            return
        seen[0] += event.rows
        if event.rows < rows:  # batches grow from small ones
            if seen[0] == rows * given[0]:
                give()
            last[0] = cpu_s()
            return
        found.append(cpu_s() - last[0])
        steps.append(measured(alone))
        if len(found) == warm and isinstance(watch, cProfile.Profile):
            watch.enable()
        give()

    def give() -> None:
        file.write(lines(given[0] + 1, rows))
        file.flush()
        given[0] += 1
        last[0] = cpu_s()

    give()
    made.stream(stop=lambda: len(found) >= batches + warm, listener=feed, max_rows=rows, latency_s=10)
    if isinstance(watch, cProfile.Profile):
        watch.disable()
    file.close()
    snapshot = made.store.snapshot("main")
    assert snapshot.table("raw.events").row_count == seen[0] + rows
    check(made)
    return found[warm:], steps[warm:]


def check(made: gm.Project) -> None:
    """Compare what the stream made with one query over everything."""
    snapshot = made.store.snapshot("main")
    con = duckdb.connect()
    con.register("events", snapshot.to_arrow("raw.events"))
    con.register("items", dimension())
    con.register("made", snapshot.to_arrow("marts.minute"))
    sql = STEP.replace("state", "nothing")
    odd = con.execute(f"({sql} EXCEPT FROM made) UNION ALL (FROM made EXCEPT {sql})").fetchall()
    assert not odd, odd[:3]


STEP = """SELECT date_trunc('minute', e.at::TIMESTAMP) AS minute, i.shop, count(*) AS n, sum(e.amount * i.price)::BIGINT
FROM events e JOIN items i USING (item) WHERE e.amount > 0 GROUP BY ALL"""


def bare(rows: int) -> Callable[[], object]:
    """Return the step alone: rows in memory, the dimension in a table, the state upserted in a transaction."""
    con = duckdb.connect(config={"threads": "1"})
    con.execute("SET TimeZone = 'UTC'")
    con.register("given", dimension())
    con.execute("CREATE TABLE items AS FROM given")
    columns = "minute TIMESTAMP, shop BIGINT, n BIGINT, value BIGINT"
    con.execute(f"CREATE TABLE state ({columns}, PRIMARY KEY (minute, shop))")
    rng = np.random.default_rng(0)
    at = pa.array(_START_US + np.arange(rows) * (20_000_000 // rows), pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "n": np.arange(rows),
            "item": rng.integers(0, DIMENSION, rows),
            "amount": rng.integers(-10, 90, rows),
            "at": at,
        }
    )
    con.register("events", table)
    again = "ON CONFLICT DO UPDATE SET n = state.n + excluded.n, value = state.value + excluded.value"

    def step() -> None:
        con.execute(f"INSERT INTO state {STEP} {again}").fetchall()

    return step


def spark_s(root: Path) -> float:
    """Return the CPU seconds that Spark takes for a batch of 1,000 rows; 0 where it is not installed."""
    import stream_peers

    return (
        stream_peers.measure("spark", root, kafka=False, windows=0).small_s if stream_peers.installed("spark") else 0.0
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if "profile" in sys.argv:
            profile = cProfile.Profile(time.process_time)
            costs(root / "p", 1_000, 40, tables=3 if "three" in sys.argv else 1, watch=profile)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(90)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
            return
        began = time.monotonic()
        spark = spark_s(root) * 1000
        for tables in (1, 3):
            batches, steps = costs(root / f"small{tables}", 1_000, 40, tables=tables)
            small, alone = statistics.median(batches) * 1000, statistics.median(steps) * 1000
            words = f"{small:.1f} ms of CPU, {tables} derived table{'s' if tables > 1 else ''}"
            report("a batch of 1,000 rows against the bare DuckDB step", small / alone, 3, note=words)
            if spark:
                words = f"{words}; Spark {spark:.0f} ms"
                report("a batch of 1,000 rows against Spark's", spark / small, 50, at_least=True, note=words)
        batches, steps = costs(root / "large", 100_000, 6, warm=2)
        large, alone = statistics.median(batches), statistics.median(steps)
        words = f"{100_000 / large:,.0f} rows/s with parsing and commit, {100_000 / alone:,.0f} bare"
        report("100,000 rows against the rate of the bare DuckDB step", alone / large, 0.5, at_least=True, note=words)
        print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
