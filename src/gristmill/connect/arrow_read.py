"""Query results that come as Arrow: DuckDB and every ADBC driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.connect.columnar import BATCH_ROWS, _notes, _shown, fitted, normal_field
from gristmill.connect.databases import Typed
from gristmill.connect.type_names import type_text
from gristmill.connect.values import Column

if TYPE_CHECKING:
    import duckdb

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ArrowSession:
    """What DuckDB and ADBC have in common; each says how a query becomes a stream."""

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """Return a query's result as a stream."""
        raise AssertionError(sql)

    def columns(self, sql: str) -> tuple[list[Column], list[str]]:
        """Return the columns that the result declares."""
        schema = self._schema(sql)
        fields = [normal_field(field) for field in schema]
        return [Column(f.name, type_text(f.type)) for f in fields], _notes(schema)

    def names(self, sql: str) -> list[str]:
        """Return the names of the columns."""
        return list(self._schema(sql).names)

    def _schema(self, sql: str) -> pa.Schema:
        reader = self.reader(f"SELECT * FROM (\n{sql}\n) q WHERE 1 = 0")
        schema = reader.schema
        for _ in reader:
            pass
        return schema

    def row(self, sql: str) -> tuple[object, ...]:
        """Return the only row; what is no number is text."""
        table = self.reader(sql).read_all()
        return tuple(_plain(table.column(i)[0]) for i in range(table.num_columns))

    def typed(self, sql: str, types: dict[str, pa.DataType]) -> Iterator[Typed]:
        """Return the rows, each column brought to its type."""
        for whole in self.reader(sql):
            for start in range(0, whole.num_rows, BATCH_ROWS):
                yield _typed(whole.slice(start, BATCH_ROWS), types)


def _typed(batch: pa.RecordBatch, types: dict[str, pa.DataType]) -> Typed:
    columns: dict[str, pa.Array] = {}
    wrong: dict[int, tuple[str, str]] = {}
    for name in batch.schema.names:
        columns[name], bad = fitted(batch.column(name), types[name])
        for row in bad:
            wrong.setdefault(row, (name, f"the value does not fit {type_text(types[name])} without loss"))
    return Typed(columns, batch.num_rows, wrong, lambda row: {n: _cell(batch.column(n)[row]) for n in columns})


def _cell(value: pa.Scalar) -> object:
    return value.as_py() if pa.types.is_integer(value.type) else _shown(value)


def _plain(value: pa.Scalar) -> object:
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return value.as_py()
    if pa.types.is_decimal(kind):
        number = value.as_py()
        return int(number) if number == int(number) else str(number)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return str(pc.cast(value, pa.timestamp(kind.unit, tz="UTC")).cast(pa.string())).replace("Z", "+00:00")
    return str(pc.cast(value, pa.string()))


class DuckSession(ArrowSession):
    """A DuckDB connection."""

    def __init__(self, connection: object) -> None:
        self._connection: duckdb.DuckDBPyConnection = connection

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """Return a query's result as a stream."""
        return self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)

    def quoted(self, name: str) -> str:
        """Return a name in double quotes."""
        return '"' + name.replace('"', '""') + '"'

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


class AdbcSession(ArrowSession):
    """A connection of any ADBC driver."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def reader(self, sql: str) -> pa.RecordBatchReader:
        """Return a query's result as a stream."""
        self._cursor.execute(sql)
        return self._cursor.fetch_record_batch()

    def quoted(self, name: str) -> str:
        """Return a name, quoted only where it must be: not every database quotes alike."""
        return name if PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'

    def close(self) -> None:
        """Let the connection go."""
        self._cursor.close()
        self._connection.close()
