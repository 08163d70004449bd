"""Apply a table's rules to rows that are about to be written, and set aside those that break row rules."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import check, quarantine
from gristmill.contracts.check import CheckResult
from gristmill.contracts.quarantine import SetAside
from gristmill.define import Node
from gristmill.model.events import Found
from gristmill.model.findings import Example, Finding
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_COLUMNS, ORIGIN_LINE, ORIGIN_OFFSET, ORIGIN_RECORD, ORIGIN_UNIT, Unit
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.store import Staged, Transaction, View

ACCEPTANCES = "acceptances.json"
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
    """What the checks need to know about rows of a source: its units, and rows that could not even be typed."""

    units: Mapping[int, Unit] = field(default_factory=dict)
    rejects: tuple[SetAside, ...] = ()
    delivered: int = 0


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
    from gristmill.store import SqlSource, compute

    delivery = delivery or Delivery()
    connection = ctx.kernel.connection
    compute.register(connection, _STAGED.strip('"'), staged.scan)
    present = {field.name for field in staged.scan.fields}
    show = (*node.key, *(name for name in ORIGIN_COLUMNS if name in present))
    connection.execute(f"SET VARIABLE gristmill_run_us = {ctx.run_time_us}::BIGINT")
    result = check(connection, _STAGED, rules, table=node.name, show=show, references=_references(ctx, tx, rules))
    aside = (*delivery.rejects, *_set_aside(ctx, result, node, delivery, run))
    if result.set_aside:
        kept, _ = result.split(_STAGED)
        staged = tx.stage(node.name, SqlSource(connection, kept))
    found = [_with_origin(finding, delivery) for finding in result.findings]
    found += _unfit(node.name, delivery)
    found += _breaker(ctx, node.name, len(aside), staged.row_count + len(aside))
    findings = tuple(_accept(finding, load_acceptances(tx), ctx.run_time_us) for finding in found)
    for finding in findings:
        if finding.outcome != "pass":
            ctx.listener(Found(finding=finding))
    return Checked(staged, findings, aside)


def _references(ctx: Context, tx: Transaction, rules: Sequence[Rule]) -> dict[str, str]:
    from gristmill.store import compute

    found = {}
    for name in {str(rule.parameters["table"]) for rule in rules if rule.kind == "references"}:
        if name in tx:
            compute.register(ctx.kernel.connection, f"_gristmill_ref_{name}", tx.scan(name))
            found[name] = f'"_gristmill_ref_{name}"'
    return found


def _set_aside(ctx: Context, result: CheckResult, node: Node, delivery: Delivery, run: str) -> list[SetAside]:
    if not result.set_aside:
        return []
    _, aside = result.split(_STAGED)
    words = {finding.rule.code: finding.expected for finding in result.findings}
    rows = ctx.kernel.query(aside).read_all().to_pylist()
    kept = []
    for row in rows:
        reasons = row.pop("_reasons")
        number, record = row.pop(ORIGIN_UNIT, None), row.pop(ORIGIN_RECORD, None)
        line, offset = row.pop(ORIGIN_LINE, None), row.pop(ORIGIN_OFFSET, None)
        cells = msgspec.json.encode(row, enc_hook=str).decode()
        unit = delivery.units[number].name if number in delivery.units else ""
        kept.append(
            SetAside(
                id=quarantine.row_name(node.name, unit, record, cells),
                table=node.name,
                raw=cells,
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
        )
    return kept


def _with_origin(finding: Finding, delivery: Delivery) -> Finding:
    examples = []
    for example in finding.examples:
        values = dict(example.values)
        number, line = values.pop(ORIGIN_UNIT, None), values.pop(ORIGIN_LINE, None)
        record, _ = values.pop(ORIGIN_RECORD, None), values.pop(ORIGIN_OFFSET, None)
        unit = delivery.units.get(number) if isinstance(number, int) else None
        place = f"{unit.name}:{line}" if unit and line else f"{unit.name}#{record}" if unit else None
        examples.append(Example(values=values, origin=place))
    return msgspec.structs.replace(finding, examples=tuple(examples))


def _unfit(table: str, delivery: Delivery) -> list[Finding]:
    """One finding per reason for which delivered rows could not be typed."""
    groups: dict[str, list[SetAside]] = {}
    for row in delivery.rejects:
        groups.setdefault(row.reasons[0], []).append(row)
    found = []
    for code, rows in groups.items():
        kind, _, column = code.partition(":")
        rule = Rule(kind=kind, columns=(column,) if column else (), on_fail="quarantine", dimension="consistency")
        examples = tuple(Example(values={"raw": row.raw[:80]}, origin=row.origin) for row in rows[:3])
        found.append(
            Finding(
                table=table,
                rule=rule,
                outcome="warn",
                failed_rows=len(rows),
                checked_rows=delivery.delivered,
                expected=rows[0].message,
                examples=examples,
                quarantined=len(rows),
            )
        )
    return found


def _breaker(ctx: Context, table: str, aside: int, total: int) -> list[Finding]:
    """Many rows set aside at once are a broken delivery, not dirty rows: block."""
    limit = ctx.settings.run.max_quarantine
    if not aside or aside <= limit * total:
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


def _accept(finding: Finding, acceptances: Sequence[Acceptance], now_us: int) -> Finding:
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
        tx.create_table(name, quarantine.schema(), key=("id",), properties={"kind": "quarantine"})
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
