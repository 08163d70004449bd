"""Files under ``gm.check``: Parquet is read where it lies, text is read by line, and no row is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import DataError, UsageError
from gristmill.model.findings import Finding
from gristmill.model.predicates import Range
from gristmill.model.units import ORIGIN_COLUMNS, Unit
from gristmill.run.checking import Delivery, unfit, with_origin
from gristmill.run.landing import reject_aside

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gristmill.connect import Found, Shape
    from gristmill.connect.file_source import FilesSource
    from gristmill.contracts.quarantine import SetAside

_PARQUET = (".parquet", ".pq")
_FLOATS = ("FLOAT", "DOUBLE")
_NUMBERS = (bool, int, float)


@dataclass(slots=True)
class FileRows:
    """Rows of files that a connection knows under a name.

    Args:
        known: what the files' footers tell of columns of all rows.
        origin: the columns that say where a row stood; empty for Parquet.
        delivery: the files, and the rows that could not be typed.
    """

    known: Mapping[str, Range] = field(default_factory=dict)
    origin: tuple[str, ...] = ()
    delivery: Delivery = field(default_factory=Delivery)

    def findings(self, name: str, found: Sequence[Finding]) -> list[Finding]:
        """Return what was found with the places of examples, and before it the rows that could not be typed."""
        return [*unfit(name, self.delivery), *(with_origin(finding, self.delivery) for finding in found)]


def parquet_files(path: str | Path) -> list[str]:
    """Return the local Parquet files that a path or pattern names; empty where it is about something else."""
    text = str(path)
    if "://" in text or not text.lower().endswith(_PARQUET):
        return []
    root, pattern = _placed(text)
    return [str(Path(text).absolute())] if Path(text).exists() else sorted(map(str, root.glob(pattern)))


def view_parquet(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str]) -> FileRows:
    """Make Parquet files known as one view, which DuckDB reads as it goes.

    Raises DataError where one is no Parquet file, or they do not have the same columns.
    """
    import duckdb
    import pyarrow.parquet as pq

    from gristmill.contracts.sqltext import literal

    listed = ", ".join(map(literal, paths))
    try:
        connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT * FROM read_parquet([{listed}])')
        connection.table(name)
        footers = [pq.read_metadata(path) for path in paths]
        if any(map(_may_hide_nans, footers)):
            connection.execute("SET disabled_optimizers = 'statistics_propagation,filter_pushdown'")
        return FileRows(known=_known(footers))
    except (duckdb.Error, OSError, ValueError) as error:
        words = str(error).splitlines()[0]
        raise DataError(f"the file cannot be read: {words}", code="GM-D014", where=paths[0]) from error


def load_text(connection: duckdb.DuckDBPyConnection, name: str, path: str | Path) -> FileRows:
    """Read CSV, JSON or Arrow files, on disk or behind a URL, into a table of the connection.

    Raises UsageError where there is no such file, DataError where one cannot be read at all.
    """
    from gristmill.connect import files

    root, pattern = _placed(str(path))
    source = files(pattern)
    found = source.discover(root, {})
    if not found:
        raise UsageError(f"there is no file {path}", code="GM-U001", hint="paths are relative to the folder you are in")
    shape = source.infer(root, found)
    reading = _Reading(name, source, root, found, shape)
    connection.register("_gristmill_rows", reading.reader())
    connection.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM _gristmill_rows')
    connection.unregister("_gristmill_rows")
    origin = tuple(column for column in ORIGIN_COLUMNS if column in reading.schema.names)
    return FileRows(origin=origin, delivery=reading.delivery())


class _Reading:
    """Streams the rows of files, and keeps those that cannot be typed."""

    def __init__(self, name: str, source: FilesSource, root: Path, found: Sequence[Found], shape: Shape) -> None:
        from gristmill.run.landing import table_schema

        self.name, self.source, self.root, self.found, self.shape = name, source, root, found, shape
        self.schema = table_schema(shape)
        self.aside: list[SetAside] = []
        self.delivered: dict[int, int] = {}

    def reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number, found in enumerate(self.found):
            rows = self.source.read(self.root, found, shape=self.shape, number=number)
            for chunk in rows:
                self.aside += [reject_aside(self.name, found.name, number, r, run="") for r in chunk.rejects]
                yield chunk.rows
            self.delivered[number] = rows.delivered

    def delivery(self) -> Delivery:
        units = {number: Unit(name=found.name, number=number, digest="") for number, found in enumerate(self.found)}
        return Delivery(units=units, rejects=tuple(self.aside), delivered=self.delivered)


def _placed(path: str) -> tuple[Path, str]:
    """Return the folder that a pattern is relative to, and the pattern."""
    if "://" in path:
        return Path.cwd(), path
    at = Path(path).absolute()
    return (at.parent, at.name) if not any(sign in str(at.parent) for sign in "*?[") else (Path("/"), str(at)[1:])


def _may_hide_nans(footer: pq.FileMetaData) -> bool:
    """Whether DuckDB may take bounds that leave NaNs out, as most writers give them, for bounds of all rows."""
    chunks = [footer.row_group(g).column(c) for g in range(footer.num_row_groups) for c in range(footer.num_columns)]
    bounded = any(c.physical_type in _FLOATS and c.statistics is not None and c.statistics.has_min_max for c in chunks)
    return bounded and not footer.created_by.startswith("DuckDB")


def _known(footers: Sequence[pq.FileMetaData]) -> dict[str, Range]:
    """Return what the footers of all files tell of plain columns: bounds, nulls and rows.

    Nulls of floats are not told, for a NaN is one too and no footer counts them.
    """
    parts: dict[str, list[Range]] = {}
    for footer in footers:
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                column = footer.row_group(group).column(index)
                parts.setdefault(column.path_in_schema, []).append(_range(column))
    return {name: _together(ranges) for name, ranges in parts.items() if "." not in name}


def _range(column: pq.ColumnChunkMetaData) -> Range:
    found, rows = column.statistics, column.num_values
    if found is None:
        return Range(None, None, None, rows)
    nulls = found.null_count if found.has_null_count and column.physical_type not in _FLOATS else None
    if not found.has_min_max:
        return Range(None, None, nulls, rows)
    low, high = found.min, found.max
    if type(low) not in _NUMBERS or type(high) not in _NUMBERS or math.isnan(low) or math.isnan(high):
        return Range(None, None, nulls, rows)
    return Range(low, high, nulls, rows)


def _together(parts: Sequence[Range]) -> Range:
    """Return what holds for all parts; one that is all null says nothing of bounds."""
    filled = [part for part in parts if not part.all_null]
    lows, highs = [part.lower for part in filled], [part.upper for part in filled]
    nulls = [part.nulls for part in parts]
    return Range(
        None if None in lows or not lows else min(lows),  # type: ignore[type-var]
        None if None in highs or not highs else max(highs),  # type: ignore[type-var]
        None if None in nulls else sum(nulls),  # type: ignore[arg-type]
        sum(part.rows for part in parts),
    )
