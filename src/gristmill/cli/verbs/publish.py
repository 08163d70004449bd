"""``gristmill publish``: publish a run that was kept aside."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, open_project, project_options


@click.command("publish")
@click.argument("run")
@click.option("--accept", metavar="RULE@TABLE", multiple=True, help="let a failing rule pass, with a reason and an end")
@click.option(
    "--set-aside", metavar="RULE@TABLE", multiple=True, help="let the rows that break a rule go to quarantine"
)
@click.option("--because", help="why it is accepted, or set aside")
@click.option("--until", metavar="DATE", help="last day (UTC) on which it is accepted, such as 2026-12-31")
@project_options
@json_option
def command(
    run: str,
    accept: tuple[str, ...],
    set_aside: tuple[str, ...],
    because: str | None,
    until: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Publish RUN: what it finished is taken over, the rest is computed, and checks hold as accepted.

    \b
    gristmill publish run/17 --accept between:spend@features.user_7d --because "refunds" --until 2026-12-31
    gristmill publish run/17 --set-aside between:spend@features.user_7d --because "typing errors"
    """
    from gristmill.cli.render import listener
    from gristmill.run.checking import Acceptance

    if accept and not (because and until):
        raise click.UsageError("--accept needs --because and --until")
    if set_aside and not because:
        raise click.UsageError("--set-aside needs --because")
    acceptances = [
        Acceptance(table=table, rule=rule, because=because or "", until=_day(until or ""))
        for table, rule in (_pair("--accept", item) for item in accept)
    ]
    aside = [_pair("--set-aside", item) for item in set_aside]
    project = open_project(folder, environment)
    result = project.publish(
        run, accept=acceptances, set_aside=aside, because=because or "", listener=listener(as_json=as_json)
    )
    return 0 if result.ok else 1


def _pair(option: str, text: str) -> tuple[str, str]:
    """Return table and rule."""
    rule, at, table = text.rpartition("@")
    if not at or not rule:
        raise click.UsageError(f"{option} {text}: write RULE@TABLE, as the refusal shows it")
    return table, rule


def _day(text: str) -> str:
    import datetime

    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.UsageError(f"--until {text}: write a date such as 2026-12-31") from None
