"""``gristmill import``: take a table from a file or folder into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import (
    branch_of,
    complete_table,
    json_option,
    on_option,
    open_store,
    project_options,
)
from gristmill.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect.table_import import Incoming
    from gristmill.store import Store, Transaction


@click.command("import")
@click.argument("table", shell_complete=complete_table)
@click.argument("path")
@click.option("--key", help="columns that identify a row, with commas between them; for a new table")
@click.option("--add", is_flag=True, help="keep the table's rows: add these, or put them over those of the same key")
@click.option("--format", "format_", help="csv, json, ndjson, parquet or arrow; default: by the file's ending")
@click.option("--null", "nulls", multiple=True, metavar="TOKEN", help="an unquoted cell that means null")
@click.option("--type", "types", multiple=True, metavar="COLUMN=TYPE", help="such as zip=string")
@click.option("--message", "-m", default="", help="why, for the log")
@on_option
@project_options
@json_option
def command(
    table: str,
    path: str,
    key: str | None,
    add: bool,
    format_: str | None,
    nulls: tuple[str, ...],
    types: tuple[str, ...],
    message: str,
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Make TABLE hold the rows of PATH: a CSV, NDJSON, JSON, Parquet or Arrow file, a folder of them, or the folder
    of an Iceberg or Delta table. All of it is taken, or nothing.

    \b
    gristmill import ref.airlines airlines.csv --key carrier
    gristmill import ref.airlines more.parquet --add
    """
    from gristmill.connect.table_import import incoming

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    if branch not in store.branches():
        store.create_branch(branch, at=settings.project.branch)
    before = store.resolve(branch)
    with store.begin(branch, message=message or f"import {table} from {path}") as tx:
        into = _schema_of(tx, table, key)
        given = incoming(path, Path.cwd(), format=format_, nulls=list(nulls) or None, types=_pairs(types), into=into)
        rows = _write(tx, table, given, key, add=add)
    _say(store, table, given, branch=branch, before=before, rows=rows, as_json=as_json)


def _schema_of(tx: Transaction, table: str, key: str | None) -> pa.Schema | None:
    """Return the schema of the table, if it is there and may be written by hand."""
    if table not in tx:
        return None
    state = tx.table(table)
    if state.properties.get("kind") == "derived":
        raise UsageError(
            f"`{table}` is computed from its definition", code="GM-U008", hint="import into a table of another name"
        )
    if tx.units(table):
        raise UsageError(
            f"`{table}` is landed from a source",
            code="GM-U008",
            hint="deliver the file to the source, or import into a table of another name",
        )
    if key is not None and _names(key) != tuple(state.key):
        raise UsageError(f"the key of `{table}` is {', '.join(state.key) or 'none'}", hint="leave --key out")
    return state.schema.to_arrow()


def _write(tx: Transaction, table: str, given: Incoming, key: str | None, *, add: bool) -> int:
    """Write the rows and return how many the table has then."""
    if table not in tx:
        schema = given.rows.schema
        tx.create_table(table, schema, key=_names(key), properties={"kind": "source"})
        add = True
    if not add:
        tx.replace(table, given.rows)
    elif tx.table(table).key:
        tx.upsert(table, given.rows)
    else:
        tx.append(table, given.rows)
    return tx.table(table).row_count


def _say(store: Store, table: str, given: Incoming, *, branch: str, before: str, rows: int, as_json: bool) -> None:
    from gristmill.cli.output import count, emit, say

    after = store.resolve(branch)
    undo = f"gristmill revert {after[:12]} --on {branch}"
    if as_json:
        emit("imported", table=table, branch=branch, commit=after, before=before, rows=rows, undo=undo)
        return
    for text in given.assumptions:
        say(f"assumed: {text}")
    if after == before:
        say(f"{table} holds these rows already; nothing was written")
        return
    say(f"{table} on {branch} has {count(rows, 'row')}, from {given.kind}, at {after[:7]}")
    say(f"undo: {undo}")


def _names(key: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (key or "").split(",") if name.strip())


def _pairs(types: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in types]
    for column, sign, kind in pairs:
        if not (column and sign and kind):
            raise click.UsageError(f"--type {column}: write COLUMN=TYPE")
    return {column: kind for column, _, kind in pairs} or None
