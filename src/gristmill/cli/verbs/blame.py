"""``gristmill blame``: say which commit last set each cell of a row."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, branch_of, complete_table, json_option, open_store, project_options


@click.command("blame")
@click.argument("table", shell_complete=complete_table)
@click.option("--key", metavar="VALUE", help="the row with this key; parts of a composite key parted by commas")
@click.option("--row", type=int, metavar="ID", help="the row with this row id")
@at_option
@project_options
@json_option
def command(
    table: str,
    key: str | None,
    row: int | None,
    at: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Say which commit, and which run, last set each cell of one row of TABLE.

    \b
    gristmill blame clean.flights --key UA-1545-20130101T10
    """
    from gristmill.cli.output import columns, emit, when
    from gristmill.errors import UsageError
    from gristmill.lineage import blame

    store, settings = open_store(folder, environment)
    table, _, inline = table.partition("@")
    if key is None and row is None:
        raise UsageError(f"which row of `{table}`?", code="GM-L007", hint="--key VALUE or --row ID")
    found = blame(store, at or inline or branch_of(settings, None), table, key=key, row=row)
    rows = []
    for cell in found.cells:
        if as_json:
            emit(
                "cell",
                table=table,
                row=found.row,
                column=cell.column,
                value=cell.value,
                before=cell.before,
                new=cell.new,
                commit=cell.commit,
                run=cell.run,
                time_us=cell.time_us,
                author=cell.author,
                message=cell.message,
            )
        was = "" if cell.new else f"was {cell.before}"
        rows.append((cell.commit[:7], when(cell.time_us), cell.run, cell.column, cell.value, was, cell.message))
    if not as_json:
        click.echo(columns(rows))
