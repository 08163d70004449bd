"""What leaves through sinks: the changes of a table between two commits, from a pointer that survives crashes.

Before messages go out, the pointer notes up to which commit they go; after a crash the same messages, with the same
ids, go out once more. So everything arrives at least once, and a receiver that keeps ids takes it exactly once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.kinds import quote
from gristmill.define import Sink
from gristmill.errors import DefinitionError, GristmillError, NotFound, did_you_mean
from gristmill.model.events import StreamWaiting
from gristmill.run.context import Context
from gristmill.run.streaming.bounded import is_stream
from gristmill.run.streaming.state import load_state

if TYPE_CHECKING:
    from gristmill.connect import Outgoing, SinkWriter
    from gristmill.model.scan import ScanPlan
    from gristmill.store import Snapshot

_KIND = "sink"
_CHUNK = 5_000
_LONGEST_WAIT_S = 30.0


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a sink is, kept beside the history.

    Args:
        done: the commit whose content has gone out; empty before the first.
        sending: the commit up to which messages may have gone out; empty where none are under way.
        sent: how many messages have gone out.
    """

    done: str = ""
    sending: str = ""
    sent: int = 0


def pointer_of(ctx: Context, on: str, sink: str) -> Pointer:
    """Return how far a sink of a branch is."""
    data = ctx.store.records.get(_KIND, f"{on}/{sink}")
    return msgspec.json.decode(data, type=Pointer) if data else Pointer()


def check_sinks(ctx: Context) -> None:
    """Refuse sinks that cannot hold what they promise. Raises DefinitionError."""
    for sink in ctx.graph.sinks.values():
        if sink.reads not in ctx.graph or not ctx.graph[sink.reads].is_table:
            raise DefinitionError(
                f"the sink `{sink.name}` reads `{sink.reads}`, which is no table of the project",
                code="GM-P005",
                where=str(sink.place),
                hint=did_you_mean(sink.reads, [node.name for node in ctx.graph]),
            )
        if sink.accepts == "final":
            _check_final(ctx, sink)


def _check_final(ctx: Context, sink: Sink) -> None:
    names = {sink.reads, *ctx.graph.upstream(sink.reads)}
    sources = [ctx.graph[name] for name in names if is_stream(ctx.graph[name])]
    if not sources or any(node.event_time is None for node in sources):
        raise DefinitionError(
            f"the sink `{sink.name}` accepts final rows only, and nothing says when a row of `{sink.reads}` is final",
            code="GM-P141",
            where=str(sink.place),
            hint="give the streams it follows from an event_time=, or let the sink accept corrections",
        )
    correcting = [node.name for node in sources if node.late.policy == "correct"]
    if correcting:
        raise DefinitionError(
            f"late rows of `{correcting[0]}` correct `{sink.reads}`, and the sink `{sink.name}` accepts no corrections",
            code="GM-P142",
            where=str(sink.place),
            hint='late=gm.late.side() or gm.late.drop(max_ratio=...) at the source, or accepts="corrections"',
        )


class Outbox:
    """The sinks of a project, at work beside a stream; none of them where ``at_work`` is false."""

    def __init__(self, ctx: Context, on: str, *, at_work: bool = True) -> None:
        check_sinks(ctx)
        self.ctx, self.on = ctx, on
        self.sinks = tuple(ctx.graph.sinks.values()) if at_work else ()
        self.sent = {sink.name: pointer_of(ctx, on, sink.name).sent for sink in self.sinks}
        self._writers: dict[str, SinkWriter] = {}
        self._again: dict[str, tuple[int, float]] = {}

    def send(self) -> None:
        """Send what every sink has not had yet. One that does not answer is tried again later.

        Raises GristmillError where a retry cannot help.
        """
        for sink in self.sinks:
            tries, not_before = self._again.get(sink.name, (0, 0.0))
            if time.monotonic() < not_before:
                continue
            try:
                self._send(sink)
                self._again.pop(sink.name, None)
            except GristmillError as error:
                self._drop(sink.name)
                if not error.retryable:
                    raise
                wait_s = min(0.25 * 2**tries, _LONGEST_WAIT_S) * (0.5 + random.random() / 2)
                self._again[sink.name] = (tries + 1, time.monotonic() + wait_s)
                self.ctx.listener(
                    StreamWaiting(name=sink.name, attempt=tries + 1, wait_s=wait_s, message=error.message)
                )

    def send_again(self) -> None:
        """Send to sinks that did not answer, where their time has come."""
        if self._again:
            self.send()

    def close(self) -> None:
        """Close what is open."""
        for name in list(self._writers):
            self._drop(name)

    def _drop(self, name: str) -> None:
        writer = self._writers.pop(name, None)
        if writer is not None:
            writer.close()

    def _send(self, sink: Sink) -> None:
        pointer = pointer_of(self.ctx, self.on, sink.name)
        if pointer.sending:  # a crash came between: the same messages once more
            pointer = self._deliver(sink, pointer)
        head = self.ctx.store.resolve(self.on)
        if head != pointer.done and self._changed(sink, pointer, head):
            self._deliver(sink, self._keep(sink, msgspec.structs.replace(pointer, sending=head)))

    def _changed(self, sink: Sink, pointer: Pointer, head: str) -> bool:
        after = self.ctx.store.snapshot(head)
        if sink.reads not in after:
            return False
        if sink.accepts == "final" or not pointer.done:
            return True
        before = self.ctx.store.snapshot(pointer.done)
        return sink.reads not in before or before.table(sink.reads).id != after.table(sink.reads).id

    def _deliver(self, sink: Sink, pointer: Pointer) -> Pointer:
        chunk: list[Outgoing] = []
        number, sent = 0, pointer.sent
        for message in self._messages(sink, pointer):
            chunk.append(message)
            if len(chunk) >= _CHUNK:
                self._writer(sink).send(f"{pointer.sent:015}-{number:05}", chunk)
                sent, number, chunk = sent + len(chunk), number + 1, []
        if chunk:
            self._writer(sink).send(f"{pointer.sent:015}-{number:05}", chunk)
            sent += len(chunk)
        self.sent[sink.name] = sent
        return self._keep(sink, Pointer(done=pointer.sending, sent=sent))

    def _keep(self, sink: Sink, pointer: Pointer) -> Pointer:
        self.ctx.store.records.put(_KIND, f"{self.on}/{sink.name}", msgspec.json.encode(pointer))
        return pointer

    def _writer(self, sink: Sink) -> SinkWriter:
        if sink.name not in self._writers:
            self._writers[sink.name] = sink.target.writer(self.ctx.root)
        return self._writers[sink.name]

    def _messages(self, sink: Sink, pointer: Pointer) -> Iterator[Outgoing]:
        after = self.ctx.store.snapshot(pointer.sending)
        before = self._snapshot(pointer.done)
        if sink.accepts == "final":
            yield from self._final(sink, before, after)
            return
        table = sink.reads
        if before is None or table not in before:
            yield from self._rows(sink, after, after.scan(table, row_ids=True), {}, "insert")
            return
        delta = after.delta_since(table, before.table(table).id)
        if delta.before is not None and delta.deleted:
            gone = dict.fromkeys(delta.deleted, "delete")
            yield from self._rows(sink, after, delta.before, gone, "")
        if delta.after is not None:
            yield from self._rows(sink, after, delta.after, dict.fromkeys(delta.inserted, "insert"), "update")

    def _snapshot(self, commit: str) -> Snapshot | None:
        try:
            return self.ctx.store.snapshot(commit) if commit else None
        except NotFound:
            return None

    def _final(self, sink: Sink, before: Snapshot | None, after: Snapshot) -> Iterator[Outgoing]:
        """Yield the rows that have become final, in the order of their event time."""
        from gristmill.store import compute

        high = self._watermark(sink, after)
        if high is None or sink.reads not in after:
            return
        low = self._watermark(sink, before) if before is not None else None
        compute.register(self.ctx.kernel.connection, "_gristmill_out", after.scan(sink.reads, row_ids=True))
        moment = f"epoch_us({quote(sink.final)}::TIMESTAMP)"
        where = f"{moment} <= {high}" + (f" AND {moment} > {low}" if low is not None else "")
        sql = f"SELECT * FROM _gristmill_out WHERE {where} ORDER BY {moment}, _row_id"
        for batch in self.ctx.kernel.query(sql):
            for row in batch.to_pylist():
                yield self._message(sink, after, row, "insert")

    def _watermark(self, sink: Sink, snapshot: Snapshot) -> int | None:
        names = {sink.reads, *self.ctx.graph.upstream(sink.reads)}
        reached = [load_state(snapshot, name).watermark_us for name in names if is_stream(self.ctx.graph[name])]
        known = [value for value in reached if value is not None]
        return min(known) if known and len(known) == len(reached) else None

    def _rows(
        self, sink: Sink, after: Snapshot, plan: ScanPlan, ops: dict[int, str], otherwise: str
    ) -> Iterator[Outgoing]:
        from gristmill.store import compute

        rows = compute.at_hand(plan)
        for batch in compute.reader(plan) if rows is None else rows.to_batches():
            for row in batch.to_pylist():
                op = ops.get(row["_row_id"], otherwise)
                if op:
                    yield self._message(sink, after, row, op)

    def _message(self, sink: Sink, after: Snapshot, row: dict[str, object], op: str) -> Outgoing:
        from gristmill.connect import Outgoing

        number = row.pop("_row_id")
        commit = after.commit.id if after.commit is not None else ""
        key = {name: row[name] for name in after.table(sink.reads).key} or {"_row_id": number}
        return Outgoing(
            id=f"{sink.name}:{commit[:16]}:{number}:{op}", op=op, table=sink.reads, commit=commit, key=key, row=row
        )
