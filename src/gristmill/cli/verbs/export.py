"""``gristmill export``: write a table at any commit to a file."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, branch_of, complete_table, json_option, open_store, project_options


@click.command("export")
@click.argument("table", shell_complete=complete_table)
@click.argument("target")
@at_option
@click.option("--format", "format_", help="parquet, csv, ndjson or arrow; default: by the target's ending")
@project_options
@json_option
def command(
    table: str,
    target: str,
    at: str | None,
    format_: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Write TABLE as it is at a commit to TARGET: a file, or a database table.

    \b
    gristmill export clean.flights flights.parquet
    gristmill export clean.flights flights.csv --at v1
    """
    from gristmill.cli.output import count, emit, say, size
    from gristmill.connect import export

    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(at or branch_of(settings, None))
    done = export(snapshot.reader(table), target, format=format_)
    if as_json:
        emit("exported", table=table, commit=snapshot.commit.id, target=target, rows=done.rows, bytes=done.size_bytes)
    else:
        say(f"{target}: {count(done.rows, 'row')}, {size(done.size_bytes)}, {table} at {snapshot.commit.id[:7]}")
