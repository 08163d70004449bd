"""Moments as people write them where a stream begins."""

from __future__ import annotations

import datetime as dt

from gristmill.errors import UsageError


def moment_us(text: str) -> int:
    """Return microseconds since 1970 of a date or an ISO moment, UTC where no zone is given.

    Raises UsageError.

    >>> moment_us("1970-01-02")
    86400000000
    """
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"`{text}` is no place where a stream can begin",
            code="GM-U130",
            hint="earliest, latest, an offset, or a moment such as 2026-01-31T12:00:00Z",
        ) from error
    zoned = found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
