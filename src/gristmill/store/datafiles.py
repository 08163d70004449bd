"""Writing Parquet files: in bounded memory, with field ids, durable before anything refers to them.

A file is written under ``tmp/``, flushed to the disk, renamed to its final name (hash and nonce) and its folder
flushed. Only then can a commit name it; a crash before leaves a file that nothing refers to.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.errors import DataError
from gristmill.model.partitions import Part
from gristmill.model.schema import (
    ROW_ID,
    ROW_ID_FIELD,
    ROW_SEQUENCE,
    ROW_SEQUENCE_FIELD,
    Field,
    Schema,
    type_text,
    widens,
)
from gristmill.store import inline
from gristmill.store.damage import disk_error
from gristmill.store.floats import Floats
from gristmill.store.kept import WRITTEN_ROWS, keep_written
from gristmill.store.leases import lease
from gristmill.store.objects import ColumnStats, data_path
from gristmill.store.sqltext import field_ids_sql, quote, stored, text, type_sql
from gristmill.store.statistics import footer_stats

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

ROW_GROUP = 122_880
FILE_ROWS = 2 * ROW_GROUP
GROUP_BYTES = 64 << 20
FILE_BYTES = 512 << 20

IDENTITY = (
    Field(ROW_ID_FIELD, ROW_ID, "long"),
    Field(ROW_SEQUENCE_FIELD, ROW_SEQUENCE, "long"),
)


class Written(msgspec.Struct, frozen=True):
    """A finished Parquet file that nothing refers to yet, or rows to be inlined (``inline``: their IPC stream).

    ``spec`` and ``partition`` say which partition its rows are of; inlined rows are of none.
    """

    hash: bytes
    nonce: bytes
    rows: int
    size: int
    stats: dict[int, ColumnStats]
    schema: Schema
    stored_ids: bool
    inline: bytes | None = None
    spec: int = 0
    partition: tuple[Part, ...] = ()

    @property
    def path(self) -> str:
        """Where it lies, relative to the store; empty for rows to be inlined."""
        return data_path(self.hash, self.nonce) if self.inline is None else ""


def write_inline(schema: Schema, batches: Sequence[pa.RecordBatch], *, ids: bool = False) -> Written:
    """Return a few batches that already fit the schema as rows to be inlined; no file is written."""
    fields = (*schema.fields, *IDENTITY) if ids else schema.fields
    stream = inline.pack(fields, batches)
    return Written(
        hash=b"",
        nonce=b"",
        rows=sum(batch.num_rows for batch in batches),
        size=len(stream),
        stats=inline.required_stats(schema),
        schema=schema,
        stored_ids=ids,
        inline=stream,
    )


class Output:
    """Where a store's files are written.

    Args:
        folder: the store's folder.
        durable: whether to flush files and folders to the disk.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.durable = durable

    def temporary(self, suffix: str = "") -> Path:
        """Return a fresh path under ``tmp/``."""
        return self.folder / "tmp" / f"{lease(self.folder)}-{secrets.token_hex(12)}{suffix}"

    def nonce(self) -> bytes:
        """Return what makes a file's name its own: this process's lease and a random part, 8 bytes."""
        return bytes.fromhex(lease(self.folder)) + secrets.token_bytes(4)

    def place(self, source: Path, target: Path) -> None:
        """Flush a finished temporary file and give it its final name."""
        if self.durable:
            flush(source)
        new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        if self.durable:
            flush(target.parent)
            if new:
                flush(target.parent.parent)


def discard(folder: Path, written: Iterable[Written]) -> None:
    """Remove files that nothing refers to."""
    for file in written:
        if file.inline is None:
            (folder / file.path).unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    import fcntl

    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(handle, full)
    else:
        os.fsync(handle)


def write_batches(
    out: Output, schema: Schema, batches: Iterable[pa.RecordBatch], *, ids: bool = False, codec: str = "zstd"
) -> Iterator[Written]:
    """Write batches that already fit the schema; with ``ids`` they end in the two identity columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gristmill.model.arrow import with_field_ids

    fields = _file_fields(schema, ids)
    arrow = with_field_ids(fields)
    writer: pq.ParquetWriter | None = None
    path = out.temporary(".parquet")
    floats, rows = Floats(fields), 0
    try:
        for group in _groups(batches):
            table = pa.Table.from_batches(group)
            if not ids and fields == IDENTITY:
                # Parquet has no file without columns, so rows of nothing but nulls are ids to be given.
                table = pa.Table.from_arrays([pa.nulls(table.num_rows, pa.int64())] * 2, schema=arrow)
            table = table.select([f.name for f in fields])
            seen = floats.nans_of(table)
            full = writer is not None and (rows >= FILE_ROWS or path.stat().st_size >= FILE_BYTES)
            if writer is not None and (full or not floats.fit(seen)):
                writer.close()
                yield _finish(out, path, schema, ids, floats.nans, floats.nulls)
                writer, path, rows, floats = None, out.temporary(".parquet"), 0, Floats(fields)
            if writer is None:
                told = floats.begin(seen, arrow)
                writer = pq.ParquetWriter(path, arrow, compression=codec, store_schema=False, write_statistics=told)
            writer.write_table(table.cast(arrow), row_group_size=ROW_GROUP)
            rows += table.num_rows
            floats.count(table, seen)
        if writer is not None:
            writer.close()
            done = _finish(out, path, schema, ids, floats.nans, floats.nulls)
            if rows <= WRITTEN_ROWS and rows == table.num_rows:
                keep_written(out.folder / done.path, table)
            yield done
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            if writer is not None:
                writer.close()
            path.unlink(missing_ok=True)


def _file_fields(schema: Schema, ids: bool) -> tuple[Field, ...]:
    fields = tuple(field for field in schema.fields if stored(field.type))
    return (*fields, *IDENTITY) if ids or not fields else fields


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yield batches gathered to row groups: at most `ROW_GROUP` rows, and about `GROUP_BYTES` of memory."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, ROW_GROUP - rows)
            held.append(part)
            rows += part.num_rows
            size += part.get_total_buffer_size() if part.num_rows == batch.num_rows else part.nbytes
            start += part.num_rows
            if rows >= ROW_GROUP or size >= GROUP_BYTES:
                yield held
                held, rows, size = [], 0, 0
    if held:
        yield held


def _finish(
    out: Output, path: Path, schema: Schema, ids: bool, nans: Mapping[int, int], nulls: Mapping[int, int]
) -> Written:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    digest = blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).digest()
    fields = _file_fields(schema, ids)
    stats = footer_stats(metadata, fields, nans)
    stats |= {field_id: msgspec.structs.replace(stats[field_id], nulls=n) for field_id, n in nulls.items()}
    written = Written(
        hash=digest,
        nonce=out.nonce(),
        rows=metadata.num_rows,
        size=path.stat().st_size,
        stats=stats,
        schema=schema,
        stored_ids=fields[-1:] == IDENTITY[-1:],
    )
    out.place(path, out.folder / written.path)
    return written


def write_query(
    out: Output,
    schema: Schema,
    con: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    ids: bool = False,
    order: Sequence[Field] = (),
    codec: str = "zstd",
) -> Iterator[Written]:
    """Run a query with COPY on its own connection, straight into files; its columns must be the schema's.

    With ``order`` the rows are sorted by these columns first, nulls last, so that the files hold disjoint ranges.
    """
    fields = _file_fields(schema, ids)
    given = ids or fields != IDENTITY
    names = ", ".join(("" if given else "NULL::BIGINT AS ") + quote(field.name) for field in fields)
    folder = out.temporary()
    import duckdb

    packing = "uncompressed" if codec == "none" else codec
    options = (
        f"FORMAT parquet, COMPRESSION {packing}, ROW_GROUP_SIZE {ROW_GROUP}, ROW_GROUPS_PER_FILE 2,"
        f" FIELD_IDS {field_ids_sql(fields)}, RETURN_STATS"
    )
    try:
        by = f" ORDER BY {', '.join(quote(f.name) + ' NULLS LAST' for f in order)}" if order else ""
        written = con.execute(f"COPY (SELECT {names} FROM ({sql}){by}) TO {text(str(folder))} ({options})").fetchall()
        for row in written:
            if row[1]:
                yield _finish(out, Path(row[0]), schema, ids, _copy_nans(row[4], fields), {})
    except (OSError, duckdb.IOException) as error:
        raise disk_error(error, folder) from error
    finally:
        _remove(folder)


def _copy_nans(stats: dict[str, dict[str, str]], fields: tuple[Field, ...]) -> dict[int, int]:
    nans = {}
    for field in fields:
        known = stats.get(quote(field.name), {})
        if field.type in ("float", "double") and "nan_count" in known:
            nans[field.id] = int(known["nan_count"])
    return nans


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def fit_query(con: duckdb.DuckDBPyConnection, sql: str, fields: tuple[Field, ...], table: str) -> str:
    """Return a query that yields exactly these fields from one that yields some of them by name.

    Raises:
        DataError: an unknown or missing column, or a type that does not fit without loss.
    """
    from gristmill.model.arrow import fields_from_arrow
    from gristmill.store.conform import check_columns

    found = con.sql(f"SELECT * FROM ({sql}) LIMIT 0").to_arrow_table().schema
    check_columns(found.names, fields, table)
    given = {field.name: field for field in fields_from_arrow(found, lambda *_: 0)}
    parts = []
    for field in fields:
        own = given.get(field.name)
        if own is not None and not _fits(type_text(own.type), type_text(field.type)):
            raise DataError(
                f"the query's column `{field.name}` is {type_text(own.type)}, and the table's {type_text(field.type)}",
                code="GM-D212",
                where=f"{table}.{field.name}",
                hint=f"write CAST({quote(field.name)} AS {type_sql(field.type)}) in the query",
            )
        value = "NULL" if own is None else quote(field.name)
        parts.append(f"CAST({value} AS {type_sql(field.type)}) AS {quote(field.name)}")
    return f"SELECT {', '.join(parts)} FROM ({sql})"


_WHOLE = {"int", "long"}


def _fits(given: str, wanted: str) -> bool:
    """Whether a cast keeps the value or fails, but never changes it."""
    if given == wanted or widens(given, wanted) or {given, wanted} == {"string", "uuid"}:
        return True
    whole = given in _WHOLE or (given.startswith("decimal(") and given.endswith(",0)"))
    return whole and (wanted in _WHOLE or wanted.startswith("decimal(")) and wanted != "double"
