"""PostgreSQL's results, read as text by COPY and typed here, so that a value that does not fit keeps its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gristmill.connect.cast import exact_cast
from gristmill.connect.databases import Typed
from gristmill.connect.type_names import TEXT, type_text
from gristmill.connect.values import Column

BLOCK_BYTES = 4 << 20
_TYPES = {
    16: "boolean",
    17: "binary",
    20: "int64",
    21: "int32",
    23: "int32",
    700: "float32",
    701: "double",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamp",
}
_NUMERIC = 1700
_TEXTS = {18, 19, 25, 1042, 1043, 2950, 114, 3802}


class PostgresSession:
    """A psycopg connection, in one read-only transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        if connection.info.transaction_status.name == "IDLE" and not connection.autocommit:
            connection.read_only = True
        self._execute("SET TIME ZONE 'UTC'")
        self._execute("SET datestyle TO ISO")
        self._execute("SET bytea_output TO hex")
        self._execute("SET extra_float_digits TO 1")

    def columns(self, sql: str) -> tuple[list[Column], list[str]]:
        """Return the columns as the server declares them."""
        columns, notes, odd = [], [], []
        for item in self._described(sql):
            kind = _TYPES.get(item.type_code)
            if item.type_code == _NUMERIC:
                kind = _decimal(item.precision, item.scale)
            if kind is None:
                kind = TEXT
                if item.type_code not in _TEXTS:
                    odd.append(item.name)
            columns.append(Column(item.name, kind))
            if item.type_code == 1114:
                notes.append(f"moments without a zone are UTC: {item.name}")
        if odd:
            notes.append(f"kept as the server's text (cast them in the query for a type): {', '.join(odd)}")
        return columns, notes

    def names(self, sql: str) -> list[str]:
        """Return the names of the columns."""
        return [item.name for item in self._described(sql)]

    def row(self, sql: str) -> tuple[object, ...]:
        """Return the only row, every value as the server's text."""
        (cells,) = self._lines(sql)
        return tuple(column[0].as_py() for column in cells.columns)

    def typed(self, sql: str, types: dict[str, pa.DataType]) -> Iterator[Typed]:
        """Return the rows; text that is not of its column's type makes its row one that does not fit."""
        names = self.names(sql)
        for cells in self._lines(sql):
            yield _typed(names, cells, types)

    def quoted(self, name: str) -> str:
        """Return a name in double quotes."""
        return '"' + name.replace('"', '""') + '"'

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _execute(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def _described(self, sql: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM (\n{sql}\n) q LIMIT 0")
            return list(cursor.description)

    def _lines(self, sql: str) -> Iterator[pa.RecordBatch]:
        width = len(self._described(sql))
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY (\n{sql}\n) TO STDOUT (FORMAT csv)") as copy,
        ):
            parts: list[bytes] = []
            held = 0
            for line in copy:
                parts.append(bytes(line))
                held += len(line)
                if held >= BLOCK_BYTES:
                    yield _parsed(parts, width)
                    parts, held = [], 0
            if parts:
                yield _parsed(parts, width)


def _decimal(precision: int | None, scale: int | None) -> str | None:
    if precision is None or scale is None or not 0 <= scale <= precision <= 38:
        return None
    return f"decimal({precision}, {scale})"


def _parsed(parts: list[bytes], width: int) -> pa.RecordBatch:
    names = [str(i) for i in range(width)]
    data = b"".join(parts)
    table = pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    ).combine_chunks()
    (batch,) = table.to_batches()
    return batch


def _typed(names: list[str], cells: pa.RecordBatch, types: dict[str, pa.DataType]) -> Typed:
    columns: dict[str, pa.Array] = {}
    wrong: dict[int, tuple[str, str]] = {}
    for name, column in zip(names, cells.columns, strict=True):
        columns[name], bad = _cast(column, types[name])
        for row in np.flatnonzero(bad).tolist():
            wrong.setdefault(row, (name, f"{column[row].as_py()!r} is no {type_text(types[name])}"))
    return Typed(
        columns,
        cells.num_rows,
        wrong,
        lambda row: {name: column[row].as_py() for name, column in zip(names, cells.columns, strict=True)},
    )


def _cast(cells: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    if pa.types.is_boolean(kind):
        cells = pc.if_else(pc.equal(cells, "t"), "true", pc.if_else(pc.equal(cells, "f"), "false", cells))
    elif pa.types.is_timestamp(kind):
        cells = pc.replace_substring_regex(cells, r"\+00$", "Z")
    elif pa.types.is_binary(kind):
        values = [None if cell is None else bytes.fromhex(cell.removeprefix("\\x")) for cell in cells.to_pylist()]
        return pa.array(values, kind), np.zeros(len(cells), dtype=bool)
    return exact_cast(cells, kind)
