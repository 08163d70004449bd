"""``gristmill schedule``: what runs when, the loop that starts it, and the same for other schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import find_root, json_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.run.schedule import Scheduler


@click.group("schedule", invoke_without_command=True)
@click.option(
    "--print",
    "target",
    type=click.Choice(["cron", "systemd", "airflow", "github"]),
    help="write the schedules for another scheduler, and run nothing",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="write it to a file")
@project_options
@json_option
@click.pass_context
def command(
    context: click.Context,
    target: str | None,
    out: Path | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """List the schedules of gristmill.toml: what starts them, when next, and how the last run went.

    \b
    gristmill schedule
    gristmill schedule run
    gristmill schedule --print systemd
    """
    if context.invoked_subcommand is not None:
        return
    scheduler = _scheduler(folder, environment)
    if target is not None:
        _print(scheduler, target, out)
    elif as_json:
        _list_json(scheduler)
    else:
        _list(scheduler)


@command.command("run")
@click.option("--once", is_flag=True, help="start what is due now, then end")
@project_options
def run(once: bool, folder: Path | None, environment: str | None) -> None:
    """Start runs when they are due, one at a time, until Ctrl-C. Run it under systemd, in a container, or in tmux."""
    import time

    from gristmill.cli.output import say
    from gristmill.run.schedule import only_one

    scheduler = _scheduler(folder, environment)
    with only_one(scheduler.store.path):
        say(f"{len(scheduler.settings.schedule)} schedules; Ctrl-C ends")
        while True:
            for due in scheduler.due():
                say(f"{due.name}: {due.reason}")
                fired = scheduler.fire(due)
                say(f"{due.name}: {fired.status} after {(fired.finished_us - fired.started_us) / 1e6:.1f} s")
            if once:
                return
            time.sleep(scheduler.wait_s())


def _scheduler(folder: Path | None, environment: str | None) -> Scheduler:
    from gristmill.errors import UsageError
    from gristmill.run.schedule import Scheduler, check_schedules

    store, settings = open_store(folder, environment)
    if not settings.schedule:
        raise UsageError(
            "gristmill.toml has no [schedule.NAME]",
            code="GM-U042",
            hint='write [schedule.nightly] with cron = "0 6 * * *" and zone = "Europe/Berlin"',
        )
    known = set(store.snapshot("main").tables()) if "main" in store.branches() else set()
    check_schedules(settings.schedule, known)
    return Scheduler(find_root(folder), settings, store, environment=environment)


def _print(scheduler: Scheduler, target: str, out: Path | None) -> None:
    import shutil
    import sys

    from gristmill.cli.output import say
    from gristmill.run.schedule_files import schedule_file

    program = "gristmill" if target == "github" else shutil.which("gristmill") or f"{sys.executable} -m gristmill"
    text = schedule_file(target, scheduler.settings.schedule, root=scheduler.root, program=program)  # type: ignore[arg-type]
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    say(f"wrote {out}; nothing was run")


def _rows(scheduler: Scheduler) -> list[dict[str, object]]:
    from gristmill.run.schedule import next_us

    rows: list[dict[str, object]] = []
    for name, schedule in scheduler.settings.schedule.items():
        fired = scheduler.fired(name)
        starts = [f"{schedule.cron} {schedule.zone}"] if schedule.cron else []
        starts += [f"commit to {', '.join(schedule.on_commit)}"] if schedule.on_commit else []
        starts += ["new files"] if schedule.on_file else []
        starts += [f"{table} older than {within}" for table, within in schedule.fresh.items()]
        rows.append(
            {
                "name": name,
                "starts": "; ".join(starts),
                "next_us": next_us(schedule, scheduler.clock()),
                "last": fired.status,
                "last_us": fired.finished_us,
                "reason": fired.reason,
            }
        )
    return rows


def _list(scheduler: Scheduler) -> None:
    from datetime import UTC, datetime

    from gristmill.cli.output import columns

    lines = []
    for row in _rows(scheduler):
        at = row["next_us"]
        when = datetime.fromtimestamp(at / 1e6, UTC).strftime("next %Y-%m-%d %H:%M UTC") if isinstance(at, int) else ""
        lines.append((str(row["name"]), str(row["starts"]), when, str(row["last"] or "never ran")))
    click.echo(columns(lines, width=60))


def _list_json(scheduler: Scheduler) -> None:
    from gristmill.cli.output import emit

    for row in _rows(scheduler):
        emit("schedule", **row)
