"""Move rows that are stored already into quarantine, and keep the ledgers of their units even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.quarantine import SetAside
from gristmill.define import Node
from gristmill.model.predicates import And, Compare, In, Or, Predicate
from gristmill.model.units import ORIGIN_RECORD, ORIGIN_UNIT, Ledger, Unit
from gristmill.run.checking import write_aside
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.store import Transaction


def displace(ctx: Context, tx: Transaction, node: Node, rows: Sequence[SetAside]) -> None:
    """Move stored rows of a source into its quarantine; the ledgers of their units follow."""
    if not rows:
        return
    places: dict[int, list[int]] = {}
    for row in rows:
        if row.unit_number is not None and row.record is not None:
            places.setdefault(row.unit_number, []).append(row.record)
    tx.delete(node.name, where=at_places(places))
    write_aside(tx, node.name, rows)
    units = tx.units(node.name)
    tx.put_units(node.name, {name: _moved(unit, places) for name, unit in units.items()})


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
