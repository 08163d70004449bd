"""Take a whole table from elsewhere: a file, a folder of files, or an Iceberg or Delta table.

Unlike a source, which sets aside what does not fit and goes on, an import takes everything or nothing: there is a
person who waits for it and can mend the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.file_source import FORMATS, FilesSource, files
from gristmill.connect.type_names import type_text
from gristmill.errors import DataError, EngineError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect.values import Found, Reject, Shape


@dataclass(frozen=True, slots=True)
class Incoming:
    """A table that is about to be taken in: its rows, read once, and what was assumed of them, in words."""

    rows: pa.RecordBatchReader
    kind: str
    assumptions: tuple[str, ...] = ()


def incoming(
    path: str,
    root: Path,
    *,
    format: str | None = None,
    nulls: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    into: pa.Schema | None = None,
) -> Incoming:
    """Open a table that stands elsewhere.

    Args:
        path: a CSV, NDJSON, JSON, Parquet or Arrow file, a glob, a folder, or any fsspec URL; relative to ``root``.
            The folder of an Iceberg table needs the package pyiceberg, that of a Delta table deltalake.
        root: where relative paths start.
        format: as for ``files``.
        nulls: unquoted cells that mean null.
        types: types by column; the others are those of ``into``, else inferred.
        into: the schema of the table that the rows are for, where there is one.

    Raises:
        DataError: a row does not fit (when the rows are read), or a file is damaged.
        EngineError: a package that reads such a table is not installed.
        UsageError: there is no such file.
    """
    folder = root / path if "://" not in path else None
    if folder is not None and (folder / "_delta_log").is_dir():
        return Incoming(_delta(folder), "Delta table")
    if folder is not None and list((folder / "metadata").glob("*.metadata.json")):
        return Incoming(_iceberg(folder), "Iceberg table")
    if folder is not None and folder.is_dir():
        path, format = _pattern(folder, root, format)
    source = files(path, format=format, nulls=nulls, types=types)
    found = source.discover(root, {})
    if not found:
        raise UsageError(f"there is no file {path}", code="GM-U001", hint="paths are relative to the folder you are in")
    shape = source.infer(root, found)
    if into is not None:
        there = {column.name for column in shape.columns} - set(types or {})
        shape = shape.with_columns({f.name: type_text(f.type) for f in into if f.name in there})
    import pyarrow as pa

    rows = pa.RecordBatchReader.from_batches(shape.schema, _rows(source, root, found, shape))
    return Incoming(rows, f"{len(found)} file{'s' if len(found) > 1 else ''}", shape.assumptions)


def _pattern(folder: Path, root: Path, format: str | None) -> tuple[str, str]:
    """Return the pattern of a folder's data files, which must be of one format, and the format."""
    seen: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        kind = next((kind for kind, endings in FORMATS.items() if path.suffix.lower() in endings), None)
        if path.is_file() and kind and not path.name.startswith(("_", ".")):
            seen[kind] = path.suffix
    if format is not None:
        seen = {kind: ending for kind, ending in seen.items() if kind == format}
    if len(seen) != 1:
        raise UsageError(
            f"the folder holds {'several formats' if seen else 'no data files'}: {', '.join(seen) or folder.name}",
            where=str(folder),
            hint="name the format with --format, or the files with a pattern",
        )
    ((kind, ending),) = seen.items()
    return f"{folder.relative_to(root) if folder.is_relative_to(root) else folder}/**/*{ending}", kind


def _rows(source: FilesSource, root: Path, found: Sequence[Found], shape: Shape) -> Iterator[pa.RecordBatch]:
    names = [column.name for column in shape.columns]
    count, examples = 0, list[str]()
    for number, unit in enumerate(found, start=1):
        for chunk in source.read(root, unit, shape=shape, number=number):
            count += len(chunk.rejects)
            examples += [_example(unit.name, reject) for reject in chunk.rejects[: 3 - len(examples)]]
            yield chunk.rows.select(names)
    if count:
        raise DataError(
            f"{count} row{'s' if count > 1 else ''} of {source.describe()['pattern']} cannot be taken in",
            code="GM-D124",
            where=examples[0].partition(" ")[0],
            examples=examples,
            hint="mend the file, give the column another type with --type COLUMN=string, or land it as a source",
        )


def _example(unit: str, reject: Reject) -> str:
    place = f"{unit}:{reject.line}" if reject.line is not None else f"{unit}:record {reject.record}"
    raw = reject.raw.decode("utf-8", "backslashreplace").strip()
    return f"{place}  {reject.message}: {raw[:80]}"


def _iceberg(folder: Path) -> pa.RecordBatchReader:
    try:
        from pyiceberg.table import StaticTable
    except ImportError:
        raise _not_installed("Iceberg", "pyiceberg", folder) from None
    try:
        table = StaticTable.from_metadata(_newest_metadata(folder).resolve().as_uri())
        reader: pa.RecordBatchReader = table.scan().to_arrow_batch_reader()
    except Exception as error:
        raise DataError(f"the Iceberg table cannot be read: {error}", code="GM-D118", where=str(folder)) from error
    return reader


def _newest_metadata(folder: Path) -> Path:
    """Return the metadata that ``version-hint.text`` names, else the one with the highest version."""
    hint = folder / "metadata" / "version-hint.text"
    if hint.is_file() and (named := folder / "metadata" / f"v{hint.read_text().strip()}.metadata.json").is_file():
        return named

    def version(path: Path) -> tuple[int, str]:
        digits = path.name.removeprefix("v").split("-")[0].split(".")[0]
        return (int(digits) if digits.isdigit() else -1, path.name)

    return max((folder / "metadata").glob("*.metadata.json"), key=version)


def _delta(folder: Path) -> pa.RecordBatchReader:
    try:
        import deltalake
    except ImportError:
        raise _not_installed("Delta", "deltalake", folder) from None
    import pyarrow as pa

    try:  # by its SQL: its reader of files gives nulls for tables whose columns are mapped
        builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(folder)))
        return pa.RecordBatchReader.from_stream(builder.execute("SELECT * FROM t"))
    except Exception as error:
        raise DataError(f"the Delta table cannot be read: {error}", code="GM-D118", where=str(folder)) from error


def _not_installed(kind: str, package: str, folder: Path) -> EngineError:
    return EngineError(
        f"a {kind} table cannot be read without the package {package}: its files alone would bring deleted rows back",
        code="GM-E042",
        where=str(folder),
        hint=f"pip install {package}",
    )
