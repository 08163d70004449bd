"""``gristmill preview``: compute a few rows of a table, commit nothing."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import (
    complete_table,
    json_option,
    on_option,
    open_project,
    parse_parameters,
    project_options,
)


@click.command("preview")
@click.argument("table", shell_complete=complete_table)
@click.option("--where", metavar="SQL", help="condition on the table's columns")
@click.option("--limit", default=20, show_default=True, help="rows to compute")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@on_option
@project_options
@json_option
def command(
    table: str,
    where: str | None,
    limit: int,
    parameters: tuple[str, ...],
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Compute rows of TABLE with the definitions as they are now, on the branch's sources. Nothing is written.

    \b
    gristmill preview features.flight --where "visib < 1" --limit 5
    """
    from gristmill.cli.output import table as write_table

    project = open_project(folder, environment)
    rows = project.preview(table, where=where, limit=limit, on=on, params=parse_parameters(parameters))
    write_table(rows, as_json=as_json)
