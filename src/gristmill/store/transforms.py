"""What partition transforms make of columns, by Iceberg's rules (table spec, appendices A and B).

Buckets are numbered by the 32-bit Murmur3 hash, x86 variant, seed 0 (Appleby, 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gristmill.model.partitions import Part, PartitionField

if TYPE_CHECKING:
    import pyarrow as pa

U32 = npt.NDArray[np.uint32]

_C1 = np.uint32(0xCC9E2D51)
_C2 = np.uint32(0x1B873593)
_N = np.uint32(0xE6546B64)
_WIDE = Context(prec=60)


def transformed(field: PartitionField, column: pa.Array) -> pa.Array:
    """Return the partition's value per row: int64, bool, string, binary or decimal; null where the column is."""
    import pyarrow as pa

    column = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
    kind = field.kind
    if kind == "identity":
        return _identity(column)
    if kind == "bucket":
        return _with_nulls(bucket_numbers(column, field.number), column)
    if kind == "truncate":
        return _truncated(column, field.number)
    return _with_nulls(_period(kind, column), column)


def part_of(value: object, type_: pa.DataType) -> Part:
    """Return one value of `transformed` as manifests keep it."""
    import pyarrow as pa

    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value is not None and pa.types.is_decimal(type_):
        return str(int(value.scaleb(type_.scale, context=_WIDE)))  # type: ignore[attr-defined]
    return value  # type: ignore[return-value]


def _identity(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_date(kind):
        return column.cast(pa.int32()).cast(pa.int64())
    if pa.types.is_temporal(kind) or pa.types.is_integer(kind):
        return column.cast(pa.int64())
    return column


def _ints(column: pa.Array) -> npt.NDArray[np.int64]:
    """Return whole numbers, dates (days) and times (their own unit) as they are, 0 for nulls."""
    return _identity(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def _with_nulls(values: npt.NDArray[np.int64], column: pa.Array) -> pa.Array:
    import pyarrow as pa

    mask = np.asarray(column.is_null()) if column.null_count else None
    return pa.array(values, pa.int64(), mask=mask)


def _period(kind: str, column: pa.Array) -> npt.NDArray[np.int64]:
    import pyarrow as pa

    values = _ints(column)
    if pa.types.is_date(column.type):
        days, hours = values, values * 24
    else:
        second = 1_000_000 if column.type.unit == "us" else 1_000_000_000
        days, hours = values // (86_400 * second), values // (3_600 * second)
    if kind in ("day", "hour"):
        return days if kind == "day" else hours
    unit = "Y" if kind == "year" else "M"
    return days.astype("datetime64[D]").astype(f"datetime64[{unit}]").astype(np.int64)


def _truncated(column: pa.Array, width: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_decimal(kind):
        found = [None if v is None else _truncated_decimal(v, kind.scale, width) for v in column.to_pylist()]
        return pa.array(found, pa.decimal128(38, kind.scale))
    if pa.types.is_integer(kind):
        values = _ints(column)
        return _with_nulls(values - np.mod(values, width), column)
    if pa.types.is_string(kind):
        return pc.utf8_slice_codeunits(column, 0, width)
    return pc.binary_slice(column, 0, width)


def _truncated_decimal(value: object, scale: int, width: int) -> object:
    unscaled = int(value.scaleb(scale, context=_WIDE))  # type: ignore[attr-defined]
    return type(value)(unscaled - unscaled % width).scaleb(-scale, context=_WIDE)  # type: ignore[call-arg,attr-defined]


def bucket_numbers(column: pa.Array, count: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each value; what it says of nulls means nothing.

    >>> import pyarrow as pa
    >>> bucket_numbers(pa.array([34]), 100_000).tolist(), bucket_numbers(pa.array(["iceberg"]), 100_000).tolist()
    ([39379], [89])
    """
    hashed = _hashes(column)
    return (hashed & np.uint32(0x7FFFFFFF)).astype(np.int64) % count


def _hashes(column: pa.Array) -> U32:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        raw = column.cast(pa.binary()) if pa.types.is_string(kind) else column
        return _murmur([b"" if value is None else value for value in raw.to_pylist()])
    if pa.types.is_fixed_size_binary(kind):
        return _hashes(column.cast(pa.binary()))
    if pa.types.is_decimal(kind):
        return _murmur([_minimal(value, kind.scale) for value in column.to_pylist()])
    values = _ints(column)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        values = values // 1000
    words = values.view(np.uint64)
    return _mixed(
        [words.astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)], np.full(len(values), 8, np.uint32)
    )


def _minimal(value: object, scale: int) -> bytes:
    """Return a decimal's unscaled value, big-endian, in as few bytes as hold it."""
    number = 0 if value is None else int(value.scaleb(scale, context=_WIDE))  # type: ignore[attr-defined]
    bits = (number + 1 if number < 0 else number).bit_length()
    return number.to_bytes(bits // 8 + 1, "big", signed=True)


def _murmur(values: Sequence[bytes]) -> U32:
    """Hash byte strings, those of the same number of words together."""
    found = np.zeros(len(values), np.uint32)
    lengths = np.fromiter((len(value) for value in values), np.int64, len(values))
    for size in set((lengths // 4).tolist()):
        at = np.flatnonzero(lengths // 4 == size).tolist()
        whole = size + 1
        padded = b"".join(values[i] + b"\0" * (whole * 4 - len(values[i])) for i in at)
        words = np.frombuffer(padded, "<u4").reshape(len(at), whole)
        tail = words[:, size] if (lengths[at] % 4).any() else None
        found[at] = _mixed([words[:, i] for i in range(size)], lengths[at].astype(np.uint32), tail)
    return found


def _mixed(words: Sequence[U32], lengths: U32, tail: U32 | None = None) -> U32:
    state = np.zeros(len(lengths), np.uint32)
    for word in words:
        state = _turned(state ^ _scrambled(word), 13) * np.uint32(5) + _N
    if tail is not None:
        state = state ^ _scrambled(tail)
    state = state ^ lengths
    state = (state ^ (state >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    state = (state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return state ^ (state >> np.uint32(16))


def _scrambled(word: U32) -> U32:
    return _turned(word * _C1, 15) * _C2


def _turned(word: U32, bits: int) -> U32:
    return (word << np.uint32(bits)) | (word >> np.uint32(32 - bits))
