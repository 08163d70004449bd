"""Estimates come from what tables took before, in proportion to what they would read now."""

from gristmill.run.estimates import estimate, gathered
from gristmill.run.records import RunRecord, StageRecord


def run(name: str, **values: object) -> RunRecord:
    stage = StageRecord(name="t", kind="sql", mode="full", reason="", **values)  # type: ignore[arg-type]
    return RunRecord(run=name, on="main", base="", status="published", started_us=0, stages=(stage,))


def test_rows_and_time_grow_with_what_is_read() -> None:
    found = gathered([run("run/2", rows_in=100, rows=50, wall_s=2.0), run("run/1", rows_in=10, rows=9, wall_s=9.0)])
    assert estimate(found, "t", "full", 300) == (150, 6.0)
    assert estimate(found, "t", "train", 300) == (0, 0.0)
    assert estimate(found, "other", "full", 300) == (0, 0.0)


def test_the_error_of_past_estimates_is_their_median() -> None:
    runs = [run(f"run/{i}", rows_in=1, rows=1, wall_s=1.0, estimate_s=value) for i, value in enumerate((0.9, 2.0, 1.2))]
    assert gathered(runs).error is not None
    assert abs(gathered(runs).error - 0.2) < 1e-9  # type: ignore[operator]
    assert gathered([run("run/1", wall_s=1.0)]).error is None


def test_a_plan_says_what_a_new_unit_will_take(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    shop.land("day2.csv", "id,customer,amount\n4,bo,7\n5,bo,7\n6,bo,7\n")
    steps = {step.name: step for step in project.plan().steps}
    assert steps["raw.orders"].rows_in == 3
    assert steps["raw.orders"].rows_out == 6
    assert (steps["clean.orders"].rows_in, steps["clean.orders"].rows_out) == (6, 6)
    assert steps["clean.orders"].time_s > 0
