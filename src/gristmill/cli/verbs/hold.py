"""``gristmill hold``: keep a commit alive, or let it go."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import at_option, json_option, open_store, project_options


@click.command("hold")
@click.argument("name", required=False)
@at_option
@click.option("--because", "reason", default="", help="why it must be kept")
@click.option("--release", is_flag=True, help="let NAME go")
@project_options
@json_option
def command(
    name: str | None,
    at: str | None,
    reason: str,
    release: bool,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """List holds, or keep the commit at --at (main) alive under NAME, whatever becomes of its branch.

    \b
    gristmill hold
    gristmill hold audit-2026 --at main~3 --because "the auditor's numbers"
    gristmill hold audit-2026 --release
    """
    from gristmill.cli.output import columns, emit, say

    store, _ = open_store(folder, environment)
    if name is None:
        holds = sorted(store.holds().items())
        if as_json:
            for held, (commit, why) in holds:
                emit("hold", name=held, commit=commit, reason=why)
        else:
            click.echo(columns([(held, commit[:7], why) for held, (commit, why) in holds]))
        return
    if release:
        commit, why = store.holds().get(name, ("", ""))
        store.release_hold(name)
        undo = f'gristmill hold {name} --at {commit[:12]} --because "{why}"'
        event, words = "released", f"released {name}"
    else:
        commit = store.create_hold(name, at or "main", reason)
        undo = f"gristmill hold {name} --release"
        event, words = "held", f"{name} holds {commit[:7]}"
    if as_json:
        emit(event, name=name, commit=commit, undo=undo)
        return
    say(f"{words}; undo: {undo}")
