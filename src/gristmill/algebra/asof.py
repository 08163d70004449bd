"""The as-of join: what was last known at each row's moment, with exactly one output row per left row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import ibis
import ibis.expr.datatypes as dt

from gristmill.algebra.nodes import AsofJoin
from gristmill.errors import DefinitionError, did_you_mean

_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_WITHIN = re.compile(r"\s*(\d+)\s*([a-z]+)\s*")
_CODE = "GM-P127"

Key = str | tuple[str, str]


def asof_join(
    left: ibis.Table,
    right: ibis.Table,
    *,
    on: Key,
    by: Key | Sequence[Key] = (),
    within: str | int | float | None = None,
    direction: Literal["backward", "forward", "nearest"] = "backward",
    ties: Sequence[str] = (),
    suffix: str = "_right",
) -> ibis.Table:
    """Return each left row once, with the columns of the right row that holds at its moment, or nulls.

    The right row is the last one whose ``on`` is not after the left one's (``backward``), the first one not
    before it (``forward``), or the closer of the two, the earlier one when both are as close (``nearest``).
    Where several right rows share ``by`` and ``on``, the one counts that is greatest by ``ties`` and then by
    all its other columns in their order, nulls least; so the answer never depends on the order of rows.
    A null in ``on`` or ``by`` matches nothing; the left row is kept.

    Args:
        on: the column of the moment in both tables, or a pair (left name, right name).
        by: columns that must be equal, as names or pairs.
        within: the greatest distance that still counts: ``"2h"``, ``"30min"``, ``"1d"`` for timestamps and
            dates, a number in units of ``on`` otherwise.
        direction: ``backward``, ``forward`` or ``nearest``.
        ties: right columns that decide first between rows of one moment, such as a version number.
        suffix: added to right columns whose name the left table has already.

    Raises:
        DefinitionError: a column is missing, the types do not fit, or names collide.

    >>> trades = ibis.table({"time": "timestamp", "sym": "string"}, name="raw.trades")
    >>> quotes = ibis.table({"time": "timestamp", "sym": "string", "bid": "float64"}, name="raw.quotes")
    >>> asof_join(trades, quotes, on="time", by="sym", within="2h").columns
    ('time', 'sym', 'bid')
    """
    on_pair = _pair(on)
    pairs = tuple(_pair(key) for key in ([by] if isinstance(by, str) else _each(by)))
    for name, other in (on_pair, *pairs):
        _comparable(left, right, name, other)
    for name in ties:
        _column(right, name, "right")
    if direction not in ("backward", "forward", "nearest"):
        raise DefinitionError(f"unknown direction `{direction}`", code=_CODE, hint="backward, forward or nearest")
    used = {other for name, other in (on_pair, *pairs) if name == other}
    picks = _picks(left, right, used, suffix)
    rest = tuple(dict.fromkeys([*ties, *(c for c in right.columns)]))
    settled = {on_pair[1], *(other for _, other in pairs)}
    node = AsofJoin(
        left=left.op(),
        right=right.op(),
        on=on_pair,
        by=pairs,
        direction=direction,
        within=_distance(within, left.schema()[on_pair[0]]),
        ties=tuple(name for name in rest if name not in settled and not right.schema()[name].is_nested()),
        picks=picks,
    )
    return node.to_expr()


def _each(by: Key | Sequence[Key]) -> list[Key]:
    if isinstance(by, tuple) and len(by) == 2 and all(isinstance(part, str) for part in by):
        return [by[0], by[1]]
    return list(by)


def _pair(key: Key) -> tuple[str, str]:
    return (key, key) if isinstance(key, str) else (key[0], key[1])


def _column(table: ibis.Table, name: str, side: str) -> dt.DataType:
    if name not in table.columns:
        hint = did_you_mean(name, table.columns) or f"it has {', '.join(table.columns)}"
        raise DefinitionError(f"asof_join: the {side} table has no column `{name}`", code=_CODE, hint=hint)
    return table.schema()[name]


def _comparable(left: ibis.Table, right: ibis.Table, name: str, other: str) -> None:
    kinds = [_kind(_column(left, name, "left")), _kind(_column(right, other, "right"))]
    if kinds[0] != kinds[1]:
        raise DefinitionError(
            f"asof_join: left `{name}` is {kinds[0]} and right `{other}` is {kinds[1]}",
            code=_CODE,
            hint="cast one of them",
        )


def _kind(dtype: dt.DataType) -> str:
    if dtype.is_numeric():
        return "a number"
    if dtype.is_timestamp():
        return "a timestamp with time zone" if dtype.timezone else "a timestamp"
    return str(dtype.copy(nullable=True))


def _picks(left: ibis.Table, right: ibis.Table, used: set[str], suffix: str) -> tuple[tuple[str, str], ...]:
    taken = set(left.columns)
    picks = []
    for name in right.columns:
        if name in used:
            continue
        new = name + suffix if name in taken else name
        if new in taken:
            raise DefinitionError(
                f"asof_join: the result would have `{new}` twice",
                code=_CODE,
                hint="rename it, or pass suffix=",
            )
        taken.add(new)
        picks.append((new, name))
    return tuple(picks)


def _distance(within: str | int | float | None, dtype: dt.DataType) -> int | float | None:
    """Return ``within`` in microseconds for times and in units of the column for numbers."""
    if within is None:
        return None
    if dtype.is_numeric() and not isinstance(within, str):
        value: int | float | None = within
    elif dtype.is_timestamp() or dtype.is_date():
        value = parse_duration_us(within) if isinstance(within, str) else None
    else:
        value = None
    if value is None or value < 0:
        raise DefinitionError(
            f"asof_join: within={within!r} does not measure a distance in {dtype}",
            code=_CODE,
            hint='write "2h", "30min", "1d" for times, a number that is not negative for numbers',
        )
    return value


def parse_duration_us(text: str) -> int:
    """Return a duration such as ``2h`` or ``1d 12h`` in microseconds; units: us, ms, s, min, h, d, w.

    >>> parse_duration_us("1h 30min")
    5400000000
    """
    total, position = 0, 0
    while position < len(text) or not text:
        match = _WITHIN.match(text, position)
        if match is None or match[2] not in _UNIT_US:
            raise DefinitionError(
                f"`{text}` is not a duration", code=_CODE, hint=f"units are {', '.join(_UNIT_US)}, as in 2h"
            )
        total += int(match[1]) * _UNIT_US[match[2]]
        position = match.end()
    return total
