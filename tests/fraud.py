"""Card transactions in daily files, and the windowed features that such data is used for.

The rules, so that every pace has one answer: a window of ``d`` days holds what happened at most ``d`` days before,
that moment and this one included; transactions of one second see each other. A terminal's label is known seven days
after its transaction, so its windows end seven days back: the window of ``d`` days is that of ``7 + d`` days less
that of 7. Means are exact sums of amounts divided by counts; a terminal without transactions in its window has no
risk, 0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import gristmill as gm
from gristmill.store import open_store

DAYS = (1, 7, 30)
DELAY = 7
TABLES = ("features.customer", "features.terminal", "marts.customer_days")


def fraud_project(root: Path, settings: str = "", *, source: object = None) -> gm.Project:
    """Return a project over ``root/landing`` or a source: features of customers and of terminals, and daily totals."""
    (root / "landing").mkdir(parents=True, exist_ok=True)
    (root / "gristmill.toml").write_text(settings)
    project = gm.Project(root)
    given = source or gm.files("landing/*.parquet")
    raw = project.source("raw.transactions", given, key="TRANSACTION_ID")  # type: ignore[arg-type]

    @project.table("features.customer", reads=[raw], key="TRANSACTION_ID")
    def customer(t: ibis.Table) -> ibis.Table:
        found = {}
        for days in DAYS:
            window = _last(days, "CUSTOMER_ID")
            found[f"n_{days}d"] = t.count().over(window)
            found[f"mean_{days}d"] = t.TX_AMOUNT.mean().over(window)
        return t.select("TRANSACTION_ID", **found)

    @project.table("features.terminal", reads=[raw], key="TRANSACTION_ID")
    def terminal(t: ibis.Table) -> ibis.Table:
        late = _last(DELAY, "TERMINAL_ID")
        found = {"TRANSACTION_ID": t.TRANSACTION_ID}
        for days in DAYS:
            whole = _last(DELAY + days, "TERMINAL_ID")
            found[f"n_{days}d"] = t.count().over(whole) - t.count().over(late)
            found[f"frauds_{days}d"] = t.TX_FRAUD.sum().over(whole) - t.TX_FRAUD.sum().over(late)
        u = t.select(**found)
        risks = {
            f"risk_{days}d": ibis.ifelse(u[f"n_{days}d"] > 0, u[f"frauds_{days}d"] / u[f"n_{days}d"].nullif(0), 0.0)
            for days in DAYS
        }
        return u.mutate(**risks)

    @project.table("marts.customer_days", reads=[raw], key=("CUSTOMER_ID", "day"))
    def customer_days(t: ibis.Table) -> ibis.Table:
        u = t.mutate(day=t.TX_DATETIME.truncate("D"))
        return u.group_by("CUSTOMER_ID", "day").agg(
            n=u.count(),
            total=u.TX_AMOUNT.sum(),
            mean=u.TX_AMOUNT.mean(),
            spread=u.TX_AMOUNT.std(),
            most=u.TX_AMOUNT.max(),
        )

    return project


def _last(days: int, by: str) -> object:
    return ibis.range_window(
        preceding=ibis.interval(days=days), following=ibis.interval(days=0), group_by=by, order_by="TX_DATETIME"
    )


def days_of(folder: Path, count: int, *, customers: int | None = None) -> list[pa.Table]:
    """Return the first days' transactions; of the customers with the lowest numbers where so many are asked for."""
    days = [pq.read_table(path) for path in sorted((folder / "transactions").glob("*.parquet"))[:count]]
    if customers is None:
        return days
    return [day.filter(pc.less(pc.cast(day["CUSTOMER_ID"], pa.int64()), customers)) for day in days]


def disordered(days: Sequence[pa.Table], *, seed: int = 0, late: float = 0.05, most_days: int = 30) -> list[pa.Table]:
    """Return the same rows shuffled within days, some of them up to so many days late."""
    rng = np.random.default_rng(seed)
    delivered: list[list[pa.Table]] = [[] for _ in days]
    for number, day in enumerate(days):
        lags = np.where(rng.random(day.num_rows) < late, rng.integers(1, most_days + 1, day.num_rows), 0)
        arrives = np.minimum(number + lags, len(days) - 1)
        for at in np.unique(arrives):
            delivered[at].append(day.filter(pa.array(arrives == at)))
    mixed = (pa.concat_tables(parts) for parts in delivered)
    return [day.take(pa.array(rng.permutation(day.num_rows))) for day in mixed]


def land(root: Path, number: int, day: pa.Table) -> None:
    """Write one day's file."""
    pq.write_table(day, root / "landing" / f"{number:03}.parquet")


def replayed(root: Path, deliveries: Sequence[pa.Table], settings: str = "") -> gm.Project:
    """Return the project over a stream that replays these deliveries in the order in which they came."""
    whole = pa.concat_tables(deliveries)
    arrived = pa.array(np.arange(whole.num_rows), pa.int64()).cast(pa.timestamp("us"))
    archive = open_store(root / "archive", True)
    with archive.begin("main") as tx:
        tx.create_table("raw.delivered", whole.schema.append(pa.field("arrived", pa.timestamp("us"))))
        tx.append("raw.delivered", whole.append_column("arrived", arrived))
    archive.close()
    source = gm.replay("raw.delivered", event_time="arrived", store="archive")
    return fraud_project(root, settings, source=source)


def digests(project: gm.Project) -> dict[str, str]:
    """Return the digest of every derived table."""
    snapshot = project.store.snapshot("main")
    return {name: snapshot.digest(name) for name in TABLES}


def by_hand(days: Sequence[pa.Table]) -> dict[int, tuple[list[int], list[float], list[int], list[int]]]:
    """Return by transaction: its customer's counts and means, its terminal's counts and frauds; in plain numpy."""
    table = pa.concat_tables(days)
    ids = table["TRANSACTION_ID"].to_numpy()
    when = table["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    cents = np.rint(table["TX_AMOUNT"].to_numpy() * 100).astype(np.int64)
    frauds = table["TX_FRAUD"].to_numpy().astype(np.int64)
    found: dict[int, tuple[list[int], list[float], list[int], list[int]]] = {int(i): ([], [], [], []) for i in ids}
    day = 86_400_000_000
    for by, place in (("CUSTOMER_ID", 0), ("TERMINAL_ID", 2)):
        keys = table[by].cast(pa.int64()).to_numpy()
        order = np.lexsort((when, keys))
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for rows in np.split(order, bounds):
            times = when[rows]
            money, bad = (np.concatenate([[0], np.cumsum(v[rows])]) for v in (cents, frauds))
            till = np.searchsorted(times, times, side="right")
            for days_back in DAYS:
                if place == 0:
                    since = np.searchsorted(times, times - days_back * day, side="left")
                    n, values = till - since, (money[till] - money[since]) / 100
                    values = values / n
                else:
                    since = np.searchsorted(times, times - (days_back + DELAY) * day, side="left")
                    end = np.searchsorted(times, times - DELAY * day, side="left")
                    n, values = end - since, bad[end] - bad[since]
                for row, count, value in zip(rows, n, values, strict=True):
                    found[int(ids[row])][place].append(int(count))
                    found[int(ids[row])][place + 1].append(value.item())
    return found
