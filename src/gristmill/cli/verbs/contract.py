"""``gristmill contract``: write one from data, show what one asks for, check a document or a table."""

from __future__ import annotations

from pathlib import Path

import click

from gristmill.cli.options import branch_of, find_root, json_option, on_option, open_store, project_options


@click.group("contract")
def command() -> None:
    """Contracts: documents of the Open Data Contract Standard, 3.0 to 3.2.

    \b
    gristmill contract infer raw.weather
    gristmill contract show contracts/clean.flights.yaml
    gristmill contract check contracts/*.yaml
    """


@command.command("infer")
@click.argument("table")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="default: contracts/TABLE.yaml")
@click.option("--force", is_flag=True, help="write over a file that is there")
@on_option
@project_options
def infer(
    table: str, out: Path | None, force: bool, on: str | None, folder: Path | None, environment: str | None
) -> None:
    """Write a contract for TABLE as it is stored now."""
    from gristmill.cli.output import say
    from gristmill.errors import UsageError
    from gristmill.run.inferring import inferred_contract
    from gristmill.store import compute

    store, settings = open_store(folder, environment)
    snapshot = store.snapshot(branch_of(settings, on))
    target = out or find_root(folder) / "contracts" / f"{table}.yaml"
    if target.exists() and not force:
        raise UsageError(f"{target} is there already", code="GM-U011", hint="--force writes over it, --out elsewhere")
    text = inferred_contract(compute.connection(), snapshot, table)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    say(f'wrote {target}; let it hold: contract="contracts/{table}.yaml" where {table} is defined')


@command.command("show")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what FILE asks for: every rule with its line, and what is not checked here."""
    from gristmill.cli.output import columns, emit_struct, say
    from gristmill.contracts import describe, load

    contract = load(file)
    if as_json:
        emit_struct(contract)
        return
    said = f", owner {contract.owner}" if contract.owner else ""
    say(f"{contract.name} {contract.version} ({contract.status or 'no status'}, ODCS {contract.standard}{said})")
    for note in contract.notes:
        say(note)
    for table in contract.tables:
        click.echo(table.name)
        click.echo(columns([("", rule.on_fail, describe(rule), rule.origin or "") for rule in table.rules]))
        for note in table.notes:
            click.echo(f"  not checked  {note}")


@command.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> int:
    """Check documents: each valid under its own version, every rule meaningful. Exit 1 where one is not."""
    from gristmill.cli.output import emit, say
    from gristmill.contracts import load
    from gristmill.errors import DefinitionError

    wrong = 0
    for file in files:
        try:
            contract = load(file)
        except DefinitionError as error:
            wrong += 1
            said = {"code": error.code, "message": error.message, "where": error.where, "hint": error.hint}
            emit("contract", file=str(file), valid=False, **said) if as_json else click.echo(str(error))
            continue
        rules = sum(len(table.rules) for table in contract.tables)
        if as_json:
            emit("contract", file=str(file), valid=True, rules=rules)
        else:
            click.echo(f"{file}: valid, {rules} rules")
    if wrong and not as_json:
        say(f"{wrong} of {len(files)} are not valid")
    return 1 if wrong else 0
