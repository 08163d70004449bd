"""Schedules for other schedulers: crontab lines, systemd timers, an Airflow DAG, a GitHub workflow. Text only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gristmill.define.settings import ScheduleSettings
from gristmill.errors import UsageError
from gristmill.run.schedule import command_of, duration_us

Target = Literal["cron", "systemd", "airflow", "github"]


def schedule_file(target: Target, schedules: Mapping[str, ScheduleSettings], *, root: Path, program: str) -> str:
    """Return what to give to another scheduler.

    Args:
        target: which one.
        schedules: by name; those without ``cron`` are left out, with a comment.
        root: the project's folder.
        program: how ``gristmill`` is called there.

    Raises UsageError where no schedule has a ``cron``.
    """
    timed = {name: schedule for name, schedule in schedules.items() if schedule.cron}
    if not timed:
        raise UsageError(
            "no schedule has a cron to write down",
            code="GM-U041",
            where="gristmill.toml",
            hint="on_commit, on_file and fresh are kept by `gristmill schedule run`",
        )
    write = {"cron": _cron, "systemd": _systemd, "airflow": _airflow, "github": _github}[target]
    return write(timed, sorted(schedules.keys() - timed.keys()), root, program)


def _words(schedule: ScheduleSettings, root: Path | None, program: str) -> str:
    words = [*shlex.split(program), *command_of(schedule), *(["--project", str(root)] if root else [])]
    return shlex.join(words)


def _left_out(names: list[str]) -> str:
    return "".join(
        f"# {name}: starts on commits, files or age; keep it with `gristmill schedule run`\n" for name in names
    )


def _cron(timed: Mapping[str, ScheduleSettings], others: list[str], root: Path, program: str) -> str:
    text = "# crontab; CRON_TZ is known to cronie and fcron, other crons use the machine's zone\n" + _left_out(others)
    for name, schedule in timed.items():
        limit = f"timeout {duration_us(schedule.timeout) // 1_000_000} " if schedule.timeout else ""
        lock = f"flock -n {shlex.quote(str(root / '.gristmill-schedule.lock'))} "
        command = f"{lock}{limit}{_words(schedule, root, program)}".replace("%", r"\%")
        text += f"# {name}\nCRON_TZ={schedule.zone}\n{schedule.cron} {command}\n"
    return text


_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def _calendar(schedule: ScheduleSettings) -> str:
    """Return cron's five fields as a systemd calendar expression."""
    minute, hour, day, month, weekday = (schedule.cron or "").split()
    days = "" if weekday == "*" else ",".join(_day_range(part) for part in weekday.split(",")) + " "
    date = f"*-{_field(month)}-{_field(day)}"
    return f"{days}{date} {_field(hour)}:{_field(minute)}:00 {schedule.zone}"


def _field(text: str) -> str:
    return text.replace("*/", "0/").replace("-", "..") if text != "*" else "*"


def _day_range(part: str) -> str:
    ends = [_DAYS[int(end) % 7] if end.isdigit() else end.title() for end in part.split("-")]
    return "..".join(ends)


def _systemd(timed: Mapping[str, ScheduleSettings], others: list[str], root: Path, program: str) -> str:
    text = "# one .service and one .timer per schedule; put them into ~/.config/systemd/user\n" + _left_out(others)
    for name, schedule in timed.items():
        seconds = f"TimeoutStartSec={duration_us(schedule.timeout) // 1_000_000}\n" if schedule.timeout else ""
        persistent = "false" if schedule.catch_up == "skip" else "true"
        text += (
            f"\n# gristmill-{name}.service\n[Unit]\nDescription=gristmill {name}\n\n[Service]\nType=oneshot\n"
            f"WorkingDirectory={root}\nExecStart={_words(schedule, root, program)}\n{seconds}"
            f"\n# gristmill-{name}.timer\n[Timer]\nOnCalendar={_calendar(schedule)}\nPersistent={persistent}\n"
            "\n[Install]\nWantedBy=timers.target\n"
        )
    return text


def _airflow(timed: Mapping[str, ScheduleSettings], others: list[str], root: Path, program: str) -> str:
    text = (
        '"""Runs of a gristmill project, one DAG per schedule."""\n\n'
        "import datetime\n\nimport pendulum\nfrom airflow.providers.standard.operators.bash import BashOperator\n"
        "from airflow.sdk import DAG\nfrom airflow.timetables.trigger import CronTriggerTimetable\n\n"
        + _left_out(others)
    )
    for name, schedule in timed.items():
        start = f"pendulum.datetime(2024, 1, 1, tz={schedule.zone!r})"
        limit = (
            f"datetime.timedelta(seconds={duration_us(schedule.timeout) // 1_000_000})" if schedule.timeout else "None"
        )
        text += (
            f"\nwith DAG(\n    {f'gristmill_{name}'!r},\n"
            f"    schedule=CronTriggerTimetable({schedule.cron!r}, timezone={schedule.zone!r}),\n"
            f"    start_date={start},\n    catchup={schedule.catch_up == 'all'},\n    max_active_runs=1,\n):\n"
            f"    BashOperator(\n        task_id='run',\n        bash_command={_words(schedule, root, program)!r},\n"
            f"        retries={schedule.retries},\n        execution_timeout={limit},\n    )\n"
        )
    return text


def _github(timed: Mapping[str, ScheduleSettings], others: list[str], root: Path, program: str) -> str:
    text = "# .github/workflows/gristmill.yaml; GitHub reads cron in UTC, so zones other than UTC are marked\n"
    text += _left_out(others) + "name: gristmill\non:\n  workflow_dispatch:\n  schedule:\n"
    for name, schedule in timed.items():
        zone = "" if schedule.zone == "UTC" else f"; meant in {schedule.zone}"
        text += f"    - cron: '{schedule.cron}'  # {name}{zone}\n"
    text += "concurrency: gristmill\njobs:\n"
    for name, schedule in timed.items():
        limit = max(1, duration_us(schedule.timeout) // 60_000_000) if schedule.timeout else 0
        minutes = f"    timeout-minutes: {limit}\n" if limit else ""
        wanted = f"github.event_name == 'workflow_dispatch' || github.event.schedule == '{schedule.cron}'"
        text += (
            f"  {name}:\n    if: {wanted}\n"
            f"    runs-on: ubuntu-latest\n{minutes}    steps:\n      - uses: actions/checkout@v4\n"
            "      - uses: actions/setup-python@v5\n        with: {python-version: '3.12'}\n"
            f"      - run: pip install gristmill\n      - run: {_words(schedule, None, program)}\n"
        )
    return text
