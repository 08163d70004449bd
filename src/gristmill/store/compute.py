"""Scan plans as DuckDB SQL: the only place that turns one into a query.

DuckDB is imported when it is first needed. Files without dead rows are read in one ``read_parquet`` by field
id; a large file with dead rows is a branch of its own that tests one bit per row (joins cost several times as
much), and small ones share a branch;
a file whose nested columns looked different is projected field by field, because DuckDB finds the children of
structs by name.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.model.predicates import to_sql
from gristmill.model.scan import FILE, POSITION, RowSet, ScanFile, ScanPlan, output_fields
from gristmill.model.schema import ROW_ID, ROW_ID_FIELD, ROW_SEQUENCE, ROW_SEQUENCE_FIELD, Field, Schema, Type
from gristmill.store.damage import asking
from gristmill.store.few import AT_HAND, rows_of
from gristmill.store.frames import frame_of, small
from gristmill.store.sqltext import quote, same_shape, seen_as, stored, text, type_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH_ROWS = 65_536
_THREAD_BYTES = 160 << 20
"""What a thread may hold that cannot be spilled, for rows of some hundred bytes."""
TOGETHER = 16_384
"""Files of at most so many rows are read in one go even where rows of them are dead."""


class ScanSql(msgspec.Struct, frozen=True):
    """A scan as a query.

    Args:
        sql: one SELECT.
        variables: BLOBs of bits that must be set as BIT variables on the connection first.
        frames: Arrow tables that must be registered on the connection first.
    """

    sql: str
    variables: dict[str, bytes]
    frames: dict[str, object] = {}


def scan_sql(plan: ScanPlan) -> ScanSql:
    """Return the query of a plan; `bind` makes a connection ready for it."""
    variables: dict[str, bytes] = {}
    frames: dict[str, object] = {}
    groups: OrderedDict[tuple[tuple[Field | None, ...], bool, bool | None], list[ScanFile]] = OrderedDict()
    inlined: dict[Schema, list[ScanFile]] = {}
    branches: list[str] = []
    needed = _needed(plan)
    at_hand = _at_hand(plan)
    for file in plan.files:
        shapes = _odd_shapes(needed, file)
        if file.inline is not None or file.path in at_hand:
            inlined.setdefault(file.schema, []).append(file)
        elif file.rowset is not None and file.rows > TOGETHER:
            branches.append(_branch(plan, needed, shapes, [file], variables))
        else:
            keep = None if file.rowset is None else file.rowset.keep
            groups.setdefault((shapes, file.stored_ids, keep), []).append(file)
    branches += [_branch(plan, needed, key[0], files, variables) for key, files in groups.items()]
    branches += [_inline_branch(plan, needed, schema, files, frames) for schema, files in inlined.items()]
    if not branches:
        branches = [_empty(plan)]
    return ScanSql("\nUNION ALL\n".join(branches), variables, frames)


def _needed(plan: ScanPlan) -> tuple[Field, ...]:
    extra = [field for field in plan.where_fields if field not in plan.fields]
    return (*plan.fields, *extra)


def _odd_shapes(needed: tuple[Field, ...], file: ScanFile) -> tuple[Field | None, ...]:
    """Return per column the field the file has instead, where DuckDB would not read it right by itself."""
    shapes = []
    for field in needed:
        own = file.schema.by_id(field.id)
        odd = own is not None and not same_shape(own.type, field.type)
        shapes.append(own if odd else None)
    return tuple(shapes)


def _branch(
    plan: ScanPlan,
    needed: tuple[Field, ...],
    shapes: tuple[Field | None, ...],
    files: Sequence[ScanFile],
    variables: dict[str, bytes],
) -> str:
    columns, mapping = _columns(needed, shapes)
    paths = ", ".join(text(file.path) for file in files)
    position = "file_row_number"
    if plan.row_ids or plan.sequence:
        mapping.append(_mapped(ROW_ID_FIELD, ROW_ID, "long"))
        mapping.append(_mapped(ROW_SEQUENCE_FIELD, ROW_SEQUENCE, "long"))
    if plan.row_ids:
        columns.append(f"coalesce({quote(ROW_ID)}, {_per_file(files, 'first_row_id')} + {position}) AS {quote(ROW_ID)}")
    if plan.sequence:
        columns.append(f"coalesce({quote(ROW_SEQUENCE)}, {_per_file(files, 'sequence')}) AS {quote(ROW_SEQUENCE)}")
    if plan.positions:
        columns.append(f"{_per_file(files, 'first_row_id')} AS {quote(FILE)}, {position} AS {quote(POSITION)}")
    if not mapping:
        # read_parquet refuses an empty map; a column that no file has costs nothing.
        mapping.append(_mapped(ROW_ID_FIELD, ROW_ID, "long"))
    source = f"read_parquet([{paths}], schema=MAP{{{', '.join(mapping)}}})"
    condition = f" WHERE {_bit_test(files, position, variables)}" if files[0].rowset is not None else ""
    inner = f"SELECT {', '.join(columns) or '1 AS one'} FROM {source}{condition}"
    return _outer(plan, inner)


def _columns(needed: tuple[Field, ...], shapes: tuple[Field | None, ...]) -> tuple[list[str], list[str]]:
    columns, mapping = [], []
    for field, own in zip(needed, shapes, strict=True):
        if not stored(field.type):
            columns.append(f"NULL AS {quote(field.name)}")
            continue
        if own is None:
            mapping.append(_mapped(field.id, field.name, field.type))
            columns.append(quote(field.name))
        else:
            mapping.append(_mapped(field.id, field.name, own.type))
            columns.append(f"{seen_as(quote(field.name), own.type, field.type)} AS {quote(field.name)}")
    return columns, mapping


def _mapped(field_id: int, name: str, type_: Type) -> str:
    return f"{field_id}: {{name: {text(name)}, type: {text(type_sql(type_))}, default_value: NULL}}"


def _per_file(files: Sequence[ScanFile], attribute: str) -> str:
    values = [getattr(file, attribute) for file in files]
    if len(values) == 1:
        return f"{values[0]}::BIGINT"
    return f"([{', '.join(map(str, values))}]::BIGINT[])[(file_index + 1)::INTEGER]"


def _bit_test(files: Sequence[ScanFile], position: str, variables: dict[str, bytes]) -> str:
    """Return the condition that tests one bit per row; small files share one string of bits."""
    rowsets = [file.rowset for file in files if file.rowset is not None]
    if len(files) == 1:
        name, bits, at = f"gm_{rowsets[0].id}", _bits([0], rowsets, 262_144), position
    else:
        starts = list(accumulate((file.rows for file in files), initial=0))
        name = f"gm_{blake3.blake3(''.join(rowset.id for rowset in rowsets).encode()).hexdigest()[:24]}_{len(files)}"
        bits = _bits(starts, rowsets, starts[-1])
        at = f"([{', '.join(map(str, starts[:-1]))}]::INTEGER[])[(file_index + 1)::INTEGER] + {position}"
    variables[name] = bits
    return f"get_bit(getvariable('{name}'), ({at})::INTEGER) = {1 if rowsets[0].keep else 0}"


def _bits(starts: Sequence[int], rowsets: Sequence[RowSet], length: int) -> bytes:
    """Return the positions as a bit string; those of each file begin at its start."""
    import numpy as np
    from pyroaring import BitMap

    flags = np.zeros(length, dtype=np.uint8)
    for start, rowset in zip(starts, rowsets, strict=False):
        positions = np.asarray(BitMap.deserialize(rowset.positions).to_array(), dtype=np.int64)
        flags[start + positions] = 1
    return np.packbits(flags).tobytes()


def _outer(plan: ScanPlan, inner: str) -> str:
    names = ", ".join(quote(field.name) for field in output_fields(plan)) or "1 AS one"
    condition = "" if plan.where is None else f" WHERE {to_sql(plan.where, quote)}"
    return f"SELECT {names} FROM ({inner}){condition}"


def _at_hand(plan: ScanPlan) -> frozenset[str]:
    """Return the paths of the files to be read as Arrow tables; none where one of them cannot be read like that."""
    import pyarrow as pa

    paths = small(plan.files)
    schemas: dict[Schema, list[ScanFile]] = {}
    for file in plan.files:
        if file.path in paths:
            schemas.setdefault(file.schema, []).append(file)
    try:
        for schema, files in schemas.items():
            _frame(plan, _needed(plan), schema, files)
    except (OSError, pa.ArrowException):
        return frozenset()
    return paths


def _frame(
    plan: ScanPlan, needed: tuple[Field, ...], schema: Schema, files: Sequence[ScanFile]
) -> tuple[str, pa.Table]:
    names = [own.name for field in needed if (own := schema.by_id(field.id)) is not None]
    return frame_of(files, names, identity=plan.row_ids or plan.sequence or plan.positions)


def _inline_branch(
    plan: ScanPlan, needed: tuple[Field, ...], schema: Schema, files: Sequence[ScanFile], frames: dict[str, object]
) -> str:
    name, frame = _frame(plan, needed, schema, files)
    frames[name] = frame
    columns = []
    for field in needed:
        own = schema.by_id(field.id)
        held = own is not None and stored(own.type)
        value = seen_as(quote(own.name), own.type, field.type) if own is not None and held else "NULL"
        columns.append(f"CAST({value} AS {type_sql(field.type)}) AS {quote(field.name)}")
    columns += [quote(ROW_ID)] if plan.row_ids else []
    columns += [quote(ROW_SEQUENCE)] if plan.sequence else []
    columns += [quote(FILE), quote(POSITION)] if plan.positions else []
    return _outer(plan, f"SELECT {', '.join(columns) or '1 AS one'} FROM {quote(name)}")


def _empty(plan: ScanPlan) -> str:
    columns = [f"CAST(NULL AS {type_sql(f.type)}) AS {quote(f.name)}" for f in output_fields(plan)]
    return f"SELECT {', '.join(columns) or '1 AS one'} WHERE false"


def bind(con: duckdb.DuckDBPyConnection, scan: ScanSql) -> str:
    """Set the variables and frames of a scan on a connection and return its SQL."""
    for name, bits in scan.variables.items():
        con.execute(f"SET VARIABLE {name} = CAST(? AS BLOB)::BIT", [bits])
    for name, frame in scan.frames.items():
        con.register(name, frame)
    return scan.sql


def register(con: duckdb.DuckDBPyConnection, view_name: str, plan: ScanPlan) -> None:
    """Make a temporary view of that name on the connection that reads the plan."""
    sql = bind(con, scan_sql(plan))
    with asking():
        con.execute(f"CREATE OR REPLACE TEMP VIEW {quote(view_name)} AS {sql}")


def at_hand(plan: ScanPlan) -> pa.Table | None:
    """Return the rows of a plan without reading anything, where they are few, in memory, and mean the same to DuckDB.

    Types that Arrow and DuckDB do not share, nested ones among them, are left to a query.
    """
    if not all(isinstance(field.type, str) and _shared(field.type) for field in plan.fields):
        return None
    return rows_of(plan, most=AT_HAND)


def _shared(type_: str) -> bool:
    plain = ("boolean", "int", "long", "float", "double", "string", "date", "timestamp", "timestamptz")
    return type_ in plain or type_.startswith("decimal(")


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Drop the variables and frames that scans left on a connection, and with them what still reads through them."""
    for (name,) in con.execute("SELECT name FROM duckdb_variables() WHERE starts_with(name, 'gm_')").fetchall():
        con.execute(f"RESET VARIABLE {name}")
    views = "SELECT view_name FROM duckdb_views() WHERE temporary AND starts_with(view_name, 'gm_rows_')"
    for (name,) in con.execute(views).fetchall():
        con.unregister(name)


def reader(plan: ScanPlan, con: duckdb.DuckDBPyConnection | None = None) -> pa.RecordBatchReader:
    """Return the rows of a plan as a stream in the plan's own Arrow schema.

    The stream holds a connection until it is read to the end or dropped; ``con`` is not used for it directly
    but gives its settings.
    """
    few = rows_of(plan)
    if few is not None:
        return few.to_reader()
    own = connection() if con is None else con.cursor()
    return query_reader(own, bind(own, scan_sql(plan)), plan.to_arrow_schema())


def head(plan: ScanPlan, rows: int) -> pa.Table:
    """Return the first rows of a plan, reading no more than they take."""
    few = rows_of(plan)
    if few is not None:
        return few.slice(0, rows)
    con = connection()
    sql = bind(con, scan_sql(plan))
    return query_reader(con, f"SELECT * FROM ({sql}) LIMIT {rows}", plan.to_arrow_schema()).read_all()


def query_reader(con: duckdb.DuckDBPyConnection, sql: str, schema: pa.Schema) -> pa.RecordBatchReader:
    """Run a query and return its rows as a stream of exactly this schema."""
    import pyarrow as pa

    from gristmill.store.conform import cast_batch

    with asking():
        result = con.sql(sql).to_arrow_reader(BATCH_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        with asking():
            for batch in result:
                if batch.num_rows:
                    yield cast_batch(batch, schema)
        con.close()

    return pa.RecordBatchReader.from_batches(schema, batches())


class _Engine:
    """This process's DuckDB, made when it is first needed; a forked child makes its own."""

    def __init__(self) -> None:
        self.pid = 0
        self.lock = threading.Lock()
        self.limit_bytes: int | None = None
        self.databases: list[duckdb.DuckDBPyConnection] = []

    def cursor(self) -> duckdb.DuckDBPyConnection:
        if self.pid != os.getpid():
            self._open()
        return self.databases[-1].cursor()

    def limit(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        if self.pid == os.getpid():
            cursor = self.cursor()
            cursor.execute(f"SET memory_limit = '{limit_bytes}B'" if limit_bytes else "RESET memory_limit")
            cursor.execute(f"SET threads = {fitting_threads(limit_bytes)}" if limit_bytes else "RESET threads")

    def _open(self) -> None:
        import duckdb

        if self.pid:  # forked: the lock may be held for ever, and the parent's database is never closed here
            self.lock = threading.Lock()
        with self.lock:
            if self.pid == os.getpid():
                return
            folder = tempfile.mkdtemp(prefix="gristmill-store-")
            atexit.register(shutil.rmtree, folder, True)
            config = {
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": folder,
            }
            if self.limit_bytes:
                config["memory_limit"] = f"{self.limit_bytes}B"
                config["threads"] = str(fitting_threads(self.limit_bytes))
            self.databases.append(duckdb.connect(config=config))
            self.pid = os.getpid()


def fitting_threads(limit_bytes: int, asked: int | None = None) -> int:
    """Return how many threads a limit has room for, at most as many as asked for, else as there are processors.

    What each holds while it reads and writes cannot be spilled.
    """
    return min(asked or os.cpu_count() or 1, max(1, limit_bytes // _THREAD_BYTES))


_engine = _Engine()


def connection() -> duckdb.DuckDBPyConnection:
    """Return a fresh cursor on this process's in-memory DuckDB, with our settings."""
    cursor = _engine.cursor()
    cursor.execute("SET TimeZone = 'UTC'; SET arrow_lossless_conversion = true")
    return cursor


def limit_memory(limit_bytes: int | None) -> None:
    """Set what the store's own joins and sorts may hold before they spill; DuckDB's default where None."""
    _engine.limit(limit_bytes)
