"""Bring a table over to a changed definition that gives the same rows: only the columns that changed are computed.

What each column depends on is kept, as digests, with what a large table was made from. The columns that stay are read
from the table as it is and joined by its key to those that are new; partial results beside it likewise, by groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import quarantine
from gristmill.define import Node
from gristmill.errors import DataError, EngineError
from gristmill.model.names import quote
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.derivation import Derivation
from gristmill.run.layout import ordered, prepare
from gristmill.run.partials import as_computed, drop_partials, forget_partials, partial_name, stage_partials
from gristmill.run.registering import register_plan, register_table
from gristmill.run.rules import rules_of

if TYPE_CHECKING:
    from gristmill.algebra.delta import State
    from gristmill.store import Staged, Transaction, View

LARGE_ROWS = 50_000
"""From how many rows on it is kept what columns depend on; smaller tables are computed anew as quickly."""
_TABLE = ""
_STORED = "_gm_stored"


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns of a table are to be computed; all others stay.

    Args:
        made: the table's columns.
        states: those of each of its partial results, by suffix; ones that stay as they are, are not named.
        kept: how many columns of the table stay.
    """

    made: tuple[str, ...]
    states: dict[str, tuple[str, ...]]
    kept: int

    @property
    def words(self) -> str:
        """Say it in one phrase."""
        shown = ", ".join(self.made[:3]) + (", ..." if len(self.made) > 3 else "")
        stay = f"{self.kept:,} column{'s' if self.kept != 1 else ''} stay{'s' if self.kept == 1 else ''}"
        return f"computes {shown}; {stay}" if self.made else f"computes nothing; {stay}"


def column_digests(view: View, compiled: Compiled, before: Derivation | None) -> dict[str, dict[str, str]]:
    """Return what to keep of the columns of a table that was just made, and of its partial results; small: nothing.

    Args:
        view: where it stands.
        compiled: its definition.
        before: what it was made from the last time.
    """
    node, now = compiled.node, compiled.derivation
    if before is not None and before.columns and before.definition == now.definition:
        return before.columns
    if not _can(compiled) or view.table(node.name).row_count < LARGE_ROWS:
        return {}
    return _digests(compiled)


def changed_columns(ctx: Context, view: View, compiled: Compiled, before: Derivation) -> Columns | None:
    """Return the columns that a changed definition changes; None where rows may change too, or it is not known."""
    node, now = compiled.node, compiled.derivation
    if not before.columns or not _can(compiled) or before.run_time_us is not None:
        return None
    surroundings = [(d.kernel, d.environment, d.files, d.code) for d in (now, before)]
    if surroundings[0] != surroundings[1] or not _same_rows(now, before):
        return None
    if before.output != as_computed(view, node.name, before.partials) or _sets_aside(ctx, view, node):
        return None
    from gristmill.algebra.delta.columnwise import missing

    digests, names = _digests(compiled), dict[str, tuple[str, ...]]()
    for suffix, found in digests.items():
        there = missing(found, before.columns.get(suffix, {}))
        if there is None:
            return None
        names[suffix] = there
    made = names.pop(_TABLE)
    kept = len(digests[_TABLE]) - 1 - len(made) + len(node.key)
    return Columns(made=made, states={suffix: some for suffix, some in names.items() if some}, kept=kept)


def _can(compiled: Compiled) -> bool:
    return bool(compiled.node.key) and compiled.written is not None and compiled.derivation.run_time_us is None


def _same_rows(now: Derivation, before: Derivation) -> bool:
    """Whether every input has the rows and values that it had, as far as the columns that stay may read them."""
    for name, then in before.inputs.items():
        shared = then.keys() & now.inputs.get(name, {}).keys()
        if not shared or any(then[column] != now.inputs[name][column] for column in shared):
            return False
    return True


def _sets_aside(ctx: Context, view: View, node: Node) -> bool:
    """Whether rules keep rows out of the table: these rows have no columns to go on from."""
    aside = quarantine.table_name(node.name)
    return any(rule.on_fail == "quarantine" for rule in rules_of(ctx, node)) or (
        aside in view and view.table(aside).row_count > 0
    )


def _digests(compiled: Compiled) -> dict[str, dict[str, str]]:
    from gristmill.algebra import stateful
    from gristmill.algebra.delta import columnwise

    assert compiled.written is not None
    states, _ = stateful(compiled.written, name=compiled.node.name)
    found = {_TABLE: columnwise.column_digests(compiled.written, compiled.node.key)}
    return found | {state.suffix: columnwise.state_digests(state) for state in states}


def staged_columns(
    ctx: Context, tx: Transaction, compiled: Compiled, found: Columns
) -> tuple[Staged, dict[str, str]] | None:
    """Stage the table's rows with the columns that stay and those that are new, and its partial results.

    Returns None, with nothing written, where only a full computation can tell.
    """
    from gristmill.algebra import stateful

    assert compiled.written is not None
    node, tree = compiled.node, tx.tree
    states, made = stateful(compiled.written, name=node.name)
    rows = tx.table(node.name).row_count
    try:
        for name in node.reads:
            register_table(ctx, tx, name)
        register_plan(ctx.kernel, _STORED, tx.scan(node.name))
        _stage_states(ctx, tx, node.name, states, found)
        staged = _staged(ctx, tx, compiled, made, found)
    except (DataError, EngineError):  # no room, or the definition fails: a full computation says which
        tx.tree = tree
        return None
    finally:
        forget_partials(ctx, node.name, states)
    if staged.row_count != rows:
        tx.tree = tree
        return None
    return staged, {state.suffix: state.fingerprint for state in states}


def _staged(ctx: Context, tx: Transaction, compiled: Compiled, made: object, found: Columns) -> Staged:
    import ibis

    from gristmill.algebra import arrow_schema
    from gristmill.algebra.delta.columnwise import only
    from gristmill.engines.kernel.kernel import engine_errors
    from gristmill.store import SqlSource

    assert isinstance(made, ibis.Table)
    assert compiled.expression is not None
    node, schema = compiled.node, compiled.expression.schema()
    new = ctx.kernel.text(only(made, (*node.key, *found.made))) if found.made else ""
    sql = ordered(node, _joined(_STORED, new, schema.names, node.key, found.made))
    prepare(tx, node, arrow_schema(schema))
    with engine_errors():
        return tx.stage(node.name, SqlSource(ctx.kernel.connection, sql))


def _stage_states(ctx: Context, tx: Transaction, name: str, states: Sequence[State], found: Columns) -> None:
    """Stage partial results that get columns; those that stay are made known to the kernel."""
    from gristmill.algebra.delta.columnwise import only
    from gristmill.algebra.delta.maintained import old_name
    from gristmill.engines.kernel.kernel import engine_errors

    drop_partials(tx, name, keep=states)
    changed, texts = [], {}
    for state in states:
        new = found.states.get(state.suffix)
        if new is None:
            register_table(ctx, tx, partial_name(name, state.suffix), known_as=old_name(f"{name}{state.suffix}"))
            continue
        stored = _STORED + state.suffix
        register_plan(ctx.kernel, stored, tx.scan(partial_name(name, state.suffix)))
        columns = ctx.kernel.text(only(state.build, (*state.key, *new)))
        texts[state.suffix] = _joined(stored, columns, state.schema.names, state.key, new)
        changed.append(state)
    with engine_errors():
        stage_partials(ctx, tx, name, changed, texts)


def _joined(stored: str, new: str, names: Sequence[str], key: Sequence[str], made: Sequence[str]) -> str:
    """Return a SELECT of these columns: the ``made`` ones from ``new``, the others from what is stored."""
    columns = ", ".join(f"{'n' if name in made else 'o'}.{quote(name)}" for name in names)
    if not made:
        return f"SELECT {columns} FROM {quote(stored)} AS o"
    on = " AND ".join(f"o.{quote(name)} IS NOT DISTINCT FROM n.{quote(name)}" for name in key) or "TRUE"
    return f"SELECT {columns} FROM {quote(stored)} AS o JOIN ({new}) AS n ON {on}"
