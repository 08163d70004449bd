"""Steps: frames by annotation, chunks and workers with the same rows, grains that are tested, retries."""

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import DataError, DefinitionError, EngineError
from gristmill.model.events import Event, Retrying
from gristmill.run import steps

PIPELINE = """
import os
import pyarrow as pa
import pyarrow.compute as pc
import gristmill as gm

project = gm.Project()
raw = project.source("raw.numbers", gm.files("landing/*.csv"), key="id")

@project.step("twice.numbers", reads=[raw], schema={"id": "int64", "twice": "int64"}, key="id", per="row")
def twice(numbers: pa.Table, *, factor: int = 2) -> pa.Table:
    print("this goes to the terminal, not into the protocol")
    return pa.table({"id": numbers["id"], "twice": pc.multiply(numbers["x"], factor)})

@project.step("best.numbers", reads=[raw], schema={"g": "int64", "best": "int64"}, key="g", per="group")
def best(numbers: pa.Table) -> pa.Table:
    made = numbers.group_by("g").aggregate([("x", "max")])
    return pa.table({"g": made["g"], "best": made["x_max"]})
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    rows = "".join(f"{i},{i % 7},{i * i % 101}\n" for i in range(1000))
    (tmp_path / "landing" / "a.csv").write_text("id,g,x\n" + rows)
    (tmp_path / "gristmill.toml").write_text("[run]\nworkers = 2\n")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def digests(root: Path, on: str) -> dict[str, str]:
    project = gm.Project.load(root)
    assert project.run(on=on).ok
    snapshot = project.store.snapshot(on)
    for key, _ in list(project.store.records.items("memo")):
        project.store.records.delete("memo", key)
    return {name: snapshot.digest(name) for name in ("twice.numbers", "best.numbers")}


def test_chunks_and_workers_give_the_same_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    at_once = digests(root, "one")
    monkeypatch.setattr(steps, "CHUNK_ROWS", 64)
    by_workers = digests(root, "two")
    assert by_workers == at_once


def test_a_worker_that_dies_is_an_error_that_may_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    monkeypatch.setattr(steps, "CHUNK_ROWS", 64)
    text = PIPELINE.replace(
        "    print(", "    if os.environ.get('DIE') and numbers.num_rows == 64: os._exit(7)\n    print("
    )
    (root / "pipeline.py").write_text(text)
    (root / "gristmill.toml").write_text("[run]\nworkers = 2\nretries = 0\n")
    monkeypatch.setenv("DIE", "1")
    with pytest.raises(EngineError, match="exit code 7"):
        gm.Project.load(root).run()


def one_step(tmp_path: Path, function, **options) -> gm.Project:  # type: ignore[no-untyped-def]
    (tmp_path / "landing").mkdir(exist_ok=True)
    (tmp_path / "landing" / "a.csv").write_text("id,x\n1,5\n2,6\n3,7\n")
    project = gm.Project(tmp_path)
    raw = project.source("raw.a", gm.files("landing/*.csv"))
    project.step("made.a", reads=[raw], schema={"id": "int64", "x": "float64"}, **options)(function)
    return project


def pandas_step(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(x=rows.x * 1.5)


def polars_step(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("x") * 1.5)


def arrow_step(rows: pa.Table) -> pa.Table:
    return pa.table({"id": rows["id"], "x": [value * 1.5 for value in rows["x"].to_pylist()]})


def batch_step(rows: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": rows["id"], "x": [value * 1.5 for value in rows["x"].to_pylist()]})


@pytest.mark.parametrize("function", [pandas_step, polars_step, arrow_step, batch_step])
def test_a_step_gets_the_frame_it_is_annotated_with(tmp_path: Path, function) -> None:  # type: ignore[no-untyped-def]
    project = one_step(tmp_path, function)
    assert project.run().ok
    assert sorted(project.store.snapshot("main").to_arrow("made.a")["x"].to_pylist()) == [7.5, 9.0, 10.5]


def shares(rows: pa.Table) -> pa.Table:
    total = sum(rows["x"].to_pylist())
    return pa.table({"id": rows["id"], "x": [value / total for value in rows["x"].to_pylist()]})


def test_a_step_that_is_not_per_row_as_it_says_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="per row, but gives other rows") as caught:
        one_step(tmp_path, shares, per="row").run()
    assert caught.value.code == "GM-P024"
    assert one_step(tmp_path, shares, per="table").run().ok


def wrong_columns(rows: pa.Table) -> pa.Table:
    return pa.table({"id": rows["id"], "y": rows["x"]})


def test_other_columns_than_declared_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing x; unknown y"):
        one_step(tmp_path, wrong_columns).run()


def test_an_error_that_may_pass_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.run import stage

    monkeypatch.setattr(stage, "_PAUSE_S", 0.001)
    failures = iter([EngineError("the line is down", retryable=True)] * 2)

    def flaky(rows: pa.Table) -> pa.Table:
        for failure in failures:
            raise failure
        return pa.table({"id": rows["id"], "x": rows["x"]})

    events: list[Event] = []
    assert one_step(tmp_path, flaky).run(listener=events.append).ok
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 2]
