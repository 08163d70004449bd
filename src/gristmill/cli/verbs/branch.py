"""``gristmill branch``: list, make, rename or delete branches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import at_option, json_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.store import Store


@click.command("branch")
@click.argument("name", required=False)
@at_option
@click.option("--delete", is_flag=True, help="delete NAME; its commits stay while something else holds them")
@click.option("--rename", "new_name", metavar="NEW", help="rename NAME")
@click.option("--moves", is_flag=True, help="list where NAME has pointed, deleted ones too")
@project_options
@json_option
def command(
    name: str | None,
    at: str | None,
    delete: bool,
    new_name: str | None,
    moves: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """List branches, or make NAME (at main, or at --at). Making one copies nothing.

    \b
    gristmill branch
    gristmill branch fix/orders --at main~1
    gristmill branch main --moves
    """
    from gristmill.cli.output import columns, emit, say

    store, _ = open_store(folder, environment)
    if name is None:
        rows = [(branch, head[:7], store.commit_of(head).message) for branch, head in sorted(store.branches().items())]
        if as_json:
            for branch, head in sorted(store.branches().items()):
                emit("branch", name=branch, commit=head)
        else:
            click.echo(columns(rows))
    elif moves:
        _show_moves(store, name, as_json)
    elif delete:
        head = store.resolve(name)
        store.delete_branch(name)
        say(f"deleted {name}; undo: gristmill branch {name} --at {head[:12]}")
    elif new_name:
        store.rename_branch(name, new_name)
        say(f"renamed {name} to {new_name}; undo: gristmill branch {new_name} --rename {name}")
    else:
        store.create_branch(name, at=at or "main")
        say(f"made {name} at {store.resolve(name)[:7]}; undo: gristmill branch {name} --delete")


def _show_moves(store: Store, name: str, as_json: bool) -> None:
    from gristmill.cli.output import columns, emit, when

    found = store.reflog(name)
    if not found:
        store.resolve(name)
    for time_us, before, after, reason in found if as_json else ():
        emit("move", branch=name, time_us=time_us, before=before, after=after, reason=reason)
    if not as_json:
        rows = [(when(us), (before or "-")[:7], (after or "-")[:7], reason) for us, before, after, reason in found]
        click.echo(columns(rows))
