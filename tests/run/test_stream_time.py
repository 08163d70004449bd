"""Event time: watermarks, late rows by policy and in source order, times in the future; change feeds; final rows."""

import json
import random
from pathlib import Path

import ibis
import pytest

import gristmill as gm
from gristmill.errors import CheckFailed, DefinitionError
from gristmill.model.units import Ledger
from gristmill.run.streaming.state import load_state
from tests.run.streams import append, digests, event, lines, project
from tests.run.test_stream import total, values

MANY = [event(i, at_s=max(0, i * 5 + random.Random(i).randint(-120, 120))) for i in range(120)]


def by_cuts(root: Path, cuts: list[int], **more: object) -> gm.Project:
    made = project(root, **more)
    start = 0
    for end in [*cuts, len(MANY)]:
        append(root / "in/a.ndjson", lines(MANY[start:end]))
        made.stream(until_end=True)
        start = end
    return made


def test_late_rows_go_aside_by_source_order(tmp_path: Path) -> None:
    policy = gm.late.side()
    one, many = by_cuts(tmp_path / "one", [], late=policy), by_cuts(tmp_path / "many", [3, 50, 51, 90], late=policy)
    batch = project(tmp_path / "batch", late=policy)
    append(batch.root / "in/a.ndjson", lines(MANY))
    assert batch.run().ok
    names = ("raw.ev", "raw.ev_late", "marts.minute", "marts.previous")
    assert digests(one, names) == digests(many, names) == digests(batch, names)
    found = total(many)
    assert found.late == one.store.snapshot("main").table("raw.ev_late").row_count > 5
    assert found == total(one)
    assert found.delivered == found.accepted + found.late == 120


def test_late_rows_can_be_read_as_a_table(tmp_path: Path) -> None:
    made = project(tmp_path, late=gm.late.side("raw.too_late"))

    @made.table("marts.late", reads=["raw.too_late"], key="k")
    def late(rows: ibis.Table) -> ibis.Table:
        return rows.group_by("k").agg(n=rows.count())

    append(tmp_path / "in/a.ndjson", lines([event(1, at_s=500), event(2, at_s=1)]))
    made.stream(until_end=True)
    assert values(made, "marts.late", "n") == [1]


def test_dropped_rows_are_counted_and_gated(tmp_path: Path) -> None:
    made = project(tmp_path, late=gm.late.drop(max_ratio=0.5))
    append(tmp_path / "in/a.ndjson", lines([event(1, at_s=500), event(2, at_s=1), event(3, at_s=501)]))
    made.stream(until_end=True)
    assert total(made) == Ledger(delivered=3, accepted=2, dropped=1)
    append(tmp_path / "in/a.ndjson", lines([event(4, at_s=1), event(5, at_s=2), event(6, at_s=2)]))
    with pytest.raises(CheckFailed, match="dropped"):
        made.stream(until_end=True)
    assert total(made).delivered == 3
    assert not made.run().ok


def test_late_rows_correct_by_default_and_are_counted(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1, at_s=500, key="a"), event(2, at_s=1, key="a")]))
    made.stream(until_end=True)
    (unit,) = made.store.snapshot("main").units("raw.ev").values()
    assert unit.detail["late_rows"] == "1"
    assert total(made) == Ledger(delivered=2, accepted=2)
    assert values(made, "marts.minute", "n") == [1, 1]


def test_a_time_in_the_future_does_not_make_others_late(tmp_path: Path) -> None:
    made = project(tmp_path, event_time=gm.event_time("at", bound="10s", ahead="1h"), late=gm.late.side())
    far = {**event(2), "at": "2099-01-01T00:00:00Z"}
    none = {**event(4), "at": None}
    append(tmp_path / "in/a.ndjson", lines([event(1), far, event(3), none]))
    made.stream(until_end=True)
    assert total(made) == Ledger(delivered=4, accepted=2, quarantined=2)
    aside = made.store.snapshot("main").to_arrow("_quarantine.raw.ev").sort_by("record").to_pylist()
    assert [row["reasons"] for row in aside] == [["ahead:at"], ["null:at"]]
    assert load_state(made.store.snapshot("main"), "raw.ev").watermark_us == 1767225603000000 - 10_000_000


def test_the_watermark_waits_for_every_partition_and_never_goes_back(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1, at_s=900)]))
    append(tmp_path / "in/b.ndjson", lines([event(2, at_s=100)]))
    made.stream(until_end=True)
    first = load_state(made.store.snapshot("main"), "raw.ev").watermark_us
    assert first == 1767225600000000 + 70_000_000
    append(tmp_path / "in/c.ndjson", lines([event(3, at_s=1)]))
    made.stream(until_end=True)
    assert load_state(made.store.snapshot("main"), "raw.ev").watermark_us == first
    unit = made.store.snapshot("main").units("raw.ev")["in/c.ndjson"]
    assert unit.detail["late_rows"] == "1"


def feed(root: Path, **more: object) -> gm.Project:
    root.mkdir(parents=True, exist_ok=True)
    (root / "gristmill.toml").write_text("")
    made = gm.Project(root)
    types = {"op": "string", "lsn": "int64", "id": "int64", "v": "string"}
    raw = made.source("raw.t", gm.tail("in/*.ndjson", types=types), key="id", changes=gm.changes(op="op", order="lsn"))

    @made.table("marts.v", reads=[raw], key="v")
    def counted(rows: ibis.Table) -> ibis.Table:
        return rows.group_by("v").agg(n=rows.count())

    return made


@pytest.mark.parametrize("seed", range(3))
def test_change_feeds_hold_the_newest_change_whatever_order_and_cuts(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    changes = [
        {"op": rng.choice("cuud"), "lsn": i, "id": rng.randrange(8), "v": rng.choice("xyz")} for i in range(1, 100)
    ]
    wanted: dict[int, str] = {}
    for found in changes:
        if found["op"] == "d":
            wanted.pop(int(str(found["id"])), None)
        else:
            wanted[int(str(found["id"]))] = str(found["v"])
    rng.shuffle(changes)
    changes += changes[:20]
    made = feed(tmp_path)
    start = 0
    while start < len(changes):
        end = start + rng.randint(1, 60)
        append(tmp_path / f"in/{rng.choice('ab')}.ndjson", lines(changes[start:end]))
        made.stream(until_end=True)
        start = end
    rows = made.store.snapshot("main").to_arrow("raw.t").to_pylist()
    assert {row["id"]: row["v"] for row in rows} == wanted
    assert total(made, "raw.t").balanced
    assert sum(row["n"] for row in made.store.snapshot("main").to_arrow("marts.v").to_pylist()) == len(wanted)


def test_a_key_that_is_missing_is_set_aside(tmp_path: Path) -> None:
    made = feed(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([{"op": "c", "lsn": 1, "id": None}, {"op": "c", "id": 3}]))
    made.stream(until_end=True)
    assert total(made, "raw.t") == Ledger(delivered=2, quarantined=2)


def test_final_sinks_get_each_row_once_when_it_is_final(tmp_path: Path) -> None:
    made = project(tmp_path, late=gm.late.side())
    made.sink("done", reads="marts.minute", to=gm.files("out/*.ndjson"), accepts="final", final="minute")
    for start in range(0, 120, 17):
        append(tmp_path / "in/a.ndjson", lines(MANY[start : start + 17]))
        made.stream(until_end=True)
    sent = [json.loads(line) for path in sorted((tmp_path / "out").iterdir()) for line in path.read_text().splitlines()]
    keys = [(found["row"]["minute"], found["row"]["k"]) for found in sent]
    assert len(keys) == len(set(keys)) > 10
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)


def test_sinks_that_cannot_take_corrections_are_refused_by_plan(tmp_path: Path) -> None:
    made = project(tmp_path)
    made.sink("done", reads="marts.minute", to=gm.files("out/*.ndjson"), accepts="final", final="minute")
    with pytest.raises(DefinitionError) as refused:
        made.plan()
    assert refused.value.code == "GM-P142"
    other = project(tmp_path / "other", event_time=None)
    other.sink("done", reads="marts.minute", to=gm.files("out/*.ndjson"), accepts="final", final="minute")
    with pytest.raises(DefinitionError) as unsure:
        other.plan()
    assert unsure.value.code == "GM-P141"


def test_words_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    made = gm.Project(tmp_path)
    for connector, more in (
        (gm.files("in/*.csv"), {"event_time": "at"}),
        (gm.tail("in/*.ndjson"), {"late": gm.late.side()}),
        (gm.tail("in/*.ndjson"), {"changes": gm.changes(op="op")}),
    ):
        with pytest.raises(DefinitionError) as refused:
            made.source("raw.x", connector, **more)  # type: ignore[arg-type]
        assert refused.value.code == "GM-P143"
