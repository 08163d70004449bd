"""What changed between two states of one table."""

from __future__ import annotations

import msgspec
from pyroaring import BitMap64

from gristmill.model.scan import ScanPlan


class Delta(msgspec.Struct, frozen=True):
    """The rows that differ between two states, by identity; images are read only when asked for.

    Args:
        table: its name.
        before_id: hash of the state before, or None where the table did not exist.
        after_id: hash of the state after, or None where it no longer exists.
        inserted: ids of rows that are only in the state after.
        deleted: ids of rows that are only in the state before.
        updated: ids of rows that are in both and were set again in between, even to equal values.
        before: reads the deleted and updated rows as they were, with ``_row_id``.
        after: reads the inserted and updated rows as they are, with ``_row_id``.
        schema_changed: whether the columns differ.
        rebuilt: whether the table was dropped and made anew, so that ids do not compare.
    """

    table: str
    before_id: str | None
    after_id: str | None
    inserted: BitMap64
    deleted: BitMap64
    updated: BitMap64
    before: ScanPlan | None
    after: ScanPlan | None
    schema_changed: bool = False
    rebuilt: bool = False

    def __repr__(self) -> str:
        counts = f"+{len(self.inserted):,} ~{len(self.updated):,} -{len(self.deleted):,} rows"
        notes = [note for flag, note in ((self.schema_changed, "columns"), (self.rebuilt, "made anew")) if flag]
        return f"<delta of {self.table}: {', '.join([counts, *notes])}>"

    @property
    def empty(self) -> bool:
        """Whether no row and no column changed."""
        return not (self.inserted or self.deleted or self.updated or self.schema_changed or self.rebuilt)
