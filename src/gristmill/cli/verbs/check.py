"""``gristmill check``: check tables against their rules."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import json_option, on_option, open_project, project_options


@click.command("check")
@click.argument("select", nargs=-1)
@on_option
@project_options
@json_option
def command(
    select: tuple[str, ...], on: str | None, folder: Path | None, environment: str | None, as_json: bool
) -> int:
    """Check tables as they are stored against the project's rules, write nothing. Exit 1 where a rule fails.

    \b
    gristmill check
    gristmill check clean.flights --on try/partner
    """
    from gristmill.cli.output import emit_struct, say

    report = open_project(folder, environment).check(select, on=on)
    if as_json:
        for finding in report.findings:
            emit_struct(finding)
    else:
        tables = dict.fromkeys(finding.table for finding in report.findings)
        for table in tables:
            click.echo(table)
            for finding in report.findings:
                if finding.table == table:
                    _line(finding)
        passed = sum(finding.outcome == "pass" for finding in report.findings)
        say(f"{passed} of {len(report.findings)} rules passed")
    return 1 if any(finding.blocks for finding in report.findings) else 0


def _line(finding: object) -> None:
    from gristmill.model.findings import Finding

    assert isinstance(finding, Finding)
    click.echo(f"  {finding.outcome:<12}{finding.words}  {finding.seen}".rstrip())
    for example in finding.examples:
        click.echo(f"              {example}")
