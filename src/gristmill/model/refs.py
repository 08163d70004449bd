"""How a commit is addressed: ``main``, ``main~2``, ``main@2026-11-01``, a tag, a hash or the start of one."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import msgspec

from gristmill.errors import UsageError

_REF = re.compile(r"(?P<base>[^@~]+)(@(?P<at>[^~]+))?(?P<steps>(~\d*)*)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ref(msgspec.Struct, frozen=True):
    """An address of a commit.

    Args:
        base: a branch, a tag, a hold, or the first digits (at least 4) of a commit's hash.
        before_us: only commits before this instant (microseconds since 1970, UTC), if given.
        steps: how many first parents to go back from there.
    """

    base: str
    before_us: int | None = None
    steps: int = 0


def parse_ref(text: str) -> Ref:
    """Parse an address.

    A day means the last commit before its end in UTC; a moment means the last commit at or before it.

    >>> parse_ref("main~2")
    Ref(base='main', before_us=None, steps=2)
    >>> parse_ref("main@1970-01-01").before_us == 24 * 3600 * 1_000_000
    True
    """
    match = _REF.fullmatch(text.strip())
    if not match:
        raise UsageError(
            f"{text!r} is not the address of a commit",
            code="GM-U112",
            hint="write `main`, `main~2`, `main@2026-11-01`, a tag, or the start of a commit's hash",
        )
    before = None if match["at"] is None else _instant(match["at"], text)
    steps = sum(int(step or 1) for step in match["steps"].split("~")[1:])
    return Ref(match["base"], before, steps)


def _instant(text: str, whole: str) -> int:
    try:
        if len(text) == 10:
            moment = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(text) + timedelta(microseconds=1)
    except ValueError:
        raise UsageError(
            f"{text!r} in {whole!r} is not a date",
            code="GM-U112",
            hint="write `main@2026-11-01` or `main@2026-11-01T09:30:00`",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_table_ref(text: str, *, default: str = "main") -> tuple[str, str]:
    """Split ``clean.flights@main~1`` into the table's name and the address.

    >>> parse_table_ref("clean.flights@main~1")
    ('clean.flights', 'main~1')
    >>> parse_table_ref("clean.flights")
    ('clean.flights', 'main')
    """
    name, _, ref = text.partition("@")
    return name, ref or default
