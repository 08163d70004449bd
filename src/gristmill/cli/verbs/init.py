"""``gristmill init``: make a new project."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("init")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--template", type=click.Choice(["flights", "minimal"]), help="a project that runs; default: minimal")
@click.option(
    "--from", "source", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="start from your own file"
)
def command(folder: Path | None, template: str | None, source: Path | None) -> None:
    """Make a project in FOLDER; with --from, a folder of the file's name where none is given.

    \b
    gristmill init shop                              a few rows to start from
    gristmill init shop --from orders.csv            your own file
    gristmill init --from orders.csv                 the same, in orders/
    gristmill init flights --template flights        the tour on real flights
    """
    from gristmill.cli.output import say
    from gristmill.errors import UsageError

    if folder is None:
        if source is None:
            raise click.UsageError("say where: gristmill init FOLDER, or gristmill init --from FILE")
        from gristmill.cli.starter import identifier

        folder = Path(identifier(source.name.split(".")[0]))
    if (folder / "gristmill.toml").exists():
        raise UsageError(f"{folder} holds a project already", code="GM-U011", hint=f"cd {folder}")
    if template == "flights":
        if source is not None:
            raise click.UsageError("--from and --template flights exclude each other")
        from gristmill.cli.flights import write_project

        write_project(folder)
    else:
        from gristmill.cli.starter import write_starter

        write_starter(folder, source)
    say(f"made {folder}/ (definitions in pipeline.py, files in landing/, store in .gristmill/ at the first run)")
    say(
        "next: gristmill plan"
        if folder.resolve() == Path.cwd()
        else f"next: cd {shlex.quote(str(folder))} && gristmill plan"
    )
