"""One partition of a stream up to its end, as the rows of a unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.values import Chunk, Found, Shape
from gristmill.model.units import ORIGIN_UNIT

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect.stream_values import StreamConnector

POLL_ROWS = 65_536
POLL_BYTES = 32 * 2**20


class StreamRows:
    """The rows of one partition from its begin to the end that it had when it was found."""

    def __init__(self, source: StreamConnector, root: Path, found: Found, shape: Shape, number: int) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._source, self._root, self._found, self._shape, self._number = source, root, found, shape, number

    def __iter__(self) -> Iterator[Chunk]:
        ends = {self._found.name: self._found.detail.get("end", "0")}
        reader = self._source.open(self._root, {}, shape=self._shape, ends=ends)
        try:
            while polled := reader.poll(max_rows=POLL_ROWS, max_bytes=POLL_BYTES, timeout_s=0):
                for part in polled:
                    self.delivered += part.delivered
                    self.detail = part.next
                    yield Chunk(with_unit(part.rows, self._number), part.rejects)
        finally:
            reader.close()
        self.digest = self.detail.get("next", "")


def with_unit(rows: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """Return rows with the unit's number before their record, line and offset."""
    import pyarrow as pa

    place = rows.num_columns - 3
    unit = pa.repeat(pa.scalar(number, pa.int64()), rows.num_rows)
    return rows.add_column(place, pa.field(ORIGIN_UNIT, pa.int64()), unit)
