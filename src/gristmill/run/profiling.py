"""Take the figures that the default checks need, from column statistics where these have them, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.contracts.defaults import STAND_INS, judge
from gristmill.contracts.history import Profile, history_path, read_history, write_history
from gristmill.contracts.sqltext import literal, quote
from gristmill.contracts.table_kinds import family
from gristmill.define import Node
from gristmill.model.findings import Finding
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.engines.kernel import OutputChanges
    from gristmill.model.scan import ScanPlan
    from gristmill.store import Staged, Transaction


def null_counts(staged: Staged) -> dict[str, int] | None:
    """Return nulls by column from the statistics of the files; None where they are silent about one."""
    known = staged.ranges
    counts = {}
    for field in staged.schema.fields:
        if field.name.startswith("_"):
            continue
        nulls = known[field.name].nulls if field.name in known else None
        if nulls is None:
            return None
        counts[field.name] = nulls
    return counts


def profile(ctx: Context, staged: Staged, *, read: int = 0, units: Mapping[str, int] | None = None) -> Profile:
    """Take the figures of staged rows.

    Args:
        ctx: the run.
        staged: the rows.
        read: rows of the largest input, for a derived table.
        units: for a source, the rows that each unit delivered; values that stand for nothing are counted too.
    """
    nulls = null_counts(staged)
    if nulls is None:
        nulls = _counted_nulls(ctx, staged.scan)
    stand_ins = _stand_ins(ctx, staged) if units is not None and staged.row_count else {}
    return Profile(rows=staged.row_count, nulls=nulls, stand_ins=stand_ins, read=read, units=dict(units or {}))


def profile_followed(
    ctx: Context, tx: Transaction, name: str, *, rows_before: int, changes: OutputChanges, read: int = 0
) -> Profile:
    """Take the figures of a table after changes: those of the last time, and what the changes add to them.

    Args:
        ctx: the run.
        tx: where the table is as it has become.
        name: the table.
        rows_before: how many rows it had.
        changes: the changed rows.
        read: rows of the largest input.
    """
    state = tx.table(name)
    columns = [field.name for field in state.schema.fields if not field.name.startswith("_")]
    last = read_history(tx.document(history_path(name))).profiles[-1:]
    if not last or last[0].rows != rows_before or not columns or set(columns) - last[0].nulls.keys():
        nulls = _counted_nulls(ctx, tx.scan(name))
    else:
        more = _more_nulls(ctx, columns, changes)
        nulls = {column: last[0].nulls[column] + count for column, count in zip(columns, more, strict=True)}
    return Profile(rows=state.row_count, nulls=nulls, stand_ins={}, read=read, units={})


def _more_nulls(ctx: Context, columns: Sequence[str], changes: OutputChanges) -> list[int]:
    """Return by how much the nulls of each column grow; below 0 where they become fewer."""
    if changes.rows is None:
        sums = ", ".join(f"coalesce(sum(_w) FILTER ({quote(column)} IS NULL), 0)" for column in columns)
        found = ctx.kernel.connection.execute(f"SELECT {sums} FROM ({changes.sql})").fetchall()[0]
        return [int(count) for count in found]
    weights = changes.rows.column("_w").to_numpy()
    return [
        int(weights[column.is_null().to_numpy()].sum()) if column.null_count else 0
        for column in map(changes.rows.column, columns)
    ]


def _counted_nulls(ctx: Context, scan: ScanPlan) -> dict[str, int]:
    """Count nulls by reading, where rows lie in no file or a footer does not say."""
    from gristmill.store import compute
    from gristmill.store.few import rows_of

    names = [field.name for field in scan.fields if not field.name.startswith("_")]
    if not names:
        return {}
    few = rows_of(scan)
    if few is not None:  # no engine is asked for a handful of rows
        return {name: few.column(name).null_count for name in names}
    compute.register(ctx.kernel.connection, "_gristmill_profiled", scan)
    counts = ", ".join(f"count(*) - count({quote(name)})" for name in names)
    values = ctx.kernel.connection.execute(f"SELECT {counts} FROM _gristmill_profiled").fetchall()[0]
    return dict(zip(names, map(int, values), strict=True))


def _stand_ins(ctx: Context, staged: Staged) -> dict[str, dict[str, int]]:
    from gristmill.store import compute

    connection = ctx.kernel.connection
    compute.register(connection, "_gristmill_profiled", staged.scan)
    described = connection.execute("DESCRIBE _gristmill_profiled").fetchall()
    wanted = []
    for name, kind, *_ in described:
        words = STAND_INS.get({"integer": "number", "timestamp": "date"}.get(family(kind), family(kind)))
        if words is None or name.startswith("_origin_"):
            continue
        column = f"{quote(name)}::DATE::VARCHAR" if family(kind) == "timestamp" else f"{quote(name)}::VARCHAR"
        column = quote(name) if family(kind) in ("integer", "number") or kind == "VARCHAR" else column
        wanted += [(name, word, column, kind) for word in words if _fits(word, kind)]
    if not wanted:
        return {}
    counts = ", ".join(
        f"count(*) FILTER ({column} = {word if family(kind) in ('integer', 'number') else literal(word)})"
        for _, word, column, kind in wanted
    )
    values = connection.execute(f"SELECT {counts} FROM _gristmill_profiled").fetchall()[0]
    found: dict[str, dict[str, int]] = {}
    for (name, word, *_), count in zip(wanted, values, strict=True):
        if count:
            found.setdefault(name, {})[word] = count
    return found


def _fits(word: str, kind: str) -> bool:
    limits = {"TINYINT": 127, "SMALLINT": 32767, "UTINYINT": 255, "USMALLINT": 65535}
    if family(kind) != "integer":
        return True
    return abs(int(word)) <= limits.get(kind, 10**9) and not (kind.startswith("U") and int(word) < 0)


def judged(ctx: Context, tx: Transaction, node: Node, now: Profile) -> list[Finding]:
    """Compare a delivery with those before it, and remember it where it does not block."""
    before = read_history(tx.document(history_path(node.name)))
    found = list(judge(node.name, now, before, source=node.kind == "source"))
    if now.rows:
        tx.put_document(history_path(node.name), write_history(before.after(now)))
    return found
