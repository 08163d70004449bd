"""What a plan says of size, memory, disk and time, of what breaks below, and what is decided again while running."""

from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import DefinitionError
from gristmill.run import fitting, sizing
from gristmill.run.planned import Step


def rows(start: int, count: int) -> str:
    return "id,customer,amount\n" + "".join(f"{i},c{i % 7},{i}\n" for i in range(start, start + count))


def totals(root: Path, *, drop: bool = False) -> gm.Project:
    project = gm.Project(root)
    raw = project.source("raw.orders", gm.files("landing/*.csv"), key="id")

    @project.table("clean.orders", reads=[raw], key="id")
    def clean(orders):  # type: ignore[no-untyped-def]
        return orders.drop("amount") if drop else orders.filter(orders.amount >= 0)

    @project.table("marts.medians", reads=[clean], key="customer")
    def medians(orders):  # type: ignore[no-untyped-def]
        return orders.group_by("customer").agg(m=orders.amount.median(), n=orders.count())

    return project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "gristmill.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "landing" / "1.csv").write_text(rows(0, 50))
    return tmp_path


def step(project: gm.Project, name: str) -> Step:
    return next(step for step in project.plan().steps if step.name == name)


def test_a_step_says_what_it_takes_and_how_good_that_was(root: Path) -> None:
    for number in range(3):
        (root / "landing" / f"{number}.csv").write_text(rows(100 * number, 50))
        assert totals(root).run().ok
    (root / "landing" / "9.csv").write_text(rows(900, 50))
    planned = step(totals(root), "clean.orders")
    assert planned.bytes_out > 0
    assert planned.judged == 2
    assert planned.off_by >= 1.0


def test_full_steps_say_memory_and_disk(root: Path) -> None:
    assert totals(root).run().ok
    project = totals(root)

    @project.table("marts.sums", reads=["clean.orders"])
    def sums(orders):  # type: ignore[no-untyped-def]
        return orders.group_by("customer").agg(n=orders.amount.sum())

    planned = step(project, "marts.sums")
    assert (planned.mode, planned.passes) == ("full", 1)
    assert planned.bytes_in == 50 * (16 + 40 + 8)
    assert planned.peak_bytes > 0


def test_a_column_that_is_gone_breaks_its_readers(root: Path) -> None:
    assert totals(root).run().ok
    changed = totals(root, drop=True)
    plan = {step.name: step for step in changed.plan().steps}
    assert plan["clean.orders"].breaks == (("marts.medians", "amount"),)
    assert plan["marts.medians"].mode == "broken"
    assert plan["marts.medians"].reason == "reads `amount` of clean.orders, which is gone"
    assert not changed.plan().empty
    with pytest.raises(DefinitionError) as caught:
        changed.run()
    assert "`amount` of clean.orders" in str(caught.value.hint)


def test_what_follows_is_decided_again_where_a_stage_is_off(root: Path) -> None:
    assert totals(root).run().ok
    (root / "landing" / "2.csv").write_text("id,customer,amount\n" + "".join(f"{i},c,{i}\n" for i in range(50, 60_000)))
    project = totals(root)
    planned = {step.name: step for step in project.plan().steps}
    assert planned["marts.medians"].mode == "touched"
    stages = {stage.name: stage for stage in project.run().record.stages}
    made = stages["marts.medians"]
    assert (made.planned, made.mode) == ("touched", "full")
    assert made.replanned.startswith("planned touched, done full: ")


def test_the_number_of_passes_is_taken_from_what_is_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "landing" / "1.csv").write_text(rows(0, 4000))
    monkeypatch.setattr(fitting, "memory_bytes", lambda ctx: 100_000)
    project = totals(root)
    assert step(project, "marts.medians").passes == 1  # nothing has landed: the rows are not known yet
    stages = {stage.name: stage for stage in project.run().record.stages}
    assert "pieces in this process" in stages["marts.medians"].pieces
    assert stages["clean.orders"].pieces == ""
    report = project.parity()
    assert report.ok


def test_advice_comes_only_where_the_size_comes_near(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = totals(root)
    assert project.run().ok
    assert project.plan().plan.advice == ()
    large = Step(name="marts.t", kind="table", mode="full", reason="", bytes_in=60_000_000_000)
    small = Step(name="marts.s", kind="table", mode="full", reason="", bytes_in=6_000_000_000)
    with project.context() as ctx:
        words = sizing.advice(ctx, [large, small])
    assert len(words) == 1
    assert words[0].startswith("marts.t reads about 60.0 GB: up to about 100.0 GB this machine is the quickest")
