"""``gristmill sql``: query tables at any commit."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, branch_of, json_option, open_store, project_options


@click.command("sql")
@click.argument("query")
@at_option
@click.option("--limit", default=40, show_default=True, help="rows to print; 0 for all")
@project_options
@json_option
def command(
    query: str, at: str | None, limit: int, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """Run one SELECT (DuckDB SQL) over the tables of a commit. Project code is not run.

    \b
    gristmill sql "select carrier, avg(late) from features.flight group by 1"
    gristmill sql "select count(*) from raw.flights" --at main~1
    """
    import pyarrow as pa

    from gristmill.api.querying import query as run_query
    from gristmill.cli.output import table
    from gristmill.engines.kernel import Kernel

    store, settings = open_store(folder, environment)
    with Kernel() as kernel:
        rows = run_query(kernel, store.snapshot(at or branch_of(settings, None)), query).read_all()
    shown = rows if as_json or not limit else rows.slice(0, limit)
    table(pa.table(shown), as_json=as_json, total=rows.num_rows)
