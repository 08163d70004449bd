"""A derived table computed again, in full, from the inputs that it was made from, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import check, quarantine
from gristmill.define import Node
from gristmill.errors import NotFound
from gristmill.model.rules import Rule
from gristmill.run.checking import references_of
from gristmill.run.compiling import Compiled, compile_node, declared_schema, sql_of
from gristmill.run.context import Context
from gristmill.run.derivation import Derivation, alike, load_derivation, stored_states
from gristmill.run.frames import as_arrow, as_frame, call, read_input
from gristmill.run.history import history_sql
from gristmill.run.registering import register_plan
from gristmill.run.rules import rules_of
from gristmill.run.steps import chunked

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.model.scan import ScanPlan
    from gristmill.store import View

MADE = "_gm_parity_made"
_KEPT = '"_gm_parity_kept"'


@dataclass(frozen=True, slots=True)
class Recomputed:
    """SQL that gives a table's rows anew on the kernel, or why there is none.

    Args:
        sql: one SELECT over what is registered; None where the table cannot be compared.
        why: why not.
        ctx: the context, with the time at which the table was made.
        before: what the table was made from.
        compiled: its definition.
        behind: what has changed since it was made, where it is out of date; then ``sql`` reads the inputs as they were.
    """

    sql: str | None = None
    why: str = ""
    ctx: Context | None = None
    before: Derivation | None = None
    compiled: Compiled | None = None
    behind: str = ""


def recomputed(ctx: Context, view: View, node: Node) -> Recomputed:
    """Prepare to compute a table again as it should stand in ``view``.

    It is computed from the inputs in ``view``; where it is out of date, from the states of them that it was made from.

    Args:
        ctx: definitions and kernel; what is needed is registered there.
        view: the table, and what it was made from.
        node: the table's definition.
    """
    if node.kind == "model":
        return Recomputed(why="a model is files that training wrote; training again may give others")
    if node.kind == "predictions":
        return Recomputed(why="predictions are made by the project's own code with a model's files")
    before = load_derivation(view, node.name)
    if node.name not in view or before is None:
        return Recomputed(why="it has not been computed yet")
    if before.states.keys() != set(node.reads):
        return Recomputed(why="it was made from other inputs than its definition reads now")
    if before.run_time_us is not None:
        ctx = replace(ctx, run_time_us=before.run_time_us)
    try:
        scans, compiled, behind = _inputs(ctx, view, node, before)
    except NotFound:
        return Recomputed(why="rows that it was made from are no longer stored")
    same = alike(compiled.derivation, before)
    if same.fingerprint != before.fingerprint:
        return Recomputed(why=f"{same.reason(before)} since it was computed")
    if node.kind == "history":
        if behind:
            return Recomputed(why=f"{behind} since it was computed")
        return Recomputed(history_sql(ctx, node, view, anew=True), "", ctx, before, compiled)
    if node.kind == "step":
        if behind:
            return Recomputed(why=f"{behind} since it was computed")
        ctx.kernel.register(MADE, called(ctx, view, node))
        sql = f'SELECT * FROM "{MADE}"'
    else:
        for name, scan in scans.items():
            register_plan(ctx.kernel, name, scan)
        sql = sql_of(ctx, compiled)
    if (why := _rules_moved(compiled, before, ctx, view)) is not None:
        return Recomputed(why=why)
    return Recomputed(kept(ctx, view, node, sql), "", ctx, before, compiled, behind)


def _inputs(ctx: Context, view: View, node: Node, before: Derivation) -> tuple[Mapping[str, ScanPlan], Compiled, str]:
    """Return how to read the inputs, the definition over them, and what has changed since the table was made."""
    from gristmill.model.arrow import fields_to_arrow

    behind = f"{next((name for name in node.reads if name not in view), '')} is gone"
    if all(name in view for name in node.reads):
        scans = {name: view.scan(name) for name in node.reads}
        compiled = compile_node(ctx, node, view, {name: fields_to_arrow(s.fields) for name, s in scans.items()})
        behind = compiled.derivation.input_reason(before)
        if not behind:
            return scans, compiled, ""
    scans = {name: view.scan_at(state) for name, state in stored_states(view, node.name, before).items()}
    schemas = {name: fields_to_arrow(scan.fields) for name, scan in scans.items()}
    return scans, compile_node(ctx, node, view, schemas), behind


def called(ctx: Context, view: View, node: Node) -> pa.Table:
    """Call a step on its inputs as they are in ``view`` and return its rows."""
    import pyarrow as pa

    schema = declared_schema(node)
    assert schema is not None
    assert node.function is not None

    def arguments() -> Iterator[list[object]]:
        if node.per == "table" or len(node.reads) != 1:
            yield [as_frame(read_input(view, name), node.rows) for name in node.reads]
            return
        for chunk in chunked(view, node, node.reads[0]):
            yield [as_frame(chunk, node.rows)]

    parameters = ctx.parameters_of(node)
    made = [as_arrow(node, call(node, node.function, given, parameters), schema) for given in arguments()]
    return pa.concat_tables(made) if made else schema.empty_table()


def _setting_aside(ctx: Context, view: View, node: Node) -> list[Rule]:
    """Return the rules by which rows are kept out of a table: those that say so, and those that a person chose."""
    name = quarantine.table_name(node.name)
    codes: set[str] = set()
    if name in view and view.table(name).row_count:
        for reasons in view.to_arrow(name, columns=["reasons"]).column("reasons").to_pylist():
            codes.update(reasons or ())
    rules = rules_of(ctx, node)
    return [
        msgspec.structs.replace(rule, on_fail="quarantine")
        for rule in rules
        if rule.on_fail == "quarantine" or rule.code in codes
    ]


def _rules_moved(compiled: Compiled, before: Derivation, ctx: Context, view: View) -> str | None:
    if compiled.derivation.checks != before.checks and _setting_aside(ctx, view, compiled.node):
        return "the rules that keep rows out of it, or what they look at, changed since it was computed"
    return None


def kept(ctx: Context, view: View, node: Node, sql: str) -> str:
    """Return SQL without the rows that rules keep out of the table."""
    rules = _setting_aside(ctx, view, node)
    if not rules:
        return sql
    ctx.kernel.register(_KEPT.strip('"'), sql)
    ctx.kernel.connection.execute(f"SET VARIABLE gristmill_run_us = {ctx.run_time_us}::BIGINT")
    references: Mapping[str, str] = references_of(ctx, view, rules)
    result = check(ctx.kernel.connection, _KEPT, rules, table=node.name, references=references)
    return result.split(_KEPT)[0] if result.set_aside else sql
