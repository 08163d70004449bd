"""``gristmill runs``: list runs."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, open_store, project_options


@click.command("runs")
@click.option("-n", "--limit", default=20, show_default=True, help="runs to list; 0 for all")
@project_options
@json_option
def command(limit: int, folder: Path | None, environment: str | None, as_json: bool) -> None:
    r"""List runs, newest first, with what became of each.

    
    gristmill sql "select name, sum(wall_s) from _stages group by 1" asks their records in SQL;
    _runs, _findings, _ledgers and _metrics are there too.
    """
    from gristmill.cli.output import columns, emit_struct, when
    from gristmill.run.records import history

    store, _ = open_store(folder, environment)
    records = list(history(store, limit=limit or None))
    if as_json:
        for record in records:
            emit_struct(record)
        return
    rows = []
    for record in records:
        took = f"{(record.finished_us - record.started_us) / 1e6:.1f} s" if record.finished_us else ""
        head = record.head[:7] if record.head else ""
        status = "killed" if record.status == "running" and not record.alive else record.status
        rows.append((record.run, status, record.on, head, when(record.started_us), took, record.message))
    click.echo(columns(rows))
