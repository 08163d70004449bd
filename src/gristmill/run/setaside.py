"""Work on rows set aside: add, fix, retry, drop. Each is one commit, and the ledgers of the units follow.

A row goes back through the same boundary that refused it: the connector types its text, the table's rules look at
it. It is taken once, by its unit and record, and only where no later row of its key has been accepted since.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts import quarantine
from gristmill.contracts.quarantine import SetAside
from gristmill.contracts.sqltext import quote
from gristmill.define import Node
from gristmill.errors import NotFound, UsageError
from gristmill.model.units import ORIGIN_COLUMNS, ORIGIN_RECORD, ORIGIN_UNIT, Ledger, Unit
from gristmill.run.checking import Delivery, check_staged
from gristmill.run.context import Context
from gristmill.run.displacing import displace
from gristmill.run.landing import load_shape
from gristmill.run.rules import rules_of

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect import Shape
    from gristmill.store import Store, Transaction, View


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did: rows taken, rows that still break a rule, rows that a later row has replaced."""

    commit: str
    taken: int
    still: tuple[SetAside, ...]
    overtaken: int


def rows_of(snapshot: View, table: str, *, ids: Sequence[str] = (), status: str = "open") -> list[SetAside]:
    """Return rows set aside from a table, in the order of delivery.

    Args:
        snapshot: where to look.
        table: the table they were meant for.
        ids: only these, given whole or by their first characters.
        status: only those of this status; ``all`` for every one.

    Raises NotFound where an id names none or several.
    """
    name = quarantine.table_name(table)
    rows = quarantine.from_arrow(snapshot.to_arrow(name)) if name in snapshot else ()
    kept = [row for row in rows if status in ("all", row.status)]
    chosen = [_one(kept, wanted, table) for wanted in ids] if ids else kept
    return sorted(chosen, key=lambda row: (row.unit_number or 0, row.record or 0, row.id))


def _one(rows: Sequence[SetAside], wanted: str, table: str) -> SetAside:
    found = [row for row in rows if row.id.startswith(wanted)]
    if len(found) != 1:
        raise NotFound(
            f"{len(found) or 'no'} rows set aside from {table} have the id {wanted}",
            code="GM-C030",
            hint=f"`gristmill quarantine list {table}` shows them",
        )
    return found[0]


def drop(store: Store, branch: str, table: str, *, ids: Sequence[str], because: str, by: str = "") -> str:
    """Let rows set aside go for good, with a reason; they stay listed as dropped. Returns the new commit."""
    with store.begin(branch, message=f"drop {len(ids)} rows set aside from {table}: {because}") as tx:
        rows = rows_of(tx, table, ids=ids)
        _mark(tx, table, rows, "dropped", " ".join(part for part in (by, because) if part))
        _count(tx, table, rows, lambda ledger, n: {"dropped": ledger.dropped + n})
    return store.resolve(branch)


def add(ctx: Context, branch: str, table: str, *, where: str, because: str) -> tuple[str, int]:
    """Set stored rows of a source aside by hand; returns the new commit and their number.

    Raises UsageError for a derived table, whose rows would come back with the next run.
    """
    from gristmill.contracts.outcomes import CheckResult
    from gristmill.contracts.rules import condition
    from gristmill.run.checking import aside_rows
    from gristmill.store import compute

    node = ctx.graph[table]
    if node.kind != "source":
        raise UsageError(
            f"`{table}` is computed: its rows would come back",
            code="GM-C031",
            hint="set the rows of its source aside, or give it a rule",
        )
    with ctx.store.begin(branch, message=f"set rows of {table} aside: {because}") as tx:
        chosen = '"_gristmill_chosen"'
        compute.register(ctx.kernel.connection, chosen.strip('"'), tx.scan(table, hidden=True))
        rule = condition(f"NOT ({where})", name="by_hand", on_fail="quarantine", because=because)
        result = CheckResult(table, (), ((rule, f"({where})"),))
        units = {unit.number: unit for unit in tx.units(table).values()}
        rows = aside_rows(ctx, result, chosen, node, Delivery(units=units), "")
        by_hand = [msgspec.structs.replace(row, message=because, note="by hand") for row in rows]
        displace(ctx, tx, node, result, chosen, by_hand)
    return ctx.store.resolve(branch), len(rows)


def retry(
    ctx: Context,
    branch: str,
    table: str,
    *,
    ids: Sequence[str] = (),
    values: Mapping[str, str | None] | None = None,
    expressions: Mapping[str, str] | None = None,
    note: str = "",
) -> Retried:
    """Send rows set aside through their boundary again, as they are or with cells set anew.

    Args:
        ctx: the run's values.
        branch: where to work.
        table: a source's table.
        ids: which rows; none means every open one.
        values: new cells, as text as a file would have it; None means null.
        expressions: new cells as SQL over the row, for rows whose cells could be typed.
        note: who did it, and why.

    Raises UsageError for a derived table, whose rows come back by a run once rule or input has changed.
    """
    node = ctx.graph[table]
    if node.kind != "source":
        raise UsageError(
            f"rows of `{table}` are computed", code="GM-C031", hint=f"change the rule or its inputs, then run {table}"
        )
    with ctx.store.begin(branch, message=f"{'fix' if values or expressions else 'retry'} rows of {table}") as tx:
        rows = rows_of(tx, table, ids=ids)
        words = note or ("fixed" if values or expressions else "retried")
        done = take_back(ctx, tx, node, rows, values=values or {}, expressions=expressions or {}, note=words)
    return Retried(ctx.store.resolve(branch), done.taken, done.still, done.overtaken)


def take_back(
    ctx: Context,
    tx: Transaction,
    node: Node,
    rows: Sequence[SetAside],
    *,
    values: Mapping[str, str | None],
    expressions: Mapping[str, str],
    note: str,
) -> Retried:
    """Send rows through their boundary again within a transaction; the commit of the result is empty."""
    overtaken = _overtaken(ctx, tx, node, rows)
    late, left = [row for row in rows if row.id in overtaken], [row for row in rows if row.id not in overtaken]
    taken, still = _replay(ctx, tx, node, left, values, expressions)
    back = [row for row in left if row.id in taken]
    _mark(tx, node.name, back, "fixed", note)
    _mark(tx, node.name, late, "waived", "a later row of its key was accepted")
    _count(tx, node.name, back, lambda ledger, n: {"accepted": ledger.accepted + n})
    _count(tx, node.name, late, lambda ledger, n: {"duplicate": ledger.duplicate + n})
    if still:
        tx.upsert(quarantine.table_name(node.name), quarantine.to_arrow(still))
    return Retried("", len(taken), tuple(still), len(late))


def _mark(tx: Transaction, table: str, rows: Sequence[SetAside], status: str, note: str) -> None:
    if rows:
        marked = [msgspec.structs.replace(row, status=status, note=note) for row in rows]
        tx.upsert(quarantine.table_name(table), quarantine.to_arrow(marked))


def _count(
    tx: Transaction, table: str, rows: Sequence[SetAside], change: Callable[[Ledger, int], dict[str, int]]
) -> None:
    """Move rows of each unit out of quarantine in its ledger."""
    numbers: dict[int, int] = {}
    for row in rows:
        if row.unit_number is not None:
            numbers[row.unit_number] = numbers.get(row.unit_number, 0) + 1
    if not numbers:
        return
    units: dict[str, Unit] = {}
    for name, unit in tx.units(table).items():
        n = numbers.get(unit.number, 0)
        ledger = unit.ledger
        if n:
            moved = {"quarantined": ledger.quarantined - n, **change(ledger, n)}
            ledger = msgspec.structs.replace(ledger, **moved)
        units[name] = msgspec.structs.replace(unit, ledger=ledger)
    tx.put_units(table, units)


def _overtaken(ctx: Context, tx: Transaction, node: Node, rows: Sequence[SetAside]) -> set[str]:
    """Ids of rows whose key has a live row that was delivered later."""
    if not node.key or not rows:
        return set()
    from gristmill.store import compute

    typed = [row for row in rows if row.cells]
    if not typed:
        return set()
    table = _from_cells(tx, node, typed, {})
    connection = ctx.kernel.connection
    compute.register(connection, "_gristmill_live", tx.scan(node.name, columns=[*node.key, ORIGIN_UNIT, ORIGIN_RECORD]))
    connection.register("_gristmill_back", table.append_column("_id", [[row.id for row in typed]]))
    keys = " AND ".join(f"b.{quote(name)} = l.{quote(name)}" for name in node.key)
    later = f"(l.{ORIGIN_UNIT}, l.{ORIGIN_RECORD}) > (b.{ORIGIN_UNIT}, b.{ORIGIN_RECORD})"
    sql = f"SELECT b._id FROM _gristmill_back b JOIN _gristmill_live l ON {keys} WHERE {later}"
    found = {row[0] for row in connection.execute(sql).fetchall()}
    connection.unregister("_gristmill_back")
    return found


def _replay(
    ctx: Context,
    tx: Transaction,
    node: Node,
    rows: Sequence[SetAside],
    values: Mapping[str, str | None],
    expressions: Mapping[str, str],
) -> tuple[set[str], list[SetAside]]:
    """Type and check rows again, write those that pass; returns ids of rows taken, and rows that still break a rule."""
    if not rows:
        return set(), []
    import pyarrow as pa

    typed, texts = [row for row in rows if row.cells], [row for row in rows if not row.cells]
    parts, still = [], list[SetAside]()
    if typed:
        parts.append(_from_cells(tx, node, typed, values))
    if texts:
        read, refused = _from_text(ctx, tx, node, texts, values)
        parts += [read] if read is not None else []
        still += refused
    if not parts:
        return set(), still
    table = _with_expressions(ctx, pa.concat_tables(parts, promote_options="default"), expressions)
    staged = tx.stage(node.name, table)
    units = {unit.number: unit for unit in tx.units(node.name).values()}
    quiet = _quiet(ctx)
    checked = check_staged(quiet, tx, node, staged, rules=rules_of(ctx, node), run="", delivery=Delivery(units=units))
    by_place = {(row.unit_number, row.record): row for row in rows}
    broken = {(row.unit_number, row.record): row for row in checked.aside}
    blocked = [finding for finding in checked.findings if finding.blocks and finding.rule.kind != "max_quarantine"]
    if blocked:
        raise UsageError(
            f"the rows would break {blocked[0].words}", code="GM-C032", where=node.name,
            examples=[str(example) for example in blocked[0].examples],
        )  # fmt: skip
    still += [
        msgspec.structs.replace(row, id=by_place[place].id, raw=by_place[place].raw, run=by_place[place].run)
        for place, row in broken.items()
    ]
    taken = {row.id for place, row in by_place.items() if place not in broken} - {row.id for row in still}
    if node.key:
        tx.upsert(node.name, checked.staged)
    else:
        tx.append(node.name, checked.staged)
    return taken, still


def _quiet(ctx: Context) -> Context:
    """Return the context with a listener that says nothing: the caller tells what became of the rows."""
    from dataclasses import replace

    from gristmill.model.events import silent

    return replace(ctx, listener=silent)


def _from_cells(tx: Transaction, node: Node, rows: Sequence[SetAside], values: Mapping[str, str | None]) -> pa.Table:
    import pyarrow as pa

    schema = tx.table(node.name).schema.to_arrow(hidden=True)
    cells = [{**msgspec.json.decode(row.cells or "{}"), **values} for row in rows]
    origins = dict(zip(ORIGIN_COLUMNS, ("unit_number", "record", "line", "offset"), strict=True))
    arrays = []
    for field in schema:
        if field.name in origins:
            arrays.append(pa.array([getattr(row, origins[field.name]) for row in rows], field.type))
            continue
        given = [row.get(field.name) for row in cells]
        if any(isinstance(value, str) for value in given):
            texts = [None if value is None else str(value) for value in given]
            arrays.append(pa.array(texts, pa.string()).cast(field.type))
        else:
            arrays.append(pa.array(given, field.type))
    return pa.table(arrays, schema=pa.schema([field.with_nullable(True) for field in schema]))


def _from_text(
    ctx: Context, tx: Transaction, node: Node, rows: Sequence[SetAside], values: Mapping[str, str | None]
) -> tuple[pa.Table | None, list[SetAside]]:
    """Let the connector read the text of rows again, cells set anew."""
    import pyarrow as pa

    from gristmill.connect import files

    shape = load_shape(tx, node.name)
    if shape is None or shape.dialect is None:
        return None, list(rows)
    tables, still = [], []
    own = [column for column in shape.columns if column.name not in shape.partitions]
    for row in rows:
        line = _line(shape, [column.name for column in own], row.raw, values)
        with tempfile.TemporaryDirectory(prefix="gristmill-retry-") as folder:
            root = Path(folder)
            (root / "row.csv").write_text(line, encoding="utf-8")
            source = files("row.csv", format="csv")
            (found,) = source.discover(root, {})
            read = source.read(root, found, shape=_plain(shape), number=row.unit_number or 0)
            chunks = list(read)
        rejects = [reject for chunk in chunks for reject in chunk.rejects]
        batches = [chunk.rows for chunk in chunks if chunk.rows.num_rows]
        if rejects or not batches:
            message = rejects[0].message if rejects else row.message
            still.append(msgspec.structs.replace(row, message=message))
            continue
        tables.append(_at_place(pa.Table.from_batches(batches), row))
    return (pa.concat_tables(tables) if tables else None), still


def _plain(shape: Shape) -> Shape:
    """The shape of one row written anew: UTF-8, a header, nothing to leave out."""
    assert shape.dialect is not None
    dialect = msgspec.structs.replace(shape.dialect, encoding="utf-8", header=True, preamble=0, skip=0)
    plain: Shape = msgspec.structs.replace(shape, dialect=dialect)
    return plain


def _line(shape: Shape, names: Sequence[str], raw: str, values: Mapping[str, str | None]) -> str:
    assert shape.dialect is not None
    delimiter = shape.dialect.delimiter
    cells = next(iter(csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter)), [])
    if len(cells) == len(names):
        given = dict(zip(names, cells, strict=True))
        cells = [given[name] if name not in values else (values[name] or "") for name in names]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    writer.writerow(cells)
    return out.getvalue()


def _at_place(table: pa.Table, row: SetAside) -> pa.Table:
    import pyarrow as pa

    places = zip(ORIGIN_COLUMNS, (row.unit_number, row.record, row.line, row.offset), strict=True)
    for name, place in places:
        table = table.set_column(table.schema.get_field_index(name), name, pa.array([place], pa.int64()))
    return table


def _with_expressions(ctx: Context, table: pa.Table, expressions: Mapping[str, str]) -> pa.Table:
    if not expressions:
        return table
    unknown = [name for name in expressions if name not in table.column_names]
    if unknown:
        raise UsageError(f"there is no column {unknown[0]}", code="GM-C032")
    ctx.kernel.connection.register("_gristmill_fixed", table)
    replaced = ", ".join(f"({sql}) AS {quote(name)}" for name, sql in expressions.items())
    made = ctx.kernel.connection.sql(f"SELECT * REPLACE ({replaced}) FROM _gristmill_fixed").to_arrow_table()
    ctx.kernel.connection.unregister("_gristmill_fixed")
    return made.cast(table.schema)
