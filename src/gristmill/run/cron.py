"""The moments of a cron expression in a time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def ticks(cron: str, zone: str, after_us: int) -> Iterator[int]:
    """Return the moments after a time, in microseconds since 1970, UTC.

    A moment that a clock change skips comes at the next minute that exists; one that it doubles comes once.

    Raises ValueError where the expression or the zone cannot be read.

    >>> next(ticks("30 2 * * *", "Europe/Berlin", 1_774_656_000_000_000)) / 1e6
    1774661400.0
    """
    from cronsim import CronSim, CronSimError

    try:
        found = CronSim(cron, datetime.fromtimestamp(after_us / 1e6, UTC).astimezone(ZoneInfo(zone)))
    except (CronSimError, KeyError, ValueError, OSError) as error:
        raise ValueError(str(error)) from error
    return (round(tick.timestamp() * 1e6) for tick in found)
