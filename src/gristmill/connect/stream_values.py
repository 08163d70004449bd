"""What a stream source hands over: partitions, positions in them, and rows as they come.

A stream's units are its partitions. A position is the small text map that a partition's unit keeps as its detail:
``next`` says where to go on, and connectors add what they need. Positions live in the commit that holds the rows, so
a broker's own bookkeeping is never asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, overload

import numpy as np

from gristmill.connect.values import Found, Reject, Shape
from gristmill.model.units import Unit

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Position = Mapping[str, str]

WAITING = "next"
"""Name of the detail that says where a partition goes on; what it holds is the connector's own."""


def status_of(unit: Unit | None, *, more: bool) -> Literal["new", "changed", "same"]:
    """Return what a partition is beside its unit, None where it has none yet: whether there is more to read.

    >>> status_of(None, more=True)
    'new'
    """
    if not more:
        return "same"
    return "new" if unit is None else "changed"


class Message(NamedTuple):
    """One record as the source holds it, before it is understood.

    Args:
        record: its number in the partition, which becomes ``_origin_record``: an offset, an id, a count.
        value: its bytes, or its fields as text; None is a tombstone.
        key: the bytes of its key.
        time_us: when the source took it, microseconds since 1970; None where the source does not say.
        line: its first physical line, from 1, in a text file.
        offset: the byte where it starts, in a text file.
        problem: why it can only be set aside; empty for a sound one.
    """

    record: int
    value: bytes | dict[str, str] | None
    key: bytes | None = None
    time_us: int | None = None
    line: int | None = None
    offset: int | None = None
    problem: str = ""


class Lines(Sequence[Message]):
    """Lines of a text file, a record each, that become messages only where one of them is looked at.

    Args:
        text: the lines, each with its line end.
        ends: where each line ends in it, behind the line end.
        record: how many records stand before them.
        line: how many physical lines do.
        offset: where the first one begins in the file.
    """

    def __init__(self, text: bytes, ends: NDArray[np.int64], *, record: int, line: int, offset: int) -> None:
        self.text, self._ends = text, ends
        self._record, self._line, self._offset = record, line, offset
        self._starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        start = int(self._starts[at])
        raw = self.text[start : int(self._ends[at]) - 1]
        return Message(self._record + at + 1, raw, line=self._line + at + 1, offset=self._offset + start)

    def raws(self) -> list[bytes]:
        """Return the lines without their line ends."""
        return self.text.split(b"\n")[:-1]

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the record, the line and the offset of each."""
        count = np.arange(1, len(self) + 1)
        return self._record + count, self._line + count, self._offset + self._starts


class Fetched(NamedTuple):
    """Messages of one partition, in its order, and the position after them.

    Args:
        partition: the unit's name.
        messages: what came.
        next: the position after the last of them.
        lag: how many messages (bytes, for files) still wait behind them; None where it cannot be told.
        size_bytes: bytes that were read.
    """

    partition: str
    messages: Sequence[Message]
    next: dict[str, str]
    lag: int | None
    size_bytes: int


class Polled(NamedTuple):
    """Rows of one partition, in its order, and the position after them.

    Args:
        partition: the unit's name.
        rows: the shape's columns, and record, line and offset of each row.
        rejects: records that cannot become a row.
        delivered: how many records these are.
        next: the position after them.
        lag: how much still waits behind them, None where unknown.
        size_bytes: bytes that were read.
        arrived_us: when the source took each row, microseconds since 1970; None where it does not say, and empty where
            it says so of none.
        tombstones: record numbers of the rows that say their key is gone.
    """

    partition: str
    rows: pa.RecordBatch
    rejects: list[Reject]
    delivered: int
    next: dict[str, str]
    lag: int | None
    size_bytes: int
    arrived_us: Sequence[int | None]
    tombstones: frozenset[int] = frozenset()


class Reader(Protocol):
    """An open stream that goes on from given positions."""

    def poll(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Polled]:
        """Return what is there, waiting at most ``timeout_s`` for the first of it; empty when nothing came."""
        ...

    def committed(self) -> None:
        """Take note that everything handed over so far is in a commit."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class Fetcher(Protocol):
    """An open stream of messages that are not understood yet."""

    def fetch(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Fetched]:
        """Return what is there, waiting at most ``timeout_s`` for the first of it."""
        ...

    def committed(self) -> None:
        """Take note that everything handed over so far is in a commit."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class StreamConnector(Protocol):
    """A connector whose units are partitions that grow; see `gristmill.define.nodes.Connector` for the rest."""

    def describe(self) -> dict[str, str]:
        """Say what is read, secrets redacted."""
        ...

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """List the partitions; ``changed`` are those with something behind the known position."""
        ...

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape of what is there, from its first records."""
        ...

    def open(
        self,
        root: Path,
        positions: Mapping[str, Position],
        *,
        shape: Shape,
        start: str = "earliest",
        ends: Mapping[str, str] | None = None,
    ) -> Reader:
        """Go on from positions by partition.

        Args:
            root: the project's folder.
            positions: where to go on, by partition.
            shape: how to read.
            start: where a partition without a position begins: ``earliest``, ``latest``, an offset, or a moment.
            ends: where to stop, by partition, as ``discover`` told it in the detail ``end``; None never stops.
        """
        ...
