"""Write rows to a table of a database in one transaction; the same content again changes nothing.

A small table beside the target, ``gristmill_exports``, says for each table that was exported what it holds. Only
tables that are named there are ever written over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gristmill.connect.databases import SCHEMES, file_of, open_postgres, redacted, resolved, speaking
from gristmill.connect.file_export import Exported
from gristmill.connect.sql_values import cells, csv_bytes, sql_type
from gristmill.errors import Conflict, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

MARKER = "gristmill_exports"
_PART = re.compile(r"[^./#\0]+")


class Target(NamedTuple):
    """A table in a database."""

    connection: str
    schema: str | None
    table: str

    def __str__(self) -> str:
        return f"{redacted(self.connection)}#{'.'.join(part for part in (self.schema, self.table) if part)}"


def is_database(target: str) -> bool:
    """Whether an export's target is a table of a database, and not a file."""
    return target.startswith("env:") or target.partition("://")[0] in SCHEMES


def target_of(text: str) -> Target:
    """Return the table that a text names.

    Raises:
        UsageError: it names no table.

    >>> target_of("postgresql://ana@db/shop/marts.daily")
    Target(connection='postgresql://ana@db/shop', schema='marts', table='daily')
    >>> str(target_of("sqlite:///shop.db#daily"))
    'sqlite:///shop.db#daily'
    """
    connection, sign, name = text.partition("#")
    if not sign and text.startswith(("postgres://", "postgresql://")):
        address, question, options = text.partition("?")
        head, _, name = address.rpartition("/")
        connection = head + question + options if head.count("/") >= 3 else ""
    parts = name.split(".")
    if not connection or len(parts) > 2 or not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(
            f"`{redacted(text)}` does not name a table of a database",
            hint="postgresql://HOST/DATABASE/SCHEMA.TABLE, sqlite:///FILE#TABLE, duckdb:///FILE#TABLE",
        )
    return Target(connection, parts[0] if len(parts) == 2 else None, parts[-1])


def export_table_to_database(
    rows: pa.RecordBatchReader, target: str, *, content: str, source: str = "", root: Path | None = None
) -> Exported:
    """Make a database's table hold just these rows, in one transaction.

    Args:
        rows: the rows; read once, batch by batch.
        target: ``postgresql://HOST/DATABASE/SCHEMA.TABLE``, ``sqlite:///FILE#TABLE``, ``duckdb:///FILE#TABLE``, or
            ``env:NAME#TABLE``.
        content: what identifies the rows; where the target holds the same already, nothing is written.
        source: where the rows come from, for whoever looks into the target.
        root: the folder that files are relative to.

    Raises:
        Conflict: there is such a table, which no export has made.
        DataError: a value cannot be held; the message names row and column.
        EngineError: the database cannot be reached, or refuses.
    """
    place = target_of(target)
    url = resolved(place.connection)
    with speaking(place.connection, "connecting"):
        writer = _writer(url, place, root or Path.cwd())
    try:
        with speaking(place.connection, "the export"):
            return _exported(writer, rows, place, content, source)
    finally:
        writer.close()


def _writer(url: str, place: Target, root: Path) -> _Writer:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        import sqlite3

        return _Sqlite(sqlite3.connect(file_of(url, root), isolation_level=None, timeout=30), place)
    if scheme == "duckdb":
        import duckdb

        return _Duck(duckdb.connect(file_of(url, root)), place)
    return _Postgres(open_postgres(url), place)


def _exported(writer: _Writer, rows: pa.RecordBatchReader, place: Target, content: str, source: str) -> Exported:
    columns = writer.columns(rows.schema)
    writer.begin()
    try:
        before = writer.marked()
        if before is None and writer.there():
            raise Conflict(
                f"there is a table {place.table} in the database, which gristmill has not made",
                code="GM-E043",
                where=str(place),
                hint="name another table, or drop that one first",
            )
        if before is not None and before[:2] == (content, columns) and writer.there() and writer.count() == before[2]:
            writer.run("ROLLBACK")
            return Exported(target=str(place), rows=before[2], size_bytes=0, changed=False)
        if before is not None and before[1] == columns and writer.there():
            writer.run(f"DELETE FROM {writer.name}")
        else:
            writer.run(f"DROP TABLE IF EXISTS {writer.name}")
            writer.run(f"CREATE TABLE {writer.name} ({columns})")
        count = size = 0
        for batch in rows:
            size += writer.insert(batch, count)
            count += batch.num_rows
        writer.mark(content, columns, count, source)
        writer.run("COMMIT")
    except BaseException:
        writer.abandon()
        raise
    return Exported(target=str(place), rows=count, size_bytes=size)


class _Writer:
    """One database's way of doing what an export needs; the SQL of all three is alike."""

    dialect = ""
    mark_sign = "?"

    def __init__(self, connection: Any, place: Target) -> None:
        self.connection, self.place = connection, place
        self.name, self.marker = self._qualified(place.table), self._qualified(MARKER)

    def _qualified(self, table: str) -> str:
        return ".".join(_quoted(part) for part in (self.place.schema, table) if part)

    def columns(self, schema: pa.Schema) -> str:
        """Return the columns of a table for these rows, as SQL."""
        return ", ".join(
            f"{_quoted(field.name)} {sql_type(field, self.dialect)}{'' if field.nullable else ' NOT NULL'}"
            for field in schema
        )

    def run(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        cursor = self.connection.execute(sql, values) if values else self.connection.execute(sql)
        return list(cursor.fetchall()) if sql.startswith("SELECT") else []

    def begin(self) -> None:
        """Begin the transaction that only one export at a time is in."""
        self.run("BEGIN")
        self._make_places()

    def _make_places(self) -> None:
        if self.place.schema:
            self.run(f"CREATE SCHEMA IF NOT EXISTS {_quoted(self.place.schema)}")
        self.run(
            f"CREATE TABLE IF NOT EXISTS {self.marker} (table_name TEXT PRIMARY KEY, content TEXT, columns TEXT,"
            " row_count BIGINT, source TEXT)"
        )

    def marked(self) -> tuple[str, str, int] | None:
        """Return content, columns and count of what was exported to the target before."""
        sql = f"SELECT content, columns, row_count FROM {self.marker} WHERE table_name = {self.mark_sign}"
        found = self.run(sql, (self.place.table,))
        return None if not found else (str(found[0][0]), str(found[0][1]), int(found[0][2]))

    def mark(self, content: str, columns: str, count: int, source: str) -> None:
        """Note what the target holds now."""
        self.run(f"DELETE FROM {self.marker} WHERE table_name = {self.mark_sign}", (self.place.table,))
        signs = ", ".join([self.mark_sign] * 5)
        self.run(f"INSERT INTO {self.marker} VALUES ({signs})", (self.place.table, content, columns, count, source))

    def count(self) -> int:
        """Return how many rows the target has."""
        return int(self.run(f"SELECT count(*) FROM {self.name}")[0][0])

    def there(self) -> bool:
        """Whether there is a table of the target's name."""
        raise AssertionError

    def insert(self, batch: pa.RecordBatch, start: int) -> int:
        """Write rows, of which the first is number ``start`` from 0, and return their size."""
        raise AssertionError

    def abandon(self) -> None:
        """Undo what was begun, whatever state it is in."""
        try:
            self.run("ROLLBACK")
        except Exception:  # the connection is gone, and the transaction with it
            return

    def close(self) -> None:
        """Let the connection go."""
        self.connection.close()


class _Sqlite(_Writer):
    dialect = "sqlite"

    def begin(self) -> None:
        if self.place.schema:
            raise UsageError("SQLite has no schemas", where=str(self.place), hint=f"#{self.place.table}")
        self.run("BEGIN IMMEDIATE")
        self._make_places()

    def there(self) -> bool:
        return bool(self.run("SELECT 1 FROM sqlite_master WHERE name = ?", (self.place.table,)))

    def insert(self, batch: pa.RecordBatch, start: int) -> int:
        signs = ", ".join("?" * batch.num_columns)
        self.connection.executemany(f"INSERT INTO {self.name} VALUES ({signs})", _rows(cells(batch, "sqlite", start)))
        return int(batch.nbytes)


class _Duck(_Writer):
    dialect = "duckdb"

    def there(self) -> bool:
        sql = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND schema_name = coalesce(?, current_schema())"
        views = sql.replace("duckdb_tables", "duckdb_views").replace("table_name", "view_name")
        values = (self.place.table, self.place.schema)
        return bool(self.run(sql, values) or self.run(views, values))

    def insert(self, batch: pa.RecordBatch, start: int) -> int:
        import pyarrow as pa

        self.connection.register("gristmill_batch", pa.Table.from_batches([batch]))
        self.run(f"INSERT INTO {self.name} FROM gristmill_batch")
        self.connection.unregister("gristmill_batch")
        return int(batch.nbytes)


class _Postgres(_Writer):
    dialect = "postgresql"
    mark_sign = "%s"

    def __init__(self, connection: Any, place: Target) -> None:
        super().__init__(connection, place)
        connection.autocommit = True  # the statements below begin and end the transaction

    def begin(self) -> None:
        self.run("BEGIN")
        self.run("SELECT pg_advisory_xact_lock(hashtext('gristmill_exports'))")
        self._make_places()

    def there(self) -> bool:
        return self.run("SELECT to_regclass(%s)", (self.name,))[0][0] is not None

    def insert(self, batch: pa.RecordBatch, start: int) -> int:
        data = csv_bytes(batch, start)
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY {self.name} FROM STDIN (FORMAT csv)") as copy,
        ):
            copy.write(data)
        return len(data)


def _rows(columns: list[list[object]]) -> Iterator[tuple[object, ...]]:
    return zip(*columns, strict=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
