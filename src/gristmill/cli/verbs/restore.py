"""``gristmill restore``: make a branch equal to an earlier commit."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options


@click.command("restore")
@click.argument("commit")
@click.argument("tables", nargs=-1)
@on_option
@project_options
@json_option
def command(
    commit: str,
    tables: tuple[str, ...],
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Make the branch, or only TABLES of it, hold what it held at COMMIT, by a new commit.

    \b
    gristmill restore main~3
    gristmill restore v1 raw.flights
    """
    from gristmill.cli.output import emit, say

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    before = store.resolve(branch)
    new = store.restore(commit, on=branch, tables=list(tables) or None)
    undo = " ".join(["gristmill restore", before[:12], *tables, "--on", branch])
    if as_json:
        emit("restored", branch=branch, commit=new, before=before, tables=list(tables), undo=undo)
    elif new == before:
        say(f"{branch} holds that already")
    else:
        say(f"{branch} is at {new[:7]} and holds {', '.join(tables) or 'everything'} as at {commit}")
        say(f"undo: {undo}")
