"""Windows of a cursor: where each begins and ends, how far it looks back, and which rows it has seen there.

A source that is read by a cursor lands windows ``(low, high]``. Rows that a database commits late, with a cursor
value that has been passed, are found because every window looks back: to ``high - lag`` of the one before, the
*edge*. What is read there again is told apart from what is new by a set of row hashes, kept with the unit, that
counts equal rows. All comparisons are made by the database, in its own order; here values are only text.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from gristmill.connect.values import Found
from gristmill.errors import DataError, UsageError
from gristmill.model.units import Unit

SEEN_LIMIT = 200_000
"""How many rows of the look-back are remembered one by one."""
KEPT_SETS = 8
"""How many of the last units keep their set; older ones can be landed again, but not told apart row by row."""
_HASH_BYTES = 12
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

Lag = int | float | dt.timedelta | None


def parse_lag(lag: str | float | dt.timedelta | None) -> Lag:
    """Return how far to look back: a number for cursors that are numbers, a duration for moments.

    >>> parse_lag("2h"), parse_lag(100)
    (datetime.timedelta(seconds=7200), 100)
    """
    if isinstance(lag, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d|w)\s*", lag)
        if match is None:
            raise UsageError(f"lag={lag!r} is no duration", hint='write lag="30min", "2h", "1d", or a number')
        return dt.timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
    if lag is not None and (lag < dt.timedelta(0) if isinstance(lag, dt.timedelta) else lag < 0):
        raise UsageError(f"lag={lag} is less than nothing", hint='write lag="2h"')
    return lag


def literal(value: object) -> str:
    """Return a cursor's value as SQL."""
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if "\\" in text or "\0" in text:
        raise DataError(f"a cursor cannot have the value {text!r}", hint="use a number or a moment as the cursor")
    return "'" + text.replace("'", "''") + "'"


def before(value: object, lag: Lag) -> object:
    """Return the value that lies ``lag`` before.

    Raises:
        UsageError: a value of this kind has nothing of that kind before it.

    >>> before("2026-01-02 00:30:00", dt.timedelta(hours=1))
    '2026-01-01 23:30:00'
    """
    if not lag:
        return value
    try:
        if isinstance(lag, dt.timedelta):
            return _moment_before(str(value), lag)
        number = value if isinstance(value, int | float) else Decimal(str(value))
        earlier = float(number) - lag if isinstance(number, float) or isinstance(lag, float) else number - lag
        return earlier if isinstance(earlier, int | float) else str(earlier)
    except (ValueError, InvalidOperation, OverflowError):
        kind = "duration" if isinstance(lag, dt.timedelta) else "number"
        raise UsageError(
            f"lag is a {kind}, which does not go with the cursor's value {value!r}",
            hint='a number for number cursors, "2h" for moments, none for other text',
        ) from None


def _moment_before(text: str, lag: dt.timedelta) -> str:
    moment = dt.datetime.fromisoformat(text)
    earlier = (moment - lag).replace(microsecond=0)  # shorter text sorts first where moments are text
    if len(text) == 10:
        return earlier.date().isoformat()
    return earlier.isoformat(sep="T" if "T" in text else " ").replace("+00:00", "Z" if text.endswith("Z") else "+00:00")


def pack(hashes: Counter[bytes]) -> str:
    """Return a multiset of row hashes as text."""
    return base64.b64encode(b"".join(sorted(hashes.elements()))).decode()


def unpack(text: str) -> Counter[bytes]:
    """Return the multiset that ``pack`` wrote."""
    data = base64.b64decode(text)
    return Counter(data[i : i + _HASH_BYTES] for i in range(0, len(data), _HASH_BYTES))


def row_hash(values: Sequence[object]) -> bytes:
    """Return the hash of a row's values."""
    from blake3 import blake3

    digest: bytes = blake3(msgspec.msgpack.encode(values, enc_hook=str)).digest(length=_HASH_BYTES)
    return digest


def value_of(text: str) -> object:
    """Return a cursor's value from its text in a unit's detail."""
    value: object = json.loads(text)
    return value


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit reads.

    Args:
        high: the greatest cursor value that is read.
        low: the greatest one read before; None where this is the first window.
        bound: the least one that is read: ``low``, less the lag; None as for ``low``.
        strict: read only what lies above ``low``: a window that is landed again.
        seen: hashes of rows up to ``low`` that were landed before, packed.
    """

    high: object
    low: object = None
    bound: object = None
    strict: bool = False
    seen: str = ""

    def to_detail(self) -> dict[str, str]:
        """Return this as texts; ``window_of`` reads them back."""
        return {"window": msgspec.json.encode(self).decode()}


def window_of(found: Found) -> Window:
    """Return the window of a unit that ``discover`` found."""
    return msgspec.json.decode(found.detail["window"], type=Window)


def windowed_sql(sql: str, column: str, window: Window, edge: object) -> str:
    """Return the query of one window, in the order of its cursor, with two columns more: whether a row lies in the
    part read before, and whether the next window will read it again.
    """
    overlap = "0" if window.low is None else f"CASE WHEN q.{column} <= {literal(window.low)} THEN 1 ELSE 0 END"
    at_edge = f"CASE WHEN q.{column} >= {literal(edge)} THEN 1 ELSE 0 END"
    limits = [f"q.{column} <= {literal(window.high)}"]
    if window.strict:
        limits.append(f"q.{column} > {literal(window.low)}")
    elif window.bound is not None:
        limits.append(f"q.{column} >= {literal(window.bound)}")
    return (
        f"SELECT q.*, {overlap} AS {OVERLAP}, {at_edge} AS {EDGE} FROM (\n{sql}\n) q"
        f" WHERE {' AND '.join(limits)} ORDER BY q.{column}"
    )


OVERLAP, EDGE = "gristmill_overlap", "gristmill_edge"


def landed_windows(known: Mapping[str, Unit]) -> list[Unit]:
    """Return the units that are windows, in the order in which they were landed."""
    return sorted((unit for unit in known.values() if "high" in unit.detail), key=lambda unit: unit.number)


def gaps(units: Sequence[Unit]) -> list[Found]:
    """Return the windows between landed ones that are not landed: those that were released.

    Rows of theirs that a later window has found late, by looking back, are not read twice.
    """
    missing: list[Found] = []
    previous: str | None = None
    for position, unit in enumerate(units):
        low = unit.detail.get("low")
        if low != previous and low is not None:
            late: Counter[bytes] = sum((unpack(u.detail.get("late", "")) for u in units[position:]), Counter())
            floor = None if previous is None else value_of(previous)
            window = Window(high=value_of(low), low=floor, bound=floor, strict=previous is not None, seen=pack(late))
            missing.append(Found(name=window_name(floor, window.high), detail=window.to_detail()))
        previous = unit.detail["high"]
    return missing


def window_name(low: object, high: object, taken: Mapping[str, Unit] | None = None) -> str:
    """Return what a person calls a window; one of the same bounds as another gets a number."""
    name = f"{'' if low is None else low}..{high}"
    if not taken or name not in taken:
        return name
    return f"{name} #{next(n for n in range(2, len(taken) + 3) if f'{name} #{n}' not in taken)}"


def without_old_sets(known: Mapping[str, Unit]) -> dict[str, Unit]:
    """Return a source's units, where only the last few keep their set of rows seen."""
    with_set = [unit for unit in landed_windows(known) if unit.detail.get("seen")]
    old = {unit.name for unit in with_set[:-KEPT_SETS]}
    return {
        name: msgspec.structs.replace(unit, detail={**unit.detail, "seen": ""}) if name in old else unit
        for name, unit in known.items()
    }
