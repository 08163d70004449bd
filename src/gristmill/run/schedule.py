"""When runs are due, and the small loop that starts them: cron with a zone, on commit, on file, on freshness.

A schedule is a table of ``gristmill.toml``; what was started last is a small record beside the history, so that a
loop that was down knows what it missed. Runs are processes of their own, one at a time. Times are in microseconds
since 1970, UTC.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from gristmill.define import Settings
from gristmill.define.settings import ScheduleSettings, branch_of
from gristmill.errors import DefinitionError, UsageError
from gristmill.run.cron import ticks
from gristmill.run.records import history

if TYPE_CHECKING:
    from gristmill.store import Store

KIND = "schedule"
POLL_S = 5.0
"""How often commits, files and freshness are looked at."""

_LATE_US = 60_000_000
_MOST_AT_ONCE = 1_000
_LONGEST_PAUSE_S = 3_600
_AGAIN = (3, 4)
"""Exit codes of runs that broke off, and may go better another time; 1 is a refusal, 2 a mistake."""


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a schedule's last run.

    Args:
        at_us: the time up to which its moments are dealt with.
        head: the branch's commit after that run.
        started_us, finished_us: when it ran.
        status: ``ok``, ``refused``, ``failed``, ``timeout``; empty where it never ran.
        reason: why it was started.
        failures: how many times in a row it did not go well.
    """

    at_us: int
    head: str = ""
    started_us: int = 0
    finished_us: int = 0
    status: str = ""
    reason: str = ""
    failures: int = 0


class Due(msgspec.Struct, frozen=True):
    """A run that should start: of which schedule, why, and up to which time that deals with its moments."""

    name: str
    reason: str
    at_us: int


def moments(schedule: ScheduleSettings, after_us: int) -> Iterator[int]:
    """Yield the moments of a cron schedule after a time; see ``ticks``.

    >>> next(moments(ScheduleSettings(cron="30 2 * * *", zone="Europe/Berlin"), 1_774_656_000_000_000)) / 1e6
    1774661400.0
    """
    if schedule.cron is None:
        return
    try:
        found = ticks(schedule.cron, schedule.zone, after_us)
    except ValueError as error:
        raise DefinitionError(
            f'cron = "{schedule.cron}", zone = "{schedule.zone}" cannot be read: {error}',
            code="GM-P040",
            where="gristmill.toml",
            hint='five fields and a zone, such as cron = "0 6 * * 1-5" and zone = "Europe/Berlin"',
        ) from error
    yield from found


def next_us(schedule: ScheduleSettings, now_us: int) -> int | None:
    """Return the next moment of a cron schedule; None where it has none."""
    return next(moments(schedule, now_us), None)


def missed(schedule: ScheduleSettings, fired: Fired, now_us: int) -> list[int]:
    """Return the moments that are due, by the catch-up policy, the oldest first."""
    passed: list[int] = []
    for moment in moments(schedule, fired.at_us):
        if moment > now_us or len(passed) >= _MOST_AT_ONCE:
            break
        passed.append(moment)
    if schedule.catch_up == "all":
        return passed
    if schedule.catch_up == "skip":
        passed = [moment for moment in passed if now_us - moment <= _LATE_US]
    return passed[-1:]


class Scheduler:
    """Decides what is due for one project and starts it.

    Args:
        root: the project's folder.
        settings: its settings.
        store: its store.
        start: starts a run and returns its exit code; None stands for one that took too long.
        clock: gives the time in microseconds.
        environment: the ``[env.NAME]`` in use.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        store: Store,
        *,
        start: Callable[[ScheduleSettings], int | None] | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        environment: str | None = None,
    ) -> None:
        self.root, self.settings, self.store, self.clock = root, settings, store, clock
        self.start = start or (lambda schedule: start_run(root, schedule, environment))

    def fired(self, name: str) -> Fired:
        """Return what is known of a schedule's last run; its moments count from the first time that it is seen."""
        data = self.store.records.get(KIND, name)
        if data:
            return msgspec.json.decode(data, type=Fired)
        seen = Fired(at_us=self.clock(), head=self._head(self.settings.schedule[name]))
        self.store.records.put(KIND, name, msgspec.json.encode(seen))
        return seen

    def _head(self, schedule: ScheduleSettings) -> str:
        branch = branch_of(self.settings, schedule.on)
        return self.store.resolve(branch) if branch in self.store.branches() else ""

    def due(self) -> list[Due]:
        """Return the runs that should start now, in the order of the settings."""
        now = self.clock()
        found: list[Due] = []
        for name, schedule in self.settings.schedule.items():
            fired = self.fired(name)
            if now < _not_before(fired):
                continue
            times = missed(schedule, fired, now)
            if times:
                found += [Due(name, _moment_words(at, schedule), at) for at in times]
            elif reason := self._changed(schedule, fired) or self._new_files(schedule) or self._old(schedule, fired):
                found.append(Due(name, reason, now))
        return found

    def _changed(self, schedule: ScheduleSettings, fired: Fired) -> str:
        head = self._head(schedule) if schedule.on_commit else ""
        if not head or head == fired.head:
            return ""
        if not fired.head:
            return f"first commit {head[:7]}"
        changed = self.store.diff(fired.head, head).tables
        hit = [name for name in schedule.on_commit if name in changed]
        return f"{hit[0]} changed in {head[:7]}" if hit else ""

    def _new_files(self, schedule: ScheduleSettings) -> str:
        from gristmill.run.unchanged import recall

        if not schedule.on_file:
            return ""
        branch = branch_of(self.settings, schedule.on)
        same = recall(self.store, self.root, self.settings, on=branch, parameters={}, select=schedule.select)
        return "" if same is not None else "something is new"

    def _old(self, schedule: ScheduleSettings, fired: Fired) -> str:
        branch, now = branch_of(self.settings, schedule.on), self.clock()
        for table, within in schedule.fresh.items():
            good = [
                record.finished_us
                for record in history(self.store, limit=50)
                if record.on == branch and record.status in ("published", "unchanged")
                if any(stage.name == table for stage in record.stages)
            ]
            last = max([*good, fired.finished_us if fired.status == "ok" else 0])
            if now - last > duration_us(within):
                return f"{table} is older than {within}"
        return ""

    def fire(self, due: Due) -> Fired:
        """Start a run, wait for it, and note what became of it; what broke off is tried again."""
        schedule, before = self.settings.schedule[due.name], self.fired(due.name)
        started = self.clock()
        for _ in range(schedule.retries + 1):
            code = self.start(schedule)
            if code is None or code not in _AGAIN:
                break
        status = "timeout" if code is None else {0: "ok", 1: "refused"}.get(code, "failed")
        after = Fired(
            at_us=max(due.at_us, before.at_us),
            head=self._head(schedule),
            started_us=started,
            finished_us=self.clock(),
            status=status,
            reason=due.reason,
            failures=0 if status == "ok" else before.failures + 1,
        )
        self.store.records.put(KIND, due.name, msgspec.json.encode(after))
        return after

    def wait_s(self) -> float:
        """Return how long nothing can become due: until the next moment, or the next look."""
        now = self.clock()
        schedules = self.settings.schedule.values()
        looks = any(schedule.on_commit or schedule.on_file or schedule.fresh for schedule in schedules)
        times = [at for schedule in schedules if (at := next_us(schedule, now)) is not None]
        until = (min(times) - now) / 1e6 if times else _LONGEST_PAUSE_S
        return max(0.05, min(until, POLL_S if looks else _LONGEST_PAUSE_S))


def _not_before(fired: Fired) -> int:
    """Return when a schedule that does not go well may start again: after a pause that doubles."""
    if not fired.failures:
        return 0
    pause_s = min(POLL_S * 2.0**fired.failures, _LONGEST_PAUSE_S)
    return fired.finished_us + round(pause_s * 1e6)


def _moment_words(at_us: int, schedule: ScheduleSettings) -> str:
    return datetime.fromtimestamp(at_us / 1e6, ZoneInfo(schedule.zone)).strftime("%Y-%m-%d %H:%M %Z")


def duration_us(text: str) -> int:
    """Return a duration of the settings, such as ``2h``, in microseconds."""
    from gristmill.algebra.asof import parse_duration_us

    try:
        return int(parse_duration_us(text))
    except DefinitionError as error:
        raise DefinitionError(error.message, code="GM-P041", where="gristmill.toml", hint=error.hint) from error


def command_of(schedule: ScheduleSettings, environment: str | None = None) -> list[str]:
    """Return the arguments of ``gristmill`` that a schedule runs.

    >>> command_of(ScheduleSettings(select=("marts.daily+",), on="main"))
    ['run', 'marts.daily+', '--on', 'main']
    """
    words = ["run", *schedule.select]
    words += ["--on", schedule.on] if schedule.on else []
    return words + (["--env", environment] if environment else [])


def start_run(root: Path, schedule: ScheduleSettings, environment: str | None = None) -> int | None:
    """Run ``gristmill run`` in a process of its own; None where it took too long and was stopped."""
    seconds = duration_us(schedule.timeout) / 1e6 if schedule.timeout else None
    command = [sys.executable, "-m", "gristmill", *command_of(schedule, environment), "--project", str(root)]
    try:
        return int(subprocess.run(command, timeout=seconds, check=False).returncode)
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def only_one(store: Path) -> Iterator[None]:
    """Be the only loop on a store.

    Raises UsageError where another one is at work.
    """
    handle = os.open(store / "locks" / "schedule", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                "another `gristmill schedule run` is at work on this store",
                code="GM-U040",
                where=str(store),
                hint="one loop is enough: it starts the runs of all schedules",
            ) from error
        yield
    finally:
        os.close(handle)


def check_schedules(schedules: Mapping[str, ScheduleSettings], tables: set[str]) -> None:
    """Refuse schedules that could never start a run.

    Args:
        schedules: by name.
        tables: the tables that the store knows; ``on_commit`` and ``fresh`` may name others only while it is empty.

    Raises DefinitionError, naming the schedule.
    """
    from gristmill.errors import did_you_mean

    for name, schedule in schedules.items():
        where = f"gristmill.toml [schedule.{name}]"
        if not (schedule.cron or schedule.on_commit or schedule.on_file or schedule.fresh):
            raise DefinitionError(
                f"schedule `{name}` never starts: it has no cron, on_commit, on_file or fresh",
                code="GM-P042",
                where=where,
                hint='for example cron = "0 6 * * *"',
            )
        next_us(schedule, 0)
        for text in (*schedule.fresh.values(), *([schedule.timeout] if schedule.timeout else [])):
            duration_us(text)
        for table in (*schedule.on_commit, *schedule.fresh):
            if tables and table not in tables:
                raise DefinitionError(
                    f"schedule `{name}` waits for `{table}`, which is not in the store",
                    code="GM-P043",
                    where=where,
                    hint=did_you_mean(table, sorted(tables)) or "mend the name, or run once first",
                )
