"""One batch of a stream into its source's table: judged by event time, checked, accounted for, written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gristmill.contracts import quarantine
from gristmill.contracts.kinds import quote
from gristmill.contracts.quarantine import SetAside
from gristmill.define import Node
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_COLUMNS, ORIGIN_UNIT, Ledger, Unit
from gristmill.run.checking import Delivery, breaker, check_staged, write_aside
from gristmill.run.context import Context
from gristmill.run.displacing import displace_outdone
from gristmill.run.landing import Landed, assert_balanced, shape_path, table_schema, unit_numbers
from gristmill.run.layout import create, follow_partitions
from gristmill.run.rules import contract_of, write_checks
from gristmill.run.streaming.deciding import decide, remember_gone
from gristmill.run.streaming.event_times import FLOOR, NEWEST, Judged, judge, watermark
from gristmill.run.streaming.state import StreamState, load_state, put_state

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect import Polled, Shape
    from gristmill.store import Staged, Transaction, View

LATE_ROWS = "late_rows"
"""Name of a partition's detail that counts its late rows, whatever became of them."""

_BREAKER_ROWS = 1_000


@dataclass(slots=True)
class Batch:
    """Rows of one source on their way into a commit.

    Args:
        node: the source.
        shape: its columns.
        parts: what its reader gave, in the order given.
        idle: partitions that have been silent for longer than the source allows.
        expected: every partition that is known to be there.
    """

    node: Node
    shape: Shape
    parts: Sequence[Polled]
    idle: Collection[str] = ()
    expected: Collection[str] = ()

    @property
    def rows(self) -> int:
        """How many records came."""
        return sum(part.delivered for part in self.parts)


@dataclass(slots=True)
class _Sorted:
    """Rows of all partitions by what becomes of them, and the counts that the ledger needs."""

    keep: list[pa.RecordBatch] = field(default_factory=list)
    gone: list[pa.RecordBatch] = field(default_factory=list)
    late: list[pa.RecordBatch] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    units: dict[int, Unit] = field(default_factory=dict)
    delivered: dict[int, int] = field(default_factory=dict)
    aside_late: dict[int, int] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)
    deletes: dict[int, int] = field(default_factory=dict)


def land_batch(ctx: Context, tx: Transaction, batch: Batch, rules: Sequence[Rule], run: str) -> Landed:
    """Put a batch into its source's table within a transaction: rows, deletions, quarantine, positions, watermark.

    Args:
        ctx: the run; its time is the moment at which rows without an arrival time arrived.
        tx: the transaction, which may hold batches of other sources too.
        batch: the rows.
        rules: what must hold for them.
        run: name of the run, for rows set aside.

    Raises DataError where the ledger would not add up.
    """
    node = batch.node
    _ensure_table(tx, batch)
    known, state = tx.units(node.name), load_state(tx, node.name)
    numbers = unit_numbers(ctx.store, node.name, list(dict.fromkeys(part.partition for part in batch.parts)), known)
    found = _sorted(ctx, batch, known, numbers, state, run)
    staged = tx.stage(node.name, _table(table_schema(batch.shape), found.keep))
    delivery = Delivery(
        units=found.units,
        rejects=tuple(found.aside),
        delivered=found.delivered,
        types={column.name: column.type for column in batch.shape.columns},
        fresh=True,
        stored=_stored(ctx, tx, node, rules),
        small=True,
    )
    checked = check_staged(ctx, tx, node, staged, rules=rules, run=run, delivery=delivery)
    lost = _write(ctx, tx, batch, found, checked.staged)
    _write_late(tx, batch, found)
    write_aside(tx, node.name, checked.aside)
    ledgers = _ledgers(ctx, found, checked.staged, checked.aside, lost)
    units = {
        unit.name: msgspec.structs.replace(unit, ledger=_before(known, unit.name) + ledgers[unit.number])
        for unit in found.units.values()
    }
    for unit in units.values():
        assert_balanced(node.name, unit)
    tx.set_units(node.name, units)
    displace_outdone(ctx, tx, node, rules, came=checked.staged, stored=delivery.stored, run=run)
    _write_state(tx, batch, {**known, **units}, state)
    tx.put_document(shape_path(node.name), msgspec.json.encode(batch.shape, order="deterministic"))
    write_checks(ctx, tx, node)
    total = sum(ledgers.values(), Ledger())
    gates = _gates(ctx, node, {**known, **units}.values())
    return Landed(total.accepted, total, (*checked.findings, *gates))


def _before(known: Mapping[str, Unit], name: str) -> Ledger:
    return known[name].ledger if name in known else Ledger()


def _ensure_table(tx: Transaction, batch: Batch) -> None:
    node, schema = batch.node, table_schema(batch.shape)
    properties = {"kind": "source"}
    if node.name not in tx:
        create(tx, node, schema, kind="source")
    else:
        follow_partitions(tx, node)
    if node.late.policy == "side" and node.late.table not in tx:
        tx.create_table(node.late.table, schema, cluster_by=node.cluster_by, properties=properties)


def _table(schema: pa.Schema, parts: Sequence[pa.RecordBatch]) -> pa.Table:
    import pyarrow as pa

    loose = pa.schema([field.with_nullable(True) for field in schema])
    return pa.Table.from_batches([part.cast(loose) for part in parts], loose)


def _sorted(
    ctx: Context, batch: Batch, known: Mapping[str, Unit], numbers: Mapping[str, int], state: StreamState, run: str
) -> _Sorted:
    found = _Sorted()
    for part in batch.parts:
        number = numbers[part.partition]
        unit = found.units.get(number) or known.get(part.partition)
        detail = dict(unit.detail) if unit is not None else {}
        if (unit is None or part.partition in state.idle) and state.watermark_us is not None:
            detail[FLOOR] = str(state.watermark_us)
        detail |= part.next
        found.delivered[number] = found.delivered.get(number, 0) + part.delivered
        found.aside += [_rejected(batch.node, part, number, reject, run) for reject in part.rejects]
        _take(ctx, batch.node, part, number, detail, found, run)
        found.units[number] = Unit(
            name=part.partition,
            number=number,
            digest=f"{part.partition}@{detail.get('next', '')}",
            size_bytes=(unit.size_bytes if unit is not None else 0) + part.size_bytes,
            detail=detail,
        )
    return found


def _take(
    ctx: Context, node: Node, part: Polled, number: int, detail: dict[str, str], found: _Sorted, run: str
) -> None:
    """Sort the rows of one part; notes what they say of event time in the partition's detail."""
    import pyarrow as pa

    from gristmill.connect.stream_rows import with_unit

    rows = with_unit(part.rows, number)
    deletes = _deletes(node, part)
    keep, late = np.ones(rows.num_rows, dtype=bool), np.zeros(rows.num_rows, dtype=bool)
    needed = [*node.key, *([node.changes.order] if node.changes is not None and node.changes.order else [])]
    for column in needed:
        missing = np.asarray(rows.column(column).is_null().to_numpy(zero_copy_only=False), dtype=bool) & keep
        found.aside += _misplaced(node, part, number, rows, missing, f"null:{column}", f"there is no {column}", run)
        keep &= ~missing
    if node.event_time is not None and rows.num_rows:
        judged, column = _judged(ctx, node, part, detail), node.event_time.column
        for mask, code, words in (
            (judged.missing & keep & ~deletes, f"null:{column}", f"there is no {column}"),
            (judged.ahead & keep & ~deletes, f"ahead:{column}", f"{column} lies too far in the future"),
        ):
            found.aside += _misplaced(node, part, number, rows, mask, code, words, run)
            keep &= ~mask
        late = judged.late & keep & ~deletes
        _count(detail, LATE_ROWS, int(late.sum()))
        if node.late.policy != "correct":
            keep &= ~late
            counts = found.aside_late if node.late.policy == "side" else found.dropped
            counts[number] = counts.get(number, 0) + int(late.sum())
    deletes &= keep
    keep &= ~deletes
    found.deletes[number] = found.deletes.get(number, 0) + int(deletes.sum())
    found.keep.append(rows.filter(pa.array(keep)))
    if deletes.any():
        found.gone.append(rows.filter(pa.array(deletes)))
    if node.late.policy == "side" and late.any():
        found.late.append(rows.filter(pa.array(late)))


def _judged(ctx: Context, node: Node, part: Polled, detail: dict[str, str]) -> Judged:
    assert node.event_time is not None
    newest = detail.get(NEWEST)
    judged = judge(
        part.rows.column(node.event_time.column),
        node.event_time,
        arrived_us=part.arrived_us,
        now_us=ctx.run_time_us,
        newest_us=int(newest) if newest else None,
        floor_us=int(detail[FLOOR]) if FLOOR in detail else None,
    )
    if judged.newest_us is not None:
        detail[NEWEST] = str(judged.newest_us)
    return judged


def _deletes(node: Node, part: Polled) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows say that their key is gone."""
    import pyarrow.compute as pc

    rows = part.rows
    none = np.zeros(rows.num_rows, dtype=bool)
    if node.changes is None and not part.tombstones:
        return none
    records = rows.column(rows.num_columns - 3).to_pylist()
    gone = np.array([record in part.tombstones for record in records], dtype=bool) if part.tombstones else none
    if node.changes is not None and node.changes.op:
        said = pc.is_in(rows.column(node.changes.op), value_set=_words(node.changes.deletes))
        gone = gone | np.asarray(said.to_numpy(zero_copy_only=False), dtype=bool)
    return gone


def _words(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(values), pa.string())


def _count(detail: dict[str, str], name: str, more: int) -> None:
    if more:
        detail[name] = str(int(detail.get(name, "0")) + more)


def _rejected(node: Node, part: Polled, number: int, reject: object, run: str) -> SetAside:
    from gristmill.connect import Reject

    assert isinstance(reject, Reject)
    return SetAside(
        id=quarantine.row_name(node.name, part.partition, reject.record, ""),
        table=node.name,
        raw=reject.raw.decode("utf-8", "backslashreplace"),
        reasons=(f"{reject.reason}:{reject.column}" if reject.column else reject.reason,),
        message=reject.message,
        unit=part.partition,
        unit_number=number,
        record=reject.record,
        line=reject.line,
        offset=reject.offset,
        run=run,
    )


def _misplaced(
    node: Node,
    part: Polled,
    number: int,
    rows: pa.RecordBatch,
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]],
    code: str,
    words: str,
    run: str,
) -> list[SetAside]:
    import pyarrow as pa

    if not mask.any():
        return []
    found = []
    for row in rows.filter(pa.array(mask)).to_pylist():
        _, record, line, offset = (row.pop(name) for name in ORIGIN_COLUMNS)
        cells = msgspec.json.encode(row, enc_hook=str).decode()
        found.append(
            SetAside(
                id=quarantine.row_name(node.name, part.partition, record, ""),
                table=node.name,
                raw=cells,
                cells=cells,
                reasons=(code,),
                message=words,
                unit=part.partition,
                unit_number=number,
                record=record,
                line=line,
                offset=offset if offset is not None else record,
                run=run,
            )
        )
    return found


def _stored(ctx: Context, tx: Transaction, node: Node, rules: Sequence[Rule]) -> str | None:
    """Make the table's rows known to the kernel where a rule compares rows with them; None where none does."""
    from gristmill.store import compute

    if not any(rule.kind == "unique" for rule in rules) or not tx.table(node.name).row_count:
        return None
    compute.register(ctx.kernel.connection, "_gristmill_stored", tx.scan(node.name, hidden=True))
    if not node.key:
        return "_gristmill_stored"
    keys = ", ".join(quote(name) for name in node.key)
    return f'(SELECT * FROM _gristmill_stored WHERE ({keys}) NOT IN (SELECT {keys} FROM "_gristmill_staged"))'


def _write(ctx: Context, tx: Transaction, batch: Batch, found: _Sorted, staged: Staged) -> dict[int, int]:
    """Write rows and deletions; returns how many messages of each unit were outdone by later ones."""
    node = batch.node
    if not node.key:
        tx.append(node.name, staged)
        return {}
    gone = _table(table_schema(batch.shape), found.gone) if found.gone else None
    decided = decide(ctx, tx, node, staged, gone, partitions=len(set(batch.expected) | _names(found)))
    if decided.rows.row_count:
        tx.upsert(node.name, decided.rows)
    if decided.gone is not None and decided.gone.num_rows:
        tx.delete(node.name, keys=decided.gone.select(list(node.key)))
        remember_gone(tx, node, decided.gone, decided.rows)
    return decided.lost


def _names(found: _Sorted) -> set[str]:
    return {unit.name for unit in found.units.values()}


def _write_late(tx: Transaction, batch: Batch, found: _Sorted) -> None:
    if found.late:
        tx.append(batch.node.late.table, _table(table_schema(batch.shape), found.late))


def _ledgers(
    ctx: Context, found: _Sorted, staged: Staged, aside: Sequence[SetAside], lost: Mapping[int, int]
) -> dict[int, Ledger]:
    passed = _passed(ctx, found, staged)
    put_aside: dict[int, int] = {}
    for row in aside:
        if row.unit_number is not None:
            put_aside[row.unit_number] = put_aside.get(row.unit_number, 0) + 1
    return {
        number: Ledger(
            delivered=delivered,
            accepted=passed.get(number, 0) + found.deletes.get(number, 0) - lost.get(number, 0),
            quarantined=put_aside.get(number, 0),
            late=found.aside_late.get(number, 0),
            dropped=found.dropped.get(number, 0),
            duplicate=lost.get(number, 0),
        )
        for number, delivered in found.delivered.items()
    }


def _passed(ctx: Context, found: _Sorted, staged: Staged) -> dict[int, int]:
    """Return how many of the rows that stay are of each unit."""
    from gristmill.store import compute

    if staged.row_count == sum(part.num_rows for part in found.keep):  # nothing was set aside
        counts: dict[int, int] = {}
        for part in found.keep:
            numbers, times = np.unique(part.column(ORIGIN_UNIT).to_numpy(), return_counts=True)
            for number, count in zip(numbers.tolist(), times.tolist(), strict=True):
                counts[number] = counts.get(number, 0) + count
        return counts
    compute.register(ctx.kernel.connection, "_gristmill_count", staged.scan)
    sql = f"SELECT {ORIGIN_UNIT}, count(*) FROM _gristmill_count GROUP BY 1"
    return dict(ctx.kernel.connection.execute(sql).fetchall())


def _write_state(tx: Transaction, batch: Batch, units: Mapping[str, Unit], state: StreamState) -> None:
    """Write how far event time has come, with the partitions that were not waited for."""
    rule = batch.node.event_time
    if rule is None:
        return
    came = {part.partition for part in batch.parts}
    idle = tuple(sorted((set(batch.idle) | set(state.idle)) - came))
    names = {*units, *batch.expected}
    newest = {name: _newest(units.get(name)) for name in names}
    reached = watermark(newest, rule, idle=idle, before_us=state.watermark_us)
    put_state(tx, batch.node.name, msgspec.structs.replace(state, watermark_us=reached, idle=idle))


def _newest(unit: Unit | None) -> int | None:
    text = unit.detail.get(NEWEST) if unit is not None else None
    return int(text) if text else None


def _gates(ctx: Context, node: Node, units: Collection[Unit]) -> list[Finding]:
    """Return what forbids to go on, judged over everything the stream has brought."""
    total = sum((unit.ledger for unit in units), Ledger())
    found = []
    if total.delivered >= _BREAKER_ROWS:
        contract = contract_of(ctx, node)
        limit = contract.max_quarantine if contract is not None else None
        most = ctx.settings.run.max_quarantine if limit is None else limit
        found += breaker(node.name, total.quarantined, total.delivered, most)
    policy = node.late
    if policy.policy == "drop" and total.dropped > policy.max_ratio * total.delivered:
        found.append(
            Finding(
                table=node.name,
                rule=Rule(kind="late_ratio", scope="aggregate", parameters={"high": policy.max_ratio}),
                outcome="fail",
                failed_rows=total.dropped,
                checked_rows=total.delivered,
                observed=f"{total.dropped / total.delivered:.2%} of rows were late and dropped",
                expected=f"at most {policy.max_ratio:.2%} of rows dropped as late",
            )
        )
    return found


def watermark_of(view: View, source: str) -> int | None:
    """Return the event time up to which a source's rows are final; None before there is one."""
    return load_state(view, source).watermark_us
