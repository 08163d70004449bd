"""One source of a running stream: its open reader, how far it is, and when to try again after trouble."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.errors import DataError, GristmillError
from gristmill.model.events import Assumed, StreamWaiting
from gristmill.run.context import Context
from gristmill.run.landing import load_shape
from gristmill.run.streaming.batches import Batch
from gristmill.run.streaming.bounded import connector_of

if TYPE_CHECKING:
    from gristmill.connect import Polled, Reader, Shape
    from gristmill.store import View

_NOTHING_YET = ("GM-D010", "GM-D117")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0
_LOOK_S = 0.5


@dataclass(slots=True)
class Inlet:
    """A source that a stream follows.

    Args:
        node: the source.
        start: where partitions without a position begin.
        ends: where to stop, by partition; None follows for ever.
        bounded: whether to stop at the end that the source has when it is opened.
    """

    node: Node
    start: str = "earliest"
    bounded: bool = False
    shape: Shape | None = None
    reader: Reader | None = None
    expected: tuple[str, ...] = ()
    positions: dict[str, str] = field(default_factory=dict)
    lags: dict[str, int | None] = field(default_factory=dict)
    seen_s: dict[str, float] = field(default_factory=dict)
    pending: list[Polled] = field(default_factory=list)
    done: bool = False
    rows: int = 0
    tries: int = 0
    again_s: float = 0.0

    @property
    def waiting_rows(self) -> int:
        """How many records are read and not committed."""
        return sum(part.delivered for part in self.pending)

    def poll(self, ctx: Context, view: View, *, max_rows: int, max_bytes: int, timeout_s: float) -> int:
        """Take what is there; returns how many records. An error that a retry can help waits for its turn.

        Raises GristmillError where a retry cannot help.
        """
        now = time.monotonic()
        if self.done or now < self.again_s:
            return 0
        try:
            if self.reader is None and not self._open(ctx, view):
                self.again_s = now + _LOOK_S
                return 0
            assert self.reader is not None
            parts = self.reader.poll(max_rows=max_rows, max_bytes=max_bytes, timeout_s=timeout_s)
        except GristmillError as error:
            if not error.retryable:
                raise
            self._wait(ctx, error)
            return 0
        self.tries = 0
        if not parts and self.bounded:
            self.done = True
        for part in parts:
            self.pending.append(part)
            self.lags[part.partition] = part.lag
            self.seen_s[part.partition] = time.monotonic()
        return sum(part.delivered for part in parts)

    def batch(self) -> Batch:
        """Return what is pending as a batch."""
        assert self.shape is not None
        return Batch(self.node, self.shape, tuple(self.pending), self.idle(), self.expected)

    def idle(self) -> list[str]:
        """Return partitions that have been silent for longer than the source allows."""
        rule, now = self.node.event_time, time.monotonic()
        if rule is None or self.bounded:
            return []
        return [name for name, seen in self.seen_s.items() if now - seen > rule.idle_us / 1e6]

    def committed(self) -> None:
        """Take note that what was pending is in a commit."""
        self.rows += self.waiting_rows
        self.positions |= {part.partition: part.next["next"] for part in self.pending}
        self.pending.clear()
        if self.reader is not None:
            self.reader.committed()

    def moved(self, view: View) -> bool:
        """Whether another writer has taken the source on since."""
        units = view.units(self.node.name)
        touched = {part.partition for part in self.pending}
        return any(
            (units[name].detail.get("next") if name in units else None) != self.positions.get(name) for name in touched
        )

    def reset(self) -> None:
        """Forget what was read and not committed; the next poll goes on from what is stored."""
        if self.reader is not None:
            self.reader.close()
        self.reader = None
        self.pending.clear()

    def _open(self, ctx: Context, view: View) -> bool:
        """Open the reader where the last commit ends; False where there is nothing to tell columns from yet."""
        connector, units = connector_of(self.node), view.units(self.node.name)
        found = connector.discover(ctx.root, units)
        self.shape = load_shape(view, self.node.name)
        if self.shape is None:
            try:
                self.shape = connector.infer(ctx.root, found)
            except DataError as error:
                if error.code in _NOTHING_YET:
                    self.done = self.bounded
                    return False
                raise
            for text in self.shape.assumptions:
                ctx.listener(Assumed(name=self.node.name, text=text))
        self.expected = tuple(item.name for item in found if item.status != "gone")
        now = time.monotonic()
        self.seen_s = {name: self.seen_s.get(name, now) for name in (*self.expected, *units)}
        self.positions = {name: unit.detail.get("next", "") for name, unit in units.items()}
        ends = {item.name: item.detail["end"] for item in found if "end" in item.detail} if self.bounded else None
        self.reader = connector.open(
            ctx.root,
            {name: unit.detail for name, unit in units.items()},
            shape=self.shape,
            start=self.start,
            ends=ends,
        )
        return True

    def _wait(self, ctx: Context, error: GristmillError) -> None:
        self.reset()
        wait_s = min(_FIRST_WAIT_S * 2**self.tries, _LONGEST_WAIT_S) * (0.5 + random.random() / 2)
        self.tries += 1
        self.again_s = time.monotonic() + wait_s
        ctx.listener(StreamWaiting(name=self.node.name, attempt=self.tries, wait_s=wait_s, message=error.message))
