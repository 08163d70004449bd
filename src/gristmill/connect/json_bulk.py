"""Many JSON records read at once, where nothing about them is out of the ordinary.

msgspec reads a value many times faster than the standard library, and as strictly but for one thing: of a name that
stands twice in an object it keeps the last. So the colons outside of strings are counted: there are as many as names.
Whatever is odd (a text that is no JSON, an unknown name, a value of another type) makes the functions here return
None, and the records are read one by one by ``json_read``, which knows the words for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gristmill.connect.csv_scan import escaped_positions
from gristmill.connect.json_types import MisfitError, Seen, converter, finish, from_texts

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Record = dict[str, object]

_DECODE = msgspec.json.Decoder().decode
_PLAIN: dict[str, set[type]] = {
    "boolean": {bool},
    "int64": {int},
    "double": {float},
    "string": {str},
    "date": {str},
    "timestamp": {str},
}
_TEXTS = ("string", "date", "timestamp")
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


def _colons(raws: Sequence[bytes]) -> NDArray[np.int64]:
    """Return how many colons stand outside of strings in each text; all of them are sound JSON."""
    ends = np.cumsum(np.fromiter(map(len, raws), dtype=np.int64, count=len(raws)) + 1)
    outside = _outside(b"\n".join(raws))
    return np.bincount(np.searchsorted(ends, outside, side="right"), minlength=len(raws))


def _outside(text: bytes) -> NDArray[np.int64]:
    """Return where colons stand outside of strings."""
    octets = np.frombuffer(text, dtype=np.uint8)
    quotes = np.flatnonzero(octets == ord('"'))
    if b"\\" in text:
        quotes = np.setdiff1d(quotes, escaped_positions(octets, ord("\\")), assume_unique=True)
    colons = np.flatnonzero(octets == ord(":"))
    outside: NDArray[np.int64] = colons[np.searchsorted(quotes, colons) % 2 == 0]
    return outside


def _names(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_names, value.values()))
    return sum(map(_names, value)) if isinstance(value, list) else 0


class Together:
    """Reads many records of a source at once.

    Args:
        kinds: the types of all columns, as text.
        required: columns that may not be null.
    """

    def __init__(self, kinds: Mapping[str, str], required: Collection[str]) -> None:
        self._kinds = dict(kinds)
        self._converters = {name: converter(kind) for name, kind in kinds.items()}
        self._required = set(required)
        flat = bool(kinds) and all(kind in _PLAIN for kind in kinds.values())
        self._decode_flat = _flat_decoder(self._kinds) if flat else None
        self._schema = _arrow_schema(self._kinds) if flat else None

    def columns(self, raws: Sequence[bytes]) -> dict[str, pa.Array] | None:
        """Return the columns of records by name, or None where one is odd or does not fit."""
        flat = self._flat(raws)
        if flat is not None:
            return self._made(flat)
        records = records_of(raws)
        if records is None or not all(self._kinds.keys() >= set(layout) for layout in set(map(tuple, records))):
            return None
        return self._made({name: [record.get(name) for record in records] for name in self._kinds})

    def lines(self, text: bytes, rows: int) -> dict[str, pa.Array] | None:
        """Return the columns of lines of plain objects by name; None where anything is odd, or not at all there.

        Arrow reads them without a Python object a cell. It is laxer than the rest here, so what it could see in
        another way is left out before: escapes, control characters, lines that are not one object each, names that
        stand twice (a record has as many colons as columns), cells that are not there.

        Args:
            text: the lines, each with its line end.
            rows: how many they are.
        """
        if self._schema is None or not _one_object_a_line(text, rows, len(self._kinds)):
            return None
        import pyarrow as pa
        from pyarrow import json

        read = json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        parse = json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="error")
        try:
            table = json.read_json(pa.BufferReader(text), read_options=read, parse_options=parse)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        if table.num_rows != rows or table.column_names != list(self._kinds):
            return None
        made = {}
        for name, kind in self._kinds.items():
            column = table.column(name).combine_chunks()
            if column.null_count or (kind == "double" and not _exact(column)):
                return None
            array, bad = (column, []) if kind not in _TEXTS else from_texts(column, kind)
            if bad:
                return None
            made[name] = array
        return made

    def _flat(self, raws: Sequence[bytes]) -> dict[str, list[object]] | None:
        """Return the values of records that are nothing but plain cells of known names, by column.

        A line break between two texts keeps a text from becoming two values, their number two from becoming one; as
        many colons as values mean that no name stands twice.
        """
        if self._decode_flat is None:
            return None
        joined = b"\n".join(raws)
        if joined.count(b"\n") != len(raws) - 1:
            return None
        try:
            records = self._decode_flat(joined)
        except (ValueError, RecursionError):
            return None
        if len(records) != len(raws):
            return None
        columns: dict[str, list[object]] = {}
        there = 0
        for index, name in enumerate(self._kinds):
            values = list(map(attrgetter(f"c{index}"), records))
            missing = values.count(msgspec.UNSET)
            there += len(values) - missing
            columns[name] = [None if value is msgspec.UNSET else value for value in values] if missing else values
        return columns if len(_outside(joined)) == there else None

    def _made(self, columns: dict[str, list[object]]) -> dict[str, pa.Array] | None:
        made = {}
        for name, kind in self._kinds.items():
            values = columns[name]
            types = set(map(type, values))
            if name in self._required and _NOTHING in types:
                return None
            types.discard(_NOTHING)
            if not types <= _PLAIN.get(kind, _NONE):
                convert = self._converters[name]
                try:
                    values = [None if value is None else convert(value) for value in values]
                except MisfitError:
                    return None
            array, bad = finish(values, kind)
            if bad:
                return None
            made[name] = array
        return made


def _flat_decoder(kinds: Mapping[str, str]) -> Callable[[bytes], list[msgspec.Struct]]:
    """Return what decodes lines of objects with these names, each a cell of its kind, a null, or not there."""
    fields = []
    for index, kind in enumerate(kinds.values()):
        cell = float | int if kind == "double" else next(iter(_PLAIN[kind]))
        fields.append((f"c{index}", cell | None | msgspec.UnsetType, msgspec.UNSET))
    names = {f"c{index}": name for index, name in enumerate(kinds)}
    record = msgspec.defstruct("Cells", fields, rename=names, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(record).decode_lines


def _arrow_schema(kinds: Mapping[str, str]) -> pa.Schema:
    """Return the types that Arrow reads cells as; dates and times are text at first."""
    import pyarrow as pa

    types = {"boolean": pa.bool_(), "int64": pa.int64(), "double": pa.float64()}
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])


def _one_object_a_line(text: bytes, rows: int, columns: int) -> bool:
    """Say whether each line is one flat object with as many names as there are columns, and nothing about it is odd."""
    if b"\\" in text:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    octets = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(octets < ord(" "))  # control characters: newlines, and nothing else
    if len(ends) != rows or ends[-1] != len(text) - 1 or (octets[ends] != ord("\n")).any() or ends[0] < 2:
        return False
    if (octets[ends - 1] != ord("}")).any() or (octets[ends[:-1] + 1] != ord("{")).any() or octets[0] != ord("{"):
        return False
    inside = np.bitwise_xor.accumulate(octets == ord('"'))
    if inside[ends].any():
        return False
    for sign, count in ((":", rows * columns), ("{", rows), ("}", rows)):
        if len(inside) and int(((octets == ord(sign)) & ~inside).sum()) != count:
            return False
    return True


def _exact(column: pa.Array) -> bool:
    """Say whether all are numbers that a whole number could be meant by, without loss, and no zero has a sign."""
    values = column.to_numpy(zero_copy_only=False)
    return bool(((np.abs(values) < 2.0**53) & ((values != 0) | ~np.signbit(values))).all())


def see_all(records: Sequence[Record], columns: dict[str, Seen]) -> None:
    """Take records into account in what the columns have held so far."""
    for layout in dict.fromkeys(name for names in dict.fromkeys(map(tuple, records)) for name in names):
        columns.setdefault(layout, Seen())
    for name, seen in columns.items():
        seen.see_column([record[name] for record in records if name in record])
