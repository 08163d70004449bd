"""Estimates come from what tables took before, in proportion to what they would read now."""

from gristmill.run.estimates import Bytes, estimate, estimate_bytes, gathered
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
    time, memory, disk = gathered(runs).off_by("t")
    assert (round(time.factor, 9), time.stages) == (1.2, 3)
    assert (memory.share, disk.share) == (None, None)
    assert gathered([run("run/1", wall_s=1.0)]).off_by()[0].share is None


def test_memory_and_disk_are_the_median_of_what_was_taken() -> None:
    mega = 1_000_000
    took = [(500, 4), (90, 2), (100, 3), (10_000, 90)]
    runs = [
        run(f"run/{i}", rows_in=100, rows=50, peak_bytes=p * mega, disk_bytes=mega, written_bytes=w * mega)
        for i, (p, w) in enumerate(took)
    ]
    found = gathered([run("run/9", rows_in=100), *runs])
    assert estimate_bytes(found, "t", "full", 100) == Bytes(100 * mega, mega, 3 * mega)
    twice = estimate_bytes(found, "t", "full", 200)
    assert twice == Bytes((16 + 2 * 84) * mega, 2 * mega, 6 * mega), "what does not grow with rows is not doubled"
    assert estimate_bytes(found, "t", "train", 200) is None
    assert estimate_bytes(found, "other", "full", 200) is None


def test_memory_and_disk_of_a_stage_are_seen_learned_and_judged(shop) -> None:  # type: ignore[no-untyped-def]
    shop.land("day1.csv", "id,customer,amount\n" + "".join(f"{i},c{i % 7},{i}\n" for i in range(200_000)))
    project = shop.project()
    assert project.run().ok
    shop.land("day2.csv", "id,customer,amount\n" + "".join(f"{i},c{i % 7},{i}\n" for i in range(200_000, 400_000)))
    (planned,) = [step for step in project.plan().steps if step.name == "raw.orders"]
    assert planned.peak_bytes > 1_000_000
    assert planned.disk_bytes > 100_000
    record = project.run().record
    (stage,) = [stage for stage in record.stages if stage.name == "raw.orders"]
    assert (stage.planned_peak_bytes, stage.planned_disk_bytes) == (planned.peak_bytes, planned.disk_bytes)
    assert stage.peak_bytes > 1_000_000
    assert 0.5 < stage.written_bytes / planned.disk_bytes < 2
    shop.land("day3.csv", "id,customer,amount\n" + "".join(f"{i},c{i % 7},{i}\n" for i in range(400_000, 600_000)))
    plan = project.plan()
    (judged,) = [step for step in plan.steps if step.name == "raw.orders"]
    assert (judged.peak_judged, judged.disk_judged) == (1, 1)
    assert judged.disk_off_by < 2
    assert plan.plan.memory_error is not None
    assert plan.plan.disk_error is not None


def test_a_plan_says_what_a_new_unit_will_take(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    shop.land("day2.csv", "id,customer,amount\n4,bo,7\n5,bo,7\n6,bo,7\n")
    steps = {step.name: step for step in project.plan().steps}
    assert steps["raw.orders"].rows_in == 3
    assert steps["raw.orders"].rows_out == 6
    assert (steps["clean.orders"].rows_in, steps["clean.orders"].rows_out) == (6, 6)
    assert steps["clean.orders"].time_s > 0
