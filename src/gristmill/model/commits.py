"""A commit as a reader sees it."""

from __future__ import annotations

import msgspec


class Commit(msgspec.Struct, frozen=True):
    """An immutable state of everything, and how it came about.

    Args:
        id: blake3 of the commit's canonical encoding, 64 hex digits.
        parents: ids of the commits it was made from; the first one is the branch's own history.
        tree: id of the state of everything.
        time_us: when, in microseconds since 1970 UTC; later than every parent's.
        author: who.
        message: why.
        meta: anything else worth keeping, such as the run's id.
    """

    id: str
    parents: tuple[str, ...]
    tree: str
    time_us: int
    author: str
    message: str
    meta: dict[str, str] = {}
