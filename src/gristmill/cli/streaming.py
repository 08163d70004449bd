"""Draw a stream on one screen, and end it well at Ctrl-C."""

from __future__ import annotations

import datetime
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gristmill.cli.output import columns, emit_struct, is_terminal, say
from gristmill.cli.render import Terminal
from gristmill.model.events import (
    BatchCommitted,
    Event,
    Listener,
    SourceFlow,
    StreamStarted,
    StreamStopped,
    StreamWaiting,
)


@contextmanager
def following(*, as_json: bool, port: int | None) -> Iterator[tuple[Listener, Callable[[], bool]]]:
    """Give what draws the events, and what says whether to stop; the first Ctrl-C or SIGTERM stops after the batch."""
    asked: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this batch; once more stops at once")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    draw: Listener = emit_struct if as_json else Screen()
    server = None
    try:
        if port is not None:
            from gristmill.run.streaming.metrics import Metrics, serve

            metrics, inner = Metrics(), draw

            def both(event: Event) -> None:
                metrics.take(event)
                inner(event)

            server, draw = serve(metrics, port), both
            say(f"metrics at http://127.0.0.1:{server.server_port}/metrics")
        yield draw, lambda: bool(asked)
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
        for number, handler in before.items():
            signal.signal(number, handler)


class Screen:
    """Draws a stream: on a terminal one screen that is written over, elsewhere a line per batch."""

    def __init__(self) -> None:
        self._live = is_terminal()
        self._other = Terminal()
        self._drawn = 0

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, BatchCommitted):
            self._batch(event)
        elif isinstance(event, StreamStarted):
            say(f"following {', '.join(event.sources)} on {event.on}: {', '.join(event.tables) or 'no tables'}")
        elif isinstance(event, StreamWaiting):
            self._say(f"  waiting  {event.name}  again in {event.wait_s:.1f} s: {event.message}")
        elif isinstance(event, StreamStopped):
            self._say(
                f"{event.reason}: {event.rows:,} rows in {event.batches:,} batches; {event.on} at {event.commit[:7]}"
            )
        else:
            self._drawn = 0
            self._other(event)

    def _say(self, text: str) -> None:
        self._drawn = 0
        say(text)

    def _batch(self, event: BatchCommitted) -> None:
        if not self._live:
            say(
                f"  batch    {event.commit[:7]}  {event.rows:,} rows  {event.wall_s * 1000:.0f} ms  "
                + "  ".join(f"{flow.name} lag {_lag(flow)}" for flow in event.sources)
            )
            return
        text = screen(event)
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}F\x1b[J")
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
        self._drawn = text.count("\n") + 1


def screen(event: BatchCommitted) -> str:
    """Return a stream's state as a few lines of text."""
    rows = [
        (
            flow.name,
            f"{flow.rows:,}",
            _lag(flow),
            _moment(flow.watermark_us),
            f"{flow.late:,}",
            f"{flow.quarantined:,}",
        )
        for flow in event.sources
    ]
    table = columns(rows, header=("source", "rows", "lag", "watermark", "late", "set aside"), right=(1, 2, 4, 5))
    sent = "".join(f"   {name} {number:,} sent" for name, number in event.sent.items())
    last = f"{event.rows:,} rows in {event.wall_s * 1000:.0f} ms"
    return (
        f"{table}\n{event.on} at {event.commit[:7]}   {event.rows_per_s:,.0f} rows/s   last batch {last}"
        f"   state {event.state_rows:,} rows{sent}"
    )


def _lag(flow: SourceFlow) -> str:
    return "unknown" if flow.lag is None else f"{flow.lag:,}"


def _moment(value_us: int | None) -> str:
    if value_us is None:
        return ""
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value_us)
    except OverflowError:
        return str(value_us)
    return moment.isoformat(sep=" ", timespec="seconds")
