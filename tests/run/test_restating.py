"""A stretch of a table computed again: the same rows as computing all of it, and nothing else touched."""

from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import UsageError
from gristmill.run.restating import load_backfill
from tests.programs import bag


def daily(root: Path, *, factor: int = 1, extra: bool = False, rules: tuple[object, ...] = ()) -> gm.Project:
    project = gm.Project(root)
    raw = project.source("raw.sales", gm.files("landing/*.csv"))

    @project.table("marts.daily", reads=[raw], key="day", rules=rules)  # type: ignore[arg-type]
    def marts(sales):  # type: ignore[no-untyped-def]
        made = sales.group_by("day").agg(total=(sales.amount * factor).sum(), most=sales.amount.max())
        return made.mutate(double=made.total * 2) if extra else made

    @project.table("marts.running", reads=[marts])
    def running(days):  # type: ignore[no-untyped-def]
        return days.mutate(so_far=days.total.sum().over(gm_window()))

    return project


def gm_window():  # type: ignore[no-untyped-def]
    import ibis

    return ibis.window(order_by="day", preceding=None, following=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "gristmill.toml").write_text('[project]\nname = "shop"\n')
    lines = [f"2026-01-{1 + i % 20:02d},{i}" for i in range(100)]
    (tmp_path / "landing" / "1.csv").write_text("day,amount\n" + "\n".join(lines) + "\n")
    assert daily(tmp_path).run().ok
    return tmp_path


def rows(project: gm.Project, name: str = "marts.daily"):  # type: ignore[no-untyped-def]
    return bag(project.store.snapshot("main").to_arrow(name))


def full(root: Path, **values: object):  # type: ignore[no-untyped-def]
    """What a full computation of everything gives, on a branch of its own."""
    project = daily(root, **values)  # type: ignore[arg-type]
    assert project.run(on="full").ok
    return bag(project.store.snapshot("full").to_arrow("marts.daily"))


def damage(root: Path) -> None:
    """Change two rows behind the definition's back."""
    store = daily(root).store
    there = store.snapshot("main").to_arrow("marts.daily").to_pylist()
    with store.begin("main", message="damage") as tx:
        for row in there[:2]:
            row["total"] = -1
        import pyarrow as pa

        tx.upsert("marts.daily", pa.Table.from_pylist(there[:2], tx.table("marts.daily").schema.to_arrow()))


def test_a_range_that_is_well_stays_as_it_is(root: Path) -> None:
    project = daily(root)
    before = project.store.snapshot("main").table("marts.daily").id
    result = project.run(["marts.daily"], between="day=2026-01-05..2026-01-08")
    assert result.ok
    assert project.store.snapshot("main").table("marts.daily").id == before
    assert daily(root).plan().empty


def test_damaged_rows_of_a_range_are_mended_and_no_others(root: Path) -> None:
    wanted = rows(daily(root))
    damage(root)
    bad = {
        row["day"]
        for row in daily(root).store.snapshot("main").to_arrow("marts.daily").to_pylist()
        if row["total"] == -1
    }
    first, second = sorted(bad)
    result = daily(root).run(["marts.daily"], between=f"day={first}..{second}")
    assert result.ok
    totals = {r["day"]: r["total"] for r in daily(root).store.snapshot("main").to_arrow("marts.daily").to_pylist()}
    assert [day for day, total in totals.items() if total == -1] == [second]
    assert daily(root).run(["marts.daily"], since=str(second)).ok
    assert rows(daily(root)) == wanted
    assert daily(root).run().ok
    assert daily(root).parity().ok


def test_a_changed_definition_is_brought_over_stretch_by_stretch(root: Path) -> None:
    wanted = full(root, factor=3)
    project = daily(root, factor=3)
    assert project.run(["marts.daily"], between="day=2026-01-03..2026-01-06").ok
    assert project.run(["marts.daily"], between="day=2026-01-10..").ok
    planned = {step.name: step for step in project.plan().steps}["marts.daily"]
    assert planned.mode == "full"
    assert "brought over so far: day 2026-01-03..2026-01-06, 2026-01-10.." in planned.reason
    found = load_backfill(project.store.snapshot("main"), "marts.daily")
    assert found is not None
    assert len(found.done) == 2
    old, new = rows(daily(root)), wanted
    assert len(old & new) == 3 + 11
    assert project.run(["marts.daily"], between="day=..2026-01-10").ok
    assert rows(project) == wanted
    assert load_backfill(project.store.snapshot("main"), "marts.daily") is None
    steps = {step.name: step for step in project.plan().steps}
    assert steps["marts.daily"].mode == "reuse"
    assert project.run().ok
    assert project.parity().ok


def test_new_rows_of_the_inputs_are_followed_first(root: Path) -> None:
    (root / "landing" / "2.csv").write_text("day,amount\n2026-01-02,500\n2026-02-01,7\n")
    project = daily(root)
    assert project.run(["+marts.daily"]).ok
    assert project.run(["marts.daily"], since="2026-01-15").ok
    assert daily(root).run().ok
    assert daily(root).parity().ok


@pytest.mark.parametrize(
    ("select", "asked", "words"),
    [
        ([], {"since": "2026-01-01"}, "a range is for named tables"),
        (["marts.daily"], {"since": "2026-01-01", "between": "day=1..2"}, "not both"),
        (["marts.daily"], {"between": "day"}, "is not a range"),
        (["marts.daily"], {"between": "dy=2026-01-01.."}, "has no column `dy`"),
        (["marts.daily"], {"between": "day=2026-01-05..2026-01-01"}, "nothing is from"),
        (["marts.daily"], {"since": "yesterday"}, "is not a date"),
        (["raw.sales"], {"since": "2026-01-01"}, "is a source"),
    ],
)
def test_what_makes_no_sense_is_refused(root: Path, select, asked, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=words):
        daily(root).run(select, **asked)


def test_other_columns_want_all_of_it(root: Path) -> None:
    with pytest.raises(UsageError, match="has other columns"):
        daily(root, extra=True).run(["marts.daily"], since="2026-01-05")


def test_no_row_of_a_changed_definition_goes_missing_where_rules_set_rows_aside(root: Path) -> None:
    rule = gm.rules.between("total", high=585, on_fail="quarantine")
    assert daily(root, rules=(rule,)).run().ok
    project = daily(root, factor=2, rules=(rule,))
    with pytest.raises(UsageError, match="rules set rows"):
        project.run(["marts.daily"], between="day=2026-01-18..2026-01-21")
    assert project.run(["marts.daily"], between="day=2026-01-01..2026-01-02").ok
    result = project.run()
    assert result.ok, result.record.findings
    found = project.store.snapshot("main")
    assert found.table("marts.daily").row_count + found.table("_quarantine.marts.daily").row_count == 20
    assert found.table("_quarantine.marts.daily").row_count
    with pytest.raises(UsageError, match="rules set rows"):
        daily(root, factor=3, rules=(rule,)).run(["marts.daily"], between="day=..")


@pytest.mark.parametrize("how", ["restored", "merged"])
def test_how_far_a_backfill_is_tells_nothing_of_another_state_of_the_table(root: Path, how: str) -> None:
    store = daily(root).store
    before = store.resolve("main")
    store.create_branch("side", at=before)
    on = "main" if how == "restored" else "side"
    assert daily(root, factor=2).run(["marts.daily"], between="day=2026-01-01..2026-01-11", on=on).ok
    if how == "restored":
        store.restore(before, on="main", tables=["marts.daily"])
    else:
        damage(root)
        store.merge("side", into="main")
        assert store.snapshot("main").document("backfills/marts.daily.json") is not None
    project = daily(root, factor=2)
    assert load_backfill(project.store.snapshot("main"), "marts.daily") is None
    assert project.run(["marts.daily"], between="day=2026-01-11..").ok
    assert not daily(root, factor=2).plan().empty
    assert daily(root, factor=2).run().ok
    assert rows(project) == full(root, factor=2)
