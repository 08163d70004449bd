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
@click.option("--replay", "again", is_flag=True, help="build what follows again, on a branch, and show how it differs")
@click.option("--sources", is_flag=True, help="replay: read the sources again from the earliest that they hold")
@click.option("--swap", is_flag=True, help="replay: swap the result in, in one commit")
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
    again: bool,
    sources: bool,
    swap: bool,
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
    gristmill stream --replay            the same tables once more, from the rows that are stored
    """
    if pause or resume:
        return _control(folder, environment, on, pause=pause)
    if again:
        return _replay(select, on, folder, environment, sources=sources, swap=swap, as_json=as_json)
    if sources or swap:
        raise click.UsageError("--sources and --swap belong to --replay")
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


def _replay(
    select: tuple[str, ...],
    on: str | None,
    folder: Path | None,
    environment: str | None,
    *,
    sources: bool,
    swap: bool,
    as_json: bool,
) -> int:
    from gristmill.cli.output import columns, emit, say

    found = open_project(folder, environment).replay_stream(select, on=on, sources=sources, swap=swap)
    rows = []
    for name, table in found.tables.items():
        counts = {"missing": table.missing, "extra": table.extra, "different": table.different}
        if as_json:
            emit(
                "table", name=name, rows=table.computed_rows, rows_before=table.stored_rows, equal=table.equal, **counts
            )
        word = "the same rows" if table.equal else f"+{table.missing:,} -{table.extra:,} ~{table.different:,}"
        rows.append((name, f"{table.stored_rows:,}", f"{table.computed_rows:,}", word))
    if as_json:
        emit("replay", on=found.on, branch=found.branch, equal=found.equal, swapped=found.swapped, commit=found.commit)
        return 0
    click.echo(columns(rows, header=("table", found.on, "replayed", ""), right=(1, 2)))
    if found.swapped:
        say(f"{found.on} is at {found.commit[:7]}    undo: gristmill revert {found.commit[:7]} --on {found.on}")
    else:
        words = " ".join(["gristmill stream --replay --swap", *select, *(["--sources"] if sources else [])])
        say(f"{found.on} is unchanged; the result waits on {found.branch}    swap it in: {words} --on {found.on}")
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
