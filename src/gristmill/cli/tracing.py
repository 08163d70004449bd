"""Traces, replays and column lineage as text for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gristmill.cli.output import columns, count, emit, say

if TYPE_CHECKING:
    from gristmill.lineage import Forward, Replay, Trace
    from gristmill.lineage.values import Link, Reached, Trained
    from gristmill.store import Snapshot

_MAX_CELLS = 6
_MAX_LINE = 100


def print_trace(found: Trace, as_json: bool) -> None:
    """Write a trace as a tree."""
    if as_json:
        emit("trace", **_plain(found))
        return
    click.echo(f"{_head(found)}{_values(found)}")
    for line in _below(found, ""):
        click.echo(line)


def _head(found: Trace) -> str:
    rows = _keys(found)
    return f"{found.table}@{found.commit[:7]}  {rows}" + (f"  ({found.note})" if found.note else "")


def _keys(found: Trace) -> str:
    """Name the rows: by their places, else their key, else their row ids."""
    sample = found.sample.to_pylist()
    if found.places:
        names = [str(place) for place in found.places]
    elif found.key:
        names = [",".join(str(row[name]) for name in found.key) for row in sample]
    else:
        names = [f"row {row['_row_id']}" for row in sample]
    if len(found.ids) == 1:
        return names[0] if names else ""
    more = len(found.ids) - len(names)
    return f"{count(len(found.ids), 'row')}: {', '.join(names)}" + (f" and {more:,} more" if more else "")


def _values(found: Trace) -> str:
    """Return the cells of a single traced row, besides its key."""
    if len(found.ids) != 1 or found.kind == "source":
        return ""
    (row,) = found.sample.to_pylist()
    cells = [(name, value) for name, value in row.items() if name not in (*found.key, "_row_id")]
    shown = " ".join(f"{name}={_cell(value)}" for name, value in cells[:_MAX_CELLS])
    return f"  {shown}" + (" ..." if len(cells) > _MAX_CELLS else "")


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _below(found: Trace, indent: str) -> Iterator[str]:
    """Yield the lines below a set of rows: models, inputs and raw records."""
    raws = [place for place in found.places if place.raw is not None]
    for place in raws:
        name = f"{place.line}: " if len(raws) > 1 else ""
        yield f"{indent}   {name}{_short(place.raw or '')}"
    branches: list[Trained | Link] = [*found.models, *found.links]
    for number, branch in enumerate(branches):
        last = number == len(branches) - 1
        corner, deeper = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield f"{indent}{corner}{_branch(branch)}"
        rows = getattr(branch, "rows", None)
        if rows is not None:
            yield from _below(rows, indent + deeper)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LINE else text[: _MAX_LINE - 1] + "…"


def _branch(branch: Trained | Link) -> str:
    from gristmill.lineage.values import Trained

    if isinstance(branch, Trained):
        return _model(branch)
    notes = list(branch.notes)
    if branch.frame:
        notes.append(f"{count(branch.frame, 'more row')} competed or shared a window")
    words = f"  ({'; '.join(notes)})" if notes else ""
    if branch.rows is None:
        return f"{branch.table}  no row{words}" if not notes else f"{branch.table}{words}"
    return f"{_head(branch.rows)}{words}"


def _model(model: Trained) -> str:
    metrics = " ".join(f"{name}={value:.4f}" for name, value in model.metrics.items())
    at = f"@{model.commit[:7]}" if model.commit else " (as it was then)"
    trained = ", ".join(f"{rows:,} rows of {table}{at}" for table, rows in model.trained_on.items())
    parts = [f"{model.name}  files {model.files[:7]}"]
    if metrics:
        parts.append(f"{metrics} on {model.held}" if model.held else metrics)
    if trained:
        parts.append(f"trained in {model.run} on {trained}")
    return "  ".join(parts)


def _plain(found: Trace) -> dict[str, object]:
    """Return a trace as nested plain values."""
    return {
        "table": found.table,
        "commit": found.commit,
        "made_at": found.made_at,
        "kind": found.kind,
        "rows": len(found.ids),
        "ids": list(found.ids),
        "sample": found.sample.to_pylist(),
        "note": found.note,
        "places": [_place(place) for place in found.places],
        "models": [_fields(model) for model in found.models],
        "inputs": [
            {
                "table": link.table,
                "frame": link.frame,
                "notes": list(link.notes),
                "whole": link.whole,
                "rows": None if link.rows is None else _plain(link.rows),
            }
            for link in found.links
        ],
    }


def _place(place: object) -> dict[str, object]:
    return {**_fields(place), "place": str(place)}


def _fields(value: object) -> dict[str, object]:
    from dataclasses import fields

    return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]


def print_forward(found: Forward, as_json: bool) -> None:
    """Write what rows reached, a line per table."""
    if as_json:
        emit("forward", **_plain(found.start))
        for reached in found.reached:
            emit("reached", **_reached(reached))
        return
    click.echo(_head(found.start))
    for line in _below(found.start, ""):
        click.echo(line)
    rows = []
    for reached in found.reached:
        notes = list(reached.notes)
        if reached.frame:
            notes.append(f"{reached.frame:,} more for which they competed, or whose window they share")
        of = f"of {reached.total:,}" if reached.kind != "model" else ""
        rows.append((f"-> {reached.table}", f"{len(reached.ids):,}" if of else "", of, _examples(reached), *notes[:1]))
        rows += [("", "", "", "", note) for note in notes[1:]]
    click.echo(_layout(rows) if rows else "reached nothing")


def _layout(rows: list[tuple[str, ...]]) -> str:
    """Lay out rows in columns, the last of them as long as it is."""
    body = columns([row[:4] for row in rows], right=[1]).split("\n")
    width = max(len(line) for line in body)
    return "\n".join(
        f"{line.ljust(width)}  {row[4]}" if len(row) > 4 else line for line, row in zip(body, rows, strict=True)
    )


def _examples(reached: Reached) -> str:
    if reached.sample is None or not reached.key:
        return ""
    names = [",".join(str(row[name]) for name in reached.key) for row in reached.sample.slice(0, 1).to_pylist()]
    return ", ".join(names) + (", ..." if len(reached.ids) > len(names) else "")


def _reached(reached: Reached) -> dict[str, object]:
    return {
        "table": reached.table,
        "kind": reached.kind,
        "rows": len(reached.ids),
        "ids": list(reached.ids),
        "frame": reached.frame,
        "total": reached.total,
        "sample": [] if reached.sample is None else reached.sample.to_pylist(),
        "notes": list(reached.notes),
    }


def print_replay(result: Replay, as_json: bool) -> None:
    """Write what computing the rows again gave."""
    if as_json:
        emit("replay", equal=result.equal, **_fields(result))
        return
    total = sum(result.sources.values())
    parts = ", ".join(f"{rows:,} of {name}" for name, rows in result.sources.items())
    verdict = "equal, bit for bit" if result.equal else f"differs: {result.difference}"
    click.echo(f"replayed {count(result.rows, 'row')} from {count(total, 'source row')} ({parts}): {verdict}")
    for note in result.notes:
        say(f"  {note}")


def print_columns(snapshot: Snapshot, table: str, as_json: bool) -> None:
    """Write, for each column of a table, the source columns behind it."""
    from gristmill.lineage.columns import source_columns
    from gristmill.lineage.stored import find_table

    find_table(snapshot, table)
    rows = []
    for name in snapshot.schema_of(table).to_arrow().names:
        found = source_columns(snapshot, table, name)
        if as_json:
            emit("column", table=table, column=name, value=found.value, influence=found.influence)
        decides = sorted(set(found.influence) - set(found.value))
        rows.append((name, "<- " + _joined(found.value), f"decided by {_joined(decides)}" if decides else ""))
    if not as_json:
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        for name, value, decided in rows:
            click.echo(f"{name.ljust(widths[0])}  {value.ljust(widths[1])}  {decided}".rstrip())


def _joined(origins: object) -> str:
    by_table: dict[str, list[str]] = {}
    for table, column in origins:  # type: ignore[attr-defined]
        by_table.setdefault(table, []).append(column)
    parts = [f"{table}: {_names(names)}" for table, names in by_table.items()]
    return "; ".join(parts) or "nothing"


def _names(names: list[str]) -> str:
    return ", ".join(names[:_MAX_CELLS]) + (f" and {len(names) - _MAX_CELLS} more" if len(names) > _MAX_CELLS else "")
