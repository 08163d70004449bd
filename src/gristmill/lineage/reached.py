"""From rows of a table forward to every row that they reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.lineage.backward import starting_rows
from gristmill.lineage.places import places_of
from gristmill.lineage.stored import ROW_ID, Key, Rows, made_at
from gristmill.lineage.values import Forward, Reached, Trace
from gristmill.run.models import ORIGIN_ROW, load_model
from gristmill.run.witnesses import Way, Witnesses, load_witnesses

if TYPE_CHECKING:
    from gristmill.store import Snapshot, Store

_PREFIX, _SUFFIX = "lineage/", ".json"
_HIT = "_gristmill_hit"


@dataclass(slots=True)
class _Reach:
    """What is known of one table so far: rows reached directly, rows that share a frame, influence on the whole."""

    direct: set[int] = field(default_factory=set)
    frame: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.direct or self.frame or self.notes)


def forward(
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
) -> Forward:
    """Trace rows forward to every row of the state at ``ref`` that they reached; no project code is run.

    Args:
        store, ref, table, key, where, row, unit, line, root, shown: as for `gristmill.lineage.trace`.

    Raises NotFound where no row fits, UsageError where the row cannot be named like this.
    """
    from gristmill.engines.kernel import Kernel

    with Kernel() as kernel:
        reader = Rows(store, kernel)
        commit = store.resolve(ref)
        ids = starting_rows(reader, commit, table, key=key, where=where, row=row, unit=unit, line=line)
        snapshot = reader.at(commit)
        known = {table: _Reach(direct=set(ids))}
        found = [_reach(reader, snapshot, name, ways, known, shown) for name, ways in _in_order(snapshot)]
        start = _start(reader, commit, table, ids, root, shown)
        return Forward(start=start, reached=tuple(reached for reached in found if reached is not None))


def _start(reader: Rows, commit: str, table: str, ids: Sequence[int], root: Path | None, shown: int) -> Trace:
    snapshot = reader.at(commit)
    ways = load_witnesses(snapshot, table)
    places = places_of(reader, commit, table, ids[:shown], root=root) if ways is None else ()
    return Trace(
        table=table,
        commit=commit,
        kind=ways.kind if ways else "source",
        ids=tuple(ids),
        key=snapshot.table(table).key,
        sample=reader.by_id(commit, table, ids[:shown]),
        places=places,
    )


def _in_order(snapshot: Snapshot) -> Iterable[tuple[str, Witnesses]]:
    """Yield the derived tables and models with their witnesses, inputs first."""
    names = [path.removeprefix(_PREFIX).removesuffix(_SUFFIX) for path in snapshot.documents(_PREFIX)]
    there = {name: ways for name in names if (ways := load_witnesses(snapshot, name)) is not None}
    order = TopologicalSorter(
        {name: {*ways.inputs, *([ways.model] if ways.model else [])} for name, ways in there.items()}
    )
    return [(name, there[name]) for name in order.static_order() if name in there]


def _reach(
    reader: Rows, snapshot: Snapshot, name: str, ways: Witnesses, known: dict[str, _Reach], shown: int
) -> Reached | None:
    """Add one table or model to what is known; None where nothing reaches it."""
    inputs = {table: known[table] for table in ways.inputs if table in known}
    if ways.kind == "model":
        return _model(snapshot, name, ways, inputs, known)
    if name not in snapshot:
        return None
    reach = _Reach()
    made = made_at(reader.store, snapshot.commit.id, name)
    if ways.kind == "predictions":
        _predictions(reader, snapshot, name, ways, inputs, reach)
        if ways.model in known:
            reach.notes.append(f"all rows, through {ways.model}")
    elif made is None and inputs:
        reach.notes.append("its inputs have changed since it was computed, and no commit holds them as they were")
    else:
        for table, there in inputs.items():
            _through(reader, snapshot, name, ways, (table, there, made or snapshot.commit.id), reach)
    if not reach.any:
        return None
    reach.frame -= reach.direct
    known[name] = reach
    state = snapshot.table(name)
    ids = tuple(sorted(reach.direct))
    return Reached(
        table=name,
        kind=ways.kind,
        ids=ids,
        frame=len(reach.frame),
        total=state.row_count,
        key=state.key,
        sample=reader.by_id(snapshot.commit.id, name, ids[:shown]),
        notes=tuple(dict.fromkeys(reach.notes)),
    )


def _through(
    reader: Rows,
    snapshot: Snapshot,
    name: str,
    ways: Witnesses,
    step: tuple[str, _Reach, str],
    reach: _Reach,
) -> None:
    """Follow one input of a derived table; ``step`` is the input, what is known of it, and the commit to read it at."""
    table, there, made = step
    reader.named(made, list(ways.inputs))
    for way in ways.inputs[table]:
        if way.sql is None:
            reach.notes.append(f"all rows: {way.why} ({table})")
            continue
        direct = _rows_made(reader, snapshot, name, ways, way, there.direct)
        frame = _rows_made(reader, snapshot, name, ways, way, there.frame)
        if way.kind == "direct":
            reach.direct |= direct
            reach.frame |= frame
        else:
            reach.frame |= direct | frame
    if there.notes:
        reach.notes.append(f"all rows, through {table}")


def _rows_made(reader: Rows, snapshot: Snapshot, name: str, ways: Witnesses, way: Way, ids: set[int]) -> set[int]:
    from gristmill.engines.kernel.kernel import quote
    from gristmill.store import compute

    if not ids:
        return set()
    assert way.sql is not None
    compute.register(reader.kernel.connection, _HIT, snapshot.scan(name, row_ids=True))
    equal = " AND ".join(f"w.{quote(column)} IS NOT DISTINCT FROM t.{quote(column)}" for column in ways.identity)
    with reader.wanted(sorted(ids)) as wanted:
        hit = f"SELECT * FROM ({way.sql}) AS w WHERE w.{ROW_ID} IN (SELECT id FROM {wanted})"
        return set(reader.ids(f"SELECT t.{ROW_ID} FROM {_HIT} AS t SEMI JOIN ({hit}) AS w ON {equal}"))


def _predictions(
    reader: Rows, snapshot: Snapshot, name: str, ways: Witnesses, inputs: dict[str, _Reach], reach: _Reach
) -> None:
    from gristmill.store import compute

    for table, there in inputs.items():
        plan = snapshot.scan(name, row_ids=True, hidden=True)
        compute.register(reader.kernel.connection, _HIT, plan)
        for ids, kept in ((there.direct, reach.direct), (there.frame, reach.frame)):
            if ids:
                with reader.wanted(sorted(ids)) as wanted:
                    sql = f'SELECT {ROW_ID} FROM {_HIT} WHERE "{ORIGIN_ROW}" IN (SELECT id FROM {wanted})'
                    kept |= set(reader.ids(sql))
        if there.notes:
            reach.notes.append(f"all rows, through {table}")


def _model(
    snapshot: Snapshot, name: str, ways: Witnesses, inputs: dict[str, _Reach], known: dict[str, _Reach]
) -> Reached | None:
    """Say how many of a model's training rows are among those reached, and that it was judged on others."""
    record = load_model(snapshot, name)
    trained = dict(record.trained_on) if record else {}
    notes, ids, total = [], 0, 0
    for table, there in inputs.items():
        rows = len(there.direct)
        if table in trained:
            ids += rows
            total += trained[table][0]
            notes.append(f"trained on {rows:,} of them among {trained[table][0]:,} rows of {table}")
        else:
            notes.append(f"judged on {rows:,} of them in {table}")
    if not notes:
        return None
    if any(table in trained for table in inputs):
        known[name] = _Reach(notes=[f"trained on {ids:,} of them"])
    return replace(Reached(table=name, kind="model", total=total), notes=tuple(notes))
