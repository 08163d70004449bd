"""``gristmill plan``: what a run would do, and why."""

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


@click.command("plan")
@click.argument("select", nargs=-1)
@on_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@project_options
@json_option
def command(
    select: tuple[str, ...],
    on: str | None,
    parameters: tuple[str, ...],
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Show what `run` would do to each table, and why. Nothing is written.

    \b
    gristmill plan
    gristmill plan +features.flight      one table and what it needs
    """
    from gristmill.cli.output import columns, count, emit_struct, say, size

    values = parse_parameters(parameters)
    unchanged = find_unchanged(folder, environment, on=on, params=values, select=select)
    result = unchanged or open_project(folder, environment).plan(select, on=on, params=values)
    if as_json:
        for step in result.steps:
            emit_struct(step)
        return
    say(f"{result.plan.on} at {result.plan.commit[:7]}")
    rows = []
    for step in result.steps:
        extra = size(step.input_bytes) if step.input_bytes else count(step.rows, "row") if step.rows else ""
        rows.append((f"  {step.name}", step.mode, step.reason, extra))
    click.echo(columns(rows))
    for name in result.plan.held:
        say(f"held: {name}   (gristmill source release lands it again)")
    say("nothing to do" if result.empty else "nothing written; do it: gristmill run")
