"""What happens during long work, as a stream of typed values; terminal, JSON lines and console draw them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gristmill.model.findings import Finding
from gristmill.model.units import Ledger


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Base of all events; the tag in JSON is the class name in lower case."""


class RunStarted(Event, frozen=True, kw_only=True):
    """A run begins on its own branch."""

    run: str
    on: str
    base: str
    tables: int


class StageStarted(Event, frozen=True, kw_only=True):
    """Work on one table or model begins."""

    name: str
    kind: str
    mode: str
    reason: str


class Progress(Event, frozen=True, kw_only=True):
    """How far one stage has come; totals are 0 where unknown."""

    name: str
    rows: int
    bytes: int = 0
    total_bytes: int = 0


class UnitLanded(Event, frozen=True, kw_only=True):
    """One unit of a source was read."""

    source: str
    unit: str
    ledger: Ledger


class Assumed(Event, frozen=True, kw_only=True):
    """Something was not declared, and this is what was taken instead."""

    name: str
    text: str


class Found(Event, frozen=True, kw_only=True):
    """A check that did not simply pass."""

    finding: Finding


class StageFinished(Event, frozen=True, kw_only=True):
    """Work on one table or model is done."""

    name: str
    kind: str
    mode: str
    rows: int
    changed: bool
    wall_s: float
    note: str = ""


class Trained(Event, frozen=True, kw_only=True):
    """A model was trained and judged on its held table."""

    name: str
    metrics: dict[str, float]
    rows: int


class Retrying(Event, frozen=True, kw_only=True):
    """A stage failed in a way that may pass, and is tried again after a pause."""

    name: str
    attempt: int
    wait_s: float
    message: str


class Published(Event, frozen=True, kw_only=True):
    """The result reached its branch as one commit."""

    run: str
    on: str
    commit: str
    undo: str


class NothingToDo(Event, frozen=True, kw_only=True):
    """Everything is as it was; no commit was made."""

    on: str
    commit: str
    held: list[str]
    waiting: list[str] = []
    gone: list[str] = []


class RunFailed(Event, frozen=True, kw_only=True):
    """The run was kept on its branch and its target is unchanged."""

    run: str
    on: str
    head: str
    message: str
    code: str


class SourceFlow(msgspec.Struct, frozen=True, kw_only=True):
    """How one source of a stream stands.

    Args:
        name: the source.
        partitions: how many partitions have come.
        lag: how much still waits (messages; bytes for files); None where that cannot be told.
        watermark_us: event time up to which its rows are final, microseconds since 1970.
        rows: rows that came since the stream began.
        late: late rows since the source was first landed.
        quarantined: rows set aside since the source was first landed.
    """

    name: str
    partitions: int
    lag: int | None
    watermark_us: int | None
    rows: int
    late: int
    quarantined: int


class StreamStarted(Event, frozen=True, kw_only=True):
    """A stream begins to follow its sources; ``epoch`` is the writer's number."""

    on: str
    sources: list[str]
    tables: list[str]
    epochs: dict[str, int]


class BatchCommitted(Event, frozen=True, kw_only=True):
    """A micro-batch reached its branch as one commit.

    Args:
        on: the branch.
        commit: the commit.
        rows: records that came with it.
        wall_s: seconds from its first record to the commit.
        rows_per_s: rows a second, of late.
        state_rows: rows in the tables that the stream keeps.
        sources: how each source stands.
        sent: messages that sinks took since the stream began, by sink.
    """

    on: str
    commit: str
    rows: int
    wall_s: float
    rows_per_s: float
    state_rows: int
    sources: list[SourceFlow]
    sent: dict[str, int] = {}


class StreamWaiting(Event, frozen=True, kw_only=True):
    """Something outside does not answer; the stream tries again after a pause."""

    name: str
    attempt: int
    wait_s: float
    message: str


class StreamStopped(Event, frozen=True, kw_only=True):
    """A stream has ended; everything that came is in the commit."""

    on: str
    commit: str
    rows: int
    batches: int
    reason: str


AnyEvent = (
    RunStarted
    | StageStarted
    | Progress
    | UnitLanded
    | Assumed
    | Found
    | StageFinished
    | Trained
    | Retrying
    | Published
    | NothingToDo
    | RunFailed
    | StreamStarted
    | BatchCommitted
    | StreamWaiting
    | StreamStopped
)

Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Take an event and do nothing."""
