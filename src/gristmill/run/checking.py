"""Apply a table's rules to rows that are about to be written, and set aside those that break row rules."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import CheckResult, Surroundings, check, quarantine
from gristmill.contracts.quarantine import SetAside
from gristmill.define import Node
from gristmill.model.events import Found
from gristmill.model.findings import Example, Finding
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_COLUMNS, ORIGIN_LINE, ORIGIN_OFFSET, ORIGIN_RECORD, ORIGIN_UNIT, Unit
from gristmill.run.context import Context
from gristmill.run.rules import contract_of
from gristmill.run.sightings import sighted

if TYPE_CHECKING:
    from gristmill.store import Staged, Transaction, View

ACCEPTANCES = "acceptances.json"
_TYPE_SHARE = 0.2
"""Share of a unit's rows that do not fit a column's type, from which on the type is said to have changed."""

_STAGED = '"_gristmill_staged"'


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word that one failing rule may pass, why, and until when (a date, inclusive, UTC)."""

    table: str
    rule: str
    because: str
    until: str
    by: str = ""

    def holds(self, finding: Finding, now_us: int) -> bool:
        """Whether this covers the finding at that time."""
        today = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC).date().isoformat()
        return self.table == finding.table and self.rule == finding.rule.code and today <= self.until


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows that passed, what was found, and what was set aside."""

    staged: Staged
    findings: tuple[Finding, ...] = ()
    aside: tuple[SetAside, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing forbids publishing."""
        return not any(finding.blocks for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the checks need to know about rows of a source.

    Args:
        units: its units by number.
        rejects: rows that could not even be typed.
        delivered: how many rows came, by unit.
        types: what the source's columns hold.
        fresh: whether the rows came with this run.
        found: what was found about the delivery already.
        stored: relation of the table's other rows, which stay; None where there are none.
        raw: gives the text of rows as delivered, by unit and first line, where there is text.
        small: whether the rows are a small part of what their units bring, whose shares say little.
    """

    units: Mapping[int, Unit] = field(default_factory=dict)
    rejects: tuple[SetAside, ...] = ()
    delivered: Mapping[int, int] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    found: tuple[Finding, ...] = ()
    stored: str | None = None
    raw: Callable[[Mapping[int, Sequence[int]]], Mapping[tuple[int, int], str]] | None = None
    small: bool = False


def check_staged(
    ctx: Context,
    tx: Transaction,
    node: Node,
    staged: Staged,
    *,
    rules: Sequence[Rule],
    run: str,
    delivery: Delivery | None = None,
) -> Checked:
    """Check staged rows; return those that stay, and everything that was found.

    Args:
        ctx: the run.
        tx: the transaction that will write the rows.
        node: what they belong to.
        staged: the rows.
        rules: what must hold.
        run: name of the run, for rows set aside.
        delivery: for a source: its units, and rows that could not be typed.
    """
    delivery = delivery or Delivery()
    result = _checked(ctx, tx, node, staged, rules, delivery) if rules else CheckResult(node.name, ())
    aside = (*delivery.rejects, *aside_rows(ctx, result, _STAGED, node, delivery, run))
    total = staged.row_count + len(delivery.rejects)
    if result.set_aside:
        from gristmill.store import SqlSource

        kept, _ = result.split(_STAGED)
        staged = tx.stage(node.name, SqlSource(ctx.kernel.connection, kept))
    contract = contract_of(ctx, node)
    limit = contract.max_quarantine if contract is not None else None
    findings = attended(ctx, tx, node, result.findings, delivery, len(aside), total, limit)
    return Checked(staged, findings, aside)


def _checked(
    ctx: Context, tx: Transaction, node: Node, staged: Staged, rules: Sequence[Rule], delivery: Delivery
) -> CheckResult:
    """Run the rules over staged rows, which the kernel then knows by name."""
    from gristmill.store import compute

    connection = ctx.kernel.connection
    compute.register(connection, _STAGED.strip('"'), staged.scan)
    present = {field.name for field in staged.scan.fields}
    origin = [name for name in ORIGIN_COLUMNS if name in present]
    connection.execute(f"SET VARIABLE gristmill_run_us = {ctx.run_time_us}::BIGINT")
    source = node.kind == "source"
    surroundings = Surroundings(
        references=references_of(ctx, tx, rules),
        stored=delivery.stored,
        order=(ORIGIN_UNIT, ORIGIN_RECORD) if origin else (),
        unique=node.key if source else (),
        known=staged.ranges,
    )
    show = (*node.key, *origin)
    return check(connection, _STAGED, rules, table=node.name, show=show, surroundings=surroundings)


def attended(
    ctx: Context,
    tx: Transaction,
    node: Node,
    findings: Sequence[Finding],
    delivery: Delivery,
    aside: int,
    total: int,
    limit: float | None,
) -> tuple[Finding, ...]:
    """Complete findings with origins, untypable rows, the breaker and what people accepted; say those that matter.

    Rows that a person has asked to be set aside do not count for the breaker.

    Args:
        ctx: the run.
        tx: where acceptances are read.
        node: the table.
        findings: what the rules found.
        delivery: its units, and rows that could not be typed.
        aside: how many rows were set aside.
        total: how many rows there were.
        limit: the largest share that may be set aside; None means the project's.
    """
    most = ctx.settings.run.max_quarantine if limit is None else limit
    found = [*delivery.found, *(with_origin(finding, delivery) for finding in findings)]
    table = node.name
    changed = [] if delivery.small else _changed_types(table, delivery, most)
    found += changed
    found += unfit(table, delivery, {finding.rule.columns[0] for finding in changed})
    wanted = sum(finding.quarantined for finding in found if (table, finding.rule.code) in ctx.set_aside)
    if not delivery.small:
        found += breaker(table, aside - wanted - sum(finding.failed_rows for finding in changed), total, most)
    accepted = load_acceptances(tx)
    judged = [accept(finding, accepted, ctx.run_time_us) for finding in found]
    attended = sighted(ctx, tx, node, judged, delivered=delivery.fresh)
    for finding in attended:
        if finding.outcome != "pass":
            ctx.listener(Found(finding=finding))
    return attended


def references_of(ctx: Context, tx: View, rules: Sequence[Rule]) -> dict[str, str]:
    """Make the tables that rules look into known to the kernel; return their relations by name."""
    from gristmill.store import compute

    names = {str(rule.parameters["table"]) for rule in rules if rule.kind == "references"}
    if any(rule.kind == "query" for rule in rules):
        names |= set(tx.tables())
    found = {}
    for name in sorted(names):
        if name in tx:
            compute.register(ctx.kernel.connection, f"_gristmill_ref_{name}", tx.scan(name))
            found[name] = f'"_gristmill_ref_{name}"'
    return found


def aside_rows(
    ctx: Context, result: CheckResult, relation: str, node: Node, delivery: Delivery, run: str
) -> list[SetAside]:
    """Return the rows of a relation that its rules set aside, with their reasons, origin and raw text."""
    if not result.set_aside:
        return []
    _, aside = result.split(relation)
    words = {finding.rule.code: finding.expected for finding in result.findings}
    rows = ctx.kernel.query(aside).read_all().to_pylist()
    places: dict[int, list[int]] = {}
    for row in rows:
        if row.get(ORIGIN_UNIT) is not None and row.get(ORIGIN_LINE) is not None:
            places.setdefault(row[ORIGIN_UNIT], []).append(row[ORIGIN_LINE])
    texts = delivery.raw(places) if delivery.raw is not None and places else {}
    return _told_apart([_aside(row, node, delivery, run, words, texts) for row in rows])


def _told_apart(rows: Sequence[SetAside]) -> list[SetAside]:
    """Return the rows with ids of their own where several that came from nowhere are equal."""
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        number = seen.get(row.id, 0)
        seen[row.id] = number + 1
        again = number and row.record is None
        name = quarantine.row_name(row.table, row.unit, None, f"{row.cells}#{number}") if again else row.id
        found.append(msgspec.structs.replace(row, id=name))
    return found


def _aside(
    row: dict[str, object],
    node: Node,
    delivery: Delivery,
    run: str,
    words: Mapping[str, str],
    texts: Mapping[tuple[int, int], str],
) -> SetAside:
    reasons = row.pop("_reasons")
    assert isinstance(reasons, list)
    number, record, line, offset = (_integer(row.pop(name, None)) for name in ORIGIN_COLUMNS)
    cells = msgspec.json.encode(row, enc_hook=str).decode()
    unit = delivery.units[number].name if number is not None and number in delivery.units else ""
    place = (number, line) if number is not None and line is not None else None
    return SetAside(
        id=quarantine.row_name(node.name, unit, record, cells if record is None else ""),
        table=node.name,
        raw=texts.get(place, cells) if place else cells,
        cells=cells,
        reasons=tuple(reasons),
        message="; ".join(words.get(code, code) for code in reasons),
        unit=unit,
        unit_number=number,
        record=record,
        line=line,
        offset=offset,
        run=run,
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def with_origin(finding: Finding, delivery: Delivery) -> Finding:
    """Return a finding whose examples say the unit and line they came from, in place of the origin columns."""
    examples = []
    for example in finding.examples:
        values = dict(example.values)
        number, line = values.pop(ORIGIN_UNIT, None), values.pop(ORIGIN_LINE, None)
        record, _ = values.pop(ORIGIN_RECORD, None), values.pop(ORIGIN_OFFSET, None)
        unit = delivery.units.get(number) if isinstance(number, int) else None
        place = f"{unit.name}:{line}" if unit and line else f"{unit.name}#{record}" if unit else None
        examples.append(Example(values=values, origin=place))
    return msgspec.structs.replace(finding, examples=tuple(examples))


def _changed_types(table: str, delivery: Delivery, limit: float) -> list[Finding]:
    """One finding per column and unit where so many cells do not fit their type that the type has changed."""
    groups: dict[tuple[str, int], list[SetAside]] = {}
    for row in delivery.rejects:
        kind, _, column = row.reasons[0].partition(":")
        if kind == "type" and row.unit_number is not None:
            groups.setdefault((column, row.unit_number), []).append(row)
    found = []
    for (column, number), rows in groups.items():
        delivered = delivery.delivered.get(number, 0)
        if len(rows) <= max(limit, _TYPE_SHARE) * delivered:
            continue
        was = delivery.types.get(column, "another type")
        examples = tuple(Example(values={"raw": row.raw.strip()[:80]}, origin=row.origin) for row in rows[:3])
        found.append(
            Finding(
                table=table,
                rule=Rule(kind="type_changed", columns=(column,), scope="table", origin="default"),
                outcome="fail",
                failed_rows=len(rows),
                checked_rows=delivered,
                expected=f"{column} is {was}, as before",
                examples=examples,
                note=f"{rows[0].unit} brings other values: {rows[0].message}",
            )
        )
    return found


def unfit(table: str, delivery: Delivery, told: Collection[str] = ()) -> list[Finding]:
    """One finding per reason for which delivered rows could not be typed, columns that are told already apart."""
    groups: dict[str, list[SetAside]] = {}
    for row in delivery.rejects:
        groups.setdefault(row.reasons[0], []).append(row)
    found = []
    for code, rows in groups.items():
        kind, _, column = code.partition(":")
        if kind == "type" and column in told:
            continue
        rule = Rule(kind=kind, columns=(column,) if column else (), on_fail="quarantine", dimension="consistency")
        examples = tuple(Example(values={"raw": row.raw.strip()[:80]}, origin=row.origin) for row in rows[:3])
        found.append(
            Finding(
                table=table,
                rule=rule,
                outcome="warn",
                failed_rows=len(rows),
                checked_rows=sum(delivery.delivered.values()),
                expected=rows[0].message,
                examples=examples,
                quarantined=len(rows),
            )
        )
    return found


def breaker(table: str, aside: int, total: int, limit: float) -> list[Finding]:
    """Many rows set aside at once are a broken delivery, not dirty rows: block."""
    if aside <= 0 or aside <= limit * total:
        return []
    rule = Rule(kind="max_quarantine", scope="aggregate", parameters={"high": limit}, dimension="consistency")
    return [
        Finding(
            table=table,
            rule=rule,
            outcome="fail",
            failed_rows=aside,
            checked_rows=total,
            observed=f"{aside / total:.1%} of rows set aside",
            expected=f"at most {limit:.0%} of rows set aside",
        )
    ]


def load_acceptances(tx: View) -> tuple[Acceptance, ...]:
    """Return the acceptances that the branch holds."""
    data = tx.document(ACCEPTANCES)
    return tuple(msgspec.json.decode(data, type=list[Acceptance])) if data else ()


def add_acceptances(ctx: Context, branch: str, new: Sequence[Acceptance]) -> None:
    """Add acceptances to those that a branch holds; a later one for the same rule replaces the earlier."""
    if not new:
        return
    with ctx.store.begin(branch, message="accept " + ", ".join(f"{item.rule} of {item.table}" for item in new)) as tx:
        kept = {(item.table, item.rule): item for item in (*load_acceptances(tx), *new)}
        tx.put_document(ACCEPTANCES, msgspec.json.encode(list(kept.values())))


def accept(finding: Finding, acceptances: Sequence[Acceptance], now_us: int) -> Finding:
    """Return a finding as it is, or as a warning where a person has accepted its rule until some later day."""
    for acceptance in acceptances:
        if finding.blocks and acceptance.holds(finding, now_us):
            reason = f"{acceptance.because} (until {acceptance.until})"
            return msgspec.structs.replace(finding, outcome="warn", accepted=reason)
    return finding


def write_aside(tx: Transaction, table: str, rows: Sequence[SetAside], *, replaced_units: Sequence[int] = ()) -> None:
    """Write rows set aside into the table's quarantine; rows of replaced units leave it first."""
    from gristmill.model.predicates import In

    name = quarantine.table_name(table)
    if name not in tx:
        if not rows:
            return
        tx.create_table(name, quarantine.schema(), key=("id",), properties={"kind": "quarantine"}, beside=table)
    if replaced_units:
        tx.delete(name, where=In("unit_number", tuple(replaced_units)))
    if rows:
        tx.upsert(name, quarantine.to_arrow(rows))


def replace_aside(tx: Transaction, table: str, rows: Sequence[SetAside]) -> None:
    """Make the quarantine of a table computed in full hold exactly these rows."""
    name = quarantine.table_name(table)
    if name in tx:
        tx.replace(name, quarantine.to_arrow(rows))
    else:
        write_aside(tx, table, rows)
