"""``gristmill log``: list commits."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, complete_table, json_option, on_option, open_store, project_options


@click.command("log")
@click.argument("table", required=False, shell_complete=complete_table)
@on_option
@click.option("-n", "--limit", default=20, show_default=True, help="commits to list; 0 for all")
@project_options
@json_option
def command(
    table: str | None, on: str | None, limit: int, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """List the commits of a branch, newest first; with TABLE only those that changed it.

    \b
    gristmill log
    gristmill log clean.flights --on try/partner
    """
    from gristmill.cli.output import columns, emit_struct, when
    from gristmill.errors import NotFound, did_you_mean

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    commits = list(store.log(branch, table=table, limit=limit or None))
    if table and not commits:
        raise NotFound(
            f"no commit of {branch} has a table `{table}`", hint=did_you_mean(table, store.snapshot(branch).tables())
        )
    if as_json:
        for commit in commits:
            emit_struct(commit)
        return
    click.echo(
        columns([(c.id[:7], when(c.time_us), c.author, c.meta.get("run", ""), c.message) for c in commits], width=72)
    )
