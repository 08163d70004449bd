"""Rows that are in memory already, as a source of one unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.values import Chunk, Column, Found, Shape, UnitRows
from gristmill.errors import DataError, UsageError
from gristmill.model.units import Unit

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class FrameSource:
    """A table in memory; made by ``frame``."""

    table: pa.Table
    name: str

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words."""
        return {"kind": "frame", "name": self.name, "rows": str(self.table.num_rows)}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the one unit, compared by content with the one landed before."""
        digest = self._digest()
        unit = known.get(self.name)
        status = "new" if unit is None else "same" if unit.digest == digest else "changed"
        here = Found(name=self.name, size_bytes=self.table.nbytes, digest=digest, status=status)  # type: ignore[arg-type]
        gone = [Found(name=name, digest=u.digest, status="gone") for name, u in known.items() if name != self.name]
        return [here, *gone]

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape that the table declares."""
        from gristmill.connect.columnar import normal_field
        from gristmill.connect.type_names import type_text

        fields = [normal_field(field) for field in self.table.schema]
        return Shape(columns=tuple(Column(f.name, type_text(f.type), f.nullable) for f in fields))

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows."""
        return _FrameRows(self, shape, number)

    def _digest(self) -> str:
        import pyarrow as pa
        from blake3 import blake3

        hasher = blake3()
        table = self.table.combine_chunks()
        sink = pa.PythonFile(_HashSink(hasher), mode="w")
        with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
            writer.write_table(table.replace_schema_metadata(None), max_chunksize=65_536)
        return hasher.hexdigest()


class _HashSink:
    closed = False

    def __init__(self, hasher: object) -> None:
        self._hasher = hasher

    def write(self, data: bytes) -> int:
        self._hasher.update(bytes(data))  # type: ignore[attr-defined]
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""


class _FrameRows:
    def __init__(self, source: FrameSource, shape: Shape, number: int) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._source = source
        self._shape = shape
        self._number = number

    def __iter__(self) -> Iterator[Chunk]:
        from gristmill.connect.columnar import BATCH_ROWS, Fitter

        source = self._source
        fitter = Fitter(self._shape, source.name, self._number, {}, self.detail)
        fitter.check(source.table.schema)
        for batch in source.table.to_batches(BATCH_ROWS):
            yield fitter.chunk(batch)
            self.delivered = fitter.delivered
        self.digest = source._digest()


def frame(rows: object, *, name: str = "frame") -> FrameSource:
    """Return a source of rows in memory.

    Args:
        rows: an Arrow table, batch or reader, a pandas or Polars frame, or whatever speaks the Arrow stream
            protocol. A reader is read to its end here.
        name: the unit's name.

    Raises:
        UsageError: it is no frame.
        DataError: a column holds values of several types.

    >>> import pyarrow as pa
    >>> frame(pa.table({"a": [1]})).describe()["rows"]
    '1'
    """
    import pyarrow as pa

    try:
        if isinstance(rows, pa.Table):
            table = rows
        elif isinstance(rows, pa.RecordBatch):
            table = pa.Table.from_batches([rows])
        elif type(rows).__module__.split(".")[0] == "pandas":
            table = pa.Table.from_pandas(rows, preserve_index=False)
        elif hasattr(rows, "__arrow_c_stream__"):
            table = pa.table(rows)
        else:
            raise UsageError(
                f"a {type(rows).__name__} is no frame", hint="give an Arrow table, a pandas or a Polars frame"
            )
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"the frame cannot be read: {error}", where=name) from error
    return FrameSource(table, name)
