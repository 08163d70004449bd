"""``gristmill run``: bring a branch up to date."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import (
    find_unchanged,
    json_option,
    on_option,
    open_project,
    parse_parameters,
    project_options,
)


@click.command("run")
@click.argument("select", nargs=-1)
@on_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@click.option("--since", metavar="DATE", help="compute rows from this day on again, in the tables named")
@click.option("--range", "between", metavar="COLUMN=FROM..TO", help="the same for a stretch of any column, TO left out")
@click.option("-m", "--message", default="", help="the commit's message")
@click.option("-q", "--quiet", is_flag=True, help="only refusals and the result")
@project_options
@json_option
def command(
    select: tuple[str, ...],
    on: str | None,
    parameters: tuple[str, ...],
    since: str | None,
    between: str | None,
    message: str,
    quiet: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Land what is new, compute what it touches, check it, publish it as one commit. Exit 1 where a check said no.

    \b
    gristmill run
    gristmill run --on try/partner       on a new branch, made from main
    gristmill run features.flight+       one table and what needs it
    gristmill run marts.daily --since 2026-01-01
    gristmill run marts.daily --range day=2026-01-01..2026-02-01
    """
    from gristmill.cli.render import listener
    from gristmill.model.events import NothingToDo

    values = parse_parameters(parameters)
    asked = since is not None or between is not None
    unchanged = None if asked else find_unchanged(folder, environment, on=on, params=values, select=select)
    draw = listener(as_json=as_json, quiet=quiet)
    if unchanged is not None:
        plan = unchanged.plan
        draw(NothingToDo(on=plan.on, commit=plan.commit, held=plan.held, waiting=plan.waiting, gone=plan.gone))
        return 0
    result = open_project(folder, environment).run(
        select,
        on=on,
        params=values,
        message=message,
        since=since,
        between=between,
        listener=draw,
    )
    return 0 if result.ok else 1
