"""``gristmill quarantine``: rows set aside: look at them, mend them, send them back, let them go."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import (
    at_option,
    branch_of,
    json_option,
    on_option,
    open_project,
    open_store,
    project_options,
)


@click.group("quarantine")
def command() -> None:
    """Rows that broke a rule, kept whole with reason and origin.

    \b
    gristmill quarantine list
    gristmill quarantine list raw.weather
    gristmill quarantine fix raw.weather 3fa9 --set wind_speed=104.8 --because "decimal point"
    """


@command.command("list")
@click.argument("table", required=False)
@at_option
@click.option("--status", default="open", show_default=True, help="open, fixed, waived, dropped or all")
@click.option("--limit", default=20, show_default=True, help="rows to print")
@project_options
@json_option
def list_(
    table: str | None,
    at: str | None,
    status: str,
    limit: int,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """List rows set aside: of all tables in counts, of one with id, origin, raw text and rule."""
    from gristmill.cli.output import columns, emit, emit_struct, one_line, say
    from gristmill.contracts.quarantine import PREFIX
    from gristmill.run.setaside import rows_of

    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(at or branch_of(settings, None))
    if table is None:
        names = [name.removeprefix(PREFIX) for name in snapshot.tables(system=True) if name.startswith(PREFIX)]
        counts = [(name, len(rows_of(snapshot, name, status=status))) for name in names]
        if as_json:
            for name, number in counts:
                emit("quarantine", table=name, status=status, rows=number)
            return
        click.echo(columns([(name, f"{number:,} rows") for name, number in counts]))
        return
    rows = rows_of(snapshot, table, status=status)
    for row in rows[:limit]:
        if as_json:
            emit_struct(row)
            continue
        click.echo(f"{row.id[:8]}  {row.origin}  {row.message}  [{', '.join(row.reasons)}]")
        click.echo(f"    {one_line(row.raw.rstrip())}")
    if len(rows) > limit:
        say(f"({limit} of {len(rows):,} rows)")
    if not rows:
        say(f"no {'' if status == 'all' else status + ' '}rows of {table} are set aside")


@command.command("show")
@click.argument("table")
@click.argument("ids", nargs=-1, required=True)
@at_option
@project_options
@json_option
def show(
    table: str, ids: tuple[str, ...], at: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """Show rows set aside whole: raw text, cells, reasons, origin, and what became of them."""
    from gristmill.cli.output import emit_struct, one_line
    from gristmill.run.setaside import rows_of

    store, settings = open_store(folder, environment)
    for row in rows_of(store.snapshot(at or branch_of(settings, None)), table, ids=ids, status="all"):
        if as_json:
            emit_struct(row)
            continue
        click.echo(f"{row.id}  {row.status}{': ' + row.note if row.note else ''}")
        click.echo(f"  from    {row.origin}  (set aside by {row.run or 'hand'})")
        click.echo(f"  reason  {row.message}  [{', '.join(row.reasons)}]")
        click.echo(f"  raw     {one_line(row.raw.rstrip())}")
        if row.cells and row.cells != row.raw:
            click.echo(f"  cells   {row.cells}")


@command.command("add")
@click.argument("table")
@click.option("--where", required=True, help="SQL condition on the table's columns")
@click.option("--because", required=True, help="why")
@on_option
@project_options
@json_option
def add(
    table: str, where: str, because: str, on: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """Set stored rows of a source TABLE aside by hand."""
    from gristmill.cli.output import count, emit, say
    from gristmill.run.setaside import add as add_rows

    project = open_project(folder, environment)
    branch = project.branch(on)
    with project.context() as ctx:
        commit, number = add_rows(ctx, branch, table, where=where, because=because)
    if as_json:
        emit("quarantine_add", table=table, rows=number, branch=branch, commit=commit)
    elif not number:
        say(f"no row of {table} fits; nothing was set aside")
    else:
        _done(f"set {count(number, 'row')} of {table} aside", commit, branch)


@command.command("fix")
@click.argument("table")
@click.argument("ids", nargs=-1, required=True)
@click.option("--set", "cells", metavar="COLUMN=TEXT", multiple=True, help="a new cell, as the file would have it")
@click.option("--set-sql", "sql", metavar="COLUMN=EXPRESSION", multiple=True, help="a new cell as SQL over the row")
@click.option("--because", required=True, help="why")
@on_option
@project_options
@json_option
def fix(
    table: str,
    ids: tuple[str, ...],
    cells: tuple[str, ...],
    sql: tuple[str, ...],
    because: str,
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Set cells of rows anew and send them through their rules again."""
    values, expressions = _pairs(cells), _pairs(sql)
    if not values and not expressions:
        raise click.UsageError("give --set or --set-sql")
    return _retry(table, ids, values, expressions, because, on, folder, environment, as_json)


@command.command("retry")
@click.argument("table")
@click.argument("ids", nargs=-1)
@on_option
@project_options
@json_option
def retry(
    table: str, ids: tuple[str, ...], on: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> int:
    """Send rows, or all open ones, through their rules again: after a rule was relaxed, or a reference arrived."""
    return _retry(table, ids, {}, {}, "", on, folder, environment, as_json)


@command.command("drop")
@click.argument("table")
@click.argument("ids", nargs=-1, required=True)
@click.option("--because", required=True, help="why")
@on_option
@project_options
@json_option
def drop(
    table: str,
    ids: tuple[str, ...],
    because: str,
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Let rows go for good; they stay listed as dropped."""
    from gristmill.cli.output import count, emit
    from gristmill.run.setaside import drop as drop_rows

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    commit = drop_rows(store, branch, table, ids=ids, because=because)
    if as_json:
        emit("quarantine_drop", table=table, rows=len(ids), branch=branch, commit=commit)
        return
    _done(f"dropped {count(len(ids), 'row')} set aside from {table}", commit, branch)


def _retry(
    table: str,
    ids: tuple[str, ...],
    values: dict[str, str],
    expressions: dict[str, str],
    because: str,
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    from gristmill.cli.output import count, emit, say
    from gristmill.run.setaside import retry as retry_rows

    project = open_project(folder, environment)
    branch = project.branch(on)
    with project.context() as ctx:
        done = retry_rows(ctx, branch, table, ids=ids, values=values, expressions=expressions, note=because)
    if as_json:
        still = [{"id": row.id, "origin": row.origin, "message": row.message} for row in done.still]
        counts = {"taken": done.taken, "overtaken": done.overtaken, "still": still}
        emit("quarantine_retry", table=table, branch=branch, commit=done.commit, **counts)
        return 1 if done.still else 0
    for row in done.still[:3]:
        say(f"still aside: {row.id[:8]}  {row.origin}  {row.message}")
    later = f", {done.overtaken:,} had a later row of their key" if done.overtaken else ""
    _done(
        f"took {count(done.taken, 'row')} of {table}, {len(done.still):,} are still aside{later}", done.commit, branch
    )
    return 1 if done.still else 0


def _done(words: str, commit: str, branch: str) -> None:
    from gristmill.cli.output import say

    say(f"{words}; {branch} is at {commit[:7]}; next: gristmill run")
    say(f"undo: gristmill revert {commit[:7]} --on {branch}")


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text}: write COLUMN=VALUE")
        pairs[name] = value
    return pairs
