"""Many JSON records read at once, where nothing about them is out of the ordinary.

msgspec reads a value many times faster than the standard library, and as strictly but for one thing: of a name that
stands twice in an object it keeps the last. So the colons outside of strings are counted: there are as many as names.
Whatever is odd (a text that is no JSON, an unknown name, a value of another type) makes the functions here return
None, and the records are read one by one by ``json_read``, which knows the words for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gristmill.connect.csv_scan import escaped_positions
from gristmill.connect.json_types import MisfitError, Seen, finish

if TYPE_CHECKING:
    import pyarrow as pa

Record = dict[str, object]
Converters = Mapping[str, Callable[[object], object]]

_DECODE = msgspec.json.Decoder().decode
_PLAIN: dict[str, set[type]] = {
    "boolean": {bool},
    "int64": {int},
    "double": {float},
    "string": {str},
    "date": {str},
    "timestamp": {str},
}
_NONE: set[type] = set()
_NOTHING = type(None)


def records_of(raws: Sequence[bytes]) -> list[Record] | None:
    """Return the objects that these texts hold, or None where one is not strictly an object.

    >>> records_of([b'{"a": 1}', b'{"a": 2.5}'])
    [{'a': 1}, {'a': 2.5}]
    >>> records_of([b'{"a": 1, "a": 2}']) is records_of([b'[1]']) is None
    True
    """
    try:
        values = [_DECODE(raw) for raw in raws]
    except (ValueError, RecursionError):  # msgspec's and UTF-8's errors are ValueErrors
        return None
    if set(map(type, values)) - {dict}:
        return None
    counted = _colons(raws)
    named = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    for index in np.flatnonzero(counted != named).tolist():
        if _names(values[index]) != counted[index]:
            return None
    if not all(name and "\0" not in name for layout in set(map(tuple, values)) for name in layout):
        return None
    return values


def _colons(raws: Sequence[bytes]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many colons stand outside of strings in each text; all of them are sound JSON."""
    ends = np.cumsum(np.fromiter(map(len, raws), dtype=np.int64, count=len(raws)) + 1)
    octets = np.frombuffer(b"\n".join(raws), dtype=np.uint8)
    quotes = np.flatnonzero(octets == ord('"'))
    escaped = escaped_positions(octets, ord("\\"))
    if len(escaped):
        quotes = np.setdiff1d(quotes, escaped, assume_unique=True)
    colons = np.flatnonzero(octets == ord(":"))
    outside = colons[np.searchsorted(quotes, colons) % 2 == 0]
    return np.bincount(np.searchsorted(ends, outside, side="right"), minlength=len(raws))


def _names(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_names, value.values()))
    return sum(map(_names, value)) if isinstance(value, list) else 0


def columns_of(
    records: Sequence[Record], kinds: Mapping[str, str], converters: Converters, required: set[str]
) -> dict[str, pa.Array] | None:
    """Return the columns of records by name, or None where a record does not fit them.

    Args:
        records: the objects.
        kinds: the types of all columns, as text.
        converters: what checks and converts one value, for each column.
        required: columns that may not be null.
    """
    if not all(kinds.keys() >= layout for layout in map(set, set(map(tuple, records)))):
        return None
    columns = {}
    for name, kind in kinds.items():
        values = [record.get(name) for record in records]
        types = set(map(type, values))
        if name in required and _NOTHING in types:
            return None
        types.discard(_NOTHING)
        if not types <= _PLAIN.get(kind, _NONE):
            convert = converters[name]
            try:
                values = [None if value is None else convert(value) for value in values]
            except MisfitError:
                return None
        array, bad = finish(values, kind)
        if bad:
            return None
        columns[name] = array
    return columns


def see_all(records: Sequence[Record], columns: dict[str, Seen]) -> None:
    """Take records into account in what the columns have held so far."""
    for layout in dict.fromkeys(name for names in dict.fromkeys(map(tuple, records)) for name in names):
        columns.setdefault(layout, Seen())
    for name, seen in columns.items():
        seen.see_column([record[name] for record in records if name in record])
