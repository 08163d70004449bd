"""What is odd about a delivery as a whole: columns that are new or gone, and content that came before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gristmill.define import Node
from gristmill.errors import DataError
from gristmill.model.events import Found as FindingFound
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.model.units import Unit
from gristmill.run.checking import accept, load_acceptances
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.connect import Found, Shape
    from gristmill.store import Transaction

_NEW_COLUMN = "GM-D114"


def with_new_columns(
    ctx: Context, tx: Transaction, node: Node, shape: Shape, fresh: Sequence[Found]
) -> tuple[Shape, tuple[Finding, ...]]:
    """Compare the columns that are delivered with those the source knows.

    Returns the shape to read by, with the new columns that a person has accepted, and a finding for each that nobody
    has.
    """
    unknown = _unknown(ctx, node, shape, fresh)
    if not unknown:
        return shape, ()
    accepted = load_acceptances(tx)
    findings = [
        accept(_new_column(node.name, name, new.type, new.unit), accepted, ctx.run_time_us)
        for name, new in unknown.items()
    ]
    for finding in findings:
        ctx.listener(FindingFound(finding=finding))
    refused = tuple(finding for finding in findings if finding.blocks)
    if refused:
        return shape, refused
    return _grown(tx, node, shape, unknown), ()


class _New(NamedTuple):
    """A column that the source does not know: its type, the unit that brings it, whether by its folder's name."""

    type: str
    unit: str
    folder: bool


def _unknown(ctx: Context, node: Node, shape: Shape, fresh: Sequence[Found]) -> dict[str, _New]:
    """Return what is known of each column that a delivered unit has and the source does not know."""
    assert node.connector is not None
    names = {column.name for column in shape.columns}
    found: dict[str, _New] = {}
    for unit in fresh:
        try:
            for _ in node.connector.read(ctx.root, unit, shape=shape, number=0):
                break
        except DataError as error:
            if error.code != _NEW_COLUMN:
                continue
            its = node.connector.infer(ctx.root, [unit])
            for column in its.columns:
                if column.name not in names:
                    found.setdefault(column.name, _New(column.type, unit.name, column.name in its.partitions))
    return found


def _new_column(table: str, name: str, type_: str, unit: str) -> Finding:
    return Finding(
        table=table,
        rule=Rule(kind="new_column", columns=(name,), scope="table", dimension="consistency", origin="default"),
        outcome="fail",
        observed=f"{unit} brings the column {name} ({type_})",
        expected="the columns that the source has had so far",
        note="accepting it adds the column, null in the rows before",
    )


def _grown(tx: Transaction, node: Node, shape: Shape, unknown: Mapping[str, _New]) -> Shape:
    import pyarrow as pa

    from gristmill.connect import Column

    own = [column for column in shape.columns if column.name not in shape.partitions]
    folders = [column for column in shape.columns if column.name in shape.partitions]
    own += [Column(name, new.type, True) for name, new in unknown.items() if not new.folder]
    folders += [Column(name, new.type, True) for name, new in unknown.items() if new.folder]
    partitions = tuple(column.name for column in folders)
    grown: Shape = msgspec.structs.replace(shape, columns=(*own, *folders), partitions=partitions)
    stored = tx.table(node.name).schema.to_arrow(hidden=True)
    added = [grown.schema.field(name) for name in unknown if name not in stored.names]
    tx.evolve(node.name, pa.schema([*stored, *added]))
    return grown


def missing_columns(table: str, known: Mapping[str, Unit], landed: Mapping[int, Unit]) -> list[Finding]:
    """Return a finding for each unit that lacks columns which the units before it had; the first delivery may."""
    before = {unit.detail.get("missing_columns", "") for unit in known.values()}
    if not known:
        return []
    found = []
    for unit in landed.values():
        names = [name for name in unit.detail.get("missing_columns", "").split(",") if name]
        if not names or unit.detail["missing_columns"] in before:
            continue
        found.append(
            Finding(
                table=table,
                rule=Rule(kind="missing_column", columns=tuple(names), scope="table", origin="default"),
                outcome="fail",
                observed=f"{unit.name} has no column {', '.join(names)}",
                expected="the columns that the source has had so far",
                note="accepting it leaves them null",
            )
        )
    return found


def copied_units(shape: Shape, known: Mapping[str, Unit], landed: Mapping[int, Unit]) -> dict[int, int]:
    """Return the units whose content has landed before under another name, and the number of that unit.

    Where folder names are columns, equal content in two folders is not the same rows.
    """
    if shape.partitions:
        return {}
    first = {unit.digest: unit.number for unit in known.values() if unit.state == "landed" and unit.ledger.accepted}
    copies: dict[int, int] = {}
    replaced = {unit.number for unit in landed.values()}
    first = {digest: number for digest, number in first.items() if number not in replaced}
    for number, unit in sorted(landed.items()):
        if unit.digest in first:
            copies[number] = first[unit.digest]
        else:
            first[unit.digest] = number
    return copies


def copy_findings(table: str, units: Mapping[int, Unit], copies: Mapping[int, int]) -> list[Finding]:
    """Say of each copied unit what it is a copy of; its rows are not landed again."""
    return [
        Finding(
            table=table,
            rule=Rule(kind="duplicate_load", scope="table", on_fail="warn", origin="default"),
            outcome="warn",
            observed=f"{units[number].name} is the same as {units[first].name}; its rows are not landed again",
            expected="each content once",
        )
        for number, first in copies.items()
    ]
