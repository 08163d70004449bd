"""Append, upsert, delete and replace: each turns staged rows and a state into an `Edit`.

The key work (who is new, who was there, who appears twice) is done by joins in DuckDB over the key columns
only, on files that can hold such keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pyroaring import BitMap

from gristmill.errors import DataError
from gristmill.model.predicates import And, Compare, In, Predicate, Value
from gristmill.model.scan import FILE, POSITION, ScanPlan
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE, Field, Schema
from gristmill.store.counters import Counters
from gristmill.store.datafiles import Output, Written
from gristmill.store.inline import COMMIT_BYTES, ROWS
from gristmill.store.laying import PLAIN, Layout, lay_result
from gristmill.store.manifests import merge_stats
from gristmill.store.maps import Put
from gristmill.store.objects import INLINE, PARQUET, DataFile, Oid, Rows
from gristmill.store.sqltext import quote
from gristmill.store.staging import Staged
from gristmill.store.statistics import ranges
from gristmill.store.tables import Edit

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

POINT_KEYS = 200
POINTS = ("int", "long", "string", "date")
RANGED = (*POINTS, "timestamp", "timestamptz", "binary")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rows of one edit go: the files, the ids, the schema of the table.

    Attributes:
        put: keeps an object.
        room: how many bytes the table may still inline.
        layout: how its files are laid out.
    """

    out: Output
    counters: Counters
    lineage: str
    schema: Schema
    schema_id: Oid
    put: Put
    room: int = 0
    layout: Layout = PLAIN

    def write(self, con: duckdb.DuckDBPyConnection, sql: str, *, few: bool) -> list[Written]:
        """Write the rows of a query that yields the columns and the identity columns; ``few`` if they may be few."""
        room = min(self.room, COMMIT_BYTES) if few else 0
        return lay_result(self.out, self.schema, con, sql, self.layout, room=room)

    def entries(self, written: Iterable[Written]) -> list[DataFile]:
        """Return written files as manifest entries of one edit, with row ids reserved for them."""
        sequence = self.counters.reserve(self.lineage, "sequence", 1)
        return [self._entry(file, sequence) for file in written]

    def _entry(self, file: Written, sequence: int) -> DataFile:
        return DataFile(
            first_row_id=self.counters.reserve(self.lineage, "row", file.rows),
            hash=file.hash if file.inline is None else self.put(Rows(file.inline)),
            rows=file.rows,
            schema=self.schema_id,
            sequence=sequence,
            nonce=file.nonce,
            size=file.size,
            kind=PARQUET if file.inline is None else INLINE,
            stored_ids=file.stored_ids,
            spec=file.spec,
            partition=file.partition,
            stats=file.stats,
        )


def key_range(staged: Staged, key: Sequence[Field]) -> Predicate | None:
    """Return a predicate that every staged row's key satisfies, to prune files by, or None."""
    if not staged.written:
        return None
    if staged.row_count <= POINT_KEYS and len(key) == 1:
        values = _points(staged, key[0])
        if values is not None:
            return In(key[0].name, values)
    known = ranges(tuple(key), merge_stats([file.stats for file in staged.written]), staged.row_count)
    parts: list[Predicate] = []
    for field in key:
        bounds = known.get(field.name)
        if bounds is None or bounds.lower is None or bounds.upper is None or field.type == "time":
            continue
        parts += [Compare(field.name, ">=", bounds.lower), Compare(field.name, "<=", bounds.upper)]
    return And(tuple(parts)) if parts else None


def value_range(columns: Sequence[pa.Array], key: Sequence[Field]) -> Predicate | None:
    """Return a predicate that every row with these values satisfies, to prune files by, or None."""
    import pyarrow.compute as pc

    if not columns or not len(columns[0]):
        return None
    if len(key) == 1 and key[0].type in POINTS and len(columns[0]) <= POINT_KEYS:
        return None if columns[0].null_count else In(key[0].name, tuple(columns[0].to_pylist()))
    parts: list[Predicate] = []
    for field, column in zip(key, columns, strict=True):
        if field.type not in RANGED or (column.null_count and not field.required):
            continue
        bounds = pc.min_max(column)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if low is not None:
            parts += [Compare(field.name, ">=", low), Compare(field.name, "<=", high)]
    return And(tuple(parts)) if parts else None


def _points(staged: Staged, field: Field) -> tuple[Value, ...] | None:
    from gristmill.store import compute

    if field.type not in POINTS:
        return None
    return tuple(compute.reader(staged.plan((field,))).read_all().column(0).to_pylist())


class KnownKeys(Protocol):
    """What is known of staged keys, however it was found."""

    @property
    def names(self) -> tuple[str, ...]:
        """The key's columns."""

    def keyless(self) -> list[tuple[object, ...]]:
        """Return up to three staged keys without a value."""

    def repeated(self) -> list[tuple[object, ...]]:
        """Return the three least staged keys that appear twice."""

    def known(self) -> list[tuple[object, ...]]:
        """Return the three least staged keys that the table has."""

    def close(self) -> None:
        """Drop what was computed."""


class Keys:
    """A connection on which the staged rows are ``new`` and the table's rows that may share keys are ``old``.

    Args:
        key: the key's columns.
        new: reads the staged rows, with positions.
        old: reads the table's rows, with row ids and positions.
    """

    def __init__(self, key: Sequence[Field], new: ScanPlan, old: ScanPlan | None) -> None:
        from gristmill.store import compute

        self.con = compute.connection()
        self.names = tuple(field.name for field in key)
        self.key = [quote(name) for name in self.names]
        if any(field.type in ("float", "double") for field in key):
            # The bounds of a row group leave NaN out, and DuckDB skips by them what a join on NaN would find.
            self.con.execute("SET disabled_optimizers = 'join_filter_pushdown'")
        compute.register(self.con, "new", new)
        if old is not None:
            compute.register(self.con, "old", old)

    @property
    def using(self) -> str:
        """The key's columns as ``USING`` takes them."""
        return ", ".join(self.key)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        return list(self.con.sql(sql).fetchall())

    def keyless(self) -> list[tuple[object, ...]]:
        """Return up to three staged keys without a value."""
        nulls = " OR ".join(f"{name} IS NULL" for name in self.key)
        return self.rows(f"SELECT {self.using} FROM new WHERE {nulls} LIMIT 3")

    def repeated(self) -> list[tuple[object, ...]]:
        """Return the three least staged keys that appear twice."""
        using = self.using
        return self.rows(f"SELECT {using} FROM new GROUP BY {using} HAVING count(*) > 1 ORDER BY ALL LIMIT 3")

    def known(self) -> list[tuple[object, ...]]:
        """Return the three least staged keys that the table has."""
        using = self.using
        return self.rows(f"SELECT DISTINCT {using} FROM new SEMI JOIN old USING ({using}) ORDER BY ALL LIMIT 3")

    def positions(self, sql: str) -> dict[int, BitMap]:
        """Return, by file, the positions that a query yields as ``f`` and ``p``."""
        return positions_of(self.con, sql)

    def close(self) -> None:
        """Drop what was computed."""
        self.con.close()


def positions_of(con: duckdb.DuckDBPyConnection, sql: str) -> dict[int, BitMap]:
    """Return, by file, the positions that a query yields as ``f`` and ``p``."""
    import numpy as np

    found = con.sql(sql).fetchnumpy()
    files, positions = np.asarray(found["f"]), np.asarray(found["p"])
    order = np.argsort(files, kind="stable")
    files, positions = files[order], positions[order]
    keys, starts = np.unique(files, return_index=True)
    parts = np.split(positions, starts[1:]) if len(keys) else []
    return {int(key): BitMap(part.astype(np.uint32)) for key, part in zip(keys, parts, strict=True)}


def refuse_repeats(keys: KnownKeys, table: str) -> None:
    """Refuse staged rows whose keys are null or appear twice."""
    empty = keys.keyless()
    if empty:
        raise DataError(
            f"rows for `{table}` have no value in the key",
            code="GM-D213",
            where=table,
            examples=[_key_text(keys, row) for row in empty],
        )
    twice = keys.repeated()
    if twice:
        raise DataError(
            f"rows for `{table}` share a key with each other",
            code="GM-D214",
            where=table,
            hint="keep one row per key",
            examples=[_key_text(keys, row) for row in twice],
        )


def refuse_known(keys: KnownKeys, table: str) -> None:
    """Refuse staged rows whose keys the table has already."""
    known = keys.known()
    if known:
        raise DataError(
            f"`{table}` already has rows with these keys",
            code="GM-D214",
            where=table,
            hint="use upsert to replace them",
            examples=[_key_text(keys, row) for row in known],
        )


def _key_text(keys: KnownKeys, row: Sequence[object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(keys.names, row, strict=True))


def upsert_edit(keys: Keys, place: Place, staged: Staged) -> tuple[Edit, int]:
    """Return the edit that sets the staged rows by key, and how many were there before."""
    keys.con.execute(
        f"CREATE TEMP TABLE matched AS SELECT {keys.using}, old.{FILE} AS f, old.{POSITION} AS p, old.{ROW_ID} AS r"
        f" FROM new JOIN old USING ({keys.using})"
    )
    dead = keys.positions("SELECT f, p FROM matched")
    if not dead:
        return Edit(added=place.entries(staged.written)), 0
    names = ", ".join(f"new.{quote(f.name)}" for f in place.schema.fields)
    sql = (
        f"SELECT {names}, matched.r AS {quote(ROW_ID)}, NULL::BIGINT AS {quote(ROW_SEQUENCE)}"
        f" FROM new LEFT JOIN matched USING ({keys.using})"
    )
    written = place.write(keys.con, sql, few=staged.row_count <= ROWS)
    staged.discard()
    added = place.entries(written)
    return Edit(added=added, dead=dead), sum(len(part) for part in dead.values())


def compare_by_key(keys: Keys, fields: Sequence[Field]) -> None:
    """Make the temporary table ``change``: one row per key that is new, gone, or whose visible columns differ.

    Columns: ``of op r s`` where the old row lies, its id and sequence; ``nf np`` where the new one lies; and
    ``c0 c1 ...`` whether each column differs, for keys on both sides.
    """
    on = " AND ".join(f"old.{name} = new.{name}" for name in keys.key)
    flags = [f"old.{quote(f.name)} IS DISTINCT FROM new.{quote(f.name)} AS c{i}" for i, f in enumerate(fields)]
    differs = " OR ".join(f"c{i}" for i in range(len(fields))) or "false"
    keys.con.execute(
        f"CREATE TEMP TABLE change AS SELECT * FROM (SELECT old.{FILE} AS of, old.{POSITION} AS op, old.{ROW_ID} AS r,"
        f" new.{FILE} AS nf, new.{POSITION} AS np{''.join(', ' + flag for flag in flags)}"
        f" FROM old FULL JOIN new ON {on}) WHERE of IS NULL OR nf IS NULL OR {differs}"
    )


def replace_edit(keys: Keys, place: Place, staged: Staged) -> tuple[Edit, set[int] | None]:
    """Return the edit that makes the table hold just the staged rows, and the fields it touches (None: all).

    Rows that stay keep their ids; rows that are equal are not touched. Needs `compare_by_key` first.
    """
    count = keys.rows("SELECT count(nf), count(*) FROM change")[0]
    if count[1] == 0:
        staged.discard()
        return Edit(), set()
    touched = None
    one_sided = keys.rows("SELECT count(*) FROM change WHERE of IS NULL OR nf IS NULL")[0][0]
    if not one_sided:
        flags = ", ".join(f"bool_or(c{i})" for i in range(len(place.schema.visible)))
        changed = keys.rows(f"SELECT {flags} FROM change")[0]
        touched = {f.id for f, flag in zip(place.schema.visible, changed, strict=True) if flag}
        touched |= {f.id for f in place.schema.fields if f.hidden}
    dead = keys.positions("SELECT of AS f, op AS p FROM change WHERE of IS NOT NULL")
    names = ", ".join(f"new.{quote(f.name)}" for f in place.schema.fields)
    sql = (
        f"SELECT {names}, change.r AS {quote(ROW_ID)}, NULL::BIGINT AS {quote(ROW_SEQUENCE)}"
        f" FROM new JOIN change ON new.{FILE} = change.nf AND new.{POSITION} = change.np"
    )
    written = place.write(keys.con, sql, few=int(str(count[0])) <= ROWS) if count[0] else []
    staged.discard()
    return Edit(added=place.entries(written), dead=dead), touched


def rewrite_edit(keys: Keys, place: Place, staged: Staged, removed: set[int]) -> Edit:
    """Return the edit that puts new files in the place of all old ones, where most rows changed.

    Rows with a known key keep their id, and those that did not change their sequence number too.
    """
    on = " AND ".join(f"old.{name} = new.{name}" for name in keys.key)
    names = ", ".join(f"new.{quote(f.name)}" for f in place.schema.fields)
    kept = f"CASE WHEN change.nf IS NULL THEN old.{ROW_SEQUENCE} END"
    sql = (
        f"SELECT {names}, old.{ROW_ID} AS {quote(ROW_ID)}, {kept} AS {quote(ROW_SEQUENCE)}"
        f" FROM new LEFT JOIN old ON {on}"
        f" LEFT JOIN change ON new.{FILE} = change.nf AND new.{POSITION} = change.np"
    )
    written = place.write(keys.con, sql, few=False)
    staged.discard()
    return Edit(added=place.entries(written), removed=removed)
