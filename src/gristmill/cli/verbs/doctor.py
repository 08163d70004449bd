"""``gristmill doctor``: verify the store, name and repair damage."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, open_store, project_options


@click.command("doctor")
@click.option("--quick", is_flag=True, help="look at sizes only, do not read every byte")
@click.option("--repair", is_flag=True, help="repair what needs no guess")
@click.option(
    "--copy",
    "copies",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="another copy of the store to take missing pieces from; can be repeated",
)
@project_options
@json_option
def command(
    quick: bool,
    repair: bool,
    copies: tuple[Path, ...],
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Read everything that branches, tags and holds lead to and say what is damaged (exit code 1), lost, or loose.

    \b
    gristmill doctor
    gristmill doctor --repair --copy /backup/shop/.gristmill
    """
    from gristmill.cli.output import count, emit, say, size

    store, _ = open_store(folder, environment)
    found = store.doctor(deep=not quick, repair=repair, copies=copies)
    counts = {"objects": found.objects, "files": found.files, "size_bytes": found.size_bytes}
    if as_json:
        for damage in found.damages:
            emit("damage", **{name: getattr(damage, name) for name in damage.__struct_fields__})
        emit("examined", healthy=found.healthy, **counts)
        return 0 if found.healthy else 1
    for damage in found.damages:
        click.echo(f"{'repaired' if damage.repaired else damage.kind}: {damage.where}: {damage.message}")
        if damage.lost:
            click.echo(f"  lost: {damage.lost}")
        if damage.hint:
            click.echo(f"  {damage.hint}")
    say(f"looked at {count(found.objects, 'object')} and {count(found.files, 'file')} ({size(found.size_bytes)})")
    say("all is well" if found.healthy else "the store is damaged")
    return 0 if found.healthy else 1
