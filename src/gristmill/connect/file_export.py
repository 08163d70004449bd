"""Write rows to one file: Parquet, CSV, NDJSON or Arrow; whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.errors import DataError, EngineError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "csv", "tsv", "ndjson", "arrow"]

_ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
}


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    target: str
    rows: int
    size_bytes: int
    changed: bool = True
    """False where the target held these rows already."""


def export(rows: pa.RecordBatchReader, target: str | Path, *, format: str | None = None) -> Exported:
    """Write a stream of rows to a file, which appears only when it is complete.

    Args:
        rows: the rows; read once, batch by batch.
        target: the file, or any fsspec URL; an existing one is replaced.
        format: ``parquet`` (zstd), ``csv``, ``tsv``, ``ndjson`` or ``arrow``; by the ending where it is None.

    Raises:
        UsageError: the format is not known, or cannot hold nested values.
        DataError: the format cannot hold a value; the message names row and column.
        EngineError: the file cannot be written.
    """
    if "://" in str(target):
        return _export_remote(rows, str(target), format)
    path = Path(target)
    write = _WRITERS[_format(path, format)]
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count = write(rows, temporary)
        temporary.replace(path)
    except OSError as error:
        raise EngineError(f"the file could not be written: {error}", where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(target=str(path), rows=count, size_bytes=path.stat().st_size)


def _export_remote(rows: pa.RecordBatchReader, url: str, format: str | None) -> Exported:
    """Write to a file here, then send it whole; credentials are the platform's own."""
    import fsspec

    from gristmill.connect.databases import redacted

    kind = _format(Path(url.partition("?")[0]), format)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"export.{kind}"
        count = _WRITERS[kind](rows, file)
        try:
            system, path = fsspec.core.url_to_fs(url)
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), path)
        except (OSError, ImportError, ValueError) as error:
            raise EngineError(f"the file could not be sent: {error}", where=redacted(url)) from error
        return Exported(target=redacted(url), rows=count, size_bytes=file.stat().st_size)


def _format(path: Path, given: str | None) -> Format:
    known = sorted(set(_ENDINGS.values()))
    wanted = given or _ENDINGS.get(path.suffix.lower())
    for name in known:
        if name == wanted:
            return name
    raise UsageError(
        f"{path.name}: the format is not told by its ending" if given is None else f"there is no format `{given}`",
        code="GM-U120",
        hint=(did_you_mean(given, known) if given else None) or f"formats: {', '.join(known)}",
    )


def _parquet(rows: pa.RecordBatchReader, path: Path) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _arrow(rows: pa.RecordBatchReader, path: Path) -> int:
    import pyarrow as pa

    count = 0
    with pa.OSFile(os.fspath(path), "wb") as out, pa.ipc.new_file(out, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _delimited(delimiter: str) -> Callable[[pa.RecordBatchReader, Path], int]:
    def write(rows: pa.RecordBatchReader, path: Path) -> int:
        import pyarrow.csv as csv

        nested = [field.name for field in rows.schema if field.type.num_fields]
        if nested:
            raise UsageError(f"column `{nested[0]}` is nested, which {path.suffix} cannot hold", code="GM-U121")
        count = 0
        options = csv.WriteOptions(delimiter=delimiter)
        with csv.CSVWriter(os.fspath(path), rows.schema, write_options=options) as writer:
            for batch in rows:
                writer.write_batch(batch)
                count += batch.num_rows
        return count

    return write


def _ndjson(rows: pa.RecordBatchReader, path: Path) -> int:
    from gristmill.connect.sql_values import not_finite, refuse

    count = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        for batch in rows:
            refuse(batch, count, not_finite, "which JSON cannot hold")
            for row in batch.to_pylist():
                count += 1
                out.write(_line(row, count) + "\n")
    return count


def _line(row: dict[str, object], number: int) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        column = next((name for name, value in row.items() if not _fits(value)), "?")
        raise DataError(
            f"row {number} holds NaN or infinity within column `{column}`, which JSON cannot hold",
            code="GM-D123",
            where=f"row {number}, column {column}",
            hint="leave such rows out, or export Parquet",
        ) from None


def _fits(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False, default=_plain)
    except ValueError:
        return False
    return True


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if callable(isoformat) else str(value)


_WRITERS: dict[Format, Callable[[pa.RecordBatchReader, Path], int]] = {
    "parquet": _parquet,
    "csv": _delimited(","),
    "tsv": _delimited("\t"),
    "ndjson": _ndjson,
    "arrow": _arrow,
}
