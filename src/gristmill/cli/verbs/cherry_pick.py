"""``gristmill cherry-pick``: make the change of one commit on another branch."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options


@click.command("cherry-pick")
@click.argument("commit")
@on_option
@project_options
@json_option
def command(commit: str, on: str | None, folder: Path | None, environment: str | None, as_json: bool) -> None:
    """Make the change of COMMIT, and of no other, on the branch. What is computed follows with the next run.

    \b
    gristmill cherry-pick 4f2a9c1
    gristmill cherry-pick fix/orders --on release
    """
    from gristmill.cli.output import emit, say

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    picked, before = store.commit_of(commit), store.resolve(branch)
    new = store.cherry_pick(commit, on=branch)
    if as_json:
        emit("picked", branch=branch, commit=new, before=before, picked=picked.id)
    elif new == before:
        say(f"{branch} holds that already")
    else:
        say(f'picked {picked.id[:7]} ("{picked.message}"): {branch} is at {new[:7]}')
        say(f"undo: gristmill revert {new[:7]} --on {branch}")
