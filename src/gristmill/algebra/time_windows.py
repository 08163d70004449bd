"""Windows of event time as plain relational operations: tumbling, hopping, cumulating, and sessions.

Each helper adds columns that say which window a row belongs to; group by them and aggregate. A row that belongs to
several windows comes once for each. Nothing here knows of streams: a batch, an increment and a stream see the same
rows, and the delta rules of the operations that are used hold. Sliding windows need no helper: they are Ibis's own
range windows.

Windows are half-open: a row at ``window_end`` belongs to the next. They are aligned to midnight UTC of 2000-01-03, a
Monday, so that windows of any size that divides a day begin at midnight, and weeks on Mondays.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.datatypes as dt

from gristmill.algebra.asof import parse_duration_us
from gristmill.errors import DefinitionError, did_you_mean

_CODE = "GM-P145"
_MOST = 1_000
START, END = "window_start", "window_end"


def tumble(table: ibis.Table, size: str, *, on: str) -> ibis.Table:
    """Return each row with the one window of a fixed size that it is in, as ``window_start`` and ``window_end``.

    A row without a moment is in no window and is left out.

    Args:
        table: the rows.
        size: how long a window is, such as ``"5min"``.
        on: the column of the moment, a timestamp.

    Raises:
        DefinitionError: the column is missing or no timestamp, or the size is no duration.

    >>> trades = ibis.table({"at": "timestamp", "price": "float64"}, name="raw.trades")
    >>> minutes = tumble(trades, "1min", on="at")
    >>> minutes.group_by("window_start").agg(high=minutes.price.max()).columns
    ('window_start', 'high')
    """
    size_us = _duration(size, "size")
    at = _moment(table, on)
    start = _bucket(at, size_us)
    return table.filter(at.notnull()).mutate(**{START: start, END: start + _interval(size_us)})


def hop(table: ibis.Table, size: str, every: str, *, on: str) -> ibis.Table:
    """Return each row once for every window that it is in, where a window of a size begins every so often.

    Args:
        table: the rows.
        size: how long a window is.
        every: how often one begins; ``size`` is a multiple of it.
        on: the column of the moment.

    Raises:
        DefinitionError: the column is missing or no timestamp, or the durations do not fit each other.

    >>> trades = ibis.table({"at": "timestamp", "price": "float64"}, name="raw.trades")
    >>> hop(trades, "10min", "5min", on="at").columns
    ('at', 'price', 'window_start', 'window_end')
    """
    size_us, every_us = _duration(size, "size"), _duration(every, "every")
    count = _whole(size_us, every_us, "size", "every")
    at = _moment(table, on)
    last = _bucket(at, every_us)
    starts = ibis.array([last - _interval(every_us * back) if back else last for back in range(count)])
    made = table.filter(at.notnull()).mutate(**{START: starts.unnest()})
    return made.mutate(**{END: made[START] + _interval(size_us)})


def cumulate(table: ibis.Table, size: str, step: str, *, on: str) -> ibis.Table:
    """Return each row once for every window that it is in, where windows of one start grow step by step up to a size.

    Args:
        table: the rows.
        size: how long the last window of a start is, after which the next start comes.
        step: by how much the end moves on; ``size`` is a multiple of it.
        on: the column of the moment.

    Raises:
        DefinitionError: the column is missing or no timestamp, or the durations do not fit each other.

    >>> trades = ibis.table({"at": "timestamp", "price": "float64"}, name="raw.trades")
    >>> cumulate(trades, "1d", "1h", on="at").columns
    ('at', 'price', 'window_start', 'window_end')
    """
    size_us, step_us = _duration(size, "size"), _duration(step, "step")
    count = _whole(size_us, step_us, "size", "step")
    at = _moment(table, on)
    start = _bucket(at, size_us)
    ends = ibis.array([start + _interval(step_us * number) for number in range(1, count + 1)])
    made = table.filter(at.notnull()).mutate(**{START: start, END: ends.unnest()})
    return made.filter(made[END] > made[on])


def sessions(table: ibis.Table, gap: str, *, on: str, by: str | Sequence[str]) -> ibis.Table:
    """Return each row with the session that it is in: rows of one key that follow each other within a gap.

    ``session_start`` and ``session_end`` are the moments of its first and last row. A row that comes late may join two
    sessions, and one that goes may split one; every row of the key follows. A row without a moment is left out.

    Args:
        table: the rows.
        gap: how much silence ends a session; a row that comes just so much later is in it still.
        on: the column of the moment.
        by: the columns of the key.

    Raises:
        DefinitionError: a column is missing, or ``gap`` is no duration.

    >>> clicks = ibis.table({"at": "timestamp", "user": "string"}, name="raw.clicks")
    >>> sessions(clicks, "30min", on="at", by="user").columns
    ('at', 'user', 'session_start', 'session_end')
    """
    gap_us = _duration(gap, "gap")
    keys = [by] if isinstance(by, str) else list(by)
    for name in keys:
        _known(table, name)
    _moment(table, on)
    taken = {"session_start", "session_end", "_gm_new", "_gm_session"} & set(table.columns)
    if taken:
        raise DefinitionError(f"sessions: the table has a column `{min(taken)}` already", code=_CODE)
    rows = table.filter(table[on].notnull())
    before = rows[on].lag().over(ibis.window(group_by=keys, order_by=on))
    apart = before.isnull() | (rows[on] > before + _interval(gap_us))
    marked = rows.mutate(_gm_new=apart.cast("int64"))
    along = ibis.cumulative_window(group_by=keys, order_by=on)
    numbered = marked.mutate(_gm_session=marked._gm_new.sum().over(along))
    whole = ibis.window(group_by=[*keys, "_gm_session"])
    made = numbered.mutate(session_start=numbered[on].min().over(whole), session_end=numbered[on].max().over(whole))
    return made.select(*table.columns, "session_start", "session_end")


def _duration(text: str, name: str) -> int:
    try:
        value = parse_duration_us(text)
    except DefinitionError:
        value = 0
    if value <= 0:
        raise DefinitionError(f"{name}={text!r} is no duration", code=_CODE, hint='such as "5min", "1h", "1d"')
    return value


def _whole(size_us: int, part_us: int, size: str, part: str) -> int:
    count, rest = divmod(size_us, part_us)
    if rest or not 1 <= count <= _MOST:
        raise DefinitionError(
            f"{size} is no multiple of {part}, or more than {_MOST} times as long",
            code=_CODE,
            hint='such as size="1h" and "5min"',
        )
    return count


def _known(table: ibis.Table, name: str) -> None:
    if name not in table.columns:
        hint = did_you_mean(name, table.columns) or f"it has {', '.join(table.columns)}"
        raise DefinitionError(f"the table has no column `{name}`", code=_CODE, hint=hint)


def _moment(table: ibis.Table, on: str) -> ibis.ir.TimestampValue:
    _known(table, on)
    kind: dt.DataType = table.schema()[on]
    if not kind.is_timestamp():
        raise DefinitionError(f"`{on}` is {kind} and no timestamp", code=_CODE, hint=f'.cast("timestamp") `{on}`')
    return table[on]


def _interval(value_us: int) -> ibis.ir.IntervalScalar:
    return ibis.interval(value_us, unit="us")


def _bucket(at: ibis.ir.TimestampValue, size_us: int) -> ibis.ir.TimestampValue:
    return at.bucket(microseconds=size_us)
