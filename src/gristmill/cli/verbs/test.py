"""``gristmill test``: run the project's definitions on rows from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gristmill.cli.options import json_option, open_project, parse_parameters, project_options

if TYPE_CHECKING:
    import pyarrow as pa


@click.command("test")
@click.argument("cases", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="value of a definition's parameter")
@project_options
@json_option
def command(
    cases: tuple[Path, ...], parameters: tuple[str, ...], folder: Path | None, environment: str | None, as_json: bool
) -> int:
    """Run definitions on small rows and compare; no store is touched. Exit 1 where a table differs.

    CASES are JSON files; default: tests/*.json of the project. Each holds rows by table: `given` for inputs, `expect`
    for results. Rows compare as multisets, over the columns that `expect` names.

    \b
    {"given": {"raw.orders": [{"id": 1, "amount": 5}]}, "expect": {"marts.days": [{"amount": 5}]}}
    """
    from gristmill.cli.output import emit, say
    from gristmill.errors import UsageError

    project = open_project(folder, environment)
    found = list(cases) or sorted((project.root / "tests").glob("*.json"))
    if not found:
        raise UsageError(
            "there are no cases", code="GM-U014", hint="write tests/NAME.json, see `gristmill test --help`"
        )
    failed = 0
    for path in found:
        case = json.loads(path.read_text(encoding="utf-8"))
        made = project.test(case.get("given", {}), params=parse_parameters(parameters))
        differences = [words for table, rows in case.get("expect", {}).items() for words in _differ(made, table, rows)]
        failed += bool(differences)
        if as_json:
            emit("case", file=path.name, ok=not differences, differences=differences)
            continue
        click.echo(f"{'fail' if differences else 'pass'}  {path.name}")
        for words in differences[:6]:
            click.echo(f"      {words}")
    say(f"{len(found) - failed} of {len(found)} cases passed")
    return 1 if failed else 0


def _differ(made: dict[str, pa.Table], table: str, expected: list[dict[str, object]]) -> list[str]:
    if table not in made:
        return [f"{table} was not computed from what is given"]
    names = list(expected[0]) if expected else []
    missing = [name for name in names if name not in made[table].schema.names]
    if missing:
        return [f"{table} has no column {', '.join(missing)}"]
    got = [json.dumps({name: row[name] for name in names}, default=str) for row in made[table].to_pylist()]
    want = [json.dumps({name: row.get(name) for name in names}, default=str) for row in expected]
    words = []
    for row in list(want):
        if row in got:
            got.remove(row)
            want.remove(row)
    words += [f"{table} lacks {row}" for row in want]
    return words + [f"{table} has   {row}" for row in got]
