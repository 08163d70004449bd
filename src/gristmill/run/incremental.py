"""Bring a derived table up to date by following the changes of its inputs, where that is right and cheaper.

`way` says how a table can be brought up to date and why; `follow` does it. The rules for operations stand in
``algebra.delta``; here they meet the store: inputs at the states that were read and that are now, what lies between,
hidden partial results, and the rules that the table must keep.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import blake3
import msgspec

from gristmill._version import __version__
from gristmill.contracts import check
from gristmill.contracts.kinds import ROW_KINDS
from gristmill.errors import DataError, NotFound
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.run.checking import Delivery, attended
from gristmill.run.columnwise import Columns, changed_columns
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.derivation import KERNEL_VERSION, Derivation, alike, stored_states
from gristmill.run.layout import ordered
from gristmill.run.partials import as_computed, partial_names, settled
from gristmill.run.profiling import judged, profile_followed
from gristmill.run.rechecking import can_recheck, check_stored
from gristmill.run.registering import forget_changes, register_changes, register_plan, register_table
from gristmill.run.stepping import can_step, step_changes

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.define import Node
    from gristmill.engines.kernel import ChangesSql, OutputChanges
    from gristmill.model.delta import Delta
    from gristmill.store import SqlSource, Transaction, View

Mode = Literal["delta", "touched", "columns", "full"]
_KIND = "changes"
_VERSIONS = (__version__, KERNEL_VERSION)
_DELTAS = 16
_CAME = '"_gristmill_came"'


@dataclass(frozen=True, slots=True)
class Way:
    """How a table is brought up to date.

    Args:
        mode: ``delta`` (changes follow from changes), ``touched`` (touched keys are computed again), ``columns`` (some
            columns are computed, the others stay) or ``full``.
        why: the reason for the mode.
        maintained: what to run; None where the mode is ``full``, and for a step.
        deltas: what changed in each input that did.
        steps: whether the table is a Python step.
        columns: which columns to compute, where the mode is ``columns``.
    """

    mode: Mode
    why: str = ""
    maintained: ChangesSql | None = None
    deltas: Mapping[str, Delta] = field(default_factory=dict)
    steps: bool = False
    columns: Columns | None = None

    @property
    def follows(self) -> bool:
        """Whether changes are followed."""
        return self.mode in ("delta", "touched")


@dataclass(frozen=True, slots=True)
class Followed:
    """What following gave.

    Args:
        came, gone: how many rows were put in and taken out; an update is both.
        findings: what the rules found.
        clean: whether every rule on rows passes on all rows.
    """

    came: int
    gone: int
    findings: tuple[Finding, ...]
    clean: bool


def way(
    ctx: Context, view: View, compiled: Compiled, before: Derivation | None, *, acting: Collection[str] = ()
) -> Way:
    """Say how a table whose inputs changed can be brought up to date.

    Args:
        ctx: the run.
        view: the inputs as they are now, and the table as it was made.
        compiled: the table's definition.
        before: what the table was made from.
        acting: inputs that a run would still change; what changes in them is not known yet.
    """
    node = compiled.node
    if before is not None and node.name in view and compiled.derivation.definition != before.definition and not acting:
        columns = changed_columns(ctx, view, compiled, before)
        if columns is not None:
            return Way("columns", columns.words, columns=columns)
    blocked = _blocked(ctx, view, compiled, before, acting)
    if blocked is not None or before is None:
        return Way("full", blocked or "")
    changed = [n for n in node.reads if n not in acting and before.states[n] != view.table(n).id]
    try:
        states = stored_states(view, node.name, before) if changed else {}
        deltas = {name: _delta(ctx, view, name, states[name]) for name in changed}
    except NotFound:
        return Way("full", "the rows that it was made from are no longer stored")
    for name, delta in deltas.items():
        if delta.rebuilt or delta.schema_changed:
            return Way("full", f"{name} has other columns" if delta.schema_changed else f"{name} was made anew")
    if node.kind == "step":
        return _by_step(view, compiled, deltas)
    maintained = _maintained(ctx, compiled, deltas, acting)
    if maintained.changes is None or maintained.mode in ("full", "reuse"):
        return Way("full", maintained.why)
    if (why := settled(view, node.name, maintained, before)) is not None:
        return Way("full", why)
    if not acting and (why := _too_much(view, node.name, maintained, deltas)):
        return Way("full", why)
    return Way("touched" if maintained.mode == "touched" else "delta", maintained.why, maintained, deltas)


def _delta(ctx: Context, view: View, name: str, since: str) -> Delta:
    """Return what changed in an input; found once for all tables that read it."""
    key = name, since, view.table(name).id
    found = ctx.deltas.get(key)
    if found is None:
        for old in list(ctx.deltas)[: max(len(ctx.deltas) + 1 - _DELTAS, 0)]:
            ctx.deltas.pop(old, None)
        found = ctx.deltas[key] = view.delta_since(name, since)
    return found


def _blocked(
    ctx: Context, view: View, compiled: Compiled, before: Derivation | None, acting: Collection[str]
) -> str | None:
    """Say what forbids to follow at all, None where nothing does; empty where the plan's reason says it already."""
    node, now = compiled.node, compiled.derivation
    if before is None or node.name not in view:
        return ""
    if node.kind == "history":
        return "the log tells what to add"
    if node.kind == "sql" and compiled.written is None:
        return f"SQL that is computed in full: {compiled.in_full}"
    if compiled.written is None and not can_step(node):
        return 'it looks at a whole table (per="table")' if node.kind == "step" else ""
    if alike(now, before).fingerprint != before.fingerprint:
        return ""
    if now.checks != before.checks and not can_recheck(ctx, node, view):
        return "rules changed, and rows are set aside by them"
    if before.states.keys() != set(node.reads):
        return "it was made before changes could be followed"
    if not acting and before.output != as_computed(view, node.name, before.partials):
        return "the table is not as its last computation left it"
    return None


def _by_step(view: View, compiled: Compiled, deltas: Mapping[str, Delta]) -> Way:
    """Say how a step that looks at one row or group at a time is brought up to date."""
    node = compiled.node
    rows = sum(view.table(name).row_count for name in node.reads)
    changed = sum(map(_changed, deltas.values()))
    if changed > rows or (node.per == "group" and changed * 10 > rows):
        return Way("full", f"{changed:,} changed rows are so many that computing all anew costs less", steps=True)
    if node.per == "row":
        return Way("delta", "each row gives its own rows", deltas=deltas, steps=True)
    return Way("touched", "a row counts for all rows of its group", deltas=deltas, steps=True)


def _maintained(ctx: Context, compiled: Compiled, deltas: Mapping[str, Delta], acting: Collection[str]) -> ChangesSql:
    """Return how the table follows, in SQL; compiled once for a definition and the kinds of change, then kept."""
    kinds = {name: "any" if delta.deleted or delta.updated else "inserts" for name, delta in deltas.items()}
    kinds |= dict.fromkeys(set(acting) & set(compiled.node.reads), "inserts")
    at_hand = (compiled.node.name, id(compiled.written), tuple(sorted(kinds.items())))
    if at_hand not in ctx.changes:
        ctx.changes[at_hand] = (compiled.written, _kept_or_made(ctx, compiled, kinds))
    return ctx.changes[at_hand][1]


def _kept_or_made(ctx: Context, compiled: Compiled, kinds: Mapping[str, str]) -> ChangesSql:
    definition = (compiled.derivation.definition, _read_types(compiled))  # a text may stay while types move
    named = msgspec.json.encode([compiled.node.name, definition, sorted(kinds.items()), _VERSIONS])
    key = blake3.blake3(named).hexdigest()
    kept = ctx.store.records.get(_KIND, key)
    if kept is not None:
        return msgspec.msgpack.decode(kept, type=_changes_sql())
    from gristmill.algebra import maintain
    from gristmill.engines.kernel import changes_sql

    assert compiled.written is not None
    made = changes_sql(ctx.kernel, maintain(compiled.written, kinds, name=compiled.node.name))  # type: ignore[arg-type]
    ctx.store.records.put(_KIND, key, msgspec.msgpack.encode(made), lasting=False)
    return made


def _read_types(compiled: Compiled) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the types of the columns of every input, by name."""
    import ibis.expr.operations as ops

    assert compiled.written is not None
    tables = compiled.written.op().find(ops.UnboundTable)
    return sorted((table.name, [(name, str(kind)) for name, kind in table.schema.items()]) for table in tables)


def _changes_sql() -> type[ChangesSql]:
    from gristmill.engines.kernel import ChangesSql

    return ChangesSql


def _changed(delta: Delta) -> int:
    """Return how many rows go and come."""
    return len(delta.inserted) + len(delta.deleted) + 2 * len(delta.updated)


def _too_much(view: View, name: str, maintained: ChangesSql, deltas: Mapping[str, Delta]) -> str:
    from gristmill.algebra.delta.cost import estimate

    rows = {read: view.table(read).row_count for read in maintained.reads}
    changed = {read: _changed(delta) for read, delta in deltas.items()}
    output = view.table(name).row_count
    if estimate(maintained, rows, changed, output_rows=output).is_delta_cheaper:
        return ""
    return f"{sum(changed.values()):,} changed rows are so many that computing all anew costs less"


def follow(
    ctx: Context, tx: Transaction, compiled: Compiled, found: Way, before: Derivation, rules: Sequence[Rule]
) -> Followed | None:
    """Put the changes of a table, which was made from ``before``, in place and check it.

    Returns None, with nothing written, where only a full computation can tell: a rule sets changed rows aside, or
    the changes do not fit the stored rows.
    """
    from gristmill.algebra.delta.maintained import delta_name
    from gristmill.engines.kernel.delta import run_changes
    from gristmill.store import SqlSource

    node, maintained = compiled.node, found.maintained
    connection = ctx.kernel.connection
    names = partial_names(node.name, maintained.states) if maintained is not None else {}
    rows_before = tx.table(node.name).row_count
    with ExitStack() as stack:
        if maintained is None:
            changes = stack.enter_context(step_changes(ctx, tx, node, next(iter(found.deltas.values()))))
        else:
            for name in found.deltas:
                stack.callback(forget_changes, ctx.kernel, delta_name(name))
            _register(ctx, tx, compiled, found)
            much = sum(map(_changed, found.deltas.values()))
            try:
                changes = stack.enter_context(run_changes(ctx.kernel, maintained, changed=much))
            except DataError:  # a partial result has no room, or the definition fails: a full computation says which
                return None
        broken = _changed_rows(ctx, node.name, changes, rules)
        if any(finding.rule.on_fail == "quarantine" and finding.failed_rows for finding in broken):
            return None
        tree = tx.tree
        try:
            tx.apply(node.name, _placed(ctx, node, changes))
            for changed in changes.states:
                assert changed.state.touched is not None
                columns = ", ".join(f'"{name}"' for name in (*changed.state.columns, "_w"))
                sql = f'SELECT {columns} FROM temp."{changed.state.touched}"'
                tx.apply(names[changed.state.suffix], SqlSource(connection, sql), by=changed.state.key)
        except DataError as error:
            if error.code != "GM-D215":
                raise
            tx.tree = tree
            return None
        read = max((tx.table(name).row_count for name in node.reads), default=0)
        figures = profile_followed(ctx, tx, node.name, rows_before=rows_before, changes=changes, read=read)
        odd = tuple(judged(ctx, tx, node, figures))
        clean, findings = _findings(ctx, tx, compiled, before, rules, broken)
        total = tx.table(node.name).row_count
        said = attended(ctx, tx, node, findings, Delivery(found=odd), 0, total, None)
        return Followed(changes.came, changes.gone, said, clean)


def _placed(ctx: Context, node: Node, changes: OutputChanges) -> pa.Table | SqlSource:
    """Return the changes in the order in which the table's files are to be."""
    from gristmill.store import SqlSource

    if changes.rows is not None and not node.cluster_by:
        return changes.rows
    return SqlSource(ctx.kernel.connection, ordered(node, changes.sql))


def _register(ctx: Context, tx: Transaction, compiled: Compiled, found: Way) -> None:
    """Make inputs, changes and partial results known to the kernel under the names that expressions use."""
    from gristmill.algebra.delta.maintained import delta_name, new_name, old_name

    assert found.maintained is not None
    wanted = set(found.maintained.inputs)
    for name in compiled.node.reads:
        if name in wanted:
            register_table(ctx, tx, name)
        if name in found.deltas:
            delta = found.deltas[name]
            if new_name(name) in wanted:
                register_table(ctx, tx, name, known_as=new_name(name))
            if old_name(name) in wanted:
                assert delta.before_id is not None
                register_plan(ctx.kernel, old_name(name), tx.scan_at(delta.before_id))
            register_changes(ctx, tx, name, delta, delta_name(name))
    for suffix, table in partial_names(compiled.node.name, found.maintained.states).items():
        known = old_name(f"{compiled.node.name}{suffix}")
        if known in wanted:
            register_table(ctx, tx, table, known_as=known)


def _changed_rows(ctx: Context, name: str, changes: OutputChanges, rules: Sequence[Rule]) -> tuple[Finding, ...]:
    """Check the rules on rows on what comes, and those that set rows aside on what goes too.

    A row that goes and breaks such a rule is not in the table: it was set aside.
    """
    on_rows = [rule for rule in rules if rule.kind in ROW_KINDS]
    if not on_rows or not changes.came + changes.gone:
        return ()
    connection = ctx.kernel.connection
    connection.execute(f"SET VARIABLE gristmill_run_us = {ctx.run_time_us}::BIGINT")
    plain = f"SELECT * EXCLUDE (_w) FROM ({changes.sql})"
    found: list[Finding] = []
    for condition, some in (
        ("_w > 0", on_rows),
        ("_w < 0", [rule for rule in on_rows if rule.on_fail == "quarantine"]),
    ):
        if some:
            ctx.kernel.register(_CAME.strip('"'), f"{plain} WHERE {condition}")
            found += check(connection, _CAME, some, table=name).findings
    ctx.kernel.unregister(_CAME.strip('"'))
    return tuple(found)


def _findings(
    ctx: Context,
    tx: Transaction,
    compiled: Compiled,
    before: Derivation,
    rules: Sequence[Rule],
    broken: Sequence[Finding],
) -> tuple[bool, tuple[Finding, ...]]:
    """Return whether rows are clean, and what the rules say of the table as it is now.

    Where all rows were clean before and those that came are, rules on rows pass without another look.
    """
    on_rows = [rule for rule in rules if rule.kind in ROW_KINDS and rule.on_fail != "quarantine"]
    if (
        before.clean
        and before.checks == compiled.derivation.checks
        and not any(finding.failed_rows for finding in broken)
    ):
        rest = [rule for rule in rules if rule.kind not in ROW_KINDS]
        found = check_stored(ctx, tx, compiled.node, rest).findings if rest else ()
        return True, (*broken, *found)
    found = check_stored(ctx, tx, compiled.node, rules).findings
    return not any(finding.failed_rows and finding.rule in on_rows for finding in found), found
