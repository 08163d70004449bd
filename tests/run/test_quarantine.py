"""Rows set aside, worked on: fixed, retried, dropped, added; the ledger adds up after each."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import GristmillError
from gristmill.run import setaside

GOOD = "".join(f"{n},{n},x\n" for n in range(10, 60))


class Readings:
    def __init__(self, root: Path) -> None:
        self.root, self.high = root, 100
        (root / "in").mkdir()
        self.land("a", f"id,speed,note\n1,50,x\n{GOOD}")
        self.project().run()
        self.land("b", f'id,speed,note\n2,500,"two\nlines"\n3,fast,y\n{GOOD.replace(",x", ",z")}')
        assert self.project().run().ok

    def land(self, name: str, text: str) -> None:
        (self.root / "in" / f"{name}.csv").write_text(text)

    def project(self) -> gm.Project:
        project = gm.Project(self.root)
        rule = gm.rules.between("speed", high=self.high, on_fail="quarantine")
        project.source("raw.r", gm.files("in/*.csv"), key="id", rules=[rule])
        return project

    def rows(self) -> dict[int, int]:
        table = self.project().store.snapshot("main").to_arrow("raw.r")
        return {row["id"]: row["speed"] for row in table.to_pylist()}

    def aside(self, status: str = "open") -> list[setaside.SetAside]:
        snapshot = self.project().store.snapshot("main")
        assert all(unit.ledger.balanced for unit in snapshot.units("raw.r").values())
        return setaside.rows_of(snapshot, "raw.r", status=status)

    def retry(self, **options: object) -> setaside.Retried:
        with self.project().context() as ctx:
            return setaside.retry(ctx, "main", "raw.r", **options)  # type: ignore[arg-type]


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    return Readings(tmp_path)


def test_the_text_of_a_row_that_breaks_a_rule_is_kept_as_delivered(readings: Readings) -> None:
    typed, untyped = readings.aside()
    assert (typed.raw, typed.line, typed.reasons) == ('2,500,"two\nlines"\n', 2, ("between:speed",))
    assert (untyped.raw, untyped.line, untyped.reasons) == ("3,fast,y\n", 4, ("type:speed",))


def test_a_fixed_row_is_in_the_table_once_and_keeps_its_origin(readings: Readings) -> None:
    typed, untyped = readings.aside()
    assert readings.retry(ids=[typed.id[:8]], values={"speed": "50"}, note="ana").taken == 1
    assert readings.retry(ids=[untyped.id], values={"speed": "7"}).taken == 1
    assert (readings.rows()[2], readings.rows()[3]) == (50, 7)
    assert readings.aside() == []
    assert {row.status for row in readings.aside("all")} == {"fixed"}
    with pytest.raises(GristmillError):
        readings.retry(ids=[typed.id], values={"speed": "50"})
    assert readings.project().run().record.status == "unchanged"


def test_an_expression_mends_a_row(readings: Readings) -> None:
    typed, _ = readings.aside()
    assert readings.retry(ids=[typed.id], expressions={"speed": "speed // 10"}).taken == 1
    assert readings.rows()[2] == 50


def test_a_retry_takes_what_passes_now_and_says_what_still_does_not(readings: Readings) -> None:
    assert len(readings.retry().still) == 2
    readings.high = 1000
    readings.project().run()
    done = readings.retry()
    assert (done.taken, [row.raw for row in done.still]) == (1, ["3,fast,y\n"])
    assert readings.rows()[2] == 500
    assert len(readings.aside()) == 1


def test_a_row_whose_key_came_again_later_does_not_overwrite_it(readings: Readings) -> None:
    readings.land("c", f"id,speed,note\n2,60,new\n{GOOD}")
    assert readings.project().run().ok
    readings.high = 1000
    readings.project().run()
    done = readings.retry()
    assert (done.taken, done.overtaken) == (0, 1)
    assert readings.rows()[2] == 60
    assert [row.status for row in readings.aside("all")] == ["waived", "open"]


def test_a_dropped_row_stays_listed_and_the_ledger_says_so(readings: Readings) -> None:
    typed, _ = readings.aside()
    project = readings.project()
    setaside.drop(project.store, "main", "raw.r", ids=[typed.id], because="a broken sensor")
    (dropped,) = readings.aside("dropped")
    assert dropped.note == "a broken sensor"
    unit = project.store.snapshot("main").units("raw.r")["in/b.csv"]
    assert (unit.ledger.dropped, unit.ledger.quarantined) == (1, 1)


def test_rows_are_set_aside_by_hand_and_an_undo_brings_them_back(readings: Readings) -> None:
    project = readings.project()
    with project.context() as ctx:
        commit, number = setaside.add(ctx, "main", "raw.r", where="id = 12", because="known to be wrong")
    assert number == 1
    assert 12 not in readings.rows()
    assert readings.aside()[-1].message == "known to be wrong"
    project.store.revert(commit, on="main")
    assert 12 in readings.rows()


def test_a_row_that_waited_for_its_reference_is_taken_when_it_arrives(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("id,customer\n" + "".join(f"{n},ana\n" for n in range(30)) + "99,bo\n")
    (tmp_path / "c.csv").write_text("name\nana\n")
    project = gm.Project(tmp_path)
    rule = gm.rules.references("customer", "raw.customers", "name", on_fail="quarantine")
    project.source("raw.orders", gm.files("o.csv"), rules=[rule])
    project.source("raw.customers", gm.files("c.csv"))
    assert project.run().ok
    assert project.store.snapshot("main").table("raw.orders").row_count == 30
    (tmp_path / "c.csv").write_text("name\nana\nbo\n")
    assert project.run().ok
    snapshot = project.store.snapshot("main")
    assert snapshot.table("raw.orders").row_count == 31
    assert [row.status for row in setaside.rows_of(snapshot, "raw.orders", status="all")] == ["fixed"]


@pytest.mark.parametrize("key", ["id", ()])
def test_rows_written_by_hand_move_into_quarantine_and_are_nowhere_twice(tmp_path: Path, key: str) -> None:
    """They have no unit and no record, and two of them may be equal."""
    (tmp_path / "in.csv").write_text("id,speed\n" + "".join(f"{n},{n}\n" for n in range(60)))

    def project(high: int) -> gm.Project:
        made = gm.Project(tmp_path)
        rule = gm.rules.between("speed", high=high, on_fail="quarantine")
        made.source("raw.r", gm.files("in.csv"), key=key, rules=[rule])
        return made

    assert project(100).run().ok
    by_hand = [(700, 90), (701, 95), (702, 20), *([] if key else [(701, 95), (50, 50)])]
    with project(100).store.begin("main") as tx:
        tx.append("raw.r", pa.table({"id": [row[0] for row in by_hand], "speed": [row[1] for row in by_hand]}))
    with project(100).context() as ctx:
        assert setaside.add(ctx, "main", "raw.r", where="id = 700", because="wrong")[1] == 1
    assert project(80).run().ok
    view = project(80).store.snapshot("main")
    there = [(row["id"], row["speed"]) for row in view.to_arrow("raw.r").to_pylist()]
    aside = [json.loads(row.cells or "") for row in setaside.rows_of(view, "raw.r")]
    moved = [row for row in by_hand if row[1] > 80]
    assert sorted(there) == sorted([*((n, n) for n in range(60)), *(row for row in by_hand if row[1] <= 80)])
    assert sorted((row["id"], row["speed"]) for row in aside) == sorted(moved)
