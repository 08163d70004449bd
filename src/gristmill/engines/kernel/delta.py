"""Running what ``gristmill.algebra.maintain`` gives: the output's changes and those of its hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gristmill.algebra.delta.maintained import Mode, OpRule
from gristmill.engines.kernel.kernel import Kernel, engine_errors
from gristmill.errors import UsageError
from gristmill.model.names import quote

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.algebra.delta import Maintained

_CHANGES = "_gm_changes"
_AT_HAND = "_gm_changes_at_hand"
_FEW = 65_536
"""So many changed rows are held in memory; more are a table of the kernel, which spills."""


class StateSql(msgspec.Struct, frozen=True):
    """A hidden state by the names that SQL needs; see `gristmill.algebra.delta.State`."""

    suffix: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    fingerprint: str
    touched: str | None


class ChangesSql(msgspec.Struct, frozen=True):
    """A `Maintained` in SQL, which can be kept and run again by another process.

    Args:
        mode, why, rules, inputs, reads, passes: as there.
        states: the hidden states.
        steps: name and SELECT of each table to make first.
        changes: the SELECT of the output's changes; None where there is none.
    """

    mode: Mode
    why: str
    rules: tuple[OpRule, ...]
    states: tuple[StateSql, ...]
    steps: tuple[tuple[str, str], ...]
    changes: str | None
    inputs: tuple[str, ...]
    reads: tuple[str, ...]
    passes: tuple[str, ...]


def changes_sql(kernel: Kernel, maintained: Maintained) -> ChangesSql:
    """Compile what ``maintain`` gave."""
    steps = [(step.name, kernel.text(step.expr)) for step in maintained.steps]
    touched = [state.touched for state in maintained.states if state.touched is not None]
    changes = None if maintained.changes is None else kernel.text(maintained.changes)
    steps, changes = _folded(steps, changes, touched)
    return ChangesSql(
        mode=maintained.mode,
        why=maintained.why,
        rules=maintained.rules,
        states=tuple(
            StateSql(state.suffix, tuple(state.schema.names), state.key, state.fingerprint, state.touched)
            for state in maintained.states
        ),
        steps=tuple(steps),
        changes=changes,
        inputs=maintained.inputs,
        reads=maintained.reads,
        passes=maintained.passes,
    )


def _folded(
    steps: Sequence[tuple[str, str]], changes: str | None, kept: Sequence[str]
) -> tuple[list[tuple[str, str]], str | None]:
    """Write a step that is read in one place only into that place: a statement costs more than few rows do."""
    texts = [text for _, text in steps] + ([changes] if changes is not None else [])
    left = []
    for at, (name, _) in enumerate(steps):
        readers = [later for later in range(at + 1, len(texts)) if quote(name) in texts[later]]
        if name in kept or len(readers) != 1 or texts[readers[0]].count(quote(name)) != 1:
            left.append(at)
            continue
        texts[readers[0]] = f"WITH {quote(name)} AS NOT MATERIALIZED ({texts[at]}) SELECT * FROM ({texts[readers[0]]})"
    return [(steps[at][0], texts[at]) for at in left], None if changes is None else texts[-1]


@dataclass(frozen=True, slots=True)
class StateChanges:
    """What becomes of one hidden state: delete the rows whose key is in ``gone_sql``, then add ``came_sql``.

    Args:
        state: the state.
        gone_sql: a SELECT of the key columns of every touched group; of the whole row where there is no key.
        came_sql: a SELECT of the rows, new or changed, in the state's columns.
    """

    state: StateSql
    gone_sql: str
    came_sql: str


@dataclass(frozen=True, slots=True)
class OutputChanges:
    """What becomes of an output; the SQL can be run on the kernel while the context is open.

    Args:
        sql: a SELECT of the output's columns and ``_w``, every different row once, weights not zero.
        came, gone: how many rows come and go.
        states: the states that change.
        rows: what ``sql`` gives, where that is little enough to be at hand.
    """

    sql: str
    came: int
    gone: int
    states: tuple[StateChanges, ...]
    rows: pa.Table | None = None


@contextmanager
def run_changes(kernel: Kernel, maintained: Maintained | ChangesSql, *, changed: int = 0) -> Iterator[OutputChanges]:
    """Compute the changes of an output and of its states, each step once, and keep them while the context is open.

    Args:
        kernel: where every name in ``maintained.inputs`` is registered.
        maintained: how the output follows.
        changed: how many rows of the inputs change, about; where they are many, nobody tries to hold the result.

    Raises:
        UsageError: the output has no changes to compute: ``mode`` is ``reuse``, or the clock is read.
        DataError: a value does not fit; or a state is not that of the old inputs.
    """
    if maintained.changes is None:
        raise UsageError(f"there are no changes to compute: {maintained.why}", hint="look at `mode` first")
    ready = maintained if isinstance(maintained, ChangesSql) else changes_sql(kernel, maintained)
    made: list[str] = []
    stay = False
    try:
        for name, text in ready.steps:
            _make(kernel, name, text)
            made.append(name)
        states = tuple(_state(state) for state in ready.states if state.touched is not None)
        rows = _few(kernel, ready.changes or "") if changed <= _FEW else None
        if rows is None:
            _make(kernel, _CHANGES, ready.changes or "")
            made.append(_CHANGES)
            yield OutputChanges(f"SELECT * FROM {quote(_CHANGES)}", *_counts(kernel), states)
        else:
            kernel.connection.register(_AT_HAND, rows)
            yield OutputChanges(f"SELECT * FROM {quote(_AT_HAND)}", *_weights(rows), states, rows)
            stay = True  # a few rows stay until the next ones take their place
    finally:
        if made and not stay:
            kernel.connection.execute("; ".join(f"DROP TABLE IF EXISTS temp.{quote(name)}" for name in made))


def _few(kernel: Kernel, text: str) -> pa.Table | None:
    """Return the rows of a query, or None where they are many."""
    import pyarrow as pa

    with engine_errors():
        stream = kernel.few(text, rows=_FEW)
        batches: list[pa.RecordBatch] = []
        count = 0
        for batch in stream:
            batches.append(batch)
            count += batch.num_rows
            if count > _FEW:
                stream.close()
                return None
    return pa.Table.from_batches(batches, stream.schema)


def _weights(rows: pa.Table) -> tuple[int, int]:
    weights = rows.column("_w").to_numpy()
    return int(weights[weights > 0].sum()), int(-weights[weights < 0].sum())


def changes_of(kernel: Kernel, maintained: Maintained) -> pa.Table:
    """Return the changes of an output as one table."""
    with run_changes(kernel, maintained) as found:
        return found.rows if found.rows is not None else kernel.query(found.sql).read_all()


def _make(kernel: Kernel, name: str, text: str) -> None:
    with engine_errors():
        kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {text}")


def _counts(kernel: Kernel) -> tuple[int, int]:
    total = "coalesce(sum({sign}_w) FILTER ({sign}_w > 0), 0)::BIGINT"
    sides = ", ".join(total.format(sign=sign) for sign in ("", "-"))
    with engine_errors():
        row = kernel.connection.execute(f"SELECT {sides} FROM {quote(_CHANGES)}").fetchall()[0]
    return int(row[0]), int(row[1])


def _state(state: StateSql) -> StateChanges:
    assert state.touched is not None
    columns = ", ".join(map(quote, state.columns))
    key = ", ".join(map(quote, state.key)) or columns
    table = quote(state.touched)
    return StateChanges(
        state,
        f"SELECT {key} FROM {table} WHERE _w < 0",
        f"SELECT {columns} FROM {table} WHERE _w > 0",
    )
