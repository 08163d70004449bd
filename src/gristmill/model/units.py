"""Units: what a source has landed, and where in it each row came from."""

from __future__ import annotations

from typing import Literal

import msgspec

ORIGIN_UNIT = "_origin_unit"
ORIGIN_RECORD = "_origin_record"
ORIGIN_LINE = "_origin_line"
ORIGIN_OFFSET = "_origin_offset"

ORIGIN_COLUMNS = (ORIGIN_UNIT, ORIGIN_RECORD, ORIGIN_LINE, ORIGIN_OFFSET)
"""Hidden columns of a source table, all int64 and nullable: the unit's number within its source, the record's
number in the unit from 1, its first physical line from 1, and the byte offset where it starts. Line and offset
are null where the format has none (Parquet, a query)."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every row that one unit delivered; the parts always add up to the whole.

    >>> Ledger(delivered=10, accepted=8, quarantined=1, duplicate=1).balanced
    True
    """

    delivered: int = 0
    accepted: int = 0
    quarantined: int = 0
    late: int = 0
    dropped: int = 0
    duplicate: int = 0

    @property
    def balanced(self) -> bool:
        """Whether delivered = accepted + quarantined + late + dropped + duplicate."""
        parts = self.accepted + self.quarantined + self.late + self.dropped + self.duplicate
        return self.delivered == parts

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            delivered=self.delivered + other.delivered,
            accepted=self.accepted + other.accepted,
            quarantined=self.quarantined + other.quarantined,
            late=self.late + other.late,
            dropped=self.dropped + other.dropped,
            duplicate=self.duplicate + other.duplicate,
        )


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a source that is landed whole or not at all: a file's content, an offset range, a query window.

    Args:
        name: what a person calls it: a path relative to the project, ``topic/3:100-200``, a window.
        number: the unit's number within its source, for ever; rows carry it as ``_origin_unit``.
        digest: blake3 (hex) of the content as read, or of the window's identity.
        size_bytes: size of the content as found, before decompression.
        modified_ns: modification time as found, to tell an untouched file by a stat call alone.
        state: ``landed``; ``held``: reverted, and not to be landed again until it changes or is released; or
            ``released``: to be landed at the next run as if it were new.
        ledger: what became of its rows.
        detail: what the connector needs to go on from here, such as a cursor's value.
    """

    name: str
    number: int
    digest: str
    size_bytes: int = 0
    modified_ns: int = 0
    state: Literal["landed", "held", "released"] = "landed"
    ledger: Ledger = Ledger()
    detail: dict[str, str] = {}
