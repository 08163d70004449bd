"""``gristmill publish``: publish a run that was kept aside."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, open_project, project_options


@click.command("publish")
@click.argument("run")
@click.option("--accept", metavar="RULE@TABLE", multiple=True, help="let a failing rule pass, with a reason and an end")
@click.option("--because", help="why it is accepted")
@click.option("--until", metavar="DATE", help="last day (UTC) on which it is accepted, such as 2026-12-31")
@project_options
@json_option
def command(
    run: str,
    accept: tuple[str, ...],
    because: str | None,
    until: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Publish RUN: what it finished is taken over, the rest is computed, and checks hold as accepted.

    \b
    gristmill publish run/17 --accept between:spend@features.user_7d --because "refunds" --until 2026-12-31
    """
    from gristmill.cli.render import listener
    from gristmill.run.checking import Acceptance

    if accept and not (because and until):
        raise click.UsageError("--accept needs --because and --until")
    acceptances = []
    for item in accept:
        rule, at, table = item.rpartition("@")
        if not at or not rule:
            raise click.UsageError(f"--accept {item}: write RULE@TABLE, as the refusal shows it")
        acceptances.append(Acceptance(table=table, rule=rule, because=because or "", until=_day(until or "")))
    project = open_project(folder, environment)
    result = project.publish(run, accept=acceptances, listener=listener(as_json=as_json))
    return 0 if result.ok else 1


def _day(text: str) -> str:
    import datetime

    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.UsageError(f"--until {text}: write a date such as 2026-12-31") from None
