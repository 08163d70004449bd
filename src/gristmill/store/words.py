"""Values as 64-bit words, so that rows are found by comparing numbers.

Equal values of one type have equal words: NaN is one value, and so are 0.0 and -0.0. A single column of numbers,
dates or times is its own word, so that words are equal only where the values are; everything else is mixed with the
finaliser of splitmix64 (Steele, Lea and Flood, 2014) from a seed that nobody outside this process knows, so that
words of different values are equal by an accident that no data can bring about. Whoever needs certainty compares
the values.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import blake3
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Words = npt.NDArray[np.uint64]

_SEEDS = tuple(np.uint64(int.from_bytes(secrets.token_bytes(8), "big")) for _ in range(3))
_SIGN = np.uint64(1 << 63)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(0xBF58476D1CE4E5B9)
_TWO = np.uint64(0x94D049BB133111EB)
_NULL = _SEEDS[2]
_LONG = 256
"""Bytes of a text that are mixed word by word; what is longer is hashed as a whole."""


def exact(arrays: Sequence[pa.Array]) -> bool:
    """Whether the words of rows without nulls in these columns are equal only where the rows are."""
    import pyarrow as pa

    if len(arrays) != 1:
        return False
    kind = arrays[0].type
    if pa.types.is_decimal128(kind):
        return bool(kind.precision <= 18)
    return _fixed_width(kind)


def words(arrays: Sequence[pa.Array], *, which: int = 0) -> Words:
    """Return one word per row of these columns, nulls counted as a value of their own.

    Args:
        arrays: the columns, of one length; at least one.
        which: 0 or 1; the two are independent wherever they are mixed.
    """
    if len(arrays) == 1 and exact(arrays):
        return _with_nulls(_plain(arrays[0])[0], arrays[0])
    found = np.full(len(arrays[0]), _SEEDS[which], np.uint64)
    for array in arrays:
        for part in _parts(_storage(array), which):
            found = _mix((found ^ _with_nulls(part, array)) + _STEP)
    return found


def missing(arrays: Sequence[pa.Array]) -> npt.NDArray[np.bool_] | None:
    """Return which rows have a null in one of these columns; None if none has."""
    found: npt.NDArray[np.bool_] | None = None
    for array in arrays:
        if array.null_count:
            nulls = np.asarray(array.is_null())
            found = nulls if found is None else found | nulls
    return found


def _with_nulls(part: Words, array: pa.Array) -> Words:
    if not array.null_count:
        return part
    return np.where(np.asarray(array.is_null()), _NULL, part)


def _storage(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _fixed_width(kind: pa.DataType) -> bool:
    import pyarrow as pa

    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(number or pa.types.is_temporal(kind))


def _parts(array: pa.Array, which: int) -> list[Words]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_null(kind):
        return [np.zeros(len(array), np.uint64)]
    if _fixed_width(kind) or pa.types.is_decimal128(kind):
        return _plain(array)
    if pa.types.is_fixed_size_binary(kind):
        array = array.cast(pa.binary())
    elif not (pa.types.is_string(kind) or pa.types.is_binary(kind)):
        large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
        if not large:
            return [_nested(array)]
        array = array.cast(pa.large_binary())
    return [_texts(array, which)]


def _plain(array: pa.Array) -> list[Words]:
    """Return numbers, dates and times as the words they are; the order of integers is kept."""
    import pyarrow as pa

    array = _storage(array)
    kind = array.type
    if pa.types.is_boolean(kind):
        array, kind = array.cast(pa.uint8()), pa.uint8()
    width = kind.bit_width // 8
    start, count = array.offset, len(array)
    data = array.buffers()[1]
    if data is None or not count:
        return [np.zeros(count, np.uint64)]
    if pa.types.is_decimal128(kind):
        both = np.frombuffer(data, np.uint64)[2 * start : 2 * (start + count)].reshape(-1, 2)
        low = both[:, 0] ^ _SIGN if kind.precision <= 18 else both[:, 0].copy()
        return [low] if kind.precision <= 18 else [low, both[:, 1].copy()]
    if pa.types.is_floating(kind):
        values = np.frombuffer(data, f"f{width}")[start : start + count].astype(np.float64) + 0.0
        values[np.isnan(values)] = np.nan
        return [values.view(np.uint64)]
    sign = "u" if pa.types.is_unsigned_integer(kind) else "i"
    whole = np.frombuffer(data, f"{sign}{width}")[start : start + count].astype(np.int64)
    return [whole.view(np.uint64) ^ _SIGN]


def _texts(array: pa.Array, which: int) -> Words:
    """Return a word per text, from its bytes; nulls are arbitrary."""
    import pyarrow as pa

    large = pa.types.is_large_binary(array.type)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64 if large else np.int32)[array.offset : array.offset + len(array) + 1]
    starts, lengths = ends[:-1].astype(np.int64), np.diff(ends).astype(np.int64)
    first = int(starts[0]) if len(starts) else 0
    last = int(ends[-1]) if len(starts) else 0
    raw = np.zeros(last - first + 8, np.uint8)
    if data is not None and last > first:
        raw[:-8] = np.frombuffer(data, np.uint8)[first:last]
    view = np.ndarray((last - first + 1,), "<u8", buffer=raw, strides=(1,))
    starts = starts - first
    found = _mix(lengths.view(np.uint64) ^ _SEEDS[which])
    todo, at = np.flatnonzero(lengths), 0
    while todo.size and at < _LONG:
        left = lengths[todo] - at
        word = view[starts[todo] + at]
        short = left < 8
        word[short] &= (np.uint64(1) << (left[short] * 8).astype(np.uint64)) - np.uint64(1)
        found[todo] = _mix((found[todo] ^ word) + _STEP)
        todo, at = todo[left > 8], at + 8
    for row in todo:
        rest = raw[starts[row] + at : starts[row] + lengths[row]].tobytes()
        found[row] ^= np.uint64(int.from_bytes(blake3.blake3(rest).digest()[:8], "little"))
    return found


def _nested(array: pa.Array) -> Words:
    """Return a word per list, struct or map, from its canonical text; the order of a map's entries does not count."""
    texts = [_text(value, array.type) for value in array.to_pylist()]
    found = (int.from_bytes(blake3.blake3(text.encode()).digest()[:8], "little") for text in texts)
    return np.fromiter(found, np.uint64, len(texts))


def _text(value: object, kind: pa.DataType) -> str:
    import pyarrow as pa

    if value is None:
        return "~"
    if pa.types.is_map(kind):
        pairs = [f"{_text(k, kind.key_type)}{_text(v, kind.item_type)}" for k, v in value]  # type: ignore[attr-defined]
        text = "".join(sorted(pairs))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        text = "".join(_text(item, kind.value_type) for item in value)  # type: ignore[attr-defined]
    elif pa.types.is_struct(kind):
        text = "".join(_text(value.get(field.name), field.type) for field in kind)  # type: ignore[attr-defined]
    elif isinstance(value, float):
        text = "nan" if value != value else repr(value + 0.0)
    else:
        text = str(value)
    return f"{len(text)}:{text}"


def _mix(value: Words) -> Words:
    value = value ^ (value >> np.uint64(30))
    value *= _ONE
    value ^= value >> np.uint64(27)
    value *= _TWO
    value ^= value >> np.uint64(31)
    return value
