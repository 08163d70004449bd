"""``gristmill source``: what a source has landed, what is held, and letting it land again."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options


@click.group("source")
def command() -> None:
    """Units of sources: landed, or held by a revert.

    \b
    gristmill source list raw.flights
    gristmill source release raw.flights landing/flights/partner.csv --on try/partner
    """


@command.command("list")
@click.argument("source", required=False)
@on_option
@project_options
@json_option
def list_(source: str | None, on: str | None, folder: Path | None, environment: str | None, as_json: bool) -> None:
    """List the units of SOURCE, or of all sources, with what became of their rows."""
    from gristmill.cli.output import columns, emit, size

    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(branch_of(settings, on))
    rows = []
    for name in [source] if source else snapshot.sources():
        for unit in sorted(snapshot.units(name).values(), key=lambda unit: unit.number):
            ledger = unit.ledger
            if as_json:
                emit("unit", source=name, unit=unit)
            counts = (ledger.delivered, ledger.accepted, ledger.quarantined)
            rows.append((name, unit.name, unit.state, size(unit.size_bytes), *counts))
    if not as_json:
        header = ["source", "unit", "state", "size", "delivered", "accepted", "aside"]
        click.echo(columns(rows, header=header, right=[3, 4, 5, 6]))


@command.command("release")
@click.argument("source")
@click.argument("units", nargs=-1)
@on_option
@project_options
@json_option
def release(
    source: str,
    units: tuple[str, ...],
    on: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Let held units of SOURCE land again at the next run: those named, or all."""
    from gristmill.cli.output import count, emit, say
    from gristmill.errors import UsageError, did_you_mean
    from gristmill.run.landing import release as release_units

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    held = [name for name, unit in store.snapshot(branch).units(source).items() if unit.state == "held"]
    for name in units:
        if name not in held:
            hint = did_you_mean(name, held) or f"held: {', '.join(held) or 'none'}"
            raise UsageError(f"{name} of {source} is not held on {branch}", code="GM-U007", hint=hint)
    commit = release_units(store, branch, source, units or tuple(held))
    if as_json:
        emit("source_release", source=source, units=list(units or held), branch=branch, commit=commit)
        return
    say(f"released {count(len(units or held), 'unit')} of {source}; {branch} is at {commit[:7]}; next: gristmill run")
    say(f"undo: gristmill revert {commit[:7]} --on {branch}")
