"""A commit every second for a day, on a simulated clock: reads and commits stay as fast as at the start.

``python bench/day_of_commits.py 5000`` ends after so many commits; the day has 86,400. Each commit appends a few rows
to one table and sets one of 500 keys in another, as a small stream does; every hundredth is followed by reads: the
head's rows, a look-up by key, what changed since a minute ago, and the state a tenth of the way back.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "src")]

import pyarrow as pa  # noqa: E402
from harness import report  # noqa: E402

from gristmill.model.predicates import Compare  # noqa: E402
from gristmill.store import Store, open_store  # noqa: E402

DAY = 86_400
KEYS = 500
START_US = 1_767_225_600_000_000


@dataclass(slots=True)
class Day:
    """What was measured: CPU seconds of commits, and of each kind of read; commits, files and nodes at the end."""

    commits: list[float] = field(default_factory=list)
    reads: dict[str, list[float]] = field(default_factory=dict)


def begin(root: Path) -> Store:
    """Make a store with both tables."""
    store = open_store(root, create=True, durability="none")
    with store.begin("main", message="tables") as tx:
        at = pa.timestamp("us", "UTC")
        tx.create_table("raw.ticks", pa.schema([("second", pa.int64()), ("at", at), ("x", pa.float64())]))
        tx.create_table("marts.last", pa.schema([("k", pa.int64()), ("n", pa.int64())]), key="k")
        tx.append("marts.last", pa.table({"k": range(KEYS), "n": [-1] * KEYS}))
    return store


def commit(store: Store, second: int) -> None:
    """Make the commit of one second."""
    moment = START_US + second * 1_000_000
    rows = pa.table(
        {
            "second": [second] * 5,
            "at": pa.array([moment + part for part in range(5)], pa.timestamp("us", "UTC")),
            "x": [second / 7] * 5,
        }
    )
    with store.begin("main", message="tick", meta={"stream": "1"}) as tx:
        tx.append("raw.ticks", rows)
        tx.upsert("marts.last", pa.table({"k": [second % KEYS], "n": [second]}))
        tx.put_document("streams/ticks.json", str(second).encode())


def read(store: Store, second: int, found: dict[str, list[float]]) -> None:
    """Read the head in four ways, and note what each took."""

    def timed(name: str, work: object) -> object:
        began = time.process_time()
        result = work()  # type: ignore[operator]
        found.setdefault(name, []).append(time.process_time() - began)
        return result

    snapshot = store.snapshot("main")
    rows = timed("rows of 500 keys", lambda: snapshot.to_arrow("marts.last").num_rows)
    assert rows == KEYS
    one = timed("one second of ticks", lambda: snapshot.to_arrow("raw.ticks", where=Compare("second", "=", second)))
    assert one.num_rows == 5  # type: ignore[attr-defined]
    before = store.snapshot(f"main~{min(60, second)}")
    delta = timed("changes of a minute", lambda: store.diff(before.commit.id, snapshot.commit.id).tables)
    assert len(delta["raw.ticks"].inserted) == 5 * min(60, second)  # type: ignore[index]
    timed("the table a while ago", lambda: store.snapshot(f"main~{min(600, second)}").table("raw.ticks").row_count)


def shape(store: Store) -> dict[str, int]:
    """Return what must stay bounded: files and depth of both tables, and statements that opening a head takes."""
    snapshot = store.snapshot("main")
    asked: list[str] = []
    real = store.catalog.rows

    def counted(sql: str, *more: object) -> object:
        asked.append(sql)
        return real(sql, *more)  # type: ignore[arg-type]

    store.catalog.rows = counted  # type: ignore[method-assign,assignment]
    try:
        store.snapshot("main").table("raw.ticks")
    finally:
        store.catalog.rows = real  # type: ignore[method-assign]
    return {
        "files of the appended table": snapshot.table("raw.ticks").file_count,
        "files of the keyed table": snapshot.table("marts.last").file_count,
        "catalog reads to open the head": len(asked),
    }


def run(store: Store, seconds: int, *, reads_every: int = 100) -> Day:
    """Make so many commits, with reads in between."""
    day = Day()
    for second in range(seconds):
        began = time.process_time()
        commit(store, second)
        day.commits.append(time.process_time() - began)
        if second % reads_every == reads_every - 1:
            read(store, second, day.reads)
    return day


def main() -> None:
    """Run the day and compare its end with its begin."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else DAY
    window = min(1_000, seconds // 4)
    with tempfile.TemporaryDirectory() as folder:
        store = begin(Path(folder) / "store")
        day = run(store, seconds)
        first, last = statistics.median(day.commits[:window]), statistics.median(day.commits[-window:])
        words = f"{first * 1000:.2f} ms at the start, {last * 1000:.2f} ms at the end, {seconds:,} commits"
        report(f"the last {window:,} commits against the first", last / first, 1.3, note=words)
        few = max(min(10, len(next(iter(day.reads.values()))) // 4), 1)
        for name, times in day.reads.items():
            first, last = statistics.median(times[:few]), statistics.median(times[-few:])
            words = f"{first * 1000:.2f} ms, then {last * 1000:.2f} ms"
            report(f"reading {name}, the end against the start", last / first, 1.5, note=words)
        for name, number in shape(store).items():
            print(f"        {name}: {number}")
        size = sum(path.stat().st_size for path in (Path(folder) / "store").rglob("*") if path.is_file())
        pages = sqlite3.connect(Path(folder) / "store/catalog.db").execute("pragma page_count").fetchone()[0]
        print(f"        {size / seconds:,.0f} bytes a commit, {pages * 4096 / seconds:,.0f} of them in the catalog")


if __name__ == "__main__":
    main()
