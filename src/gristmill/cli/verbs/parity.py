"""``gristmill parity``: prove that stored tables are what their definitions give."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import (
    at_option,
    complete_table,
    json_option,
    open_project,
    parse_parameters,
    project_options,
)


@click.command("parity")
@click.argument("table", required=False, shell_complete=complete_table)
@at_option
@click.option("--sample", type=float, metavar="SHARE", help="look at this share of the keys, such as 0.01")
@click.option("--within", "within_s", type=float, metavar="SECONDS", help="stop after this time")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@project_options
@json_option
def command(
    table: str | None,
    at: str | None,
    sample: float | None,
    within_s: float | None,
    parameters: tuple[str, ...],
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Compute tables again in full, and compare them with what is stored. Exit code 1 where one differs.

    Nothing is written. What cannot be compared says why; where it was named, that is exit code 1 too.

    \b
    gristmill parity
    gristmill parity marts.daily --at main~3 --sample 0.01
    """
    import msgspec

    from gristmill.api.parity import lines_of
    from gristmill.cli.output import emit, say

    project = open_project(folder, environment)
    found = project.parity(table, at=at, sample=sample, within_s=within_s, params=parse_parameters(parameters))
    for compared in found.tables:
        if as_json:
            emit("parity", commit=found.commit, **msgspec.to_builtins(compared))
        else:
            click.echo("\n".join(lines_of(compared)))
    if not found.ok:
        say("hint: `gristmill run` computes what differs in full")
    unsaid = table is not None and any(compared.outcome == "not_compared" for compared in found.tables)
    return 0 if found.ok and not unsaid else 1
