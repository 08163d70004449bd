"""``gristmill plan``: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import (
    find_unchanged,
    json_option,
    on_option,
    open_project,
    parse_parameters,
    project_options,
)

if TYPE_CHECKING:
    from gristmill.run.planned import Plan, Step


@click.command("plan")
@click.argument("select", nargs=-1)
@on_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@click.option("--how", is_flag=True, help="show for each operation how it follows changes, and why")
@project_options
@json_option
def command(
    select: tuple[str, ...],
    on: str | None,
    parameters: tuple[str, ...],
    how: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Show what `run` would do to each table, and why. Nothing is written.

    \b
    gristmill plan
    gristmill plan +features.flight      one table and what it needs
    gristmill plan --how                 and how each operation follows changes
    """
    from gristmill.cli.output import columns, emit_struct, say

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
        reason = f"{step.reason}; {step.why}" if step.why and step.mode in ("columns", "full") else step.reason
        rows.append((f"  {step.name}", step.mode, reason, _amount(step)))
    if rows:
        click.echo(columns(rows, width=60))
    else:
        say("  the project defines no tables")
    if how:
        _show_rules(result.steps)
    if result.plan.time_s:
        say(f"about {result.plan.time_s:.1f} s, by what it took before{_errors(result.plan)}")
    _say_breaks(result.steps)
    for words in result.plan.advice:
        say(words)
    for name in result.plan.held:
        say(f"held: {name}   (gristmill source release lands it again)")
    for name in result.plan.gone:
        say(f"gone from its source: {name}   (its rows are kept)")
    say("nothing to do" if result.empty else "nothing written; do it: gristmill run")


def _say_breaks(steps: Sequence[Step]) -> None:
    from gristmill.cli.output import say

    for step in steps:
        for reader, column in step.breaks:
            say(f"{step.name} loses `{column}`, which {reader} was made from")


def _show_rules(steps: Sequence[Step]) -> None:
    from gristmill.cli.output import columns

    for step in steps:
        if step.why or step.rules:
            click.echo(f"{step.name}: {step.mode}" + (f", because {step.why}" if step.mode == "full" else ""))
            lines = [(f"  {operation}", rule, why) for operation, rule, why in step.rules]
            if lines:
                click.echo(columns(lines, width=100))
        if step.acts and (figures := _figures(step)):
            click.echo(f"  {step.name}: {figures}")


def _figures(step: Step) -> str:
    """Say what a step takes of memory, disk and time, and how good such estimates were."""
    from gristmill.cli.output import size

    parts = []
    known = (("reads", step.bytes_in), ("makes", step.bytes_out))
    if rows := ", ".join(f"{verb} about {size(amount)}" for verb, amount in known if amount):
        parts.append(f"{rows} of rows")
    if step.peak_bytes:
        passes = f", {step.passes} passes" if step.passes > 1 else ""
        parts.append(f"holds {size(step.peak_bytes)} in memory{passes}{_usual(step.peak_off_by, step.peak_judged)}")
    if step.disk_bytes:
        parts.append(f"{size(step.disk_bytes)} of disk{_usual(step.disk_off_by, step.disk_judged)}")
    if step.time_s:
        parts.append(f"{step.time_s:.1f} s{_usual(step.off_by, step.judged)}")
    return "; ".join([*parts, *step.whole])


def _usual(factor: float, stages: int) -> str:
    return f" (usually within {factor:.1f}x over {stages} run{'s' if stages > 1 else ''})" if stages else ""


def _errors(plan: Plan) -> str:
    """Say how far estimates of past runs were off."""
    known = (("time", plan.time_error), ("memory", plan.memory_error), ("disk", plan.disk_error))
    words = [f"{error:.0%} in {name}" for name, error in known if error is not None]
    return f"; past estimates were off by {', '.join(words)}" if words else ""


def _amount(step: Step) -> str:
    """Say what a step reads and makes: exact where it stays as it is, about where it is estimated."""
    from gristmill.cli.output import count, size

    if not step.acts:
        return count(step.rows, "row") if step.rows else ""
    parts = []
    if step.input_bytes:
        parts.append(size(step.input_bytes))
    if step.rows_in:
        parts.append(f"about {step.rows_in:,} rows in")
    if step.rows_out and step.kind != "model":
        parts.append(f"{step.rows_out:,} out")
    return ", ".join(parts)
