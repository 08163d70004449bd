"""Schedules: when runs are due over clock changes and pauses, what starts them, and files for other schedulers."""

import ast
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import gristmill as gm
from gristmill.define.settings import ScheduleSettings, read_settings
from gristmill.errors import DefinitionError, UsageError
from gristmill.run.schedule import Fired, Scheduler, check_schedules, missed, moments, only_one, start_run
from gristmill.run.schedule_files import schedule_file


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1e6)


def shown(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%m-%d %H:%M")


def test_a_daily_moment_stays_at_its_local_hour_when_clocks_change() -> None:
    ticks = moments(ScheduleSettings(cron="0 6 * * *", zone="Europe/Berlin"), us("2026-03-28T00:00:00+00:00"))
    assert [shown(next(ticks)) for _ in range(3)] == ["03-28 05:00", "03-29 04:00", "03-30 04:00"]


def test_a_doubled_hour_comes_once() -> None:
    ticks = moments(ScheduleSettings(cron="30 2 * * *", zone="Europe/Berlin"), us("2026-10-24T12:00:00+00:00"))
    assert [shown(next(ticks)) for _ in range(2)] == ["10-25 00:30", "10-26 01:30"]


@pytest.mark.parametrize(("policy", "count"), [("once", 1), ("all", 3), ("skip", 0)])
def test_moments_that_passed_are_caught_up_by_policy(policy: str, count: int) -> None:
    schedule = ScheduleSettings(cron="0 * * * *", catch_up=policy)  # type: ignore[arg-type]
    fired = Fired(at_us=us("2026-01-01T00:30:00+00:00"))
    assert len(missed(schedule, fired, us("2026-01-01T03:30:00+00:00"))) == count


class World:
    """A project with a clock and runs that a test holds in its hands."""

    def __init__(self, root: Path, toml: str) -> None:
        (root / "landing").mkdir()
        (root / "landing" / "1.csv").write_text("id,x\n1,2\n")
        (root / "gristmill.toml").write_text(toml)
        (root / "pipeline.py").write_text(
            "import gristmill as gm\nproject = gm.Project()\n"
            'raw = project.source("raw.t", gm.files("landing/*.csv"), key="id")\n'
            'project.sql("made.t", "select id, x + 1 as y from raw.t", reads=[raw], key="id")\n'
        )
        self.now, self.started = time.time_ns() // 1000, 0
        self.codes: list[int | None] = []
        self.project = gm.Project.load(root)
        self.scheduler = Scheduler(
            root, read_settings(root), self.project.store, start=self._start, clock=lambda: self.now
        )

    def _start(self, schedule: ScheduleSettings) -> int | None:
        self.started += 1
        if self.codes:
            return self.codes.pop(0)
        return 0 if self.project.run().ok else 1

    def turn(self, hours: float = 0) -> list[str]:
        self.now += round(hours * 3_600_000_000)
        return [self.scheduler.fire(due).status for due in self.scheduler.due()]


def test_cron_starts_once_per_moment_and_remembers_over_restarts(tmp_path: Path) -> None:
    world = World(tmp_path, '[schedule.hourly]\ncron = "0 * * * *"\n')
    assert world.turn() == []
    assert world.turn(1) == ["ok"]
    assert world.turn() == []
    again = Scheduler(tmp_path, read_settings(tmp_path), world.project.store, clock=lambda: world.now)
    assert again.due() == []
    assert world.turn(5) == ["ok"]


def test_what_broke_off_is_tried_again_and_what_was_refused_is_not(tmp_path: Path) -> None:
    world = World(tmp_path, '[schedule.hourly]\ncron = "0 * * * *"\nretries = 2\n')
    world.turn()
    world.codes = [3, 4, 0]
    assert (world.turn(1), world.started) == (["ok"], 3)
    world.codes = [1]
    assert (world.turn(1), world.started) == (["refused"], 4)
    world.codes = [None]
    assert (world.turn(1), world.started) == (["timeout"], 5)


def test_a_commit_by_somebody_else_starts_a_run_and_its_own_does_not(tmp_path: Path) -> None:
    world = World(tmp_path, '[schedule.follow]\non_commit = ["raw.hand"]\n')
    assert world.project.run().ok
    world.turn()
    main = gm.open(tmp_path / ".gristmill")["main"]
    import pyarrow as pa

    main.create_table("raw.hand", pa.schema([("id", pa.int64())]), key="id")
    assert world.turn(0.01) == ["ok"]
    assert world.turn(0.01) == []
    gm.open(tmp_path / ".gristmill")["main"]["raw.hand"].append(pa.table({"id": [1]}))
    assert world.turn(0.01) == ["ok"]


def test_new_files_start_a_run_and_failures_wait_longer_each_time(tmp_path: Path) -> None:
    world = World(tmp_path, "[schedule.files]\non_file = true\n")
    assert world.turn() == ["ok"]
    assert world.turn(1) == []
    (tmp_path / "landing" / "2.csv").write_text("id,x\n2,2\n")
    world.codes = [1]
    assert world.turn(1) == ["refused"]
    assert world.turn(1 / 3600) == []
    assert world.turn(1) == ["ok"]


def test_a_table_that_is_too_old_starts_a_run(tmp_path: Path) -> None:
    world = World(tmp_path, '[schedule.fresh]\nfresh = {"made.t" = "2h"}\n')
    assert world.turn() == ["ok"]
    assert world.turn(1.5) == []
    assert world.turn(1) == ["ok"]


def test_a_real_run_is_started_and_stopped_in_time(tmp_path: Path) -> None:
    world = World(tmp_path, "")
    assert start_run(tmp_path, ScheduleSettings(cron="* * * * *", select=("no.such",))) == 2
    assert start_run(tmp_path, ScheduleSettings(cron="* * * * *")) == 0
    assert "made.t" in world.project.store.snapshot("main")
    assert start_run(tmp_path, ScheduleSettings(cron="* * * * *", timeout="1ms")) is None


def test_two_loops_on_one_store_are_refused(tmp_path: Path) -> None:
    store = gm.open(tmp_path / "s", create=True)
    del store
    with only_one(tmp_path / "s"), pytest.raises(UsageError, match="another"), only_one(tmp_path / "s"):
        pass


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        (ScheduleSettings(), "GM-P042"),
        (ScheduleSettings(cron="61 * * * *"), "GM-P040"),
        (ScheduleSettings(cron="0 * * * *", zone="Europe/Atlantis"), "GM-P040"),
        (ScheduleSettings(fresh={"a.b": "soon"}), "GM-P041"),
        (ScheduleSettings(on_commit=("raw.flihgts",)), "GM-P043"),
    ],
)
def test_a_schedule_that_cannot_start_is_refused(schedule: ScheduleSettings, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        check_schedules({"x": schedule}, {"raw.flights", "a.b"})
    assert caught.value.code == code


SCHEDULES = {
    "nightly": ScheduleSettings(cron="*/15 6 * * 1-5", zone="Europe/Berlin", select=("a.b+",), timeout="2h", retries=1),
    "files": ScheduleSettings(on_file=True),
}


def test_files_for_other_schedulers(tmp_path: Path) -> None:
    def made(target: str) -> str:
        return schedule_file(target, SCHEDULES, root=tmp_path, program="gristmill")  # type: ignore[arg-type]

    assert "CRON_TZ=Europe/Berlin\n*/15 6 * * 1-5 flock" in made("cron")
    assert "OnCalendar=Mon..Fri *-*-* 6:0/15:00 Europe/Berlin" in made("systemd")
    assert "TimeoutStartSec=7200" in made("systemd")
    ast.parse(made("airflow"))
    workflow = YAML(typ="safe").load(made("github"))
    assert workflow["jobs"]["nightly"]["timeout-minutes"] == 120
    assert all("files: starts on" in made(target) for target in ("cron", "systemd", "airflow", "github"))
    with pytest.raises(UsageError, match="no schedule has a cron"):
        schedule_file("cron", {"files": SCHEDULES["files"]}, root=tmp_path, program="gristmill")
