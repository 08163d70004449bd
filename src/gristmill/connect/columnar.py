"""Parquet, Arrow and Feather files: typed rows with their record numbers.

Their types are declared, so shapes come from the files' schemas. Types are brought to the forms that tables
hold: dictionaries and views to plain values, moments to microseconds in UTC, half floats to floats. A value
that would lose something on the way, or a moment outside the years 1 to 9999, makes its row a reject.
Content is validated in full before it is believed, and page checksums are compared where there are any.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.connect.places import Content, codec_of, is_url
from gristmill.connect.rows import batch_of
from gristmill.connect.values import Chunk, Reject, note_missing
from gristmill.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from gristmill.connect.values import Shape

BATCH_ROWS = 65_536
GROUP_LIMIT_BYTES = 1 << 30
GROUP_LIMIT_RATIO = 1_000
"""A Parquet row group that decodes to more bytes than the first, and to more times the file's size than the
second, is taken for a bomb."""

_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError)


def normal(kind: pa.DataType) -> pa.DataType:
    """Return the type that a table holds for values of this type.

    >>> normal(pa.dictionary(pa.int8(), pa.large_string())), normal(pa.timestamp("ns"))
    (DataType(string), TimestampType(timestamp[us, tz=UTC]))
    """
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return normal(kind.storage_type)
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return normal(kind.value_type)
    if t.is_struct(kind):
        return pa.struct([normal_field(kind.field(i)) for i in range(kind.num_fields)])
    if t.is_map(kind):
        return pa.map_(normal(kind.key_type), normal(kind.item_type))
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind) or t.is_list_view(kind):
        return pa.list_(normal_field(kind.value_field))
    plain = (
        (lambda k: t.is_large_string(k) or t.is_string_view(k) or t.is_null(k), pa.string()),
        (lambda k: t.is_large_binary(k) or t.is_binary_view(k) or t.is_fixed_size_binary(k), pa.binary()),
        (t.is_timestamp, pa.timestamp("us", tz="UTC")),
        (t.is_date, pa.date32()),
        (t.is_time, pa.time64("us")),
        (t.is_float16, pa.float32()),
    )
    return next((target for test, target in plain if test(kind)), kind)


def normal_field(field: pa.Field) -> pa.Field:
    """Return a field with its type brought to normal, and no metadata."""
    return pa.field(field.name, normal(field.type), field.nullable)


@contextmanager
def _named(unit: str) -> Iterator[None]:
    """Turn what readers raise on damaged bytes into an error that names the file."""
    try:
        yield
    except _DAMAGE as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"the file cannot be read: {text:.300}", where=unit, code="GM-D118") from error


@contextmanager
def _seekable(content: Content, root: Path, unit: str, codec: str) -> Iterator[IO[bytes]]:
    """The whole content as a file to seek in; what is remote or compressed is copied to a temporary one."""
    local = codec == "plain" and not is_url(unit)
    if local:
        for _ in content.blocks():
            pass
        with (root / unit).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        for block in content.blocks():
            copy.write(block)
        copy.seek(0)
        yield cast("IO[bytes]", copy)


def _batches(file: IO[bytes], kind: str) -> tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]:
    if kind == "parquet":
        return _parquet_batches(file)
    head = file.read(6)
    file.seek(0)
    if head[:4] == b"FEA1":
        raise ValueError("it is in the old form of Feather; write it again as version 2")
    if head == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return reader.schema, lambda: (reader.get_batch(i) for i in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, lambda: iter(stream)


def _parquet_batches(file: IO[bytes]) -> tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]:
    import pyarrow.parquet as pq

    # nanoseconds would wrap around beyond the year 2262
    # buffering ahead would keep every page that was read until the end
    parquet = pq.ParquetFile(file, page_checksum_verification=True, coerce_int96_timestamp_unit="us", pre_buffer=False)
    _within_limits(parquet.metadata, file.seek(0, io.SEEK_END))
    leaves = [parquet.schema.column(i) for i in range(len(parquet.schema.names))]
    old = [leaf.path for leaf in leaves if leaf.physical_type == "INT96" and leaf.path == leaf.name]
    if not old:
        return parquet.schema_arrow, lambda: parquet.iter_batches(batch_size=BATCH_ROWS)
    seconds = pq.ParquetFile(file, coerce_int96_timestamp_unit="s", pre_buffer=False)

    def checked() -> Iterator[pa.RecordBatch]:
        coarse = seconds.iter_batches(batch_size=BATCH_ROWS, columns=old)
        for batch, check in zip(parquet.iter_batches(batch_size=BATCH_ROWS), coarse, strict=True):
            yield _unwrapped(batch, check)

    return parquet.schema_arrow, checked


def _unwrapped(batch: pa.RecordBatch, seconds: pa.RecordBatch) -> pa.RecordBatch:
    """Move the moments that wrapped around in microseconds far out, where they do not fit."""
    for name in seconds.schema.names:
        fine = batch.column(name)
        whole = pc.floor_temporal(fine, unit="second").cast(pa.timestamp("s"))
        right = pc.or_kleene(pc.equal(whole, seconds.column(name)), pc.is_null(fine))
        if not pc.all(right).as_py():
            far = pa.scalar(np.iinfo(np.int64).max, pa.int64()).cast(fine.type)
            batch = batch.set_column(
                batch.schema.get_field_index(name), batch.schema.field(name), pc.if_else(right, fine, far)
            )
    return batch


def _within_limits(metadata: object, size_bytes: int) -> None:
    # only the group's own size: to ask for an encrypted column's ends the process
    for group in range(metadata.num_row_groups):  # type: ignore[attr-defined]
        claimed = metadata.row_group(group).total_byte_size  # type: ignore[attr-defined]
        if claimed > GROUP_LIMIT_BYTES and claimed > size_bytes * GROUP_LIMIT_RATIO:
            raise ValueError(f"a row group claims {claimed} bytes in a file of {size_bytes}")


def schema_of(
    content: Content, root: Path, unit: str, kind: str, compression: str | None
) -> tuple[pa.Schema, list[str]]:
    """Return the normal schema of a file, and the assumptions made, in words.

    Raises:
        DataError: the file cannot be read, or a column's type cannot be held.
    """
    with _named(unit), _seekable(content, root, unit, codec_of(unit, compression)) as file:
        schema, _ = _batches(file, kind)
        repeated = [name for name in schema.names if schema.names.count(name) > 1]
        if repeated:
            raise DataError(f"two columns are called `{repeated[0]}`", where=unit)
        return pa.schema([normal_field(field) for field in schema]), _notes(schema)


def _validated(batches: Iterator[pa.RecordBatch], unit: str) -> Iterator[pa.RecordBatch]:
    while True:
        with _named(unit):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


class ColumnarRows:
    """The rows of one Parquet, Arrow or Feather file.

    Args:
        content: the file.
        root: the folder that names are relative to.
        kind: ``parquet`` or ``arrow``.
        compression: as declared for the source.
        shape: the columns to read it by.
        unit: its name.
        number: its number within the source.
        constants: the partition columns' values.
    """

    def __init__(
        self,
        content: Content,
        root: Path,
        *,
        kind: str,
        compression: str | None,
        shape: Shape,
        unit: str,
        number: int,
        constants: Mapping[str, object],
    ) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._content = content
        self._root = root
        self._kind = kind
        self._codec = codec_of(unit, compression)
        self._fitter = Fitter(shape, unit, number, constants, self.detail)

    def __iter__(self) -> Iterator[Chunk]:
        unit = self._fitter.unit
        with _seekable(self._content, self._root, unit, self._codec) as file:
            with _named(unit):
                schema, batches = _batches(file, self._kind)
            self._fitter.check(schema)
            for part in _validated(batches(), unit):
                yield self._fitter.chunk(part)
                self.delivered = self._fitter.delivered
        self.digest = self._content.digest


class Fitter:
    """Brings typed batches to a shape; values that lose something on the way make their row a reject."""

    def __init__(
        self, shape: Shape, unit: str, number: int, constants: Mapping[str, object], detail: dict[str, str]
    ) -> None:
        self.unit = unit
        self.delivered = 0
        self._shape = shape
        self._number = number
        self._constants = constants
        self._detail = detail
        self._own = {c.name: c for c in shape.columns if c.name not in shape.partitions}
        self._types = {field.name: field.type for field in shape.schema}

    def check(self, schema: pa.Schema) -> None:
        """Refuse a schema with columns that the shape does not know; note the ones that are missing."""
        for name in schema.names:
            if name not in self._own:
                raise DataError(
                    f"the file has the column `{name}`, which the source does not know",
                    code="GM-D114",
                    where=self.unit,
                    hint=did_you_mean(name, list(self._own)) or "infer the source's shape again",
                )
        missing = [name for name in self._own if name not in schema.names]
        if missing:
            note_missing(self._detail, missing)

    def chunk(self, batch: pa.RecordBatch) -> Chunk:
        """Return a batch as a chunk."""
        columns: dict[str, pa.Array] = {}
        wrong: dict[int, tuple[str, str]] = {}
        for name in batch.schema.names:
            column = batch.column(name)
            columns[name], bad = fitted(column, self._types[name])
            for row in bad:
                wrong.setdefault(row, (name, f"the value does not fit {self._own[name].type} without loss"))
            if not self._own[name].nullable and column.null_count:
                for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                    wrong.setdefault(row, (name, "the value is missing and must not be"))
        records = np.arange(self.delivered + 1, self.delivered + batch.num_rows + 1)
        rejects = [self._reject(batch, row, *wrong[row]) for row in sorted(wrong)]
        if wrong:
            fits = np.ones(batch.num_rows, dtype=bool)
            fits[list(wrong)] = False
            columns = {name: array.filter(fits) for name, array in columns.items()}
            records = records[fits]
        rows = batch_of(self._shape, columns, self._number, len(records), self._constants, (records, None, None))
        self.delivered += batch.num_rows
        return Chunk(rows, rejects)

    def _reject(self, batch: pa.RecordBatch, row: int, column: str, message: str) -> Reject:
        texts = {name: _shown(batch.column(name)[row]) for name in batch.schema.names}
        reason = "null" if "missing" in message else "type"
        return Reject(
            record=self.delivered + row + 1,
            line=None,
            offset=None,
            raw=json.dumps(texts, ensure_ascii=False).encode("utf-8", "replace"),
            reason=reason,
            column=column,
            message=message,
        )


def _shown(value: pa.Scalar) -> str:
    try:
        return str(value)
    except (OverflowError, ValueError):  # a moment that Python cannot hold
        return f"{value.value} ({value.type})"


def fitted(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Return an array as another type, and the rows that would lose something.

    >>> fitted(pa.array([1, 2**40]), pa.int32())[1]
    [1]
    """
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if array.type == kind:
        return _in_calendar(array)
    if pa.types.is_timestamp(array.type) and pa.types.is_timestamp(kind) and array.type.tz is None:
        array = pc.cast(array, pa.timestamp(array.type.unit, tz="UTC"))
    try:
        return _in_calendar(pc.cast(array, kind, safe=True))
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, kind), [0]
    half = len(array) // 2
    left, left_bad = fitted(array[:half], kind)
    right, right_bad = fitted(array[half:], kind)
    return pa.concat_arrays([left, right]), left_bad + [half + row for row in right_bad]


def _in_calendar(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """Take out the dates and moments that are not in the years 1 to 9999, as SQL and Python know them."""
    if not (pa.types.is_timestamp(array.type) or pa.types.is_date(array.type)):
        return array, []
    bounds = pc.min_max(array)
    low, high = pc.year(bounds["min"]).as_py(), pc.year(bounds["max"]).as_py()
    if low is None or (low >= 1 and high <= 9999):
        return array, []
    years = pc.year(array)
    outside = pc.fill_null(pc.or_(pc.less(years, 1), pc.greater(years, 9999)), False)
    rows = np.flatnonzero(outside.to_numpy(zero_copy_only=False)).tolist()
    return pc.if_else(outside, pa.scalar(None, array.type), array), rows


def _notes(schema: pa.Schema) -> list[str]:
    moments = [field for field in schema if pa.types.is_timestamp(field.type)]
    naive = [field.name for field in moments if field.type.tz is None]
    fine = [field.name for field in moments if field.type.unit == "ns"]
    notes = [f"moments without a zone are UTC: {', '.join(naive)}"] if naive else []
    if fine:
        notes.append(f"moments are kept in microseconds, finer ones are set aside: {', '.join(fine)}")
    return notes
