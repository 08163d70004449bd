"""Content digests: (rows, sum mod 2^128 of a hash per row), equal exactly for equal multisets of rows.

A row is hashed over a canonical text of our own: every cell is its length and its text, nulls are told apart
from empty text, floats are written so that equal values are equal (one zero, one NaN), and nested values carry
the number of their parts. DuckDB's own ``hash`` has collisions by design and is not used. The digest of a file
never changes and is kept beside the catalog.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import blake3

from gristmill.model.scan import FILE, ScanFile, ScanPlan
from gristmill.model.schema import Field, ListType, MapType, StructType, Type
from gristmill.store.catalog import Catalog
from gristmill.store.few import MOST as FEW
from gristmill.store.few import few_values
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, TableObject
from gristmill.store.sqltext import quote, type_sql
from gristmill.store.staging import Staged
from gristmill.store.tables import live_files, scan_file, schema_of

if TYPE_CHECKING:
    import apsw
    import duckdb
    import pyarrow as pa

    from gristmill.store.held import Few

VERSION = 3
MODULUS = 1 << 128


def table_digest(catalog: Catalog, get: Get, folder: Path, state: TableObject) -> str:
    """Return the digest of a state's visible columns as ``rows:hex``."""
    schema = schema_of(get, state.schema)
    shape = blake3.blake3(cells_sql(schema.visible).encode()).digest()
    total, rows, missing = 0, 0, []
    for file in live_files(get, state):
        name = _sidecar(file, shape)
        row = catalog.one("select value from sidecars where id=? and kind='digest' and version=?", (name, VERSION))
        value = None if row is None else _checked(name, row[0])
        if value is None:
            missing.append((file, name))
        else:
            total += value
        rows += file.live
    if missing:
        plan_files = tuple(scan_file(get, folder, file) for file, _ in missing)
        sums = _sums(schema.visible, plan_files)
        values = {name: sums.get(file.first_row_id, 0) for file, name in missing}
        total += sum(values.values())
        if not catalog.read_only:
            kept = [(name, VERSION, _with_check(name, value)) for name, value in values.items()]
            with catalog.write(lasting=False) as db:
                db.executemany("insert or replace into sidecars values(?, 'digest', ?, ?)", kept)
    return digest_text(rows, total)


def _with_check(name: bytes, value: int) -> bytes:
    """Return a sum as it is kept: 16 bytes and 8 that tell damage, because nothing else guards it."""
    data = value.to_bytes(16, "big")
    return data + blake3.blake3(name + data).digest()[:8]


def _checked(name: bytes, kept: bytes) -> int | None:
    value = int.from_bytes(kept[:16], "big")
    return value if _with_check(name, value) == kept else None


def digest_text(rows: int, total: int) -> str:
    """Return a digest in its written form."""
    return f"{rows}:{total % MODULUS:032x}"


def files_digest(fields: tuple[Field, ...], files: tuple[ScanFile, ...]) -> str:
    """Return the digest of these columns of these files."""
    return digest_text(sum(file.rows for file in files), sum(_sums(fields, files).values()))


def given_digest(given: Staged | Few) -> str:
    """Return the digest of rows to be written, whether they lie in memory or in files: of a few without an engine."""
    from gristmill.store import compute

    fields = given.schema.fields
    if isinstance(given, Staged):
        if given.row_count > FEW or not _flat(fields):
            return files_digest(fields, given.scan.files)
        return _few_digest(compute.reader(given.scan).read_all(), fields)
    if given.rows.num_rows <= FEW and _flat(fields):
        return _few_digest(given.rows, fields)
    return _given_sums(fields, given.rows, given.rows.num_rows)


def stream_digest(fields: tuple[Field, ...], batches: Iterator[pa.RecordBatch], rows: int) -> str:
    """Return the digest of so many rows in batches."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow

    stream = pa.RecordBatchReader.from_batches(fields_to_arrow(fields), batches)
    if rows <= FEW and _flat(fields):
        return _few_digest(stream.read_all(), fields)
    return _given_sums(fields, stream, rows)


def _given_sums(fields: tuple[Field, ...], given: pa.Table | pa.RecordBatchReader, rows: int) -> str:
    from gristmill.store import compute

    con = compute.connection()
    con.register("gm_given", given)
    names = ", ".join(f"CAST({quote(f.name)} AS {type_sql(f.type)}) AS {quote(f.name)}" for f in fields)
    sums = digest_rows(con, f"SELECT {names} FROM gm_given", fields, "0")
    return digest_text(rows, sum(total for _, total in sums))


def _flat(fields: tuple[Field, ...]) -> bool:
    return all(isinstance(field.type, str) for field in fields)


def _few_digest(rows: pa.Table, fields: tuple[Field, ...]) -> str:
    total = 0
    for row in few_values(rows, sorted(fields, key=lambda field: field.name)):
        cells = b"".join(b"~" if v is None else b"%d:%s" % (len(t := str(v).encode()), t) for v in row)
        total += int.from_bytes(blake3.blake3(cells).digest()[:16], "big")
    return "few:" + digest_text(rows.num_rows, total)


def _sidecar(file: DataFile, shape: bytes) -> bytes:
    return file.hash[:16] + blake3.blake3(file.hash + shape + b"".join(sorted(file.vectors))).digest()[:16]


def drop_loose(db: apsw.Connection, kept: Collection[bytes]) -> int:
    """Drop what was computed of files whose hash is not among these, and return of how many."""
    starts = {digest[:16] for digest in kept}
    rows = db.execute("select id, version from sidecars where kind='digest'").fetchall()
    loose = [(oid,) for oid, version in rows if version != VERSION or bytes(oid)[:16] not in starts]  # type: ignore[arg-type]
    db.executemany("delete from sidecars where kind='digest' and id=?", loose)
    return len(loose)


def _sums(fields: tuple[Field, ...], files: tuple[ScanFile, ...]) -> dict[int, int]:
    from gristmill.store import compute

    con = compute.connection()
    plan = ScanPlan(fields=fields, files=files, positions=True)
    sql = compute.bind(con, compute.scan_sql(plan))
    return dict(digest_rows(con, sql, fields, quote(FILE)))


def digest_rows(
    con: duckdb.DuckDBPyConnection, sql: str, fields: tuple[Field, ...], group: str
) -> list[tuple[int, int]]:
    """Return (group, sum of row hashes) per value of ``group`` in a query."""
    rows = con.sql(
        "SELECT g, sum((h >> 64)::UBIGINT::HUGEINT), sum((h & 18446744073709551615::UHUGEINT)::UBIGINT::HUGEINT)"
        f" FROM (SELECT {group} AS g, md5_number({cells_sql(fields)}) AS h FROM ({sql})) GROUP BY g"
    ).fetchall()
    return [(int(g), ((int(high) << 64) + int(low)) % MODULUS) for g, high, low in rows]


def cells_sql(fields: tuple[Field, ...]) -> str:
    """Return the SQL expression for the canonical text of a row; the order of the columns does not matter."""
    ordered = sorted(fields, key=lambda field: field.name)
    return "concat(" + ", ".join([_cell(quote(f.name), f.type, 0) for f in ordered] or ["''"]) + ")"


def _cell(value: str, type_: Type, depth: int) -> str:
    body = _text(value, type_, depth)
    return f"CASE WHEN {value} IS NULL THEN '~' ELSE concat(strlen({body}), ':', {body}) END"


def _text(value: str, type_: Type, depth: int) -> str:
    item = f"v{depth}"
    if isinstance(type_, ListType):
        return _joined(value, item, _cell(item, type_.element, depth + 1))
    if isinstance(type_, MapType):
        pair = f"concat({_cell(f'{item}.key', type_.key, depth + 1)}, {_cell(f'{item}.value', type_.value, depth + 1)})"
        texts = f"list_sort(list_transform(map_entries({value}), lambda {item}: {pair}))"
        return f"concat(len(map_entries({value})), ';', array_to_string({texts}, ''))"
    if isinstance(type_, StructType):
        cells = [_cell(f"{value}.{quote(f.name)}", f.type, depth) for f in type_.fields]
        return f"concat({', '.join(cells)})"
    return _plain(value, type_)


def _joined(value: str, item: str, cell: str) -> str:
    texts = f"list_transform({value}, lambda {item}: {cell})"
    return f"concat(len({value}), ';', array_to_string({texts}, ''))"


def _plain(value: str, type_: str) -> str:
    if type_ in ("float", "double"):
        return f"CASE WHEN isnan({value}) THEN 'nan' WHEN {value} = 0 THEN '0' ELSE CAST({value} AS VARCHAR) END"
    if type_ == "binary" or type_.startswith("fixed["):
        return f"hex({value})"
    if type_.startswith("timestamp"):
        unit = "ns" if type_.endswith("_ns") else "us"
        return f"CAST(epoch_{unit}({value}) AS VARCHAR)"
    return f"CAST({value} AS VARCHAR)"
