"""``gristmill quarantine``: rows set aside."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, branch_of, json_option, open_store, project_options


@click.group("quarantine")
def command() -> None:
    """Rows that broke a rule, kept whole with reason and origin.

    \b
    gristmill quarantine list
    gristmill quarantine list raw.weather
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
    """List rows set aside: of all tables in counts, of one with origin, raw text and rule."""
    from gristmill.cli.output import columns, emit_struct, say
    from gristmill.contracts.quarantine import PREFIX, from_arrow, table_name

    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(at or branch_of(settings, None))
    if table is None:
        names = [name for name in snapshot.tables(system=True) if name.startswith(PREFIX)]
        click.echo(columns([(name.removeprefix(PREFIX), f"{snapshot.table(name).row_count:,} rows") for name in names]))
        return
    name = table_name(table)
    rows = from_arrow(snapshot.to_arrow(name)) if name in snapshot else []
    rows = [row for row in rows if status in ("all", row.status)]
    for row in sorted(rows, key=lambda row: (row.unit, row.record or 0))[:limit]:
        if as_json:
            emit_struct(row)
            continue
        click.echo(f"{row.origin}  {row.message}  [{', '.join(row.reasons)}]")
        click.echo(f"    {row.raw.rstrip()}")
    if len(rows) > limit:
        say(f"({limit} of {len(rows):,} rows)")
    if not rows:
        say(f"no {'' if status == 'all' else status + ' '}rows of {table} are set aside")
