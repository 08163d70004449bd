"""``gristmill diff``: compare two commits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import json_option, open_store, project_options

if TYPE_CHECKING:
    from gristmill.model.delta import Delta
    from gristmill.store import Snapshot, Store


@click.command("diff")
@click.argument("before")
@click.argument("after")
@click.argument("table", required=False)
@click.option("--metrics", is_flag=True, help="also compare the models' metrics")
@click.option("--exit-code", is_flag=True, help="exit 1 where anything differs")
@click.option("--limit", default=5, show_default=True, help="changed rows of TABLE to print")
@project_options
@json_option
def command(
    before: str,
    after: str,
    table: str | None,
    metrics: bool,
    exit_code: bool,
    limit: int,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Say what changed from BEFORE to AFTER, by row identity; with TABLE also show rows.

    \b
    gristmill diff main~1 main
    gristmill diff main try/partner --metrics
    """
    from gristmill.cli.output import columns, count, emit
    from gristmill.model.names import shown

    store, _ = open_store(folder, environment)
    changes = store.diff(before, after)
    tables = {name: delta for name, delta in changes.tables.items() if name == table or (table is None and shown(name))}
    rows = []
    for name, delta in tables.items():
        if as_json:
            counts = {"inserted": len(delta.inserted), "deleted": len(delta.deleted), "updated": len(delta.updated)}
            emit("table", name=name, **counts)
        parts = (f"+{len(delta.inserted):,}", f"-{len(delta.deleted):,}", f"~{len(delta.updated):,}")
        rows.append((name, *parts, _words(delta)))
    if not as_json:
        click.echo(columns(rows, right=[1, 2, 3]) if rows else "no table differs")
        for source, (old, new) in changes.units.items():
            added = sorted(set(new) - set(old))
            if added:
                click.echo(f"{source}: {count(len(added), 'unit')} more: {', '.join(added[:3])}")
    if table:
        for delta in tables.values():
            _show_rows(delta, limit, as_json)
    if metrics:
        _compare_metrics(store, before, after, as_json)
    return 1 if exit_code and (tables or changes.files) else 0


def _words(delta: Delta) -> str:
    if delta.before_id is None:
        return "new table"
    if delta.after_id is None:
        return "dropped"
    return ", ".join(
        word for flag, word in ((delta.schema_changed, "schema changed"), (delta.rebuilt, "made anew")) if flag
    )


def _show_rows(delta: Delta, limit: int, as_json: bool) -> None:
    from gristmill.cli.output import table
    from gristmill.store import compute

    for side, plan in (("before", delta.before), ("after", delta.after)):
        if plan is None:
            continue
        rows = compute.reader(plan).read_all()
        if rows.num_rows:
            if not as_json:
                click.echo(f"{side}:")
            table(rows.slice(0, limit), as_json=as_json, total=rows.num_rows)


def _compare_metrics(store: Store, before: str, after: str, as_json: bool) -> None:
    from gristmill.cli.output import emit
    from gristmill.run.models import compare

    old, new = store.snapshot(before), store.snapshot(after)
    for name in _models(old, new):
        compared = compare(old, new, name)
        if as_json:
            emit("metrics", model=name, comparison=compared)
            continue
        if compared.refused:
            click.echo(f"{name}: {compared.refused}")
        for metric, (was, now) in compared.metrics.items():
            low, high = compared.interval(metric)
            half = (high - low) / 2
            click.echo(f"{name}  {metric} {was:.4f} -> {now:.4f}  ({now - was:+.4f}; each ±{half:.4f} at 95 %)")


def _models(*snapshots: Snapshot) -> list[str]:
    return sorted({name for snapshot in snapshots for name in snapshot.file_trees()})
