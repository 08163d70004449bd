"""What a source says of time and change: event time, late rows, change feeds; and what leaves through a sink."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.errors import DataError, DefinitionError
from gristmill.model.units import Unit

if TYPE_CHECKING:
    from gristmill.connect import Found, Shape, SinkTarget, UnitRows
    from gristmill.define.nodes import Node, Place

_UNITS_US = {"ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"\s*([0-9]+)\s*(ms|s|min|h|d)\s*")

Accepts = Literal["corrections", "final"]


class EventTime(msgspec.Struct, frozen=True, kw_only=True):
    """When the rows of a source were true, and how far out of order they may come; made by ``event_time``.

    Args:
        column: the column that holds it.
        bound_us: how far behind the newest event time of its partition a row may be without being late.
        idle_us: after how much silence a partition no longer holds the watermark back.
        ahead_us: how far before its arrival an event time may lie; a row beyond it is set aside.
    """

    column: str
    bound_us: int = 0
    idle_us: int = 60_000_000
    ahead_us: int = 3_600_000_000


class Late(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a row whose event time is behind the watermark of its partition; made by ``late``.

    Args:
        policy: ``correct`` (it takes its place, and what follows from it is corrected), ``side`` (it goes to a table
            of its own) or ``drop``.
        table: the side table's name.
        max_ratio: the largest share of a source's rows that may be dropped.
    """

    policy: Literal["correct", "side", "drop"] = "correct"
    table: str = ""
    max_ratio: float = 0.0


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """How a change feed says what became of a key; made by ``changes``.

    Args:
        op: the column that says what happened; empty where only tombstones delete.
        deletes: its values that mean that the key is gone.
        order: the column by which changes of one key are ordered; empty takes the order of the source.
    """

    op: str = ""
    deletes: tuple[str, ...] = ("d", "delete", "DELETE", "D")
    order: str = ""


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose changes leave for elsewhere.

    Args:
        name: what the pointer is called.
        reads: the table.
        target: where it goes.
        accepts: ``corrections`` (every change) or ``final`` (only rows that will not change any more).
        final: for ``final``: the column that must be behind the watermark.
        place: where it is defined.
    """

    name: str
    reads: str
    target: SinkTarget
    accepts: Accepts
    final: str
    place: Place


class SideConnector(msgspec.Struct, frozen=True):
    """What the side table of a source's late rows stands for: its rows come with those of the source."""

    source: str

    def describe(self) -> dict[str, str]:
        """Return what this is, in words."""
        return {"kind": "late rows", "of": self.source}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return nothing: nothing lands here by itself."""
        return []

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Refuse: there is nothing to look at."""
        raise DataError(f"no row of `{self.source}` was late yet", code="GM-D010")

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Refuse: there is nothing to read."""
        raise DataError(f"late rows come with those of `{self.source}`", code="GM-D010")


def late_policy(source: str, given: Late | None) -> Late:
    """Return what becomes of a source's late rows, the side table named."""
    found = given or Late()
    if found.policy == "side" and not found.table:
        return msgspec.structs.replace(found, table=f"{source}_late")
    return found


def check_stream(node: Node) -> None:
    """Refuse a source whose words about time and change do not go together. Raises DefinitionError."""
    asked = node.event_time is not None or node.changes is not None or node.late.policy != "correct"
    if asked and not hasattr(node.connector, "open"):
        raise DefinitionError(
            f"`{node.name}` is no stream, and has an event time or changes",
            code="GM-P143",
            where=str(node.place),
            hint="gm.tail(...), gm.redis_stream(...), gm.kafka(...) or gm.push(...) make a stream",
        )
    if node.late.policy != "correct" and node.event_time is None:
        raise DefinitionError(
            f"`{node.name}` says what becomes of late rows, and not when a row is late",
            code="GM-P143",
            where=str(node.place),
            hint='event_time=gm.event_time("at", bound="10s")',
        )
    if node.changes is not None and not node.key:
        raise DefinitionError(
            f"`{node.name}` is a change feed without a key", code="GM-P143", where=str(node.place), hint='key="id"'
        )


def duration_us(text: str | int | float) -> int:
    """Return microseconds of a duration such as ``"5min"``; a number means seconds.

    Raises DefinitionError.

    >>> duration_us("2h"), duration_us(1.5)
    (7200000000, 1500000)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        if text < 0:
            raise DefinitionError(f"a duration of {text} seconds is less than nothing", code="GM-P140")
        return round(text * 1_000_000)
    found = _DURATION.fullmatch(str(text))
    if found is None:
        raise DefinitionError(
            f"`{text}` is no duration", code="GM-P140", hint='a number and a unit: "500ms", "10s", "5min", "2h", "1d"'
        )
    return int(found[1]) * _UNITS_US[found[2]]


def event_time(
    column: str, *, bound: str | float = 0, idle: str | float = "1min", ahead: str | float = "1h"
) -> EventTime:
    """Say which column of a source holds the event time, and how far out of order rows come.

    Args:
        column: a timestamp or date column.
        bound: how far behind the newest event time of its partition a row may be without being late.
        idle: after how much silence a partition no longer holds the watermark back.
        ahead: how far before its arrival an event time may lie; a row beyond it is set aside, and does not move the
            watermark.

    >>> event_time("at", bound="10s").bound_us
    10000000
    """
    return EventTime(column=column, bound_us=duration_us(bound), idle_us=duration_us(idle), ahead_us=duration_us(ahead))


def changes(*, op: str = "", deletes: Sequence[str] = ("d", "delete", "DELETE", "D"), order: str = "") -> Changes:
    """Say that a source with a key is a change feed: each message sets a key, or says that it is gone.

    Args:
        op: the column that says what happened; without one only tombstones delete.
        deletes: its values that mean that the key is gone.
        order: a column that orders the changes of one key, such as a log position; a change that is older than the
            one that holds changes nothing, whenever it comes. Without one the order of the source counts.

    >>> changes(op="op", order="lsn").order
    'lsn'
    """
    return Changes(op=op, deletes=tuple(deletes), order=order)


class late:  # noqa: N801 - a namespace that reads as a word: gm.late.side()
    """What becomes of late rows: ``late.correct()`` (default), ``late.side()``, ``late.drop(max_ratio=0.01)``."""

    @staticmethod
    def correct() -> Late:
        """Let late rows take their place; what follows from them is corrected, and they are counted."""
        return Late()

    @staticmethod
    def side(table: str = "") -> Late:
        """Put late rows into a table of their own (default: the source's name and ``_late``), which definitions may
        read."""
        return Late(policy="side", table=table)

    @staticmethod
    def drop(*, max_ratio: float) -> Late:
        """Drop late rows, counted; where more than this share of a source was dropped, nothing is published."""
        if not 0 <= max_ratio <= 1:
            raise DefinitionError(f"max_ratio={max_ratio} is no share", code="GM-P140", hint="between 0 and 1")
        return Late(policy="drop", max_ratio=max_ratio)
