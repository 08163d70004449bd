"""Move rows that are stored already into quarantine, and keep the ledgers of their units even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import CheckResult
from gristmill.contracts.kinds import describe
from gristmill.contracts.pass_kinds import outdone_condition
from gristmill.contracts.quarantine import SetAside
from gristmill.contracts.scan import types_of
from gristmill.define import Node
from gristmill.model.findings import Finding
from gristmill.model.names import quote
from gristmill.model.predicates import Always, And, Compare, In, IsNull, Or, Predicate
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_RECORD, ORIGIN_UNIT, Ledger, Unit
from gristmill.run.checking import Delivery, aside_rows, write_aside
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.store import Staged, Transaction

_CAME = "_gristmill_came_in"


def displace(
    ctx: Context, tx: Transaction, node: Node, result: CheckResult, relation: str, rows: list[SetAside]
) -> None:
    """Move stored rows of a source into its quarantine; the ledgers of their units follow.

    Args:
        ctx: the run.
        tx: where the rows are.
        node: the source.
        result: says which rows of the relation are set aside.
        relation: the stored rows.
        rows: those rows, as they are set aside.
    """
    if not rows:
        return
    places: dict[int, list[int]] = {}
    for row in rows:
        if row.unit_number is not None and row.record is not None:
            places.setdefault(row.unit_number, []).append(row.record)
    if places:
        tx.delete(node.name, where=at_places(places))
    if any(row.unit_number is None or row.record is None for row in rows):
        _delete_by_value(ctx, tx, node, result.split(relation)[1])
    write_aside(tx, node.name, rows)
    units = tx.units(node.name)
    tx.put_units(node.name, {name: _moved(unit, places) for name, unit in units.items()})


def _delete_by_value(ctx: Context, tx: Transaction, node: Node, aside: str) -> None:
    """Delete those rows of a query that came from no unit, such as rows written by hand."""
    from gristmill.store import SqlSource

    schema = tx.schema_of(node.name)
    origin = [field.name for field in schema.fields if field.name in (ORIGIN_UNIT, ORIGIN_RECORD)]
    unknown = " OR ".join(f"{quote(name)} IS NULL" for name in origin) or "TRUE"
    key = tx.table(node.name).key
    names = key or [field.name for field in schema.fields]
    listed = ", ".join(map(quote, names))
    query = f"SELECT {listed} FROM ({aside}) WHERE {unknown}"
    if not key:
        source = SqlSource(ctx.kernel.connection, f"SELECT *, (-1)::BIGINT AS _w FROM ({query})")
        tx.apply(node.name, source, by=names)
        return
    nowhere = Or(tuple(IsNull(name) for name in origin)) if origin else Always()
    rows = ctx.kernel.query(query).read_all().to_pylist()
    each = tuple(And(tuple(Compare(name, "=", row[name]) for name in key)) for row in rows)
    tx.delete(node.name, where=And((nowhere, Or(each))))


def displace_outdone(
    ctx: Context,
    tx: Transaction,
    node: Node,
    rules: Sequence[Rule],
    *,
    came: Staged,
    stored: str | None,
    run: str,
) -> None:
    """Move stored rows into quarantine that lose to rows which have come: where of equal rows the last is right.

    Without this it would depend on what came together which of them is in the table.

    Args:
        ctx: the run.
        tx: where the rows that came are written already, and the ledgers of their units.
        node: the source.
        rules: its rules.
        came: the rows that came.
        stored: relation of the rows that were there before and stay.
        run: name of the run, for rows set aside.
    """
    asides = [rule for rule in rules if rule.kind == "unique" and rule.on_fail == "quarantine"]
    last = [rule for rule in asides if rule.parameters.get("keep") == "last"]
    if not last or stored is None or not came.row_count:
        return
    from gristmill.store import compute

    connection = ctx.kernel.connection
    compute.register(connection, _CAME, came.scan)
    types = types_of(connection, stored)
    conditions = tuple((rule, outdone_condition(rule, types, f'"{_CAME}"')) for rule in last)
    findings = tuple(
        Finding(table=node.name, rule=rule, outcome="warn", expected=describe(rule)) for rule, _ in conditions
    )
    units = {unit.number: unit for unit in tx.units(node.name).values()}
    result = CheckResult(node.name, findings, conditions)
    rows = aside_rows(ctx, result, stored, node, Delivery(units=units), run)
    displace(ctx, tx, node, result, stored, rows)


def at_places(places: Mapping[int, Sequence[int]]) -> Predicate:
    """Return the condition that is true for rows of these records of these units."""
    parts: list[Predicate] = [
        And((Compare(ORIGIN_UNIT, "=", unit), In(ORIGIN_RECORD, tuple(records)))) for unit, records in places.items()
    ]
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _moved(unit: Unit, places: Mapping[int, Sequence[int]]) -> Unit:
    moved = len(places.get(unit.number, ()))
    if not moved:
        return unit
    ledger: Ledger = msgspec.structs.replace(
        unit.ledger, accepted=unit.ledger.accepted - moved, quarantined=unit.ledger.quarantined + moved
    )
    return msgspec.structs.replace(unit, ledger=ledger)
