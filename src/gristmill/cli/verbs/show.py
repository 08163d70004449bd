"""``gristmill show``: a table, a run, a commit, or what the store holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import at_option, branch_of, complete_table, json_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.model.findings import Finding
    from gristmill.run.records import RunRecord
    from gristmill.store import Snapshot


@click.command("show")
@click.argument("name", required=False, shell_complete=complete_table)
@at_option
@click.option("--failed", is_flag=True, help="of a run: only what failed")
@click.option("--limit", default=10, show_default=True, help="rows of a table to print")
@project_options
@json_option
def command(
    name: str | None,
    at: str | None,
    failed: bool,
    limit: int,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Show a table (`raw.flights`, `raw.flights@main~1`), a run (`run/17`), a model, or everything there is.

    \b
    gristmill show
    gristmill show clean.flights --at main~1
    gristmill show run/17 --failed
    """
    from gristmill.errors import NotFound, did_you_mean
    from gristmill.run.records import load

    store, settings = open_store(folder, environment)
    if name and name.startswith("run/"):
        _show_run(load(store, name), failed, as_json)
        return
    if name and "@" in name:
        name, _, at = name.partition("@")
    snapshot = store.snapshot(at or branch_of(settings, None))
    if name is None:
        _show_all(snapshot, as_json)
    elif name in snapshot:
        _show_table(snapshot, name, limit, as_json)
    elif name in snapshot.file_trees():
        _show_model(snapshot, name, as_json)
    else:
        known = [*snapshot.tables(), *snapshot.file_trees()]
        raise NotFound(f"there is no `{name}` at {snapshot.commit.id[:7]}", hint=did_you_mean(name, known))


def _show_all(snapshot: Snapshot, as_json: bool) -> None:
    from gristmill.cli.output import columns, count, emit, say
    from gristmill.run.models import load_model

    rows = []
    for name in snapshot.tables():
        state = snapshot.table(name)
        rows.append((name, count(state.row_count, "row"), state.properties.get("kind", ""), ", ".join(state.key)))
        if as_json:
            emit("table", name=name, rows=state.row_count, key=state.key, properties=state.properties)
    for name in snapshot.file_trees():
        model = load_model(snapshot, name)
        metrics = ", ".join(f"{key} {value:.4f}" for key, value in model.metrics.items()) if model else ""
        rows.append((name, metrics, "model" if model else "files", ""))
        if as_json:
            emit("files", name=name, metrics=model.metrics if model else {})
    if not rows and not as_json:
        say("no tables yet: gristmill run")
    elif not as_json:
        click.echo(columns(rows))


def _show_table(snapshot: Snapshot, name: str, limit: int, as_json: bool) -> None:
    from gristmill.cli.output import columns, count, say, table
    from gristmill.run.derivation import load_derivation

    state = snapshot.table(name)
    if not as_json:
        say(
            f"{name} at {snapshot.commit.id[:7]}: {count(state.row_count, 'row')}, key {', '.join(state.key) or 'none'}"
        )
        schema = state.schema.to_arrow()
        say(columns([(f"  {field.name}", field.type, "" if field.nullable else "required") for field in schema]))
        derivation = load_derivation(snapshot, name)
        if derivation:
            say(f"defined in {derivation.place}, reads {', '.join(derivation.inputs) or 'nothing'}")
    reader = snapshot.reader(name)
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch.slice(0, limit - rows))
        rows += batches[-1].num_rows
        if rows >= limit:
            break
    import pyarrow as pa

    table(pa.Table.from_batches(batches, reader.schema), as_json=as_json, total=state.row_count)


def _show_model(snapshot: Snapshot, name: str, as_json: bool) -> None:
    from gristmill.cli.output import columns, emit, size
    from gristmill.run.models import load_model

    record = load_model(snapshot, name)
    entries = snapshot.files(name).entries
    if as_json:
        emit("model", name=name, record=record, files={path: entry[1] for path, entry in entries.items()})
        return
    rows: list[tuple[object, ...]] = [(f"file {path}", size(entry[1])) for path, entry in entries.items()]
    if record:
        rows += [(f"metric {key}", value) for key, value in record.metrics.items()]
        rows += [(f"trained on {table}", f"{count:,} rows") for table, (count, _) in record.trained_on.items()]
        rows.append((f"held {record.held}", f"{record.held_rows:,} rows"))
        rows += [(f"parameter {key}", value) for key, value in record.parameters.items()]
        rows.append(("run", record.run))
    click.echo(columns(rows))


def _show_run(record: RunRecord, failed: bool, as_json: bool) -> None:
    from gristmill.cli.output import columns, count, emit_struct, when

    if as_json:
        emit_struct(record)
        return
    head = record.head[:7] if record.head else "not published"
    click.echo(
        f"{record.run}  {record.status}  on {record.on} from {record.base[:7]} -> {head}  {when(record.started_us)}"
    )
    if record.message:
        click.echo(record.message)
    if not failed:
        rows = [(f"  {s.name}", s.mode, count(s.rows, "row"), f"{s.wall_s:.1f} s", s.reason) for s in record.stages]
        click.echo(columns(rows, right=[3]))
    for finding in record.findings:
        if finding.blocks if failed else finding.outcome != "pass":
            _show_finding(finding)


def _show_finding(finding: Finding) -> None:
    click.echo(f"{finding.outcome:<8} {finding.table}  {finding.words}: {finding.seen}")
    for example in finding.examples:
        click.echo(f"           {example}")
