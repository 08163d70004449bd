"""Where a table and its definition first parted: the commit, what was done there, and the operation.

The commit is found by halving the table's history. There, a table that was written to by something else than its
own run says so itself; partial results are compared with what they should be; and for each operation of the
definition, from the inputs up, the rows before plus the changes that the delta algebra gives are compared with the
rows after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import GristmillError, NotFound
from gristmill.model.commits import Commit
from gristmill.model.names import quote
from gristmill.run.comparing import compare
from gristmill.run.context import Context
from gristmill.run.derivation import document_path, load_derivation, stored_states
from gristmill.run.partials import as_computed, partial_name
from gristmill.run.recomputing import recomputed
from gristmill.run.records import RunRecord
from gristmill.run.registering import register_plan

if TYPE_CHECKING:
    import ibis

    from gristmill.model.delta import Delta
    from gristmill.store import View

_BEFORE, _AFTER = "_gm_parity_before", "_gm_parity_after"


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where a table and its definition parted.

    Args:
        commit: the first commit at which they differ.
        run: the run that made it; empty where none did.
        mode: how that run brought the table up to date: ``full``, ``delta``, ``touched``, ``reuse``.
        operation: the first operation whose changes are not what its inputs' changes ask for; empty where none is.
        words: all of it in a sentence.
    """

    commit: str
    run: str = ""
    mode: str = ""
    operation: str = ""
    words: str = ""


def parting(ctx: Context, node: Node, ref: str, differs: Callable[[View], bool]) -> Parting:
    """Find where a table that differs at ``ref`` began to.

    Args:
        ctx: definitions and kernel.
        node: the table's definition.
        ref: where it differs.
        differs: whether the table differs from its definition in a state of everything.
    """
    commits = _commits(ctx, node.name, ref)
    low, high = 0, len(commits)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if differs(ctx.store.snapshot(commits[middle].id)) else (low, middle)
    return _at(ctx, node, commits[low])


def _commits(ctx: Context, name: str, ref: str) -> list[Commit]:
    """Return the commits that changed a table or computed it again, newest first."""
    found: list[Commit] = []
    last: tuple[Commit, object] | None = None
    for commit in ctx.store.log(ref):
        view = ctx.store.snapshot(commit.id)
        state = (view.document(document_path(name)), view.table(name).id) if name in view else None
        if last is not None and last[1] != state:
            found.append(last[0])
        last = (commit, state)
        if state is None:
            return found
    return [*found, last[0]] if last is not None else found


def _at(ctx: Context, node: Node, commit: Commit) -> Parting:
    view = ctx.store.snapshot(commit.id)
    run, mode = commit.meta.get("run", ""), ""
    record = view.document(f"runs/{run.removeprefix('run/')}.json") if run else None
    if record:
        stages = msgspec.json.decode(record, type=RunRecord).stages
        mode = next((stage.mode for stage in stages if stage.name == node.name), "")
    at = f"in commit {commit.id[:7]}" + (f" ({run})" if run else "")
    before = load_derivation(view, node.name)
    made = Parting(commit=commit.id, run=run, mode=mode)
    if before is not None and before.output != as_computed(view, node.name, before.partials):
        words = f"{at}, which wrote to it after it was computed"
        return msgspec.structs.replace(made, words=words)
    operation: str | None = None
    if commit.parents and mode in ("delta", "touched", ""):
        operation = _operation(ctx, node, view, ctx.store.snapshot(commit.parents[0]))
    how = {"delta": ", which followed changes", "touched": ", which computed touched keys again"}.get(mode, "")
    words = at + (how or (f", which computed it in {mode} mode" if mode else ""))
    if operation is not None:
        words += f"; it parts at `{operation}`" if operation else "; each operation follows its inputs rightly"
    if partial := _partial(ctx, node, view):
        words += f"; {partial}"
    return msgspec.structs.replace(made, operation=operation or "", words=words)


def _partial(ctx: Context, node: Node, view: View) -> str:
    """Name the partial results beside the table that are not what its inputs ask for; empty where all are."""
    from gristmill.algebra import stateful
    from gristmill.store import compute

    again = recomputed(ctx, view, node)
    if again.sql is None or again.compiled is None or again.compiled.written is None or not again.before:
        return ""
    states, _ = stateful(again.compiled.written, name=node.name)
    for state in states:
        table = partial_name(node.name, state.suffix)
        if again.before.partials.get(state.suffix) != state.fingerprint or table not in view:
            continue
        fields = view.scan(table).fields
        compute.register(ctx.kernel.connection, "_gm_parity_partial", view.scan(table))
        stored = 'SELECT * FROM "_gm_parity_partial"'
        found = compare(ctx.kernel.connection, stored, ctx.kernel.text(state.build), fields, state.key)
        if not found.equal:
            by = ", ".join(state.key) or "all rows"
            return f"partial results {state.suffix} (by {by}) differ too"
    return ""


def _operation(ctx: Context, node: Node, after: View, earlier: View) -> str | None:
    """Return the first operation whose rows before and changes do not add up to its rows after.

    Empty where there is none; None where the operations could not be looked at one by one.
    """
    now, then = load_derivation(after, node.name), load_derivation(earlier, node.name)
    again = recomputed(ctx, after, node)
    if now is None or then is None or again.compiled is None or again.compiled.written is None:
        return None
    if now.states.keys() != then.states.keys():
        return None
    read, was = stored_states(after, node.name, now), stored_states(earlier, node.name, then)
    try:
        deltas = {
            name: after.delta_since(name, was[name])
            for name in node.reads
            if name in after and after.table(name).id == read[name] != was[name]
        }
    except NotFound:
        return None
    kinds = {name: "any" if delta.deleted or delta.updated else "inserts" for name, delta in deltas.items()}
    unseen = False
    for part in _parts(again.compiled.written):
        try:
            wrong = _parts_ways(ctx, node, part, after, (was, read), deltas, kinds)
        except GristmillError:
            unseen = True
            continue
        if wrong:
            return wrong
    return None if unseen else ""


def _parts(written: ibis.Table) -> Iterator[ibis.Table]:
    """Yield the definition's relations, inputs first, the definition itself last."""
    import ibis.expr.operations as ops
    from ibis.common.graph import Graph

    order, _ = Graph.from_bfs(written.op()).toposort()
    skipped = (ops.UnboundTable, ops.JoinReference, ops.SelfReference)
    for op in order:
        if isinstance(op, ops.Relation) and not isinstance(op, skipped):
            yield op.to_expr()


def _parts_ways(
    ctx: Context,
    node: Node,
    part: ibis.Table,
    view: View,
    states: tuple[dict[str, str], dict[str, str]],
    deltas: dict[str, Delta],
    kinds: dict[str, str],
) -> str:
    """Return the operation's name where its rows before plus its changes are not its rows after."""
    from gristmill.algebra import maintain
    from gristmill.algebra.delta.maintained import old_name
    from gristmill.engines.kernel import run_changes

    kernel = ctx.kernel
    maintained = maintain(part, kinds, name=node.name)  # type: ignore[arg-type]
    if maintained.mode == "reuse" or maintained.changes is None:
        return ""
    held = [old_name(f"{node.name}{state.suffix}") for state in maintained.states]
    try:
        _register(ctx, view, states[0], deltas, plain_only=True)
        for name, state in zip(held, maintained.states, strict=True):
            kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {kernel.text(state.build)}")
        kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_BEFORE} AS {kernel.sql(part)}")
        _register(ctx, view, states[1], deltas, plain_only=False, old=states[0])
        kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_AFTER} AS {kernel.sql(part)}")
        with run_changes(kernel, maintained) as changes:
            columns = ", ".join(map(quote, part.columns))
            plus, minus = (
                f"SELECT {columns} FROM ({changes.sql}), range(abs(_w)) WHERE _w {sign} 0" for sign in (">", "<")
            )
            left = f"SELECT {columns} FROM {_BEFORE} UNION ALL {plus}"
            right = f"SELECT {columns} FROM {_AFTER} UNION ALL {minus}"
            apart = f"(({left}) EXCEPT ALL ({right})) UNION ALL (({right}) EXCEPT ALL ({left}))"
            wrong = kernel.connection.execute(f"SELECT count(*) FROM ({apart})").fetchall()[0][0]
    finally:
        for name in (*held, _BEFORE, _AFTER):
            kernel.connection.execute(f"DROP TABLE IF EXISTS temp.{quote(name)}")
    return maintained.rules[-1].operation if wrong and maintained.rules else ""


def _register(
    ctx: Context,
    view: View,
    states: dict[str, str],
    deltas: dict[str, Delta],
    *,
    plain_only: bool,
    old: dict[str, str] | None = None,
) -> None:
    from gristmill.algebra.delta.maintained import delta_name, new_name, old_name
    from gristmill.store import compute

    connection = ctx.kernel.connection
    for name, state in states.items():
        register_plan(ctx.kernel, name, view.scan_at(state))
        if plain_only or name not in deltas:
            continue
        compute.register(connection, new_name(name), view.scan_at(state))
        compute.register(connection, old_name(name), view.scan_at((old or states)[name]))
        ctx.kernel.register(delta_name(name), _changed(ctx, view, name, deltas[name]))


def _changed(ctx: Context, view: View, name: str, delta: Delta) -> str:
    from gristmill.store import compute

    columns = ", ".join(quote(column.name) for column in view.scan(name).fields)
    parts = [f"SELECT {columns}, 1::BIGINT AS _w FROM {quote(name)} LIMIT 0"]
    for sign, image in ((-1, delta.before), (1, delta.after)):
        if image is not None and image.files:
            known = f"{name}@parity{'+' if sign > 0 else '-'}"
            compute.register(ctx.kernel.connection, known, image)
            parts.append(f"SELECT {columns}, {sign}::BIGINT AS _w FROM {quote(known)}")
    return " UNION ALL ".join(f"({part})" for part in parts)
