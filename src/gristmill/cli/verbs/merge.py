"""``gristmill merge``: bring what one branch changed into another."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, on_option, open_project, project_options


@click.command("merge")
@click.argument("source", metavar="BRANCH")
@on_option
@click.option("-m", "--message", help="the new commit's message")
@project_options
@json_option
def command(
    source: str, on: str | None, message: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> int:
    """Bring what BRANCH changed since it parted from --on (main) into it: source tables row by row, then what is
    computed from them, checked, as one commit.

    Where both sides changed the same row, nothing is changed and you are told which (exit code 4).

    \b
    gristmill merge fix/orders
    """
    from gristmill.cli.render import listener

    project = open_project(folder, environment)
    draw = listener(as_json=as_json)
    result = project.merge(source, into=on, message=message or "", listener=draw)
    return 0 if result.ok else 1
