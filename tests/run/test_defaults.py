"""What is checked without being asked for: columns that come, go or turn null, text for numbers, copies, volume."""

from __future__ import annotations

from pathlib import Path

import pytest

import gristmill as gm
from gristmill.run.checking import Acceptance


class Feed:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "in").mkdir()
        self.day(1)

    def day(self, number: int, rows: int = 50, *, speed: str = "5", columns: str = "id,speed,note") -> None:
        names = columns.split(",")
        cells = {"id": "{n}", "speed": speed, "note": f"day{number} {{n}}", "extra": "x"}
        lines = [",".join(cells[name].format(n=number * 1000 + row) for name in names) for row in range(rows)]
        (self.root / "in" / f"d{number:02}.csv").write_text("\n".join([columns, *lines]) + "\n")

    def project(self) -> gm.Project:
        project = gm.Project(self.root)
        raw = project.source("raw.feed", gm.files("in/*.csv"))

        @project.table("clean.feed", reads=[raw])
        def clean(feed):  # type: ignore[no-untyped-def]
            return feed.select("id", "speed")

        return project

    def run(self) -> object:
        return self.project().run()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    made = Feed(tmp_path)
    assert made.project().run().ok
    return made


def kinds(result: object) -> list[str]:
    return [finding.rule.kind for finding in result.failures]  # type: ignore[attr-defined]


def warned(result: object) -> list[str]:
    return [finding.rule.kind for finding in result.record.findings if finding.outcome == "warn"]  # type: ignore[attr-defined]


def test_a_column_that_turns_null_blocks(feed: Feed) -> None:
    feed.day(2, speed="")
    result = feed.run()
    assert kinds(result) == ["turned_null"]
    assert "100.0% of 50 new rows are null" in result.failures[0].observed  # type: ignore[attr-defined]
    feed.day(2)
    assert feed.project().run().ok


def test_a_number_that_turns_text_blocks_and_says_was_now_file_and_example(feed: Feed) -> None:
    feed.day(2, speed="fast")
    result = feed.run()
    assert kinds(result) == ["type_changed"]
    (failure,) = result.failures  # type: ignore[attr-defined]
    assert failure.expected == "speed is int64, as before"
    assert failure.note == "in/d02.csv brings other values: 'fast' is no int64"
    assert str(failure.examples[0]) == "raw=2000,fast,day2 2000  (in/d02.csv:2)"


def test_a_column_that_is_gone_blocks_until_it_is_accepted(feed: Feed) -> None:
    feed.day(2, columns="id,speed")
    project = feed.project()
    result = project.run()
    assert kinds(result) == ["missing_column", "turned_null"]
    words = [
        Acceptance(table="raw.feed", rule=finding.rule.code, because="known", until="2999-01-01")
        for finding in result.failures
    ]
    assert project.publish(result.run, accept=words).ok
    assert project.store.snapshot("main").table("raw.feed").row_count == 100


def test_a_new_column_blocks_until_it_is_accepted_and_is_then_there(feed: Feed) -> None:
    feed.day(2, columns="id,speed,note,extra")
    project = feed.project()
    result = project.run()
    assert kinds(result) == ["new_column"]
    assert result.failures[0].observed == "in/d02.csv brings the column extra (string)"
    word = Acceptance(table="raw.feed", rule="new_column:extra", because="new", until="2999-01-01")
    assert project.publish(result.run, accept=[word]).ok
    rows = project.store.snapshot("main").to_arrow("raw.feed").to_pylist()
    assert {row["extra"] for row in rows} == {None, "x"}
    feed.day(3, columns="id,speed,note,extra")
    assert feed.project().run().ok


def test_a_copy_of_a_file_is_not_landed_again(feed: Feed) -> None:
    (feed.root / "in" / "copy.csv").write_bytes((feed.root / "in" / "d01.csv").read_bytes())
    project = feed.project()
    result = project.run()
    assert result.ok
    assert warned(result) == ["duplicate_load"]
    snapshot = project.store.snapshot("main")
    assert snapshot.table("raw.feed").row_count == 50
    ledger = snapshot.units("raw.feed")["in/copy.csv"].ledger
    assert (ledger.delivered, ledger.duplicate, ledger.balanced) == (50, 50, True)
    assert project.run().record.status == "unchanged"


def test_volume_is_learnt_then_warns(feed: Feed) -> None:
    feed.day(2)
    result = feed.run()
    notes = [finding.note for finding in result.record.findings if finding.rule.kind == "volume"]  # type: ignore[attr-defined]
    assert notes == ["learning (1 of 10)"]
    for number in range(3, 12):
        feed.day(number)
    assert warned(feed.run()) == []
    feed.day(12, rows=3)
    assert warned(feed.run()) == ["volume"]


def test_a_value_that_stands_for_nothing_warns(feed: Feed) -> None:
    feed.day(2, speed="-999")
    result = feed.run()
    assert result.ok  # type: ignore[attr-defined]
    assert warned(result) == ["stand_in"]


def test_history_is_taken_back_with_the_data(feed: Feed) -> None:
    project = feed.project()
    before = project.store.snapshot("main").document("history/raw.feed.json")
    feed.day(2)
    project.run()
    assert project.store.snapshot("main").document("history/raw.feed.json") != before
    project.store.revert("main", on="main")
    assert project.store.snapshot("main").document("history/raw.feed.json") == before


def test_a_join_that_multiplies_rows_warns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,x\n" + "".join(f"{n % 2},{n}\n" for n in range(10)))
    project = gm.Project(tmp_path)
    raw = project.source("raw.a", gm.files("a.csv"))

    @project.table("wide", reads=[raw])
    def wide(a):  # type: ignore[no-untyped-def]
        return a.join(a.view(), "k").select("k")

    result = project.run()
    assert result.ok
    assert warned(result) == ["fan_out"]


def test_a_null_in_a_table_of_one_row_proves_little() -> None:
    from gristmill.contracts.defaults import judge
    from gristmill.contracts.history import History, Profile

    once = History(profiles=(Profile(rows=1, nulls={"x": 0}),))
    assert not list(judge("a.b", Profile(rows=1, nulls={"x": 1}), once, source=False))
    often = History(profiles=(Profile(rows=1_000, nulls={"x": 0}),))
    found = [finding.rule.kind for finding in judge("a.b", Profile(rows=10, nulls={"x": 10}), often, source=False)]
    assert found[0] == "turned_null"


def test_a_new_folder_column_blocks_until_it_is_accepted_and_one_that_is_gone_too(feed: Feed) -> None:
    def project() -> gm.Project:
        made = gm.Project(feed.root)
        made.source("raw.feed", gm.files("in/**/*.csv"))
        return made

    (feed.root / "in" / "day=2").mkdir()
    feed.day(2)
    (feed.root / "in" / "d02.csv").rename(feed.root / "in" / "day=2" / "d02.csv")
    result = project().run()
    assert kinds(result) == ["new_column"]
    assert result.failures[0].observed == "in/day=2/d02.csv brings the column day (int64)"
    word = Acceptance(table="raw.feed", rule="new_column:day", because="new", until="2999-01-01")
    assert project().publish(result.run, accept=[word]).ok
    rows = project().store.snapshot("main").to_arrow("raw.feed").to_pylist()
    assert {(row["id"] // 1000, row["day"]) for row in rows} == {(1, None), (2, 2)}
    (feed.root / "in" / "day=3").mkdir()
    feed.day(3)
    (feed.root / "in" / "d03.csv").rename(feed.root / "in" / "day=3" / "d03.csv")
    assert project().run().ok
    feed.day(4)
    result = project().run()
    assert "missing_column" in kinds(result)
    assert result.failures[0].observed == "in/d04.csv has no column day"
