"""Which message of a key holds: the last one in the order of the feed or of the source, wherever batches are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gristmill.contracts.kinds import quote
from gristmill.define import Node
from gristmill.model.units import ORIGIN_RECORD, ORIGIN_UNIT
from gristmill.run.context import Context

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.model.predicates import Predicate
    from gristmill.store import Staged, Transaction

_STAGED, _GONE, _STORED, _DELETED = "_gristmill_news", "_gristmill_gone", "_gristmill_there", "_gristmill_deleted"
_FEW = 10_000


def deleted_table(source: str) -> str:
    """Return the name of the table that remembers which keys of a change feed are gone, and since when."""
    return f"_deleted.{source}"


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be written: rows to set, keys to take out, and how many messages of each unit changed nothing."""

    rows: Staged
    gone: pa.Table | None
    lost: dict[int, int]


def decide(
    ctx: Context, tx: Transaction, node: Node, staged: Staged, gone: pa.Table | None, *, partitions: int
) -> Decided:
    """Return what holds of rows and deletions that came.

    Args:
        ctx: the run.
        tx: the transaction.
        node: a source with a key.
        staged: rows that passed their rules.
        gone: deletions: key, order and origin of each; None where there are none.
        partitions: how many partitions the source has; in one alone a later message is always the later one.
    """
    from gristmill.store import SqlSource, compute

    con = ctx.kernel.connection
    compute.register(con, _STAGED, staged.scan)
    ordered = _order(node)
    columns = ", ".join([*map(quote, node.key), *ordered])
    came = f"SELECT {columns}, false AS gone FROM {_STAGED}"
    if gone is not None:
        ctx.kernel.register(_GONE, gone)
        came += f" UNION ALL SELECT {columns}, true FROM {_GONE}"
    keys = ", ".join(map(quote, node.key))
    falling = ", ".join(f"{name} DESC" for name in ordered)
    wins = f"SELECT * FROM ({came}) QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {falling}) = 1"
    if partitions > 1 or (node.changes is not None and node.changes.order):
        wins = _newer(ctx, tx, node, wins, ordered)
    con.execute(f"CREATE OR REPLACE TEMP TABLE _gristmill_wins AS {wins}")
    origin = f"{ORIGIN_UNIT}, {ORIGIN_RECORD}"
    kept = f"({origin}) IN (SELECT {origin} FROM _gristmill_wins WHERE NOT gone)"
    lost = con.execute(
        f"SELECT {ORIGIN_UNIT}, count(*) FROM (SELECT {origin} FROM ({came}) "
        f"EXCEPT SELECT {origin} FROM _gristmill_wins) GROUP BY 1"
    ).fetchall()
    rows = staged
    if lost:
        rows = tx.stage(node.name, SqlSource(con, f"SELECT * FROM {_STAGED} WHERE {kept}"))
    out = None
    if gone is not None:
        out = ctx.kernel.query(f"SELECT {columns} FROM _gristmill_wins WHERE gone").read_all()
    return Decided(rows, out, dict(lost))


def _order(node: Node) -> list[str]:
    first = [quote(node.changes.order)] if node.changes is not None and node.changes.order else []
    return [*first, ORIGIN_UNIT, ORIGIN_RECORD]


def _newer(ctx: Context, tx: Transaction, node: Node, wins: str, ordered: list[str]) -> str:
    """Return a query of those that are newer than what is stored, or was deleted."""
    from gristmill.store import compute

    con = ctx.kernel.connection
    con.execute(f"CREATE OR REPLACE TEMP TABLE _gristmill_best AS {wins}")
    same = " AND ".join(f"w.{quote(name)} = s.{quote(name)}" for name in node.key)
    newer = f"({', '.join(f's.{name}' for name in ordered)}) >= ({', '.join(f'w.{name}' for name in ordered)})"
    query = "SELECT * FROM _gristmill_best w"
    words = []
    for view, table in ((_STORED, node.name), (_DELETED, deleted_table(node.name))):
        if table in tx and tx.table(table).row_count:
            plan = tx.scan(table, where=_pruning(ctx, node), hidden=True)
            compute.register(con, view, plan)
            words.append(f"NOT EXISTS (SELECT 1 FROM {view} s WHERE {same} AND {newer})")
    return f"{query} WHERE {' AND '.join(words)}" if words else query


def _pruning(ctx: Context, node: Node) -> Predicate | None:
    """Return a predicate that lets files without these keys be left out, where keys are few."""
    from gristmill.model.predicates import In

    if len(node.key) != 1:
        return None
    sql = f"SELECT {quote(node.key[0])} FROM _gristmill_best LIMIT {_FEW + 1}"
    values = ctx.kernel.query(sql).read_all().column(0).to_pylist()
    plain = all(isinstance(value, int | str) for value in values)
    return In(node.key[0], tuple(values)) if values and plain and len(values) <= _FEW else None


def remember_gone(tx: Transaction, node: Node, gone: pa.Table, kept: Staged) -> None:
    """Write down which keys are gone, so that an older change of them does not bring them back."""
    import pyarrow as pa

    if node.changes is None or not node.changes.order or not gone.num_rows:
        return
    name = deleted_table(node.name)
    if name not in tx:
        schema = pa.schema([field.with_nullable(field.name not in node.key) for field in gone.schema])
        tx.create_table(name, schema, key=node.key, properties={"kind": "deleted"}, beside=node.name)
    tx.upsert(name, gone)
