"""``gristmill revert``: undo a commit."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options


@click.command("revert")
@click.argument("commit")
@on_option
@click.option("-m", "--message", help="the new commit's message")
@project_options
@json_option
def command(
    commit: str, on: str | None, message: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """Undo COMMIT with a new commit. The units that it landed are held: the next run does not bring them back.

    \b
    gristmill revert 4f2a9c1
    gristmill revert try/partner --on try/partner
    """
    from gristmill.cli.output import emit, say

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    undone = store.commit_of(commit)
    new = store.revert(commit, on=branch, message=message)
    held = [
        f"{source}: {name}"
        for source in store.snapshot(new).sources()
        for name, unit in store.snapshot(new).units(source).items()
        if unit.state == "held"
    ]
    left = [name for name in store.commit_of(new).meta.get("left", "").split(", ") if name]
    if as_json:
        emit("reverted", branch=branch, commit=new, undone=undone.id, held=held, stale=left)
        return
    say(f'reverted {undone.id[:7]} ("{undone.message}"): {branch} is at {new[:7]}')
    for name in held:
        say(f"held: {name}   (release: gristmill source release)")
    if left:
        say(f"stale until the next run: {', '.join(left)}   (gristmill run)")
    say(f"undo: gristmill revert {new[:7]} --on {branch}")
