"""Watermarks: how far the event time of each partition has come, and which rows are late, in source order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gristmill.define import EventTime

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

NEWEST = "event_us"
"""Name of a partition's detail that holds its newest event time."""

FLOOR = "floor_us"
"""Name of a partition's detail that holds the watermark it found when it began or came back from silence."""

_NONE = np.iinfo(np.int64).min


class Judged(NamedTuple):
    """What event times say of rows of one partition, in its order.

    Args:
        missing: rows without an event time.
        ahead: rows whose event time lies too far in the future.
        late: rows behind the watermark as it stood when they came.
        newest_us: the newest event time of the partition now; None before there is one.
    """

    missing: NDArray[np.bool_]
    ahead: NDArray[np.bool_]
    late: NDArray[np.bool_]
    newest_us: int | None


def times_us(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a timestamp or date column as microseconds since 1970, and where it is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    null = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    zone = getattr(column.type, "tz", None)
    moments = pc.cast(column, pa.timestamp("us", zone)).cast(pa.int64()).fill_null(0)
    return np.asarray(moments.to_numpy(zero_copy_only=False), dtype=np.int64), null


def judge(
    column: pa.Array,
    rule: EventTime,
    *,
    arrived_us: Sequence[int | None],
    now_us: int,
    newest_us: int | None,
    floor_us: int | None,
) -> Judged:
    """Judge the rows of a partition by their event times.

    Args:
        column: the event times, in the partition's order.
        rule: what the source says of them.
        arrived_us: when the source took each row; None where it does not say, empty where it never does: ``now_us``
            counts.
        now_us: this moment, microseconds since 1970.
        newest_us: the newest event time so far.
        floor_us: a watermark below which rows are late whatever the partition has seen.
    """
    times, missing = times_us(column)
    moments = [now_us if moment is None else moment for moment in arrived_us] or now_us
    arrived = np.array(moments, dtype=np.int64)
    ahead = ~missing & (times > arrived + rule.ahead_us)
    counts = ~missing & ~ahead
    before = _NONE if newest_us is None else newest_us
    seen = np.maximum.accumulate(np.concatenate(([before], np.where(counts, times, _NONE))))
    reached = np.where(seen[:-1] == _NONE, _NONE, seen[:-1] - rule.bound_us)
    if floor_us is not None:
        reached = np.maximum(reached, floor_us)
    newest = int(seen[-1])
    return Judged(missing, ahead, counts & (times < reached), None if newest == _NONE else newest)


def watermark(
    newest: Mapping[str, int | None], rule: EventTime, *, idle: Collection[str], before_us: int | None
) -> int | None:
    """Return a source's watermark: the least of its partitions that are not idle, and never less than before.

    >>> watermark({"a": 100, "b": 40}, EventTime(column="at", bound_us=10), idle=["b"], before_us=None)
    90
    >>> watermark({"a": 100, "b": None}, EventTime(column="at"), idle=[], before_us=7)
    7
    """
    active = [value for name, value in newest.items() if name not in idle]
    known = [value for value in active if value is not None]
    if not known or len(known) < len(active):
        return before_us
    found = min(known) - rule.bound_us
    return found if before_us is None else max(found, before_us)
