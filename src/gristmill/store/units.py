"""What becomes of units, and of their rows, where histories meet or are undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Conflict
from gristmill.model.predicates import Compare, In
from gristmill.model.schema import Field
from gristmill.model.units import ORIGIN_UNIT, Ledger, Unit
from gristmill.store.maps import map_get, map_items, map_update
from gristmill.store.objects import TableObject, Tree
from gristmill.store.tables import scan_plan, schema_of, table_object

if TYPE_CHECKING:
    from gristmill.store.transaction import Transaction

_UNIT = msgspec.msgpack.Decoder(Unit)
_UNITS = msgspec.msgpack.Encoder(order="sorted")

ASIDE = "_quarantine.{}"
"""The table of rows set aside from a source; its column ``unit_number`` says which unit delivered them."""
ASIDE_UNIT = "unit_number"


def unit_of(value: bytes) -> Unit:
    """Return the unit that an entry of the map of units holds."""
    return _UNIT.decode(value)


def land_once(tx: Transaction, head: Tree) -> None:
    """Leave out of a merge the rows of units that both sides have landed: ours are there already.

    Raises:
        Conflict: the two sides gave one number to different units, so that rows cannot be told apart; or what became
            of a unit's rows differs, so that one of the two would be lost.
    """
    get = tx.pending.get
    base = dict(map_items(get, tx.base_tree.units))
    ours = {key: value for key, value in map_items(get, head.units) if base.get(key) != value}
    theirs = {key: value for key, value in map_items(get, tx.tree.units) if base.get(key) != value}
    _refuse_one_number(ours, theirs)
    twice: dict[str, list[tuple[Unit, Unit]]] = {}
    for key, value in theirs.items():
        mine, unit = unit_of(ours.get(key, value)), unit_of(value)
        if key not in ours or mine.digest != unit.digest:
            continue
        before = unit_of(base[key]) if key in base else None
        if before is None or before.digest != unit.digest or before.state != "landed":
            twice.setdefault(key.split("\0")[0], []).append((mine, unit))
            tx.put_entries("units", {key: ours[key]})
        elif mine.state == unit.state:
            ledger = _changed(mine.ledger, before.ledger, unit.ledger)
            tx.put_entries("units", {key: _UNITS.encode(msgspec.structs.replace(mine, ledger=ledger))})
            root = map_update(get, tx.pending.put, tx.base_tree.units, {key: ours[key]})
            tx.base_tree = msgspec.structs.replace(tx.base_tree, units=root)
        else:
            raise _differ(key.split("\0")[0], [(mine, unit)])
    for source, units in twice.items():
        _leave_out(tx, head, source, units)


def _refuse_one_number(ours: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> None:
    numbers = {(key.split("\0")[0], unit_of(value).number): key for key, value in ours.items()}
    for key, value in theirs.items():
        source, unit = key.split("\0")[0], unit_of(value)
        taken = numbers.get((source, unit.number))
        if taken is not None and taken != key:
            raise Conflict(
                f"both sides have landed a unit number {unit.number} of `{source}`",
                code="GM-S014",
                examples=[taken.replace("\0", "/"), key.replace("\0", "/")],
                hint="restore the source on one side, merge, and land it again there",
            )


def _leave_out(tx: Transaction, head: Tree, source: str, units: Sequence[tuple[Unit, Unit]]) -> None:
    """Leave out the rows of units of a source that both sides have landed, and what was set aside of them."""
    from gristmill.store.writing import delete_where

    if source in tx and _has(tx, source, ORIGIN_UNIT):
        gone, expected = 0, 0
        same = _same_rows(tx, head, source, units)
        for _, unit in units:
            gone += delete_where(tx, source, Compare(ORIGIN_UNIT, "=", unit.number))
            expected += unit.ledger.accepted
        if not same and gone != expected:
            raise _differ(source, units)
    if any(unit.state == "landed" and mine.ledger != unit.ledger for mine, unit in units):
        raise _differ(source, [pair for pair in units if pair[0].ledger != pair[1].ledger])
    aside = ASIDE.format(source)
    if aside in tx and _has(tx, aside, ASIDE_UNIT):
        delete_where(tx, aside, In(ASIDE_UNIT, tuple(unit.number for _, unit in units)))
    for name in (source, aside):
        tx.whole.discard(name)
        tx.edited.discard(name)


def _differ(source: str, units: Sequence[tuple[Unit, Unit]]) -> Conflict:
    return Conflict(
        f"both sides have landed the same of `{source}`, and its rows were changed since",
        code="GM-S014",
        examples=[f"{source}/{unit.name}" for _, unit in units[:3]],
        hint="restore the source on the side whose changes are to go, then merge",
    )


def _has(tx: Transaction, name: str, column: str) -> bool:
    return column in {field.name for field in tx.schema_of(name).fields}


def _same_rows(tx: Transaction, head: Tree, source: str, units: Sequence[tuple[Unit, Unit]]) -> bool:
    """Whether both sides hold the same rows of these units, wherever they come from in them."""
    get = tx.pending.get
    oid = map_get(get, head.tables, source)
    if oid is None:
        return False
    states = (table_object(get, oid), tx.state(source))
    left, right = (schema_of(get, state.schema).visible for state in states)
    fields = tuple(field for field in left if field in right)
    sums = [_sum(tx, state, fields, [pair[side].number for pair in units]) for side, state in enumerate(states)]
    return sums[0] == sums[1]


def _sum(tx: Transaction, state: TableObject, fields: Sequence[Field], numbers: Sequence[int]) -> list[tuple[int, int]]:
    from gristmill.store import compute
    from gristmill.store.digests import digest_rows

    names = [field.name for field in fields]
    plan = scan_plan(tx.pending.get, tx.store.path, state, columns_=names, where=In(ORIGIN_UNIT, tuple(numbers)))
    con = compute.connection()
    try:
        return digest_rows(con, compute.bind(con, compute.scan_sql(plan)), tuple(fields), "0")
    finally:
        con.close()


def undone_unit(before: bytes | None, after: bytes | None, now: bytes | None) -> bytes | None:
    """Return what becomes of a unit when what led from ``before`` to ``after`` is undone.

    One that was landed then becomes held, so that it is not landed again; one whose rows come back is as it was, and
    one that was landed anew since stays as it is. Of counts that have changed again since, only what is undone is
    taken back.
    """
    if after is None or now is None:
        return before if now is None and after is None else now
    mine, unit = unit_of(after), unit_of(now)
    if unit.digest != mine.digest:
        return now
    if before is None:
        return _as_held(unit, unit.ledger)
    old = unit_of(before)
    if old.digest != mine.digest or old.state == "released":
        return _as_held(unit, old.ledger)
    if now == after:
        return before
    if not old.state == mine.state == unit.state:
        return now
    return _UNITS.encode(msgspec.structs.replace(unit, ledger=_changed(unit.ledger, mine.ledger, old.ledger)))


def _changed(ledger: Ledger, before: Ledger, after: Ledger) -> Ledger:
    """Return the counts with what changed between two other states."""
    counts = msgspec.structs.asdict(ledger)
    return Ledger(**{name: n + getattr(after, name) - getattr(before, name) for name, n in counts.items()})


def _as_held(unit: Unit, ledger: Ledger) -> bytes:
    return _UNITS.encode(msgspec.structs.replace(unit, state="held", ledger=ledger))
