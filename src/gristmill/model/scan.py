"""A scan as a value: which files, which rows of them, under which names.

The store answers every read with one; `gristmill.store.compute` turns it into SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gristmill.model.predicates import Predicate
from gristmill.model.schema import ROW_ID, Field, Schema

if TYPE_CHECKING:
    import pyarrow as pa


FILE = "_gm_file"
POSITION = "_gm_position"


class RowSet(msgspec.Struct, frozen=True):
    """Positions in one file, as a serialised 32-bit roaring bitmap.

    ``keep`` says whether these positions are the rows to read or the rows to leave out.
    """

    id: str
    positions: bytes
    keep: bool = False


class ScanFile(msgspec.Struct, frozen=True):
    """One file to read.

    Args:
        path: absolute path, or empty where the rows are inlined.
        rows: rows in the file, dead ones too.
        first_row_id: the row at position p has the id ``first_row_id + p`` unless the file stores ids.
        sequence: when its rows were last set, unless the file stores that.
        stored_ids: whether the file has ``_row_id`` and ``_last_updated_sequence_number`` columns.
        schema: what the file was written with.
        rowset: the positions to read or leave out, if not all are live.
        inline: the rows as an Arrow IPC stream, where they live in the catalog.
    """

    path: str
    rows: int
    first_row_id: int
    sequence: int
    stored_ids: bool
    schema: Schema
    rowset: RowSet | None = None
    inline: bytes | None = None


class ScanPlan(msgspec.Struct, frozen=True):
    """Everything needed to read rows, without the store.

    Args:
        fields: the columns to yield, in order.
        files: what to read; files that cannot hold a wanted row are not among them.
        where: which rows to yield; its columns need not be yielded.
        where_fields: the fields that ``where`` names.
        row_ids: whether to yield ``_row_id`` (int64) as the last column.
        sequence: whether to yield ``_last_updated_sequence_number`` after it.
        positions: whether to yield `FILE` (the file's key) and `POSITION` after them.
        rows: rows to be read at most, before ``where``.
    """

    fields: tuple[Field, ...]
    files: tuple[ScanFile, ...]
    where: Predicate | None = None
    where_fields: tuple[Field, ...] = ()
    row_ids: bool = False
    sequence: bool = False
    positions: bool = False
    rows: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that a reader gets."""
        return (*(field.name for field in self.fields), *((ROW_ID,) if self.row_ids else ()))

    def to_arrow_schema(self) -> pa.Schema:
        """Return the Arrow schema that a reader gets."""
        from gristmill.model.arrow import fields_to_arrow

        return fields_to_arrow(output_fields(self))


def output_fields(plan: ScanPlan) -> tuple[Field, ...]:
    """Return the fields a plan yields, row ids included."""
    from gristmill.model.schema import ROW_ID_FIELD, ROW_SEQUENCE, ROW_SEQUENCE_FIELD

    extra = (Field(ROW_ID_FIELD, ROW_ID, "long"),) if plan.row_ids else ()
    if plan.sequence:
        extra = (*extra, Field(ROW_SEQUENCE_FIELD, ROW_SEQUENCE, "long"))
    if plan.positions:
        extra = (*extra, Field(0, FILE, "long"), Field(0, POSITION, "long"))
    return (*plan.fields, *extra)
