"""``gristmill explain``: what stands behind an error code."""

from __future__ import annotations

import click

from gristmill.cli.options import json_option


@click.command("explain")
@click.argument("code", required=False)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Say what an error code means and what helps; without CODE list them all.

    \b
    gristmill explain GM-C001
    """
    from gristmill.cli.codes import CODES
    from gristmill.cli.output import columns, emit
    from gristmill.errors import UsageError, did_you_mean

    if code is None and as_json:
        for name, words in sorted(CODES.items()):
            emit("code", code=name, words=words)
        return
    if code is None:
        click.echo(columns([(name, words.split(".")[0]) for name, words in sorted(CODES.items())]))
        return
    wanted = code.upper()
    if wanted not in CODES:
        raise UsageError(f"there is no code {code}", code="GM-U012", hint=did_you_mean(wanted, list(CODES)))
    if as_json:
        emit("code", code=wanted, words=CODES[wanted])
        return
    click.echo(f"{wanted}  {CODES[wanted]}")
