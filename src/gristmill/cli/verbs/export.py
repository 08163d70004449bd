"""``gristmill export``: write a table at any commit to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import at_option, branch_of, complete_table, json_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.connect import Exported
    from gristmill.store import Snapshot


@click.command("export")
@click.argument("table", shell_complete=complete_table)
@click.argument("target")
@at_option
@click.option("--format", "format_", help="parquet, csv, ndjson or arrow; default: by the target's ending")
@click.option("--served", is_flag=True, help="as its definition gives it now, with the layer of each row")
@project_options
@json_option
def command(
    table: str,
    target: str,
    at: str | None,
    format_: str | None,
    served: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Write TABLE as it is at a commit to TARGET: a file, or a database table.

    \b
    gristmill export clean.flights flights.parquet
    gristmill export clean.flights flights.csv --at v1
    gristmill export clean.flights s3://bucket/flights.parquet
    gristmill export clean.flights postgresql://HOST/DATABASE/SCHEMA.TABLE
    gristmill export clean.flights sqlite:///flights.db#flights

    A database table is written in one transaction, and not at all where it holds the same rows already. Files of
    databases are relative to the folder you are in. env:NAME#TABLE takes the address from a variable.

    With --served a derived table goes out as it would be if it were computed now: what is stored, what has changed
    since, and for each row in `_layer` and `_as_of` which of both it is and how fresh that is.
    """
    from gristmill.cli.output import count, emit, say, size
    from gristmill.connect import is_database

    if served:
        _export_served(table, target, format_, folder, environment, at=at, as_json=as_json)
        return
    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(at or branch_of(settings, None))
    done = (_to_database if is_database(target) else _to_file)(snapshot, table, target, format_)
    if as_json:
        emit(
            "exported",
            table=table,
            commit=snapshot.commit.id,
            target=done.target,
            rows=done.rows,
            bytes=done.size_bytes,
            changed=done.changed,
        )
    elif done.changed:
        say(f"{done.target}: {count(done.rows, 'row')}, {size(done.size_bytes)}, {table} at {snapshot.commit.id[:7]}")
    else:
        say(f"{done.target}: holds {table} at {snapshot.commit.id[:7]} already; nothing was written")


def _export_served(
    table: str,
    target: str,
    format_: str | None,
    folder: Path | None,
    environment: str | None,
    *,
    at: str | None,
    as_json: bool,
) -> None:
    from gristmill.cli.options import open_project
    from gristmill.cli.output import count, emit, say
    from gristmill.connect import export, is_database

    if is_database(target):
        raise click.UsageError("--served writes a file")
    found = open_project(folder, environment).serve(table, on=at)
    done = export(found.rows.to_reader(), target, format=format_)
    fast = found.rows["_layer"].to_pylist().count("fast")
    if as_json:
        emit("exported", table=table, target=done.target, rows=done.rows, fast=fast, bytes=done.size_bytes)
    else:
        say(f"{done.target}: {count(done.rows, 'row')}, {fast:,} of them new or changed since {table} was stored")


def _to_file(snapshot: Snapshot, table: str, target: str, format_: str | None) -> Exported:
    from gristmill.connect import export

    return export(snapshot.reader(table), target, format=format_)


def _to_database(snapshot: Snapshot, table: str, target: str, format_: str | None) -> Exported:
    from gristmill.connect import export_table_to_database

    if format_:
        raise click.UsageError("--format is for files; the target is a table of a database")
    source = f"{table}@{snapshot.commit.id}"
    return export_table_to_database(snapshot.reader(table), target, content=snapshot.digest(table), source=source)
