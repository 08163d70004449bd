"""Check rows that are stored already: because rules changed, what they look at changed, or a person asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gristmill.contracts import CheckResult, Surroundings, check, quarantine
from gristmill.define import Node
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_COLUMNS, ORIGIN_RECORD, ORIGIN_UNIT
from gristmill.run.checking import Delivery, aside_rows, attended, references_of
from gristmill.run.context import Context
from gristmill.run.displacing import displace
from gristmill.run.rules import checked_with, checks_digest, contract_of, rules_of, write_checks
from gristmill.run.setaside import rows_of, take_back

if TYPE_CHECKING:
    from gristmill.store import Transaction, View

MERGED = "rows and rules of two branches came together"
_STORED = '"_gristmill_checked"'


def can_recheck(ctx: Context, node: Node, snapshot: View) -> bool:
    """Whether changed rules of a derived table can be looked at on its stored rows.

    They cannot where rows are set aside, or would be: then the table has other rows, and is computed again.
    """
    if node.name not in snapshot or not node.is_table:
        return False
    name = quarantine.table_name(node.name)
    aside = name in snapshot and snapshot.table(name).row_count
    return not aside and not any(rule.on_fail == "quarantine" for rule in rules_of(ctx, node))


def needs_recheck(ctx: Context, node: Node, now: View, sides: Sequence[View]) -> bool:
    """Whether a merged source holds rows that no side has checked by the rules it has now."""
    wanted = checks_digest(ctx, node, now)
    if wanted != checked_with(now, node.name):
        return True
    known = (side for side in sides if node.name in side and checked_with(side, node.name) == wanted)
    return bool(wanted) and all(side.table(node.name).id != now.table(node.name).id for side in known)


def check_stored(ctx: Context, snapshot: View, node: Node, rules: Sequence[Rule]) -> CheckResult:
    """Check a table's stored rows against rules; write nothing."""
    from gristmill.store import compute

    source = node.kind == "source"
    compute.register(ctx.kernel.connection, _STORED.strip('"'), snapshot.scan(node.name, hidden=source))
    ctx.kernel.connection.execute(f"SET VARIABLE gristmill_run_us = {ctx.run_time_us}::BIGINT")
    present = {field.name for field in snapshot.table(node.name).schema.fields} if source else set()
    origin = [name for name in ORIGIN_COLUMNS if name in present]
    surroundings = Surroundings(
        references=references_of(ctx, snapshot, rules),
        order=(ORIGIN_UNIT, ORIGIN_RECORD) if origin else (),
        unique=node.key if source else (),
        known=snapshot.ranges(node.name),
    )
    return check(
        ctx.kernel.connection,
        _STORED,
        rules,
        table=node.name,
        show=(*node.key, *origin),
        surroundings=surroundings,
    )


def recheck(ctx: Context, tx: Transaction, node: Node, run: str) -> tuple[Finding, ...]:
    """Check a table's stored rows again; rows of a source that break a rule now are set aside.

    Returns what was found; the note of the checks is written.
    """
    rules = rules_of(ctx, node)
    result = check_stored(ctx, tx, node, rules)
    delivery = Delivery(units={unit.number: unit for unit in tx.units(node.name).values()})
    if node.kind == "source" and result.set_aside:
        rows = aside_rows(ctx, result, _STORED, node, delivery, run)
        displace(ctx, tx, node, result, _STORED, rows)
    else:
        rows = []
    if node.kind == "source":
        _late_arrivals(ctx, tx, node, rules)
    contract = contract_of(ctx, node)
    total = tx.table(node.name).row_count + len(rows)
    limit = contract.max_quarantine if contract is not None else None
    found = attended(ctx, tx, node, result.findings, delivery, len(rows), total, limit)
    write_checks(ctx, tx, node)
    return found


def _late_arrivals(ctx: Context, tx: Transaction, node: Node, rules: Sequence[Rule]) -> None:
    """Take rows back that were set aside only because what they refer to had not arrived."""
    waiting = {rule.code for rule in rules if rule.kind == "references"}
    rows = [row for row in rows_of(tx, node.name) if row.reasons and set(row.reasons) <= waiting]
    if rows:
        take_back(ctx, tx, node, rows, values={}, expressions={}, note="what it refers to has arrived")
