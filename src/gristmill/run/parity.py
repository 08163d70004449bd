"""The proof that every pace gives the same answer: tables computed again in full, compared with what is stored.

A table is computed from the very states of its inputs that it was made from, so a table that is equal, over inputs
that are equal, is what a full run from the sources would give. What cannot be compared says why, and is never
called equal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.define import Node
from gristmill.errors import EngineError, UsageError
from gristmill.model.events import Found
from gristmill.model.findings import Example, Finding
from gristmill.model.rules import Rule
from gristmill.run.comparing import Difference, RowDifference, compare, in_share
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.parting import Parting, parting
from gristmill.run.recomputing import MADE, called, kept, recomputed
from gristmill.run.registering import register_table
from gristmill.run.suspects import suspect

if TYPE_CHECKING:
    from gristmill.store import View

_STORED = "_gm_parity_stored"
RULE = Rule(kind="parity", scope="table", because="followed rows must be those that a full computation gives")


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing one table gave.

    Args:
        table: its name.
        outcome: ``equal``, ``different``, or ``not_compared``.
        why: why it was not compared, or with which inputs where these have changed since.
        share: the share of its keys that was looked at.
        difference: rows, digests, and where they differ.
        parted: where a table that differs began to.
        seconds: how long it took.
    """

    table: str
    outcome: Literal["equal", "different", "not_compared"]
    why: str = ""
    share: float = 1.0
    difference: Difference | None = None
    parted: Parting | None = None
    seconds: float = 0.0

    @property
    def examples(self) -> tuple[RowDifference, ...]:
        """Up to three rows of each kind in which stored and computed part."""
        return self.difference.examples if self.difference is not None else ()


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing tables at one commit gave."""

    commit: str
    tables: tuple[Compared, ...]

    @property
    def ok(self) -> bool:
        """Whether no table differs; tables that were not compared do not count as equal, see ``complete``."""
        return not any(table.outcome == "different" for table in self.tables)

    @property
    def complete(self) -> bool:
        """Whether every table was compared, in full."""
        return all(table.outcome != "not_compared" and table.share >= 1 for table in self.tables)


def check_parity(
    ctx: Context,
    ref: str,
    names: Sequence[str],
    *,
    share: float | None = None,
    within_s: float | None = None,
    trace: bool = True,
) -> Parity:
    """Compute tables again in full at a commit, without writing, and compare them with what is stored there.

    Args:
        ctx: definitions and kernel.
        ref: the commit.
        names: which tables and models.
        share: the share of keys to look at, by their hash; other keys at another commit. None means all.
        within_s: stop after so many seconds; tables that were not reached say so.
        trace: whether to find out where a table that differs began to.
    """
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"a share of {share} of the keys", code="GM-U140", hint="between 0 and 1, such as 0.01")
    snapshot = ctx.store.snapshot(ref)
    commit = ctx.store.resolve(ref)
    deadline = time.monotonic() + within_s if within_s is not None else None
    found = []
    for node in ctx.graph.order():
        if node.name in names and node.kind != "source":
            found.append(_timed(ctx, snapshot, node, commit, share, deadline, trace))
    return Parity(commit=commit, tables=tuple(found))


def _timed(
    ctx: Context, view: View, node: Node, commit: str, share: float | None, deadline: float | None, trace: bool
) -> Compared:
    started = time.monotonic()
    spent = Compared(table=node.name, outcome="not_compared", why="the time was up", share=share or 1.0)
    if deadline is None:
        made = _compared(ctx, view, node, commit, share, trace)
    elif started >= deadline:
        return spent
    else:
        timer = threading.Timer(deadline - started, ctx.kernel.interrupt)
        timer.start()
        try:
            made = _compared(ctx, view, node, commit, share, trace=False)
        except EngineError:
            if time.monotonic() < deadline:
                raise
            made = spent
        finally:
            timer.cancel()
    return msgspec.structs.replace(made, seconds=time.monotonic() - started)


def _compared(ctx: Context, view: View, node: Node, commit: str, share: float | None, trace: bool) -> Compared:
    made = _outcome(ctx, view, node, commit, share)
    if made.outcome != "different":
        return made
    suspect(ctx.store, view, node.name)
    if not trace:
        return made

    def differs(earlier: View) -> bool:
        return _outcome(ctx, earlier, node, commit, share).outcome == "different"

    return msgspec.structs.replace(made, parted=parting(ctx, node, commit, differs))


def _outcome(ctx: Context, view: View, node: Node, salt: str, share: float | None) -> Compared:
    from gristmill.store import compute

    looked_at = share if share is not None else 1.0
    again = recomputed(ctx, view, node)
    if again.sql is None:
        return Compared(table=node.name, outcome="not_compared", why=again.why, share=looked_at)
    compute.register(ctx.kernel.connection, _STORED, view.scan(node.name))
    found = _difference(ctx, view, node, again.sql, salt, share)
    if node.kind == "step" and not found.equal and _undecided(ctx, view, node):
        why = "it is not deterministic: two calls on the same rows gave different rows"
        return Compared(table=node.name, outcome="not_compared", why=why, share=looked_at)
    outcome: Literal["equal", "different"] = "equal" if found.equal else "different"
    why = f"as of when it was computed: {again.behind} since" if again.behind else ""
    return Compared(table=node.name, outcome=outcome, why=why, share=looked_at, difference=found)


def _difference(ctx: Context, view: View, node: Node, sql: str, salt: str, share: float | None) -> Difference:
    fields = view.table(node.name).schema.visible
    stored = f'SELECT * FROM "{_STORED}"'
    if share is not None:
        condition = in_share(fields, node.key, share, salt)
        stored, sql = (f"SELECT * FROM ({text}) WHERE {condition}" for text in (stored, sql))
    return compare(ctx.kernel.connection, stored, sql, fields, node.key)


def _undecided(ctx: Context, view: View, node: Node) -> bool:
    """Whether two calls of a step give different rows."""
    ctx.kernel.register(f"{MADE}_again", called(ctx, view, node))
    fields = view.table(node.name).schema.visible
    one, other = f'SELECT * FROM "{MADE}"', f'SELECT * FROM "{MADE}_again"'
    return not compare(ctx.kernel.connection, one, other, fields, node.key).equal


def followed_share(ctx: Context, run: str, view: View, compiled: Compiled) -> tuple[Finding, ...]:
    """Check the share of keys that ``[run] parity`` names, of a table that has just followed its inputs in ``view``.

    Where the rows are not those that a full computation gives, the finding blocks, and the next run computes the
    table in full. Steps in Python are not looked at: calling them on all rows is what following saves.
    """
    from gristmill.store import compute

    node, share = compiled.node, ctx.settings.run.parity
    if not share or compiled.expression is None:
        return ()
    for name in node.reads:
        register_table(ctx, view, name)
    compute.register(ctx.kernel.connection, _STORED, view.scan(node.name))
    sql = kept(ctx, view, node, ctx.kernel.sql(compiled.expression, run_time_us=ctx.run_time_us))
    found = _difference(ctx, view, node, sql, str(ctx.run_time_us), share)
    apart = found.missing + found.extra + found.different
    if not found.equal:
        suspect(ctx.store, ctx.store.snapshot(run), node.name)
    made = Finding(
        table=node.name,
        rule=RULE,
        outcome="pass" if found.equal else "fail",
        failed_rows=apart,
        checked_rows=max(found.computed_rows, found.stored_rows),
        expected="the rows that a full computation gives",
        note=f"of a share of {share:g} of the keys",
        examples=tuple(Example(values={"row": row.kind, **row.key}) for row in found.examples[:3]),
    )
    if not found.equal:
        ctx.listener(Found(finding=made))
    return (made,)
