"""dbt's documented incremental pattern as a correctness peer: daily totals under late rows, updates and deletes.

Run: ``python bench/incremental_peer.py``. The peer is the pattern of dbt's documentation, written out as the SQL that
it comes to on DuckDB: rows not older than the newest day in the target are aggregated anew, and replace the target's
rows of the same ``unique_key`` (delete and insert). A second peer looks three days further back, as is advised
against late rows. gristmill's table is the same query as a definition. Both follow the same deliveries; after each,
the days that differ from a full computation are counted. Exit code 1 where gristmill differs, or a peer does not.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa

import gristmill as gm

SCHEMA = pa.schema([("id", pa.int64()), ("moment", pa.timestamp("us")), ("amount", pa.float64())])
FULL = "SELECT date_trunc('day', moment) AS day, count(*) AS n, sum(round(amount * 100)::BIGINT) AS cents FROM events"
DAYS = 12
FIRST = dt.datetime(2026, 3, 1)
LOOKBACKS = (0, 3)
KINDS = ("in order", "late rows", "updates", "deletes")
Row = dict[str, object]


class Peer:
    """The pattern on DuckDB: a target that is brought up to date by what is not older than its newest day.

    Args:
        lookback: how many days further back it looks.
    """

    def __init__(self, lookback: int) -> None:
        self.lookback = lookback
        self.connection = duckdb.connect()
        self.connection.execute("CREATE TABLE events (id BIGINT PRIMARY KEY, moment TIMESTAMP, amount DOUBLE)")
        self.connection.execute(f"CREATE TABLE target AS {FULL} GROUP BY 1")

    def take(self, rows: list[Row], gone: list[int]) -> int:
        """Apply a delivery to the source, run the model, and return how many days differ from a full computation."""
        run = self.connection.execute
        if gone:
            run(f"DELETE FROM events WHERE id IN ({', '.join(map(str, gone))})")
        for row in rows:
            run("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", list(row.values()))
        since = f"(SELECT coalesce(max(day), '1900-01-01') - INTERVAL {self.lookback} DAY FROM target)"
        run(f"CREATE OR REPLACE TEMP TABLE fresh AS {FULL} WHERE moment >= {since} GROUP BY 1")
        run("DELETE FROM target WHERE day IN (SELECT day FROM fresh)")
        run("INSERT INTO target SELECT * FROM fresh")
        full = f"{FULL} GROUP BY 1"
        apart = f"(SELECT * FROM target EXCEPT {full}) UNION ({full} EXCEPT SELECT * FROM target)"
        return int(run(f"SELECT count(DISTINCT day) FROM ({apart})").fetchall()[0][0])


class Ours:
    """The same query as a definition of a project."""

    def __init__(self, root: Path) -> None:
        (root / "gristmill.toml").write_text("")
        self.project = gm.Project(root)
        with self.project.store.begin("main", message="make") as tx:
            tx.create_table("raw.events", SCHEMA, key=("id",))
        raw = self.project.source("raw.events", gm.files("landing/*.csv"), key="id")

        @self.project.table("marts.days", reads=[raw], key="day")
        def days(events: ibis.Table) -> ibis.Table:
            cents = (events.amount * 100).round().cast("int64")
            keyed = events.mutate(day=events.moment.truncate("D"), cents=cents)
            return keyed.group_by("day").agg(n=keyed.count(), cents=keyed.cents.sum())

    def take(self, rows: list[Row], gone: list[int]) -> int:
        """Apply a delivery, run, and return how many days differ from a full computation."""
        with self.project.store.begin("main", message="delivery") as tx:
            if gone:
                tx.delete("raw.events", keys=pa.table({"id": pa.array(gone, pa.int64())}))
            if rows:
                tx.upsert("raw.events", pa.Table.from_pylist(rows, SCHEMA))
        self.project.run(["marts.days"]).raise_if_failed()
        difference = self.project.parity("marts.days")["marts.days"].difference
        assert difference is not None
        return difference.missing + difference.extra + difference.different


def deliveries(kind: str) -> list[tuple[list[Row], list[int]]]:
    """Return twelve days of rows that come and ids that go."""
    rng = random.Random(kind)
    known: list[Row] = []
    found = []
    for day in range(DAYS):
        rows: list[Row] = []
        for _ in range(40):
            back = rng.randrange(1, 7) if kind == "late rows" and rng.random() < 0.1 else 0
            moment = FIRST + dt.timedelta(days=max(day - back, 0), seconds=rng.randrange(86_400))
            rows.append({"id": len(known) + len(rows), "moment": moment, "amount": rng.randrange(10_000) / 100})
        old = rng.sample(known, 3) if day and kind in ("updates", "deletes") else []
        known += rows
        updates = [{**row, "amount": rng.randrange(10_000) / 100} for row in old] if kind == "updates" else []
        gone = [int(str(row["id"])) for row in old] if kind == "deletes" else []
        known = [row for row in known if row["id"] not in gone]
        found.append((rows + updates, gone))
    return found


def main() -> int:
    """Play each kind of history on all three and print how many of twelve days end up wrong."""
    failed = 0
    print(f"days of {DAYS} that differ from a full computation at the end")
    print(f"{'history':<12}{'incremental':>14}{'3 days back':>14}{'gristmill':>12}")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            ours, peers = Ours(Path(folder)), [Peer(days) for days in LOOKBACKS]
            for rows, gone in deliveries(kind):
                wrong = [side.take(rows, gone) for side in (*peers, ours)]
        print(f"{kind:<12}{wrong[0]:>14}{wrong[1]:>14}{wrong[2]:>12}", flush=True)
        failed += bool(wrong[2]) + (kind != "in order" and not wrong[0])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
