"""``gristmill maintain``: few full files of many small ones, and no garbage."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, open_store, project_options


@click.command("maintain")
@click.argument("tables", nargs=-1)
@click.option("--on", metavar="BRANCH", help="only this branch; default: all")
@click.option("--grace", "grace_h", type=float, default=24.0, show_default=True, help="hours that garbage is kept")
@project_options
@json_option
def command(
    tables: tuple[str, ...],
    on: str | None,
    grace_h: float,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Write small and half-dead files anew, and remove what no branch, tag, hold or recent history leads to.

    Commits do a little of this by themselves. Content does not change, and writers may go on meanwhile.

    \b
    gristmill maintain
    gristmill maintain raw.flights --on main
    """
    from gristmill.cli.output import count, emit, say, size

    store, _ = open_store(folder, environment)
    done = store.maintain(branches=None if on is None else [on], tables=tables or None, grace_s=grace_h * 3600)
    if as_json:
        for item in done.tables:
            emit("tidied", branch=item.branch, table=item.name, before=item.before, after=item.after)
        emit("collected", **{name: getattr(done.collected, name) for name in done.collected.__struct_fields__})
        return
    for item in done.tables:
        say(f"{item.branch}: {item.name}: {count(item.before, 'file')} -> {item.after:,}")
    found = done.collected
    say(f"removed {count(found.objects, 'object')} and {count(found.files, 'file')} ({size(found.size_bytes)})")
    if found.waiting:
        say(f"{found.waiting:,} more are kept for {grace_h:g} hours, in case a writer still needs them")
