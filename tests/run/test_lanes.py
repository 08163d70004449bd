"""Stages side by side: what overlaps, where project code runs, and how errors and Ctrl-C end a run."""

import threading
from collections.abc import Callable
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import DataError
from gristmill.run import lanes
from gristmill.run.context import Context
from gristmill.run.planned import Step
from gristmill.run.stage import Progress

Stage = Callable[..., Progress]
THREADS: list[bool] = []


def main_thread(rows: pa.Table) -> pa.Table:
    THREADS.append(threading.current_thread() is threading.main_thread())
    return pa.table({"id": rows["id"]})


def wide(root: Path, *, tables: int = 2) -> gm.Project:
    """A project of one source and some tables beside each other."""
    (root / "landing").mkdir(exist_ok=True)
    (root / "landing" / "a.csv").write_text("id,x\n1,2\n2,3\n")
    (root / "gristmill.toml").write_text("[run]\nworkers = 4\n")
    project = gm.Project(root)
    raw = project.source("raw.a", gm.files("landing/*.csv"), key="id")
    for number in range(tables):

        def made(rows: ibis.Table, *, add: int = number) -> ibis.Table:
            return rows.mutate(x=rows.x + add)

        project.table(f"wide.t{number}", reads=[raw], key="id")(made)
    return project


def during(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], object]) -> None:
    """Call ``hook`` with the name of each stage as it begins."""
    real: Stage = lanes.run_stage

    def hooked(ctx: Context, run: str, step: Step, broken: set[str]) -> Progress:
        hook(step.name)
        return real(ctx, run, step, broken)

    monkeypatch.setattr(lanes, "run_stage", hooked)


def test_tables_that_do_not_read_each_other_are_made_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(2)
    during(monkeypatch, lambda name: name.startswith("wide") and meeting.wait(timeout=20))
    project = wide(tmp_path)
    assert project.run().ok
    snapshot = project.store.snapshot("main")
    assert [sorted(snapshot.to_arrow(f"wide.t{i}")["x"].to_pylist()) for i in (0, 1)] == [[2, 3], [3, 4]]


def test_code_of_the_project_runs_in_the_thread_that_asked(tmp_path: Path) -> None:
    THREADS.clear()
    project = wide(tmp_path, tables=3)
    for number in range(3):
        project.step(f"own.s{number}", reads=["raw.a"], key="id", schema={"id": "int64"})(main_thread)
    assert project.run().ok
    assert THREADS
    assert all(THREADS)


def test_the_first_error_ends_the_run_and_what_was_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        if name == "wide.t1":
            raise DataError("no good")

    project = wide(tmp_path, tables=4)
    with monkeypatch.context() as patch:
        during(patch, fail)
        with pytest.raises(DataError, match="no good"):
            project.run()
    assert project.run().ok
    assert all(f"wide.t{number}" in project.store.snapshot("main") for number in range(4))


def test_a_stop_by_the_user_is_recorded_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.run import records

    def stop(name: str) -> None:
        if name == "own.s":
            raise KeyboardInterrupt

    project = wide(tmp_path, tables=3)
    project.step("own.s", reads=["raw.a"], key="id", schema={"id": "int64"})(main_thread)
    with monkeypatch.context() as patch:
        during(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            project.run()
    assert next(iter(records.history(project.store, limit=1))).status == "stopped"
    assert project.run().ok


def test_stages_of_a_record_do_not_depend_on_which_ended_first(tmp_path: Path) -> None:
    project = wide(tmp_path, tables=6)
    record = project.run().record
    assert [stage.name for stage in record.stages] == ["raw.a", *(f"wide.t{number}" for number in range(6))]
