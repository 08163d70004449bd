"""Windows of event time, joins within a time, as-of joins and de-duplication: batch, increments and stream agree."""

import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path

import ibis
import pytest

import gristmill as gm
from gristmill.errors import DefinitionError
from gristmill.testing import Script
from tests.run.streams import append, digests, event, lines

TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
Query = Callable[[ibis.Table], ibis.Table]


def _counted(rows: ibis.Table, *by: str) -> ibis.Table:
    return rows.group_by([*by, "k"]).agg(n=rows.count(), x=rows.x.sum(), mean=(rows.x / 3).mean())


def _sliding(ev: ibis.Table) -> ibis.Table:
    window = ibis.window(group_by="k", order_by="at", preceding=ibis.interval(seconds=90), following=0)
    return ev.select("n", total=ev.x.sum().over(window))


def _near(ev: ibis.Table) -> ibis.Table:
    left, right = ev.filter(ev.k == "a"), ev.filter(ev.k == "b").select(n2="n", at2="at", x2="x")
    close = (right.at2 >= left.at - ibis.interval(seconds=20)) & (right.at2 <= left.at + ibis.interval(seconds=20))
    return left.join(right, [left.x % 5 == right.x2 % 5, close]).select("n", "n2", "at", "at2")


def _first_of_each(ev: ibis.Table) -> ibis.Table:
    first = ev.group_by("x").mutate(rank=ibis.row_number().over(group_by="x", order_by=["at", "n"]))
    return first.filter(first["rank"] == 0).select("x", "n", "k", "at")


def _last_known(ev: ibis.Table) -> ibis.Table:
    facts, known = ev.filter(ev.k == "a"), ev.filter(ev.k != "a").select("x", "at", version="n")
    return gm.asof_join(facts.mutate(g=facts.x % 3), known.mutate(g=known.x % 3), on="at", by="g", within="3min")


QUERIES: dict[str, Query] = {
    "tumble": lambda ev: _counted(gm.tumble(ev, "1min", on="at"), "window_start", "window_end"),
    "hop": lambda ev: _counted(gm.hop(ev, "2min", "30s", on="at"), "window_start", "window_end"),
    "cumulate": lambda ev: _counted(gm.cumulate(ev, "5min", "1min", on="at"), "window_start", "window_end"),
    "sessions": lambda ev: _counted(gm.sessions(ev, "20s", on="at", by="k"), "session_start", "session_end"),
    "sliding": _sliding,
    "near": _near,
    "first": _first_of_each,
    "known": _last_known,
}


def shop(root: Path) -> gm.Project:
    root.mkdir(parents=True, exist_ok=True)
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\n")
    made = gm.Project(root)
    when = gm.event_time("at", bound="30s", ahead="36500d")
    raw = made.source("raw.ev", gm.tail("in/*.ndjson", types=TYPES), event_time=when)

    @made.table("clean.ev", reads=[raw])
    def clean(ev: ibis.Table) -> ibis.Table:
        return ev.mutate(at=ev.at.cast("timestamp"))

    for name, query in QUERIES.items():
        made.table(f"marts.{name}", reads=[clean])(_plain(query))
    return made


def _plain(query: Query) -> Callable[[ibis.Table], ibis.Table]:
    def define(ev: ibis.Table) -> ibis.Table:
        return query(ev)

    return define


NAMES = [f"marts.{name}" for name in QUERIES]


def disordered(seed: int, count: int = 90) -> list[dict[str, object]]:
    rng = random.Random(seed)
    return [event(i, at_s=max(0, i * 4 + rng.choice([0, 0, 0, -3, -60, 15]))) for i in range(count)]


@pytest.mark.parametrize("seed", range(2))
def test_batch_increments_and_stream_agree(tmp_path: Path, seed: int) -> None:
    rng, events = random.Random(seed), disordered(seed)
    batch = shop(tmp_path / "batch")
    append(tmp_path / "batch/in/a.ndjson", lines(events))
    batch.run()
    wanted = digests(batch, NAMES)
    steps = shop(tmp_path / "steps")
    at = 0
    while at < len(events):
        cut = rng.randint(5, 40)
        append(tmp_path / "steps/in/a.ndjson", lines(events[at : at + cut]))
        steps.run()
        at += cut
    assert digests(steps, NAMES) == wanted
    live = shop(tmp_path / "live")
    append(tmp_path / "live/in/a.ndjson", lines(events))
    live.stream(until_end=True, max_rows=rng.choice([7, 23]))
    assert digests(live, NAMES) == wanted


def brute(events: list[dict[str, object]]) -> list[tuple[dt.datetime, str, int]]:
    return [(dt.datetime.fromisoformat(str(e["at"]).replace("Z", "")), str(e["k"]), int(str(e["x"]))) for e in events]


def test_windows_are_what_they_are_called(tmp_path: Path) -> None:
    events = disordered(7, 60)
    made = shop(tmp_path)
    append(tmp_path / "in/a.ndjson", lines(events))
    made.run()
    found = made.store.snapshot("main")
    rows, epoch = brute(events), dt.datetime(2000, 1, 3)

    def windows(at: dt.datetime, size_s: int, every_s: int) -> list[tuple[dt.datetime, dt.datetime]]:
        size, every = dt.timedelta(seconds=size_s), dt.timedelta(seconds=every_s)
        last = epoch + (at - epoch) // every * every
        starts = [last - every * back for back in range(size_s // every_s)]
        return [(start, start + size) for start in starts]

    def growing(at: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
        start = epoch + (at - epoch) // dt.timedelta(minutes=5) * dt.timedelta(minutes=5)
        ends = [start + dt.timedelta(minutes=number) for number in range(1, 6)]
        return [(start, end) for end in ends if end > at]

    kinds: dict[str, Callable[[dt.datetime], list[tuple[dt.datetime, dt.datetime]]]] = {
        "tumble": lambda at: windows(at, 60, 60),
        "hop": lambda at: windows(at, 120, 30),
        "cumulate": growing,
    }
    for name, of in kinds.items():
        wanted: dict[tuple[object, ...], list[int]] = {}
        for at, key, x in rows:
            for start, end in of(at):
                wanted.setdefault((start, end, key), []).append(x)
        got = {
            (row["window_start"], row["window_end"], row["k"]): (row["n"], row["x"])
            for row in found.to_arrow(f"marts.{name}").to_pylist()
        }
        assert got == {window: (len(xs), sum(xs)) for window, xs in wanted.items()}, name
    sessions: dict[tuple[object, ...], tuple[int, int]] = {}
    for key in "abc":
        run: list[tuple[dt.datetime, int]] = []
        mine = sorted((at, x) for at, k, x in rows if k == key)
        for at, x in [*mine, (dt.datetime(2100, 1, 1), 0)]:
            if run and at - run[-1][0] > dt.timedelta(seconds=20):
                sessions[(run[0][0], run[-1][0], key)] = (len(run), sum(x for _, x in run))
                run = []
            run.append((at, x))
    got = {
        (row["session_start"], row["session_end"], row["k"]): (row["n"], row["x"])
        for row in found.to_arrow("marts.sessions").to_pylist()
    }
    assert got == sessions


def keyed(root: Path) -> gm.Project:
    made = gm.Project(root)
    raw = made.source("raw.ev", gm.files("landing/*.parquet"), key="n")
    for name, query in QUERIES.items():
        made.table(f"marts.{name}", reads=[raw])(_plain(query))
    return made


def test_sessions_merge_and_split_with_rows_that_come_move_and_go(tmp_path: Path) -> None:
    rng = random.Random(3)
    script = Script(keyed, tmp_path)

    def row(number: int) -> dict[str, object]:
        at = dt.datetime(2026, 1, 1) + dt.timedelta(seconds=rng.randint(0, 400))
        return {"n": number, "k": rng.choice("ab"), "x": rng.randint(0, 20), "at": at}

    script.deliver("landing/0.parquet", [row(number) for number in range(40)])
    assert script.run() is not None
    for step in range(4):
        gone = rng.sample(range(40), 3)
        script.edit("raw.ev", upsert=[row(rng.randint(0, 45)) for _ in range(1)])
        present = [r["n"] for r in script.rows("raw.ev")]
        script.edit("raw.ev", delete=[{"n": number} for number in gone if number in present])
        script.run(crash_after=rng.choice([2, 5]) if step % 2 else None)
    assert script.run() is not None
    script.prove()


def test_which_duplicate_loses_follows_the_source_and_not_the_cuts(tmp_path: Path) -> None:
    events = [{**event(i, at_s=i), "n": i % 20, "x": i} for i in range(80)]
    found = []
    for cut in (80, 7, 1 + 12):
        root = tmp_path / str(cut)
        root.mkdir()
        (root / "gristmill.toml").write_text("[run]\nworkers = 1\n")
        made = gm.Project(root)
        made.source("raw.ev", gm.tail("in/*.ndjson", types=TYPES), key="n")
        append(root / "in/a.ndjson", lines(events))
        made.stream(until_end=True, max_rows=cut)
        rows = made.store.snapshot("main").to_arrow("raw.ev").to_pylist()
        found.append(sorted((row["n"], row["x"]) for row in rows))
        ledger = next(iter(made.store.snapshot("main").units("raw.ev").values())).ledger
        assert ledger.accepted + ledger.duplicate == 80
    assert found[0] == [(n, 60 + n) for n in range(20)]
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda t: gm.tumble(t, "soon", on="at"), "no duration"),
        (lambda t: gm.tumble(t, "1min", on="when"), "no column"),
        (lambda t: gm.tumble(t, "1min", on="k"), "no timestamp"),
        (lambda t: gm.hop(t, "5min", "2min", on="at"), "no multiple"),
        (lambda t: gm.cumulate(t, "1d", "1s", on="at"), "no multiple"),
        (lambda t: gm.sessions(t, "0s", on="at", by="k"), "no duration"),
        (lambda t: gm.sessions(t, "1s", on="at", by="who"), "no column"),
    ],
)
def test_windows_that_cannot_be_are_told(wrong: Query, words: str) -> None:
    table = ibis.table({"k": "string", "at": "timestamp"}, name="t")
    with pytest.raises(DefinitionError, match=words):
        wrong(table)
