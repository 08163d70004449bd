"""From rows of a table back to the source lines that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import NotFound, UsageError
from gristmill.lineage.places import places_of
from gristmill.lineage.stored import ROW_ID, Key, Rows, find_table, key_condition, made_at
from gristmill.lineage.trained import models_of
from gristmill.lineage.values import Link, Trace
from gristmill.model.names import quote
from gristmill.run.models import ORIGIN_ROW
from gristmill.run.witnesses import Way, Witnesses, load_witnesses

if TYPE_CHECKING:
    from gristmill.engines.kernel import Kernel
    from gristmill.model.predicates import Predicate
    from gristmill.store import Snapshot, Store

_KEYS = "_gristmill_keys"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one trace is to show and follow."""

    reader: Rows
    root: Path | None
    shown: int
    frames: bool


def trace(
    store: Store,
    ref: str,
    table: str,
    *,
    key: Key | None = None,
    where: str | None = None,
    row: int | None = None,
    unit: str | None = None,
    line: int | None = None,
    root: Path | None = None,
    shown: int = 5,
) -> Trace:
    """Trace rows of a table back to the rows of source tables that they come from; no project code is run.

    Args:
        store: the store.
        ref: the state to look at.
        table: the table; without one of ``key``, ``where``, ``row``, ``unit`` all its rows are traced.
        key: the key's values, see `Key`.
        where: a condition in SQL.
        row: a row id.
        unit: the unit that delivered the rows, for a source; with ``line`` the one row of that line.
        root: the project's folder, for raw lines; without it none are read.
        shown: how many rows of each table to hold as a sample.

    Raises NotFound where no row fits, UsageError where the row cannot be named like this.
    """
    from gristmill.engines.kernel import Kernel

    with Kernel() as kernel:
        asked = _Asked(Rows(store, kernel), root, shown, frames=False)
        commit = store.resolve(ref)
        ids = starting_rows(asked.reader, commit, table, key=key, where=where, row=row, unit=unit, line=line)
        return _traced(asked, commit, table, ids)


def retraced(store: Store, kernel: Kernel, found: Trace) -> Trace:
    """Return a trace of the same rows that also follows those that share a window with them, for a replay."""
    return _traced(_Asked(Rows(store, kernel), None, 0, True), found.commit, found.table, found.ids)


def starting_rows(
    reader: Rows,
    commit: str,
    table: str,
    *,
    key: Key | None = None,
    where: str | None = None,
    row: int | None = None,
    unit: str | None = None,
    line: int | None = None,
) -> tuple[int, ...]:
    """Return the ids of the rows that are asked for; raises NotFound where there are none."""
    from gristmill.model.predicates import And, parse_where

    snapshot = reader.at(commit)
    find_table(snapshot, table)
    parts: list[Predicate] = []
    if key is not None:
        parts.append(key_condition(snapshot, table, key))
    if where is not None:
        parts.append(parse_where(where, snapshot.schema_of(table).to_arrow().names))
    if unit is not None:
        parts += _delivered(snapshot, table, unit, line)
    ids = reader.matching(commit, table, And(tuple(parts)) if parts else None)
    if row is not None:
        ids = tuple(number for number in ids if number == row)
    if not ids:
        raise NotFound(f"no row of `{table}` at {commit[:7]} fits", hint=f'gristmill sql "select * from {table}"')
    return ids


def _delivered(snapshot: Snapshot, table: str, unit: str, line: int | None) -> list[Predicate]:
    from gristmill.errors import did_you_mean
    from gristmill.model.predicates import Compare
    from gristmill.model.units import ORIGIN_LINE, ORIGIN_UNIT

    units = snapshot.units(table)
    if not units:
        raise UsageError(f"`{table}` is no source with units", code="GM-L003", hint="use --key, --where or --row")
    if unit not in units:
        hint = did_you_mean(unit, list(units)) or f"gristmill source {table} lists them"
        raise NotFound(f"`{table}` has landed no unit `{unit}` at {snapshot.commit.id[:7]}", hint=hint)
    found: list[Predicate] = [Compare(ORIGIN_UNIT, "=", units[unit].number)]
    return [*found, Compare(ORIGIN_LINE, "=", line)] if line is not None else found


def _traced(asked: _Asked, commit: str, table: str, ids: tuple[int, ...]) -> Trace:
    snapshot = asked.reader.at(commit)
    ways = load_witnesses(snapshot, table)
    key = snapshot.table(table).key
    sample = asked.reader.by_id(commit, table, ids[: asked.shown])
    start = Trace(table=table, commit=commit, kind="source", ids=ids, key=key, sample=sample)
    return _source(asked, start) if ways is None else _derived(asked, start, ways)


def _source(asked: _Asked, start: Trace) -> Trace:
    from dataclasses import replace

    places = places_of(asked.reader, start.commit, start.table, start.ids[: asked.shown], root=asked.root)
    note = "" if places else "not landed from a unit; `gristmill blame` says which commit set it"
    return replace(start, places=places, note=note)


def _derived(asked: _Asked, start: Trace, ways: Witnesses) -> Trace:
    from dataclasses import replace

    made = made_at(asked.reader.store, start.commit, start.table)
    note = ""
    if made is None:
        note = "its inputs have changed since it was computed, and no commit holds them as they were"
        return replace(start, kind=ways.kind, note=note)
    found = replace(start, kind=ways.kind, made_at=made)
    if ways.kind == "predictions":
        return replace(found, links=_predicted(asked, found, ways), models=models_of(asked.reader, found, ways))
    asked.reader.named(made, list(ways.inputs))
    identity = ", ".join(quote(name) for name in ways.identity)
    keys = asked.reader.by_id(start.commit, start.table, start.ids, identity)
    links = []
    for name, listed in ways.inputs.items():
        asked.reader.kernel.connection.register(_KEYS, keys)
        direct, frame, needed = _rows_behind(asked.reader, listed, ways.identity)
        asked.reader.kernel.connection.unregister(_KEYS)
        follow = tuple(sorted({*direct, *needed})) if asked.frames else direct
        notes = tuple(dict.fromkeys(way.why for way in listed if way.sql is None))
        link = Link(
            table=name,
            rows=_traced(asked, made, name, follow) if follow else None,
            frame=len(set(frame) - set(direct)),
            notes=notes,
            whole=any(way.sql is None and way.needed for way in listed),
        )
        links.append(link)
        asked.reader.named(made, list(ways.inputs))
    return replace(found, links=tuple(links))


def _rows_behind(
    reader: Rows, ways: Sequence[Way], identity: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the ids of direct rows, of rows in a frame, and of those of the latter that a replay needs."""
    found: dict[str, set[int]] = {"direct": set(), "frame": set(), "needed": set()}
    for way in ways:
        if way.sql is None:
            continue
        ids = reader.ids(behind(way.sql, identity, _KEYS))
        found[way.kind] |= set(ids)
        if way.kind == "frame" and way.needed:
            found["needed"] |= set(ids)
    return tuple(sorted(found["direct"])), tuple(sorted(found["frame"])), tuple(sorted(found["needed"]))


def behind(sql: str, identity: Sequence[str], keys: str) -> str:
    """Return the query for the row ids behind the rows whose identity stands in ``keys``."""
    equal = " AND ".join(f"w.{quote(name)} IS NOT DISTINCT FROM k.{quote(name)}" for name in identity)
    return f"SELECT w.{ROW_ID} FROM ({sql}) AS w SEMI JOIN {keys} AS k ON {equal}"


def _predicted(asked: _Asked, found: Trace, ways: Witnesses) -> tuple[Link, ...]:
    assert found.made_at is not None
    (source,) = ways.inputs
    rows = asked.reader.by_id(found.commit, found.table, found.ids, quote(ORIGIN_ROW), hidden=True)
    ids = tuple(sorted(set(rows.column(0).to_pylist())))
    return (Link(table=source, rows=_traced(asked, found.made_at, source, ids)),)
