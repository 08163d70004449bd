"""What past deliveries of a table looked like: the small memory that the default checks compare with.

It is a document in the commit, so that a revert of the data takes it back too.
"""

from __future__ import annotations

import msgspec

KEPT = 30
"""Deliveries that are remembered."""

NEEDED = 10
"""Deliveries from which on a figure is judged instead of learnt."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery, or one computation of a derived table.

    Args:
        rows: how many rows.
        nulls: nulls by column.
        stand_ins: by column, how often a value came that often stands for nothing, such as -999 or ``N/A``.
        read: rows of the largest input; 0 for a source.
        units: rows that each unit delivered.
    """

    rows: int
    nulls: dict[str, int] = {}
    stand_ins: dict[str, dict[str, int]] = {}
    read: int = 0
    units: dict[str, int] = {}


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The last deliveries of a table, oldest first."""

    profiles: tuple[Profile, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.profiles)

    @property
    def rows(self) -> int:
        """Rows of all deliveries that are remembered."""
        return sum(profile.rows for profile in self.profiles)

    def nulls(self, column: str) -> tuple[int, int]:
        """Return nulls of a column, and rows, over the deliveries that had it."""
        known = [profile for profile in self.profiles if column in profile.nulls]
        return sum(profile.nulls[column] for profile in known), sum(profile.rows for profile in known)

    def after(self, profile: Profile) -> History:
        """Return this with one more delivery."""
        return History(profiles=(*self.profiles, profile)[-KEPT:])


def history_path(table: str) -> str:
    """Return where a table's history stands in a commit."""
    return f"history/{table}.json"


def read_history(data: bytes | None) -> History:
    """Return a history from a document, or an empty one."""
    return msgspec.json.decode(data, type=History) if data else History()


def write_history(history: History) -> bytes:
    """Return the bytes to keep."""
    return msgspec.json.encode(history, order="deterministic")
