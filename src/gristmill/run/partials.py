"""Hidden partial results beside a derived table: made with it, committed with it, and trusted only as it left them.

They are tables called ``_state.TABLE.pN``; like the table itself they follow from its inputs, so nobody writes,
merges or counts on them but the code here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.run.derivation import Derivation

if TYPE_CHECKING:
    from gristmill.algebra.delta import State
    from gristmill.engines.kernel import ChangesSql
    from gristmill.engines.kernel.delta import StateSql
    from gristmill.run.context import Context
    from gristmill.store import Transaction, View


def partial_name(table: str, suffix: str) -> str:
    """Return the name of the table that holds partial results.

    >>> partial_name("marts.daily", "#1")
    '_state.marts.daily.p1'
    """
    return f"_state.{table}.p{suffix.removeprefix('#')}"


def partial_names(table: str, states: Sequence[State | StateSql]) -> dict[str, str]:
    """Return those names by the state's suffix."""
    return {state.suffix: partial_name(table, state.suffix) for state in states}


def as_computed(view: View, name: str, partials: Mapping[str, str]) -> str:
    """Return a digest of the ``changed`` tokens of a table and its partial results, which compaction leaves alone."""
    names = (name, *(partial_name(name, suffix) for suffix in sorted(partials)))
    tokens = [sorted(view.table(table).tokens.items()) if table in view else None for table in names]
    return blake3.blake3(msgspec.json.encode(tokens)).hexdigest()


def settled(view: View, name: str, maintained: ChangesSql, before: Derivation) -> str | None:
    """Say why the stored partial results cannot be gone on from; None where they can."""
    for state in maintained.states:
        if state.touched is None:
            continue
        if before.partials.get(state.suffix) != state.fingerprint or partial_name(name, state.suffix) not in view:
            return "its partial results are not stored yet"
    return None


def stage_partials(
    ctx: Context, tx: Transaction, name: str, states: Sequence[State], texts: Mapping[str, str] | None = None
) -> None:
    """Make partial results from registered inputs, for the kernel and in the store.

    Args:
        ctx: the run.
        tx: where they are written.
        name: the table beside which they stand.
        states: which ones.
        texts: SQL that gives their rows, by suffix, where it is not that which makes them anew.
    """
    from gristmill.algebra import arrow_schema
    from gristmill.algebra.delta.maintained import old_name
    from gristmill.store import SqlSource

    connection = ctx.kernel.connection
    for state in states:
        known, table = old_name(f"{name}{state.suffix}"), partial_name(name, state.suffix)
        made = (texts or {}).get(state.suffix) or ctx.kernel.text(state.build)
        if known in ctx.kernel.known:  # a batch before has followed, and left a view of that name
            ctx.kernel.unregister(known)
        connection.execute(f'CREATE OR REPLACE TEMP TABLE "{known}" AS {made}')
        if table in tx:
            tx.drop_table(table)
        tx.create_table(table, arrow_schema(state.schema), properties={"kind": "derived"})
        tx.append(table, SqlSource(connection, f'SELECT * FROM temp."{known}"'))


def forget_partials(ctx: Context, name: str, states: Sequence[State]) -> None:
    """Drop what the kernel held of them; views of stored ones, which a batch before has left, stay."""
    from gristmill.algebra.delta.maintained import old_name

    for known in (old_name(name + state.suffix) for state in states):
        if known not in ctx.kernel.known:
            ctx.kernel.connection.execute(f'DROP TABLE IF EXISTS temp."{known}"')


def drop_partials(tx: Transaction, name: str, *, keep: Sequence[State] = ()) -> None:
    """Drop stored partial results that no definition asks for any more."""
    kept = set(partial_names(name, keep).values())
    for table in stored_partials(tx, name):
        if table not in kept:
            tx.drop_table(table)


def stored_partials(view: View, name: str) -> list[str]:
    """Return the names of the partial results that stand beside a table."""
    found = []
    number = 1
    while (table := partial_name(name, f"#{number}")) in view:
        found.append(table)
        number += 1
    return found
