"""Stretches of a column's values, half open: what of a table a person means, and which parts of it are done.

A million partitions that are done in any order are a few spans, so that nothing here grows with their number. Dates
are days and timestamps are microseconds since 1970, both as integers; other columns stand as integers or texts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import msgspec

from gristmill.errors import UsageError

Bound = int | str | None
"""A value, or None for no bound."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CODE = "GM-U160"


class Span(msgspec.Struct, frozen=True, array_like=True):
    """The values from ``low`` up to, and without, ``high``; nulls belong to a span without a low bound."""

    low: Bound = None
    high: Bound = None

    @property
    def empty(self) -> bool:
        """Whether no value is in it."""
        return self.low is not None and self.high is not None and not _before(self.low, self.high)


def _before(a: int | str, b: int | str) -> bool:
    return a < b if isinstance(a, int) and isinstance(b, int) else str(a) < str(b)


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same values as few spans, in order.

    >>> merged([Span(5, 7), Span(1, 3), Span(3, 5), Span(9, None)])
    (Span(low=1, high=7), Span(low=9, high=None))
    """
    found: list[Span] = []
    for span in sorted((s for s in spans if not s.empty), key=lambda s: (s.low is not None, s.low or 0)):
        last = found[-1] if found else None
        if last is None or (last.high is not None and span.low is not None and _before(last.high, span.low)):
            found.append(span)
        elif last.high is not None and (span.high is None or _before(last.high, span.high)):
            found[-1] = Span(last.low, span.high)
    return tuple(found)


def missing(wanted: Span, done: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return what of a span is not in others, which are merged.

    >>> missing(Span(0, 10), (Span(1, 3), Span(5, None)))
    (Span(low=0, high=1), Span(low=3, high=5))
    """
    found = []
    low = wanted.low
    start = 0 if low is None else max(0, bisect_right([_key(s) for s in done], (1, low)) - 1)
    for span in done[start:]:
        if span.high is not None and low is not None and not _before(low, span.high):
            continue
        if span.low is not None and wanted.high is not None and not _before(span.low, wanted.high):
            break
        if span.low is not None and (low is None or _before(low, span.low)):
            found.append(Span(low, span.low))
        if span.high is None:
            return tuple(found)
        low = span.high
    rest = Span(low, wanted.high)
    return tuple(found) if rest.empty else (*found, rest)


def _key(span: Span) -> tuple[int, int | str]:
    return (0, 0) if span.low is None else (1, span.low)


def parsed(text: str, kind: str) -> Bound:
    """Return a bound from text, for a column of a type by the store's name; None where the text is empty.

    Raises UsageError where it is not a value of that type.

    >>> parsed("1970-01-02", "date"), parsed("1970-01-01T00:00:01", "timestamp"), parsed("7", "long")
    (1, 1000000, 7)
    """
    if not text:
        return None
    try:
        if kind == "date":
            return (date.fromisoformat(text) - _EPOCH.date()).days
        if kind.startswith("timestamp"):
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return (moment - _EPOCH) // timedelta(microseconds=1)
        if kind in ("int", "long"):
            return int(text)
    except ValueError:
        raise UsageError(
            f"`{text}` is not a {kind}", code=_CODE, hint="write 2026-01-31, 2026-01-31T12:00 or 17"
        ) from None
    if kind == "string":
        return text
    raise UsageError(f"a column of type {kind} has no ranges", code=_CODE, hint="name a date, time, number or text")


def shown(bound: Bound, kind: str) -> str:
    """Return a bound as `parsed` reads it.

    >>> shown(1, "date"), shown(None, "date"), shown(1_000_000, "timestamp")
    ('1970-01-02', '', '1970-01-01T00:00:01')
    """
    if bound is None:
        return ""
    if kind == "date" and isinstance(bound, int):
        return (_EPOCH.date() + timedelta(days=bound)).isoformat()
    if kind.startswith("timestamp") and isinstance(bound, int):
        return (_EPOCH + timedelta(microseconds=bound)).replace(tzinfo=None).isoformat()
    return str(bound)


def to_sql(column: str, span: Span, kind: str) -> str:
    """Return a condition on a quoted column that holds for just the values of a span."""
    parts = [
        f"{column} {sign} {_literal(bound, kind)}"
        for sign, bound in ((">=", span.low), ("<", span.high))
        if bound is not None
    ]
    both = " AND ".join(parts) or "true"
    return f"({column} IS NULL OR ({both}))" if span.low is None else f"({both})"


def _literal(bound: int | str, kind: str) -> str:
    if kind == "date":
        return f"CAST('{shown(bound, kind)}' AS DATE)"
    if kind.startswith("timestamp"):
        made = f"make_timestamp({bound})"
        return f"CAST({made} AS TIMESTAMPTZ)" if kind == "timestamptz" else made
    return str(bound) if isinstance(bound, int) else "'" + bound.replace("'", "''") + "'"
