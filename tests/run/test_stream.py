"""Streams of growing files: the same answer as a batch, whatever the cuts; nothing lost, nothing twice."""

import json
import random
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import CheckFailed, Conflict, DataError, UsageError
from gristmill.model.events import BatchCommitted, StreamStopped
from gristmill.model.units import Ledger
from gristmill.run.derivation import load_derivation, stored_states
from tests.run.streams import after, append, digests, event, lines, project


def total(made: gm.Project, source: str = "raw.ev") -> Ledger:
    units = made.store.snapshot("main").units(source)
    return sum((unit.ledger for unit in units.values()), Ledger())


def values(made: gm.Project, table: str, column: str) -> list[object]:
    return sorted(made.store.snapshot("main").to_arrow(table).column(column).to_pylist())


@pytest.mark.parametrize("seed", range(4))
def test_any_cuts_give_what_a_batch_gives(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    events = [event(i, at_s=max(0, i * 3 + rng.randint(-200, 200))) for i in range(200)]
    made, batch = project(tmp_path / "stream"), project(tmp_path / "batch")
    left = list(events)
    while left:
        cut = rng.randint(1, 80)
        append(made.root / "in" / f"{rng.choice('ab')}.ndjson", lines(left[:cut]))
        left = left[cut:]
        made.stream(until_end=True, max_rows=rng.choice([7, 30, 1000]))
    for path in sorted((made.root / "in").iterdir()):
        append(batch.root / "in" / path.name, path.read_text())
    assert batch.run().ok
    assert digests(made) == digests(batch)
    assert total(made).accepted == 200
    assert total(made).balanced


def test_rows_know_file_line_and_record(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1), event(2)]))
    made.stream(until_end=True)
    append(tmp_path / "in/a.ndjson", lines([event(3)]))
    made.stream(until_end=True)
    snapshot = made.store.snapshot("main")
    rows = snapshot.reader("raw.ev", hidden=True).read_all().sort_by("n").to_pylist()
    (unit,) = snapshot.units("raw.ev").values()
    text = (tmp_path / "in/a.ndjson").read_bytes()
    for number, row in enumerate(rows, 1):
        assert (row["_origin_unit"], row["_origin_record"], row["_origin_line"]) == (unit.number, number, number)
        assert json.loads(text[row["_origin_offset"] :].splitlines()[0])["n"] == number


def test_half_a_line_waits_and_poison_is_kept_whole(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]) + '{"n": 2, "k"')
    made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == [1]
    append(tmp_path / "in/a.ndjson", ': "a", "x": 9, "at": "2026-01-01"}\n\xff\n{"n": "three"}\n{"nn": 4}\n')
    made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == [1, 2]
    aside = made.store.snapshot("main").to_arrow("_quarantine.raw.ev").sort_by("record").to_pylist()
    assert [(row["record"], row["line"], row["reasons"]) for row in aside] == [
        (3, 3, ["message"]),
        (4, 4, ["type:n"]),
        (5, 5, ["fields"]),
    ]
    assert aside[1]["raw"] == '{"n": "three"}'
    assert aside[1]["offset"] == (tmp_path / "in/a.ndjson").read_bytes().index(b'{"n": "three"}')
    assert total(made) == Ledger(delivered=5, accepted=2, quarantined=3)


def test_csv_files_grow_too(tmp_path: Path) -> None:
    made = gm.Project(tmp_path)
    made.source("raw.c", gm.tail("in/*.csv"), key="id")
    append(tmp_path / "in/a.csv", 'id,name\n1,"two\nlines"\n2,b\n')
    made.stream(until_end=True)
    append(tmp_path / "in/a.csv", "1,again\n3\n")
    append(tmp_path / "in/b.csv", "name,id\nd,4\n")
    made.stream(until_end=True)
    rows = made.store.snapshot("main").to_arrow("raw.c").sort_by("id").to_pylist()
    assert rows == [{"id": 1, "name": "again"}, {"id": 2, "name": "b"}, {"id": 4, "name": "d"}]
    assert total(made, "raw.c").quarantined == 1


def test_a_cut_or_replaced_file_stops_the_stream(tmp_path: Path) -> None:
    made = project(tmp_path)
    path = tmp_path / "in/a.ndjson"
    append(path, lines([event(1), event(2)]))
    made.stream(until_end=True)
    path.write_text(lines([event(7)]))
    with pytest.raises(DataError, match="cut or replaced") as refused:
        made.stream(until_end=True)
    assert refused.value.code == "GM-D130"
    path.write_text(lines([event(7), event(8), event(9)]))
    with pytest.raises(DataError, match="begins with other bytes"):
        made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == [1, 2]


def test_a_run_goes_on_where_the_stream_ended(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(50)))
    made.stream(until_end=True)
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(50, 60)))
    assert made.plan().plan.steps[0].mode == "land"
    assert made.run().ok
    assert made.plan().plan.empty
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(60, 70)))
    made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == list(range(70))


def test_a_newer_writer_shuts_out_the_older(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    other = project(tmp_path)

    def listen(found: object) -> None:
        if isinstance(found, BatchCommitted):
            append(tmp_path / "in/a.ndjson", lines([event(2)]))
            other.stream(until_end=True)
            append(tmp_path / "in/a.ndjson", lines([event(3)]))

    with pytest.raises(Conflict, match="taken over") as refused:
        made.stream(latency_s=0.01, listener=listen)
    assert refused.value.code == "GM-S020"
    assert values(made, "raw.ev", "n") == [1, 2]


def test_a_run_beside_the_stream_takes_nothing_twice(tmp_path: Path) -> None:
    made, other = project(tmp_path), project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    stop, count = after(2)

    def listen(found: object) -> None:
        count(found)
        if isinstance(found, BatchCommitted) and found.rows and not stop():
            append(tmp_path / "in/a.ndjson", lines([event(2)]))
            assert other.run().ok
            append(tmp_path / "in/a.ndjson", lines([event(3)]))

    made.stream(latency_s=0.01, stop=stop, listener=listen)
    assert values(made, "raw.ev", "n") == [1, 2, 3]
    assert total(made) == Ledger(delivered=3, accepted=3)


def test_a_check_that_says_no_stops_before_the_commit(tmp_path: Path) -> None:
    made = project(tmp_path, rules=[gm.rules.between("x", high=100)])
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    made.stream(until_end=True)
    head = made.store.resolve("main")
    append(tmp_path / "in/a.ndjson", lines([event(2, x=500)]))
    with pytest.raises(CheckFailed) as refused:
        made.stream(until_end=True)
    assert refused.value.code == "GM-C040"
    assert values(made, "raw.ev", "n") == [1]
    assert made.store.snapshot("main").units("raw.ev") == made.store.snapshot(head).units("raw.ev")


def test_idle_streams_commit_nothing(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    made.stream(latency_s=0.01, stop=stop)
    assert len(list(made.store.log("main"))) == len(list(made.store.log("main", table="raw.ev"))) + 2


def test_pause_and_resume(tmp_path: Path) -> None:
    from gristmill.run.streaming import control

    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    control.pause(made.store, "main")
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    assert made.stream(stop=stop) == 0
    assert control.resume(made.store, "main")
    assert made.stream(until_end=True) == 1


def test_latest_leaves_out_what_is_there(tmp_path: Path) -> None:
    made = project(tmp_path)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    stop, count = after(1)

    def listen(found: object) -> None:
        count(found)

    asked: list[int] = []

    def later() -> bool:
        asked.append(1)
        if len(asked) == 3:
            append(tmp_path / "in/a.ndjson", lines([event(2)]))
        return stop()

    made.stream(start="latest", latency_s=0.01, stop=later, listener=listen)
    assert values(made, "raw.ev", "n") == [2]


def test_a_project_without_streams_says_so(tmp_path: Path) -> None:
    made = gm.Project(tmp_path)
    with pytest.raises(UsageError, match="nothing here is a stream"):
        made.stream(until_end=True)


def test_what_ends_a_stream_is_told(tmp_path: Path) -> None:
    made, seen = project(tmp_path), []
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(5)))
    made.stream(until_end=True, listener=seen.append)
    stopped = seen[-1]
    assert isinstance(stopped, StreamStopped)
    assert (stopped.rows, stopped.batches, stopped.reason) == (5, 1, "the end is reached")
    batch = next(found for found in seen if isinstance(found, BatchCommitted))
    assert batch.sources[0].lag == 0
    assert batch.sources[0].watermark_us == 1767225574000000


def test_what_a_table_was_made_from_stays_readable_where_the_same_commit_compacts_it(tmp_path: Path) -> None:
    made = project(tmp_path)
    for start in range(0, 200, 5):
        append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(start, start + 5)))
        made.stream(until_end=True)
    replaced = 0
    for commit in made.store.log("main"):
        snapshot = made.store.snapshot(commit.id)
        noted = load_derivation(snapshot, "clean.ev")
        if noted is None:
            continue
        states = stored_states(snapshot, "clean.ev", noted)
        replaced += states != noted.states
        delta = snapshot.delta_since("raw.ev", states["raw.ev"])
        assert not delta.inserted
        assert not delta.deleted
    assert replaced >= 1
    assert made.parity("clean.ev").ok
