"""Land a source: find new and changed units, read them, check their rows, and account for every row delivered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gristmill.connect.windows import without_old_sets
from gristmill.contracts import quarantine
from gristmill.contracts.kinds import quote
from gristmill.contracts.quarantine import SetAside
from gristmill.define import Node
from gristmill.errors import DataError
from gristmill.model.events import Assumed, Progress, UnitLanded
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.model.units import ORIGIN_RECORD, ORIGIN_UNIT, Ledger, Unit
from gristmill.run.checking import Checked, Delivery, check_staged, write_aside
from gristmill.run.context import Context
from gristmill.run.deliveries import copied_units, copy_findings, missing_columns, with_new_columns
from gristmill.run.displacing import displace_outdone
from gristmill.run.layout import create, follow_partitions
from gristmill.run.profiling import judged, profile
from gristmill.run.rules import write_checks

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect import Found, Reject, Shape
    from gristmill.store import Staged, Store, Transaction, View


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a source would land now: new and changed units, units kept back, and units that are gone."""

    fresh: tuple[Found, ...]
    held: tuple[str, ...]
    gone: tuple[str, ...]
    known: int


@dataclass(frozen=True, slots=True)
class Landed:
    """What landing a source did."""

    rows: int
    ledger: Ledger
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing forbids publishing."""
        return not any(finding.blocks for finding in self.findings)


def arrivals(ctx: Context, node: Node, snapshot: View) -> Arrivals:
    """Find what a source would land; cheap where nothing has changed.

    A unit that a revert has put on hold is not landed again until its content changes or it is released.
    """
    assert node.connector is not None
    known = snapshot.units(node.name)
    landed = {name: unit for name, unit in known.items() if unit.state != "released"}
    found = node.connector.discover(ctx.root, landed)
    fresh, held = [], [name for name, unit in known.items() if unit.state == "held"]
    for unit in found:
        if unit.status in ("new", "changed"):
            fresh.append(unit)
    names = {unit.name for unit in fresh}
    gone = tuple(unit.name for unit in found if unit.status == "gone" and known[unit.name].state != "held")
    return Arrivals(tuple(fresh), tuple(sorted(set(held) - names)), gone, len(known))


def shape_path(name: str) -> str:
    """Return where a source's shape stands in a commit."""
    return f"sources/{name}.json"


def load_shape(snapshot: View, name: str) -> Shape | None:
    """Return the shape a source was first landed with, or None."""
    from gristmill.connect import Shape

    data = snapshot.document(shape_path(name))
    return msgspec.json.decode(data, type=Shape) if data else None


def shape_of(ctx: Context, node: Node, snapshot: View, fresh: Sequence[Found]) -> Shape:
    """Return the source's shape: as landed before, else inferred from what is there now.

    Raises DataError where nothing has arrived yet.
    """
    assert node.connector is not None
    shape = load_shape(snapshot, node.name)
    if shape is not None:
        return shape
    if not fresh:
        where = node.connector.describe()
        raise DataError(
            f"`{node.name}` has nothing to land",
            code="GM-D010",
            where=", ".join(f"{key} {value}" for key, value in where.items()),
            hint="put the files there, or mend the pattern",
        )
    return node.connector.infer(ctx.root, fresh)


def land(ctx: Context, tx: Transaction, node: Node, rules: Sequence[Rule], run: str) -> Landed:
    """Read every new and changed unit of a source into its table, in one transaction.

    The rows of a changed unit replace those that it delivered before. In a table with a key a later row replaces
    an earlier one of the same key, in the order of units and records.

    A column that the source did not know stops it, until a person accepts it.

    Raises DataError where the ledger would not add up.
    """
    there = arrivals(ctx, node, tx)
    if not there.fresh:
        return Landed(0, Ledger(), ())
    shape = shape_of(ctx, node, tx, there.fresh)
    if node.name in tx:
        shape, refused = with_new_columns(ctx, tx, node, shape, there.fresh)
        if refused:
            return Landed(0, Ledger(), refused)
        follow_partitions(tx, node)
    else:
        for text in shape.assumptions:
            ctx.listener(Assumed(name=node.name, text=text))
        try:
            create(tx, node, table_schema(shape), kind="source")
        except DataError as error:
            error.where = error.where or _culprit(ctx, node, there.fresh)
            raise
    reading = _Reading(ctx, node, shape, there.fresh, tx.units(node.name), run)
    return _land_units(ctx, tx, node, shape, reading, rules)


def _culprit(ctx: Context, node: Node, fresh: Sequence[Found]) -> str:
    """Return the first unit whose columns alone no table can have."""
    from itertools import count

    from gristmill.model.arrow import fields_from_arrow

    assert node.connector is not None
    for found in fresh:
        ids = count(1)
        try:
            fields_from_arrow(node.connector.infer(ctx.root, [found]).schema, lambda *_, ids=ids: next(ids))
        except DataError:
            return found.name
    return node.name


def _land_units(
    ctx: Context, tx: Transaction, node: Node, shape: Shape, reading: _Reading, rules: Sequence[Rule]
) -> Landed:
    known, numbers = tx.units(node.name), reading.numbers
    staged = tx.stage(node.name, reading.reader())
    copies = copied_units(shape, known, reading.units())
    if copies:
        staged = tx.filter_staged(staged, f"{ORIGIN_UNIT} NOT IN ({', '.join(map(str, copies))})")
    replaced = [numbers[found.name] for found in reading.fresh if found.name in known]
    units = {**{unit.number: unit for unit in known.values()}, **reading.units()}
    counts = {unit.name: reading.delivered[number] for number, unit in reading.units().items() if number not in copies}
    odd = judged(ctx, tx, node, profile(ctx, staged, units=counts)) if counts else []
    delivery = Delivery(
        units=units,
        rejects=tuple(row for row in reading.rejects if row.unit_number not in copies),
        delivered=reading.delivered,
        types={column.name: column.type for column in shape.columns},
        found=(*missing_columns(node.name, known, reading.units()), *copy_findings(node.name, units, copies), *odd),
        fresh=True,
        stored=_others(ctx, tx, node, replaced),
        raw=reading.raw,
    )
    checked = check_staged(ctx, tx, node, staged, rules=rules, run=reading.run, delivery=delivery)
    kept = _without_duplicates(ctx, tx, node, checked.staged)
    ledgers = _ledgers(ctx, checked, kept, reading, copies)
    whole = bool(replaced) and {unit.number for unit in known.values()} <= set(replaced)
    gone = {"rows_gone": str(_gone(ctx, tx, node, kept))} if whole and node.key else {}
    _write(tx, node, kept, replaced, whole=whole)
    write_aside(tx, node.name, checked.aside, replaced_units=replaced)
    landed = {
        unit.name: msgspec.structs.replace(unit, ledger=ledgers[unit.number], detail={**unit.detail, **gone})
        for unit in reading.units().values()
    }
    for unit in landed.values():
        assert_balanced(node.name, unit)
        ctx.listener(UnitLanded(source=node.name, unit=unit.name, ledger=unit.ledger))
    tx.put_units(node.name, without_old_sets({**known, **landed}))
    displace_outdone(ctx, tx, node, rules, came=kept, stored=delivery.stored, run=reading.run)
    tx.put_document(shape_path(node.name), msgspec.json.encode(shape, order="deterministic"))
    write_checks(ctx, tx, node)
    total = sum((unit.ledger for unit in landed.values()), Ledger())
    return Landed(kept.row_count, total, checked.findings)


def _others(ctx: Context, tx: Transaction, node: Node, replaced: Sequence[int]) -> str | None:
    """Make the rows that stay in the table known to the kernel; None where there are none."""
    from gristmill.model.predicates import In
    from gristmill.store import compute

    if not tx.table(node.name).row_count:
        return None
    where = In(ORIGIN_UNIT, tuple(replaced), negated=True) if replaced else None
    compute.register(ctx.kernel.connection, "_gristmill_stored", tx.scan(node.name, where=where, hidden=True))
    if not node.key:
        return "_gristmill_stored"
    keys = ", ".join(quote(name) for name in node.key)
    return f'(SELECT * FROM _gristmill_stored WHERE ({keys}) NOT IN (SELECT {keys} FROM "_gristmill_staged"))'


def release(store: Store, branch: str, source: str, names: Sequence[str]) -> str:
    """Let held units land again at the next run; return the new commit."""
    tx = store.begin(branch, message=f"release {', '.join(names)}")
    units = tx.units(source)
    released = {name: msgspec.structs.replace(units[name], state="released") for name in names}
    tx.put_units(source, {**units, **released})
    return tx.commit()


def table_schema(shape: Shape) -> pa.Schema:
    """Return the columns of a source's table: those of its shape, and where each row came from."""
    import pyarrow as pa

    from gristmill.model.units import ORIGIN_COLUMNS

    return pa.schema([*shape.schema, *(pa.field(name, pa.int64()) for name in ORIGIN_COLUMNS)])


def unit_numbers(store: Store, source: str, names: Sequence[str], known: Mapping[str, Unit]) -> dict[str, int]:
    """Return the number of each unit: the one it has, or a new one that no other branch gives out."""
    numbers = {name: known[name].number for name in names if name in known}
    new = [name for name in names if name not in known]
    if new:
        taken = max((unit.number for unit in known.values()), default=0)
        first = store.new_units(source, len(new))
        while first <= taken:
            first = store.new_units(source, len(new))
        numbers |= {name: first + offset for offset, name in enumerate(new)}
    return numbers


class _Reading:
    """Streams the rows of several units and keeps what cannot be known before the end: counts, digests, rejects."""

    def __init__(
        self, ctx: Context, node: Node, shape: Shape, fresh: Sequence[Found], known: Mapping[str, Unit], run: str
    ) -> None:
        self.ctx, self.node, self.shape, self.fresh, self.run = ctx, node, shape, fresh, run
        self.numbers = unit_numbers(ctx.store, node.name, [found.name for found in fresh], known)
        self.rejects: list[SetAside] = []
        self.delivered: dict[int, int] = {}
        self._units: dict[int, Unit] = {}

    def reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(table_schema(self.shape), self._batches())

    def units(self) -> dict[int, Unit]:
        return dict(self._units)

    def raw(self, lines: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        """Return the text of records as delivered, by unit and first line, where the files have text."""
        from gristmill.connect.file_source import FilesSource
        from gristmill.connect.raw import raw_records

        found: dict[tuple[int, int], str] = {}
        if not isinstance(self.node.connector, FilesSource):
            return found
        for number, wanted in lines.items():
            unit = self._units[number]
            texts = raw_records(
                self.node.connector, self.ctx.root, unit.name, wanted, shape=self.shape, digest=unit.digest
            )
            found |= {(number, line): text for line, text in texts.items()}
        return found

    def _batches(self) -> Iterator[pa.RecordBatch]:
        assert self.node.connector is not None
        done, total = 0, sum(found.size_bytes for found in self.fresh)
        rows = 0
        for found in self.fresh:
            number = self.numbers[found.name]
            unit_rows = self.node.connector.read(self.ctx.root, found, shape=self.shape, number=number)
            for chunk in unit_rows:
                for reject in chunk.rejects:
                    self.rejects.append(reject_aside(self.node.name, found.name, number, reject, run=self.run))
                rows += chunk.rows.num_rows
                yield chunk.rows
                self.ctx.listener(Progress(name=self.node.name, rows=rows, bytes=done, total_bytes=total))
            done += found.size_bytes
            self.delivered[number] = unit_rows.delivered
            self._units[number] = Unit(
                name=found.name,
                number=number,
                digest=unit_rows.digest,
                size_bytes=found.size_bytes,
                modified_ns=found.modified_ns,
                detail=dict(unit_rows.detail),
            )


def reject_aside(table: str, unit: str, number: int, reject: Reject, *, run: str) -> SetAside:
    """Return a row that could not be typed as a row of quarantine."""
    raw = reject.raw.decode("utf-8", "backslashreplace")
    code = f"{reject.reason}:{reject.column}" if reject.column else reject.reason
    return SetAside(
        id=quarantine.row_name(table, unit, reject.record, raw if reject.record is None else ""),
        table=table,
        raw=raw,
        reasons=(code,),
        message=reject.message,
        unit=unit,
        unit_number=number,
        record=reject.record,
        line=reject.line,
        offset=reject.offset,
        run=run,
    )


def _without_duplicates(ctx: Context, tx: Transaction, node: Node, staged: Staged) -> Staged:
    """Keep the last row of each key, in the order of units and records."""
    from gristmill.store import SqlSource, compute

    if not node.key or not staged.row_count:
        return staged
    connection = ctx.kernel.connection
    compute.register(connection, "_gristmill_kept", staged.scan)
    keys = ", ".join(quote(name) for name in node.key)
    distinct = connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM _gristmill_kept)").fetchall()
    if distinct[0][0] == staged.row_count:
        return staged
    order = f"{ORIGIN_UNIT} DESC, {ORIGIN_RECORD} DESC"
    sql = f"SELECT * FROM _gristmill_kept QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
    return tx.stage(node.name, SqlSource(connection, sql))


def _gone(ctx: Context, tx: Transaction, node: Node, staged: Staged) -> int:
    """Count the stored rows whose key a delivery of the whole table no longer has."""
    from gristmill.store import compute

    connection = ctx.kernel.connection
    compute.register(connection, "_gristmill_before", tx.scan(node.name))
    compute.register(connection, "_gristmill_after", staged.scan)
    same = " AND ".join(f"a.{quote(name)} = b.{quote(name)}" for name in node.key)
    sql = f"SELECT count(*) FROM _gristmill_before b ANTI JOIN _gristmill_after a ON {same}"
    return int(connection.execute(sql).fetchall()[0][0])


def _write(tx: Transaction, node: Node, staged: Staged, replaced: Sequence[int], *, whole: bool) -> None:
    from gristmill.model.predicates import In

    if whole:  # every row of the table is delivered again; rows that stay keep their ids
        tx.replace(node.name, staged)
        return
    if replaced:
        tx.delete(node.name, where=In(ORIGIN_UNIT, tuple(replaced)))
    if node.key:
        tx.upsert(node.name, staged)
    else:
        tx.append(node.name, staged)


def _ledgers(
    ctx: Context, checked: Checked, kept: Staged, reading: _Reading, copies: Mapping[int, int]
) -> dict[int, Ledger]:
    passed = _rows_per_unit(ctx, checked.staged)
    accepted = passed if kept is checked.staged else _rows_per_unit(ctx, kept)
    aside: dict[int, int] = {}
    for row in checked.aside:
        if row.unit_number is not None:
            aside[row.unit_number] = aside.get(row.unit_number, 0) + 1
    return {
        number: Ledger(
            delivered=delivered,
            accepted=accepted.get(number, 0),
            quarantined=aside.get(number, 0),
            duplicate=delivered if number in copies else passed.get(number, 0) - accepted.get(number, 0),
        )
        for number, delivered in reading.delivered.items()
    }


def _rows_per_unit(ctx: Context, staged: Staged) -> dict[int, int]:
    from gristmill.store import compute

    compute.register(ctx.kernel.connection, "_gristmill_count", staged.scan)
    sql = f"SELECT {ORIGIN_UNIT}, count(*) FROM _gristmill_count GROUP BY 1"
    return dict(ctx.kernel.connection.execute(sql).fetchall())


def assert_balanced(source: str, unit: Unit) -> None:
    """Refuse a unit whose rows are not all accounted for. Raises DataError."""
    if not unit.ledger.balanced:
        raise DataError(
            f"the rows of {unit.name} do not add up: {unit.ledger}",
            code="GM-D011",
            where=source,
            hint="this is a fault in gristmill or its connector; nothing was written",
        )
