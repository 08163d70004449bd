"""``gristmill trace``: follow rows back to their source lines, or forward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import (
    at_option,
    branch_of,
    complete_table,
    find_root,
    json_option,
    open_project,
    open_store,
    project_options,
)

if TYPE_CHECKING:
    from gristmill.lineage import Trace
    from gristmill.store import Store


@click.command("trace")
@click.argument("table", shell_complete=complete_table)
@click.option("--key", metavar="VALUE", help="the row with this key; parts of a composite key parted by commas")
@click.option("--where", metavar="SQL", help="the rows that satisfy a condition")
@click.option("--row", type=int, metavar="ID", help="the row with this row id")
@click.option("--unit", metavar="PATH", help="the rows that a unit of a source delivered")
@click.option("--line", type=int, metavar="N", help="with --unit: the row of this line")
@click.option("--forward", "onward", is_flag=True, help="what the rows reached, not what they come from")
@click.option("--replay", is_flag=True, help="compute the rows again from only the traced ones (runs project code)")
@click.option("--columns", "only_columns", is_flag=True, help="where the table's columns come from; takes no rows")
@click.option("--limit", "shown", default=5, show_default=True, help="rows of each table to print")
@at_option
@project_options
@json_option
def command(
    table: str,
    key: str | None,
    where: str | None,
    row: int | None,
    unit: str | None,
    line: int | None,
    onward: bool,
    replay: bool,
    only_columns: bool,
    shown: int,
    at: str | None,
    folder: Path | None,
    environment: str | None,
    as_json: bool,
) -> int:
    """Follow rows of TABLE back to the source lines they come from, or forward to what they reached.

    \b
    gristmill trace predictions.delay --key UA-1545-20130101T10 --replay
    gristmill trace raw.flights --unit landing/flights/2013-01.csv --forward
    gristmill trace features.flight --columns
    """
    from gristmill.cli.tracing import print_columns, print_forward, print_trace
    from gristmill.errors import UsageError

    store, settings = open_store(folder, environment)
    table, _, inline = table.partition("@")
    ref = at or inline or branch_of(settings, None)
    if only_columns:
        print_columns(store.snapshot(ref), table, as_json)
        return 0
    if key is None and where is None and row is None and unit is None:
        raise UsageError(
            f"which rows of `{table}`?", code="GM-L007", hint="--key VALUE, --where SQL, --row ID or --unit PATH"
        )
    if replay and onward:
        raise UsageError("--replay goes back, --forward goes on", code="GM-L008", hint="use one of them")
    asked = {"key": key, "where": where, "row": row, "unit": unit, "line": line, "shown": shown}
    if onward:
        from gristmill.lineage import forward

        print_forward(forward(store, ref, table, root=find_root(folder), **asked), as_json)  # type: ignore[arg-type]
        return 0
    from gristmill.lineage import trace

    found = trace(store, ref, table, root=find_root(folder), **asked)  # type: ignore[arg-type]
    print_trace(found, as_json)
    return _replay(store, found, folder, environment, as_json) if replay else 0


def _replay(store: Store, found: Trace, folder: Path | None, environment: str | None, as_json: bool) -> int:
    """Load the project and replay; 1 where the rows came out otherwise."""
    from gristmill.cli.tracing import print_replay

    store.close()
    result = open_project(folder, environment).replay(found)
    print_replay(result, as_json)
    return 0 if result.equal else 1
