"""The loop: read, land, compute, commit, batch after batch, until told to stop.

One transaction holds a batch: the rows of its sources, the tables that follow from them, positions, watermarks,
ledgers, and the check that this writer is still the one that may write. So a batch is there whole or not at all,
whenever the process ends.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.errors import CheckFailed, GristmillError, Stale, UsageError
from gristmill.model.events import (
    Assumed,
    BatchCommitted,
    Event,
    Found,
    Listener,
    SourceFlow,
    StreamStarted,
    StreamStopped,
    StreamWaiting,
)
from gristmill.model.findings import Finding
from gristmill.run.context import Context
from gristmill.run.registering import forget_scans
from gristmill.run.rules import ordered, rules_of
from gristmill.run.stage import Progress, bring_up
from gristmill.run.streaming.batches import LATE_ROWS, land_batch
from gristmill.run.streaming.bounded import is_stream
from gristmill.run.streaming.control import is_paused
from gristmill.run.streaming.inlets import Inlet
from gristmill.run.streaming.outbox import Outbox
from gristmill.run.streaming.state import check_epochs, load_state, take_epochs

if TYPE_CHECKING:
    from gristmill.store import Snapshot, Transaction

_IDLE_S = 0.5
_TRIES = 20
_FEWEST_ROWS = 500
_SCANS_KEPT = 64
"""After so many batches the kernel lets go of what their scans left with it."""
_SHOWN = (Assumed, Found, StreamWaiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a stream is asked for.

    Args:
        on: the branch.
        select: tables to keep up, with what they need; empty means everything that follows from a stream.
        start: where partitions begin that were never read: ``earliest``, ``latest``, an offset, a moment.
        until_end: whether to stop at the end that the sources have when the stream begins.
        latency_s: how long a record should wait at most, about, until it is in a commit.
        max_rows: rows in one batch at most.
        max_bytes: bytes in one batch at most.
        stop: asked between batches whether to stop.
        sinks: whether changes leave through sinks.
    """

    on: str
    select: Sequence[str] = ()
    start: str = "earliest"
    until_end: bool = False
    latency_s: float = 0.5
    max_rows: int = 100_000
    max_bytes: int = 64 * 2**20
    stop: Callable[[], bool] = lambda: False
    sinks: bool = True


@dataclass(slots=True)
class Totals:
    """What a stream has done so far."""

    rows: int = 0
    batches: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=50))

    def rows_per_s(self) -> float:
        """Return rows a second over the last batches."""
        if not self.recent:
            return 0.0
        span = time.monotonic() - self.recent[0][0]
        return sum(rows for _, rows in self.recent) / max(span, 1e-3)


def stream(ctx: Context, flow: Flow) -> Totals:
    """Follow the stream sources of a project until ``flow.stop`` says so, or their end where that is wanted.

    Raises:
        CheckFailed: a check said no; the batch is not committed, and everything before it is.
        Conflict: another stream took over.
        DataError: something was lost at a source before it was read.
        UsageError: the project has no stream source.
    """
    return _Stream(ctx, flow).run()


def streamed(ctx: Context, select: Sequence[str]) -> tuple[list[Node], list[Node]]:
    """Return the stream sources, and the derived tables that follow from them, inputs first.

    Models and predictions, tables with a slow layer, and what reads them, are left to runs.
    """
    chosen = ctx.graph.select(select)
    for name in list(chosen) if select else []:
        chosen |= ctx.graph.upstream(name)
    order = [node for node in ordered(ctx) if node.name in chosen]
    sources = [node for node in order if is_stream(node)]
    moving = {node.name for node in sources} | {node.late.table for node in sources if node.late.policy == "side"}
    tables = []
    for node in order:
        if node.kind in ("table", "sql", "step") and not node.slow and moving.intersection(node.inputs):
            tables.append(node)
            moving.add(node.name)
    return sources, tables


class _Stream:
    """A stream at work."""

    def __init__(self, ctx: Context, flow: Flow) -> None:
        self.flow, self.tell = flow, ctx.listener
        self.ctx = replace(ctx, listener=_only(ctx.listener))
        self.sources, self.tables = streamed(ctx, flow.select)
        if not self.sources:
            raise UsageError(
                "nothing here is a stream",
                code="GM-U132",
                hint="gm.tail(...), gm.redis_stream(...), gm.kafka(...), gm.push(...) make one",
            )
        self.inlets = [Inlet(node, flow.start, flow.until_end) for node in self.sources]
        self.outbox = Outbox(self.ctx, flow.on, at_work=flow.sinks)
        self.totals = Totals()
        self.rows_limit = min(flow.max_rows, 10_000)
        self.wall_s = 0.0
        self.epochs: dict[str, int] = {}

    def run(self) -> Totals:
        reason = "stopped"
        self.epochs = self._begin()
        self.tell(
            StreamStarted(
                on=self.flow.on,
                sources=[node.name for node in self.sources],
                tables=[node.name for node in self.tables],
                epochs=self.epochs,
            )
        )
        try:
            self.outbox.send()
            while not self.flow.stop():
                if is_paused(self.ctx.store, self.flow.on):
                    time.sleep(_IDLE_S)
                    continue
                if not self._collect():
                    self.outbox.send_again()
                    if all(inlet.done for inlet in self.inlets):
                        reason = "the end is reached"
                        break
                    continue
                self._commit()
        finally:
            for inlet in self.inlets:
                inlet.reset()
            self.outbox.close()
        head = self.ctx.store.resolve(self.flow.on)
        self.tell(
            StreamStopped(
                on=self.flow.on, commit=head, rows=self.totals.rows, batches=self.totals.batches, reason=reason
            )
        )
        return self.totals

    def _begin(self) -> dict[str, int]:
        """Take the writer's number of every source, in a commit of its own."""
        store, on = self.ctx.store, self.flow.on
        if on not in store.branches():
            store.create_branch(on, at="main")
        taken: dict[str, int] = {}

        def take(tx: Transaction) -> None:
            taken.clear()
            taken.update(take_epochs(tx, [node.name for node in self.sources]))

        store.retry(on, take, message=f"stream: follow {', '.join(node.name for node in self.sources)}")
        return taken

    def _collect(self) -> bool:
        """Read until there is enough for a batch, or it has waited long enough; False where nothing came."""
        view = self.ctx.store.snapshot(self.flow.on)
        began: float | None = None
        while True:
            rows = sum(inlet.waiting_rows for inlet in self.inlets)
            size = sum(part.size_bytes for inlet in self.inlets for part in inlet.pending)
            left = 0.0 if began is None else began + self._linger_s() - time.monotonic()
            if rows and (rows >= self.rows_limit or size >= self.flow.max_bytes or left <= 0):
                return True
            wait = (_IDLE_S if began is None else min(left, _IDLE_S)) / len(self.inlets)
            came = 0
            for inlet in self.inlets:
                came += inlet.poll(
                    self.ctx,
                    view,
                    max_rows=max(self.rows_limit - rows, 1),
                    max_bytes=max(self.flow.max_bytes - size, 1),
                    timeout_s=0.0 if inlet.bounded else wait,
                )
            if came and began is None:
                began = time.monotonic()
            if not came:
                if rows or began is not None:
                    if self.flow.until_end or self.flow.stop():
                        return True
                    continue
                self._rest(wait)
                return False

    def _rest(self, wait: float) -> None:
        """Wait where no reader does it: all of them are waiting for another try, or done."""
        now = time.monotonic()
        if any(inlet.reader is not None and not inlet.done for inlet in self.inlets):
            return
        pending = [inlet.again_s - now for inlet in self.inlets if not inlet.done]
        if pending:
            time.sleep(max(min(*pending, wait) if len(pending) > 1 else min(pending[0], wait), 0.0))

    def _linger_s(self) -> float:
        """Return how long to wait for more rows, so that what is committed is as old as is wanted."""
        return 0.0 if self.flow.until_end else max(min(self.flow.latency_s / 2, self.flow.latency_s - self.wall_s), 0.0)

    def _commit(self) -> None:
        began = time.monotonic()
        for _ in range(_TRIES):
            try:
                commit = self._try()
                break
            except Stale:
                continue
        else:
            raise Stale("the branch kept moving", where=self.flow.on, hint="one stream per branch")
        if commit is None:
            return
        busy = [inlet for inlet in self.inlets if inlet.pending]
        rows = sum(inlet.waiting_rows for inlet in busy)
        for inlet in busy:
            inlet.committed()
        self.wall_s = time.monotonic() - began
        self.totals.rows += rows
        self.totals.batches += 1
        self.totals.recent.append((began, rows))
        self._adapt(rows)
        if self.totals.batches % _SCANS_KEPT == 0:
            forget_scans(self.ctx.kernel)
        self.outbox.send()
        self.tell(self._report(commit, rows))

    def _try(self) -> str | None:
        """Make one commit of what is pending; None where another writer has taken a source on meanwhile."""
        store, busy = self.ctx.store, [inlet for inlet in self.inlets if inlet.pending]
        words = ", ".join(f"{inlet.node.name} {inlet.waiting_rows:,}" for inlet in busy)
        ctx = replace(self.ctx, run_time_us=time.time_ns() // 1000)
        tx = store.begin(self.flow.on, message=f"stream: {words}", meta={"stream": "1"})
        try:
            check_epochs(tx, self.epochs)
            moved = [inlet for inlet in busy if inlet.moved(tx)]
            for inlet in moved:
                inlet.reset()
            if moved:
                tx.discard()
                return None
            findings = self._fill(ctx, tx, busy)
            refused = [finding for finding in findings if finding.blocks]
            if refused:
                raise refusal(refused, self.flow.on, store.resolve(self.flow.on))
            return tx.commit()
        except BaseException:
            if tx.result is None:
                tx.discard()
            raise

    def _fill(self, ctx: Context, tx: Transaction, busy: Sequence[Inlet]) -> list[Finding]:
        """Land the rows of every source, then bring up what follows from them."""
        findings: list[Finding] = []
        changed = set()
        for inlet in busy:
            landed = land_batch(ctx, tx, inlet.batch(), rules_of(ctx, inlet.node), "stream")
            findings += landed.findings
            changed |= {inlet.node.name, inlet.node.late.table}
        progress = Progress()
        for node in self.tables:
            if changed.isdisjoint(node.inputs) and node.name in tx:
                continue
            outcome = bring_up(ctx, tx, node, "stream", progress)
            if outcome is not None:
                changed.add(node.name)
        return findings + progress.findings

    def _adapt(self, rows: int) -> None:
        """Make batches smaller where one took too long, larger where one was full and quick."""
        if self.wall_s > self.flow.latency_s:
            shrunk = int(self.rows_limit * self.flow.latency_s / self.wall_s)
            self.rows_limit = max(shrunk, self.rows_limit // 4, min(_FEWEST_ROWS, self.flow.max_rows))
        elif rows >= self.rows_limit:
            self.rows_limit = min(self.rows_limit * 2, self.flow.max_rows)

    def _report(self, commit: str, rows: int) -> BatchCommitted:
        snapshot = self.ctx.store.snapshot(commit)
        return BatchCommitted(
            on=self.flow.on,
            commit=commit,
            rows=rows,
            wall_s=self.wall_s,
            rows_per_s=self.totals.rows_per_s(),
            state_rows=sum(snapshot.table(node.name).row_count for node in self.tables if node.name in snapshot),
            sources=[_flow_of(snapshot, inlet) for inlet in self.inlets],
            sent=dict(self.outbox.sent),
        )


def _flow_of(snapshot: Snapshot, inlet: Inlet) -> SourceFlow:
    units = snapshot.units(inlet.node.name)
    lags = list(inlet.lags.values())
    known = [lag for lag in lags if lag is not None]
    return SourceFlow(
        name=inlet.node.name,
        partitions=len(units),
        lag=sum(known) if len(known) == len(lags) else None,
        watermark_us=load_state(snapshot, inlet.node.name).watermark_us,
        rows=inlet.rows,
        late=sum(int(unit.detail.get(LATE_ROWS, "0")) for unit in units.values()),
        quarantined=sum(unit.ledger.quarantined for unit in units.values()),
    )


def _only(listener: Listener) -> Listener:
    """Pass on what a person wants to see of every batch."""

    def tell(event: Event) -> None:
        if isinstance(event, _SHOWN):
            listener(event)

    return tell


def refusal(findings: Sequence[Finding], on: str, head: str, *, branch: str = "") -> GristmillError:
    """Return what to raise where checks said no; with ``branch`` the result waits there."""
    first = findings[0]
    what, kept = "stream", ", and so are the positions"
    hint = "`gristmill run` lands the same rows, keeps them on run/N and says how to accept or set them aside"
    if branch:
        what, kept = "replay", f"; what was built waits on {branch}"
        hint = "mend the definition or the rule, and replay again: it goes on where it stopped"
    return CheckFailed(
        f"the {what} stopped: {first.table}: {first.words}: {first.observed or f'{first.failed_rows:,} rows'}",
        code="GM-C040",
        where=f"{on} is unchanged at {head[:7]}{kept}",
        hint=hint,
        examples=[str(example) for example in first.examples],
    )
