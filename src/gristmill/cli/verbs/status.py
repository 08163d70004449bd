"""``gristmill status``: one screen, and whether a person is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import branch_of, json_option, on_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.store import Snapshot, Store


@click.command("status")
@on_option
@project_options
@json_option
def command(on: str | None, folder: Path | None, environment: str | None, as_json: bool) -> int:
    """Show the branch, the last run, rows set aside, held units, accepted failures. Exit 1 if a person is needed."""
    from gristmill.cli.output import count, emit, when

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    snapshot = store.snapshot(branch)
    needs = _needs(store, snapshot)
    if as_json:
        emit("status", branch=branch, commit=snapshot.commit.id, needs_person=[words for words, _ in needs])
        return 1 if needs else 0
    head = snapshot.commit
    click.echo(f"{branch} at {head.id[:7]}  {when(head.time_us)}  {head.message}")
    rows = sum(snapshot.table(name).row_count for name in snapshot.tables())
    click.echo(
        f"{count(len(snapshot.tables()), 'table')}, {count(rows, 'row')}, {count(len(snapshot.sources()), 'source')}"
    )
    if needs:
        click.echo("needs a person:")
        for words, hint in needs:
            click.echo(f"  {words}    see: {hint}")
    else:
        click.echo("nothing needs a person")
    return 1 if needs else 0


def _needs(store: Store, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return what a person should look at, each with the command to type."""
    from gristmill.run.checking import load_acceptances
    from gristmill.run.records import history

    found: list[tuple[str, str]] = []
    for record in history(store, limit=1):
        if record.status == "failed":
            found.append((f"{record.run} failed: {record.message}", f"gristmill show {record.run} --failed"))
        elif record.status == "running" and not record.alive:
            found.append((f"{record.run} was killed; the next run goes on from what it finished", "gristmill run"))
    found += _set_aside(snapshot)
    for source in snapshot.sources():
        held = [name for name, unit in snapshot.units(source).items() if unit.state == "held"]
        if held:
            found.append((f"{source}: {len(held)} held ({held[0]})", f"gristmill source list {source}"))
    for accepted in load_acceptances(snapshot):
        found.append(
            (f"{accepted.table} {accepted.rule} accepted until {accepted.until}: {accepted.because}", "gristmill check")
        )
    return found


def _set_aside(snapshot: Snapshot) -> list[tuple[str, str]]:
    from gristmill.contracts.quarantine import PREFIX
    from gristmill.model.predicates import Compare

    found = []
    for name in snapshot.tables(system=True):
        if name.startswith(PREFIX):
            rows = snapshot.to_arrow(name, columns=["id"], where=Compare("status", "=", "open")).num_rows
            table = name.removeprefix(PREFIX)
            if rows:
                found.append((f"{table}: {rows:,} rows set aside", f"gristmill quarantine list {table}"))
    return found
