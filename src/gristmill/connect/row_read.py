"""Query results of DB-API drivers that give Python values, SQLite's among them: types are those that all values fit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from gristmill.connect.arrow_read import PLAIN_NAME
from gristmill.connect.databases import Typed
from gristmill.connect.type_names import TEXT, type_text
from gristmill.connect.values import Column

FETCH_ROWS = 10_000
_NUMBERS = (int, float, Decimal)
_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "int64",
    float: "double",
    str: TEXT,
    bytes: "binary",
    memoryview: "binary",
    dt.date: "date",
    dt.datetime: "timestamp",
    dt.time: "time",
}


class RowSession:
    """A DB-API connection; ``quotes`` says that names in double quotes are safe in its SQL."""

    def __init__(self, connection: Any, *, quotes: bool) -> None:
        self._connection, self._quotes = connection, quotes

    def columns(self, sql: str) -> tuple[list[Column], list[str]]:
        """Read the whole result, and return the types that all values fit."""
        cursor = self._executed(sql)
        names = [item[0] for item in cursor.description]
        seen = [_Seen() for _ in names]
        rows = 0
        for block in _blocks(cursor):
            rows += len(block)
            for column, values in zip(seen, zip(*block, strict=True), strict=True):
                column.take(values)
        columns = [Column(name, column.kind()) for name, column in zip(names, seen, strict=True)]
        notes = [f"the types of {len(names)} columns are those that all {rows} rows fit"]
        mixed = [name for name, column in zip(names, seen, strict=True) if column.mixed]
        empty = [name for name, column in zip(names, seen, strict=True) if not column.types]
        notes += [f"values of several kinds, so text is assumed: {', '.join(mixed)}"] if mixed else []
        notes += [f"every value is null, so text is assumed: {', '.join(empty)}"] if empty else []
        return columns, notes

    def names(self, sql: str) -> list[str]:
        """Return the names of the columns."""
        return [item[0] for item in self._executed(f"SELECT * FROM (\n{sql}\n) q WHERE 1 = 0").description]

    def row(self, sql: str) -> tuple[object, ...]:
        """Return the only row."""
        found = self._executed(sql).fetchone()
        return tuple(value if value is None or type(value) in (int, float) else str(value) for value in found)

    def typed(self, sql: str, types: dict[str, pa.DataType]) -> Iterator[Typed]:
        """Return the rows; a value of another type makes its row one that does not fit."""
        cursor = self._executed(sql)
        names = [item[0] for item in cursor.description]
        for block in _blocks(cursor):
            yield _typed(names, block, types)

    def quoted(self, name: str) -> str:
        """Return a name, quoted only where it must be, unless the driver is known."""
        return name if not self._quotes and PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _executed(self, sql: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(sql)
        return cursor


class _Seen:
    """The Python types that a column's values have."""

    def __init__(self) -> None:
        self.types: set[type] = set()
        self.scale = self.whole = 0

    def take(self, values: Sequence[object]) -> None:
        types = set(map(type, values)) - {type(None)}
        self.types |= types
        if Decimal in types:
            for value in values:
                if isinstance(value, Decimal) and value.is_finite():
                    _, digits, exponent = value.as_tuple()
                    scale = max(-int(exponent), 0)
                    self.scale = max(self.scale, scale)
                    self.whole = max(self.whole, len(digits) + int(exponent))

    @property
    def mixed(self) -> bool:
        """Whether no one type holds all values."""
        return len(self.types) > 1 and not (self.types <= {int, float} or self.types <= {int, Decimal})

    def kind(self) -> str:
        if not self.types or self.mixed:
            return TEXT
        if Decimal in self.types:
            return f"decimal(38, {self.scale})" if max(self.whole, 19) + self.scale <= 38 else TEXT
        if self.types == {int, float}:
            return "double"
        return _KINDS.get(next(iter(self.types)), TEXT)


def _blocks(cursor: Any) -> Iterator[list[tuple[object, ...]]]:
    while block := cursor.fetchmany(FETCH_ROWS):
        yield [tuple(row) for row in block]


def _typed(names: list[str], block: list[tuple[object, ...]], types: dict[str, pa.DataType]) -> Typed:
    columns: dict[str, pa.Array] = {}
    wrong: dict[int, tuple[str, str]] = {}
    for name, values in zip(names, zip(*block, strict=True), strict=True):
        columns[name], bad = _array(values, types[name])
        for row in bad:
            wrong.setdefault(row, (name, f"the value is no {type_text(types[name])}"))
    return Typed(columns, len(block), wrong, lambda row: dict(zip(names, map(_shown, block[row]), strict=True)))


def _array(values: Sequence[object], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    if pa.types.is_string(kind):
        values = [_text(value) for value in values]
    try:
        return pa.array(values, kind), []
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError, UnicodeError, ValueError):
        cells = [_scalar(value, kind) for value in values]
    bad = [
        row for row, (cell, value) in enumerate(zip(cells, values, strict=True)) if cell is None and value is not None
    ]
    return pa.array([None if cell is None else cell.as_py() for cell in cells], kind), bad


def _scalar(value: object, kind: pa.DataType) -> pa.Scalar | None:
    try:
        return None if value is None else pa.scalar(value, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError, UnicodeError, ValueError):
        return None


def _text(value: object) -> object:
    return str(value) if isinstance(value, _NUMBERS) or (value is not None and type(value) not in _KINDS) else value


def _shown(value: object) -> object:
    return value if value is None or type(value) is int else value.hex() if isinstance(value, bytes) else str(value)
