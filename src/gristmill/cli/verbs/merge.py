"""``gristmill merge``: bring what one branch changed into another."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options


@click.command("merge")
@click.argument("source", metavar="BRANCH")
@on_option
@click.option("-m", "--message", help="the new commit's message")
@project_options
@json_option
def command(
    source: str, on: str | None, message: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """Bring what BRANCH changed since it parted from --on (main) into it, row by row.

    Where both sides changed the same row, nothing is changed and you are told which (exit code 4). Tables that are
    computed from others are computed again by the next `gristmill run`.

    \b
    gristmill merge fix/orders
    """
    from gristmill.cli.output import emit, say

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    before = store.resolve(branch)
    commit = store.merge(source, into=branch, message=message)
    undo = f"gristmill restore {before[:12]} --on {branch}"
    if as_json:
        emit("merged", source=source, branch=branch, commit=commit, before=before, undo=undo)
    elif commit == before:
        say(f"{branch} has everything of {source} already")
    else:
        say(f"merged {source}: {branch} is at {commit[:7]}   (look: gristmill diff {before[:7]} {commit[:7]})")
        say(f"undo: {undo}")
