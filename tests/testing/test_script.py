"""The test kit plays deliveries, edits, crashes and a clock, and proves what comes of it."""

import datetime as dt
from pathlib import Path

import ibis
import pytest

import gristmill as gm
from gristmill.errors import CheckFailed, UsageError
from gristmill.testing import Script


def shop(root: Path) -> gm.Project:
    project = gm.Project(root)
    orders = project.source("raw.orders", gm.files("landing/*"), key="id")

    @project.table("marts.totals", reads=[orders], key="who")
    def totals(t: ibis.Table) -> ibis.Table:
        return t.group_by("who").agg(n=t.count(), total=t.amount.sum())

    @project.table("marts.stamped", reads=[orders], key="id")
    def stamped(t: ibis.Table) -> ibis.Table:
        return t.select("id", made=gm.run_time())

    return project


@pytest.mark.parametrize("event", range(1, 9))
def test_a_crash_at_any_event_loses_and_doubles_nothing(tmp_path: Path, event: int) -> None:
    script = Script(shop, tmp_path)
    script.deliver("landing/1.parquet", [{"id": 1, "who": "ana", "amount": 0.1}])
    assert script.run()
    script.deliver("landing/2.parquet", [{"id": 2, "who": "ana", "amount": 0.2}, {"id": 3, "who": "bo", "amount": 1.0}])
    script.run(crash_after=event)
    script.edit("raw.orders", upsert=[{"id": 4, "who": "bo", "amount": 2.0}], delete=[{"id": 1}])
    assert script.run()
    assert script.rows("marts.totals") == [
        {"who": "ana", "n": 1, "total": 0.2},
        {"who": "bo", "n": 2, "total": 3.0},
    ]
    script.prove()


def test_the_clock_and_damage(tmp_path: Path) -> None:
    script = Script(shop, tmp_path)
    noon = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
    script.at(noon)
    script.deliver("landing/1.parquet", [{"id": 1, "who": "ana", "amount": 0.1}])
    script.run()
    assert [row["made"] for row in script.rows("marts.stamped")] == [noon]
    with pytest.raises(UsageError, match="zone"):
        script.at(dt.datetime(2026, 1, 2))
    script.edit("marts.totals", upsert=[{"who": "ana", "n": 7, "total": 7.0}])
    with pytest.raises(CheckFailed, match="1 of 2 tables"):
        script.prove()
