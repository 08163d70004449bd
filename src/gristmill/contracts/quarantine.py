"""Rows set aside: kept whole, with reason and origin, in a table beside the one they were meant for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import blake3
import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX = "_quarantine."

Status = Literal["open", "fixed", "waived", "dropped"]


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """One row in quarantine.

    Args:
        id: stable name of the row: hash of table, unit, record and content.
        table: the table it was meant for.
        raw: the row as delivered: the text of its lines, or its cells as JSON.
        cells: its typed cells as JSON, where it could be typed.
        reasons: codes of the rules it breaks.
        message: what is wrong, in words.
        unit: name of the unit that delivered it; empty for a derived row.
        unit_number: the unit's number within its source.
        record: number of the record in the unit, from 1.
        line: its first physical line, from 1.
        offset: byte offset where it starts.
        run: the run that set it aside.
        status: what has become of it.
        note: who decided, and why.
    """

    id: str
    table: str
    raw: str
    cells: str | None = None
    reasons: tuple[str, ...] = ()
    message: str = ""
    unit: str = ""
    unit_number: int | None = None
    record: int | None = None
    line: int | None = None
    offset: int | None = None
    run: str = ""
    status: Status = "open"
    note: str = ""

    @property
    def origin(self) -> str:
        """``file:line``, as far as it is known."""
        if self.line is not None:
            return f"{self.unit}:{self.line}"
        return f"{self.unit}#{self.record}" if self.record is not None else self.unit or "computed"


def table_name(table: str) -> str:
    """Return the name of a table's quarantine.

    >>> table_name("raw.weather")
    '_quarantine.raw.weather'
    """
    return PREFIX + table


def row_name(table: str, unit: str, record: int | None, content: str) -> str:
    """Return the stable id of a row set aside, so that setting it aside twice keeps one."""
    return blake3.blake3(f"{table}\0{unit}\0{record}\0{content}".encode()).hexdigest()[:24]


def schema() -> pa.Schema:
    """Return the Arrow schema of every quarantine table; its key is ``id``."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            pa.field("id", text, nullable=False),
            pa.field("table", text, nullable=False),
            pa.field("raw", text),
            pa.field("cells", text),
            pa.field("reasons", pa.list_(text)),
            pa.field("message", text),
            pa.field("unit", text),
            pa.field("unit_number", number),
            pa.field("record", number),
            pa.field("line", number),
            pa.field("offset", number),
            pa.field("run", text),
            pa.field("status", text),
            pa.field("note", text),
        ]
    )


def to_arrow(rows: Iterable[SetAside]) -> pa.Table:
    """Return rows as an Arrow table of the quarantine schema, one row per id."""
    import pyarrow as pa

    unique = {row.id: msgspec.structs.asdict(row) for row in rows}
    return pa.Table.from_pylist([{**row, "reasons": list(row["reasons"])} for row in unique.values()], schema())


def from_arrow(table: pa.Table) -> Sequence[SetAside]:
    """Return the rows of a quarantine table as values."""
    return [msgspec.convert({**row, "reasons": tuple(row["reasons"] or ())}, SetAside) for row in table.to_pylist()]
