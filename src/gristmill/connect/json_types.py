"""Types of JSON values: found over the whole content, and exact conversion to them.

Objects become structs and arrays lists. What has no one type becomes ``json``, a text column that holds JSON:
values of several kinds under one name, integers beyond 64 bits, objects without names or with more than 64 of
them, arrays that are always empty, anything nested deeper than 8. Text of which all cells are dates or
moments becomes a date or timestamp; numbers written as text stay text.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from gristmill.connect.cast import exact_cast
from gristmill.connect.csv_infer import all_fit
from gristmill.connect.type_names import JSON, TEXT, parse_type, type_text

NAMES_LIMIT = 64
DEPTH_LIMIT = 8
_INT64 = 2**63
_EXACT = 2**53


class Seen:
    """What one place in a JSON document has held so far."""

    def __init__(self, depth: int = 0) -> None:
        self.kinds: set[str] = set()
        self.largest = 0
        self.fields: dict[str, Seen] = {}
        self.element: Seen | None = None
        self.moments: dict[str, bool] = {"date": True, "timestamp": True}
        self._depth = depth

    def see(self, value: object) -> None:
        """Take one value into account."""
        if value is None:
            return
        kind = _KINDS[type(value)]
        self.kinds.add(kind)
        if isinstance(value, int) and kind == "int64":
            self.largest = max(self.largest, -value - 1 if value < 0 else value)
        elif isinstance(value, dict) and self._depth < DEPTH_LIMIT:
            for name, inner in value.items():
                self._field(name).see(inner)
        elif isinstance(value, list) and self._depth < DEPTH_LIMIT:
            self.element = self.element or Seen(self._depth + 1)
            for inner in value:
                self.element.see(inner)

    def see_column(self, values: list[object]) -> None:
        """Take many values into account at once, their texts as ``see_texts`` does."""
        types = set(map(type, values)) - {type(None)}
        if types & {dict, list}:
            for value in values:
                self.see(value)
        else:
            self.kinds |= {_KINDS[found] for found in types}
            if int in types:
                whole = [value for value in values if type(value) is int]
                self.largest = max(self.largest, max(whole), -min(whole) - 1)
        if str in types:
            self.see_texts([value for value in values if type(value) is str])

    def see_texts(self, texts: list[str]) -> None:
        """Take the texts of a block into account, to tell dates and moments."""
        if texts:
            cells = pa.array(texts, pa.string())
            self.moments = {kind: still and all_fit(cells, kind) for kind, still in self.moments.items()}

    def _field(self, name: str) -> Seen:
        found = self.fields.get(name)
        if found is None:
            found = self.fields[name] = Seen(self._depth + 1)
        return found

    def kind(self) -> str | None:
        """Return the type in words; None where there was no value."""
        if not self.kinds:
            return None
        if self.kinds == {"int64", "double"}:
            return "double" if self.largest <= _EXACT else JSON
        if len(self.kinds) > 1 or self.largest >= _INT64 or self._depth >= DEPTH_LIMIT:
            return JSON
        (kind,) = self.kinds
        if kind == "object":
            return self._struct()
        if kind == "array":
            inner = self.element.kind() if self.element else None
            return JSON if inner in (None, JSON) else type_text(pa.list_(parse_type(inner)))
        if kind == TEXT and self._depth == 0:
            return next((moment for moment, all_are in self.moments.items() if all_are), TEXT)
        return kind

    def _struct(self) -> str:
        kinds = {name: seen.kind() for name, seen in self.fields.items()}
        if not all(name and "\0" not in name for name in kinds):
            return JSON
        if not kinds or len(kinds) > NAMES_LIMIT or JSON in kinds.values():
            return JSON
        return type_text(pa.struct([(name, parse_type(kind or TEXT)) for name, kind in kinds.items()]))


_KINDS = {bool: "boolean", int: "int64", float: "double", str: TEXT, dict: "object", list: "array"}


class MisfitError(ValueError):
    """A value is not of its column's type."""


def converter(kind: str) -> Callable[[object], object]:
    """Return the function that checks and converts one value to a type; text types of time stay text here.

    >>> converter("double")(3)
    3.0
    """
    if kind == JSON:
        return as_json
    return _converter(parse_type(kind))


def as_json(value: object) -> str:
    """Return a value as JSON text, names in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def finish(values: list[object], kind: str) -> tuple[pa.Array, list[int]]:
    """Return a column of converted values, and the positions of those that do not fit after all."""
    arrow = parse_type(kind)
    try:
        if _from_text(arrow) and not pa.types.is_string(arrow):
            return from_texts(pa.array(values, pa.string()), kind)
        return pa.array(values, arrow), []
    except (pa.ArrowInvalid, UnicodeEncodeError, OverflowError, pa.ArrowTypeError):
        if len(values) == 1:
            return pa.nulls(1, arrow), [0]
    half = len(values) // 2
    left, left_bad = finish(values[:half], kind)
    right, right_bad = finish(values[half:], kind)
    return pa.concat_arrays([left, right]), left_bad + [half + i for i in right_bad]


def from_texts(texts: pa.Array, kind: str) -> tuple[pa.Array, list[int]]:
    """Return texts as a column of a type that JSON writes as text, and the positions of those that are none."""
    array, bad = exact_cast(texts, parse_type(kind))
    return array, np.flatnonzero(bad).tolist()


def _from_text(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_string(kind) or t.is_temporal(kind) or t.is_decimal(kind))


def _converter(kind: pa.DataType) -> Callable[[object], object]:
    t = pa.types
    if t.is_struct(kind):
        return _struct_converter(kind)
    if t.is_list(kind):
        inner = _converter(kind.value_type)
        return lambda value: [None if v is None else inner(v) for v in _list(value)]
    if t.is_boolean(kind):
        return lambda value: _of(value, bool)
    if t.is_integer(kind):
        return lambda value: _of(value, int)
    if t.is_floating(kind):
        return _double
    if t.is_decimal(kind):
        return lambda value: str(value) if type(value) in (int, float) else _of(value, str)
    return lambda value: _of(value, str)


def _struct_converter(kind: pa.DataType) -> Callable[[object], object]:
    fields = {kind.field(i).name: _converter(kind.field(i).type) for i in range(kind.num_fields)}

    def convert(value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise MisfitError
        for name in value:
            if name not in fields:
                raise MisfitError
        return {name: None if inner is None else fields[name](inner) for name, inner in value.items()}

    return convert


def _of(value: object, kind: type) -> object:
    if type(value) is not kind:
        raise MisfitError
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise MisfitError
    return value


def _double(value: object) -> float:
    if type(value) is int and abs(value) <= _EXACT:
        return float(value)
    if type(value) is not float:
        raise MisfitError
    return value
