"""``gristmill check``: check tables against their rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import json_option, on_option, open_project, project_options

if TYPE_CHECKING:
    from gristmill.model.findings import Finding


@click.command("check")
@click.argument("select", metavar="[TABLE|FILE]...", nargs=-1)
@click.option("--contract", metavar="YAML", help="rules for files: an ODCS document; no project is needed")
@on_option
@project_options
@json_option
def command(
    select: tuple[str, ...],
    contract: str | None,
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Check tables as they are stored, or files, against their rules, write nothing. Exit 1 where a rule fails.

    \b
    gristmill check
    gristmill check clean.flights --on try/partner
    gristmill check delivery.csv --contract contracts/raw.flights.yaml
    """
    from gristmill.cli.output import emit_struct, say

    files = contract is not None or any(map(_is_file, select))
    findings = _of_files(select, contract) if files else open_project(folder, environment).check(select, on=on).findings
    if as_json:
        for finding in findings:
            emit_struct(finding)
    else:
        for table in dict.fromkeys(finding.table for finding in findings):
            click.echo(table)
            for finding in findings:
                if finding.table == table:
                    _line(finding)
        passed = sum(finding.outcome == "pass" for finding in findings)
        say(f"{passed} of {len(findings)} rules passed")
        if files and contract is None:
            say("no rules were given, only whether the rows can be read; name them: --contract YAML")
    return 1 if any(finding.blocks or (files and finding.quarantined) for finding in findings) else 0


def _is_file(text: str) -> bool:
    return Path(text).suffix != "" and Path(text).is_file()


def _of_files(paths: tuple[str, ...], contract: str | None) -> list[Finding]:
    from gristmill.api.checking import check

    if not paths:
        raise click.UsageError("name the files that the contract is for")
    return [found for path in paths for found in check(path, contract or [], name=Path(path).name).findings]


def _line(finding: Finding) -> None:
    click.echo(f"  {finding.outcome:<12}{finding.words}  {finding.seen}".rstrip())
    for example in finding.examples:
        click.echo(f"              {example}")
