"""``gristmill tag``: list, make or delete tags."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, json_option, open_store, project_options


@click.command("tag")
@click.argument("name", required=False)
@at_option
@click.option("--delete", is_flag=True, help="delete NAME")
@project_options
@json_option
def command(
    name: str | None, at: str | None, delete: bool, folder: Path | None, environment: str | None, as_json: bool
) -> None:
    """List tags, or give a commit the fixed name NAME.

    \b
    gristmill tag
    gristmill tag v1 --at main
    """
    from gristmill.cli.output import columns, emit, say

    store, _ = open_store(folder, environment)
    if name is None:
        for tag, commit in sorted(store.tags().items()) if as_json else ():
            emit("tag", name=tag, commit=commit)
        if not as_json:
            click.echo(columns([(tag, commit[:7]) for tag, commit in sorted(store.tags().items())]))
    elif delete:
        commit = store.resolve(name)
        store.delete_tag(name)
        say(f"deleted {name}; undo: gristmill tag {name} --at {commit[:12]}")
    else:
        store.create_tag(name, at=at or "main")
        say(f"tagged {store.resolve(name)[:7]} as {name}; undo: gristmill tag {name} --delete")
