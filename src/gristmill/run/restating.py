"""Compute some of a table again, and only that: the rows of a stretch of one of its columns.

A table that is up to date is made anew there, whatever it holds (a *restatement*). A table whose definition changed is
brought over to it stretch by stretch (a *backfill*); which are done stands beside it as a few spans, and when they
are everything the table is up to date. The rows are those that a full computation gives, always: it is the same
definition, with a condition on its output, and the engine takes the condition down to the inputs where it may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import DataError, UsageError, did_you_mean
from gristmill.model.findings import Finding
from gristmill.model.names import quote
from gristmill.model.rules import Rule
from gristmill.model.spans import Span, merged, missing, parsed, shown, to_sql
from gristmill.run.checking import Delivery, attended
from gristmill.run.compiling import Compiled, output_schema, sql_of
from gristmill.run.context import Context
from gristmill.run.partials import as_computed
from gristmill.run.rechecking import check_stored
from gristmill.run.recomputing import kept

if TYPE_CHECKING:
    from gristmill.store import Transaction, View

_CHANGES = "_gm_restated"
_CODE = "GM-U160"
_TIMES = ("date", "timestamp", "timestamptz")


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks to be computed again.

    Args:
        tables: the tables.
        column: the column; empty for the one that has the table's time.
        low, high: as texts, from and up to (without); empty for no bound.
    """

    tables: tuple[str, ...]
    column: str = ""
    low: str = ""
    high: str = ""


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """How far a table has been brought over to a changed definition; ``output`` says which state of it that is."""

    fingerprint: str
    column: str
    kind: str
    done: tuple[Span, ...]
    output: str = ""

    @property
    def whole(self) -> bool:
        """Whether everything is done."""
        return self.done == (Span(),)

    @property
    def words(self) -> str:
        """What is done, in words; the first and the last of many spans."""
        texts = [f"{shown(s.low, self.kind)}..{shown(s.high, self.kind)}" for s in self.done]
        few = texts if len(texts) <= 3 else [texts[0], f"{len(texts) - 2:,} more", texts[-1]]
        return f"{self.column} {', '.join(few)}"


class Restated(msgspec.Struct, frozen=True, kw_only=True):
    """What restating gave: rows put in and taken out, findings, whether all rows are clean, and what is done so far."""

    came: int
    gone: int
    findings: tuple[Finding, ...]
    clean: bool
    backfill: Backfill | None
    words: str


def stretch_of(tables: Sequence[str], *, since: str | None, between: str | None) -> Stretch | None:
    """Return what is asked for by ``since`` (a date), or ``between`` (``COLUMN=FROM..TO``); None where nothing is.

    Raises UsageError where both are given, no table is named, or it is not written like that.
    """
    if since is None and between is None:
        return None
    if not tables or any(sign in name for name in tables for sign in "+*"):
        raise UsageError("a range is for named tables", code=_CODE, hint="gristmill run marts.daily --since 2026-01-01")
    if since is not None and between is not None:
        raise UsageError("give --since or --range, not both", code=_CODE)
    if since is not None:
        return Stretch(tables=tuple(tables), low=since)
    column, is_, ends = (between or "").partition("=")
    low, dots, high = ends.partition("..")
    if not (column and is_ and dots):
        raise UsageError(
            f"`{between}` is not a range", code=_CODE, hint="COLUMN=FROM..TO, TO left out: day=2026-01-01..2026-02-01"
        )
    return Stretch(tables=tuple(tables), column=column, low=low, high=high)


def backfill_path(name: str) -> str:
    """Return where the state of a table's backfill stands in a commit."""
    return f"backfills/{name}.json"


def load_backfill(view: View, name: str) -> Backfill | None:
    """Return how far a table's backfill is, or None where there is none.

    One that tells of another state of the table, which was restored or merged since, tells nothing.
    """
    data = view.document(backfill_path(name))
    found = msgspec.json.decode(data, type=Backfill) if data else None
    return found if found is not None and name in view and found.output == as_computed(view, name, {}) else None


def span_of(view: View, name: str, stretch: Stretch) -> tuple[str, str, Span]:
    """Return the column of a stretch, its type, and the span.

    Raises UsageError where the table has no such column, or no column of a time that could be meant.
    """
    schema = view.table(name).schema
    kinds = {field.name: field.type for field in schema.fields if isinstance(field.type, str)}
    column = stretch.column or _time_column(view, name, kinds)
    if column not in kinds:
        raise UsageError(f"`{name}` has no column `{column}`", code=_CODE, hint=did_you_mean(column, list(kinds)))
    span = Span(parsed(stretch.low, kinds[column]), parsed(stretch.high, kinds[column]))
    if span.empty:
        raise UsageError(f"nothing is from {stretch.low} up to {stretch.high}", code=_CODE, hint="the end is left out")
    return column, kinds[column], span


def _time_column(view: View, name: str, kinds: dict[str, str]) -> str:
    times = [column for column, kind in kinds.items() if kind in _TIMES]
    clustered = [column for column in view.table(name).cluster_by if column in times]
    if not (clustered or len(times) == 1):
        listed = ", ".join(times) or "none"
        raise UsageError(
            f"`{name}` has no one column of time ({listed})", code=_CODE, hint="name it: --range COLUMN=FROM..TO"
        )
    return (clustered or times)[0]


def restate(
    ctx: Context, tx: Transaction, compiled: Compiled, stretch: Stretch, rules: Sequence[Rule], *, changed: bool
) -> Restated:
    """Compute the rows of a stretch again and put them in place of those that are there.

    Args:
        ctx: the run; every input is registered on its kernel here.
        tx: the inputs, and the table.
        compiled: the table's definition.
        stretch: what to compute.
        rules: the table's rules, which are looked at on all of its rows.
        changed: whether the table was made by another definition.

    Raises UsageError where the table cannot be restated, or rows would come from outside of the stretch.
    """
    from gristmill.store import SqlSource

    node = compiled.node
    column, kind, span = span_of(tx, node.name, stretch)
    connection = ctx.kernel.connection
    before = load_backfill(tx, node.name)
    try:
        came, gone = _make_changes(ctx, tx, compiled, to_sql(quote(column), span, kind), changed=changed)
        tx.apply(node.name, SqlSource(connection, f"SELECT * FROM temp.{quote(_CHANGES)}"))
    except DataError as error:
        if error.code not in ("GM-D214", "GM-D215"):
            raise
        raise UsageError(
            f"rows of `{node.name}` moved into {column} {stretch.low}..{stretch.high} from elsewhere",
            code="GM-U161",
            hint=f"a wider range holds both; or all of it: gristmill run {node.name}",
        ) from error
    finally:
        connection.execute(f"DROP TABLE IF EXISTS temp.{quote(_CHANGES)}")
    found = check_stored(ctx, tx, node, rules)
    total = tx.table(node.name).row_count
    findings = attended(ctx, tx, node, found.findings, Delivery(), 0, total, None)
    state = _progress(tx, compiled, before, (column, kind, span)) if changed else None
    words = f"{column} {shown(span.low, kind)}..{shown(span.high, kind)}"
    clean = not any(finding.failed_rows for finding in found.findings)
    return Restated(came=came, gone=gone, findings=findings, clean=clean, backfill=state, words=words)


def _make_changes(
    ctx: Context, tx: Transaction, compiled: Compiled, condition: str, *, changed: bool
) -> tuple[int, int]:
    """Make the table of rows that come (+1) and go (-1) and return how many there are of each."""
    from gristmill.engines.kernel.kernel import engine_errors
    from gristmill.run.tables import register_inputs
    from gristmill.store import compute

    node = compiled.node
    register_inputs(ctx, tx, node)
    scan = tx.scan(node.name)
    columns = ", ".join(quote(field.name) for field in scan.fields)
    casts = ", ".join(f"CAST({quote(f.name)} AS {_type(f.type)}) AS {quote(f.name)}" for f in scan.fields)
    made = kept(ctx, tx, node, sql := sql_of(ctx, compiled))
    if changed and made != sql:
        _refuse_aside(ctx, tx, node.name, (sql, made), condition)
    new = f"SELECT {casts} FROM ({made}) WHERE {condition}"
    old = f"SELECT {casts} FROM ({compute.bind(ctx.kernel.connection, compute.scan_sql(scan))}) WHERE {condition}"
    both = f"SELECT {columns}, 1 AS _w FROM ({new}) UNION ALL SELECT {columns}, -1 AS _w FROM ({old})"
    changes = f"SELECT {columns}, sum(_w)::BIGINT AS _w FROM ({both}) GROUP BY ALL HAVING sum(_w) <> 0"
    total = "coalesce(sum({sign}_w) FILTER ({sign}_w > 0), 0)::BIGINT"
    with engine_errors():
        ctx.kernel.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(_CHANGES)} AS {changes}")
        sides = ", ".join(total.format(sign=sign) for sign in ("", "-"))
        row = ctx.kernel.connection.execute(f"SELECT {sides} FROM temp.{quote(_CHANGES)}").fetchall()[0]
    return int(row[0]), int(row[1])


def _refuse_aside(ctx: Context, view: View, name: str, made: tuple[str, str], condition: str) -> None:
    """Raise UsageError where rules set rows of a changed definition aside: which ones is known of all rows together."""
    from gristmill.contracts import quarantine
    from gristmill.engines.kernel.kernel import engine_errors

    counts = ", ".join(f"(SELECT count(*) FROM ({sql}) WHERE {condition})" for sql in made)
    with engine_errors():
        every, good = ctx.kernel.connection.execute(f"SELECT {counts}").fetchall()[0]
    aside = quarantine.table_name(name)
    before = view.table(aside).row_count if aside in view else 0
    if every != good or before:
        raise UsageError(
            f"rules set rows of `{name}` aside: no part of it can be brought over by itself",
            code="GM-U162",
            hint=f"all of it must be computed: gristmill run {name}",
        )


def _type(kind: object) -> str:
    from gristmill.store.sqltext import type_sql

    return type_sql(kind)  # type: ignore[arg-type]


def refuse_unfit(node: Node, view: View) -> None:
    """Raise UsageError where a stretch of a table cannot be computed by itself."""
    if node.kind not in ("table", "sql"):
        raise UsageError(
            f"`{node.name}` is a {node.kind}: no part of it can be computed by itself",
            code="GM-U162",
            hint="ranges are for tables that are Ibis or SQL definitions",
        )
    if node.name not in view:
        raise UsageError(
            f"`{node.name}` has not been computed yet", code="GM-U162", hint=f"gristmill run {node.name} computes it"
        )


def refuse_other_columns(ctx: Context, view: View, compiled: Compiled) -> None:
    """Raise UsageError where a changed definition gives other columns, so that no part of it fits the table."""
    name = compiled.node.name
    made = output_schema(ctx, compiled, {read: view.table(read).schema.to_arrow() for read in compiled.node.reads})
    there = view.table(name).schema.to_arrow()
    if made is None or [(f.name, f.type) for f in made] != [(f.name, f.type) for f in there]:
        raise UsageError(
            f"`{name}` has other columns than its definition gives now",
            code="GM-U162",
            hint=f"all of it must be computed: gristmill run {name}",
        )


def _progress(view: View, compiled: Compiled, before: Backfill | None, made: tuple[str, str, Span]) -> Backfill:
    column, kind, span = made
    goal = compiled.derivation.fingerprint
    done: tuple[Span, ...] = ()
    if before is not None and (before.fingerprint, before.column) == (goal, column):
        done = before.done
    output = as_computed(view, compiled.node.name, {})
    return Backfill(fingerprint=goal, column=column, kind=kind, done=merged([*done, span]), output=output)


def left_of(state: Backfill) -> tuple[Span, ...]:
    """Return what of a table a backfill has not reached yet."""
    return missing(Span(), state.done)
