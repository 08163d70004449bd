"""A slow and a fast layer of one definition: the serving read is what a batch over everything gives, whenever asked."""

import datetime as dt
import random
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import CheckFailed, DefinitionError, UsageError
from gristmill.run.layers import load_layer
from tests.run.streams import append, event, lines

START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
NIGHTLY = "0 3 * * *"


def shop(root: Path, *, hour: float = 0, slow: str = NIGHTLY, rules: tuple[object, ...] = ()) -> gm.Project:
    """Rows, windows of a minute, and the last window before each row, both slow; and one that is kept up."""
    (root / "gristmill.toml").write_text("[run]\nworkers = 1\n")
    made = gm.Project(root)
    moment = round((START + dt.timedelta(hours=hour)).timestamp() * 1e6)
    made.clock_us = lambda: moment
    types = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
    when = gm.event_time("at", bound="30s", ahead="36500d")
    raw = made.source("raw.ev", gm.tail("in/*.ndjson", types=types), event_time=when)

    @made.table("clean.ev", reads=[raw])
    def clean(ev: ibis.Table) -> ibis.Table:
        return ev.filter(ev.x > 3).mutate(at=ev.at.cast("timestamp"))

    @made.table("marts.minute", reads=[clean], key=["minute", "k"], slow=slow, rules=rules)
    def minute(ev: ibis.Table) -> ibis.Table:
        return ev.group_by(minute=ev.at.truncate("m"), k=ev.k).agg(n=ev.count(), mean=(ev.x / 3).sum())

    @made.table("marts.previous", reads=[clean, minute], slow=slow)
    def previous(ev: ibis.Table, minutes: ibis.Table) -> ibis.Table:
        seen = minutes.select("k", "n", at=minutes.minute + ibis.interval(minutes=1))
        return gm.asof_join(ev, seen, on="at", by="k", within="1h").select("n", "k", "at", "n_right")

    return made


def plain(rows: pa.Table) -> list[str]:
    return sorted(map(str, rows.drop_columns(["_layer", "_as_of"]).to_pylist()))


def batch(root: Path) -> dict[str, list[str]]:
    """Compute everything at once, elsewhere, from the same files."""
    other = root / "batch"
    other.mkdir(exist_ok=True)
    (other / "in").mkdir(exist_ok=True)
    (other / "in/a.ndjson").write_text((root / "in/a.ndjson").read_text())
    made = shop(other, slow="")
    made.run()
    found = made.store.snapshot("main")
    return {name: sorted(map(str, found.to_arrow(name).to_pylist())) for name in ("marts.minute", "marts.previous")}


def streamed_past(root: Path, count: int) -> gm.Project:
    """Compute the slow layer from 60 events, and stream those after them up to a count."""
    append(root / "in/a.ndjson", lines(event(i) for i in range(60)))
    shop(root).run()
    append(root / "in/a.ndjson", lines(event(i, at_s=i + 30) for i in range(60, count)))
    made = shop(root, hour=1)
    made.stream(until_end=True)
    return made


def test_a_slow_table_waits_and_is_served_complete(tmp_path: Path) -> None:
    made = streamed_past(tmp_path, 100)
    stored = made.store.snapshot("main").table("marts.minute").id
    plan = {step.name: step for step in made.plan().steps}
    assert plan["marts.minute"].mode == "reuse"
    assert "slow layer until 2026-01-02 03:00 UTC" in plan["marts.minute"].reason
    assert made.run().record.status == "unchanged"
    served = made.serve("marts.minute")
    assert plain(served.rows) == batch(tmp_path)["marts.minute"]
    assert made.store.snapshot("main").table("marts.minute").id == stored
    layers = {(f"{row['minute']:%H:%M}", row["_layer"]) for row in served.rows.to_pylist()}
    assert layers == {("00:00", "slow"), ("00:01", "fast"), ("00:02", "fast")}
    assert served.slow is not None
    assert served.slow.as_of_us == 1_767_225_600_000_000 + 29_000_000
    assert served.fast.as_of_us == 1_767_225_600_000_000 + 99_000_000
    assert served.slow.offsets["raw.ev"].keys() == {"in/a.ndjson"}
    assert int(served.slow.offsets["raw.ev"]["in/a.ndjson"]) < int(served.fast.offsets["raw.ev"]["in/a.ndjson"])
    fresh = dict(zip(served.rows["_layer"].to_pylist(), served.rows["_as_of"].to_pylist(), strict=True))
    assert fresh["fast"] > fresh["slow"]


def test_it_is_computed_in_full_when_its_time_has_come(tmp_path: Path) -> None:
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(60)))
    shop(tmp_path).run()
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(60, 70)))
    made = shop(tmp_path, hour=16)
    modes = {stage.name: stage.mode for stage in made.run().record.stages}
    assert modes["marts.minute"] == "full"
    assert modes["marts.previous"] == "full"
    assert modes["clean.ev"] == "delta"
    served = made.serve("marts.minute")
    assert set(served.rows["_layer"].to_pylist()) == {"slow"}
    assert served.removed == 0
    assert plain(served.rows) == batch(tmp_path)["marts.minute"]


@pytest.mark.parametrize("seed", range(4))
def test_the_serving_read_is_the_batch_at_every_cut(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    hour, number = 0.0, 0
    for _ in range(5):
        count = rng.randint(1, 25)
        events = [event(number + i, at_s=max(0, (number + i) * 5 + rng.randint(-200, 60))) for i in range(count)]
        append(tmp_path / "in/a.ndjson", lines(events))
        number += count
        hour += rng.choice([0.5, 9.0])
        made = shop(tmp_path, hour=hour)
        if rng.random() < 0.5 or number == count:
            made.run()
        else:
            made.stream(until_end=True, max_rows=rng.choice([3, 10]))
        wanted = batch(tmp_path)
        for name in ("marts.minute", "marts.previous"):
            assert plain(made.serve(name).rows) == wanted[name], (name, number)


def test_a_changed_definition_does_not_wait(tmp_path: Path) -> None:
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(20)))
    shop(tmp_path).run()
    made = shop(tmp_path, hour=1)
    node = made.graph["raw.ev"]
    other = gm.Project(tmp_path)
    other.clock_us = made.clock_us
    assert node.connector is not None
    raw = other.source("raw.ev", node.connector, event_time=node.event_time)

    @other.table("clean.ev", reads=[raw])
    def clean(ev: ibis.Table) -> ibis.Table:
        return ev.filter(ev.x > 3).mutate(at=ev.at.cast("timestamp"))

    @other.table("marts.minute", reads=[clean], key=["minute", "k"], slow=NIGHTLY)
    def minute(ev: ibis.Table) -> ibis.Table:
        return ev.group_by(minute=ev.at.truncate("m"), k=ev.k).agg(n=ev.count(), mean=(ev.x / 7).sum())

    assert {stage.name: stage.mode for stage in other.run().record.stages}["marts.minute"] == "full"


def test_what_breaks_a_rule_since_is_not_served(tmp_path: Path) -> None:
    append(tmp_path / "in/a.ndjson", lines([event(1, x=5)]))
    rules = (gm.rules.between("n", low=0, high=1),)
    shop(tmp_path, rules=rules).run()
    append(tmp_path / "in/a.ndjson", lines([event(4, at_s=1, x=5)]))
    made = shop(tmp_path, hour=1, rules=rules)
    made.stream(until_end=True)
    with pytest.raises(CheckFailed, match="was stored breaks a rule"):
        made.serve("marts.minute")


def test_words_that_are_wrong_are_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is no schedule"):
        shop(tmp_path, slow="nightly")
    with pytest.raises(UsageError, match="no derived table"):
        shop(tmp_path).serve("raw.ev")


def test_a_stretch_of_a_slow_table_that_is_asked_for_leaves_no_other_rows_behind(tmp_path: Path) -> None:
    made = streamed_past(tmp_path, 260)
    assert made.run(["marts.minute"], between="minute=2026-01-01 00:01:00..2026-01-01 00:02:00").ok
    served = made.serve("marts.minute")
    assert plain(served.rows) == batch(tmp_path)["marts.minute"]
    assert served.slow == load_layer(made.store.snapshot("main"), "marts.minute")
    assert served.slow is not None
    assert served.slow.as_of_us == served.fast.as_of_us
    later = shop(tmp_path, hour=24)
    later.run()
    found = later.store.snapshot("main").to_arrow("marts.minute")
    assert sorted(map(str, found.to_pylist())) == batch(tmp_path)["marts.minute"]
