"""``gristmill stream``: follow streams, batch after batch."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_project, open_store, project_options


@click.command("stream")
@click.argument("select", nargs=-1)
@on_option
@click.option("--from", "start", default="earliest", metavar="WHERE", help="earliest, latest, an offset, or a moment")
@click.option("--until-end", is_flag=True, help="stop at the end that the sources have now")
@click.option("--latency", "latency_s", type=click.FloatRange(min=0.01), default=0.5, help="wanted seconds to a commit")
@click.option("--max-rows", type=click.IntRange(min=1), default=100_000, help="rows in one batch at most")
@click.option("--ops", "port", type=click.IntRange(0, 65_535), metavar="PORT", help="serve Prometheus text on loopback")
@click.option("--pause", is_flag=True, help="let the stream on this branch rest after its batch")
@click.option("--resume", is_flag=True, help="let it go on")
@project_options
@json_option
def command(
    select: tuple[str, ...],
    on: str | None,
    start: str,
    until_end: bool,
    latency_s: float,
    max_rows: int,
    port: int | None,
    pause: bool,
    resume: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Follow the project's streams: land what comes, bring up what follows from it, commit, again and again.

    Ctrl-C finishes the batch at hand and commits it. Exit 1 where a check said no: that batch is not committed.

    \b
    gristmill stream                     all streams, and every table that follows from them
    gristmill stream --until-end         up to the end that the sources have now
    gristmill stream --from latest --ops 9100
    gristmill stream --pause             from another terminal
    """
    if pause or resume:
        return _control(folder, environment, on, pause=pause)
    from gristmill.cli.streaming import following

    project = open_project(folder, environment)
    with following(as_json=as_json, port=port) as (draw, stop):
        project.stream(
            select,
            on=on,
            start=start,
            until_end=until_end,
            latency_s=latency_s,
            max_rows=max_rows,
            stop=stop,
            listener=draw,
        )
    return 0


def _control(folder: Path | None, environment: str | None, on: str | None, *, pause: bool) -> int:
    from gristmill.cli.output import say
    from gristmill.run.streaming import control

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    if pause:
        control.pause(store, branch)
        say(f"the stream on {branch} rests after its batch    undo: gristmill stream --resume --on {branch}")
        return 0
    say(f"the stream on {branch} goes on" if control.resume(store, branch) else f"no stream on {branch} was paused")
    return 0
